"""Latency of a scene as lessons have them: two 128 x 128 fields, 400 arrows, a level line."""

from __future__ import annotations

import numpy as np

from diffteach.explore.params import Slider
from diffteach.explore.scene import Panel, Scene, Stack, layer

BOUNDS = (-4.0, 4.0, -4.0, 4.0)


def build(mine=None) -> Scene:
    """A scene whose only slider repaints everything."""
    x, y = np.meshgrid(*[np.linspace(-4, 4, 128)] * 2)
    rings = np.stack([np.exp(-((np.hypot(x, y) - r) ** 2) * 4) for r in np.linspace(1, 3, 9)])
    side = np.linspace(-3.6, 3.6, 20)
    anchors = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    knots = tuple(np.linspace(0, 1, 9))
    return Scene(
        name="latency",
        title="Latency",
        bounds=BOUNDS,
        params=(Slider("r", "radius", 0.0, 1.0, 0.1),),
        layers=(
            layer("heat", field="rings", colors="density"),
            layer("contour", field="rings", level="0.5", color="blue"),
            layer("arrows", xy="anchors", uv="anchors*(r - 0.5)", length=0.06, color="muted"),
            layer("heat", panel=1, field="rings*r - tilt", colors="diverging"),
        ),
        words="The radius is {r:.2f}; the highest value {highest(rings):.2f}.",
        stacks={
            "rings": Stack(rings, {"r": knots}),
            "tilt": Stack(x / 8),
            "anchors": Stack(anchors),
        },
        panels=(Panel("Rings"), Panel("Difference")),
    )
