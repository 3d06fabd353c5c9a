"""A critic that learns from a set's actions and is asked about all: the problem of lesson 01."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffteach import toys
from diffteach.critics import DoubleQ, DoubleQConfig
from diffteach.explore.lessons import parts
from diffteach.explore.scene import Operation
from diffteach.nets import Critics
from diffteach.plane import Bandit, bandit
from diffteach.types import QFunction

REWARDS = ("cliff", "far", "near", "own")
STEPS = tuple(round(8 * 10 ** (k / 4)) for k in range(9))
"""Training steps at which the critic is kept: 8 to 800"""
CRITIC = DoubleQConfig(discount=0.0, lr=3e-3, network=partial(Critics, width=64))
POINTS = 2000
_ANGLE, _DROP = 0.5, 2.0


def cliff(density: str) -> QFunction:
    """A reward that rises along one direction as far as the data go, and just beyond drops by 2.

    1 at the foremost of 4096 points; it falls slowly to both sides. No point hints at the drop.
    """
    along = torch.tensor([math.cos(_ANGLE), math.sin(_ANGLE)])
    across = torch.tensor([-math.sin(_ANGLE), math.cos(_ANGLE)])
    reach = float((toys.load(density, 4096, 0)[0] @ along).max())

    def reward(a: Tensor) -> Tensor:
        s, t = (a @ along.to(a)) / reach, (a @ across.to(a)) / reach
        return s - 0.3 * t.square() - _DROP * (1 - torch.exp(-40 * (s - 1).relu().square()))

    return reward


def problem(density: str = "8gaussians", reward: str = "cliff", seed: int = 0) -> Bandit:
    """2000 points of a named set with a reward: "cliff", "far", "near", or the set's "own".

    ValueError for another name, and for an own reward that is the same at all points.
    """
    if reward not in REWARDS:
        raise ValueError(f"reward must be one of {', '.join(REWARDS)}, got {reward!r}")
    if reward != "cliff":
        return bandit(density, None if reward == "own" else reward, POINTS, seed)
    q = cliff(density)
    base = bandit(density, "far", POINTS, seed)
    return replace(base, reward=q(base.points), q=q)


def training(
    data: Bandit, seed: int = 0, keep: Sequence[int] = STEPS
) -> Iterator[tuple[int, DoubleQ]]:
    """Two critics that regress on the rewards, 256 rows a step: (step, critic) at the steps kept.

    It is one critic that learns on: what was yielded before changes.
    """
    critic = CRITIC.build(1, 2, max(keep), seed)
    for step, batch in zip(range(1, max(keep) + 1), data.source(seed)(256), strict=False):
        critic.step(batch, torch.zeros_like(batch.rew))
        if step in keep:
            yield step, critic


def values(critic: DoubleQ, points: Float[Tensor, "N 2"]) -> Float[Tensor, "2 N"]:
    """What one critic says (first row), and the lesser of two (second row), at points (N, 2)."""
    with torch.no_grad():
        heads = critic.online(torch.ones(1, 1), points)
    return torch.stack([heads[0], heads.amin(0)])


def rms(errors: Float[Tensor, "*B N"]) -> Float[Tensor, "*B"]:
    """Root mean square over the last axis."""
    return errors.square().mean(-1).sqrt()


# --- what the browser computes too (why_regularize.js) -----------------------------------------


def expectile(values: np.ndarray, tau: float | int) -> float:
    """Minimiser m of sum |tau - 1(v < m)| (v - m)^2: IQL's value of these values (Eq. 5)."""
    m = float(values.mean())
    for _ in range(60):
        weights = np.where(values < m, 1 - tau, tau)
        m, before = float(weights @ values / weights.sum()), m
        if m == before:
            break
    return m


def histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Outline (2B + 2,) of the shares between B + 1 edges; what lies beyond counts at the ends."""
    bins = len(edges) - 1
    place = np.floor((values - edges[0]) / (edges[-1] - edges[0]) * bins)
    counts = np.bincount(np.clip(place, 0, bins - 1).astype(int), minlength=bins)
    return np.concatenate([[0.0], np.repeat(counts / len(values), 2), [0.0]])


def above(points: np.ndarray, values: np.ndarray, level: float | int) -> np.ndarray:
    """The points (N, 2) whose value is at least a level; the others are NaN."""
    return np.where((values >= level)[:, None], points, np.nan)


_SOURCE = parts.source("why_regularize.js")
FUNCTIONS = tuple(Operation(f.__name__, f, _SOURCE) for f in (expectile, histogram, above))
