"""D4RL's flat files as real Minari sets, and back, with nothing lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffteach.data import hdf5, minari, names
from diffteach.data.fetch import set_of
from diffteach.data.writing import About, Episode, make, write

MISSING = "Final states are missing: the last observation of each episode is repeated."


def _filled(episode: hdf5.Episode) -> Episode:
    """With T + 1 observations: where the final state was not recorded, the last one again."""
    steps = len(episode.rewards)
    rows = np.minimum(np.arange(steps + 1), len(episode.observations) - 1)
    last = np.arange(steps) == steps - 1
    return Episode(
        episode.observations[rows],
        episode.actions,
        episode.rewards,
        last & episode.terminal,
        last & episode.timeout,
    )


def _box(column: Any, bound: float | int) -> Any:
    from gymnasium.spaces import Box

    kind = np.float64 if column.dtype == np.float64 else np.float32
    return Box(-bound, bound, column.shape[1:], kind)


def to_minari(file: Path, name: str | None = None, root: Path | None = None) -> Path:
    """Store a D4RL file as the Minari set `name` below `root`; returns its folder.

    By default its name is converted/SET, where SET was published under the file's name, and `root`
    Minari's own place. Without `next_observations` the file does not know the state after an
    episode's last step: the last observation is repeated there, the set says so, and neither
    `data.load` nor `to_hdf5` takes it for recorded. Errors as for a file or set that cannot be
    read or written.
    """
    known = set_of(file)
    name = name or f"converted/{known}"
    with hdf5.opened(file) as opened:
        rows, columns = opened.rows, opened.columns
        missing = "next_observations" not in columns
        spaces = _box(columns["observations"], np.inf), _box(columns["actions"], 1)
    env = names.env_spec(known)
    about = About(
        f"{rows} steps of D4RL's file {file.name}, converted by diffteach."
        + (f" {MISSING}" if missing else ""),
        "as in D4RL",
        *spaces,
        env=env and make(env).spec,
        scores=names.scores(known),
        more={minari.REPEATED: "repeated"} if missing else {},
    )
    episodes = (_filled(episode) for episode in hdf5.read(file, known))
    return write(name, episodes, rows, about, minari.default_root() if root is None else root)


def _recorded(folder: Path, name: str) -> Iterator[hdf5.Episode]:
    known = minari.REPEATED not in minari.metadata(folder)
    for episode in minari.episodes(folder, name):
        seen, steps = episode.observations, len(episode.rewards)
        if not isinstance(seen, np.ndarray):
            raise ValueError(f"observations of {name} must be arrays, D4RL's files hold no dicts")
        yield hdf5.Episode(
            seen if known else seen[:steps],
            episode.actions,
            episode.rewards,
            bool(episode.terminations[-1]),
            bool(episode.truncations[-1]),
        )


def to_hdf5(name: str, file: Path, root: Path | None = None) -> Path:
    """Write the Minari set `name` as a file of D4RL; returns it.

    With `next_observations`, unless the set was made from a file without. ValueError for dict
    observations, errors as for a set or file that cannot be read or written.
    """
    return hdf5.write(file, _recorded(minari.find(name, root), name))
