"""Pictures as arrays: what a denoiser says at every point of the plane, by quadrature.

Every expectation over the noise that the three papers take at an action a is one of three moments
of eps_hat(alpha a + sigma eps): see `NoiseMoments`. All are exact up to quadrature, and any
denoiser, exact or learned, goes through the same code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.schedule import EDM
from diffteach.types import Denoise, Schedule

Bounds = tuple[float, float, float, float]
_PER_SIGMA = 2.5
_REACH = 5.0
_LOCAL = 3


class NoiseMoments(NamedTuple):
    """Moments over eps ~ N(0, I) of eps_hat at x_t = alpha a + sigma eps, for a on a grid."""

    mean: Float[Tensor, "H W 2"]
    square: Float[Tensor, "H W"]
    cross: Float[Tensor, "H W"]

    @property
    def residual(self) -> Float[Tensor, "H W"]:
        """E||eps_hat - eps||^2: what DTQL weights and integrates."""
        return 2 + self.square - 2 * self.cross


def _check_grid(bounds: Bounds, size: int) -> None:
    x0, x1, y0, y1 = bounds
    if not (all(math.isfinite(b) for b in bounds) and x0 < x1 and y0 < y1):
        raise ValueError(f"bounds must be finite (x0 < x1, y0 < y1), got {bounds}")
    if not 2 <= size <= 2048:
        raise ValueError(f"size must lie in [2, 2048] nodes a side to fit in memory, got {size}")


def axes(bounds: Bounds, size: int) -> tuple[Float[Tensor, " W"], Float[Tensor, " H"]]:
    """Coordinates of the grid's nodes along x and along y; ValueError for a grid too large."""
    _check_grid(bounds, size)
    return torch.linspace(*bounds[:2], size), torch.linspace(*bounds[2:], size)


def grid(bounds: Bounds, size: int) -> Float[Tensor, "N 2"]:
    """Nodes of a size x size grid spanning the bounds inclusive, rows along y first."""
    xs, ys = axes(bounds, size)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def on_grid(
    function: Callable[[Tensor], Tensor], bounds: Bounds, size: int
) -> Float[np.ndarray, "H W"]:
    """Values of a function of points (N, 2) on the grid."""
    with torch.no_grad():
        return function(grid(bounds, size)).reshape(size, size).numpy()


def hermite(order: int) -> tuple[Float[Tensor, "N 2"], Float[Tensor, " N"]]:
    """Nodes and weights of the Gauss-Hermite rule for eps ~ N(0, I) in the plane."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    x, y = np.meshgrid(nodes, nodes)
    w = np.outer(weights, weights) / weights.sum() ** 2
    points = np.stack([x, y], -1).reshape(-1, 2)
    return torch.tensor(points).float(), torch.tensor(w.reshape(-1)).float()


def _kernel(centres: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    low, high = float(centres[0]) - _REACH * sigma, float(centres[-1]) + _REACH * sigma
    nodes = torch.linspace(low, high, math.ceil((high - low) / sigma * _PER_SIGMA) + 1)
    eps = (nodes - centres[:, None]) / sigma
    weight = torch.softmax(-0.5 * eps.square(), 1)
    return nodes, weight, weight * eps


def noise_moments(
    denoise: Denoise, schedule: Schedule, t: float, bounds: Bounds, size: int
) -> NoiseMoments:
    """Noise moments at one time t for every a on the grid.

    The denoiser is read once on a lattice in x_t (2.5 nodes a sigma) and convolved with the
    Gaussian by two matrix products; where that lattice would outgrow it, a 3 x 3 Gauss-Hermite
    rule around each node is used.
    """
    time = torch.tensor([t])
    alpha, sigma = float(schedule.alpha(time)), float(schedule.sigma(time))
    xs, ys = (alpha * c for c in axes(bounds, size))
    spans = [float(c[-1] - c[0]) / sigma + 2 * _REACH for c in (xs, ys)]
    with torch.no_grad():
        if math.prod(spans) * _PER_SIGMA**2 > max(_LOCAL**2 * size**2, 2**17):
            return _moments_around(denoise, time, alpha, sigma, bounds, size)
        (us, kx, kx1), (vs, ky, ky1) = _kernel(xs, sigma), _kernel(ys, sigma)
        v, u = torch.meshgrid(vs, us, indexing="ij")
        x_t = torch.stack([u, v], -1).reshape(-1, 2)
        eps_hat = denoise(x_t, time.expand(len(x_t))).reshape(len(vs), len(us), 2)
    ex, ey = eps_hat.unbind(-1)
    mean = torch.stack([ky @ ex @ kx.T, ky @ ey @ kx.T], -1)
    square = ky @ eps_hat.square().sum(-1) @ kx.T
    return NoiseMoments(mean, square, ky @ ex @ kx1.T + ky1 @ ey @ kx.T)


def _moments_around(
    denoise: Denoise, time: Tensor, alpha: float, sigma: float, bounds: Bounds, size: int
) -> NoiseMoments:
    eps, weights = hermite(_LOCAL)
    act = grid(bounds, size)
    mean, square, cross = torch.zeros_like(act), torch.zeros(len(act)), torch.zeros(len(act))
    for e, w in zip(eps, weights, strict=True):
        eps_hat = denoise(alpha * act + sigma * e, time.expand(len(act)))
        mean += w * eps_hat
        square += w * eps_hat.square().sum(-1)
        cross += w * (eps_hat @ e)
    return NoiseMoments(
        mean.reshape(size, size, 2), square.reshape(size, size), cross.reshape(size, size)
    )


def noise_levels(schedule: EDM, n: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """n noise levels, low to high, and the weights that integrate over DTQL's training law.

    Gauss-Legendre in v with sigma = sigma_data v/(1 - v): at large noise the loss grows like
    ||a||^2, so levels equally likely under the law itself would miss its tail.
    """
    low, high = (s / (s + schedule.sigma_data) for s in (schedule.sigma_min, schedule.sigma_max))
    nodes, shares = (torch.tensor(x) for x in np.polynomial.legendre.leggauss(n))
    v = low + (high - low) * (nodes + 1) / 2
    mass = shares * v * (1 - v) / (v**2 + (1 - v) ** 2) ** 2
    return (schedule.sigma_data * v / (1 - v)).float(), (mass / mass.sum()).float()


def trust_region_levels(
    denoise: Denoise, schedule: EDM, levels: Float[Tensor, " L"], bounds: Bounds, size: int
) -> Float[Tensor, "L H W"]:
    """E_eps of `objectives.trust_region_loss` on the grid at each noise level (DTQL Eq. 4)."""
    return torch.stack(
        [
            noise_moments(denoise, schedule, float(s), bounds, size).residual
            * ((float(s) / schedule.sigma_data) ** 2 + 1)
            / 2
            for s in levels
        ]
    )


def trust_region_field(
    denoise: Denoise, schedule: EDM, bounds: Bounds, size: int = 128, levels: int = 64
) -> Float[Tensor, "H W"]:
    """L_TR(a) on the grid, integrated over DTQL's law of noise levels (DTQL Fig. 1)."""
    total = torch.zeros(size, size)
    for level, weight in zip(*noise_levels(schedule, levels), strict=True):
        total += weight * trust_region_levels(denoise, schedule, level[None], bounds, size)[0]
    return total


def gradient(field: Float[np.ndarray, "H W"], bounds: Bounds) -> Float[np.ndarray, "H W 2"]:
    """Central differences of a field, along x and along y."""
    rows, cols = field.shape
    dy, dx = (bounds[3] - bounds[2]) / (rows - 1), (bounds[1] - bounds[0]) / (cols - 1)
    by_y, by_x = np.gradient(field, dy, dx, edge_order=2)
    return np.stack([by_x, by_y], -1)


def thin(
    vectors: Float[np.ndarray, "*K H W 2"], bounds: Bounds, count: int
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "*K N 2"]]:
    """Positions and vectors of about count x count arrows, well inside the bounds."""
    size = vectors.shape[-2]
    keep = np.linspace(0, size - 1, 2 * count + 1).round().astype(int)[1::2]
    positions = grid(bounds, size).numpy().reshape(size, size, 2)[np.ix_(keep, keep)]
    arrows = vectors[..., keep, :, :][..., keep, :]
    return positions.reshape(-1, 2), arrows.reshape(*vectors.shape[:-3], -1, 2)


class Pull(NamedTuple):
    """SRPO's regulariser at every point: its mean force and the variance of one sample of it."""

    force: Float[Tensor, "H W 2"]
    variance: Float[Tensor, "H W"]
    variance_without: Float[Tensor, "H W"]


def pull(
    denoise: Denoise,
    schedule: Schedule,
    times: Float[Tensor, " T"],
    weight: Callable[[Schedule, Tensor], Tensor],
    bounds: Bounds,
    size: int,
) -> Pull:
    """Mean over t in `times` and eps of `objectives.score_regularization_grad` (SRPO Eq. 15).

    Variances are per dimension, with the baseline and without it (SRPO Remark 2).
    """
    force = torch.zeros(size, size, 2)
    second, second_without = torch.zeros(size, size), torch.zeros(size, size)
    for t, w in zip(times, weight(schedule, times), strict=True):
        moments = noise_moments(denoise, schedule, float(t), bounds, size)
        force += w * moments.mean / len(times)
        second += w**2 * moments.residual / len(times)
        second_without += w**2 * moments.square / len(times)
    squared = force.square().sum(-1)
    return Pull(force, (second - squared) / 2, (second_without - squared) / 2)
