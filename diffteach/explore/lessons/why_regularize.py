"""Lesson 01: a learned critic beside the truth, on the data and off them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.lessons.extrapolation import (
    FUNCTIONS,
    POINTS,
    REWARDS,
    STEPS,
    problem,
    rms,
    training,
    values,
)
from diffteach.explore.params import Choice, Handle, Param, Slider
from diffteach.explore.scene import Layer, Panel, Prediction, Readout, Scene, Stack, layer

SHOWN, BINS = 500, 28
KNOTS = tuple(map(float, STEPS))
MARGIN = 1.125
"""The picture is wider than the square of actions: on 73 nodes a side the square ends on nodes."""


def _params(density: str, reward: str, seed: str, window: float) -> tuple[Param, ...]:
    view = parts.bounds_of(density, MARGIN)
    seeds = tuple(sorted({*"01234", seed}, key=int))
    return (
        Slider(
            "lam",
            "regularisation λ",
            0.001,
            10.0,
            0.001,
            scale="log",
            paper="SRPO's 1/β, DTQL's α; right = closer to the data",
        ),
        Slider(
            "steps",
            "critic training steps",
            KNOTS[0],
            KNOTS[-1],
            KNOTS[-1],
            scale="log",
            paper=f"{len(STEPS)} moments of one run, blended between",
        ),
        Choice("heads", "critics", ("one", "least of two"), "one", paper="min(Q1, Q2)"),
        Slider(
            "tau",
            "expectile τ",
            0.5,
            0.99,
            0.7,
            paper="IQL Eq. 5: 0.7, on mazes 0.9",
            positions=99,
        ),
        Choice("show", "first picture", ("critic", "critic − λ·(−log p)"), "critic"),
        parts.density_choice(density),
        Choice("reward", "reward", REWARDS, reward, kernel=True),
        Choice("seed", "seed", seeds, seed, kernel=True),
        Handle(
            "probe",
            "probe (in the first picture)",
            (0.75 * window, -0.75 * window),
            view,
            color="orange",
        ),
        Handle("guess", "your guess", (0.0, 0.0), view, color="purple"),
    )


@parts.remembered(8)
def _stacks(density: str, reward: str, seed: int, size: int) -> Mapping[str, Stack]:
    data = problem(density, reward, seed)
    nodes = fields.grid(parts.bounds_of(density, MARGIN), size)
    truth, logp = data.q(nodes), data.density.log_prob(nodes)
    paid = data.q(data.points)  # not the labels: those of some sets are noisy
    floor = data.density.log_prob(data.points).quantile(0.001)
    allowed = nodes.abs().amax(-1) < data.limit * (1 + 1e-6)
    outside = allowed & (logp < floor)
    fence = torch.where(allowed, 0.0, torch.inf)
    kept, errors = [], []
    for _, critic in training(data, seed):
        q, on = values(critic, nodes), values(critic, data.points) - paid
        off = (q - truth)[:, outside] if bool(outside.any()) else on
        best = (q - fence).argmax(-1)
        over = q.gather(-1, best[:, None])[:, 0] - truth[best]
        errors.append(torch.stack([rms(on), rms(off), over.abs()], -1))
        kept.append(q.reshape(2, size, size))
    heads = {"heads": (0.0, 1.0)}
    low, high = float(paid.min()), float(paid.max())
    room = 0.05 * (high - low)
    q, half = torch.stack(kept, 1), data.limit
    late = q[:, len(STEPS) // 2 :].reshape(-1, size * size)
    top = float((torch.cat([truth[None], late]) - fence).max())
    return {
        "q": Stack(q.numpy(), heads | {"steps": KNOTS}, bits=10),
        "truth": Stack(truth.reshape(size, size).numpy()),
        "logp": Stack(logp.clamp(min=float(floor) - 100).reshape(size, size).numpy(), bits=16),
        "floor": Stack(np.array(float(floor))),
        "data": Stack(data.points[:SHOWN].numpy()),
        "paid": Stack(paid[:SHOWN].numpy()),
        "peak": Stack(np.array(high)),
        "errors": Stack(torch.stack(errors, 1).clamp(min=1e-5).numpy(), heads),
        "knots": Stack(np.array(KNOTS)),
        "fence": Stack(fence.reshape(size, size).numpy()),
        "square": Stack(half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])),
        "edges": Stack(np.linspace(low - room, high + room, BINS + 1)),
        "ends": Stack(np.array([float((truth + fence).min()), top])),
    }


LET: Mapping[str, str] = {
    "low": "row(ends, 0)",
    "high": "row(ends, 1)",
    "objective": "q + lam*logp",
    "picture": "where(show, objective, q)",
    "best": "argmin(fence - q)",
    "chosen": "argmin(fence - objective)",
    "top": "argmin(fence - truth - 1e-4*logp)",
    "promise": "at(q, best)",
    "pay": "at(truth, best)",
    "over": "promise - pay",
    "promised": "at(q, chosen)",
    "paying": "at(truth, chosen)",
    "over_chosen": "promised - paying",
    "outside": "(logp < floor)*(fence == 0)",
    "off": "sqrt(total(outside*(q - truth)**2)/max(total(outside), 1))",
    "values": "at(q, data)",
    "on": "sqrt(mean((values - paid)**2))",
    "v": "expectile(values, tau)",
    "share": "mean(values >= v)",
    "weight": "tau*share/(tau*share + (1 - tau)*(1 - share))",
}


def _layers(own: bool) -> tuple[Layer, ...]:
    # At a small λ all lie in one place: the largest come first, so that each can be seen.
    marks = (
        *((("best_own", "ring", "purple", 13.0, "yours"),) if own else ()),
        ("chosen", "cross", "green", 11.0, "regularised"),
        ("best", "star", "vermilion", 8.5, "max Q"),
    )
    lines = (("ink", "off the data"), ("blue", "on the data"), ("vermilion", "at max Q"))
    chart = (
        *(
            layer("line", 3, x="knots", y=f"column(errors, {k})", color=color, legend=name)
            for k, (color, name) in zip((1, 0, 2), lines, strict=True)
        ),
        layer("rule", 3, x="steps", color="muted", label="now"),
    )
    planes = [*_plane(0, "picture", "revealed"), *_plane(1, "truth", "1")]
    if own:
        planes += _plane(4, "q - lam*own", "revealed")
    return (
        *planes,
        layer(
            "points",
            xy="above(data, values, v)",
            color="sky",
            size=5,
            when="revealed",
            legend="above V: weight τ",
        ),
        layer("marker", 1, xy="top", shape="ring", color="ink", label="best action"),
        layer("points", 1, xy="probe", color="orange", size=10, shape="ring"),
        *(
            layer(
                "marker",
                panel,
                xy=xy,
                shape=shape,
                color=color,
                size=size,
                legend=legend,
                when="revealed",
            )
            for panel in ((0, 1, 4) if own else (0, 1))
            for xy, shape, color, size, legend in marks
            if (panel == 4) <= (xy == "best_own")
        ),
        layer("line", 2, x="outline", y="histogram(values, edges)", color="ink"),
        layer("rule", 2, x="v", color="blue", width=2, legend="V"),
        layer("rule", 2, x="peak", color="muted", dash=True, legend="best of the data"),
        layer("rule", 2, x="promise", color="vermilion", legend="max Q", when="revealed"),
        *chart,
    )


def _plane(panel: int, field: str, when: str) -> tuple[Layer, ...]:
    return (
        layer(
            "heat",
            panel,
            when,
            field=field,
            low="low",
            high="high",
            colors="sequential",
            label="value",
        ),
        layer(
            "contour",
            panel,
            field="-logp",
            level="-floor",
            color="ink",
            width=1,
            fill="above",
            legend="outside the data",
        ),
        layer("points", panel, xy="data", color="muted", size=4),
        layer("path", panel, xy="square", color="ink", width=1, closed=True),
    )


WORDS = (
    "On the data the critic misses the truth by {on:.3f}, off them by {off:.2f}. Its maximum, "
    "{at(logp, best) >= floor ? inside | outside} the data, promises {promise:.2f} and pays "
    "{pay:.2f}. At λ = {lam:.3g} the best action, {at(logp, chosen) >= floor ? inside | outside}, "
    "promises {promised:.2f} and pays {paying:.2f}. IQL asks the data's actions only: V is {v:.2f} "
    "at τ = {tau:.2f}, where the {100*share:.0f} % above it carry {100*weight:.0f} % of the weight."
)

READOUTS: tuple[Readout, ...] = (
    Readout("critic at the probe", "at(q, probe)", ".3f", "revealed"),
    Readout("truth at the probe", "at(truth, probe)", ".3f"),
    Readout("log p at the probe", "at(logp, probe)", ".2f"),
    Readout("over-estimate at max Q", "over", ".3f", "revealed"),
    Readout("over-estimate, regularised", "over_chosen", ".3f", "revealed"),
    Readout("best reward in the data", "peak", ".3f"),
    Readout("V of the true values", "expectile(paid, tau)", ".3f"),
)


def _own(
    mine: Callable[..., Any], bounds: fields.Bounds, size: int
) -> tuple[Stack, tuple[Readout, ...]]:
    nodes = fields.grid(bounds, size)
    penalty = parts.checked(mine(nodes), nodes.shape[:1], "your penalty").detach().float()
    reads = (
        Readout("yours: log p there", "at(logp, best_own)", ".2f"),
        Readout("yours: promised", "at(q, best_own)", ".3f"),
        Readout("yours: paid", "at(truth, best_own)", ".3f"),
    )
    return Stack(penalty.reshape(size, size).numpy(), bits=13), reads


def scene(
    mine: Callable[..., Any] | None = None,
    density: str = "8gaussians",
    reward: str = "cliff",
    seed: str = "0",
    size: int = 73,
) -> Scene:
    """A critic and the truth as a scene; `mine` is a penalty (a (B, 2)) -> (B,) beside -log p."""
    density_choice = parts.density_choice(density)
    bounds, window = parts.bounds_of(density, MARGIN), toys.window(density_choice.default)
    stacks = dict(_stacks(density, reward, int(seed), size))
    stacks["outline"] = Stack(np.repeat(stacks["edges"].data, 2))
    low, top = stacks["ends"].data
    let, readouts = dict(LET), READOUTS
    own: tuple[Panel, ...] = ()
    if mine is not None:
        stacks["own"], more = _own(mine, bounds, size)
        let["best_own"] = "argmin(fence + lam*own - q)"
        readouts = (*readouts, *more)
        own = (Panel("critic − λ·your penalty"),)
    return Scene(
        name="why_regularize",
        title="Why regularise",
        bounds=bounds,
        params=_params(density, reward, seed, window),
        layers=_layers(mine is not None),
        words=WORDS,
        stacks=stacks,
        let=let,
        panels=(
            Panel("what the critic says"),
            Panel("what the world pays"),
            Panel(
                "the critic at the data's actions",
                "chart",
                "value",
                "share of the actions",
                xlim=(float(stacks["edges"].data[0]), 1.05 * top - 0.05 * low),
            ),
            Panel("error, by training", "chart", "steps", "RMS error", xscale="log", yscale="log"),
            *own,
        ),
        readouts=readouts,
        prediction=Prediction(
            "A critic learns the rewards of the dots. Which action does it praise most? "
            "Drag your guess there.",
            "best",
            tolerance=0.2 * window,
            right="Well placed: nothing off the data contradicts the critic.",
            wrong="Not there: ask how the critic goes on where no data correct it.",
        ),
        functions=FUNCTIONS,
        note=f"two critics of 2 × 64, {POINTS} actions, regression on their rewards; values read "
        f"on a {size} × {size} grid; outside: less likely than all but 0.1 % of the data; "
        "log p is cut 100 below that",
    )


def why_regularize(
    density: str = "8gaussians",
    *,
    reward: str = "cliff",
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """A learned critic beside the truth: train it on, take the least of two, regularise, ask IQL.

    reward "cliff", "far", "near" or the set's "own"; `hide` names controls to leave out;
    `guess=True` asks for a prediction first. ValueError for an unknown density or reward. Source:
    IQL Eq. 5 and 6, SRPO Eq. 11 and 12.
    """
    settings = {"density": density, "reward": reward, "seed": str(seed)}
    return Explorable(scene, settings, hide, guess)
