"""Operations on one dragged action, as one_point.js has them: blends, bars and descents."""

from __future__ import annotations

import numpy as np

from diffteach.explore.lessons import parts
from diffteach.explore.scene import Operation

_SOURCE = parts.source("vectors.js") + parts.source("one_point.js")
_STEPS, _EVERY = 400, 4


def blended(rows: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """One field (2, H, W) of kept levels (K, 2, H, W), weighted by the sums of rows (B, K)."""
    return np.tensordot(rows.sum(0), levels, 1)


def bars(rows: np.ndarray, levels: np.ndarray, point: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Each bin's pull (B, 2) at a point: rows (B, K) times the levels read there."""
    return rows @ np.stack([parts.vectors_at(level, point, bounds) for level in levels])


def stairs(heights: np.ndarray) -> np.ndarray:
    """Outline (2B + 2,) of bars, from zero to zero."""
    return np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])


def turn(u: np.ndarray, v: np.ndarray) -> float:
    """Degrees between two vectors."""
    return float(np.degrees(np.abs(np.arctan2(u[0] * v[1] - u[1] * v[0], u @ v))))


def segment(point: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The straight line (2, 2) from a point along a vector."""
    return np.stack([point, point + along])


def slide(
    point: np.ndarray,
    target: np.ndarray,
    force: np.ndarray,
    strength: float,
    bounds: np.ndarray,
) -> np.ndarray:
    """Descent path (101, 2) of |a - target|^2 plus strength times the pull.

    Gradient steps as long as the steepest rise of the pull allows.
    """
    dx, dy = ((bounds[k + 1] - bounds[k]) / (force.shape[2 - k // 2] - 1) for k in (0, 2))
    rise = max(np.diff(force[0], axis=1).max() / dx, np.diff(force[1], axis=0).max() / dy, 0.0)
    stiff, path = 2 + 1.5 * strength * rise, [point.astype(float)]
    for _ in range(_STEPS):
        here = path[-1]
        pull = strength * parts.vectors_at(force, here, bounds)
        path.append(here - (2 * (here - target) + pull) / stiff)
    return np.array(path[::_EVERY])


FUNCTIONS = (
    *(
        Operation(function.__name__, function, _SOURCE)
        for function in (blended, bars, stairs, turn, segment, slide)
    ),
    Operation("vectorsAt", parts.vectors_at, _SOURCE),
    Operation("listed", np.atleast_2d, _SOURCE),
)
