"""A scene without symmetry, and what pixels of it say when a view turns or mirrors something."""

from __future__ import annotations

import numpy as np

from diffteach.explore.params import Handle, Slider
from diffteach.explore.scene import Panel, Scene, Stack, layer

BOUNDS = (-1.0, 3.0, 0.0, 4.0)
LEVEL = 9.0
PLACE = (0.0, 3.2)
TAIL, TIP = (0.6, 1.2), (1.8, 2.0)


def build(mine=None) -> Scene:
    """Heat, a shaded level set, an arrow and a marker, each in a panel of its own."""
    x, y = np.meshgrid(np.linspace(-1, 3, 60), np.linspace(0, 4, 50))
    arrow = f"point({TIP[0] - TAIL[0]}, {TIP[1] - TAIL[1]})"
    return Scene(
        name="compass",
        title="",
        bounds=BOUNDS,
        params=(Slider("s", "s", 0.0, 1.0, 0.5), Handle("knob", "knob", PLACE, BOUNDS, panel=1)),
        layers=(
            layer("heat", field="rise", colors="sequential"),
            layer("contour", 1, field="rise", level=LEVEL, color="blue", fill="above"),
            layer("arrows", 2, xy="tail", uv=f"tail*0 + {arrow}", color="ink"),
            layer("marker", 3, xy=f"point({PLACE[0]}, {PLACE[1]})", color="vermilion"),
        ),
        words="",
        stacks={"rise": Stack(x + 3 * y, bits=16), "tail": Stack(np.array([TAIL]))},
        panels=(Panel(), Panel(), Panel(), Panel()),
    )


def faults(plots: list[np.ndarray]) -> list[str]:
    """What is wrong in the four plots, each (rows, columns, red green blue) with its top first."""
    heat, level, arrow, marker = plots
    return [*_heat(heat), *_level(level), *_arrow(arrow), *_marker(marker)]


def at(plot: np.ndarray, x: float, y: float) -> np.ndarray:
    """Mean colour around a point of the plane."""
    x0, x1, y0, y1 = BOUNDS
    i = round((y1 - y) / (y1 - y0) * (len(plot) - 1))
    j = round((x - x0) / (x1 - x0) * (plot.shape[1] - 1))
    return plot[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].mean((0, 1))


def where(plot: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Points of the plane (N, 2) whose pixels a mask holds; the frame at the edge is left out."""
    mask = mask.copy()
    mask[:3] = mask[-3:] = mask[:, :3] = mask[:, -3:] = False
    i, j = np.nonzero(mask)
    x0, x1, y0, y1 = BOUNDS
    across, up = j / (plot.shape[1] - 1), 1 - i / (len(plot) - 1)
    return np.stack([x0 + across * (x1 - x0), y0 + up * (y1 - y0)], axis=1)


def _heat(plot: np.ndarray) -> list[str]:
    corners = [(-0.8, 0.2), (2.8, 0.2), (-0.8, 3.8), (2.8, 3.8)]
    light = [at(plot, x, y) @ np.array([0.2126, 0.7152, 0.0722]) for x, y in corners]
    return [] if min(np.diff(light)) > 0.05 else [f"heat at the corners is {light}"]


def _level(plot: np.ndarray) -> list[str]:
    found = []
    if at(plot, 2.5, 3.5).min() > 0.95:
        found.append("nothing is shaded above the level")
    if at(plot, -0.5, 0.5).min() < 0.99 or at(plot, 2.5, 1.0).min() < 0.99:
        found.append("what lies below the level is shaded")
    line = where(plot, plot[..., 0] < 0.4)
    if not len(line) or np.ptp(line[:, 0]) < 3.8:
        found.append("the level line does not cross the panel")
    elif np.abs(line @ [1, 3] - LEVEL).max() > 0.3:
        found.append("the level line lies elsewhere")
    return found


def _arrow(plot: np.ndarray) -> list[str]:
    ink = where(plot, plot.max(-1) < 0.5)
    low, high = np.minimum(TAIL, TIP) - 0.15, np.maximum(TAIL, TIP) + 0.15
    if not len(ink) or ((ink < low) | (ink > high)).any():
        return ["the arrow lies elsewhere"]
    if np.ptp(ink, axis=0).min() < 0.6:
        return ["the arrow is short"]
    near = [(np.linalg.norm(ink - end, axis=1) < 0.1).sum() for end in (TAIL, TIP)]
    return [] if near[1] > 1.5 * near[0] else ["the arrow's head is not at its tip"]


def _marker(plot: np.ndarray) -> list[str]:
    red = where(plot, (plot[..., 0] > 0.6) & (plot[..., 1] < 0.5))
    if not len(red) or np.abs(red.mean(0) - PLACE).max() > 0.1:
        return ["the marker lies elsewhere"]
    return []
