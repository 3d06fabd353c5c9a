"""The layers of a picture with matplotlib, one function a kind, as draw.js has them.

Colours and sizes are those of the browser; one of its pixels is 0.75 points.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from diffteach.explore import colors
from diffteach.explore.scene import Layer

PIXEL = 0.75
MARKER = "marker"  # labels of this kind may stand on either side
SHAPES = {"dot": "o", "ring": "o", "square": "s", "star": "*", "cross": "x"}
DASH = (0, (3.5, 2.5))
SUBSCRIPT = re.compile(r"(?<!\w)([^\W\d_][\u0300-\u036f]?)_([^\W\d_]{1,3}|\d)(?!\w)")
Draw = Callable[["Ink", Axes, Layer, dict[str, Any]], None]


class Ink:
    """The palette of one figure, and the bounds its fields span."""

    def __init__(self, dark: bool, bounds: tuple[float, float, float, float]) -> None:
        self.dark, self.bounds = dark, bounds
        self.palette = colors.DARK if dark else colors.LIGHT

    def __getitem__(self, name: str) -> str:
        return self.palette.get(name, self.palette["ink"])

    def table(self, name: str) -> ListedColormap:
        """The colour map of a layer; what is NaN stays clear."""
        return ListedColormap(colors.ramp(name, self.dark), bad=(0, 0, 0, 0))

    def rim(self, width: float | int) -> list[Any]:
        """Paper around a line, so that it reads on dark fields."""
        return [withStroke(linewidth=width, foreground=self["paper"], alpha=0.75)]


def marked(text: str) -> str:
    """Text with subscripts as in "L_TR" and "x_t" set as such; no name_like_this is touched."""
    return SUBSCRIPT.sub(r"\1$_{\\mathrm{\2}}$", text.replace("$", r"\$"))


def write(text: Any, ink: Ink, color: str = "ink") -> None:
    """Set a matplotlib text in a colour of the palette, its subscripts as such."""
    text.set_color(ink[color])
    text.set_text(marked(text.get_text()))


def color_range(entry: Layer, data: dict[str, Any]) -> tuple[float, float]:
    """What the ends of a heat map's colours stand for; diverging ones are symmetric about 0."""
    known = data["field"][np.isfinite(data["field"])]
    low = float(data.get("low", known.min() if known.size else 0))
    high = float(data.get("high", known.max() if known.size else 1))
    if entry.style.get("colors") == "diverging":
        reach = max(abs(low), abs(high)) or 1.0
        return -reach, reach
    return low, high if high > low else low + 1


def stroke_of(ink: Ink, entry: Layer, width: float | int) -> dict[str, Any]:
    """Colour, width and dash of a layer's lines."""
    style = entry.style
    wide = style.get("width", width) * PIXEL
    dash = DASH if style.get("dash") else "-"
    return {"color": ink[style.get("color", "ink")], "linewidth": wide, "linestyle": dash}


def _heat(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    x0, x1, y0, y1 = ink.bounds
    rows, cols = data["field"].shape
    dx, dy = (x1 - x0) / (cols - 1) / 2, (y1 - y0) / (rows - 1) / 2
    low, high = color_range(entry, data)
    if np.isnan(data["field"]).any():
        hole = Rectangle((x0, y0), x1 - x0, y1 - y0, fc="none", ec=ink["faint"], hatch="///", lw=0)
        axes.add_patch(hole)
    axes.imshow(
        np.clip(data["field"], low, high),
        cmap=ink.table(entry.style.get("colors", "sequential")),
        norm=Normalize(low, high),
        extent=(x0 - dx, x1 + dx, y0 - dy, y1 + dy),
        origin="lower",
        interpolation="bilinear",
        aspect="auto",
    )


def _contour(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    field, level = data["field"], float(np.squeeze(data["level"]))
    x0, x1, y0, y1 = ink.bounds
    grid = np.linspace(x0, x1, field.shape[1]), np.linspace(y0, y1, field.shape[0])
    known = field[np.isfinite(field)]
    if not known.size or not known.min() < level < known.max():
        return
    # Infinite values would leave holes where they only mean "far beyond the level".
    span = np.ptp(known)
    field = np.clip(field, known.min() - span, known.max() + span)
    stroke = stroke_of(ink, entry, 1.75)
    if entry.style.get("fill") == "above":
        top = known.max() + 2 * span
        axes.contourf(*grid, field, [level, top], colors=[stroke["color"]], alpha=0.16)
    axes.contour(
        *grid,
        field,
        [level],
        colors=[stroke["color"]],
        linewidths=stroke["linewidth"],
        linestyles=[stroke["linestyle"]],
    ).set_path_effects(ink.rim(stroke["linewidth"] + 1.5))


def _points(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    style, xy = entry.style, np.atleast_2d(data["xy"])
    shape, color = style.get("shape", "dot"), ink[style.get("color", "ink")]
    area = (style.get("size", 5) * PIXEL) ** 2
    look: dict[str, Any] = {"c": color}
    if "value" in data:
        look = {"c": np.ravel(data["value"]), "cmap": ink.table(style.get("colors", "sequential"))}
    if shape == "ring":
        look = {"facecolors": "none", "edgecolors": color, "linewidths": 1.3}
    else:
        look |= {"edgecolors": ink["paper"], "linewidths": 0.4 if area > 8 else 0}
    axes.scatter(xy[:, 0], xy[:, 1], s=area, marker=SHAPES[shape], **look)


def _arrows(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    xy, uv = data["xy"], data["uv"]
    length = entry.style.get("length")
    if length is not None:
        x0, x1 = ink.bounds[:2]
        longest = float(np.nan_to_num(np.sqrt((uv**2).sum(-1))).max()) or 1.0
        uv = uv * (length * (x1 - x0) / longest)
    axes.quiver(
        *xy.T,
        *uv.T,
        color=ink[entry.style.get("color", "ink")],
        angles="xy",
        scale_units="xy",
        scale=1,
        width=entry.style.get("width", 1.25) * 0.0026,
        headwidth=4.5,
        headlength=5,
        headaxislength=4.5,
    )


def _path(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    lines = data["xy"].reshape(-1, *data["xy"].shape[-2:])
    if entry.style.get("closed"):
        lines = np.concatenate([lines, lines[:, :1]], axis=1)
    stroke = stroke_of(ink, entry, 1.75)
    rim = ink.rim(stroke["linewidth"] + 1.5)
    axes.add_collection(LineCollection(list(lines), path_effects=rim, **stroke))


def _line(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    axes.plot(np.ravel(data["x"]), np.ravel(data["y"]), **stroke_of(ink, entry, 2))


def _marker(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    shape, color = entry.style.get("shape", "star"), ink[entry.style.get("color", "ink")]
    size = 2 * PIXEL * entry.style.get("size", 8.5 if shape == "star" else 6)
    look: dict[str, Any] = {"mfc": "none" if shape == "ring" else color, "mec": color}
    if shape == "star":
        look["mec"] = ink["paper"]
    width = 1.0 if shape == "star" else 1.8
    if shape != "star":
        under = look | {"mec": ink["paper"]}
        axes.plot(*data["xy"], SHAPES[shape], markersize=size, mew=width + 2, **under)
    axes.plot(*data["xy"], SHAPES[shape], markersize=size, mew=width, **look)
    if label := entry.style.get("label"):
        _write(ink, axes, label, tuple(data["xy"]), (9, 0), color, gid=MARKER, va="center")


def _write(
    ink: Ink, axes: Axes, label: str, place: Any, shift: Any, color: str, **how: Any
) -> None:
    text = axes.annotate(
        label, place, shift, textcoords="offset points", fontsize=8.7, color=color, **how
    )
    text.set_text(marked(label))
    text.set_path_effects(ink.rim(2.6))


def _rule(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    stroke = stroke_of(ink, entry, 1.25)
    upright = "x" in data
    place = float(np.squeeze(data["x" if upright else "y"]))
    if not np.isfinite(place):
        return
    (axes.axvline if upright else axes.axhline)(place, **stroke)
    if label := entry.style.get("label"):
        how: dict[str, Any] = {"ha": "left" if upright else "right"}
        how |= {"va": "top" if upright else "bottom", "annotation_clip": True}
        how["xycoords"] = ("data", "axes fraction") if upright else ("axes fraction", "data")
        spot = (place, 0.98) if upright else (0.99, place)
        _write(ink, axes, label, spot, (4, 0) if upright else (0, 2), stroke["color"], **how)


DRAW: Mapping[str, Draw] = {
    "heat": _heat,
    "contour": _contour,
    "points": _points,
    "arrows": _arrows,
    "path": _path,
    "marker": _marker,
    "line": _line,
    "rule": _rule,
}
