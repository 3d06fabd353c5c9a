"""Pulls of SRPO's regulariser, and where they take the targets of a quadratic reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.lessons import parts
from diffteach.objectives import kl_weight, score_regularization_grad, unit_weight, variance_weight
from diffteach.schedule import VP
from diffteach.types import Denoise, Schedule

SCHEDULE = VP()
WEIGHTS: Mapping[str, Callable[[Schedule, Tensor], Tensor]] = {
    "σ²": variance_weight,
    "1": unit_weight,
    "α/σ": kl_weight,
}
T0 = tuple(float(t) for t in np.linspace(0.02, 0.98, 9))
TIMES = 0.02 + 0.96 * (torch.arange(48) + 0.5) / 48
HALF = 5.0
BOUNDS = (-HALF, HALF, -HALF, HALF)
TARGETS = np.stack(np.meshgrid(*[np.linspace(-4.5, 4.5, 7)] * 2), -1).reshape(-1, 2)
_STEPS, _RATE, _BETA1, _BETA2 = 200, 0.1, 0.8, 0.95


def descend(
    targets: np.ndarray, force: np.ndarray, strength: float, bounds: np.ndarray
) -> np.ndarray:
    """Points (N, 2) that descend |a - target|^2 plus strength times the pull, each from its target.

    Adam, 200 steps with a cosine rate: the pull's curvature spans four orders of magnitude.
    """
    points = targets.astype(float)
    first, second = np.zeros_like(points), np.zeros_like(points)
    for step in range(1, _STEPS + 1):
        rate = _RATE * 0.5 * (1 + np.cos(np.pi * (step - 1) / _STEPS))
        slope = 2 * (points - targets) + strength * parts.vectors_at(force, points, bounds)
        slope /= 2 + strength
        first = _BETA1 * first + (1 - _BETA1) * slope
        second = _BETA2 * second + (1 - _BETA2) * slope**2
        unbiased = first / (1 - _BETA1**step), second / (1 - _BETA2**step)
        points = points - rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-6)
    return points


def precision(weight: Callable[[Schedule, Tensor], Tensor], std: float | int) -> float:
    """Curvature c that a weight puts on N(m, std^2): the force is c (a - m) (SRPO Eq. 15).

    c = E_t[w sigma alpha/(alpha^2 std^2 + sigma^2)] over t ~ U(.02, .98).
    """
    t = 0.02 + 0.96 * (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    return float((weight(SCHEDULE, t) * sigma * alpha / (alpha**2 * std**2 + sigma**2)).mean())


def mode_of(density: toys.Density, half: float = HALF) -> tuple[np.ndarray, float]:
    """The densest point within +-half and the std of the Gaussian with the same curvature there.

    Seen at noise t = .02; the std is kept in [.05, .75], since a flat top has no curvature.
    """
    bounds, size = (-half, half, -half, half), 201
    time = torch.tensor([0.02])
    alpha, sigma = float(SCHEDULE.alpha(time)), float(SCHEDULE.sigma(time))
    log_p = fields.on_grid(lambda x: density.noised(alpha, sigma).log_prob(alpha * x), bounds, size)
    i, j = np.unravel_index(np.argmax(log_p), log_p.shape)
    h = 2 * half / (size - 1)
    bend = log_p[i - 1, j] + log_p[i + 1, j] + log_p[i, j - 1] + log_p[i, j + 1] - 4 * log_p[i, j]
    noisy = -2 * h**2 / bend if bend < 0 else np.inf
    std = float(np.sqrt(np.clip(noisy - (sigma / alpha) ** 2, 0.05**2, 0.75**2)))
    return np.array([-half + j * h, -half + i * h]), std


@parts.remembered(4)
def pulls_of(density: str, denoiser: str, seed: int, size: int) -> tuple[list[fields.Pull], ...]:
    """Pulls averaged over t for each of WEIGHTS, and the true score's at each of T0."""
    denoise = parts.denoiser_of(density, SCHEDULE, denoiser, seed)
    averaged = [fields.pull(denoise, SCHEDULE, TIMES, w, BOUNDS, size) for w in WEIGHTS.values()]
    single = [
        fields.pull(denoise, SCHEDULE, torch.tensor([t]), kl_weight, BOUNDS, size) for t in T0
    ]
    return averaged, single


def measured(denoise: Denoise, mode: np.ndarray, seed: int) -> np.ndarray:
    """Variance per dimension of the library's gradient (weight 1) at the mode: (2, T)."""
    generator, n = torch.Generator().manual_seed(seed), 2048
    act = torch.tensor(mode).float().expand(n, 2)
    rows = []
    for baseline in (True, False):
        row = []
        for t in TIMES[2::4]:
            eps = torch.randn(n, 2, generator=generator)
            time = t.expand(n)
            grad = score_regularization_grad(
                denoise, SCHEDULE, act, time, eps, torch.ones(n), baseline
            )
            row.append(float(grad.var(0).mean()))
        rows.append(row)
    return np.array(rows)


def own_force(mine: Callable[..., Any], density: str, denoiser: str, seed: int) -> np.ndarray:
    """Mean force (2, H, W) of a student's gradient(denoise, schedule, act, t, eps) -> (B, 2)."""
    denoise = parts.denoiser_of(density, SCHEDULE, denoiser, seed)
    size = 48
    act, force = fields.grid(BOUNDS, size), torch.zeros(size * size, 2)
    eps, shares = fields.hermite(3)
    for t in TIMES[1::2]:
        for e, share in zip(eps, shares, strict=True):
            value = mine(denoise, SCHEDULE, act, t.expand(len(act)), e.expand_as(act))
            value = parts.checked(value, act.shape, "your gradient")
            force += share * value.detach() / len(TIMES[1::2])
    return force.T.reshape(2, size, size).numpy()
