"""What lesson 09 draws and says, as formulas over its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffteach.explore.lessons.sampling_without_data_race import BUDGET, NAMES
from diffteach.explore.scene import Layer, Panel, Readout, layer

POINT, RACE = "look == 0", "look == 1"
_LAW = "means, stds, logs, moons"

LET: Mapping[str, str] = {
    "count": "4**particles",
    "drawn": "cloud(eps, probe, noise, count)",
    "energy": f"energies(drawn, {_LAW})",
    "weight": "shares(energy, temperature)",
    "tall": "weight/highest(weight)*revealed",
    "target_x": "weighed(weight, drawn)",
    "bar": "(probe - target_x)/noise",
    "solved": f"posterior(probe, noise, temperature, half, {_LAW})",
    "exact": "point(row(solved, 0), row(solved, 1))",
    "star": "(probe - exact)/noise",
    "effective": "ess(weight)",
    "crowd": "cloud(fourfold(eps), probe, noise, 16384)",
    "crowd_energy": f"energies(crowd, {_LAW})",
    "missed": "misses(crowd, crowd_energy, temperature, counts, exact)",
    "self_x": "centre(grouped(crowd, crowd_energy, temperature, count))",
    "raw_x": "weighed(shares(crowd_energy, temperature), crowd)",
    "bias": "norm(self_x - exact)",
    "raw_miss": "norm(raw_x - exact)",
    "one_miss": "norm(target_x - exact)",
    "row_weight": "logMean(energy, temperature)",
    "here": f"essOver(eps, probe, temperature, count, levels, {_LAW})",
    "trained": "where(proposal == 0, clean + noise*eta, "
    "where(proposal == 1, gauss, even)*sqrt(1 + noise**2))",
    "heat": "max(logp/temperature, -8)",
}

_SIZES = ((0.0, 0.03, 3.0), (0.03, 0.2, 6.0), (0.2, 0.6, 9.0), (0.6, 2.0, 12.0))
_COLORS = ("blue", "sky", "muted", "vermilion", "orange", "green", "yellow", "ink")


def layers(own: bool) -> tuple[Layer, ...]:
    """What is drawn: the noisy point and its charts, or the race."""
    shown = "revealed"
    heat: dict[str, Any] = {
        "field": "heat",
        "low": "-8",
        "high": "0",
        "colors": "density",
        "label": "E/λ below its peak",
    }
    mine = (
        layer("marker", xy="own_x", shape="cross", color="purple"),
        layer("path", xy="segment(probe, own_x)", color="purple", width=2, legend="yours"),
    )
    return (
        layer("heat", **heat),
        layer("points", xy="trained", color="orange", size=2, legend="noisy points of training"),
        *(
            layer(
                "points",
                xy=f"kept(drawn, tall, {low}, {high})",
                color="blue",
                size=size,
                legend="clean points, by weight" if size == 6 else "",
            )
            for low, high, size in _SIZES
        ),
        layer(
            "arrows",
            xy="listed(probe)",
            uv="listed(exact - probe)",
            color="ink",
            when=shown,
            legend="exact",
        ),
        layer(
            "arrows",
            xy="listed(probe)",
            uv="listed(target_x - probe)",
            color="vermilion",
            when=shown,
            legend="this row's target",
        ),
        layer("marker", xy="exact", shape="star", color="ink", label="E[x₀|x_t]", when=shown),
        layer("marker", xy="target_x", shape="cross", color="vermilion", when=shown),
        layer(
            "points",
            xy="listed(self_x)",
            color="vermilion",
            size=24,
            shape="ring",
            when=shown,
            legend="learned, self weights",
        ),
        layer(
            "points",
            xy="listed(raw_x)",
            color="green",
            size=9,
            shape="ring",
            when=shown,
            legend="learned, raw weights",
        ),
        *(mine if own else ()),
        layer("line", 1, x="levels", y="here", color="blue", width=2.5, legend="at this x_t"),
        layer("line", 1, x="levels", y="typical", dash=True, legend="median of training's x_t"),
        layer("rule", 1, x="noise", color="ink"),
        layer("rule", 1, y="1", color="muted"),
        layer(
            "line",
            2,
            x="counts",
            y="column(missed, 0)",
            color="vermilion",
            width=2,
            when=shown,
            legend="one target (RMS)",
        ),
        layer(
            "line",
            2,
            x="counts",
            y="column(missed, 1)",
            color="vermilion",
            width=2,
            dash=True,
            when=shown,
            legend="their mean: self weights' bias",
        ),
        layer("rule", 2, y="raw_miss", color="green", dash=True, label="raw weights", when=shown),
        layer("rule", 2, x="count", color="ink"),
        layer("heat", 3, **heat),
        layer("points", 3, xy="racers", color="vermilion", size=3.5, legend="its points"),
        *(
            layer(
                "line",
                4,
                x="clock",
                y=f"column(kl, {k})",
                color=color,
                width=2.5 if k == 0 else 1.6,
                dash=name in ("RSSM, mean-one weights", "direct, from exact points"),
                legend=name,
            )
            for k, (name, color) in enumerate(zip(NAMES, _COLORS, strict=True))
        ),
        layer("rule", 4, y="least", color="muted", dash=True, label="exact points"),
        layer("rule", 4, x="calls", color="ink"),
    )


PANELS = (
    Panel("one noisy point", when=POINT),
    Panel(
        "effective number of the K",
        "chart",
        "noise σ/α",
        "of K",
        xscale="log",
        yscale="log",
        ylim=(0.9, 80.0),
        when=POINT,
    ),
    Panel(
        "miss of the denoised point",
        "chart",
        "particles K",
        "distance",
        xscale="log",
        yscale="log",
        when=f"revealed*({POINT})",
    ),
    Panel("the chosen sampler", when=RACE),
    Panel(
        "KL(target ‖ sampler)",
        "chart",
        "million energies",
        "nats",
        xlim=(0.0, 1.06 * BUDGET),
        yscale="log",
        when=RACE,
    ),
)

_POINT_WORDS = (
    "Of {count:.0f} clean {particles == 0 ?point|points} drawn backwards from this x_t, "
    "{effective:.1f} {particles == 0 ?counts|count}{particles == 0 ?. Its self-normalised weight "
    "is 1 whatever E says: a network trained on it learns pure noise and leaves x_t where it is|}"
    "{(particles > 0)*(effective < 1.5) ?. One of them carries the target: the noise is too high "
    "for so few|}. The weighted mean misses the exact denoised point by {one_miss:.2f}; over many "
    "rows self weights learn a point {bias:.2f} off, raw weights one {raw_miss:.2f} off"
    "{ran ?. The race has begun: look at it|}."
)
_RACE_WORDS = (
    "In the race everybody asks the energy equally often. After {calls:.2f} million energies "
    "{sampler} is {kl_now:.3f} nats from the target, as many exact points are {least:.3f}."
)
WORDS = {
    POINT: _POINT_WORDS,
    f"({RACE})*(ran == 0)": "The race has not run: press Train.",
    f"({RACE})*ran": _RACE_WORDS,
}

READOUTS = (
    Readout("effective number of particles", "effective", ".1f", POINT),
    Readout("target ε̄, x", "x(bar)", "+.3f", f"revealed*({POINT})"),
    Readout("exact ε*, x", "x(star)", "+.3f", f"revealed*({POINT})"),
    Readout("target ε̄, y", "y(bar)", "+.3f", f"revealed*({POINT})"),
    Readout("exact ε*, y", "y(star)", "+.3f", f"revealed*({POINT})"),
    Readout("bias of self weights at this K", "bias", ".3f", f"revealed*({POINT})"),
    Readout("miss of raw weights, any K", "raw_miss", ".3f", f"revealed*({POINT})"),
    Readout("log weight of this row", "row_weight", ".2f", f"revealed*({POINT})"),
    Readout("its exact value", "row(solved, 2)", ".2f", f"revealed*({POINT})"),
    Readout("KL of the chosen sampler", "kl_now", ".3f", RACE),
    Readout("KL of exact points", "least", ".3f", RACE),
)
OWN_READOUTS = (Readout("yours: miss", "norm(own_x - exact)", ".3f", POINT),)
OWN_LET = {"own_x": "probe - noise*vectorsAt(own, probe, box)"}
