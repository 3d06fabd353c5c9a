"""A scene that uses all that scenes have: each operator, layer, control, axis, kind of word."""

from __future__ import annotations

import numpy as np

from diffteach.explore.params import Choice, Handle, Slider, Toggle
from diffteach.explore.scene import Operation, Panel, Prediction, Readout, Scene, Stack, layer

BOUNDS = (-2.0, 2.0, -1.0, 3.0)
SWIRL = """function swirl(points, turn) {
  const out = new Float64Array(points.d.length);
  for (let i = 0; i < out.length; i += 2) {
    out[i] = -turn * points.d[i + 1];
    out[i + 1] = turn * points.d[i] + 0.1;
  }
  return { d: out, s: points.s };
}"""

LET = {
    "sum": "wave + 0.5*quadrant - bump/2",
    "power": "(abs(wave) + 1)**1.5 + 2**a - -b",
    "tests": "(a < b) + 2*(a <= b) + 4*(a > 0.5) + 8*(a >= 0.5) + 16*(a == b) + 32*(a != b)",
    "logic": "(a > 0.2 and b > 0.2) + 2*(a > 0.9 or b > 0.9) + 4*(not on)",
    "pick": "wave if mode == 1 else quadrant",
    "cut": "min(max(wave, -0.5), bump, 0.8)",
    "curved": "exp(-abs(wave)) + log(bump + 1) + sqrt(bump)",
    "far": "log(max(bump - 0.5, 0))",
    "stats": "lowest(wave) + 2*highest(wave) + 4*mean(wave) + 8*median(wave) + total(bump)/1000",
    "known": "mean(holed) + lowest(holed) + median(holed) + highest(holed)/10",
    "length": "norm(cloud)",
    "reach": "norm(probe)",
    "shifted": "cloud + point(a, b)",
    "stretched": "cloud * probe",
    "xs": "x(cloud) + column(cloud, 1) - y(cloud)",
    "first": "row(cloud, 0) + row(cloud, -1)",
    "nearby": "nearest(cloud, centres)",
    "alone": "nearest(probe, centres)",
    "there": "at(wave, probe)",
    "along": "at(wave, cloud)",
    "deepest": "argmin(bowl)",
    "turned": "swirl(cloud, a)",
    "steps": "count + 1",
    "ladder": "rung * 2",
    "dent": "bowl + a*wave",
    "best": "argmin(dent)",
}


def fields(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n, n) of the nodes."""
    x0, x1, y0, y1 = BOUNDS
    x, y = np.meshgrid(np.linspace(x0, x1, n), np.linspace(y0, y1, n))
    return x, y


def stacks(n: int, tilt: float) -> dict[str, Stack]:
    x, y = fields(n)
    bump = np.exp(-(x**2) - (y - 1 - tilt) ** 2)
    knots = (0.0, 0.25, 0.6, 1.0)
    wave = np.stack([np.sin(2 * x + 4 * k) * np.cos(y) for k in knots])
    quadrant = np.array([[x * ka + y * kb for kb in (0.0, 1.0)] for ka in (0.0, 0.4, 1.0)])
    holed = np.where(x**2 + y**2 < 0.3, np.nan, x - y)
    holed[0, :3] = -np.inf, np.inf, np.nan
    rng = np.random.default_rng(3)
    modes = np.stack([bump, -bump, x * y])
    beyond = np.stack([wave[0], np.where(x > 0, np.nan, wave[1])])
    return {
        "wave": Stack(wave, {"a": knots}),
        "quadrant": Stack(quadrant, {"a": (0.0, 0.4, 1.0), "b": (0.0, 1.0)}),
        "bump": Stack(bump, bits=16),
        "bowl": Stack((x - 0.31) ** 2 + 1.3 * (y - 0.77) ** 2),
        "holed": Stack(holed, bits=10),
        "cloud": Stack(rng.uniform(-0.9, 1.9, (40, 2))),
        "crowd": Stack(rng.normal(size=(2, 1200, 2)), {"a": (0.0, 1.0)}),
        "centres": Stack(np.array([[0.0, 1.0], [1.0, 2.0], [-1.0, 0.0]])),
        "by_mode": Stack(modes, {"mode": (0.0, 1.0, 2.0)}),
        "beyond": Stack(beyond, {"a": (0.0, 1.0)}),
        "rung": Stack(np.array([1.0, 3.0, 10.0]), {"b": (0.0, 0.5, 1.0)}),
        "count": Stack(np.array(7.0)),
        "single": Stack(np.array([[1.0, 2.0]]), {"a": (0.5,)}),
        "time": Stack(np.linspace(0.01, 10, 50)),
        "tracks": Stack(np.cumsum(rng.normal(size=(3, 12, 2)) * 0.2, axis=1)),
    }


PARAMS = (
    Slider("a", "blend", 0.0, 1.0, 0.3, latex=r"\alpha_t", unit="nat"),
    Slider("b", "noise", 0.001, 1.0, 0.1, scale="log", latex=r"\hat{\sigma}", paper="written 1/β"),
    Slider("ghost", "only with dots", -1.0, 1.0, 0.0, when="on"),
    Choice("mode", "view", ("plain", "mirrored", "saddle"), "plain"),
    Choice("tilt", "tilt", ("level", "tilted"), "level", kernel=True),
    Toggle("on", "dots", True),
    Handle("probe", "probe", (0.5, 1.0), BOUNDS, color="vermilion"),
    Handle("guess", "your guess", (-1.0, 0.0), BOUNDS, color="purple"),
)

LAYERS = (
    layer("heat", field="by_mode", colors="diverging", label="value"),
    layer("contour", field="wave", level="b", color="blue", fill="above", legend="above b"),
    layer("contour", field="bump", level="a", color="ink", dash=True, width=1.5),
    layer("arrows", xy="cloud", uv="turned", length=0.1, color="ink", legend="swirl"),
    layer("points", xy="shifted", value="length", size=6, when="on"),
    layer("marker", xy="best", color="orange", label="lowest", when="revealed"),
    layer("heat", panel=1, field="holed", colors="sequential", low="-2", high="3"),
    layer("points", panel=1, xy="crowd", shape="square", size=2, color="green", legend="crowd"),
    layer("path", panel=1, xy="tracks", color="purple", closed=True),
    layer("path", panel=1, xy="row(tracks, 0)", color="sky"),
    layer("marker", panel=1, xy="probe", shape="cross", color="vermilion", legend="probe"),
    layer("marker", panel=1, xy="point(1.9, 2)", shape="ring", color="yellow", label="here"),
    layer("line", panel=2, x="time", y="exp(-time*b)", color="blue", legend="decay"),
    layer("line", panel=2, x="time", y="time**(0.5 + a)", color="vermilion", dash=True),
    layer("rule", panel=2, x="b * 10", label="b", color="muted"),
    layer("rule", panel=2, y="1", dash=True, label="one", color="green"),
    layer("points", panel=3, xy="cloud", shape="ring", color="orange", size=8),
    layer("heat", panel=3, field="bump", colors="density", label="p"),
)

PANELS = (
    Panel("Fields"),
    Panel("Holes and paths", xlabel="a₁", ylabel="a₂"),
    Panel("Decay", "chart", xlabel="time", xscale="log", yscale="log", ylim=(1e-3, 50.0)),
    Panel("Only with dots", when="on"),
)

WORDS = (
    "In view {mode}, a is {a} and b {b:.3f}; the field at the probe is {there:+.2f}"
    "{on ?, with dots|, without}{a > 2 ? never|.} Median {median(wave):.1e}, {total(bump):d} in"
    " all, {a:.0%}, {lowest(far):.2f} nowhere {lowest(log(bump - bump)):g}, {-0.0001*a:.2f}."
)

READOUTS = (
    Readout("deepest x", "x(deepest)", "+.3f"),
    Readout("nearest", "alone"),
    Readout("hidden", "a", when="on == 0"),
)


def build(mine=None, tilt: str = "level", n: int = 48) -> Scene:
    """The scene; with `mine`, whatever it does with a field happens to `bump`."""
    arrays = stacks(n, 0.4 if tilt == "tilted" else 0.0)
    if mine is not None:
        arrays["bump"] = Stack(np.asarray(mine(arrays["bump"].data)), bits=16)
    params = tuple(Choice(**_with(p, tilt)) if p.name == "tilt" else p for p in PARAMS)
    return Scene(
        name="gallery",
        title="Everything & <all>",
        bounds=BOUNDS,
        params=params,
        layers=LAYERS,
        words=WORDS,
        stacks=arrays,
        let=LET,
        panels=PANELS,
        readouts=READOUTS,
        prediction=Prediction("Where is the lowest point?", "best", 0.4),
        functions=(Operation("swirl", swirl, SWIRL),),
        note="A scene for tests; </script> is only text.",
    )


def _with(param: Choice, default: str) -> dict:
    shown = {"name": param.name, "label": param.label, "options": param.options}
    return shown | {"default": default, "kernel": param.kernel}


def swirl(points: np.ndarray, turn: float) -> np.ndarray:
    return turn * np.stack([-points[..., 1], points[..., 0]], -1) + np.array([0.0, 0.1])


# Views to compare: knots, between knots, both ends, other choices.
STATES: tuple[dict, ...] = (
    {},
    {"a": 0.0, "b": 0.001, "mode": "mirrored", "probe": (-2.0, 3.0)},
    {"a": 0.43, "b": 0.37, "mode": "saddle", "on": False, "probe": (1.23, -0.7)},
    {"a": 1.0, "b": 1.0, "guess": (0.2, 0.8), "revealed": 1.0, "probe": (0.0, 0.0)},
)
