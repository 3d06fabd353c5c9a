"""Numbers of the papers' targets: geometry, entropies, divergences, normalisers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from diffteach.schedule import EDM
from diffteach.toys import Density, GaussianMixture, TwoMoonEnergy, density, load

DOUBLE = torch.float64


def grid(half: float, n: int) -> tuple[Tensor, float]:
    axis = torch.linspace(-half, half, n, dtype=DOUBLE)
    return torch.cartesian_prod(axis, axis), (2 * half / (n - 1)) ** 2


def grid_kl(p: Density, q: Density, half: float, n: int = 401) -> float:
    x, area = grid(half, n)
    log_p, log_q = p.log_prob(x), q.log_prob(x)
    return float((log_p.exp() * (log_p - log_q)).sum() * area)


def mixture(name: str) -> GaussianMixture:
    law = density(name).to(torch.float64)
    assert isinstance(law, GaussianMixture)
    return law


def moment_match(p: GaussianMixture) -> GaussianMixture:
    mean, cov = p.moments()
    return GaussianMixture(mean[None], covariances=cov[None])


def test_eight_gaussians_stand_on_the_compass() -> None:
    law = mixture("8gaussians")
    # The order of CEP: top first, then counter-clockwise.
    unit = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
    expected = [
        (4 * x / math.hypot(x, y) / 1.414, 4 * y / math.hypot(x, y) / 1.414) for x, y in unit
    ]
    torch.testing.assert_close(law.means, torch.tensor(expected, dtype=DOUBLE), rtol=0, atol=1e-6)
    assert law.stds is not None
    torch.testing.assert_close(law.stds, torch.full((8,), 0.35361, dtype=DOUBLE), rtol=0, atol=1e-5)
    assert float(law.means.norm(dim=1)[0]) == pytest.approx(2.829, abs=1e-3)


def test_twenty_five_gaussians_stand_on_a_lattice() -> None:
    law = mixture("25gaussians")
    assert len(law.means) == 25
    assert {tuple(m) for m in law.means.tolist()} == {
        (5.0 * i, 5.0 * j) for i in range(-2, 3) for j in range(-2, 3)
    }
    points, _ = load("25gaussians", 10_000, 0)
    counts = torch.cdist(points, law.means.float()).argmin(1).bincount()
    assert counts.tolist() == [400] * 25


def test_sdac_mixture_constants() -> None:
    p = mixture("sdac_mixture")
    x, area = grid(10, 401)
    log_p = p.log_prob(x)
    assert -float((log_p.exp() * log_p).sum() * area) == pytest.approx(3.33825, abs=1e-5)
    mean, cov = p.moments()
    torch.testing.assert_close(mean, torch.tensor([1.8, 1.8], dtype=DOUBLE), rtol=0, atol=1e-6)
    expected = torch.tensor([[6.76, 5.76], [5.76, 6.76]], dtype=DOUBLE)
    torch.testing.assert_close(cov, expected, rtol=0, atol=1e-5)
    assert grid_kl(p, moment_match(p), 10) == pytest.approx(0.76329, abs=1e-4)
    assert grid_kl(p, GaussianMixture(p.means, 1.0), 10) == pytest.approx(0.19274, abs=1e-5)


@pytest.mark.parametrize(("mode", "value"), [(0, 0.22313), (1, 1.60937)])
def test_reverse_kl_at_an_isolated_mode_is_minus_log_weight(mode: int, value: float) -> None:
    p = mixture("sdac_mixture")
    one = GaussianMixture(p.means[mode : mode + 1], 1.0)
    kl = grid_kl(one, p, 10)
    assert kl == pytest.approx(value, abs=2e-5)
    assert kl == pytest.approx(-math.log(float(p.weights[mode])), abs=1e-4)


def test_moment_matching_minimises_forward_kl() -> None:
    p = mixture("sdac_mixture")
    mean, cov = p.moments()
    best = grid_kl(p, moment_match(p), 12)
    for shift, scale in [(0.3, 1.0), (-0.3, 1.0), (0.0, 1.2), (0.0, 0.8)]:
        other = GaussianMixture((mean + shift)[None], covariances=(scale * cov)[None])
        assert grid_kl(p, other, 12) > best + 1e-3


def test_kl_of_two_gaussians_on_the_grid_is_the_closed_form() -> None:
    covs = torch.tensor([[[0.8, 0.3], [0.3, 0.5]], [[1.2, -0.4], [-0.4, 0.9]]], dtype=DOUBLE)
    means = torch.tensor([[0.2, -0.1], [-0.5, 0.6]], dtype=DOUBLE)
    p, q = (GaussianMixture(means[i : i + 1], covariances=covs[i : i + 1]) for i in (0, 1))
    exact = kl_divergence(*(MultivariateNormal(means[i], covs[i]) for i in (0, 1)))
    assert grid_kl(p, q, 8) == pytest.approx(float(exact), abs=1e-6)


def test_two_moon_constants() -> None:
    law = TwoMoonEnergy()
    x, area = grid(4.5, 901)
    # The formula as the papers write it.
    z1, r = x[:, 0].abs(), x.norm(dim=1)
    log_p = -0.5 * ((r - 2) / 0.2) ** 2 - 0.5 * ((z1 - 2) / 0.3) ** 2
    log_p = log_p + torch.log1p(torch.exp(-4 * z1 / 0.09))
    torch.testing.assert_close(law.log_prob_unnormalised(x), log_p, rtol=1e-9, atol=1e-9)
    assert float((log_p.exp().sum() * area).log()) == pytest.approx(0.804214, abs=1e-6)
    p = law.log_prob(x).exp() * area
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-9)
    moments = (p @ z1, p @ x[:, 0] ** 2, p @ x[:, 1] ** 2)
    assert [float(m) for m in moments] == pytest.approx([1.88219, 3.58828, 0.69335], abs=1e-5)


def test_two_moon_samples_have_the_moments() -> None:
    x = TwoMoonEnergy().sample(100_000, torch.Generator().manual_seed(0)).double()
    assert len(x) == 100_000
    moments = (x[:, 0].abs().mean(), (x[:, 0] ** 2).mean(), (x[:, 1] ** 2).mean(), x.mean())
    expected = [1.88219, 3.58828, 0.69335, 0.0]
    assert [float(m) for m in moments] == pytest.approx(expected, abs=0.02)


def test_two_moon_score_is_the_gradient() -> None:
    x = (2 * torch.randn(50, 2, dtype=DOUBLE)).requires_grad_()
    expected = torch.autograd.grad(TwoMoonEnergy().log_prob(x).sum(), x)[0]
    torch.testing.assert_close(TwoMoonEnergy().score(x).detach(), expected)
    assert bool(TwoMoonEnergy().score(torch.zeros(1, 2)).isfinite().all())


def test_two_moon_denoiser_is_the_mean_noise_given_the_noisy_point() -> None:
    law, sigma = TwoMoonEnergy(), 0.5
    y, area = grid(4.0, 801)
    x_t = torch.tensor([[1.5, 0.5], [0.1, -1.0], [-2.0, 2.0]], dtype=DOUBLE)
    eps = (x_t[:, None] - y) / sigma
    share = torch.softmax(law.log_prob(y) - 0.5 * eps.square().sum(-1), 1)
    expected = torch.einsum("rk,rka->ra", share, eps)
    found = law.denoiser(EDM())(x_t, torch.full((3,), sigma, dtype=DOUBLE))
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
    # Without noise the grid mixture is the target itself, up to ripples.
    y, area = grid(4.0, 401)
    p, q = law.log_prob(y).exp(), law.noised(1.0, 0.0).log_prob(y).exp()
    assert float((p - q).abs().sum() * area) < 0.01
    assert isinstance(law, Density)


def test_gmm40_is_the_one_of_the_papers() -> None:
    law = mixture("gmm40")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = (torch.rand((40, 2)) - 0.5) * 2 * 40
    torch.testing.assert_close(law.means.float(), expected, rtol=0, atol=1e-5)
    assert law.stds is not None
    assert float(law.stds[0]) == pytest.approx(1.31326, abs=1e-5)


def test_four_corners_are_inside_the_box() -> None:
    points, reward = load("four_corners", 8_000, 0)
    assert float(points.abs().max()) <= 1
    # Diffusion-QL: left-up 3, left-bottom 0, right-up 1.5, right-bottom 5, standard deviation 1/2.
    for x, y, mean in [(-1, 1, 3.0), (-1, -1, 0.0), (1, 1, 1.5), (1, -1, 5.0)]:
        here = (points[:, 0] * x > 0) & (points[:, 1] * y > 0)
        assert int(here.sum()) == 2_000
        assert float(reward[here].mean()) == pytest.approx(mean, abs=0.05)
        assert float(reward[here].std()) == pytest.approx(0.5, abs=0.03)
