"""Pulls of four regularisers as fields of one curvature at a mode, and what VSD's policy adds.

BC is TD3+BC's squared distance, averaged over the data; DTQL's trust region and SRPO are lesson
07's. VSD's policy is a Gaussian of width h about each of its members, so that its own score at
every noise level is exact; it hears a few levels that stand for SRPO's whole law.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.lessons import one_point_bands as bands
from diffteach.explore.lessons import parts
from diffteach.explore.lessons.pulls import mode_of
from diffteach.schedule import EDM
from diffteach.types import Denoise

LEVELS, SIZE = 3, 64
_NOISE = 4  # nodes a side of the noise rule for VSD's field


def few(law: bands.Law, scale: float | int, count: int = LEVELS) -> bands.Law:
    """Gauss's rule of a law: `count` levels that integrate polynomials in s^2/(scale^2 + s^2).

    By Lanczos, exact up to degree 2 count - 1; a law of no more levels is left alone.
    """
    if len(law.s) <= count:
        return law
    x = law.s**2 / (scale**2 + law.s**2)
    share = law.mass * law.s / (scale**2 + law.s**2)
    basis, centre, beside = [np.sqrt(share / share.sum())], [], []
    for _ in range(count):
        new = x * basis[-1]
        centre.append(basis[-1] @ new)
        for known in (*basis, *basis):
            new = new - (known @ new) * known
        beside.append(np.linalg.norm(new))
        basis.append(new / beside[-1])
    nodes, turns = np.linalg.eigh(
        np.diag(centre) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    )
    s = scale * np.sqrt(nodes / (1 - nodes))
    return bands.Law(s, share.sum() * turns[0] ** 2 * (scale**2 + s**2) / s)


def width_of(std: float | int, window: float | int) -> float:
    """Width h of a member of VSD's policy: half a mode's, and never lost in the window."""
    return max(0.5 * std, 0.03 * window)


def gain_of(law: bands.Law, std: float | int) -> float:
    """What makes a law's curvature at an isolated mode that of the true score, 1/std^2."""
    return 1 / (std**2 * bands.curvature(law, std))


def own_score(law: bands.Law, width: float | int, gain: float | int) -> np.ndarray:
    """Kernels (LEVELS, 2) of `regularizers_moves.crowd` for a law; absent levels weigh nothing."""
    rows = np.tile([1.0, 0.0], (LEVELS, 1))
    spread = width**2 + law.s**2
    rows[: len(law.s)] = np.stack([np.sqrt(spread), gain * law.mass * law.s / spread], -1)
    return rows


def spread_field(
    denoise: Denoise, law: bands.Law, width: float | int, bounds: fields.Bounds, size: int
) -> np.ndarray:
    """VSD's pull (2, H, W) towards the data on a member of width h: noise meets a + h z."""
    act, total = fields.grid(bounds, size), torch.zeros(size * size, 2)
    eps, shares = fields.hermite(_NOISE)
    for s, mass in zip(law.s, law.mass, strict=True):
        t, reach = torch.full((len(act),), float(s)), math.hypot(width, s)
        for e, share in zip(eps, shares, strict=True):
            total += float(mass) * share * denoise(act + reach * e, t)
    return total.T.reshape(2, size, size).numpy()


def distance_field(mean: np.ndarray, bounds: fields.Bounds, gain: float | int) -> np.ndarray:
    """Pull (2, 2, 2) of the squared distance to the data, gain (a - mean), at the corners."""
    corners = fields.grid(bounds, 2).numpy().reshape(2, 2, 2)
    return np.moveaxis(gain * (corners - mean), -1, 0)


class Place(NamedTuple):
    """Where data lie: a mode's deviation, the half-width of their window, their mean (2,)."""

    std: float
    window: float
    mean: np.ndarray

    @property
    def bounds(self) -> fields.Bounds:
        """The square of the picture."""
        half = 1.12 * self.window
        return -half, half, -half, half


def matched(
    denoise: Denoise, kept: Mapping[str, np.ndarray], levels: bands.Levels, place: Place
) -> dict[str, np.ndarray]:
    """Every pull at curvature 1/std^2: of BC and DTQL, and per ω of SRPO and VSD with its kernels.

    `kept` are lesson 07's fields at `levels`, "mean" and of a trained denoiser "slope".
    """
    schedule, std = EDM(), place.std
    width, scale = width_of(std, place.window), math.sqrt(std * place.window)
    full = bands.rows_slope if "slope" in kept else bands.rows_full
    srpo, real, own = [], [], []
    for law in bands.srpo_laws():
        some = few(law, scale)
        gain = gain_of(some, std)
        rows = gain_of(law, std) * bands.rows(law, levels)
        srpo.append(np.tensordot(rows.sum(0), kept["mean"], 1))
        real.append(gain * spread_field(denoise, some, width, place.bounds, SIZE))
        own.append(own_score(some, width, gain))
    rows = gain_of(bands.matched_law(schedule), std) * full(schedule, levels)
    return {
        "bc": distance_field(place.mean, place.bounds, 1 / std**2),
        "tr": np.tensordot(rows.sum(0), kept.get("slope", kept["mean"]), 1),
        "srpo": np.stack(srpo),
        "vsd": np.stack(real),
        "own_score": np.stack(own),
    }


def _levels(density: str, seed: int) -> tuple[bands.Levels, Place]:
    points, window = toys.load(density, 4000, seed)[0].numpy(), toys.window(density)
    _, std = mode_of(toys.density(density), window)
    return bands.levels_of(points, std, window), Place(std, window, points.mean(0))


@parts.remembered(4)
def fields_of(density: str, denoiser: str, seed: int) -> tuple[dict[str, np.ndarray], Place]:
    """The matched pulls of a named density and denoiser, and where its data lie."""
    levels, place = _levels(density, seed)
    at = (tuple(levels.nodes), levels.spread)
    kept = bands.kept_fields(density, denoiser, EDM(), seed, SIZE, at)
    return matched(parts.denoiser_of(density, EDM(), denoiser, seed), kept, levels, place), place


def student_field(mine: Callable[..., Any], density: str, denoiser: str, seed: int) -> np.ndarray:
    """A student's pull (2, H, W), a loss (B,) or a gradient (B, 2), with DTQL's law and gain."""
    (levels, place), schedule = _levels(density, seed), EDM()
    denoise = parts.denoiser_of(density, schedule, denoiser, seed)
    kept = bands.own_fields(mine, denoise, levels, schedule, place.bounds)
    rows = gain_of(bands.matched_law(schedule), place.std) * bands.rows_own(schedule, levels)
    return np.tensordot(rows.sum(0), kept, 1)
