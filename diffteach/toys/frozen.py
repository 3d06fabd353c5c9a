"""Frozen point sets: what `load` drew once, kept beside the code so that everybody has the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.toys.catalog import find_set, load, names
from diffteach.toys.drawn import is_drawn

POINTS, SEED = 2_000, 0


def directory() -> Path:
    """Where the frozen sets are, in a wheel or in a checkout; FileNotFoundError if nowhere."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_toy_data", package.parent / "toy_data"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"no frozen point sets beside {package.name}: neither _toy_data in the package nor "
        f"toy_data next to it; diffteach.toys.load draws new ones"
    )


def frozen(name: str) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """The 2,000 frozen points of a set and their rewards, float32; ValueError for unknown names."""
    find_set(name)
    if is_drawn(name):
        raise ValueError(f"a drawn density has no frozen points, got {name!r}; load draws some")
    with np.load(directory() / f"{name}.npz", allow_pickle=False) as arrays:
        return torch.from_numpy(arrays["points"]), torch.from_numpy(arrays["reward"])


def write(folder: Path) -> list[Path]:
    """Draw every set again and write one .npz each into an existing folder; returns the files."""
    files = []
    for name in names():
        points, reward = load(name, POINTS, SEED)
        files.append(folder / f"{name}.npz")
        np.savez_compressed(files[-1], points=points.numpy(), reward=reward.numpy())
    return files
