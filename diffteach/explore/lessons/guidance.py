"""Lesson 08: a noisy action is guided exactly, and by the slope of Q in three other places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons.guidance_flows import (
    BEHAVIOURS,
    BOUNDS,
    ENERGIES,
    GUIDES,
    LEVELS,
    SCHEDULE,
    SHOWN,
    own_stacks,
    stacks,
)
from diffteach.explore.lessons.guidance_moves import FUNCTIONS
from diffteach.explore.params import Choice, Handle, Param, Slider
from diffteach.explore.scene import Layer, Panel, Prediction, Readout, Scene, layer

COLORS = ("green", "vermilion", "blue", "yellow")
# Where two coincide both are seen, the later one on top.
WIDTHS = (2.2, 4.2, 2.0, 2.2)
SHORT = ("at x_t", "at x̂₀", "through x̂₀")
_LOG_ALPHA = f"({(SCHEDULE.beta_max - SCHEDULE.beta_min) / 4}*T + {SCHEDULE.beta_min / 2})*T"


def _scales(alpha: str, sigma: str, time: str) -> dict[str, str]:
    """Formulas of VP's scales at a time (SRPO Eq. 4)."""
    return {
        alpha: f"exp(-({_LOG_ALPHA.replace('T', time)}))",
        sigma: f"sqrt(1 - {alpha}**2)",
    }


LET: Mapping[str, str] = {
    **_scales("alpha", "sigma", "t"),
    **_scales("alphas", "sigmas", "times"),
    "beta": "1/lam",
    "point": "listed(probe)",
    "pushes": "guides(point, alpha, sigma, centres, std, value, beta)",
    **{f"g{k}": f"row(row(pushes, {k}), 0)" for k in range(4)},
    "denoised": "row(tilted(point, alpha, sigma, centres, std, value, 0), 0)",
    "aim": "denoised + sigma**2/alpha*g0",
    "longest": "max(revealed*norm(g0), norm(g1), norm(g2), norm(g3), 1e-9)",
    "unit": "2.2/longest",
    "lengths": "norm(guides(probes + probe, alphas, sigmas, centres, std, value, beta))",
    **{f"ratio{k}": f"norm(g{k})/norm(g0)" for k in (1, 2, 3)},
    # On one Gaussian they are parallel; what is left then is round-off.
    **{f"off{k}": f"max(turn(g{k}, g0), 0.001)" for k in (1, 2, 3)},
    "logp": "landscape(alpha, sigma, centres, std, 56, box)",
    "target": "landscape(1, 0, centres, std, 72, box) + beta*praise(value, 72, box)",
    "narrow_law": "(alphas**2*std**2 + sigmas**2)/(alphas*std**2)",
    "wide_law": "(alphas**2*wide + sigmas**2)/(alphas*wide)",
    "chosen_missed": "column(missed, other + 1)",
    "chosen_earned": "column(earned, other + 2)",
}


def _params() -> tuple[Param, ...]:
    return (
        Slider("t", "noise t", 0.02, 0.98, 0.3, paper="VP: x_t = α_t x₀ + σ_t ε"),
        Slider(
            "lam",
            "regularisation λ",
            0.1,
            10.0,
            0.25,
            scale="log",
            paper="1/β of CEP and SRPO; right = closer to the data",
        ),
        Choice("energy", "energy Q", tuple(ENERGIES), next(iter(ENERGIES))),
        Choice("behaviour", "behaviour μ", BEHAVIOURS, BEHAVIOURS[0]),
        Choice("other", "the chosen guide", GUIDES, GUIDES[0]),
        Handle("probe", "probe x_t", (-1.5, -1.0), BOUNDS, color="orange"),
        Handle("guess", "your guess", (-3.6, 3.6), BOUNDS, color="purple"),
    )


def _arrow(k: int) -> Layer:
    return layer(
        "arrows",
        xy="point",
        uv=f"listed(unit*g{k})",
        color=COLORS[k],
        width=WIDTHS[k],
        when="revealed" if k == 0 else "1",
        legend="exact" if k == 0 else SHORT[k - 1],
    )


def _plane(panel: int, points: tuple[Layer, ...]) -> tuple[Layer, ...]:
    heat = layer(
        "heat",
        panel,
        field="max(target - highest(target), -8)",
        low="-8",
        high="0",
        colors="pale",
        label="log μ + βQ",
    )
    return heat, *points


def _chart() -> tuple[Layer, ...]:
    laws = (("narrow_law", "D_t/(αs²), s of a cluster"), ("wide_law", "D_t/(αs²), s of all"))
    return (
        *(
            layer(
                "line",
                3,
                x="times",
                y=f"row(lengths, {k})/row(lengths, 0)",
                color=COLORS[k],
                width=WIDTHS[k],
                legend=SHORT[k - 1],
            )
            for k in (1, 2, 3)
        ),
        *(
            layer("line", 3, x="times", y=y, color=color, width=1.2, dash=True, legend=name)
            for color, (y, name) in zip(("ink", "muted"), laws, strict=True)
        ),
        layer("rule", 3, y="1", color="green"),
        layer("rule", 3, x="t", color="muted", label="now"),
    )


def _layers(own: bool) -> tuple[Layer, ...]:
    ends = tuple(
        layer("points", 2, xy="other_ends", color=COLORS[k], size=4, when=f"other == {k - 1}")
        for k in (1, 2, 3)
    )
    yours = (layer("points", 2, xy="own_ends", color="purple", size=4),) if own else ()
    arrow = layer(
        "arrows", xy="point", uv="listed(unit*g_own)", color="purple", width=1.6, legend="yours"
    )
    seen: dict[str, Any] = {"color": "green", "when": "revealed"}
    return (
        layer(
            "heat",
            field="max(logp - highest(logp), -8)",
            low="-8",
            high="0",
            colors="pale",
            label="log μ_t",
        ),
        *(_arrow(k) for k in (1, 2, 3, 0)),
        *((arrow,) if own else ()),
        layer("points", xy="point", color="orange", size=10, shape="ring"),
        layer("arrows", xy="listed(denoised)", uv="listed(aim - denoised)", width=1.2, **seen),
        layer("marker", xy="denoised", shape="star", color="ink", label="x̂₀"),
        layer("points", xy="listed(aim)", size=11, shape="ring", legend="x̂₀ guided", **seen),
        *_plane(1, (layer("points", 1, xy="exact_ends", size=4, **seen),)),
        *_plane(2, (*ends, *yours)),
        *_chart(),
    )


WORDS = (
    "At t = {t:.2f} and β = {beta:.2g} exact guidance moves x̂₀ by {sigma**2/alpha*norm(g0):.2f}. "
    "The slope of Q at the noisy point is {ratio1:.2g} times as long and {off1:.0f}° off, at x̂₀ "
    "{ratio2:.2g} times and {off2:.0f}°, through the denoiser {ratio3:.2g} times and {off3:.0f}°. "
    "Guided exactly the flow earns {column(earned, 1):.2f} and {100*column(missed, 0):.0f} % of it "
    "miss the target, which earns {column(earned, 0):.2f}; guided by {other} it earns "
    "{chosen_earned:.2f} and {100*chosen_missed:.0f} % miss."
)

READOUTS: tuple[Readout, ...] = (
    Readout("exact", "norm(g0)", ".3f", "revealed"),
    *(Readout(name, f"norm(g{k + 1})", ".3f") for k, name in enumerate(GUIDES)),
    Readout("D_t/(α s²), s of a cluster", "(alpha**2*std**2 + sigma**2)/(alpha*std**2)", ".2f"),
)


def scene(mine: Callable[..., Any] | None = None) -> Scene:
    """Guidance as a scene; `mine` is one more, beside the exact one.

    mine(q, denoise, schedule, x_t (B, 2), t (B,), beta) -> what is added to the score (B, 2).
    """
    shipped, let, readouts = dict(stacks()), dict(LET), READOUTS
    if mine is not None:
        shipped |= own_stacks(mine)
        let["g_own"] = "beta*vectorsAt(own_push, probe, box)"
        let["longest"] = let["longest"].replace("1e-9", "norm(g_own)")
        readouts = (
            *readouts,
            Readout("yours", "norm(g_own)", ".3f"),
            Readout("yours: misses", "own_missed", ".2f"),
            Readout("yours: earns", "own_earned", ".3f"),
        )
    return Scene(
        name="guidance",
        title="Guidance, exact and naive",
        bounds=BOUNDS,
        params=_params(),
        layers=_layers(mine is not None),
        words=WORDS,
        stacks=shipped,
        let=let,
        panels=(
            Panel("one noisy action"),
            Panel("guided exactly"),
            Panel("guided by the chosen" if mine is None else "the chosen; yours, 1 ≤ β ≤ 4"),
            Panel(
                "length of each, exact = 1",
                "chart",
                "noise t",
                "at the probe",
                ylim=(0.05, 100.0),
                yscale="log",
            ),
        ),
        readouts=readouts,
        prediction=Prediction(
            "The star x̂₀ is where the orange noisy action came from, on average. Where did "
            "it come from if good actions count exp(βQ) times? Drag your guess there.",
            "aim",
            tolerance=0.4,
            right="Well placed: exact guidance pushes along this line.",
            wrong="Not there: ask which clean actions could have become this one, and which of "
            "them Q favours.",
        ),
        functions=FUNCTIONS,
        note=f"arrows share one scale; heat: target μ exp(βQ); {SHOWN} points of the flow, "
        f"{LEVELS} levels of Heun, shipped at seven λ; a point misses outside the region that "
        "holds 99 % of the target",
    )


def guidance(*, hide: tuple[str, ...] = (), guess: bool = False) -> Explorable:
    """A noisy action guided by the exact energy, and by the slope of Q at three places.

    `hide` names controls to leave out; `guess=True` asks for a prediction first. Source: CEP
    (QGPO) Sec. 3.
    """
    return Explorable(scene, {}, hide, guess)
