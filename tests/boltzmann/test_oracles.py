"""Estimators of the Boltzmann samplers against closed forms and an independent quadrature."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from core.oracles import double, gaussian_denoiser, three_modes
from torch import Tensor

from diffteach.boltzmann import (
    RSSM,
    Energy,
    Langevin,
    LangevinConfig,
    RealNVP,
    RSSMConfig,
    annealed,
    effective_sample_size,
    energy_gradient_target,
    gaussian_proposal,
    mode_weight_error,
    particle_ess,
    uniform_proposal,
)
from diffteach.nets import seeded
from diffteach.objectives import mean_one_weight, raw_weight, reverse_sampling_target, self_weight
from diffteach.schedule import EDM, VP, Discrete, perturb, relax_betas
from diffteach.toys import GaussianMixture, density

HALF = Discrete(torch.tensor([0.5], dtype=torch.float64))  # alpha_bar = 1/2
POINT = double((0.4, -0.3))


def seeded_noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def gaussian(mean: Tensor, std: float) -> Energy:
    return Energy(lambda x: -(x - mean).square().sum(-1) / (2 * std**2), mean.shape[-1])


def shifted_proposal(n: int, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x, log_density = gaussian_proposal(n, dim, generator, 1.5)
    return 1.0 + x, log_density


PROPOSALS = {
    "gaussian": gaussian_proposal,
    "uniform": partial(uniform_proposal, half=4.0),
    "shifted": shifted_proposal,
}


@pytest.mark.parametrize("name", PROPOSALS)
@pytest.mark.parametrize("weight", [raw_weight, mean_one_weight])
def test_the_linear_optimum_is_exact_for_every_proposal(name, weight) -> None:
    """T19, one particle: A = sigma/D I and b = -sigma alpha m/D, whatever the noisy points' law."""
    schedule, mean, std, n = VP(), double(0.5, -0.8), 0.9, 400_000
    generator = torch.Generator().manual_seed(0)
    x_t = PROPOSALS[name](n, 2, generator)[0].double()
    t = torch.full((n,), 0.3, dtype=torch.float64)
    eps = torch.randn(1, n, 2, generator=generator, dtype=torch.float64)
    target, log_weight = reverse_sampling_target(gaussian(mean, std), schedule, x_t, t, eps, 1.0)
    w = weight(log_weight - log_weight.max())[:, None]
    features = torch.cat([x_t, torch.ones(n, 1, dtype=torch.float64)], 1)
    fit = torch.linalg.solve(features.T @ (w * features), features.T @ (w * target))
    alpha, sigma = float(schedule.alpha(t[:1])), float(schedule.sigma(t[:1]))
    d = alpha**2 * std**2 + sigma**2
    slope = sigma / d * torch.eye(2, dtype=torch.float64)
    exact = torch.cat([slope, -sigma * alpha / d * mean[None]])
    torch.testing.assert_close(fit, exact, rtol=0, atol=0.015)


def test_self_weighting_one_particle_fits_pure_noise() -> None:
    n, generator = 200_000, torch.Generator().manual_seed(0)
    x_t, t = gaussian_proposal(n, 2, generator)[0].double(), torch.full((n,), 0.3).double()
    eps = torch.randn(1, n, 2, generator=generator, dtype=torch.float64)
    target, log_weight = reverse_sampling_target(gaussian(POINT[0], 0.9), VP(), x_t, t, eps, 1.0)
    w = self_weight(log_weight)
    assert w.tolist() == [1.0] * n
    fit = torch.linalg.lstsq(torch.cat([x_t, torch.ones(n, 1).double()], 1), target).solution
    torch.testing.assert_close(fit, torch.zeros(3, 2).double(), rtol=0, atol=0.01)


# Mean target of K particles at the point, derived apart from this code.
BIAS = {
    1: (0.0, 0.0),
    4: (0.032, -0.014),
    16: (-0.032, -0.144),
    64: (-0.040, -0.195),
    256: (-0.045, -0.205),
    1024: (-0.0455, -0.2076),
}


@pytest.mark.parametrize("particles", BIAS)
def test_the_mean_target_of_few_particles_is_biased_towards_noise(particles) -> None:
    rows = 2_000_000 // max(particles, 16)
    eps = seeded_noise(particles, rows, 2)
    x_t, t = POINT.expand(rows, 2), torch.zeros(rows, dtype=torch.long)
    target, _ = reverse_sampling_target(three_modes().log_prob, HALF, x_t, t, eps, 1.0)
    torch.testing.assert_close(target.mean(0), double(*BIAS[particles]), rtol=0, atol=0.008)


def test_noise_form_and_gradient_form_agree() -> None:
    """Stein: the weighted noise is -(sigma/alpha) times the weighted gradient (T22)."""
    mixture, t = three_modes(), torch.tensor([0])
    energy = Energy(mixture.log_prob, grad=mixture.score)
    eps = seeded_noise(1_000_000, 1, 2)
    noise, _ = reverse_sampling_target(energy, HALF, POINT, t, eps, 1.0)
    gradient = energy_gradient_target(energy, HALF, POINT, t, eps)
    torch.testing.assert_close(gradient, noise, rtol=0, atol=0.02)
    torch.testing.assert_close(gradient, mixture.denoiser(HALF)(POINT, t), rtol=0, atol=0.02)


@pytest.mark.parametrize("schedule", [EDM(), VP()])
def test_the_gradient_target_of_a_gaussian_is_its_score(schedule) -> None:
    """T23 at infinitely many particles: S = -(x - m)/(s^2 + h)."""
    mean, std = double(0.5, -1.0), 0.8
    x_t, t = double((0.4, -0.3), (1.5, 0.5)), double(0.3, 0.25)
    eps = seeded_noise(200_000, 2, 2)
    found = energy_gradient_target(gaussian(mean, std), schedule, x_t, t, eps)
    exact = gaussian_denoiser(mean, std, schedule)(x_t, t)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.01)


def test_langevin_settles_at_its_biased_variance() -> None:
    """T24: s^2/(1 - delta/(4 s^2)) = .75789 instead of .6."""
    target = gaussian(torch.zeros(2), math.sqrt(0.6))
    sampler = Langevin(LangevinConfig(chains=100_000, size=0.5, half=1.0), target)
    for _ in range(60):
        sampler.step()
    x = sampler.sample(100_000)
    assert float(x.square().mean()) == pytest.approx(0.75789, abs=0.01)
    assert float(x.mean()) == pytest.approx(0, abs=0.01)


def normal(mean: float):
    return lambda x: -(x - mean).square().sum(-1) / 2 - math.log(2 * math.pi)


@pytest.mark.parametrize(("levels", "size"), [(0, 1.0), (1, 0.7), (3, 1.5)])
def test_annealed_weights_average_to_the_integral(levels, size) -> None:
    """T26: the integral of p^2/q is exp(|u|^2) for q = N(u, I), with moves or without."""
    generator = torch.Generator().manual_seed(0)
    x = 0.5 + torch.randn(400_000, 2, generator=generator, dtype=torch.float64)
    _, log_weight, accepted = annealed(normal(0.0), normal(0.5), x, levels, size, generator)
    assert float(log_weight.exp().mean()) == pytest.approx(math.exp(0.5), rel=0.02)
    assert float(accepted) == 0 if levels == 0 else 0.1 < float(accepted) < 0.95


def test_moves_bring_points_nearer_to_the_annealed_law() -> None:
    # p^2/q is N(-u, I) here; the law half way to it is p itself.
    generator = torch.Generator().manual_seed(0)
    x = 0.5 + torch.randn(100_000, 2, generator=generator, dtype=torch.float64)
    moved, _, _ = annealed(normal(0.0), normal(0.5), x, 1, 1.0, generator)
    assert 0.3 < float(moved.mean()) < 0.45
    weights = annealed(normal(0.0), normal(0.5), x, 1, 1.0, generator)
    mean = torch.softmax(weights.log_weight, 0) @ weights.x
    torch.testing.assert_close(mean, double(-0.5, -0.5), rtol=0, atol=0.05)


def test_annealing_from_the_target_itself_has_equal_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 2, generator=generator, dtype=torch.float64)
    assert (
        float(annealed(normal(0.0), normal(0.0), x, 2, 1.0, generator).log_weight.abs().max()) == 0
    )


@pytest.mark.parametrize("dim", [2, 3])
def test_the_flow_is_normalised_and_its_two_ways_agree(dim) -> None:
    with seeded(0):
        flow = RealNVP(dim, 1.5, layers=4, width=16)
        for value in flow.parameters():
            torch.nn.init.normal_(value, std=0.3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # E_q[f/q] of the indicator f of a box is its volume, whatever q is.
        x = flow.sample(400_000, generator)
        inside = (x.abs() < 1).all(-1)
        volume = (torch.exp(-flow.log_prob(x)) * inside).mean()
    assert float(volume) == pytest.approx(2.0**dim, rel=0.03)


def test_a_fresh_flow_is_its_base() -> None:
    with seeded(0):
        flow = RealNVP(2, 3.0, layers=3, width=8)
    x = torch.tensor([[0.0, 0.0], [3.0, -6.0]])
    exact = -x.square().sum(-1) / 18 - math.log(2 * math.pi * 9)
    torch.testing.assert_close(flow.log_prob(x).detach(), exact)


def test_effective_sample_size() -> None:
    log_w = double((0.0, 5.0), (0.0, -math.inf), (0.0, -math.inf), (-math.inf, -math.inf))
    torch.testing.assert_close(effective_sample_size(log_w), double(3.0, 1.0))
    torch.testing.assert_close(effective_sample_size(log_w + 1000), double(3.0, 1.0))
    assert float(effective_sample_size(torch.full((3,), -math.inf))) == 0


def test_particles_die_out_at_high_noise() -> None:
    """SDAC's schedule on its mixture, 64 particles from the exact p_t: medians of the sheet."""
    schedule, law = Discrete(relax_betas(20)), density("sdac_mixture")
    generator, rows = torch.Generator().manual_seed(0), 2000
    found = {}
    for level in (6, 10, 12, 14, 19):
        t = torch.full((rows,), level)
        noise = torch.randn(rows, 2, generator=generator)
        x_t = perturb(schedule, law.sample(rows, generator), t, noise)
        eps = torch.randn(64, rows, 2, generator=generator)
        ess = particle_ess(law.log_prob, schedule, x_t, t, eps)
        found[round(float(schedule.alpha_bar[level]), 3)] = float(ess.median())
    expected = {0.376: 22.8, 0.063: 5.2, 0.017: 2.2, 0.003: 1.0, 0.0: 1.0}
    assert found == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("name", PROPOSALS)
def test_the_reverse_flow_starts_from_the_law_at_its_last_level(name) -> None:
    """N(0, I) is not it at sigma/alpha = 4; weights of the wrong proposal would move it too."""
    law, schedule = density("sdac_mixture"), VP(t_max=0.5286)
    end = torch.tensor([schedule.t_max])
    assert float(schedule.sigma(end) / schedule.alpha(end)) == pytest.approx(4, abs=0.01)
    sampler = RSSM(RSSMConfig(schedule, PROPOSALS[name]), Energy(lambda x: law.log_prob(x) + 300))
    starts = sampler.starts.x
    assert isinstance(law, GaussianMixture)
    mean, covariance = law.moments()
    torch.testing.assert_close(starts.mean(0), mean, rtol=0, atol=0.2)
    torch.testing.assert_close(torch.cov(starts.T), covariance, rtol=0, atol=0.6)
    assert mode_weight_error(starts, law.means, law.weights) < 0.02


def test_proposals_know_their_density() -> None:
    generator = torch.Generator().manual_seed(0)
    for propose, n in ((gaussian_proposal, 400_000), (uniform_proposal, 100)):
        x, log_density = propose(n, 2, generator)
        # E[1/p~] over a box inside the support is the box's area.
        inside = (x.abs() < 2).all(-1) if n > 100 else torch.ones(n, dtype=torch.bool)
        area = float((torch.exp(-log_density) * inside).mean())
        assert area == pytest.approx(16 if n > 100 else 144, rel=0.02)
