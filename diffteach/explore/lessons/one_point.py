"""Lesson 07: one action under the regularisers of SRPO, DTQL and VSD, by noise level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import one_point_bands as bands
from diffteach.explore.lessons import one_point_view as view
from diffteach.explore.lessons import parts
from diffteach.explore.lessons.one_point_moves import FUNCTIONS
from diffteach.explore.lessons.pulls import WEIGHTS, mode_of
from diffteach.explore.params import Choice, Handle, Param, Slider, Toggle
from diffteach.explore.scene import Panel, Prediction, Scene, Stack
from diffteach.schedule import EDM

OMEGAS = ("true score", *WEIGHTS)
PRESETS: Mapping[str, str] = {
    "σ² leaves the mode for the hole": "one_point",
    "guess where σ² leaves it": "one_point?guess=1&hide=morph,units,denoiser",
    "2/(dσ) coincides with DTQL": "one_point?morph=1",
    "the true score stays": "one_point?omega=true%20score",
    "the reward pulls": "one_point?lam=0.1",
    "freezing D pulls harder": "one_point?density=25gaussians&lam=1&units=paper%27s%20own",
    "a trained denoiser only nearly": "one_point?morph=1&denoiser=trained",
}
"""Views to hand out, by what they show."""
SCHEDULE = EDM()


def _params(density: str, denoiser: str, window: float) -> tuple[Param, ...]:
    box = parts.bounds_of(density, 1.12)
    return (
        Slider(
            "morph",
            "SRPO's weight, from ω to DTQL's",
            0.0,
            1.0,
            0.0,
            paper="right: 2/(dσ) under DTQL's law of σ",
            positions=101,
        ),
        Slider(
            "lam",
            "regularisation λ",
            0.01,
            300.0,
            3.0,
            scale="log",
            paper="SRPO's 1/β, DTQL's α; right = closer to the data",
        ),
        Choice("omega", "weight ω of SRPO", OMEGAS, "σ²", paper="ω(t), Eq. 15"),
        Choice(
            "units",
            "λ in units of",
            ("paper's own", "matched curvature"),
            "matched curvature",
            paper="matched: at an isolated mode every method pulls like the true score",
        ),
        Toggle("release", "let it slide", True, paper="descent of λ·regulariser − Q"),
        Toggle("exact", "gradients of the exact KLs, dashed", True),
        parts.density_choice(density),
        parts.denoiser_choice(denoiser),
        Handle("probe", "probe (the action)", (0.5 * window, 0.28 * window), box, color="orange"),
        Handle("target", "target of Q", (0.2 * window, 0.75 * window), box, color="green"),
        Handle("guess", "your guess", (-0.7 * window, -0.7 * window), box, color="purple"),
    )


def _rows(levels: bands.Levels, std: float, kept: Mapping[str, Any]) -> dict[str, Stack]:
    """Each method's matrix from kept levels to its bars, and the gain that matches curvature."""
    laws = bands.srpo_laws()
    match, frozen = bands.matched_law(SCHEDULE), bands.frozen_law(SCHEDULE)
    gains = [1 / (std**2 * bands.curvature(law, std)) for law in (*laws, match, frozen)]
    full = bands.rows_slope if "slope" in kept else bands.rows_full
    chosen = {"omega": tuple(float(k) for k in range(len(OMEGAS)))}
    return {
        "rows_omega": Stack(np.stack([bands.rows(law, levels) for law in laws]), chosen),
        "gain_omega": Stack(np.array(gains[:-2]), chosen),
        "gain_match": Stack(np.array(gains[-2])),
        "gain_hold": Stack(np.array(gains[-1])),
        "rows_match": Stack(bands.rows(match, levels)),
        "rows_hold": Stack(bands.rows(frozen, levels)),
        "rows_full": Stack(full(SCHEDULE, levels)),
    }


def _stacks(
    density: str, denoiser: str, seed: int, size: int, mine: Callable[..., Any] | None
) -> dict[str, Stack]:
    law, bounds, window = (
        toys.density(density),
        parts.bounds_of(density, 1.12),
        toys.window(density),
    )
    points = toys.load(density, 4000, seed)[0].numpy()
    _, std = mode_of(law, window)
    levels = bands.levels_of(points, std, window)
    # A trained denoiser has three fields where an exact one has one.
    nodes = size if denoiser == "exact" else size // 2
    at = (tuple(levels.nodes), levels.spread)
    kept = dict(bands.kept_fields(density, denoiser, SCHEDULE, seed, nodes, at))
    stacks = _rows(levels, std, kept)
    if mine is not None:
        denoise = parts.denoiser_of(density, SCHEDULE, denoiser, seed)
        kept["own"] = bands.own_fields(mine, denoise, levels, SCHEDULE, bounds)
        stacks["rows_own"] = Stack(bands.rows_own(SCHEDULE, levels))
    for name, field in kept.items():
        # Each level at its own scale: one table of codes then serves levels small and large.
        scale = np.abs(field).max((1, 2, 3)) + 1e-12
        stacks[f"scale_{name}"] = Stack(scale)
        stacks[f"field_{name}"] = Stack(field / scale[:, None, None, None])
    means = getattr(law, "means", np.empty((0, 2)))
    few = 0 < len(means) <= 40
    return stacks | {
        "logp": Stack(np.maximum(fields.on_grid(law.log_prob, bounds, size), -60.0), bits=10),
        "data": Stack(points[:300]),
        "centres": Stack(np.asarray(means) if few else points[:1000]),
        "few": Stack(np.array(float(few))),
        "far": Stack(np.array(max(3 * std, 0.12 * window))),
        "half": Stack(np.array(bounds[1])),
        "origin": Stack(np.zeros(2)),
        "middle": Stack(np.zeros((1, 2))),
        "box": Stack(np.array(bounds)),
        "edges": Stack(np.repeat(bands.EDGES, 2)),
    }


def scene(
    mine: Callable[..., Any] | None = None,
    density: str = "8gaussians",
    denoiser: str = "exact",
    seed: int = 0,
    size: int = 68,
) -> Scene:
    """One action under every regulariser as a scene; `mine` is one more, in DTQL's place.

    mine(denoise, schedule, act (B, 2), t (B,), eps (B, 2)) -> a loss (B,), whose gradient is
    taken, or a gradient (B, 2); t follows DTQL's law of noise levels.
    """
    parts.density_choice(density)
    window, own = toys.window(density), mine is not None
    return Scene(
        name="one_point",
        title="One point, three papers",
        bounds=parts.bounds_of(density, 1.12),
        params=_params(density, denoiser, window),
        layers=view.layers(own),
        words=view.WORDS,
        stacks=_stacks(density, denoiser, seed, size, mine),
        let=view.formulas(denoiser != "exact", own),
        panels=(
            Panel("one action, let go"),
            Panel(
                "the pulls, enlarged",
                "chart",
                "share of the longest",
                xlim=(-1.25, 1.25),
                ylim=(-1.25, 1.25),
            ),
            Panel(
                "pull by noise level",
                "chart",
                "noise level σ",
                "along the arrow; sums to its length",
                xscale="log",
            ),
        ),
        readouts=view.READOUTS,
        prediction=Prediction(
            "Where will SRPO with this weight ω leave the orange action? Drag your guess there.",
            "end_srpo",
            tolerance=0.08 * window,
            right="Well placed.",
            wrong="Not there: ask which noise levels this weight listens to.",
        ),
        functions=FUNCTIONS,
        note=f"{denoiser} denoiser, one for all; SRPO in DTQL's coordinate, "
        "x_t/α = a + (σ/α)ε; noise by quadrature; Q = −‖a − target‖²; VSD's own score of a Dirac "
        "policy is ε itself, so its mean pull is SRPO's",
    )


def one_point(
    density: str = "8gaussians",
    *,
    denoiser: str = "exact",
    seed: int = 0,
    size: int = 68,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """One dragged action under SRPO, DTQL and VSD: slide SRPO's weight onto DTQL's, let it go.

    denoiser "exact" or "trained"; `size` is the nodes a side of the kept fields; `hide` names
    controls to leave out; `guess=True` asks for a prediction first. ValueError for an unknown
    density. Source: SRPO Eq. 10 and 15, DTQL Eq. 4 and 8.
    """
    settings = {"density": density, "denoiser": denoiser, "seed": seed, "size": size}
    return Explorable(scene, settings, hide, guess)
