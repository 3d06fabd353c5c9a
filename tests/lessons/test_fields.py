"""Fields against closed forms of one Gaussian, the papers' mixtures, and plain Monte Carlo."""

import math

import numpy as np
import pytest
import torch

from diffteach.explore import fields
from diffteach.objectives import (
    kl_weight,
    score_regularization_grad,
    trust_region_loss,
    unit_weight,
    variance_weight,
)
from diffteach.schedule import EDM, VP
from diffteach.toys import GaussianMixture, density

BOUNDS = (-2.0, 3.0, -1.5, 2.0)
MEAN, STD = torch.tensor([0.4, -0.2]), 0.45
TIMES = 0.02 + 0.96 * (torch.arange(200) + 0.5) / 200


def one_gaussian(std=STD):
    return GaussianMixture(MEAN[None], torch.tensor([std]))


def three_modes():
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.2, -1.2]])
    return GaussianMixture(means, torch.tensor([0.3, 0.2, 0.4]), torch.tensor([0.5, 0.3, 0.2]))


def around(x, y):
    return (x - 0.1, x + 0.1, y - 0.1, y + 0.1)


@pytest.mark.parametrize(
    ("schedule", "t"),
    [(VP(), 0.02), (VP(), 0.3), (VP(), 0.9), (EDM(), 0.004), (EDM(), 0.3), (EDM(), 20.0)],
)
def test_noise_moments_of_one_gaussian(schedule, t):
    size = 21
    moments = fields.noise_moments(one_gaussian().denoiser(schedule), schedule, t, BOUNDS, size)
    alpha, sigma = (float(f(torch.tensor([t]))) for f in (schedule.alpha, schedule.sigma))
    d_t = alpha**2 * STD**2 + sigma**2
    delta = fields.grid(BOUNDS, size).reshape(size, size, 2) - MEAN
    squared = delta.square().sum(-1)
    torch.testing.assert_close(moments.mean, sigma * alpha * delta / d_t, atol=2e-4, rtol=2e-4)
    residual = (sigma**2 * alpha**2 * squared + 2 * alpha**4 * STD**4) / d_t**2
    torch.testing.assert_close(moments.residual, residual, atol=2e-4, rtol=1e-3)
    second = 2 * sigma**4 / d_t**2 + sigma**2 * alpha**2 * squared / d_t**2
    torch.testing.assert_close(moments.square, second, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("std", [0.3, 0.5, 1.0])
def test_trust_region_field_is_the_closed_form(std):
    b, c = 0.25, std**2
    i0 = 1 / (2 * c**2) if b == c else math.log(c / b) / (c - b) ** 2 + 1 / (c * (b - c))
    i1 = 1 / c - b * i0
    size, schedule = 11, EDM()
    field = fields.trust_region_field(
        one_gaussian(std).denoiser(schedule), schedule, BOUNDS, size, levels=128
    )
    squared = (fields.grid(BOUNDS, size).reshape(size, size, 2) - MEAN).square().sum(-1)
    torch.testing.assert_close(field, (squared * i1 + 2 * c**2 * i0) / 2, atol=1e-3, rtol=3e-3)


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ((0, 0), 3.292),
        ((5, 0), 3.295),
        ((10, 0), 3.329),
        ((10, 10), 3.366),
        ((0.3, 0), 3.457),
        ((0.6, 0), 3.950),
        ((1.0, 0), 5.113),
        ((2.5, 2.5), 21.54),
        ((12.5, 12.5), 26.72),
    ],
)
def test_heat_map_of_25_gaussians(point, value):
    schedule = EDM()
    denoise = density("25gaussians").denoiser(schedule)
    field = fields.trust_region_field(denoise, schedule, around(*point), 3)
    assert float(field[1, 1]) == pytest.approx(value, abs=0.02, rel=0.004)


@pytest.mark.parametrize(
    ("point", "value"), [((1.0, 0.0), 0.717), ((0.0, 0.0), 1.769), ((2.0, 2.0), 10.17)]
)
def test_trust_region_is_a_mean_of_divergences(point, value):
    schedule, law = EDM(), three_modes()
    field = fields.trust_region_field(law.denoiser(schedule), schedule, around(*point), 3)
    assert float(field[1, 1]) == pytest.approx(value, abs=0.004)
    a, eps = (
        torch.tensor(point, dtype=torch.float64),
        torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    )
    eps = torch.cat([eps, -eps])
    divergence = 0.0
    for s, mass in zip(*fields.noise_levels(schedule, 64), strict=True):
        log_p = law.to(torch.float64).log_prob_at(a + float(s) * eps, 1.0, float(s))
        entropy = math.log(2 * math.pi * math.e * float(s) ** 2)
        divergence += float(mass) * (-entropy - float(log_p.mean()))
    assert divergence == pytest.approx(value, rel=0.01)


def test_grid_wide_field_agrees_with_monte_carlo():
    schedule, size = EDM(), 24
    bounds = (-14.0, 14.0, -14.0, 14.0)
    denoise = density("25gaussians").denoiser(schedule)
    field = fields.trust_region_field(denoise, schedule, bounds, size)
    generator, act = torch.Generator().manual_seed(1), fields.grid(bounds, size)
    total, n = torch.zeros(len(act)), 512
    strata = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    for u in strata:
        t = schedule.quantile(u[None]).float().expand(len(act))
        eps = torch.randn(len(act), 2, generator=generator)
        total += trust_region_loss(denoise, schedule, act, t, eps) / n
    reference = total.reshape(size, size)
    spread = float(reference.max() - reference.min())
    assert float((field - reference).abs().mean()) < 0.02 * spread
    assert abs(float((field - reference).mean())) < 0.002 * spread


def test_noise_levels_integrate_over_the_training_law():
    schedule = EDM()
    sigma, mass = fields.noise_levels(schedule, 64)
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    assert float(sigma.min()) >= 0.002
    assert float(sigma.max()) <= 80
    below = float(mass[sigma <= 0.5].sum())
    assert below == pytest.approx(0.5, abs=0.02)
    drawn = schedule.sample_time(200_000, torch.Generator().manual_seed(0))
    expected = float((1 / (1 + drawn)).mean())
    assert float((mass / (1 + sigma)).sum()) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("weight", "without", "with_baseline"),
    [(variance_weight, 0.617, 0.0028), (unit_weight, 0.773, 0.093), (kl_weight, 0.268, 2.82)],
)
def test_variance_laws_of_the_baseline(weight, without, with_baseline):
    schedule, size = VP(), 3
    law = GaussianMixture(torch.zeros(1, 2), torch.tensor([0.5]))
    moments = [
        fields.noise_moments(law.denoiser(schedule), schedule, float(t), around(0, 0), size)
        for t in TIMES
    ]
    w = weight(schedule, TIMES)
    found = [
        float(sum(wi**2 * m.square[1, 1] for wi, m in zip(w, moments, strict=True))) / 400,
        float(sum(wi**2 * m.residual[1, 1] for wi, m in zip(w, moments, strict=True))) / 400,
    ]
    assert found == [pytest.approx(without, rel=0.03), pytest.approx(with_baseline, rel=0.05)]
    pull = fields.pull(law.denoiser(schedule), schedule, TIMES, weight, around(0, 0), size)
    assert float(pull.variance[1, 1]) == pytest.approx(found[1], rel=1e-3)
    assert float(pull.variance_without[1, 1]) == pytest.approx(found[0], rel=1e-3)


def test_pull_is_the_mean_of_the_library_gradient():
    schedule, law, a = VP(), three_modes(), torch.tensor([0.3, 0.2])
    pull = fields.pull(
        law.denoiser(schedule), schedule, TIMES, variance_weight, around(0.3, 0.2), 3
    )
    n, generator = 200_000, torch.Generator().manual_seed(0)
    t = 0.02 + 0.96 * torch.rand(n, generator=generator)
    eps, act = torch.randn(n, 2, generator=generator), a.expand(n, 2)
    for baseline, variance in ((True, pull.variance), (False, pull.variance_without)):
        grad = score_regularization_grad(
            law.denoiser(schedule), schedule, act, t, eps, variance_weight(schedule, t), baseline
        )
        torch.testing.assert_close(grad.mean(0), pull.force[1, 1], atol=6e-3, rtol=0.0)
        assert float(grad.var(0).mean()) == pytest.approx(float(variance[1, 1]), rel=0.03)
    torch.testing.assert_close(pull.force[1, 1], torch.tensor([0.0, 0.053]), atol=4e-3, rtol=0.0)


def test_hermite_is_exact_for_low_moments():
    eps, weights = fields.hermite(4)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6)
    assert float(weights @ eps[:, 0] ** 2) == pytest.approx(1, abs=1e-5)
    assert float(weights @ (eps[:, 0] ** 4 * eps[:, 1] ** 2)) == pytest.approx(3, abs=1e-4)


def test_gradient_and_thin():
    size = 61
    x = fields.grid(BOUNDS, size).numpy().reshape(size, size, 2)
    field = x[..., 0] ** 2 - 3 * x[..., 1]
    slopes = fields.gradient(field, BOUNDS)
    np.testing.assert_allclose(slopes[..., 0], 2 * x[..., 0], atol=1e-3)
    np.testing.assert_allclose(slopes[..., 1], -3, atol=1e-3)
    where, arrows = fields.thin(slopes, BOUNDS, 15)
    assert where.shape == arrows.shape == (225, 2)
    np.testing.assert_allclose(arrows[:, 0], 2 * where[:, 0], atol=1e-3)
