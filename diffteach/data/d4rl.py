"""D4RL's recordings as transitions, by the rules that the published results stand on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from diffteach.data.dataset import Dataset, digest, outside
from diffteach.data.fetch import FILES, set_of
from diffteach.data.hdf5 import File, opened
from diffteach.data.names import env_spec, scores, time_limit
from diffteach.types import Batch

EXPECTED = MappingProxyType(
    {
        "halfcheetah-medium-v2": (1_000_000, 4770),
        "halfcheetah-medium-replay-v2": (202_000, 3093),
        "halfcheetah-expert-v2": (1_000_000, 10656),
        "hopper-medium-v2": (999_906, 1422),
        "hopper-medium-replay-v2": (402_000, 467),
        "hopper-expert-v2": (999_494, 3511),
        "walker2d-medium-v2": (999_995, 2852),
        "walker2d-medium-replay-v2": (302_000, 683),
        "walker2d-expert-v2": (999_214, 4921),
    }
)
"""Rows in finished episodes and their mean return, from a published log of reading v2."""


def load(path: Path | str, name: str | None = None) -> Dataset:
    """Transitions as D4RL's `qlearning_dataset` makes them, which published results stand on.

    The next observation is that of the row below, a stored one is ignored; rows at a time limit
    and the last row are dropped, terminal rows stay. Without `timeouts` episodes end after as many
    steps as the task called `name` has, which defaults to the set that was published under the
    file's name. Rewards and actions are as recorded. FileNotFoundError, ValueError for what is no
    such file.
    """
    path = Path(path)
    name = name or set_of(path)
    with opened(path) as file:
        terminals, timeouts = file.flags("terminals"), file.timeouts(name)
        kept = torch.from_numpy(~timeouts[:-1])
        if not kept.any():
            raise ValueError(f"{path} holds no row with a next observation below it")
        obs = file.numbers("observations")
        batch = Batch(
            obs[:-1][kept],
            file.numbers("actions")[:-1][kept],
            file.numbers("rewards")[:-1][kept],
            obs[1:][kept],
            torch.from_numpy(terminals[:-1]).float()[kept],
        )
        # Rows of one episode have one number; it changes after a row that ends one.
        over = torch.from_numpy(terminals | timeouts).long()
        number = (over.cumsum(0) - over)[:-1][kept]
        ends = number.diff(append=number[-1:] + 1) > 0
        dropped = f"the rows at a time limit ({timeouts[:-1].sum():,})"
        if "timeouts" not in file.columns:
            dropped += f" (counted: the file has no timeouts, the task {time_limit(name)} steps)"
        rule = (
            f"as in D4RL's qlearning_dataset {dropped} and the last row are dropped, and next "
            "observations are those of the row below"
        )
        return _dataset(name, batch, ends, file, rule)


def load_exact(path: Path | str, name: str | None = None) -> Dataset:
    """All rows with the next observations that the file stores: a time limit loses nothing.

    ValueError for a file without `next_observations`; the rest as in `load`.
    """
    path = Path(path)
    name = name or set_of(path)
    with opened(path) as file:
        if "next_observations" not in file.columns:
            raise ValueError(
                f"{path} stores no next_observations: only D4RL's own rule, which takes them from "
                "the row below, can load it"
            )
        terminals = file.flags("terminals")
        batch = Batch(
            file.numbers("observations"),
            file.numbers("actions"),
            file.numbers("rewards"),
            file.numbers("next_observations"),
            torch.from_numpy(terminals).float(),
        )
        ends = torch.from_numpy(terminals | file.timeouts(name))
        ends[-1] = True
        return _dataset(name, batch, ends, file, "all rows and next observations as stored")


def _dataset(name: str, batch: Batch, ends: Bool[Tensor, " n"], file: File, rule: str) -> Dataset:
    remarks = [f"{file.path.name} in D4RL's format, {file.rows:,} rows", rule]
    for key in ("observations", "actions", "rewards"):
        if (kind := file.columns[key].dtype) != np.float32:
            remarks.append(f"{key} converted from {kind}")
    env = env_spec(name)
    if env is None and name in FILES:
        remarks.append("no environment of today is the one of this recording")
    data = Dataset(name, batch, ends, env, scores(name), "", digest(batch, ends))
    if beyond := outside(data):
        remarks.append(f"{beyond:,} of {len(ends):,} actions leave [-1, 1]")
    return replace(data, origin="; ".join(remarks))


def check(path: Path | str, name: str | None = None) -> list[str]:
    """Sentences on how a file differs from what is known of its set (`EXPECTED`); none if not.

    FileNotFoundError, ValueError as in `load`.
    """
    path = Path(path)
    name = name or set_of(path)
    if name not in EXPECTED:
        return []
    with opened(path) as file:
        last = np.flatnonzero(file.flags("terminals") | file.timeouts(name))
        sums = file.recorded("rewards").cumsum(dtype=np.float64)[last]
    rows = int(last[-1]) + 1 if len(last) else 0
    mean = float(sums[-1] / len(sums)) if len(sums) else 0.0
    known_rows, known_mean = EXPECTED[name]
    found = []
    if rows != known_rows:
        found.append(f"{name} has {known_rows:,} rows in finished episodes, this file {rows:,}")
    if abs(mean - known_mean) > 1:
        found.append(f"{name} has a mean return of {known_mean:.1f}, this file {mean:.1f}")
    return found
