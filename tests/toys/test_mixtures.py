"""Gaussian mixtures under noise, against autograd, torch.distributions, Bayes and brute force."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from diffteach.schedule import EDM, VP, Discrete, relax_betas, x0_from_eps
from diffteach.toys import Density, GaussianMixture, density, empirical
from diffteach.toys import interface as module

DOUBLE = torch.float64
MEANS = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.2, -1.2]], dtype=DOUBLE)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=DOUBLE)
STDS = torch.tensor([0.3, 0.2, 0.4], dtype=DOUBLE)
COVARIANCES = torch.tensor(
    [[[0.5, 0.3], [0.3, 0.4]], [[0.1, -0.02], [-0.02, 0.05]], [[0.3, 0.0], [0.0, 0.9]]],
    dtype=DOUBLE,
)
MIXTURES = {
    "shared std": GaussianMixture(MEANS, 0.3, WEIGHTS),
    "stds": GaussianMixture(MEANS, STDS, WEIGHTS),
    "covariances": GaussianMixture(MEANS, weights=WEIGHTS, covariances=COVARIANCES),
}
SCHEDULES = {"VP": VP(), "EDM": EDM(), "Discrete": Discrete(relax_betas(20).double())}
each_mixture = pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES.keys())
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


def grid(half: float, n: int) -> Tensor:
    axis = torch.linspace(-half, half, n, dtype=DOUBLE)
    return torch.cartesian_prod(axis, axis)


def torch_mixture(mixture: GaussianMixture, alpha: float, sigma: float) -> MixtureSameFamily:
    eye = torch.eye(2, dtype=DOUBLE)
    components = MultivariateNormal(
        alpha * mixture.means, alpha**2 * mixture.covariances + sigma**2 * eye
    )
    return MixtureSameFamily(Categorical(mixture.weights), components)


@each_mixture
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.0), (1.0, 0.7), (0.6, 0.8), (0.0, 1.3)])
def test_noised_density_is_that_of_torch_distributions(
    mixture: GaussianMixture, alpha: float, sigma: float
) -> None:
    x = grid(3.0, 9)
    expected = torch_mixture(mixture, alpha, sigma).log_prob(x)
    torch.testing.assert_close(mixture.noised(alpha, sigma).log_prob(x), expected)
    torch.testing.assert_close(mixture.log_prob_at(x, alpha, sigma), expected)


@each_mixture
def test_score_is_the_gradient_of_log_prob(mixture: GaussianMixture) -> None:
    x = grid(3.0, 7).requires_grad_()
    for law in (mixture, mixture.noised(0.6, 0.8)):
        expected = torch.autograd.grad(law.log_prob(x).sum(), x)[0]
        torch.testing.assert_close(law.score(x).detach(), expected, rtol=1e-9, atol=1e-9)


@each_mixture
def test_log_prob_is_twice_differentiable(mixture: GaussianMixture) -> None:
    x = torch.tensor([[0.3, 0.2], [1.5, -1.0]], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(mixture.log_prob, (x,))
    assert torch.autograd.gradgradcheck(mixture.log_prob, (x,))
    assert torch.autograd.gradcheck(mixture.score, (x,))


@each_mixture
@each_schedule
def test_denoiser_takes_its_own_level_per_row(
    mixture: GaussianMixture, schedule: VP | EDM | Discrete
) -> None:
    x = 2 * torch.randn(12, 2, dtype=DOUBLE)
    t = (
        torch.arange(12)
        if isinstance(schedule, Discrete)
        else torch.linspace(0.05, 1.0, 12).double()
    )
    rows = []
    for x_row, alpha, sigma in zip(x, schedule.alpha(t), schedule.sigma(t), strict=True):
        x_row = x_row.clone().requires_grad_()
        log_p = torch_mixture(mixture, float(alpha), float(sigma)).log_prob(x_row)
        rows.append(-sigma * torch.autograd.grad(log_p, x_row)[0])
    eps = mixture.denoiser(schedule)(x, t)
    torch.testing.assert_close(eps, torch.stack(rows), rtol=1e-8, atol=1e-8)


@each_mixture
def test_denoiser_is_the_mean_noise_given_the_noisy_point(mixture: GaussianMixture) -> None:
    g = torch.Generator().manual_seed(1)
    alpha, sigma = torch.tensor([0.8], dtype=DOUBLE), torch.tensor([0.6], dtype=DOUBLE)
    x0 = mixture.sample(400_000, g)
    for x_t in (torch.tensor([0.5, 0.3]), torch.tensor([-0.9, -0.4])):
        eps = (x_t - alpha * x0) / sigma
        weight = torch.softmax(-0.5 * eps.square().sum(-1), 0)
        exact = -sigma * mixture.noised(0.8, 0.6).score(x_t.double())
        torch.testing.assert_close(exact, weight @ eps, rtol=0, atol=8e-3)


@each_schedule
def test_tweedie_equals_the_mean_of_component_posteriors(schedule: VP | EDM | Discrete) -> None:
    x = 1.5 * torch.randn(20, 2, dtype=DOUBLE)
    t = (
        torch.arange(20)
        if isinstance(schedule, Discrete)
        else torch.linspace(0.1, 0.9, 20).double()
    )
    mixture = MIXTURES["covariances"]
    denoised = x0_from_eps(schedule, x, t, mixture.denoiser(schedule)(x, t))
    for row, alpha, sigma, result in zip(
        x, schedule.alpha(t), schedule.sigma(t), denoised, strict=True
    ):
        total = alpha**2 * COVARIANCES + sigma**2 * torch.eye(2)
        gap = row - alpha * MEANS
        gain = alpha * COVARIANCES @ torch.linalg.inv(total)
        posterior = MEANS + (gain @ gap[..., None])[..., 0]
        likelihood = MultivariateNormal(alpha * MEANS, total).log_prob(row)
        share = torch.softmax(WEIGHTS.log() + likelihood, 0)
        torch.testing.assert_close(result, share @ posterior, rtol=1e-6, atol=1e-7)


def test_one_gaussian_has_a_linear_denoiser() -> None:
    mean, std, sigma = torch.tensor([[1.0, -2.0]], dtype=DOUBLE), 0.7, 1.5
    x = torch.randn(5, 2, dtype=DOUBLE)
    eps = GaussianMixture(mean, std).denoiser(EDM())(x, torch.full((5,), sigma, dtype=DOUBLE))
    torch.testing.assert_close(eps, sigma * (x - mean) / (std**2 + sigma**2))


@each_mixture
def test_gradients_flow_through_the_denoiser(mixture: GaussianMixture) -> None:
    x = torch.randn(3, 2, dtype=DOUBLE, requires_grad=True)
    t = torch.tensor([0.1, 0.5, 2.0], dtype=DOUBLE)
    assert torch.autograd.gradcheck(lambda x: mixture.denoiser(EDM())(x, t), (x,))


@each_mixture
def test_samples_have_the_moments(mixture: GaussianMixture) -> None:
    x = mixture.sample(200_000, torch.Generator().manual_seed(0))
    mean, cov = mixture.moments()
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=8e-3)
    torch.testing.assert_close(x.T.cov(), cov, rtol=0, atol=1e-2)


@each_mixture
def test_moments_are_those_of_the_density(mixture: GaussianMixture) -> None:
    x = grid(6.0, 241)
    p = mixture.log_prob(x).exp() * 0.05**2
    mean, cov = mixture.moments()
    torch.testing.assert_close(p.sum(), torch.ones((), dtype=DOUBLE), atol=1e-4, rtol=0)
    torch.testing.assert_close(p @ x, mean, atol=1e-4, rtol=0)
    torch.testing.assert_close((p[:, None] * (x - mean)).T @ (x - mean), cov, atol=2e-3, rtol=0)


@each_mixture
@pytest.mark.parametrize("curvature", [0, 0.8])
def test_tilted_is_the_density_times_the_tilt(mixture: GaussianMixture, curvature: float) -> None:
    slope = torch.tensor([1.5, -0.7], dtype=DOUBLE)
    x = grid(2.0, 5)
    tilt = x @ slope - 0.5 * curvature * x.square().sum(-1)
    offset = mixture.tilted(slope, curvature).log_prob(x) - mixture.log_prob(x) - tilt
    torch.testing.assert_close(offset, offset[:1].expand_as(offset), rtol=1e-9, atol=1e-9)
    wide = mixture.tilted(slope, curvature).log_prob(grid(8.0, 321)).exp().sum() * 0.05**2
    torch.testing.assert_close(wide, torch.ones((), dtype=DOUBLE), rtol=0, atol=1e-4)


def test_noise_adds_up() -> None:
    x = grid(2.0, 5)
    for mixture in MIXTURES.values():
        twice = mixture.noised(0.8, 0.3).noised(0.5, 0.4)
        once = mixture.noised(0.4, math.hypot(0.5 * 0.3, 0.4))
        torch.testing.assert_close(twice.log_prob(x), once.log_prob(x))


@each_mixture
def test_single_precision_agrees_with_double(mixture: GaussianMixture) -> None:
    x, t = grid(3.0, 21), torch.logspace(-2, 1, 441, dtype=DOUBLE)
    exact = mixture.denoiser(EDM())(x, t)
    for law in (mixture, mixture.to(torch.float32)):
        eps = law.denoiser(EDM())(x.float(), t.float())
        assert eps.dtype == torch.float32
        torch.testing.assert_close(eps.double(), exact, rtol=3e-4, atol=3e-4)


def test_single_precision_holds_far_from_the_origin() -> None:
    law = density("25gaussians")
    x = torch.tensor([[10.0, -10.0], [9.0, 7.6], [-12.0, 12.0]])
    t = torch.full((3,), 0.01)
    exact = law.to(torch.float64).denoiser(EDM())(x.double(), t.double())
    torch.testing.assert_close(law.denoiser(EDM())(x, t).double(), exact, rtol=1e-4, atol=1e-5)


def test_empirical_is_the_mixture_on_the_points() -> None:
    points, x = torch.randn(50, 2, dtype=DOUBLE), grid(2.0, 5)
    distance = torch.cdist(x, points).square()
    kernel = torch.exp(-distance / (2 * 0.2**2)) / (2 * math.pi * 0.2**2)
    torch.testing.assert_close(empirical(points, 0.2).log_prob(x), kernel.mean(1).log())


def test_memorising_denoiser_returns_the_nearest_point() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=DOUBLE)
    law, t = empirical(points, 0), torch.full((3,), 0.05, dtype=DOUBLE)
    x = points + torch.tensor([0.1, -0.1])
    denoised = x0_from_eps(EDM(), x, t, law.denoiser(EDM())(x, t))
    torch.testing.assert_close(denoised, points, rtol=0, atol=1e-8)
    torch.testing.assert_close(law.noised(1.0, 0.3).log_prob(x), empirical(points, 0.3).log_prob(x))


@each_mixture
def test_chunks_change_nothing(mixture: GaussianMixture, monkeypatch: pytest.MonkeyPatch) -> None:
    x, t = torch.randn(57, 2, dtype=DOUBLE), torch.linspace(0.1, 3.0, 57, dtype=DOUBLE)
    whole = mixture.denoiser(EDM())(x, t), mixture.log_prob(x)
    monkeypatch.setattr(module, "CHUNK", 40)
    x.requires_grad_()
    for tracked in (False, True):
        with torch.set_grad_enabled(tracked):
            parts = mixture.denoiser(EDM())(x, t), mixture.log_prob(x)
        for part, expected in zip(parts, whole, strict=True):
            torch.testing.assert_close(part.detach(), expected, rtol=1e-12, atol=1e-12)
    grad = torch.autograd.grad(mixture.log_prob(x).sum(), x)[0]
    torch.testing.assert_close(grad, mixture.score(x).detach())


MEMORY = """
import resource, torch
from diffteach import EDM
from diffteach.toys import density, empirical
torch.set_num_threads(1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
axis = torch.linspace(-4, 4, 128)
x = torch.cartesian_prod(axis, axis)
law = empirical(density("8gaussians").sample(10_000, torch.Generator().manual_seed(0)), 0.1)
law.denoiser(EDM())(x[:8], torch.ones(8))
before = peak()
law.denoiser(EDM())(x, torch.ones(len(x)))
law.log_prob(x)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read with resource")
def test_a_grid_on_ten_thousand_points_stays_small() -> None:
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 300


def test_protocol_and_views() -> None:
    for mixture in MIXTURES.values():
        assert isinstance(mixture, Density)
    stds = MIXTURES["stds"].stds
    assert stds is not None
    torch.testing.assert_close(stds, STDS)
    assert MIXTURES["covariances"].stds is None
    torch.testing.assert_close(MIXTURES["covariances"].covariances, COVARIANCES)
    torch.testing.assert_close(MIXTURES["shared std"].weights, WEIGHTS)


def test_parameters_can_be_fitted() -> None:
    mean = torch.zeros(1, 2, dtype=DOUBLE, requires_grad=True)
    std = torch.tensor([1.0], dtype=DOUBLE, requires_grad=True)
    x = torch.tensor([[1.0, 2.0]], dtype=DOUBLE)
    grads = torch.autograd.grad(GaussianMixture(mean, std).log_prob(x).sum(), (mean, std))
    torch.testing.assert_close(grads[0], x)
    torch.testing.assert_close(grads[1], torch.tensor([3.0], dtype=DOUBLE))
