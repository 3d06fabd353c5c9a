"""The picture with matplotlib: for print, for front ends without widgets, and to save.

The layout is that of the browser.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from diffteach.explore import colors
from diffteach.explore.agg.layers import (
    DRAW,
    MARKER,
    SHAPES,
    Ink,
    color_range,
    stroke_of,
    write,
)
from diffteach.explore.expression import number
from diffteach.explore.params import Handle
from diffteach.explore.scene import Frame, Layer, Panel
from diffteach.files import write_bytes

FORMATS = ("png", "pdf", "svg")
PANEL = 4.3  # inches


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
    write(fig.suptitle(frame.scene.title, x=0.02, ha="left", fontsize=12, weight="bold"), ink)
    words = _wrapped(frame)
    words += "\n" * (lines - 1 - words.count("\n"))
    write(fig.supxlabel(words, x=0.02, ha="left", fontsize=10.5), ink)


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
    write(axes.set_title(panel.title, loc="left", fontsize=10, weight="bold"), ink)
    write(axes.set_xlabel(panel.xlabel, fontsize=8.5), ink, "muted")
    write(axes.set_ylabel(panel.ylabel, fontsize=8.5), ink, "muted")
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
    write(bar.ax.set_xlabel(entry.style.get("label", ""), fontsize=8.5, labelpad=-9), ink, "muted")


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
        write(text, ink)


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
    return Line2D([], [], **stroke_of(ink, entry, 1.75))
