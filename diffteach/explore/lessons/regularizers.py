"""Lesson 07: four regularisers at one curvature, and what becomes of a population of actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.lessons import regularizers_view as view
from diffteach.explore.lessons.pulls import WEIGHTS
from diffteach.explore.lessons.regularizers_fields import fields_of, student_field, width_of
from diffteach.explore.lessons.regularizers_moves import FUNCTIONS
from diffteach.explore.params import Choice, Handle, Param, Slider, Toggle
from diffteach.explore.scene import Panel, Prediction, Scene, Stack

OMEGAS = ("true score", *WEIGHTS)
REWARDS = ("near the target", "far out", "none")
PRESETS: Mapping[str, str] = {
    "one λ, four ends": "regularizers",
    "guess where BC takes them": "regularizers?guess=1&hide=density,denoiser,reward,shade",
    "no reward: detector or distillation": "regularizers?reward=none",
    "the true score, no reward": "regularizers?omega=true%20score&reward=none",
    "one policy covers eight modes": "regularizers?first=one%20policy&reward=none",
    "the reward wins": "regularizers?lam=0.05",
}
"""Views to hand out, by what they show."""


def _params(density: str, denoiser: str, window: float) -> tuple[Param, ...]:
    box = parts.bounds_of(density, 1.12)
    return (
        Slider(
            "lam",
            "regularisation λ",
            0.01,
            300.0,
            3.0,
            scale="log",
            paper="one curvature at a mode for all; right = closer to the data",
        ),
        Slider("time", "way along the descent", 0.0, 1.0, 1.0, paper="of λ·regulariser − Q"),
        Choice("omega", "weight ω of SRPO and VSD", OMEGAS, "σ²", paper="ω(t), Eq. 15"),
        Choice("reward", "reward Q", REWARDS, REWARDS[0]),
        Choice("first", "actions begin", ("on a grid", "one policy"), "on a grid"),
        Choice("shade", "shade", ("log μ", "size of the pull"), "log μ"),
        Toggle("traces", "ends for every λ, dashed", True, paper="of the star; of VSD, its mean"),
        parts.density_choice(density),
        parts.denoiser_choice(denoiser),
        Handle("probe", "probe (one of the actions)", (0.5 * window, 0.28 * window), box, "orange"),
        Handle("target", "target of Q", (0.2 * window, 0.75 * window), box, "green",
               when="reward == 0"),
        Handle("guess", "your guess", (-0.7 * window, -0.7 * window), box, "purple"),
    )  # fmt: skip


def _stacks(density: str, denoiser: str, seed: int) -> dict[str, Stack]:
    law, window = toys.density(density), toys.window(density)
    bounds = parts.bounds_of(density, 1.12)
    found, place = fields_of(density, denoiser, seed)
    points = toys.load(density, 4000, seed)[0].numpy()
    chosen = {"omega": tuple(float(k) for k in range(len(OMEGAS)))}
    line = np.linspace(-0.85, 0.85, 7) * window
    shift = (
        0.02 * window * np.array([1.0, 1.7])
    )  # off the lines of symmetry, where points would stay
    noise = torch.randn(49, 2, generator=torch.Generator().manual_seed(seed)).numpy()
    means = getattr(law, "means", np.empty((0, 2)))
    few = 0 < len(means) <= 40
    return {
        "logp": Stack(np.maximum(fields.on_grid(law.log_prob, bounds, 64), -60.0), bits=10),
        "data": Stack(points[:300]),
        "centres": Stack(np.asarray(means) if few else points[:1000]),
        "few": Stack(np.array(float(few))),
        "field_bc": Stack(found["bc"]),
        "field_tr": Stack(found["tr"]),
        "field_srpo": Stack(found["srpo"], chosen),
        "field_vsd": Stack(found["vsd"], chosen),
        "own_score": Stack(found["own_score"], chosen),
        "std": Stack(np.array(place.std)),
        "near": Stack(np.array(max(place.std, 0.06 * window))),
        "far": Stack(np.array(max(3 * place.std, 0.12 * window))),
        "cell": Stack(np.array(2 * bounds[1] / (view.ARROWS - 1))),
        "grid": Stack(np.stack(np.meshgrid(line, line), -1).reshape(-1, 2) + shift),
        "about": Stack(0.1 * window * noise),
        "nodes": Stack(fields.grid(bounds, view.ARROWS).numpy()),
        "lams": Stack(np.geomspace(0.01, 300.0, 17)),
        "still": Stack(np.zeros((17, 2))),
        "some": Stack(np.geomspace(0.01, 300.0, 8)),
        "box": Stack(np.array(bounds)),
    }


def scene(
    mine: Callable[..., Any] | None = None,
    density: str = "8gaussians",
    denoiser: str = "exact",
    seed: int = 0,
) -> Scene:
    """Four regularisers and their populations as a scene; `mine` is a fifth, in its own panel.

    mine(denoise, schedule, act (B, 2), t (B,), eps (B, 2)) -> a gradient (B, 2), or a loss (B,)
    whose gradient is taken; t follows DTQL's law of noise levels.
    """
    parts.density_choice(density)
    window, own = toys.window(density), mine is not None
    stacks = _stacks(density, denoiser, seed)
    if mine is not None:
        stacks["field_own"] = Stack(student_field(mine, density, denoiser, seed))
    width = width_of(float(stacks["std"].data), window)
    return Scene(
        name="regularizers",
        title="Regularisers side by side",
        bounds=parts.bounds_of(density, 1.12),
        params=_params(density, denoiser, window),
        layers=view.layers(own),
        words=view.WORDS,
        stacks=stacks,
        let=view.formulas(own),
        panels=tuple(Panel(view.TITLES[name]) for name in view.methods(own)),
        readouts=view.readouts(own),
        prediction=Prediction(
            "Fifty actions; Q is best at the green ring. Where will BC, the squared distance to "
            "the data, leave the orange one? Drag your guess there.",
            "row(at_bc, 0)",
            tolerance=0.08 * window,
            right="Well placed.",
            wrong="Not there: a squared distance knows only the data's mean.",
        ),
        functions=FUNCTIONS,
        note=f"{denoiser} denoiser; every pull has the true score's curvature at a mode; VSD's "
        f"policy is a Gaussian of width {width:.2f} about each action, its score exact, its noise "
        "three levels and five nodes that stand for ω's law",
    )


def regularizers(
    density: str = "8gaussians",
    *,
    denoiser: str = "exact",
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """BC, trust region, SRPO and VSD at one λ: their fields, and where fifty actions end.

    denoiser "exact" or "trained"; `hide` names controls to leave out; `guess=True` asks for a
    prediction first. ValueError for an unknown density. Source: TD3+BC, DTQL Eq. 4 and 8, SRPO
    Eq. 15.
    """
    settings = {"density": density, "denoiser": denoiser, "seed": seed}
    return Explorable(scene, settings, hide, guess)
