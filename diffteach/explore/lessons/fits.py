"""Fits of a Gaussian or a Dirac to a tilted mixture, step by step, as mode_seeking.js has them.

A target is rows (weight, x, y, variance); a path is rows (x, y, l11, l21, l22, reverse, forward)
with L L' the covariance: KL(q||p) and KL(p||q), or for a Dirac -log p and E||a - q||^2 / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
STEPS, RATE = 90, 0.2
# Equally spaced nodes: log p has kinks between modes that Gauss-Hermite's outer nodes would miss.
_NODES = np.linspace(-4.2, 4.2, 28)
_SHARES = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()
_Z = np.stack(np.meshgrid(_NODES, _NODES, indexing="ij"), -1).reshape(-1, 2)
_W = np.outer(_SHARES, _SHARES).reshape(-1)


def tilted(mixture: Array, slope: Array, lam: float) -> Array:
    """The mixture times exp(slope.a / lam), again rows (weight, x, y, variance)."""
    weight, mean, var = mixture[:, 0], mixture[:, 1:3], mixture[:, 3]
    b = slope / lam
    with np.errstate(divide="ignore"):
        log_w = np.log(weight) + mean @ b + 0.5 * var * (b @ b)
    share = np.exp(log_w - log_w.max())
    return np.column_stack([share / share.sum(), mean + var[:, None] * b, var])


def log_target(target: Array, x: Array) -> tuple[Array, Array]:
    """log p (N,) and its gradient (N, 2) at points (N, 2)."""
    weight, mean, var = target[:, 0], target[:, 1:3], target[:, 3]
    gap = mean - x[:, None]
    with np.errstate(divide="ignore"):
        parts = np.log(weight / (2 * np.pi * var)) - 0.5 * (gap**2).sum(-1) / var
    top = parts.max(1)
    share = np.exp(parts - top[:, None])
    total = share.sum(1)
    score = np.einsum("nk,nka->na", share / var, gap) / total[:, None]
    return top + np.log(total), score


def log_density(target: Array, box: Array, size: float) -> Array:
    """log p on a size x size grid over the box."""
    n = int(size)
    x0, x1, y0, y1 = box
    y, x = np.meshgrid(np.linspace(y0, y1, n), np.linspace(x0, x1, n), indexing="ij")
    return log_target(target, np.stack([x, y], -1).reshape(-1, 2))[0].reshape(n, n)


def moments(target: Array) -> tuple[Array, Array]:
    """Mean (2,) and covariance (2, 2) of a target."""
    weight, means, var = target[:, 0], target[:, 1:3], target[:, 3]
    mean = weight @ means
    second = np.einsum("k,ka,kb->ab", weight, means, means) + (weight @ var) * np.eye(2)
    return mean, second - np.outer(mean, mean)


def entropy(target: Array) -> float:
    """Entropy in nats, by quadrature over each component."""
    return -sum(
        w * float(_W @ log_target(target, m + np.sqrt(v) * _Z)[0])
        for w, m, v in zip(target[:, 0], target[:, 1:3], target[:, 3], strict=True)
        if w > 0
    )


def _factor(state: Array) -> Array:
    return np.array([[state[2], 0.0], [state[3], state[4]]])


def _row(
    target: Array, state: Array, mean: Array, cov: Array, entropy_p: float, gaussian: float
) -> Array:
    spread = cov + np.outer(mean - state[:2], mean - state[:2])
    if not gaussian:
        return np.append(
            state, [-log_target(target, state[None, :2])[0][0], 0.5 * np.trace(spread)]
        )
    factor = _factor(state)
    expected = _W @ log_target(target, state[:2] + _Z @ factor.T)[0]
    volume = state[2] * state[4]
    cross = np.log(2 * np.pi * volume) + 0.5 * np.trace(np.linalg.inv(factor @ factor.T) @ spread)
    return np.append(state, [-np.log(2 * np.pi * np.e * volume) - expected, cross - entropy_p])


def _fitted(
    target: Array, start: Array, width: float, gaussian: float, step: Callable[..., Array]
) -> Array:
    (mean, cov), entropy_p = moments(target), entropy(target)
    spread = width if gaussian else 1e-3
    state = np.array([*start, spread, 0.0, spread])
    rows = [_row(target, state, mean, cov, entropy_p, gaussian)]
    for _ in range(STEPS):
        state = step(state, mean, cov)
        rows.append(_row(target, state, mean, cov, entropy_p, gaussian))
    return np.array(rows)


def reverse_path(target: Array, start: Array, width: float, gaussian: float) -> Array:
    """Descent of KL(q||p) from a start: natural-gradient steps (a Dirac: 0.03 times the score)."""

    def step(state: Array, mean: Array, cov: Array) -> Array:
        if not gaussian:
            return state + np.append(0.03 * log_target(target, state[None, :2])[1][0], [0.0] * 3)
        factor = _factor(state)
        score = log_target(target, state[:2] + _Z @ factor.T)[1] * _W[:, None]
        a, c = state[2], state[4]
        slopes = score.T @ _Z
        centre = state[:2] + RATE * factor @ factor.T @ score.sum(0)
        return np.array(
            [
                *centre,
                a * np.exp(RATE / 2 * (slopes[0, 0] * a + 1)),
                state[3] + RATE / 2 * slopes[1, 0] * c * c,
                c * np.exp(RATE / 2 * (slopes[1, 1] * c + 1)),
            ]
        )

    return _fitted(target, start, width, gaussian, step)


def forward_path(target: Array, start: Array, width: float, gaussian: float) -> Array:
    """Descent of KL(p||q) from a start: the moments move a tenth of their way at every step."""
    rate = RATE / 2

    def step(state: Array, mean: Array, cov: Array) -> Array:
        gap = mean - state[:2]
        centre = state[:2] + rate * gap
        if not gaussian:
            return np.append(centre, state[2:])
        own = _factor(state) @ _factor(state).T
        factor = np.linalg.cholesky(own + rate * (cov + (1 - rate) * np.outer(gap, gap) - own))
        return np.array([*centre, factor[0, 0], factor[1, 0], factor[1, 1]])

    return _fitted(target, start, width, gaussian, step)


def outline(path: Array, radius: float) -> Array:
    """Ellipse (65, 2) at `radius` deviations of a path's last Gaussian."""
    angle = 2 * np.pi * np.arange(65) / 64
    ring = radius * np.stack([np.cos(angle), np.sin(angle)], -1)
    return path[-1, :2] + ring @ _factor(path[-1]).T


def kept(path: Array, target: Array) -> float:
    """Modes of at least 5 % within three deviations of the last Gaussian, or 1.5 of theirs."""
    heavy = target[target[:, 0] >= 0.05]
    gap = heavy[:, 1:3] - path[-1, :2]
    inside = (np.linalg.solve(_factor(path[-1]), gap.T) ** 2).sum(0) < 9
    return float(np.sum(inside | ((gap**2).sum(1) < 2.25 * heavy[:, 3])))


def outside(path: Array, target: Array) -> float:
    """Share of the last Gaussian's mass where p is below a hundredth of its value at the modes."""
    radius = np.sqrt(-2 * np.log(1 - (np.arange(16) + 0.5) / 16))
    angle = 2 * np.pi * (np.arange(24) + 0.5) / 24
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    z = (radius[:, None, None] * ring).reshape(-1, 2)
    level = log_target(target, target[:, 1:3])[0].max() + np.log(0.01)
    return float(np.mean(log_target(target, path[-1, :2] + z @ _factor(path[-1]).T)[0] < level))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "tilted": tilted,
    "logDensity": log_density,
    "reversePath": reverse_path,
    "forwardPath": forward_path,
    "outline": outline,
    "kept": kept,
    "outside": outside,
    "modes": lambda target: float(np.sum(target[:, 0] >= 0.05)),
    "lastMean": lambda path: path[-1, :2],
    "meanPath": lambda path: path[:, :2],
}
