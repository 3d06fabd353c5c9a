"""The colours that every view draws with, for light and for dark paper."""

from __future__ import annotations

import numpy as np

Palette = dict[str, str]

# Okabe and Ito's hues, darkened or lightened until text in them reads at 4.5:1 on the paper.
LIGHT: Palette = {
    "paper": "#ffffff",
    "ink": "#1d2330",
    "muted": "#5c6472",
    "faint": "#d9dde3",
    "blue": "#0a66b0",
    "orange": "#a85f00",
    "green": "#00785a",
    "vermilion": "#c9401f",
    "purple": "#9216f3",
    "sky": "#0e7ba6",
    "yellow": "#7f6c00",
}
DARK: Palette = {
    "paper": "#14171c",
    "ink": "#e9ebef",
    "muted": "#a2a9b5",
    "faint": "#363c46",
    "blue": "#5aa6ec",
    "orange": "#eda63a",
    "green": "#35c497",
    "vermilion": "#f47d52",
    "purple": "#ad5cff",
    "sky": "#86cff8",
    "yellow": "#f0e35a",
}
NAMES = tuple(name for name in LIGHT if name not in ("paper", "faint"))

# Anchors, evenly spaced. Lightness runs one way in the sequential maps; "density" leaves the paper
# and so does "pale", not as far: it stays behind arrows and dots.
RAMPS: dict[str, dict[str, list[str]]] = {
    "light": {
        "sequential": ["#0c2a56", "#31446b", "#575d6d", "#7c7b78", "#a39a76", "#cdbb67", "#f7e048"],
        "diverging": ["#8f4a00", "#cf7f2a", "#f0c490", "#f7f6f3", "#a9cbea", "#3f86c2", "#0b4c86"],
        "density": ["#ffffff", "#e3edf6", "#bcd5ea", "#8fb8da", "#5f96c4", "#3674a8"],
        "pale": ["#ffffff", "#e9f1f8", "#ccdfef", "#abcae4", "#86b2d6"],
    },
    "dark": {
        "sequential": ["#0f2f61", "#34486f", "#5a6070", "#7f7e7a", "#a69d77", "#d0be68", "#f9e34c"],
        "diverging": ["#ffb45e", "#c9781f", "#6e4416", "#1b1f26", "#1c4b78", "#3c8bd0", "#8ccbff"],
        "density": ["#14171c", "#182838", "#1c3d59", "#22557f", "#2f71a6", "#4b92ca"],
        "pale": ["#14171c", "#172532", "#1a344c", "#1e4668", "#245a86"],
    },
}


def ramp(name: str, dark: bool, steps: int = 256) -> np.ndarray:
    """Colour table (steps, 3) in [0, 1]; ValueError with the names if there is none so called."""
    table = RAMPS["dark" if dark else "light"]
    if name not in table:
        raise ValueError(f"colors must be one of {', '.join(table)}, got {name!r}")
    anchors = np.array([rgb(color) for color in table[name]])
    where = np.linspace(0, len(anchors) - 1, steps)
    return np.stack([np.interp(where, range(len(anchors)), c) for c in anchors.T], axis=1)


def rgb(color: str) -> tuple[float, float, float]:
    """Red, green and blue in [0, 1] of "#rrggbb"."""
    red, green, blue = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2)."""

    def luminance(color: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb(color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)
