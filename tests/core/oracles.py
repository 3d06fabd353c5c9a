"""Exact expectations and exact denoisers that share no code with the library's losses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from diffteach.schedule import EDM
from diffteach.toys import GaussianMixture

THREE_MEANS = ((1.0, 0.0), (-1.0, 0.5), (0.2, -1.2))
THREE_STDS = (0.3, 0.2, 0.4)
THREE_WEIGHTS = (0.5, 0.3, 0.2)


def double(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def three_modes() -> GaussianMixture:
    """Three unequal modes, for which the expected values below were derived."""
    return GaussianMixture(double(*THREE_MEANS), double(*THREE_STDS), double(*THREE_WEIGHTS))


def gaussian_denoiser(mean: Tensor, std: float, schedule) -> Callable[[Tensor, Tensor], Tensor]:
    """sigma (x - alpha m)/(alpha^2 s^2 + sigma^2): optimal for N(m, s^2 I) (T3)."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return sigma * (x_t - alpha * mean) / (alpha**2 * std**2 + sigma**2)

    return denoise


def normal_grid(dim: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite points (n, dim) and weights (n,) of N(0, I); exact to degree 2 nodes - 1."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    points = torch.tensor(list(itertools.product(x, repeat=dim)), dtype=torch.float64)
    weights = torch.tensor(list(itertools.product(w, repeat=dim)), dtype=torch.float64).prod(1)
    return points, weights


def normal_lattice(dim: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Even points on [-4.5, 4.5]^dim: less exact than Gauss-Hermite on polynomials, and without its
    wide gaps, in which a change of mode can hide."""
    x = torch.linspace(-4.5, 4.5, nodes, dtype=torch.float64)
    w = torch.exp(-x.square() / 2)
    points = torch.cartesian_prod(*[x] * dim).reshape(-1, dim)
    weights = torch.cartesian_prod(*[w / w.sum()] * dim).reshape(-1, dim).prod(1)
    return points, weights


def midpoints(low: float, high: float, n: int) -> Tensor:
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n


Levels = tuple[Tensor, Tensor]  # times and their shares, which sum to 1


def evenly(times: Tensor) -> Levels:
    return times, torch.full_like(times, 1 / len(times))


def training_levels(schedule: EDM, n: int = 240) -> Levels:
    """DTQL's law F = s^2/(s^2 + sigma_data^2) on a grid in log s, where dF/d log s = 2 F (1 - F).

    Even shares of F would miss the tail: far points owe much of their loss to the last thousandth.
    """
    sigma = midpoints(math.log(0.002), math.log(80.0), n).exp()
    f = sigma**2 / (sigma**2 + schedule.sigma_data**2)
    return sigma, f * (1 - f) / (f * (1 - f)).sum()


def expect(
    f: Callable[[Tensor, Tensor, Tensor], Tensor],
    act: Tensor,
    levels: Levels,
    nodes: int = 24,
    grid: Callable[[int, int], tuple[Tensor, Tensor]] = normal_grid,
) -> Tensor:
    """Average over levels and eps ~ N(0, I) of f(act (n, A), t (n,), eps (n, A))."""
    eps, weights = grid(act.shape[-1], nodes)
    times, shares = levels
    n, k = len(times), len(eps)
    values = f(act.expand(n * k, -1), times.repeat_interleave(k), eps.repeat(n, 1))
    return torch.einsum("n,k,nk...->...", shares, weights, values.reshape(n, k, *values.shape[1:]))
