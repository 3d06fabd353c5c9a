"""T29, T33, the temporal-difference target, and reverse sampling on an exact energy."""

from __future__ import annotations

import math

import pytest
import torch
from core.oracles import double, gaussian_denoiser, three_modes

from diffteach.nets import TanhGaussianPolicy, seeded, tanh_gaussian_log_prob
from diffteach.objectives import (
    expectile_loss,
    reverse_sampling_target,
    rssm_loss,
    td_target,
)
from diffteach.schedule import VP, Discrete


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.7, 0.95])
def test_expectile_of_a_fair_coin_is_tau(tau) -> None:
    """T29: the minimiser over V for values 0 and 1."""
    v = torch.linspace(0, 1, 2001, dtype=torch.float64)
    loss = expectile_loss(double((0.0,), (1.0,)) - v, tau).mean(0)
    assert float(v[loss.argmin()]) == pytest.approx(tau, abs=1e-3)
    assert expectile_loss(double(2.0, -2.0), tau).tolist() == pytest.approx([4 * tau, 4 - 4 * tau])


def test_expectile_rises_to_the_maximum() -> None:
    q, v = double(-1.0, 0.2, 3.0)[:, None], torch.linspace(-2, 4, 6001, dtype=torch.float64)
    optima = [
        float(v[expectile_loss(q - v, tau).mean(0).argmin()]) for tau in (0.1, 0.5, 0.9, 0.999)
    ]
    assert optima == sorted(optima)
    assert optima[1] == pytest.approx(2.2 / 3, abs=1e-3)  # the mean
    assert optima[-1] == pytest.approx(3, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_only_a_true_end_stops_the_bootstrap(dtype) -> None:
    done = torch.tensor([0, 1]).to(dtype)
    target = td_target(torch.tensor([1.0, 1.0]), done, torch.tensor([10.0, 10.0]), 0.99)
    assert target.tolist() == pytest.approx([10.9, 1.0])


@pytest.mark.parametrize(("mean", "std", "limit"), [(0.3, 0.6, 1.0), (-1.0, 1.5, 2.0)])
def test_squashed_density_integrates_to_one(mean, std, limit) -> None:
    """T33; without the Jacobian the first would give 1.35 and without log(limit) the second 2."""
    # Even steps in u would hide a wrong Jacobian; these are even in the action.
    act = limit * torch.linspace(-1, 1, 400_003, dtype=torch.float64)[1:-1, None]
    u = (act / limit).atanh()
    row = torch.ones_like(u)
    log_p = tanh_gaussian_log_prob(u, mean * row, math.log(std) * row, limit)
    total = float(log_p.exp().sum() * (act[1] - act[0]))
    assert total == pytest.approx(1, abs=1e-3)


def test_squashed_density_of_samples_and_of_given_actions_agree() -> None:
    with seeded(0):
        policy = TanhGaussianPolicy(3, 2, act_limit=2.0, width=16)
    obs, noise = torch.randn(2, 50, 3)[..., :3], torch.randn(50, 2)
    act, log_p = policy.sample(obs[0], noise)
    assert float(act.detach().abs().max()) <= 2
    torch.testing.assert_close(policy.log_prob(obs[0], act), log_p, atol=2e-3, rtol=1e-3)
    far = policy.log_prob(obs[0], torch.full((50, 2), 2.0))
    assert bool(torch.isfinite(far).all())


@pytest.mark.parametrize("edge", [0.9, 1 / 1.001])
def test_actions_at_the_limit_count_as_those_at_the_edge(edge) -> None:
    """At act = +-limit and beyond, u = +-atanh(edge), in the density with the squashing's slope."""
    policy = TanhGaussianPolicy(1, 1, 2.0, width=16, edge=edge)
    obs, u = torch.ones(4, 1), math.atanh(edge)
    mean, log_std = policy(obs)
    z = (torch.tensor([[u], [u], [-u], [-u]]) - mean) / log_std.exp()
    wanted = -0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi) - math.log(2 * (1 - edge**2))
    act = torch.tensor([[2.0], [5.0], [-2.0], [-5.0]])
    torch.testing.assert_close(policy.log_prob(obs, act), wanted[:, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_an_edge_at_the_limit_or_at_nothing_is_refused(edge) -> None:
    with pytest.raises(ValueError, match="edge must lie strictly between 0 and 1, got"):
        TanhGaussianPolicy(1, 1, edge=edge)


def test_log_std_stays_between_minus_five_and_two() -> None:
    with seeded(0):
        policy = TanhGaussianPolicy(1, 1, width=16)
    last = policy.body[-1]
    with torch.no_grad():
        last.weight.zero_()
        for bias, log_std in ((-30.0, -5.0), (-4.5, -4.5), (1.5, 1.5), (30.0, 2.0)):
            last.bias[1] = bias
            assert float(policy(torch.ones(1, 1))[1]) == log_std


def test_log_density_survives_saturation() -> None:
    u = double((15.0,), (-15.0,))
    log_p = tanh_gaussian_log_prob(u, u, torch.zeros_like(u), 1.0)
    # log(1 - tanh^2) -> 2 log 2 - 2|u|
    expected = -0.5 * math.log(2 * math.pi) - 2 * math.log(2) + 30
    torch.testing.assert_close(log_p, double(expected, expected))


def test_reverse_sampling_recovers_the_exact_denoiser_of_an_energy() -> None:
    """The three modes at alpha_bar = 1/2: eps* = (-.0457, -.2083), log p_t = -1.7037."""
    schedule, mixture = Discrete(torch.tensor([0.5], dtype=torch.float64)), three_modes()
    x_t, t = double((0.4, -0.3)), torch.tensor([0])
    generator = torch.Generator().manual_seed(0)
    eps = torch.randn(400_000, 1, 2, generator=generator, dtype=torch.float64)
    target, log_weight = reverse_sampling_target(mixture.log_prob, schedule, x_t, t, eps, 1.0)
    torch.testing.assert_close(target, mixture.denoiser(schedule)(x_t, t), atol=5e-3, rtol=0)
    torch.testing.assert_close(target[0], double(-0.0457, -0.2083), atol=5e-3, rtol=0)
    # p_t = alpha^-d E[exp(Q)]: the factor is 2 at d = 2.
    assert float(log_weight) + math.log(2) == pytest.approx(-1.7037, abs=0.01)


def test_reverse_sampling_divides_by_the_temperature() -> None:
    schedule, std, temperature = VP(), 0.6, 2.5
    x_t, t = double((0.4, -0.3)), double(0.25)
    generator = torch.Generator().manual_seed(0)
    eps = torch.randn(200_000, 1, 2, generator=generator, dtype=torch.float64)

    def energy(x: torch.Tensor) -> torch.Tensor:
        return -(x - 0.5).square().sum(-1) / (2 * std**2)

    target, _ = reverse_sampling_target(energy, schedule, x_t, t, eps, temperature)
    hot = gaussian_denoiser(double(0.5, 0.5), std * temperature**0.5, schedule)
    torch.testing.assert_close(target, hot(x_t, t), atol=5e-3, rtol=0)


def test_one_particle_regresses_its_own_noise() -> None:
    x_t, eps, t = torch.randn(4, 2), torch.randn(1, 4, 2), torch.full((4,), 0.3)
    target, log_weight = reverse_sampling_target(lambda a: a.sum(-1), VP(), x_t, t, eps, 1.0)
    torch.testing.assert_close(target, eps[0])
    x0 = (x_t - VP().sigma(t)[:, None] * eps[0]) / VP().alpha(t)[:, None]
    torch.testing.assert_close(log_weight, x0.sum(-1))


def test_rssm_loss_sums_over_coordinates_and_keeps_the_batch() -> None:
    x_t, t, target = (
        torch.zeros(2, 3),
        torch.full((2,), 0.3),
        torch.tensor([[1.0, 2, 2], [0, 0, 1]]),
    )
    loss = rssm_loss(lambda x, t: x, x_t, t, target, torch.tensor([1.0, 4.0]))
    assert loss.tolist() == [9.0, 4.0]
