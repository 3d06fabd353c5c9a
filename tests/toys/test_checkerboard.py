"""The checkerboard under noise, against quadrature over its cells, histograms and autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diffteach.schedule import EDM, VP, Discrete, linear_betas
from diffteach.toys import Checkerboard, Density

DOUBLE = torch.float64
# Lower left corners, read off CEP's recipe: x1 in [i, i+1), x2 in [0, 1) or [-2, -1), up one if
# floor(x1) is odd; then everything times two.
CORNERS = [(2 * i, 2 * (j + i % 2)) for i in (-2, -1, 0, 1) for j in (0, -2)]


def cells(per_side: int) -> Tensor:
    """Midpoints of equal squares that tile the support."""
    axis = (torch.arange(per_side, dtype=DOUBLE) + 0.5) * 2 / per_side
    square = torch.cartesian_prod(axis, axis)
    return torch.cat([square + torch.tensor(c, dtype=DOUBLE) for c in CORNERS])


def convolved(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """Gauss-Legendre over every cell, 60 nodes a side."""
    node, weight = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(60))
    square, share = torch.cartesian_prod(node, node) + 1, torch.outer(weight, weight).flatten() / 4
    total = torch.zeros(len(x), dtype=DOUBLE)
    for corner in CORNERS:
        y = alpha * (square + torch.tensor(corner, dtype=DOUBLE))
        gap = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
        total += torch.exp(-gap / (2 * sigma**2)) @ share / (2 * math.pi * sigma**2) / 8
    return total


def points(n: int) -> Tensor:
    return 3 * torch.randn(n, 2, dtype=DOUBLE)


@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.2), (1.0, 3.0), (0.5, 0.3), (0.1, 1.0)])
def test_noised_density_is_the_convolution(alpha: float, sigma: float) -> None:
    x = alpha * points(40)
    exact = Checkerboard().noised(alpha, sigma).log_prob(x).exp()
    torch.testing.assert_close(exact, convolved(x, alpha, sigma), rtol=1e-8, atol=1e-12)


def test_clean_density_is_one_over_32_on_the_cells_and_zero_outside() -> None:
    board = Checkerboard()
    inside = board.log_prob(cells(5))
    torch.testing.assert_close(inside.exp(), torch.full_like(inside, 1 / 32))
    white = cells(5) + torch.tensor([2.0, 0.0])
    assert bool((board.log_prob(white) == -math.inf).all())
    assert board.log_prob(torch.tensor([5.0, 5.0])) == -math.inf
    scaled = board.noised(0.5, 0).log_prob(0.5 * cells(5))
    torch.testing.assert_close(scaled.exp(), torch.full_like(scaled, 1 / 8))
    assert bool((board.score(cells(5)) == 0).all()) and bool(board.score(white).isnan().all())


def test_samples_fill_the_cells_evenly() -> None:
    x = Checkerboard().sample(80_000, torch.Generator().manual_seed(0))
    assert bool(Checkerboard().log_prob(x).isfinite().all())
    # Half cells: a share of 1/32 each, standard error 5.5e-4 * sqrt(31/32).
    counts = torch.histogramdd(x, bins=[8, 8], range=[-4.0, 4.0, -4.0, 4.0]).hist / len(x)
    filled = counts[counts > 0]
    assert len(filled) == 32
    assert float((filled - 1 / 32).abs().max()) < 4 * 6.2e-4


def test_noisy_samples_follow_the_noisy_density() -> None:
    law = Checkerboard().noised(0.7, 0.5)
    x = law.sample(200_000, torch.Generator().manual_seed(0)).double()
    hist = torch.histogramdd(x, bins=[24, 24], range=[-4.0, 4.0, -4.0, 4.0]).hist / len(x)
    axis = torch.linspace(-4, 4, 24 * 6 + 1, dtype=DOUBLE)
    middle = 0.5 * (axis[1:] + axis[:-1])
    fine = law.log_prob(torch.cartesian_prod(middle, middle)).exp() * (8 / 144) ** 2
    mass = fine.reshape(24, 6, 24, 6).sum((1, 3))
    assert float((hist - mass).abs().sum()) < 0.06
    assert float((hist - mass).abs().max()) < 6 * math.sqrt(float(mass.max()) / len(x))


def test_score_is_the_gradient_also_at_second_order() -> None:
    law = Checkerboard().noised(0.8, 0.4)
    x = points(20).requires_grad_()
    expected = torch.autograd.grad(law.log_prob(x).sum(), x)[0]
    torch.testing.assert_close(law.score(x).detach(), expected)
    few = points(4).requires_grad_()
    assert torch.autograd.gradcheck(law.score, (few,))
    assert torch.autograd.gradgradcheck(law.log_prob, (few,))


@pytest.mark.parametrize(
    "schedule", [VP(), EDM(), Discrete(linear_betas(20))], ids=["VP", "EDM", "Discrete"]
)
def test_denoiser_takes_its_own_level_per_row(schedule: VP | EDM | Discrete) -> None:
    x, denoise = points(10), Checkerboard().denoiser(schedule)
    t = (
        torch.arange(10)
        if isinstance(schedule, Discrete)
        else torch.linspace(0.1, 0.9, 10).double()
    )
    for row, level, eps in zip(x, t, denoise(x, t), strict=True):
        alpha, sigma = (float(s(level[None])) for s in (schedule.alpha, schedule.sigma))
        row = row[None].clone().requires_grad_()
        log_p = Checkerboard().noised(alpha, sigma).log_prob(row)
        expected = -sigma * torch.autograd.grad(log_p.sum(), row)[0][0]
        torch.testing.assert_close(eps, expected, rtol=1e-5, atol=1e-7)


def test_tails_are_those_of_the_nearest_corner() -> None:
    # Far out along the diagonal: -log p = squared distance / (2 sigma^2) to leading order, and
    # the denoised point lies just inside the corner (4, 4), by sigma^2 / distance.
    x, sigma = torch.tensor([[40.0, 40.0]], dtype=DOUBLE), 0.1
    law = Checkerboard().noised(1.0, sigma)
    leading = 2 * 36.0**2 / (2 * sigma**2)
    assert -float(law.log_prob(x)) == pytest.approx(leading, rel=1e-3)
    denoised = x + sigma**2 * law.score(x)
    torch.testing.assert_close(denoised, torch.full_like(x, 4 - sigma**2 / 36), rtol=0, atol=1e-7)
    single = law.score(x.float()).double()
    torch.testing.assert_close(single, law.score(x), rtol=1e-5, atol=0)
    jacobian = torch.autograd.functional.jacobian(law.score, x.float())[0, 0, 0, 0]
    # d score / dx = -1 / sigma^2 + O(1 / distance^2): the denoised point hardly moves.
    assert float(jacobian) == pytest.approx(-1 / sigma**2, rel=1e-4)


def test_single_precision_agrees_with_double() -> None:
    x, t = points(400), torch.logspace(-2, 1.9, 400, dtype=DOUBLE)
    denoise = Checkerboard().denoiser(EDM())
    eps = denoise(x.float(), t.float())
    assert eps.dtype == torch.float32
    torch.testing.assert_close(eps.double(), denoise(x, t), rtol=2e-3, atol=2e-4)


def test_time_zero_gives_no_noise_inside() -> None:
    x = cells(3)
    eps = Checkerboard().denoiser(VP())(x, torch.zeros(len(x), dtype=DOUBLE))
    assert bool((eps == 0).all())


def test_protocol() -> None:
    assert isinstance(Checkerboard(), Density)
