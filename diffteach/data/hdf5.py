"""D4RL's flat HDF5 files as they are: their columns, checked, and their episodes.

A file has one row per step: `observations` (N, S), `actions` (N, A), `rewards` (N,), `terminals`
(N,), mostly `timeouts` (N,), true where a time limit cut an episode, and from v1 on in locomotion
`next_observations` (N, S). Columns (N, 1) and all kinds of numbers are accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from diffteach.data.fetch import set_of
from diffteach.data.names import time_limit
from diffteach.files import write_bytes

REQUIRED = ("observations", "actions", "rewards", "terminals")
MATRICES = ("observations", "actions", "next_observations")
PIECE = 100_000
"""rows that are written at once"""

Column = np.ndarray[Any, np.dtype[Any]]


class Episode(NamedTuple):
    """T steps in a row, with T + 1 observations, or T where the final state was not recorded.

    Neither terminal nor cut by a time limit is an episode that the recording stopped in.
    """

    observations: Column
    actions: Column
    rewards: Column
    terminal: bool
    timeout: bool


class File:
    """The columns of an open file; ValueError for what is no recording of at least two steps."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        keys = (*REQUIRED, "timeouts", "next_observations")
        self.columns = {key: file[key] for key in keys if isinstance(file.get(key), h5py.Dataset)}
        if missing := [key for key in REQUIRED if key not in self.columns]:
            raise ValueError(
                f"{path} lacks {', '.join(missing)}: a file of D4RL holds {', '.join(REQUIRED)}"
            )
        for key, column in self.columns.items():
            _check_column(path, key, column)
        rows = {key: len(column) for key, column in self.columns.items()}
        if len(set(rows.values())) > 1:
            found = ", ".join(f"{key} {count:,}" for key, count in rows.items())
            raise ValueError(f"all columns of {path} must have as many rows, got {found}")
        self.rows = rows["rewards"]
        if self.rows < 2:
            raise ValueError(f"{path} must hold at least 2 rows, got {self.rows}")

    def recorded(self, key: str) -> Column:
        """A column in its own kind of numbers, (N,) or (N, width)."""
        values: Column = self.columns[key][:]
        return values if key in MATRICES else values.ravel()

    def numbers(self, key: str) -> Tensor:
        """A column in float32; ValueError where a number is not finite."""
        # HDF5 converts while it reads, so that there is no second copy.
        values: Column = self.columns[key].astype(np.float32)[:]
        wrong = np.flatnonzero(~np.isfinite(values).reshape(self.rows, -1).all(1))
        if len(wrong):
            raise ValueError(
                f"{key} of {self.path} must be finite, but {len(wrong):,} of {self.rows:,} rows "
                f"are not, row {wrong[0]:,} first"
            )
        return torch.from_numpy(values if key in MATRICES else values.ravel())

    def flags(self, key: str) -> Column:
        """A column of truth values; ValueError where one is neither 0 nor 1."""
        values = self.recorded(key)
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"{key} of {self.path} must be 0 or 1")
        return values.astype(bool)

    def timeouts(self, name: str) -> Column:
        """Where a time limit cut an episode: stored, or else counted as D4RL counts."""
        if "timeouts" in self.columns:
            return self.flags("timeouts")
        limit = time_limit(name)
        if limit is None:
            raise ValueError(
                f"{self.path} has no timeouts, and {name!r} does not tell how long its episodes "
                "are: name its set, as in maze2d-umaze-v1"
            )
        cut = np.zeros(self.rows, bool)
        step = 0
        for row, terminal in enumerate(self.flags("terminals").tolist()):
            cut[row] = step == limit - 1
            # After a terminal D4RL's count goes on from 1: that episode is cut a step early.
            step = 0 if cut[row] else 1 if terminal else step + 1
        return cut


def _check_column(path: Path, key: str, column: h5py.Dataset) -> None:
    if column.dtype.kind not in "biuf":
        raise ValueError(f"{key} of {path} must be numbers, got {column.dtype}")
    shape = column.shape
    if key in MATRICES and (len(shape) != 2 or shape[1] == 0):
        raise ValueError(f"{key} of {path} must be of shape (N, width), got {shape}")
    if key not in MATRICES and (len(shape) == 0 or shape not in ((shape[0],), (shape[0], 1))):
        raise ValueError(f"{key} of {path} must be of shape (N,), got {shape}")


@contextmanager
def opened(path: Path) -> Iterator[File]:
    """The file's columns; FileNotFoundError, or ValueError for what is no recording of D4RL's."""
    try:
        with h5py.File(path, "r") as file:
            yield File(path, file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{path} cannot be read: it is no HDF5 file, or was cut short or damaged ({error})"
        ) from None


def read(path: Path | str, name: str | None = None) -> Iterator[Episode]:
    """The episodes of a file in its own kinds of numbers; the recording may stop in the last.

    Their final states are there where the file stores `next_observations`. Without `timeouts`
    episodes end after as many steps as the task called `name` has, which defaults to the set that
    was published under the file's name. FileNotFoundError, ValueError for what is no such file.
    """
    path = Path(path)
    with opened(path) as file:
        obs, act, rew = (file.recorded(key) for key in ("observations", "actions", "rewards"))
        terminals, timeouts = file.flags("terminals"), file.timeouts(name or set_of(path))
        ends = terminals | timeouts
        ends[-1] = True
        exact = "next_observations" in file.columns
        final = file.recorded("next_observations")[ends] if exact else obs[:0]
    start = 0
    for number, last in enumerate(np.flatnonzero(ends).tolist()):
        rows = slice(start, last + 1)
        seen = np.concatenate([obs[rows], final[number : number + 1]])
        yield Episode(seen, act[rows], rew[rows], bool(terminals[last]), bool(timeouts[last]))
        start = last + 1


def write(path: Path | str, episodes: Iterable[Episode]) -> Path:
    """Write episodes as a file of D4RL, whole or not at all, in the numbers' own kinds.

    `next_observations` are written where the episodes have their final states. ValueError for no
    episodes, or for some with and some without a final state; OSError where nothing can be written.
    """
    # To memory first: HDF5 that fails to write to a full disk ends the whole process.
    content = BytesIO()
    with h5py.File(content, "w") as file:
        for piece in _pieces(episodes):
            columns = _columns(piece)
            if len(file) and set(file) != set(columns):
                raise ValueError(MIXED)
            for key, column in columns.items():
                _extend(file, key, column)
        if not len(file):
            raise ValueError("episodes must hold at least one")
    return write_bytes(content.getvalue(), Path(path))


MIXED = "episodes must all have a final observation, or none of them"


def _pieces(episodes: Iterable[Episode]) -> Iterator[list[Episode]]:
    piece: list[Episode] = []
    rows = 0
    for episode in episodes:
        piece.append(episode)
        rows += len(episode.rewards)
        if rows >= PIECE:
            yield piece
            piece, rows = [], 0
    if piece:
        yield piece


def _columns(episodes: list[Episode]) -> dict[str, Column]:
    """The rows of episodes, under the names that D4RL gives them."""
    final = {len(episode.observations) - len(episode.rewards) for episode in episodes}
    if final not in ({0}, {1}):
        raise ValueError(MIXED)
    last = np.cumsum([len(episode.rewards) for episode in episodes]) - 1
    terminals, timeouts = np.zeros((2, last[-1] + 1), bool)
    terminals[last] = [episode.terminal for episode in episodes]
    timeouts[last] = [episode.timeout for episode in episodes]
    columns = {
        "observations": np.concatenate([e.observations[: len(e.rewards)] for e in episodes]),
        "actions": np.concatenate([e.actions for e in episodes]),
        "rewards": np.concatenate([e.rewards for e in episodes]),
        "terminals": terminals,
        "timeouts": timeouts,
    }
    if final == {1}:
        columns["next_observations"] = np.concatenate([e.observations[1:] for e in episodes])
    return columns


def _extend(file: h5py.File, key: str, rows: Column) -> None:
    if key not in file:
        shape = (None, *rows.shape[1:])
        file.create_dataset(key, data=rows, maxshape=shape, compression="gzip")
        return
    before = len(file[key])
    file[key].resize(before + len(rows), axis=0)
    file[key][before:] = rows
