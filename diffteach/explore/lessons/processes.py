"""Points run through noise and back, for the lesson `noising`.

Everything is kept in VP's own scale. EDM's point at the same signal-to-noise ratio is z = x/alpha,
at level s = sigma/alpha; its network and its steps are its own, only the result is scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from diffteach import toys
from diffteach.explore.expression import at
from diffteach.explore.lessons import parts
from diffteach.sampling import heun
from diffteach.schedule import EDM, VP, perturb, x0_from_eps
from diffteach.types import Denoise, Schedule

SCHEDULE = VP()
SCHEDULES: tuple[VP | EDM, VP | EDM] = (SCHEDULE, EDM())
LOW, KNOTS, SUBSTEPS = 0.01, 34, 6
# Even in sqrt(t): where noise is small, less time undoes as much of it.
TIMES = torch.linspace(LOW**0.5, 1.0, KNOTS).square()
_FINE = torch.linspace(1.0, LOW**0.5, SUBSTEPS * (KNOTS - 1) + 1).square()
NAMES = ("VP ODE", "VP SDE", "EDM ODE", "EDM SDE")
KINDS = ("exact", "trained", "memorised")
TRAIN = 64

Array = np.ndarray
Value = float | np.ndarray  # a number of a formula; numpy may have it as an array of none
Path = Float[Tensor, "T N 2"]


def level(t: Float[Tensor, " T"]) -> Float[Tensor, " T"]:
    """EDM's noise level sigma/alpha at VP times: the same ratio of signal to noise."""
    return SCHEDULE.sigma(t) / SCHEDULE.alpha(t)


def training_points(density: str, seed: int) -> Float[Tensor, "n 2"]:
    """The few points that the memorising denoiser knows."""
    return toys.load(density, TRAIN, seed)[0]


def denoiser_of(density: str, schedule: EDM | VP, kind: str, seed: int) -> Denoise:
    """The exact denoiser, one trained on 10,000 points, or one that has memorised 64."""
    if kind == "memorised":
        return toys.empirical(training_points(density, seed), 0).denoiser(schedule)
    return parts.denoiser_of(density, schedule, kind, seed)


def noised(clean: Float[Tensor, "N 2"], generator: torch.Generator) -> Path:
    """The forward process at `TIMES`: x/alpha takes independent steps of variance s'^2 - s^2."""
    s = level(TIMES)
    steps = torch.diff(s.square(), prepend=torch.zeros(1)).sqrt()
    eps = torch.randn(len(s), *clean.shape, generator=generator)
    z = clean + torch.cumsum(steps[:, None, None] * eps, 0)
    return SCHEDULE.alpha(TIMES)[:, None, None] * z


def ancestral_step(
    denoise: Denoise,
    schedule: Schedule,
    x_t: Float[Tensor, "B 2"],
    t: Shaped[Tensor, " B"],
    before: Shaped[Tensor, " B"],
    noise: Float[Tensor, "B 2"],
) -> Float[Tensor, "B 2"]:
    """One step of the reverse SDE from t to a less noisy time: x_before given x_t and x0_hat.

    The Gaussian posterior of the forward process, with the denoised point for the clean one
    (Ho et al. 2020, Eqs. 6-7, between any two times).
    """
    x0 = x0_from_eps(schedule, x_t, t, denoise(x_t, t))
    alpha, sigma, a, s = (
        f(u)[:, None] for u in (t, before) for f in (schedule.alpha, schedule.sigma)
    )
    kept = (s * alpha / (a * sigma)).square()  # ratio of squared levels
    return a * (x0 + kept * (x_t / alpha - x0)) + s * (1 - kept).sqrt() * noise


def ode(denoise: Denoise, schedule: EDM | VP, start: Float[Tensor, "N 2"]) -> Path:
    """Probability flow from noise, by Heun's rule; points at the reversed `TIMES`."""
    clock, scale = _own(schedule)
    with torch.no_grad():
        steps = list(heun(denoise, schedule, start / scale[0], clock))[:-1]
    path = torch.stack([start, *(a * x for a, x in zip(scale[1:], steps, strict=True))])
    return path[::SUBSTEPS]


def sde(
    denoise: Denoise, schedule: EDM | VP, start: Float[Tensor, "N 2"], generator: torch.Generator
) -> Path:
    """The reverse SDE from noise, by ancestral steps; points at the reversed `TIMES`."""
    clock, scale = _own(schedule)
    x, path = start / scale[0], [start]
    with torch.no_grad():
        for k in range(len(clock) - 1):
            t, before = (clock[j].expand(len(x)) for j in (k, k + 1))
            x = ancestral_step(
                denoise, schedule, x, t, before, torch.randn(x.shape, generator=generator)
            )
            path.append(scale[k + 1] * x)
    return torch.stack(path)[::SUBSTEPS]


def _own(schedule: EDM | VP) -> tuple[Tensor, Tensor]:
    """The fine times on a schedule's own clock, and what its points times this are on VP's."""
    if isinstance(schedule, EDM):
        return level(_FINE), SCHEDULE.alpha(_FINE)
    return _FINE, torch.ones_like(_FINE)


def four(
    denoisers: tuple[Denoise, Denoise], start: Float[Tensor, "N 2"], seed: int
) -> Float[Tensor, "4 T N 2"]:
    """The four processes of `NAMES` from one start; both SDEs see the same noise."""
    paths = []
    for denoise, schedule in zip(denoisers, SCHEDULES, strict=True):
        paths.append(ode(denoise, schedule, start))
        paths.append(sde(denoise, schedule, start, torch.Generator().manual_seed(seed)))
    return torch.stack(paths)


def answer(denoise: Denoise, schedule: EDM | VP, x: Float[Tensor, "N 2"], t: float) -> Tensor:
    """Denoised points (N, 2) of points on VP's scale at VP's time."""
    rows = torch.full((len(x),), t)
    if isinstance(schedule, EDM):
        x, rows = x / SCHEDULE.alpha(rows)[:, None], level(rows)
    with torch.no_grad():
        return x0_from_eps(schedule, x, rows, denoise(x, rows))


def miss(
    denoise: Denoise, schedule: EDM | VP, path: Path, times: Tensor, ends: Tensor
) -> Float[Tensor, " T"]:
    """Root mean square distance of the denoised point from where the path began or ends."""
    gaps = [answer(denoise, schedule, x, float(t)) - ends for x, t in zip(path, times, strict=True)]
    return torch.stack([g.square().sum(-1).mean().sqrt() for g in gaps])


def score_errors(
    denoisers: tuple[Denoise, Denoise], exact: Denoise, clean: Float[Tensor, "N 2"], seed: int
) -> Float[Tensor, "3 T"]:
    """RMS error of VP's and of EDM's score on noisy data at `TIMES`, and RMS of the score itself.

    On VP's scale: the distance of two denoised points times alpha/sigma^2.
    """
    eps = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    rows = []
    for t in TIMES:
        time = t.expand(len(clean))
        x = perturb(SCHEDULE, clean, time, eps)
        right = answer(exact, SCHEDULE, x, float(t))
        alpha, sigma = (f(t[None]) for f in (SCHEDULE.alpha, SCHEDULE.sigma))
        gaps = [
            *(
                alpha * (answer(d, s, x, float(t)) - right)
                for d, s in zip(denoisers, SCHEDULES, strict=True)
            ),
            alpha * right - x,
        ]
        rows.append(torch.stack([(g / sigma**2).square().sum(-1).mean().sqrt() for g in gaps]))
    return torch.stack(rows, 1)


# --- what the browser computes too (noising.js) ------------------------------------------------


def _between(array: Array, knots: Array, value: Value) -> Array:
    k = min(max(int(np.searchsorted(knots, value, side="right")) - 1, 0), len(knots) - 2)
    share = float(np.clip((value - knots[k]) / (knots[k + 1] - knots[k]), 0, 1))
    return np.asarray(array[k] * (1 - share) + array[k + 1] * share)


def moment(
    there: Array, back: Array, which: Value, knots: Array, time: Value, first: Value, count: Value
) -> Array:
    """Points (count, 2) of the film at a time: noising up to 1, process `which` after it."""
    rows = slice(int(first), int(first + count))
    if time <= 1:
        return _between(there[:, rows], knots, time)
    return _between(back[int(which)][:, rows], 2 - knots[::-1], time)


def trails(
    there: Array,
    back: Array,
    which: Value,
    knots: Array,
    time: Value,
    first: Value,
    count: Value,
    gains: Array,
    gain: Value,
) -> Array:
    """Paths (count, T + 1, 2) of the film's present half up to now, divided by the gains (T,)."""
    rows = slice(int(first), int(first + count))
    half = there[:, rows] if time <= 1 else back[int(which)][:, rows]
    clock, scale = (knots, gains) if time <= 1 else (2 - knots[::-1], gains[::-1])
    path = half / scale[:, None, None]
    path[clock > time] = np.nan
    now = moment(there, back, which, knots, time, first, count) / gain
    tips = np.concatenate([path, np.full((1, *now.shape), np.nan)])
    tips[int(np.sum(clock <= time))] = now
    return np.ascontiguousarray(np.swapaxes(tips, 0, 1))


def zoomed(fields: Array, knots: Array, t: Value, factor: Value, box: Array) -> Array:
    """The field at time t, (H, W), read at `factor` times its nodes' coordinates."""
    x0, x1, y0, y1 = (float(b) for b in box)
    field = _between(fields, knots, t)
    rows, cols = field.shape
    y, x = np.meshgrid(np.linspace(y0, y1, rows), np.linspace(x0, x1, cols), indexing="ij")
    return np.asarray(at(field, factor * np.stack([x, y], -1), (x0, x1, y0, y1)))


def vector(fields: Array, knots: Array, t: Value, point: Array, box: Array) -> Array:
    """The vector (2,) of fields (T, 2, H, W) at time t and a point."""
    return parts.vectors_at(_between(fields, knots, t), point, box)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "trails": trails,
    "zoomed": zoomed,
    "vector": vector,
    "reading": lambda rows, knots, t: _between(rows, knots, t),
}
