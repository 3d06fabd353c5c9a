"""The picture with matplotlib: for print, for front ends without widgets, and to save.

Layout and colours are those of the browser; one of its pixels is 0.75 points.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

from diffteach.explore import colors
from diffteach.explore.expression import number
from diffteach.explore.params import Handle
from diffteach.explore.scene import Frame, Layer, Panel
from diffteach.files import write_bytes

FORMATS = ("png", "pdf", "svg")
PIXEL = 0.75
PANEL = 4.3  # inches
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


def figure(frame: Frame, dark: bool = False, hide: tuple[str, ...] = ()) -> Figure:
    """The panels side by side over the words, as a figure that no global list keeps.

    Handles that `hide` names are not drawn.
    """
    fig = Figure(dpi=110)
    FigureCanvasAgg(fig)
    _fill(fig, frame, dark, hide)
    return fig


def pixels(
    frames: Sequence[Frame], dark: bool = False, hide: tuple[str, ...] = ()
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The pictures of several frames, one figure serving all; words keep the room of the longest.

    All frames must show the same panels, else the pictures differ in size.
    """
    fig = Figure(dpi=110)
    canvas = FigureCanvasAgg(fig)
    lines = max(_wrapped(frame).count("\n") for frame in frames) + 1
    for frame in frames:
        fig.clear()
        _fill(fig, frame, dark, hide, lines)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _wrapped(frame: Frame) -> str:
    shown = sum(frame.shows(panel) for panel in frame.scene.panels)
    return "\n".join(textwrap.wrap(frame.words, 57 * max(1, shown)))


def _fill(fig: Figure, frame: Frame, dark: bool, hide: tuple[str, ...], lines: int = 0) -> None:
    """Draw a frame on an empty figure, with room for so many lines of words."""
    ink = Ink(dark, frame.scene.bounds)
    shown = [k for k, panel in enumerate(frame.scene.panels) if frame.shows(panel)]
    count = max(1, len(shown))
    fig.set_size_inches(PANEL * count, 5.6)
    fig.set_facecolor(ink["paper"])
    fig.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
    for place, k in enumerate(shown, 1):
        axes = fig.add_subplot(1, count, place)
        _panel(ink, axes, frame, k, hide)
    _text(fig.suptitle(frame.scene.title, x=0.02, ha="left", fontsize=12, weight="bold"), ink)
    words = _wrapped(frame)
    words += "\n" * (lines - 1 - words.count("\n"))
    _text(fig.supxlabel(words, x=0.02, ha="left", fontsize=10.5), ink)


def png(frame: Frame, dark: bool = False, hide: tuple[str, ...] = ()) -> bytes:
    """The picture as a PNG image."""
    return _render(frame, "png", dark, hide)


def save(frame: Frame, path: str | Path, hide: tuple[str, ...] = ()) -> Path:
    """Write the picture; ValueError for a suffix but .png, .pdf, .svg; OSError if it fails."""
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ValueError(f"a picture is saved as .png, .pdf, .svg or .gif, got {path.name!r}")
    return write_bytes(_render(frame, suffix, False, hide), path)


def _render(frame: Frame, kind: str, dark: bool, hide: tuple[str, ...]) -> bytes:
    buffer = io.BytesIO()
    # Without a date the same picture is the same file.
    stamp = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    figure(frame, dark, hide).savefig(buffer, format=kind, metadata=stamp)
    return buffer.getvalue()


def marked(text: str) -> str:
    """Text with subscripts as in "L_TR" and "x_t" set as such; no name_like_this is touched."""
    return SUBSCRIPT.sub(r"\1$_{\\mathrm{\2}}$", text.replace("$", r"\$"))


def _text(text: Any, ink: Ink, color: str = "ink") -> None:
    text.set_color(ink[color])
    text.set_text(marked(text.get_text()))


def _panel(ink: Ink, axes: Axes, frame: Frame, index: int, hide: tuple[str, ...]) -> None:
    panel = frame.scene.panels[index]
    _frame_axes(ink, axes, panel)
    entries = [e for e in frame.scene.layers if e.panel == index and frame.shows(e)]
    for order, entry in enumerate(entries):
        data = {key: frame.of(formula) for key, formula in entry.data.items()}
        before = set(axes.get_children())
        DRAW[entry.kind](ink, axes, entry, data)
        for artist in set(axes.get_children()) - before:
            artist.set_zorder(2 + 0.01 * order)
        if entry.kind == "heat" and entry is next(e for e in entries if e.kind == "heat"):
            _color_bar(ink, axes, entry, data)
    for param in (p for p in frame.scene.params if p.name not in hide):
        if isinstance(param, Handle) and param.panel == index and frame.shows(param):
            knob: dict[str, Any] = {"markersize": 8, "markeredgewidth": 2.2, "zorder": 4}
            axes.plot(*frame[param.name], "o", mfc=ink["paper"], mec=ink[param.color], **knob)
    _limits(axes, panel, ink.bounds)
    _turn_labels(axes)
    _legend(ink, axes, entries, panel.kind == "plane")


def _frame_axes(ink: Ink, axes: Axes, panel: Panel) -> None:
    axes.set_facecolor(ink["paper"])
    axes.set_box_aspect(1)
    axes.set_anchor("N")
    axes.locator_params(nbins=6)
    axes.tick_params(color=ink["faint"], labelcolor=ink["muted"], labelsize=8.5, length=3)
    for spine in axes.spines.values():
        spine.set_color(ink["faint"])
    _text(axes.set_title(panel.title, loc="left", fontsize=10, weight="bold"), ink)
    _text(axes.set_xlabel(panel.xlabel, fontsize=8.5), ink, "muted")
    _text(axes.set_ylabel(panel.ylabel, fontsize=8.5), ink, "muted")
    if panel.kind == "chart":
        axes.set_xscale(panel.xscale)
        axes.set_yscale(panel.yscale)
        axes.grid(color=ink["faint"], alpha=0.55, linewidth=0.75)
        axes.margins(x=0, y=0.06)


def _limits(axes: Axes, panel: Panel, bounds: tuple[float, float, float, float]) -> None:
    plane = panel.kind == "plane"
    xlim, ylim = panel.xlim or (bounds[:2] if plane else None), panel.ylim
    ylim = ylim or (bounds[2:] if plane else None)
    if xlim:
        axes.set_xlim(*xlim)
    if ylim:
        axes.set_ylim(*ylim)


def _turn_labels(axes: Axes) -> None:
    """Labels of markers that would run out of the panel on the right go to the left side."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    wide = 0.75 * PANEL * figure.dpi  # the layout, and with it the true width, is not known yet
    for text in axes.texts:
        if text.get_gid() != MARKER or not isinstance(text, Annotation):
            continue
        place = axes.transAxes.inverted().transform(axes.transData.transform(text.xy))[0]
        share = (text.get_window_extent().width + 15) / wide
        if 1 - place < min(place, share):
            text.set(ha="right", position=(-9, 0))


def color_range(entry: Layer, data: dict[str, Any]) -> tuple[float, float]:
    """What the ends of a heat map's colours stand for; diverging ones are symmetric about 0."""
    known = data["field"][np.isfinite(data["field"])]
    low = float(data.get("low", known.min() if known.size else 0))
    high = float(data.get("high", known.max() if known.size else 1))
    if entry.style.get("colors") == "diverging":
        reach = max(abs(low), abs(high)) or 1.0
        return -reach, reach
    return low, high if high > low else low + 1


def _color_bar(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    low, high = color_range(entry, data)
    table = ink.table(entry.style.get("colors", "sequential"))
    mappable = ScalarMappable(Normalize(low, high), table)
    bar = axes.figure.colorbar(
        mappable, ax=axes, orientation="horizontal", shrink=0.7, aspect=34, pad=0.03
    )
    ends = [0.0 if abs(v) < 1e-3 * (high - low) else v for v in (low, high)]
    bar.set_ticks([low, high], labels=[number(v, ".3g") for v in ends])
    bar.ax.tick_params(labelcolor=ink["muted"], labelsize=8.5, length=0)
    bar.outline.set_edgecolor(ink["faint"])
    _text(bar.ax.set_xlabel(entry.style.get("label", ""), fontsize=8.5, labelpad=-9), ink, "muted")


def _stroke(ink: Ink, entry: Layer, width: float | int) -> dict[str, Any]:
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
    stroke = _stroke(ink, entry, 1.75)
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
    stroke = _stroke(ink, entry, 1.75)
    rim = ink.rim(stroke["linewidth"] + 1.5)
    axes.add_collection(LineCollection(list(lines), path_effects=rim, **stroke))


def _line(ink: Ink, axes: Axes, entry: Layer, data: dict[str, Any]) -> None:
    axes.plot(np.ravel(data["x"]), np.ravel(data["y"]), **_stroke(ink, entry, 2))


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
    stroke = _stroke(ink, entry, 1.25)
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


DRAW: dict[str, Draw] = {
    "heat": _heat,
    "contour": _contour,
    "points": _points,
    "arrows": _arrows,
    "path": _path,
    "marker": _marker,
    "line": _line,
    "rule": _rule,
}


def _legend(ink: Ink, axes: Axes, entries: list[Layer], plane: bool) -> None:
    named = {e.legend: e for e in entries if e.legend}
    if not named:
        return
    keys = [_key(ink, entry) for entry in named.values()]
    if plane:  # under the picture, where it hides nothing
        place: dict[str, Any] = {
            "loc": "upper left",
            "bbox_to_anchor": (0.0, -0.1),
            "ncols": 3,
            "frameon": False,
        }
        place |= {"borderaxespad": 0.0, "handletextpad": 0.5, "columnspacing": 1.2}
    else:
        place = {"loc": "best", "framealpha": 0.85}
    legend = axes.legend(keys, list(named), fontsize=8, facecolor=ink["paper"], **place)
    legend.set_zorder(5)
    legend.get_frame().set_edgecolor(ink["faint"])
    for text in legend.get_texts():
        _text(text, ink)


def _key(ink: Ink, entry: Layer) -> Line2D:
    style, color = entry.style, ink[entry.style.get("color", "ink")]
    if entry.kind in ("points", "marker"):
        shape = style.get("shape", "dot" if entry.kind == "points" else "star")
        face = "none" if shape == "ring" else color
        size = 9 if shape == "star" else 5
        return Line2D([], [], ls="", marker=SHAPES[shape], mfc=face, mec=color, markersize=size)
    if entry.kind == "arrows":
        return Line2D([], [], ls="", marker=r"$\rightarrow$", color=color, markersize=11)
    if entry.kind == "heat":
        middle = colors.ramp(style.get("colors", "sequential"), ink.dark)[170]
        return Line2D([], [], ls="", marker="s", color=middle, markersize=8)
    return Line2D([], [], **_stroke(ink, entry, 1.75))
