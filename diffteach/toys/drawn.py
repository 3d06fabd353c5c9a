"""Densities drawn by hand: strokes become evenly spaced points, and a small file keeps them.

A drawing is the Gaussian mixture on its points, so its denoiser is exact, and the name of its file
stands wherever the name of a set may stand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from diffteach.files import write_bytes
from diffteach.toys import rewards
from diffteach.toys.densities import GaussianMixture, empirical
from diffteach.toys.sets import Labelled, ToySet
from diffteach.types import QFunction

FORMAT, VERSION = "diffteach drawn density", 1
FOLDER = Path("drawn")
WINDOW = 4.5  # that of most sets, so that every lesson can show a drawing
SHARE = 0.9  # strokes keep 2.5 bandwidths from the edge, so that the window holds the noise
BOX = SHARE * WINDOW
BANDWIDTH = 0.04 * WINDOW
MOST = 1000  # points of a drawing; every look at its density costs as many exponentials

Strokes = Sequence[Any] | np.ndarray | torch.Tensor


@dataclass(frozen=True)
class Drawing:
    """A drawn density: the mixture of N(point, bandwidth^2 I), all points of the same weight."""

    points: tuple[tuple[float, float], ...]
    """Along the strokes, in the order in which they were drawn; inside the window."""
    bandwidth: float
    """Standard deviation about every point; 0.04 of the window where strokes were drawn."""
    window: float
    """Half the side of the square around the origin that holds the density."""

    def __post_init__(self) -> None:
        for name in ("bandwidth", "window"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} must be a number, got {value!r}")
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        _check_inside(np.array(self.points, float), self.window, "points")
        if len(set(self.points)) < 2:
            raise ValueError("points must hold two distinct ones, got a density of one point")

    def law(self) -> GaussianMixture:
        """The density, float64."""
        return empirical(torch.tensor(self.points, dtype=torch.float64), self.bandwidth)

    def reward(self) -> QFunction:
        """How much of the drawing was drawn before the nearest point: 0 at its start, 1 at its end.

        Piecewise constant, with gradient 0, as the labels of the other curves.
        """
        points = torch.tensor(self.points, dtype=torch.float64)
        return rewards.nearest(points, torch.linspace(0, 1, len(points), dtype=torch.float64))


def _check_inside(points: np.ndarray, half: float, what: str) -> None:
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{what} must have shape (N, 2), got {points.shape}")
    bad = int((~np.isfinite(points)).any(1).sum())
    if bad:
        raise ValueError(f"{what} must be finite, got NaN or infinity in {bad} of {len(points)}")
    out = int((abs(points) > half * (1 + 1e-6)).any(1).sum())
    if out:
        raise ValueError(
            f"{what} must lie in [{-half:g}, {half:g}] x [{-half:g}, {half:g}], "
            f"got {out} of {len(points)} outside"
        )


def _split(strokes: Strokes) -> list[np.ndarray]:
    """Strokes (N, 2) each, from one stroke or a list of them."""
    try:
        single = len(strokes) > 0 and np.ndim(strokes[0]) == 1 and len(strokes[0]) > 0
        parts = [np.asarray(part, float) for part in ([strokes] if single else strokes)]
        parts = [part for part in parts if part.size]
    except (TypeError, ValueError):
        raise ValueError("strokes must be points (x, y), or a list of strokes of such") from None
    if wrong := [part.shape for part in parts if part.ndim != 2 or part.shape[1] != 2]:
        raise ValueError(f"strokes must have shape (N, 2), got one of shape {wrong[0]}")
    return parts


def resampled(stroke: Float[np.ndarray, "N 2"], spacing: float) -> Float[np.ndarray, "n 2"]:
    """The middles of equal pieces, `spacing` long at most, of a stroke's arc.

    A stroke of some length has two points or more; a dot has one.
    """
    steps = np.linalg.norm(np.diff(stroke, axis=0), axis=1)
    corners, steps = stroke[np.r_[True, steps > 0]], steps[steps > 0]
    arc = np.r_[0, steps.cumsum()]
    pieces = max(2, math.ceil(arc[-1] / spacing - 1e-9)) if len(steps) else 1
    middles = (np.arange(pieces) + 0.5) * arc[-1] / pieces
    return np.stack([np.interp(middles, arc, axis) for axis in corners.T], -1)


def drawing(strokes: Strokes, box: float = BOX) -> Drawing:
    """The density of strokes in the square [-box, box]^2, brought to the window 4.5 of most sets.

    `strokes` is one stroke (N, 2) or a list of them. Points stand at most a bandwidth apart along
    every stroke, wider if they would be more than 1000. ValueError for fewer than two distinct
    points, NaN, or points outside the square.
    """
    parts = _split(strokes)
    given = np.concatenate([np.empty((0, 2)), *parts])
    _check_inside(given, box, "strokes")
    if len(np.unique(given, axis=0)) < 2:
        raise ValueError(
            "strokes must hold at least two distinct points, got "
            + ("a density of one point" if len(given) else "none")
        )
    parts = [part * (BOX / box) for part in parts]
    length = sum(float(np.linalg.norm(np.diff(p, axis=0), axis=1).sum()) for p in parts)
    spacing = max(BANDWIDTH, length / MOST)
    points = np.concatenate([resampled(part, spacing) for part in parts]).round(4) + 0.0
    return Drawing(tuple((float(x), float(y)) for x, y in points), round(BANDWIDTH, 4), WINDOW)


def is_drawn(name: object) -> bool:
    """Whether a name is that of a drawn density's file."""
    return isinstance(name, str) and name.endswith(".json")


def drawn_names() -> tuple[str, ...]:
    """Names of the drawings in the folder `drawn` of the working directory."""
    return tuple(sorted((p.as_posix() for p in FOLDER.glob("*.json")), key=lambda n: (len(n), n)))


def new_name() -> str:
    """A name in the folder `drawn` that no file there has: its number follows the largest."""
    numbers = [int(p.stem) for p in FOLDER.glob("*.json") if p.stem.isdecimal()]
    return (FOLDER / f"{max(numbers, default=0) + 1}.json").as_posix()


def save_drawn(drawn: Drawing, name: str | Path) -> Path:
    """Write a drawing; its folder is made. ValueError unless the name ends in .json, OSError."""
    path = Path(name)
    if path.suffix != ".json":
        raise ValueError(f"the file of a drawing ends in .json, got {path.name!r}")
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot make {path.parent}: {error.strerror or error}") from None
    content = {"format": FORMAT, "version": VERSION} | asdict(drawn)
    return write_bytes((json.dumps(content, separators=(",", ":")) + "\n").encode(), path)


def load_drawn(name: str | Path) -> Drawing:
    """Read a drawing; ValueError in one sentence for a file that is absent, broken or another's."""
    path = Path(name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"there is no drawn density {path.as_posix()!r} in {Path.cwd()}: draw it again there, "
            "or bring its file"
        ) from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is not a drawn density: it is broken, or no JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a drawn density: it was not written by save_drawn")
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} is of version {content.get('version')}, this diffteach reads {VERSION}"
        )
    try:
        points = tuple((float(x), float(y)) for x, y in content["points"])
        return Drawing(points, content["bandwidth"], content["window"])
    except KeyError as error:
        raise ValueError(f"{path} is not a whole drawn density: {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a whole drawn density: {error}") from None


def drawn_set(name: str) -> ToySet:
    """A drawing as a set: its points are samples of the density."""
    found = load_drawn(name)
    law, reward = found.law(), found.reward()

    def draw(n: int, g: torch.Generator) -> Labelled:
        points = law.sample(n, g)
        return points, reward(points)

    return ToySet(draw, lambda: law, lambda: reward, found.window, found.bandwidth)
