"""A picture in motion: one slider goes from end to end, everything else stays."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffteach.explore import colors
from diffteach.explore.agg import pixels
from diffteach.explore.params import Slider
from diffteach.explore.scene import Frame, Scene
from diffteach.files import write_bytes

SHORTEST = 0.02  # seconds a frame: browsers show faster ones slowly


def sweep(scene: Scene, values: Mapping[str, Any], over: str, count: int) -> list[Frame]:
    """Frames at `count` values of a slider (the first one for ""), even along its track.

    ValueError for a scene without it, or fewer than two frames.
    """
    sliders = {p.name: p for p in scene.params if isinstance(p, Slider)}
    if not sliders:
        raise ValueError(f"{scene.name!r} has no slider that a .gif could move")
    if over and over not in sliders:
        raise ValueError(f"over must be one of the sliders {', '.join(sliders)}, got {over!r}")
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise ValueError(f"frames must be a whole number from 2, got {count!r}")
    slider = sliders[over or next(iter(sliders))]
    space = np.geomspace if slider.scale == "log" else np.linspace
    stops = np.clip(space(slider.low, slider.high, count), slider.low, slider.high)
    return [scene.frame({**values, slider.name: float(stop)}) for stop in stops]


def save(frames: list[Frame], path: Path, seconds: float | int, hide: tuple[str, ...] = ()) -> Path:
    """Write frames as a .gif that starts again and again; frames that look alike become one.

    ValueError for less than 0.02 s a frame, OSError if it cannot be written.
    """
    each = seconds / len(frames)
    if not SHORTEST <= each < math.inf:
        raise ValueError(
            f"seconds must be at least {SHORTEST * len(frames):g} for {len(frames)} frames, "
            f"got {seconds}"
        )
    images = [Image.fromarray(image) for image in pixels(frames, hide=hide)]
    palette = _palette(images)
    none = Image.Dither.NONE
    first, *rest = [image.quantize(palette=palette, dither=none) for image in images]
    buffer = io.BytesIO()
    ticks = round(100 * each) * 10  # milliseconds; the format counts hundredths of a second
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=ticks, loop=0)
    return write_bytes(buffer.getvalue(), path)


def _palette(images: list[Image.Image]) -> Image.Image:
    """256 colours for all: those that marks are drawn in, too rare to be found, and found ones."""
    marks = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in colors.LIGHT.values()])
    some = np.concatenate([np.asarray(image) for image in images[:: max(1, len(images) // 5)]])
    side = Image.fromarray(some).quantize(256 - len(marks))
    found = np.reshape(side.getpalette() or [], (-1, 3))
    # Pillow looks up what is nearest to the corner of a colour's cell, 4 wide: closer ones than
    # these could be nearer there than the mark itself.
    apart = abs(found[:, None] - marks).max(-1).min(1) > 8
    palette = Image.new("P", (1, 1))
    palette.putpalette([*marks.ravel().tolist(), *found[apart].ravel().tolist()])
    return palette
