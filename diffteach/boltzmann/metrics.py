"""How far points are from an exact density of the plane: divergence, shares of modes, energies."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.schedule import check_count, check_positive

FLOOR = 1e-4
"""share of the uniform law mixed into the estimate, so that a missed mode costs a finite price"""


def _smoothing(cells: int, width: float, bandwidth: float | int) -> Float[Tensor, "cells cells"]:
    centre = torch.arange(cells, dtype=torch.float64)
    kernel = torch.exp(-0.5 * ((centre[:, None] - centre) * width / bandwidth).square())
    return kernel / (bandwidth / width * math.sqrt(2 * math.pi))


def smoothed_density(
    x: Float[Tensor, "n 2"], half: float | int, cells: int, bandwidth: float | int
) -> Float[Tensor, "cells cells"]:
    """Density of points on the cells of [-half, half]^2: a histogram under a Gaussian kernel.

    Points outside count as mass that is missing inside. ValueError for NaN.
    """
    if x.ndim != 2 or x.shape[1] != 2 or len(x) == 0 or bool(x.isnan().any()):
        raise ValueError(f"x must hold points (n, 2) without NaN, got shape {tuple(x.shape)}")
    width = 2 * half / cells
    inside = x[(x.abs() < half).all(-1)].cpu().double()
    index = ((inside + half) / width).long().clamp(0, cells - 1)
    counts = torch.bincount(index[:, 0] * cells + index[:, 1], minlength=cells**2)
    blur = _smoothing(cells, width, bandwidth)
    return blur @ counts.reshape(cells, cells).double() @ blur / (len(x) * width**2)


def grid_kl(
    log_p: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n 2"],
    half: float | int,
    bandwidth: float | int,
    cells: int = 600,
) -> float:
    """KL(p || q) of a normalised log p against the law of points x, both smoothed alike, in nats.

    p lies on the cells of [-half, half]^2; both laws are convolved with N(0, bandwidth^2 I), so
    that exact points score 0 up to their number, and `FLOOR` of the uniform law is mixed into q.
    Without smoothing KL could only be larger. ValueError if p does not fit into the square.
    """
    check_positive("half", half)
    check_positive("bandwidth", bandwidth)
    check_count("cells", cells, 2)
    width = 2 * half / cells
    axis = -half + width * (torch.arange(cells, dtype=torch.float64) + 0.5)
    p = log_p(torch.cartesian_prod(axis, axis)).exp().reshape(cells, cells)
    mass = float(p.sum()) * width**2
    if not 0.99 < mass < 1.01:
        raise ValueError(
            f"log_p must be normalised and fit into the square of half {half}, got mass {mass:.4g}"
        )
    blur = _smoothing(cells, width, bandwidth)
    p = blur @ p @ blur
    q = (1 - FLOOR) * smoothed_density(x, half, cells, bandwidth) + FLOOR / (2 * half) ** 2
    return float((torch.xlogy(p, p) - p * q.log()).sum() * width**2)


def effective_sample_size(log_weight: Float[Tensor, "M *B"]) -> Float[Tensor, "*B"]:
    """(sum w)^2 / sum w^2 over the first axis, between 1 and M; 0 where every weight is 0."""
    best = log_weight.amax(0, keepdim=True).clamp_min(torch.finfo(log_weight.dtype).min)
    w = torch.exp(log_weight - best)
    return w.sum(0).square() / w.square().sum(0).clamp_min(torch.finfo(w.dtype).tiny)


def mode_shares(x: Float[Tensor, "n A"], centres: Float[Tensor, "K A"]) -> Float[Tensor, " K"]:
    """Share of the points whose nearest centre is each of K."""
    nearest = torch.cdist(x.double(), centres.double()).argmin(1)
    return torch.bincount(nearest, minlength=len(centres)).double() / len(x)


def mode_weight_error(
    x: Float[Tensor, "n A"], centres: Float[Tensor, "K A"], weights: Float[Tensor, " K"]
) -> float:
    """Half the summed difference of shares and weights: the mass that sits at a wrong mode."""
    return float((mode_shares(x, centres) - weights.double()).abs().sum() / 2)


def energy_w1(
    log_p: Callable[[Tensor], Tensor], x: Float[Tensor, "n A"], y: Float[Tensor, "n A"]
) -> float:
    """Wasserstein-1 distance between the energies of two equally many points.

    ValueError unless there are as many points in both.
    """
    if len(x) != len(y):
        raise ValueError(f"x and y must hold equally many points, got {len(x)} and {len(y)}")
    with torch.no_grad():
        a, b = (log_p(points).double().sort().values for points in (x, y))
    return float((a - b).abs().mean())
