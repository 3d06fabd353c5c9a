"""T1 and T2 of the methods sheet, and the conversions between predictions."""

from __future__ import annotations

import math

import pytest
import torch
from core.oracles import double

from diffteach.behaviour import BehaviourConfig
from diffteach.schedule import (
    EDM,
    VP,
    Discrete,
    clip_denoised,
    cosine_betas,
    eps_from_score,
    eps_from_x0,
    linear_betas,
    perturb,
    relax_betas,
    score_from_eps,
    vp_betas,
    x0_from_eps,
)

VP_TABLE = {  # t: (alpha, sigma)
    0.001: (0.999945, 0.010485),
    0.02: (0.997014, 0.077215),
    0.1: (0.946722, 0.322053),
    0.2: (0.811395, 0.584498),
    0.3: (0.629550, 0.776960),
    0.5: (0.281183, 0.959654),
    0.8: (0.039796, 0.999208),
    0.98: (0.008011, 0.999968),
    1.0: (0.006572, 0.999978),
}
RELAX = (
    *(0.99992, 0.957784, 0.877141, 0.766396, 0.637399, 0.503307, 0.376255, 0.265451),
    *(0.176113, 0.109435, 0.063399, 0.034062, 0.016868, 0.007644, 0.003142, 0.00116),
    *(0.000379, 0.000108, 0.000026, 0.000005),
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vp_has_the_tabulated_scales(dtype) -> None:
    t = torch.tensor(list(VP_TABLE), dtype=dtype)
    alpha, sigma = torch.tensor(list(VP_TABLE.values()), dtype=dtype).T
    torch.testing.assert_close(VP().alpha(t), alpha, atol=1e-5, rtol=0)
    torch.testing.assert_close(VP().sigma(t), sigma, atol=1e-5, rtol=0)


def test_vp_rate_is_the_slope_of_log_alpha() -> None:
    t = double(0.01, 0.3, 0.9).requires_grad_()
    (slope,) = torch.autograd.grad(VP().log_alpha(t).sum(), t)
    torch.testing.assert_close(VP().beta(t), -2 * slope)


@pytest.mark.parametrize(
    ("betas", "alpha_bar"),
    [
        (vp_betas(5), (0.804125, 0.435178, 0.158500, 0.038852, 0.006409)),
        (relax_betas(20, 0.8), RELAX),
    ],
)
def test_discrete_levels_are_the_tabulated_ones(betas, alpha_bar) -> None:
    schedule, t = Discrete(betas), torch.arange(len(betas))
    torch.testing.assert_close(
        schedule.alpha(t).square(), torch.tensor(alpha_bar), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        schedule.sigma(t).square(), 1 - torch.tensor(alpha_bar), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cleanest_of_many_levels_keeps_its_noise(dtype) -> None:
    betas = linear_betas(1000).to(dtype)
    first = Discrete(betas).sigma(torch.tensor([0]))[0]
    assert float(first) == pytest.approx(float(betas[0]) ** 0.5, rel=1e-6)


def test_schedules_are_equal_if_their_numbers_are() -> None:
    made = [VP(), VP(beta_max=5), EDM(), *(Discrete(vp_betas(n)) for n in (5, 6))]
    again = [VP(), VP(beta_max=5), EDM(), *(Discrete(vp_betas(n)) for n in (5, 6))]
    assert len({*made, *again}) == len(made)
    assert [[a == b for b in again] for a in made] == torch.eye(5, dtype=torch.bool).tolist()
    assert Discrete(vp_betas(5)) != Discrete(vp_betas(5).double())
    settings = [BehaviourConfig(s) for s in (made[3], again[3], made[4])]
    assert settings[0] == settings[1] != settings[2]


def test_other_betas_have_their_known_values() -> None:
    expected = torch.tensor([0.195875, 0.458818, 0.635781, 0.754878, 0.835031])
    torch.testing.assert_close(vp_betas(5), expected, atol=1e-5, rtol=0)
    cosine = Discrete(cosine_betas(20)).alpha_bar[[0, 4, 9, 14, 19]]
    expected = torch.tensor([0.992007, 0.847012, 0.493844, 0.144272, 0.000006])
    torch.testing.assert_close(cosine, expected, atol=1e-5, rtol=0)
    assert float(Discrete(relax_betas(20, 0.3)).alpha_bar[-1]) == pytest.approx(0.034637, abs=1e-5)
    assert linear_betas(10)[[0, -1]].tolist() == pytest.approx([1e-4, 2e-2])


def test_edm_levels_follow_the_log_logistic_law() -> None:
    schedule = EDM()
    sigma = schedule.sample_time(200_000, torch.Generator().manual_seed(0))
    assert float(sigma.min()) >= 0.002 and float(sigma.max()) <= 80
    quantiles = torch.quantile(sigma[:100_000], torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([1 / 6, 0.5, 1.5]), rtol=0.02, atol=0)
    at = torch.tensor([0.02, 0.1, 0.5, 1.0, 5.0, 20.0])
    empirical = (sigma[:, None] <= at).float().mean(0)
    # A Kolmogorov distance of 0.005 has probability 1e-4 here.
    torch.testing.assert_close(empirical, at**2 / (at**2 + 0.25), atol=0.005, rtol=0)
    torch.testing.assert_close(schedule.cdf(at), at**2 / (at**2 + 0.25))


@pytest.mark.parametrize("schedule", [VP(), EDM(), Discrete(relax_betas(20))])
def test_times_depend_on_the_generator_alone(schedule) -> None:
    times = [schedule.sample_time(1000, torch.Generator().manual_seed(k)) for k in (1, 1, 2)]
    assert times[0].equal(times[1])
    assert not times[0].equal(times[2])
    before = torch.get_rng_state()
    schedule.sample_time(3, torch.Generator().manual_seed(0))
    assert torch.get_rng_state().equal(before)


def test_vp_and_discrete_times_are_uniform() -> None:
    t = VP(t_min=0.2).sample_time(100_000, torch.Generator().manual_seed(0))
    assert float(t.min()) >= 0.2 and float(t.mean()) == pytest.approx(0.6, abs=0.005)
    k = Discrete(vp_betas(5)).sample_time(100_000, torch.Generator().manual_seed(0))
    share = torch.bincount(k, minlength=5) / len(k)
    torch.testing.assert_close(share, torch.full((5,), 0.2), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("schedule", "t"),
    [
        (VP(), double(0.01, 0.4, 0.9)),
        (EDM(), double(0.01, 0.7, 60.0)),
        (Discrete(vp_betas(5)), torch.tensor([0, 2, 4])),
    ],
)
def test_conversions_undo_each_other(schedule, t) -> None:
    x0, eps = torch.randn(2, 3, 2, dtype=torch.float64)
    x_t = perturb(schedule, x0, t, eps)
    torch.testing.assert_close(x0_from_eps(schedule, x_t, t, eps), x0)
    torch.testing.assert_close(eps_from_x0(schedule, x_t, t, x0), eps)
    score = score_from_eps(schedule, t, eps)
    # The score of the kernel N(alpha x0, sigma^2) at x_t.
    sigma = schedule.sigma(t)[:, None]
    expected = -(x_t - schedule.alpha(t)[:, None] * x0) / sigma**2
    torch.testing.assert_close(score, expected)
    torch.testing.assert_close(eps_from_score(schedule, t, score), eps)


def test_clipping_bounds_the_denoised_point_and_stops_its_gradient() -> None:
    schedule, t = EDM(), double(0.1, 0.1)
    x_t = double((0.3, -0.2), (1.7, 0.5)).requires_grad_()
    clipped = clip_denoised(lambda x, t: 0.2 * x, schedule, 1.0)
    x0 = x0_from_eps(schedule, x_t, t, clipped(x_t, t))
    torch.testing.assert_close(x0.detach(), (0.98 * x_t.detach()).clamp(-1, 1))
    (grad,) = torch.autograd.grad(x0.sum(), x_t)
    torch.testing.assert_close(grad, double((0.98, 0.98), (0.0, 0.98)))


def test_vp_preserves_variance_and_ends_in_noise() -> None:
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    torch.testing.assert_close(VP().alpha(t) ** 2 + VP().sigma(t) ** 2, torch.ones_like(t))
    log_alpha = VP().log_alpha(double(1.0))
    assert float(log_alpha) == pytest.approx(-0.25 * 19.9 - 0.05)
    assert math.isclose(float(VP().sigma(double(0.0))), 0.0, abs_tol=1e-12)


def test_a_last_time_that_float32_rounds_up_is_inside() -> None:
    schedule = VP(t_max=0.397)
    end = torch.tensor([0.397])
    assert float(end) > schedule.t_max
    assert float(schedule.alpha(end)) == pytest.approx(float(schedule.alpha(double(0.397))))
    with pytest.raises(ValueError, match="t must lie in"):
        schedule.alpha(end + 1e-6)
