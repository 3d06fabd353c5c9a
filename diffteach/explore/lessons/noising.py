"""Lesson 03: data dissolve in noise and come back, by the flow and by the SDE (SRPO Eq. 4, 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffteach import toys
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.lessons.film import BOUNDS, COPIES, CROWD, SHOWN, losses, stacks_of
from diffteach.explore.lessons.processes import (
    FUNCTIONS,
    KINDS,
    LOW,
    NAMES,
    SCHEDULE,
    SUBSTEPS,
    TIMES,
    ode,
    training_points,
)
from diffteach.explore.params import Choice, Handle, Slider
from diffteach.explore.scene import (
    Layer,
    Operation,
    Panel,
    Prediction,
    Readout,
    Scene,
    Stack,
    layer,
)

DENSITIES = tuple(n for n in parts.DENSITIES if toys.window(n) == 4.5)
_SOURCE = parts.source("vectors.js") + parts.source("noising.js")

LET: Mapping[str, str] = {
    "t": "1 - abs(1 - time)",
    "back": "time > 1",
    "alpha": f"exp(-t*({(SCHEDULE.beta_max - SCHEDULE.beta_min) / 4}*t + {SCHEDULE.beta_min / 2}))",
    "sigma": "sqrt(1 - alpha**2)",
    **{
        f"{name}_{side}": formula.replace("SIDE", side)
        for side in ("left", "right")
        for name, formula in (
            ("own", "where(SIDE >= 2, alpha, 1)"),
            ("sde", "SIDE - 2*(SIDE >= 2)"),
            ("now", f"moment(there, here, SIDE, knots, time, 0, {SHOWN})/own_SIDE"),
            (
                "trail",
                f"trails(there, here, SIDE, knots, time, {SHOWN}*(paths == 1), {COPIES}, "
                "where(SIDE >= 2, alphas, 1 + 0*alphas), own_SIDE)",
            ),
            ("heat", "zoomed(logp, levels, t, own_SIDE, box)"),
            ("gap", "median(nearest(now_SIDE*own_SIDE/alpha, data))"),
            ("spread", "column(spreads, SIDE)"),
        )
    },
    "orange": "row(moment(there, here, left, knots, where(revealed, time, 1), 0, 1), 0)"
    "/where(left >= 2, where(revealed, alpha, row(alphas, -1)), 1)",
    "fate": "row(fates, left)",
    "denoised": "vector(x0, levels, t, probe*own_left, box)",
    "misses": "row(miss, left >= 2)",
    "missed": "reading(misses, knots, t)",
    "known": "row(losses, 0)",
}


def _plane(panel: int, side: str) -> tuple[Layer, ...]:
    back = (("vermilion", "ODE"), ("green", "SDE"))
    when = [f"revealed*back*(sde_{side} == {k})" for k in (0, 1)]
    return (
        layer(
            "heat",
            panel,
            field=f"heat_{side}",
            low="-6",
            high="0",
            colors="density",
            label="log p_t below its peak",
        ),
        layer("points", panel, xy="data", color="muted", size=1.8, when="t < 0.3", legend="data"),
        layer(
            "path",
            panel,
            xy=f"trail_{side}",
            color="muted",
            width=1.3,
            when="(paths < 2)*(back == 0)",
        ),
        *(
            layer(
                "path", panel, xy=f"trail_{side}", color=color, width=1.6, when=f"(paths < 2)*{w}"
            )
            for (color, _), w in zip(back, when, strict=True)
        ),
        layer("points", panel, xy=f"now_{side}", size=5, when="back == 0", legend="noising"),
        *(
            layer("points", panel, xy=f"now_{side}", color=color, size=5, when=w, legend=name)
            for (color, name), w in zip(back, when, strict=True)
        ),
    )


def _layers(learned: bool) -> tuple[Layer, ...]:
    lines = (
        ("ink", "noising: its origin"),
        ("vermilion", "ODE: its end"),
        ("green", "SDE: its end"),
    )
    scores = (("blue", "VP"), ("orange", "EDM"), ("muted", "the score itself"))
    return (
        *_plane(0, "left"),
        *_plane(1, "right"),
        layer(
            "points",
            xy="train",
            color="ink",
            size=7,
            shape="ring",
            when="denoiser == 2",
            legend="training points",
        ),
        layer("arrows", xy="listed(probe)", uv="listed(denoised - probe)", color="ink"),
        layer("marker", xy="denoised", shape="star", color="ink", label="x̂₀"),
        layer("marker", xy="orange", shape="cross", color="orange", when="back"),
        *(
            layer("line", 2, x="knots", y=f"column(misses, {k})", color=color, legend=name)
            for k, (color, name) in enumerate(lines)
        ),
        layer("rule", 2, x="t", color="muted", label="now"),
        *(
            layer(
                "line", 3, x="knots", y=f"column(wrong, {k})", color=color, dash=k == 2, legend=name
            )
            for k, (color, name) in enumerate(scores)
            if learned
        ),
        *((layer("rule", 3, x="t", color="muted", label="now"),) if learned else ()),
    )


WORDS = (
    "{back ?Denoising|Noising}: at t = {t:.2f} a point keeps {100*alpha:.0f} % of its signal. "
    "There x̂₀ misses the point's origin by {row(missed, 0):.2f}, the ODE's end by "
    "{row(missed, 1):.2f}, the SDE's end by {row(missed, 2):.2f}. From one and the same noise the "
    "{left} always ends {spread_left < 0.01 ?in one point|somewhere else}, the {right} "
    "{spread_right < 0.01 ?in one point|somewhere else}."
)

READOUTS: tuple[Readout, ...] = (
    Readout("α_t", "alpha", ".3f"),
    Readout("EDM's noise level σ_t/α_t", "sigma/alpha", ".3g"),
    Readout("A: median distance of x/α to data", "gap_left", ".2f", "revealed"),
    Readout("B: median distance of x/α to data", "gap_right", ".2f", "revealed"),
    Readout(f"A: {COPIES} ends of one start, apart", "spread_left", ".2f", "revealed"),
    Readout(f"B: {COPIES} ends of one start, apart", "spread_right", ".2f", "revealed"),
    Readout("loss on the 64 training points", "column(known, 0)", ".3f", "denoiser > 0"),
    Readout("loss on fresh points", "column(known, 1)", ".3f"),
    Readout("exact denoiser, training points", "column(row(losses, 1), 0)", ".3f", "denoiser > 0"),
    Readout("exact denoiser, fresh points", "column(row(losses, 1), 1)", ".3f", "denoiser > 0"),
)


def _own(
    mine: Callable[..., Any], stacks: Mapping[str, Stack], density: str, seed: int
) -> tuple[dict[str, Stack], tuple[Layer, ...], tuple[Readout, ...]]:
    """A student's denoiser, made from the training points: its flow and its losses."""
    train, fresh = training_points(density, seed), toys.load(density, 8192, seed + 2)[0]

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        found = mine(train, SCHEDULE, x_t, t)
        return parts.checked(found, x_t.shape, "your predicted noise").detach().float()

    path = ode(denoise, SCHEDULE, torch.from_numpy(stacks["here"].data[0, 0, :SHOWN]))
    more = {
        "own": Stack(path[None].numpy(), bits=11),
        "own_losses": Stack(losses(denoise, SCHEDULE, train, fresh, seed).numpy()),
    }
    now = f"moment(there, own, 0, knots, time, 0, {SHOWN})"
    trail = f"trails(there, own, 0, knots, time, 0, {COPIES}, 1 + 0*alphas, 1)"
    layers = (
        layer(
            "heat",
            3,
            field="zoomed(logp, levels, t, 1, box)",
            low="-6",
            high="0",
            colors="density",
            label="log p_t below its peak",
        ),
        layer("points", 3, xy="train", color="ink", size=7, shape="ring", legend="training points"),
        layer("path", 3, xy=trail, color="purple", width=1.6, when="back*(paths == 0)"),
        layer("points", 3, xy=now, color="ink", size=5, when="back == 0"),
        layer("points", 3, xy=now, color="purple", size=5, when="back", legend="yours, VP ODE"),
    )
    reads = (
        Readout("yours, training points", "column(own_losses, 0)", ".3f"),
        Readout("yours, fresh points", "column(own_losses, 1)", ".3f"),
    )
    return more, layers, reads


def scene(
    mine: Callable[..., Any] | None = None,
    density: str = "8gaussians",
    denoiser: str = "exact",
    seed: int = 0,
    size: int = 60,
) -> Scene:
    """Noising and four ways back as a scene; `mine` is a denoiser made from 64 training points.

    mine(points (64, 2), schedule, x_t (B, 2), t (B,)) -> predicted noise (B, 2).
    """
    chosen = parts.density_choice(density, DENSITIES)
    if denoiser not in KINDS:
        raise ValueError(f"denoiser must be one of {', '.join(KINDS)}, got {denoiser!r}")
    stacks = dict(stacks_of(density, denoiser, seed, size))
    learned = denoiser != "exact" and mine is None  # a fifth panel would be too many
    let, layers, readouts = dict(LET), _layers(learned), READOUTS
    panels: tuple[Panel, ...] = (
        Panel("process A"),
        Panel("process B"),
        Panel("how far x̂₀ misses (RMS)", "chart", "t", "distance", ylim=(0.0, 3.2)),
    )
    if learned:
        let["errors"] = "reading(wrong, knots, t)"
        readouts = (
            *readouts,
            Readout("error of VP's score now", "column(errors, 0)", ".3g"),
            Readout("error of EDM's score now", "column(errors, 1)", ".3g"),
        )
        panels = (
            *panels,
            Panel("error of the score (RMS)", "chart", "t", "on VP's scale", yscale="log"),
        )
    if mine is not None:
        stacks.pop("wrong", None)
        more, extra, reads = _own(mine, stacks, density, seed)
        stacks |= more
        layers, readouts = (*layers, *extra), (*readouts, *reads)
        panels = (*panels, Panel("yours"))
    return Scene(
        name="noising",
        title="Noising and denoising",
        bounds=BOUNDS,
        params=(
            Slider(
                "time",
                "time: noising, then denoising",
                LOW,
                2 - LOW,
                1.7,
                paper="noise t rises to 1 and falls again",
            ),
            Choice("left", "process A", NAMES, NAMES[0], paper="EDM shows x_t/α_t"),
            Choice("right", "process B", NAMES, NAMES[1]),
            Choice(
                "paths",
                "paths",
                (f"{COPIES} points", f"one start, {COPIES} times", "none"),
                f"{COPIES} points",
            ),
            chosen,
            Choice("denoiser", "denoiser", KINDS, denoiser, kernel=True),
            Handle("probe", "probe (in A), any noisy point", (0.9, 0.4), BOUNDS, color="ink"),
            Handle("guess", "your guess", (-4.0, -4.0), BOUNDS, color="purple"),
        ),
        layers=layers,
        words=WORDS,
        stacks=stacks,
        let=let,
        panels=panels,
        readouts=readouts,
        prediction=Prediction(
            "The orange cross is pure noise. Where does process A take it? Drag your guess there.",
            "fate",
            tolerance=0.5,
            right="Well placed.",
            wrong="Not there.",
        ),
        functions=(
            *(Operation(name, function, _SOURCE) for name, function in FUNCTIONS.items()),
            Operation("listed", lambda p: np.atleast_2d(p), _SOURCE),
        ),
        note=f"{denoiser} denoiser{'' if denoiser != 'memorised' else ' of 64 points'}; "
        f"{len(TIMES)} times shipped, {SUBSTEPS} steps between two of them; x̂₀ at the probe is "
        f"VP's, on a {size} × {size} grid; lines over {CROWD} points",
    )


def noising(
    density: str = "8gaussians",
    *,
    denoiser: str = "exact",
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """Points that dissolve in noise and come back by ODE or SDE, VP beside EDM, played or slid.

    denoiser "exact", "trained" (on 10,000 points) or "memorised" (64); `hide` names controls to
    leave out; `guess=True` asks for a prediction first. ValueError for an unknown density. Source:
    SRPO Eq. 4 and 7.
    """
    settings = {"density": density, "denoiser": denoiser, "seed": seed}
    return Explorable(scene, settings, hide, guess)
