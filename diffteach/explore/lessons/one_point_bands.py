"""Pulls on one action, split by noise level, in the coordinates that SRPO and DTQL share.

SRPO's x_t = alpha a + sigma eps is alpha (a + s eps) with s = sigma/alpha, DTQL's noise level: one
m(a, s) = E[eps_hat(a + s eps; s)] serves both, and a method is a measure over s. Level by level m
is kept as n = m (S^2 + s^2)/s with S the data's deviation: n is level at both ends and
interpolates well in log s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.lessons import parts
from diffteach.explore.lessons.pulls import SCHEDULE, WEIGHTS
from diffteach.objectives import kl_weight
from diffteach.schedule import EDM
from diffteach.types import Denoise

EDGES = np.geomspace(0.02, 130.0, 27)
_POINTS = 20_000


class Levels(NamedTuple):
    """Noise levels (K,) at which fields are kept, and the data's deviation S per dimension."""

    nodes: np.ndarray
    spread: float


class Law(NamedTuple):
    """A method as a measure: its pull is sum of mass * m(a, s)."""

    s: np.ndarray
    mass: np.ndarray


def levels_of(points: np.ndarray, std: float, window: float, count: int = 18) -> Levels:
    """Equal steps in log s from a sixth of a mode's deviation to six windows."""
    nodes = np.geomspace(std / 6, 6 * window, count)
    return Levels(nodes, float(np.sqrt(points.var(0).mean())))


def srpo_law(weight: Callable[..., Any], times: np.ndarray | None = None) -> Law:
    """SRPO's Eq. 15: weight(t) under t ~ U(.02, .98), or at given times."""
    t = 0.02 + 0.96 * (np.arange(_POINTS) + 0.5) / _POINTS if times is None else times
    time = torch.tensor(t)
    s = (SCHEDULE.sigma(time) / SCHEDULE.alpha(time)).numpy()
    return Law(s, weight(SCHEDULE, time).numpy() / len(t))


def srpo_laws() -> list[Law]:
    """The true score (t = .02) and each of SRPO's weights."""
    return [
        srpo_law(kl_weight, np.array([0.02])),
        *(srpo_law(weight) for weight in WEIGHTS.values()),
    ]


def matched_law(schedule: EDM) -> Law:
    """2/(d s) under DTQL's law of noise levels, d = 2: in expectation DTQL's gradient."""
    u = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS
    s = schedule.quantile(u).numpy()
    return Law(s, 1 / s / _POINTS)


def frozen_law(schedule: EDM) -> Law:
    """DTQL's loss with the denoised point held constant: (1 + s^2/sigma_data^2) of the match."""
    s, mass = matched_law(schedule)
    return Law(s, mass * (1 + s**2 / schedule.sigma_data**2))


def curvature(law: Law, std: float) -> float:
    """Slope of the pull on N(m, std^2), where m(a, s) = s (a - m)/(std^2 + s^2)."""
    return float((law.mass * law.s / (std**2 + law.s**2)).sum())


def _basis(levels: Levels, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (P, K) of the kept values at s, and of their slope in log s.

    Cubic spline over equally spaced nodes, level at the ends and beyond.
    """
    x = np.log(levels.nodes)
    gap, count = x[1] - x[0], len(x)
    eye = np.eye(count)
    left = 4 * eye + np.eye(count, k=1) + np.eye(count, k=-1)
    left[0, 0] = left[-1, -1] = 2
    right = np.diff(eye, axis=0, prepend=eye[:1], append=eye[-1:]) * 6 / gap**2
    bend = np.linalg.solve(left, np.diff(right, axis=0))
    at = np.clip(np.log(s), x[0], x[-1])
    k = np.minimum(((at - x[0]) / gap).astype(int), count - 2)
    v = ((at - x[k]) / gap)[:, None]
    u = 1 - v
    value = u * eye[k] + v * eye[k + 1]
    value += gap**2 / 6 * ((u**3 - u) * bend[k] + (v**3 - v) * bend[k + 1])
    slope = (eye[k + 1] - eye[k]) / gap
    slope += gap / 6 * ((3 * v**2 - 1) * bend[k + 1] - (3 * u**2 - 1) * bend[k])
    return value, slope * ((x[0] < np.log(s)) & (np.log(s) < x[-1]))[:, None]


def _binned(s: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sums (bins, K) of rows (P, K) over the bins of s; what lies beyond counts at the ends."""
    bins = np.clip(np.searchsorted(EDGES, s, side="right") - 1, 0, len(EDGES) - 2)
    out = np.zeros((len(EDGES) - 1, rows.shape[1]))
    np.add.at(out, bins, rows)
    return out


def rows(law: Law, levels: Levels) -> np.ndarray:
    """Matrix (bins, K) from the kept n to a law's pull from each bin of noise."""
    value, _ = _basis(levels, law.s)
    share = law.mass * law.s / (levels.spread**2 + law.s**2)
    return _binned(law.s, share[:, None] * value)


def rows_full(schedule: EDM, levels: Levels) -> np.ndarray:
    """The same for the gradient of DTQL's loss through an exact denoiser.

    There E||eps_hat - eps||^2 = -d KL(N(a, s^2) || p_s)/d log s, so its gradient on a is the slope
    of -m/s: the noise levels share the pull differently, its sum is that of `matched_law`.
    """
    s, mass = matched_law(schedule)
    value, slope = _basis(levels, s)
    wide = levels.spread**2 + s**2
    change = 2 * (s**2 / wide**2)[:, None] * value - slope / wide[:, None]
    return _binned(s, (mass * s * (s**2 / schedule.sigma_data**2 + 1) / 2)[:, None] * change)


def rows_slope(schedule: EDM, levels: Levels) -> np.ndarray:
    """The same from kept gradients of the residual, for a denoiser that is not exact."""
    s, mass = matched_law(schedule)
    weight = mass * s * (s**2 / schedule.sigma_data**2 + 1) / 2
    back = 2 * s**2 / (levels.spread**2 + s**2) ** 2
    return _binned(s, (weight * back)[:, None] * _basis(levels, s)[0])


def rows_own(schedule: EDM, levels: Levels) -> np.ndarray:
    """The same from a student's gradients, averaged over DTQL's law."""
    s, _ = matched_law(schedule)
    return _binned(s, _basis(levels, s)[0] / len(s))


def mean_fields(
    denoise: Denoise, levels: Levels, schedule: EDM, bounds: fields.Bounds, size: int
) -> np.ndarray:
    """n (K, 2, H, W): what a denoiser says at every action, averaged over the noise."""
    kept = []
    for s in levels.nodes:
        mean = fields.noise_moments(denoise, schedule, float(s), bounds, size).mean
        kept.append(mean.permute(2, 0, 1).numpy() * (levels.spread**2 + s**2) / s)
    return np.stack(kept)


def slope_fields(
    denoise: Denoise, levels: Levels, schedule: EDM, bounds: fields.Bounds, size: int
) -> np.ndarray:
    """Gradients (K, 2, H, W) of E||eps_hat - eps||^2 on the action, times (S^2 + s^2)^2/(2 s^2).

    Through the denoiser, by central differences of the exact expectation.
    """
    h = 0.2 * (bounds[1] - bounds[0]) / (size - 1)
    moves = ((h, 0.0), (-h, 0.0), (0.0, h), (0.0, -h))
    kept = []
    for s in levels.nodes:
        right, left, up, down = (
            fields.noise_moments(denoise, schedule, float(s), _moved(bounds, dx, dy), size).residual
            for dx, dy in moves
        )
        slope = torch.stack([right - left, up - down]).numpy() / (2 * h)
        kept.append(slope * (levels.spread**2 + s**2) ** 2 / (2 * s**2))
    return np.stack(kept)


def _moved(bounds: fields.Bounds, dx: float, dy: float) -> fields.Bounds:
    x0, x1, y0, y1 = bounds
    return x0 + dx, x1 + dx, y0 + dy, y1 + dy


def own_fields(
    mine: Callable[..., Any],
    denoise: Denoise,
    levels: Levels,
    schedule: EDM,
    bounds: fields.Bounds,
    size: int = 48,
) -> np.ndarray:
    """Gradients (K, 2, H, W) of a student's loss (B,), or what it returns as a gradient (B, 2)."""
    act = fields.grid(bounds, size)
    eps, shares = fields.hermite(6)
    kept = []
    for s in levels.nodes:
        t, total = torch.full((len(act),), float(s)), torch.zeros_like(act)
        for e, share in zip(eps, shares, strict=True):
            total += share * _own(mine, denoise, schedule, act, t, e.expand_as(act))
        kept.append(total.T.reshape(2, size, size).numpy())
    return np.stack(kept)


def _own(
    mine: Callable[..., Any],
    denoise: Denoise,
    schedule: EDM,
    act: torch.Tensor,
    t: torch.Tensor,
    eps: torch.Tensor,
) -> torch.Tensor:
    leaf = act.clone().requires_grad_()
    value = mine(denoise, schedule, leaf, t, eps)
    if isinstance(value, torch.Tensor) and value.shape == act.shape:
        return parts.checked(value, act.shape, "your gradient").detach()
    value = parts.checked(value, t.shape, "your regulariser")
    if not value.requires_grad:
        return torch.zeros_like(act)
    (grad,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True, materialize_grads=True)
    return grad


@parts.remembered(4)
def kept_fields(
    density: str, denoiser: str, schedule: EDM, seed: int, size: int, levels: tuple[Any, ...]
) -> dict[str, np.ndarray]:
    """The fields of a named density and denoiser: "mean", and of a trained one "slope", "true"."""
    bounds = parts.bounds_of(density, 1.12)
    at = Levels(np.array(levels[0]), levels[1])
    denoise = parts.denoiser_of(density, schedule, denoiser, seed)
    found = {"mean": mean_fields(denoise, at, schedule, bounds, size)}
    if denoiser != "exact":
        exact = toys.density(density).denoiser(schedule)
        found["slope"] = slope_fields(denoise, at, schedule, bounds, size)
        found["true"] = mean_fields(exact, at, schedule, bounds, size)
    return found
