"""What a reader can move: sliders, choices, toggles, and points of the plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffteach import toys


@dataclass(frozen=True)
class Slider:
    """A number in [low, high]; `scale` "linear" or "log" says how it moves along the track.

    The track has `positions` equally spaced stops; any number in range may be set from a cell.
    `paper` names the paper's own symbol, value and direction beside the common one.
    """

    name: str
    label: str
    low: float
    high: float
    default: float
    scale: str = "linear"
    unit: str = ""
    latex: str = ""
    paper: str = ""
    when: str = "1"
    positions: int = 201
    kind: str = field(default="slider", init=False)

    def check(self, value: Any) -> float:
        """The value as a float; TypeError or ValueError if it is no number in range."""
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise TypeError(f"{self.name} must be a number, got {value!r}")
        if not self.low <= value <= self.high:
            raise ValueError(
                f"{self.name} must lie in [{self.low:g}, {self.high:g}], got {value:g}"
            )
        return float(value)


@dataclass(frozen=True)
class Choice:
    """One of a few named options; `kernel` if choosing one computes a new scene.

    With `drawn` > 0 it is a density: a drawn one's file is an option too, and readers may draw in
    the square [-drawn, drawn]^2 of the plane.
    """

    name: str
    label: str
    options: tuple[str, ...]
    default: str
    kernel: bool = False
    paper: str = ""
    when: str = "1"
    drawn: float = 0.0
    kind: str = field(default="choice", init=False)

    def check(self, value: Any) -> str:
        """The option itself; ValueError if there is no such option."""
        if self.drawn and toys.is_drawn(value):
            toys.check_name(value)
        elif value not in self.options:
            raise ValueError(f"{self.name} must be one of {', '.join(self.options)}, got {value!r}")
        return str(value)


@dataclass(frozen=True)
class Toggle:
    """On (1) or off (0)."""

    name: str
    label: str
    default: bool = False
    paper: str = ""
    when: str = "1"
    kind: str = field(default="toggle", init=False)

    def check(self, value: Any) -> bool:
        """The value as a bool; TypeError if it is neither True, False, 1 nor 0."""
        if value not in (True, False):
            raise TypeError(f"{self.name} must be True or False, got {value!r}")
        return bool(value)


@dataclass(frozen=True)
class Handle:
    """A point of the plane that is dragged, or moved with the arrow keys, inside the bounds."""

    name: str
    label: str
    default: tuple[float, float]
    bounds: tuple[float, float, float, float]
    color: str = "ink"
    panel: int = 0
    when: str = "1"
    kind: str = field(default="handle", init=False)

    def check(self, value: Any) -> tuple[float, float]:
        """The value as a pair; TypeError or ValueError if it is no point within the bounds."""
        try:
            x, y = (float(v) for v in value)
        except (TypeError, ValueError):
            raise TypeError(f"{self.name} must be a pair (x, y), got {value!r}") from None
        x0, x1, y0, y1 = self.bounds
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            raise ValueError(
                f"{self.name} must lie in [{x0:g}, {x1:g}] x [{y0:g}, {y1:g}], got ({x:g}, {y:g})"
            )
        return x, y


Param = Slider | Choice | Toggle | Handle
