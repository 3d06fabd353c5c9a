"""Lesson 06: the trust region of DTQL (NeurIPS 2024), its Figure 1 with a reward mixed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.params import Choice, Handle, Param, Slider, Toggle
from diffteach.explore.scene import Layer, Panel, Prediction, Readout, Scene, Stack, layer
from diffteach.schedule import EDM, clip_denoised

NOISES = 48
LEVELS = tuple(float(s) for s in np.geomspace(0.05, 5.0, 9))


def _rewards(density: str) -> tuple[str, str, str]:
    return ("far", "near", "hard" if density == "25gaussians" else density)


def _params(density: str, denoiser: str, loss: np.ndarray, window: float) -> tuple[Param, ...]:
    low, high = float(loss.min()), float(np.quantile(loss, 0.9))
    typical = low + 0.1 * (high - low)
    box = (-window, window, -window, window)
    rewards = _rewards(density)
    return (
        Slider(
            "lam",
            "regularisation λ",
            0.01,
            100.0,
            1.0,
            scale="log",
            paper="DTQL's α: the policy minimises α·L_TR − Q; right = closer to the data",
        ),
        Slider("c", "threshold c", low, high, typical, paper="trust region {a : L_TR(a) ≤ c}"),
        Choice("show", "picture", ("trust region", "objective", "log density"), "trust region"),
        Choice("reward", "reward Q", rewards, rewards[2]),
        Choice("noise", "noise", ("all levels", "one level"), "all levels"),
        Slider(
            "sigma",
            "noise level σ",
            LEVELS[0],
            LEVELS[-1],
            LEVELS[4],
            scale="log",
            when="noise",
        ),
        Toggle("clip", "clip D to the box", paper="clip_denoised: True in DTQL's D4RL runs"),
        Toggle("slope", "descent direction of λ·L_TR − Q", when="noise == 0"),
        parts.density_choice(density),
        parts.denoiser_choice(denoiser),
        Handle("probe", "probe", (0.5 * window, 0.25 * window), box, color="orange"),
        Handle("guess", "your guess", (0.0, 0.0), box, color="purple"),
    )


@parts.remembered(4)
def _stacks(
    density: str, denoiser: str, schedule: EDM, seed: int, size: int
) -> Mapping[str, Stack]:
    bounds = parts.bounds_of(density, 1.12)
    exact = parts.denoiser_of(density, schedule, denoiser, seed)
    clipped = clip_denoised(exact, schedule, toys.window(density))
    both = [
        fields.trust_region_field(d, schedule, bounds, size, NOISES).numpy()
        for d in (exact, clipped)
    ]
    levels = torch.tensor(LEVELS)
    single = [
        fields.trust_region_levels(d, schedule, levels, bounds, size).numpy()
        for d in (exact, clipped)
    ]
    rewards = np.stack([fields.on_grid(toys.reward_fn(r), bounds, size) for r in _rewards(density)])
    slopes = np.stack([fields.gradient(f, bounds) for f in both])
    where, slopes = fields.thin(slopes, bounds, 15)
    _, pulls = fields.thin(np.stack([fields.gradient(q, bounds) for q in rewards]), bounds, 15)
    off_on = {"clip": (0.0, 1.0)}
    return {
        "integrated": Stack(np.stack(both), off_on, bits=13),
        "single": Stack(np.stack(single), off_on | {"sigma": LEVELS}, bits=9),
        "top_single": Stack(np.quantile(single, 0.93, axis=(-2, -1)), off_on | {"sigma": LEVELS}),
        "top_integrated": Stack(np.quantile(both, 0.93, axis=(-2, -1)), off_on),
        "q": Stack(rewards, {"reward": (0.0, 1.0, 2.0)}),
        "logp": Stack(fields.on_grid(toys.density(density).log_prob, bounds, size)),
        "data": Stack(toys.load(density, 400, seed)[0].numpy()),
        "where_slope": Stack(where),
        "slope_trust": Stack(slopes, off_on),
        "slope_q": Stack(pulls, {"reward": (0.0, 1.0, 2.0)}),
    }


LET: Mapping[str, str] = {
    "trust": "where(noise, single, integrated)",
    "top": "where(noise, top_single, top_integrated)",
    "objective": "lam*trust - q",
    "optimum": "argmin(objective)",
    "picture": "where(show == 0, trust, where(show == 1, objective, max(logp, floor)))",
    "floor": "highest(logp) - 40",
    "spread": "lam*(top - lowest(trust)) + highest(q) - lowest(q)",
    "mode": "argmin(-logp)",
    "loss_rise": "at(trust, probe) - at(trust, mode)",
    "logp_fall": "(at(logp, mode) - at(logp, probe))/2",
    "descent": "slope_q - lam*slope_trust",
    "gap": "at(trust, probe) + at(logp, probe)/2",
}

LAYERS: tuple[Layer, ...] = (
    layer("heat", field="picture", colors="sequential", when="show == 2", label="log p"),
    layer(
        "heat",
        field="picture",
        low="lowest(picture)",
        high="where(show == 0, top, lowest(picture) + spread)",
        colors="sequential",
        when="show != 2",
        label="loss",
    ),
    layer("points", xy="data", color="muted", size=2.2, legend="data"),
    layer("contour", field="trust", level="c", color="vermilion", width=2, legend="L_TR = c"),
    layer(
        "arrows",
        xy="where_slope",
        uv="descent",
        color="ink",
        length=0.06,
        when="slope*(noise == 0)",
    ),
    layer(
        "marker",
        xy="optimum",
        shape="star",
        color="green",
        label="optimum",
        when="revealed",
    ),
)

WORDS = (
    "At λ = {lam:.3g} the best action is ({x(optimum):.2f}, {y(optimum):.2f}), "
    "{at(trust, optimum) <= c ? inside | outside} the trust region. The probe is "
    "{at(trust, probe) <= c ? inside | outside}: from the densest point to there the loss rises by "
    "{loss_rise:.2f}, −½ log p by {logp_fall:.2f}."
)

READOUTS: tuple[Readout, ...] = (
    Readout("L_TR at the probe", "at(trust, probe)", ".3f"),
    Readout("log p at the probe", "at(logp, probe)", ".3f"),
    Readout("difference L_TR + ½ log p", "gap", ".3f"),
    Readout("L_TR at the optimum", "at(trust, optimum)", ".3f", when="revealed"),
    Readout("Q at the optimum", "at(q, optimum)", ".3f", when="revealed"),
)


def _own(
    mine: Callable[..., Any], density: str, denoiser: str, schedule: EDM, seed: int
) -> tuple[dict[str, Stack], tuple[Any, ...], tuple[Readout, ...]]:
    bounds = parts.bounds_of(density, 1.12)
    denoise = parts.denoiser_of(density, schedule, denoiser, seed)
    value, grad = parts.loss_field(mine, denoise, schedule, bounds, 48)
    where, uv = fields.thin(-grad.numpy(), bounds, 15)
    stacks = {
        "own": Stack(value.numpy()),
        "own_where": Stack(where),
        "own_descent": Stack(uv),
    }
    layers = (
        layer(
            "heat",
            1,
            field="own",
            low="lowest(trust)",
            high="top",
            colors="sequential",
            label="your loss",
        ),
        layer("points", 1, xy="data", color="muted", size=2.2),
        layer("arrows", xy="where_slope", uv="-slope_trust", color="ink", length=0.06, when="bare"),
        layer("arrows", 1, xy="own_where", uv="own_descent", color="ink", length=0.06),
    )
    reads = (
        Readout("your loss at the probe", "at(own, probe)", ".3f"),
        Readout("longest arrow −∇L_TR", "highest(norm(slope_trust))", ".3f"),
        Readout("longest arrow of yours", "highest(norm(own_descent))", ".3f"),
    )
    return stacks, layers, reads


def scene(
    mine: Callable[..., Any] | None = None,
    density: str = "25gaussians",
    denoiser: str = "exact",
    sigma_data: float = 0.5,
    seed: int = 0,
    size: int = 128,
) -> Scene:
    """The trust region of a density as a scene; `mine` is a loss to lay beside the library's.

    mine(denoise, schedule, act (B, 2), t (B,), eps (B, 2)) -> (B,), as
    `objectives.trust_region_loss`.
    """
    density_choice = parts.density_choice(density)
    schedule, window = EDM(sigma_data=sigma_data), toys.window(density_choice.default)
    stacks = dict(_stacks(density, denoiser, schedule, seed, size))
    loss = stacks["integrated"].data[0]
    let = dict(LET)
    layers, readouts = LAYERS, READOUTS
    panels: tuple[Panel, ...] = (Panel("L_TR(a)"),)
    if mine is not None:
        more, extra, reads = _own(mine, density, denoiser, schedule, seed)
        stacks |= more
        layers, readouts = (*layers, *extra), (*readouts, *reads)
        panels = (Panel("L_TR(a) and −∇L_TR"), Panel("your loss and its descent"))
        let["bare"] = "(noise == 0)*(slope == 0)"
    origin = "exact denoiser" if denoiser == "exact" else "denoiser trained on 10,000 points"
    return Scene(
        name="trust_region",
        title="What a trust region is",
        bounds=parts.bounds_of(density, 1.12),
        params=_params(density, denoiser, loss, window),
        layers=layers,
        words=WORDS,
        stacks=stacks,
        let=let,
        panels=panels,
        readouts=readouts,
        prediction=Prediction(
            "Where does the policy's best action lie? Drag your guess there.",
            "optimum",
            tolerance=0.08 * window,
            right="Well placed: there λ times the loss and the reward balance.",
            wrong="Not there: weigh the reward against λ times the loss, valley by valley.",
        ),
        note=f"{origin}; {NOISES} noise levels, noise by quadrature; σ_data = {sigma_data:g}",
    )


def trust_region(
    density: str = "25gaussians",
    *,
    denoiser: str = "exact",
    sigma_data: float | int = 0.5,
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """DTQL's trust region on a named density: slide λ and c, drag the probe, mix in a reward.

    denoiser "exact" or "trained"; `hide` names controls to leave out; `guess=True` asks for a
    prediction first. ValueError for an unknown density. Source: DTQL Eq. 4 and 5, Fig. 1.
    """
    settings = {
        "density": density,
        "denoiser": denoiser,
        "sigma_data": float(sigma_data),
        "seed": seed,
    }
    return Explorable(scene, settings, hide, guess)
