"""T7 to T10: score regularisation against exact means, variances and optima."""

from __future__ import annotations

import pytest
import torch
from core.oracles import (
    double,
    evenly,
    expect,
    gaussian_denoiser,
    midpoints,
    normal_grid,
    three_modes,
)

from diffteach.objectives import (
    kl_weight,
    score_regularization_grad,
    unit_weight,
    variance_weight,
    vsd_grad,
)
from diffteach.schedule import VP
from diffteach.toys import GaussianMixture

TIMES = midpoints(0.02, 0.98, 400)  # SRPO's range
ORIGIN = double(0.0, 0.0)


def moments(denoise, act, weight, baseline, times=TIMES, nodes=24):
    """Mean and variance per coordinate of SRPO's gradient."""
    schedule = VP()

    def grad(a, t, eps):
        return score_regularization_grad(
            denoise, schedule, a, t, eps, weight(schedule, t), baseline=baseline
        )

    levels = evenly(times)
    mean = expect(grad, act, levels, nodes)
    square = expect(lambda *row: grad(*row).square(), act, levels, nodes)
    return mean, square - mean**2


def test_baseline_changes_the_variance_and_not_the_mean() -> None:
    """T7 on the three modes, weight sigma^2."""
    denoise = three_modes().denoiser(VP())
    with_it, without = (
        moments(denoise, double(0.3, 0.2), variance_weight, baseline) for baseline in (True, False)
    )
    torch.testing.assert_close(with_it[0], without[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(with_it[0], double(0.0, 0.053), atol=1e-3, rtol=0)
    torch.testing.assert_close(without[1], double(0.576, 0.609), atol=2e-3, rtol=0)
    torch.testing.assert_close(with_it[1], double(0.019, 0.007), atol=1e-3, rtol=0)


def test_mean_at_one_level_for_a_gaussian() -> None:
    t, std, act = double(0.2), 0.5, double(1.0, -2.0)
    alpha, sigma = VP().alpha(t), VP().sigma(t)
    mean, _ = moments(gaussian_denoiser(double(0.5, 0.5), std, VP()), act, unit_weight, True, t, 3)
    expected = sigma * alpha * (act - 0.5) / (alpha**2 * std**2 + sigma**2)
    torch.testing.assert_close(mean, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("weight", "std", "without", "with_it"),
    [
        (variance_weight, 0.5, 0.617, 0.0028),
        (unit_weight, 0.5, 0.773, 0.093),
        (kl_weight, 0.5, 0.268, 2.82),  # here the baseline does harm
        (kl_weight, 0.1, 1.92, 0.53),
    ],
)
def test_variance_over_all_times(weight, std, without, with_it) -> None:
    """T8, integrated."""
    denoise = gaussian_denoiser(ORIGIN, std, VP())
    # The last digits of the printed values are rounded.
    for baseline, expected in ((False, without), (True, with_it)):
        variance = moments(denoise, ORIGIN, weight, baseline, midpoints(0.02, 0.98, 2000), 3)[1]
        assert float(variance[0]) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("std", "flip"), [(0.1, 0.027), (0.3, 0.088), (0.5, 0.145), (1.0, 0.259)])
def test_baseline_helps_only_above_a_noise_level(std, flip) -> None:
    """T8, pointwise: Var[eps*] and Var[eps* - eps] cross at sigma = alpha s."""
    denoise = gaussian_denoiser(ORIGIN, std, VP())
    for t, helps in ((flip - 0.003, False), (flip + 0.003, True)):
        time = double(t)
        alpha, sigma = VP().alpha(time), VP().sigma(time)
        total = alpha**2 * std**2 + sigma**2
        plain, based = (moments(denoise, ORIGIN, unit_weight, b, time, 3)[1] for b in (False, True))
        torch.testing.assert_close(plain[:1], (sigma**2 / total) ** 2)
        torch.testing.assert_close(based[:1], (alpha**2 * std**2 / total) ** 2)
        assert bool(based[0] < plain[0]) is helps


@pytest.mark.parametrize(
    ("weight", "forces"),
    [
        (variance_weight, {0.3: 0.2076, 0.5: 0.1849, 1.0: 0.1411}),
        (unit_weight, {0.3: 0.5198, 0.5: 0.3879, 1.0: 0.2356}),
        (kl_weight, {0.3: 1.1113, 0.5: 0.6396, 1.0: 0.2667}),
    ],
)
def test_force_and_regularised_optimum(weight, forces) -> None:
    """T9: the surrogate's stiffness c, and where it lets a quadratic target settle."""
    mean, target, beta = double(0.8, -0.3), double(-1.0, 1.0), 0.4
    times = midpoints(0.02, 0.98, 600)
    for std, stiffness in forces.items():
        denoise = gaussian_denoiser(mean, std, VP())
        force = moments(denoise, mean + double(1.0, -2.0), weight, True, times, 3)[0]
        torch.testing.assert_close(force, stiffness * double(1.0, -2.0), rtol=1e-3, atol=0)

        act = target.clone()
        for _ in range(60):
            pull = moments(denoise, act, weight, True, times, 3)[0]
            act = act - 0.15 * (2 * (act - target) + pull / beta)
        ratio = stiffness / beta
        expected = (2 * target + ratio * mean) / (2 + ratio)
        torch.testing.assert_close(act, expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("tau", "sign"), [(0.2, -1), (0.5, 0), (0.9, 1)])
def test_only_the_policys_own_score_keeps_its_spread(tau, sign) -> None:
    """T9, SDS against VSD on a = theta + tau z: SDS always shrinks tau, VSD stops at tau = s."""
    schedule, std, mean = VP(), 0.5, double(0.3)
    z, weight = normal_grid(2, 4)
    noise, eps = z[:, :1], z[:, 1:]
    t = double(0.3).expand(len(z))
    act, ones = mean + tau * noise, torch.ones(len(z), dtype=torch.float64)
    real = gaussian_denoiser(mean, std, schedule)
    fake = gaussian_denoiser(mean, tau, schedule)
    sds = score_regularization_grad(real, schedule, act, t, eps, ones)
    vsd = vsd_grad(real, fake, schedule, act, t, eps, ones)
    slopes = [float(weight @ (g * noise)[:, 0]) for g in (sds, vsd)]
    alpha, sigma = float(schedule.alpha(t[:1])), float(schedule.sigma(t[:1]))
    total, own = (alpha**2 * s**2 + sigma**2 for s in (std, tau))
    assert slopes[0] == pytest.approx(sigma * alpha * tau / total, rel=1e-9)
    assert slopes[1] == pytest.approx(sigma * alpha * tau * (1 / total - 1 / own), abs=1e-9)
    assert (slopes[1] > 1e-6) - (slopes[1] < -1e-6) == sign


def test_weight_multiplies_the_residual_once() -> None:
    denoise = gaussian_denoiser(ORIGIN, 0.5, VP())
    act, eps = torch.randn(2, 3, 2, dtype=torch.float64)
    t = double(0.2, 0.5, 0.9)
    one, many = (
        score_regularization_grad(denoise, VP(), act, t, eps, w)
        for w in (torch.ones_like(t), double(2.0, 3.0, 0.5))
    )
    torch.testing.assert_close(many, one * double(2.0, 3.0, 0.5)[:, None])
    torch.testing.assert_close(variance_weight(VP(), t), VP().sigma(t) ** 2)
    torch.testing.assert_close(kl_weight(VP(), t), VP().alpha(t) / VP().sigma(t))


def kl_of_mixtures(params, mu, alpha, sigma, x) -> torch.Tensor:
    """KL(pi_t || mu_t) on a line by a sum over x, pi given by free parameters."""
    logits, means, log_stds = params
    spread = (alpha**2 * (2 * log_stds).exp() + sigma**2).sqrt()
    pi = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Normal(alpha * means, spread),
    )
    log_pi = pi.log_prob(x)
    log_mu = mu.noised(float(alpha), float(sigma)).log_prob(x[:, None])
    return (log_pi.exp() * (log_pi - log_mu)).sum() * (x[1] - x[0])


@pytest.mark.parametrize("time", [0.1, 0.35])
def test_an_expressive_policy_recovers_the_behaviour_at_every_time(time) -> None:
    """T10, Proposition 1 of SRPO."""
    mu = GaussianMixture(double([-1.0], [1.2]), double(0.4, 0.3), double(0.35, 0.65))
    alpha, sigma = VP().alpha(double(time)), VP().sigma(double(time))
    x = torch.linspace(-5, 5, 800, dtype=torch.float64)
    params = [double(0.0, 0.0), double(-0.5, 0.5), double(-0.5, -0.5)]
    params = [p.requires_grad_() for p in params]
    optimizer = torch.optim.LBFGS(
        params,
        max_iter=300,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = kl_of_mixtures(params, mu, alpha, sigma, x)
        loss.backward()
        return loss

    optimizer.step(closure)
    weights, means, stds = params[0].softmax(0), params[1], params[2].exp()
    torch.testing.assert_close(weights.detach(), double(0.35, 0.65), atol=0.01, rtol=0)
    torch.testing.assert_close(means.detach(), double(-1.0, 1.2), atol=0.01, rtol=0)
    torch.testing.assert_close(stds.detach(), double(0.4, 0.3), atol=0.01, rtol=0)


def test_a_dirac_policy_settles_elsewhere_at_each_time() -> None:
    """T10, Remark 1 of SRPO: with a restricted policy the optimum moves with the noise."""
    mu = GaussianMixture(double([-1.0], [1.2]), double(0.4, 0.3), double(0.45, 0.55))
    denoise = mu.denoiser(VP())
    ends = []
    for time in (0.05, 0.5):
        act = double(-0.9)
        for _ in range(400):
            act = act - 0.3 * moments(denoise, act, unit_weight, True, double(time), 16)[0]
        ends.append(float(act))
    assert ends[0] == pytest.approx(-1, abs=0.05)
    mean = 0.45 * -1 + 0.55 * 1.2
    assert ends[1] == pytest.approx(mean, abs=0.3)
    assert ends[1] - ends[0] > 0.5
