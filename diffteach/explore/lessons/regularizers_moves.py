"""Operations on a population of actions, as regularizers.js has them: descents, its own score."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from diffteach.explore.lessons import parts
from diffteach.explore.scene import Operation

STEPS, FOLLOW = 40, 10
_NODES = np.sqrt(3.0) * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
_SHARES = np.array([2, 1, 1, 1, 1]) / 6  # moments of N(0, I) up to the third, and u^4 of each axis
_Pull = Callable[[np.ndarray], np.ndarray]
_SOURCE = parts.source("vectors.js") + parts.source("regularizers.js")


def _steepest(force: np.ndarray, bounds: np.ndarray) -> float:
    dx, dy = ((bounds[k + 1] - bounds[k]) / (force.shape[2 - k // 2] - 1) for k in (0, 2))
    return max(np.diff(force[0], axis=1).max() / dx, np.diff(force[1], axis=0).max() / dy, 0.0)


def _uphill(points: np.ndarray, target: np.ndarray, reward: float) -> np.ndarray:
    """Slope of -Q: of |a - target|^2 (0), of -2|a| (1), or none (2)."""
    if reward == 0:
        return 2 * (points - target)
    if reward == 1:
        return -2 * points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-3)
    return np.zeros_like(points)


def _descent(
    start: np.ndarray,
    target: np.ndarray,
    reward: float,
    strength: np.ndarray | float,
    stiff: float,
    pull_at: _Pull,
    steps: int = STEPS,
) -> np.ndarray:
    path, strong = [start.astype(float)], np.reshape(strength, (-1, 1))
    for _ in range(steps):
        here = path[-1]
        slope = _uphill(here, target, reward) + strong * pull_at(here)
        path.append(here - slope / (2 + strong * stiff))
    return np.stack(path)


def pulled(
    start: np.ndarray,
    target: np.ndarray,
    reward: float,
    force: np.ndarray,
    strength: np.ndarray | float,
    bounds: np.ndarray,
) -> np.ndarray:
    """Descent (41, N, 2) of strength (or one a point) times a pull minus Q, point by point."""
    stiff = 1.5 * _steepest(force, bounds)

    def pull_at(points: np.ndarray) -> np.ndarray:
        return parts.vectors_at(force, points, bounds)

    return _descent(start, target, reward, strength, stiff, pull_at)


def crowd(points: np.ndarray, members: np.ndarray, kernels: np.ndarray) -> np.ndarray:
    """Mean noise (N, 2) that a policy's own denoiser sees at points: it is a Gaussian per member.

    A row (S, weight) of `kernels` (L, 2) is a noise level: with the member's own width the density
    is a mixture of N(member, S^2), and weight multiplies E[x - E[member | x]], x ~ N(point, S^2).
    """
    out = np.zeros_like(points, dtype=float)
    for width, weight in kernels[kernels[:, 1] != 0]:
        x = points[:, None] + width * _NODES
        gap = members - x[:, :, None]
        far = np.square(gap).sum(-1)
        share = np.exp(-0.5 / width**2 * (far - far.min(-1, keepdims=True)))
        toward = np.einsum("nqm,nqma->nqa", share / share.sum(-1, keepdims=True), gap)
        out -= weight * np.einsum("q,nqa->na", _SHARES, toward)
    return out


def _whole(force: np.ndarray, kernels: np.ndarray, bounds: np.ndarray) -> tuple[float, _Pull]:
    """How stiff the pull on a policy's members is, and that pull: the field less its own score."""

    def pull_at(points: np.ndarray) -> np.ndarray:
        return parts.vectors_at(force, points, bounds) - crowd(points, points, kernels)

    return _steepest(force, bounds) + kernels[:, 1].sum(), pull_at


def distilled(
    start: np.ndarray,
    target: np.ndarray,
    reward: float,
    force: np.ndarray,
    kernels: np.ndarray,
    strength: float,
    bounds: np.ndarray,
) -> np.ndarray:
    """Descent (41, N, 2) of a policy as a whole: pulled by a field, kept apart by its own score."""
    return _descent(start, target, reward, strength, *_whole(force, kernels, bounds))


def followed(
    start: np.ndarray,
    target: np.ndarray,
    reward: float,
    force: np.ndarray,
    kernels: np.ndarray,
    strengths: np.ndarray,
    bounds: np.ndarray,
) -> np.ndarray:
    """Where the mean (K, 2) of such a policy goes while lambda falls, from the last strength on."""
    whole, means, members = _whole(force, kernels, bounds), [], start
    for strength in strengths[::-1]:
        members = _descent(members, target, reward, strength, *whole, FOLLOW)[-1]
        means.append(members.mean(0))
    return np.stack(means[::-1])


def reached(path: np.ndarray, share: float) -> np.ndarray:
    """The members (N, 2) at a share of the way along a descent (T, N, 2)."""
    at = min(max(share, 0.0), 1.0) * (len(path) - 1)
    k = min(int(at), len(path) - 2)
    return (1 - (at - k)) * path[k] + (at - k) * path[k + 1]


def member(path: np.ndarray, index: float) -> np.ndarray:
    """Way (T, 2) of one member along a descent (T, N, 2)."""
    return path[:, int(index)]


def shortened(vectors: np.ndarray, middle: float, longest: float) -> np.ndarray:
    """Arrows no longer than `longest`, half of it where a vector's length is `middle`."""
    return longest * vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + middle)


def sizes(vectors: np.ndarray) -> np.ndarray:
    """Lengths of vectors (K K, 2) as a field (K, K) of powers of ten."""
    side = math.isqrt(len(vectors))
    return np.log10(np.linalg.norm(vectors, axis=-1) + 1e-9).reshape(side, side)


def joined(point: np.ndarray, points: np.ndarray) -> np.ndarray:
    """One point (2,) and a list (N, 2), as a list (N + 1, 2)."""
    return np.concatenate([point[None], points])


FUNCTIONS = (
    *(
        Operation(function.__name__, function, _SOURCE)
        for function in (
            pulled,
            crowd,
            distilled,
            followed,
            reached,
            member,
            shortened,
            sizes,
            joined,
        )
    ),
    Operation("vectorsAt", parts.vectors_at, _SOURCE),
    Operation("listed", np.atleast_2d, _SOURCE),
)
