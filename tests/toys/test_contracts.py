"""What holds for any shape, dtype and noise level."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffteach.schedule import EDM
from diffteach.toys import Checkerboard, GaussianMixture, density, names

DTYPES = st.sampled_from([torch.float32, torch.float64])
LEADING = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def random_mixture(k: int, dim: int, full: bool, seed: int) -> GaussianMixture:
    g = torch.Generator().manual_seed(seed)
    means = 2 * torch.randn(k, dim, generator=g)
    weights = torch.rand(k, generator=g) + 0.1
    weights = weights / weights.sum()
    if not full:
        return GaussianMixture(means, 0.2 + torch.rand(k, generator=g), weights)
    root = torch.randn(k, dim, dim, generator=g)
    return GaussianMixture(
        means, weights=weights, covariances=root @ root.mT + 0.1 * torch.eye(dim)
    )


@settings(max_examples=60)
@given(
    k=st.integers(1, 5),
    dim=st.integers(1, 4),
    full=st.booleans(),
    lead=LEADING,
    dtype=DTYPES,
    seed=st.integers(0, 99),
)
def test_shapes_and_dtypes(
    k: int, dim: int, full: bool, lead: tuple[int, ...], dtype: torch.dtype, seed: int
) -> None:
    law = random_mixture(k, dim, full, seed)
    x = torch.randn(*lead, dim, dtype=dtype)
    assert law.log_prob(x).shape == lead and law.log_prob(x).dtype == dtype
    assert law.score(x).shape == x.shape and law.score(x).dtype == dtype
    assert law.sample(7).shape == (7, dim)
    rows = x.reshape(-1, dim)
    eps = law.denoiser(EDM())(rows, torch.full((len(rows),), 0.5))
    assert eps.shape == rows.shape and bool(eps.isfinite().all())


@settings(max_examples=40)
@given(full=st.booleans(), alpha=st.floats(0, 1), sigma=st.floats(0, 10), seed=st.integers(0, 99))
def test_score_at_is_the_score_of_noised(full: bool, alpha: float, sigma: float, seed: int) -> None:
    law = random_mixture(3, 2, full, seed).to(torch.float64)
    x = torch.randn(4, 2, dtype=torch.float64)
    if alpha + sigma > 1e-2:
        torch.testing.assert_close(
            law.score_at(x, alpha, sigma), law.noised(alpha, sigma).score(x), rtol=1e-6, atol=1e-8
        )


@settings(max_examples=30)
@given(name=st.sampled_from(names()), sigma=st.floats(0.002, 80), scale=st.floats(0, 3))
def test_named_denoisers_are_finite(name: str, sigma: float, scale: float) -> None:
    x = scale * torch.tensor([[1.0, 1.0], [-2.0, 0.3], [0.0, 0.0]])
    eps = density(name).denoiser(EDM())(x, torch.full((3,), sigma))
    assert bool(eps.isfinite().all())


def test_huge_batch() -> None:
    x, t = torch.randn(300_000, 2), torch.rand(300_000) + 0.1
    for law in (density("8gaussians"), Checkerboard()):
        eps = law.denoiser(EDM())(x, t)
        tail = law.denoiser(EDM())(x[-5:], t[-5:])
        assert eps.shape == x.shape
        torch.testing.assert_close(eps[-5:], tail, rtol=1e-5, atol=1e-5)


def test_leading_particles_share_their_times() -> None:
    x, t = torch.randn(3, 5, 2), torch.rand(5) + 0.1
    denoise = density("8gaussians").denoiser(EDM())
    torch.testing.assert_close(denoise(x, t)[1], denoise(x[1], t))


def test_large_noise_makes_every_denoiser_gaussian() -> None:
    # sigma eps_hat -> x - mean, up to spread/sigma^2.
    x, t = torch.randn(4, 2), torch.full((4,), 2_000.0)
    for name in ("8gaussians", "two_moons", "pinwheel", "checkerboard", "rings"):
        law = density(name).to(torch.float64)
        mean = law.sample(40_000, torch.Generator().manual_seed(0)).double().mean(0)
        eps = law.denoiser(EDM())(x.double(), t.double())
        torch.testing.assert_close(2_000 * eps, x - mean, rtol=0, atol=0.05)
