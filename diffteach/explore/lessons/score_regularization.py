"""Lesson 05: what the score regulariser of SRPO (ICLR 2024) does to a policy, its Figure 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.lessons.pulls import (
    BOUNDS,
    SCHEDULE,
    T0,
    TARGETS,
    TIMES,
    WEIGHTS,
    descend,
    measured,
    mode_of,
    own_force,
    precision,
    pulls_of,
)
from diffteach.explore.params import Choice, Handle, Param, Slider, Toggle
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
from diffteach.objectives import kl_weight

DENSITIES = tuple(n for n in parts.DENSITIES if toys.window(n) == 4.5)
_SOURCE = parts.source("vectors.js") + parts.source("score_regularization.js")
FUNCTIONS = (
    Operation("descend", descend, _SOURCE),
    Operation("vectorsAt", parts.vectors_at, _SOURCE),
)


def _stacks(density: str, denoiser: str, seed: int, size: int) -> dict[str, Stack]:
    law = toys.density(density)
    averaged, single = pulls_of(density, denoiser, seed, size)
    mode, std = mode_of(law)
    alpha, sigma = SCHEDULE.alpha(TIMES).numpy(), SCHEDULE.sigma(TIMES).numpy()
    weights = np.stack([w(SCHEDULE, TIMES).numpy() for w in (kl_weight, *WEIGHTS.values())])
    denoise = parts.denoiser_of(density, SCHEDULE, denoiser, seed)
    seen = measured(denoise, mode, seed)[:, None] * weights[None, :, 2::4] ** 2
    seen = np.stack([np.broadcast_to(TIMES[2::4].numpy(), seen.shape), seen], -1)
    gains = [1 / (std**2 * precision(w, std)) for w in WEIGHTS.values()]
    t0 = torch.tensor(T0)
    a0, s0 = SCHEDULE.alpha(t0).numpy(), SCHEDULE.sigma(t0).numpy()
    chosen, every = {"weight": (1.0, 2.0, 3.0)}, {"weight": (0.0, 1.0, 2.0, 3.0)}
    knots = {"t0": T0}
    off_on: dict[str, tuple[float, ...]] = {"baseline": (0.0, 1.0)}
    means = getattr(law, "means", torch.empty(0, 2))
    modes = means if 0 < len(means) <= 40 else torch.empty(0, 2)
    points = toys.load(density, 400, seed)[0]

    def force(pulls: list[fields.Pull]) -> np.ndarray:
        return np.stack([p.force.permute(2, 0, 1).numpy() for p in pulls])

    def variance(pulls: list[fields.Pull]) -> np.ndarray:
        kept = slice(None, None, 3)
        return np.stack(
            [
                np.stack([v[kept, kept].numpy() for v in (p.variance_without, p.variance)])
                for p in pulls
            ]
        )

    d_t = alpha**2 * std**2 + sigma**2
    return {
        "logp": Stack(np.maximum(fields.on_grid(law.log_prob, BOUNDS, size), -60.0)),
        "data": Stack(points.numpy()),
        "centres": Stack((modes if len(modes) else points).numpy()),
        "targets": Stack(TARGETS),
        "box": Stack(np.array(BOUNDS)),
        "averaged": Stack(force(averaged), chosen),
        "single": Stack(force(single), knots),
        "gain_averaged": Stack(np.array(gains), chosen),
        "gain_single": Stack((a0**2 * std**2 + s0**2) / a0**2 / std**2, knots),
        "var_averaged": Stack(variance(averaged), chosen | off_on),
        "var_single": Stack(variance(single), knots | off_on),
        "arrows_at": Stack(fields.thin(averaged[0].force.numpy(), BOUNDS, 15)[0]),
        "mode": Stack(mode),
        "times": Stack(TIMES.numpy()),
        "w_t": Stack(weights, every),
        "law_with": Stack((alpha**2 * std**2 / d_t) ** 2),
        "law_without": Stack((sigma**2 / d_t) ** 2),
        "seen_with": Stack(seen[0], every),
        "seen_without": Stack(seen[1], every),
        "crossing": Stack(np.array(_crossing(std))),
        "std": Stack(np.array(std)),
    }


def _crossing(std: float) -> float:
    t = torch.linspace(1e-3, 0.999, 4001)
    helps = SCHEDULE.sigma(t) > SCHEDULE.alpha(t) * std
    return float(t[int(helps.int().argmax())])


LET: Mapping[str, str] = {
    "force": "where(weight == 0, single, averaged)",
    "gain": "where(units == 0, 1, where(weight == 0, gain_single, gain_averaged))",
    "strength": "lam*gain",
    "reg": "descend(targets, force, strength, box)",
    "probe_reg": "descend(probe, force, strength, box)",
    "before": "median(nearest(targets, centres))",
    "after": "median(nearest(reg, centres))",
    "hollow": "total(norm(reg) < 1.4)",
    "pull_here": "-vectorsAt(force, arrows_at, box)",
    "total_here": "2*(probe - arrows_at) + strength*pull_here",
    "variance": "at(where(weight == 0, var_single, var_averaged), probe)",
    "law_on": "w_t**2*law_with",
    "law_off": "w_t**2*law_without",
    "mean_law": "where(baseline, mean(law_on), mean(law_off))",
}


def _layers() -> tuple[Layer, ...]:
    return (
        layer("heat", field="max(logp, highest(logp) - 14)", colors="density", label="log μ"),
        layer("points", xy="data", color="muted", size=2),
        layer(
            "arrows", xy="arrows_at", uv="pull_here", color="ink", length=0.06, when="field == 1"
        ),
        layer(
            "arrows", xy="arrows_at", uv="total_here", color="ink", length=0.06, when="field == 2"
        ),
        layer("arrows", xy="targets", uv="reg - targets", color="vermilion", when="revealed"),
        layer("points", xy="targets", color="blue", size=5, legend="targets a_tar"),
        layer("points", xy="reg", color="green", size=6.5, legend="regularised", when="revealed"),
        layer(
            "marker",
            xy="probe_reg",
            shape="star",
            color="green",
            label="regularised",
            when="revealed",
        ),
        *(
            layer(
                "line",
                1,
                x="times",
                y=law,
                color=color,
                width=3 if used else 1.2,
                dash=not used,
                when=f"baseline == {int(used == (law == 'law_on'))}",
                legend=name,
            )
            for law, color, name in (
                ("law_off", "orange", "one-Gaussian law, without"),
                ("law_on", "blue", "one-Gaussian law, with baseline"),
            )
            for used in (True, False)
        ),
        layer(
            "points",
            1,
            xy="seen_without",
            color="orange",
            size=6,
            legend="measured at a mode, without",
        ),
        layer("points", 1, xy="seen_with", color="blue", size=6, legend="at a mode, with baseline"),
        layer("rule", 1, x="t0", color="ink", label="t₀", when="weight == 0"),
        layer("rule", 1, x="crossing", color="muted", label="law: σ_t = α_t s", dash=True),
    )


WORDS = (
    "With weight {weight} and λ = {lam:.3g} the 49 points stand {after:.2f} from the nearest "
    "{few ? mode | data point}, before {before:.2f}: "
    "{after < 0.75*before ?regularisation pulls them to the data|}"
    "{(after >= 0.75*before)*(after <= before) ?regularisation hardly brings them nearer|}"
    "{after > before ?regularisation takes them farther from the data|}"
    "{few*(hollow > 12) ?, and most slide into the empty centre|}. One gradient at the probe has "
    "variance {variance:.3g} {baseline ? with | without} the baseline."
)

READOUTS = (
    Readout("median distance, targets", "before", ".3f"),
    Readout("median distance, regularised", "after", ".3f", "revealed"),
    Readout("λ as used", "strength", ".3g"),
    Readout("variance of one gradient at the probe", "variance", ".3f"),
    Readout("one-Gaussian law, mean over t", "mean_law", ".3f", when="weight != 0"),
    Readout("law: the baseline helps from t =", "crossing", ".3f"),
)


def _params(density: Choice, denoiser: str) -> tuple[Param, ...]:
    return (
        Slider(
            "lam",
            "regularisation λ",
            0.01,
            300.0,
            1.0,
            scale="log",
            paper="SRPO's 1/β: the policy maximises Q − λ·KL; right = closer to the data",
        ),
        Choice("weight", "weight ω", ("true score", *WEIGHTS), "true score", paper="ω(t), Eq. 15"),
        Slider(
            "t0",
            "noise t₀ of the score",
            0.02,
            0.98,
            0.02,
            paper="ω = δ(t − t₀)",
            when="weight == 0",
        ),
        Choice(
            "units",
            "λ in units of",
            ("paper's β", "matched curvature"),
            "paper's β",
            paper="matched: the pull at a mode is that of the true score",
        ),
        Toggle(
            "baseline",
            "subtract the baseline ε",
            True,
            paper="SRPO Remark 2; off in its code",
        ),
        Choice(
            "field", "arrows", ("none", "regulariser's pull", "∇ at the probe's target"), "none"
        ),
        density,
        parts.denoiser_choice(denoiser),
        Handle("probe", "probe (a target)", (0.6, 0.8), BOUNDS, color="orange"),
        Handle("guess", "your guess", (-3.5, -4.0), BOUNDS, color="purple"),
    )


def scene(
    mine: Callable[..., Any] | None = None,
    density: str = "8gaussians",
    denoiser: str = "exact",
    seed: int = 0,
    size: int = 96,
) -> Scene:
    """SRPO's regularised targets as a scene; `mine` is a gradient to lay beside the library's.

    mine(denoise, schedule, act (B, 2), t (B,), eps (B, 2)) -> (B, 2), its weight inside, as
    `objectives.score_regularization_grad`.
    """
    choice = parts.density_choice(density, DENSITIES)
    stacks = _stacks(density, denoiser, seed, size)
    few = len(stacks["centres"].data) <= 40
    let, layers = {**LET, "few": "1" if few else "0"}, _layers()
    panels: tuple[Panel, ...] = (
        Panel("targets, regularised"),
        Panel(
            "variance of one gradient",
            "chart",
            "t",
            "per dimension",
            ylim=(1e-5, 100.0),
            yscale="log",
        ),
    )
    if mine is not None:
        stacks["own"] = Stack(own_force(mine, density, denoiser, seed))
        let["own_reg"] = "descend(targets, own, lam, box)"
        panels = (*panels, Panel("yours"))
        layers = (
            *layers,
            layer(
                "heat", 2, field="max(logp, highest(logp) - 14)", colors="density", label="log μ"
            ),
            layer("arrows", 2, xy="targets", uv="own_reg - targets", color="vermilion"),
            layer("points", 2, xy="targets", color="blue", size=5),
            layer("points", 2, xy="own_reg", color="purple", size=6.5, legend="yours"),
        )
    return Scene(
        name="score_regularization",
        title="Score regularisation",
        bounds=BOUNDS,
        params=_params(choice, denoiser),
        layers=layers,
        words=WORDS,
        stacks=stacks,
        let=let,
        panels=panels,
        readouts=READOUTS,
        prediction=Prediction(
            "Where does the orange target go? Drag your guess there.",
            "probe_reg",
            tolerance=0.4,
            right="Well placed.",
            wrong="Not there: how far it goes depends on ω as much as on λ.",
        ),
        functions=FUNCTIONS,
        note=f"{denoiser} denoiser; t ~ U(.02, .98), noise integrated by quadrature; "
        f"the law is that of one Gaussian with s = {float(stacks['std'].data):.3f}",
    )


def score_regularization(
    density: str = "8gaussians",
    *,
    denoiser: str = "exact",
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """SRPO's regularised targets on a named density: slide λ, choose the weight ω, move the probe.

    denoiser "exact" or "trained"; `hide` names controls to leave out; `guess=True` asks for a
    prediction first. ValueError for an unknown density. Source: SRPO Eq. 10 and 15, Fig. 3.
    """
    settings = {"density": density, "denoiser": denoiser, "seed": seed}
    return Explorable(scene, settings, hide, guess)
