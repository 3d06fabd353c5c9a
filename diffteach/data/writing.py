"""Writes Minari sets, whole or not at all: what is not finished has a hidden name.

Minari's own writer keeps a few kB for each array of each episode and needs jax to collect. Here
arrays lie one behind the other, and small equal ones are stored once: Minari reads both alike.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from diffteach.data.dataset import EnvSpec

Array = np.ndarray[Any, np.dtype[Any]]
# Minari makes folders before it checks an id, and one bad folder hides a whole root.
_ID = re.compile(r"([\w-]+/)*[\w-]+-v\d+")
# Equal arrays up to this size are stored once: the flags and observations of one-step episodes.
_SMALL = 64


class Episode(NamedTuple):
    """T steps: observations have T + 1 rows, everything else T."""

    observations: Array | Mapping[str, Array]
    actions: Array
    rewards: Array
    terminations: Array
    truncations: Array


@dataclass(frozen=True)
class About:
    """What a Minari set says of itself."""

    description: str
    """who acted, where and how"""
    algorithm: str
    """one word or two for the behaviour policy"""
    observation_space: Any
    """gymnasium's space of one observation"""
    action_space: Any
    """gymnasium's space of one action"""
    env: Any = None
    """gymnasium's EnvSpec of the environment that was acted in; None if nobody knows"""
    eval_env: Any = None
    """gymnasium's EnvSpec of the environment for evaluation; None is `env`"""
    scores: tuple[float | int, float | int] | None = None
    """returns that count as 0 and 100 percent"""
    more: Mapping[str, Any] = field(default_factory=dict)
    """further entries, as in `{"seed": 0}`; `act_limit` scales the actions that are loaded"""


def check_id(name: str) -> None:
    """ValueError unless `name` is an id that Minari takes."""
    namespace = name.rpartition("/")[0]
    if not _ID.fullmatch(name) or len(namespace) == 1:
        raise ValueError(
            f"name must look like namespace/environment/level-v0 in letters, digits, - and _, "
            f"got {name!r}"
        )


def _save(group: Any, key: str, value: Array | Mapping[str, Array], known: dict[Any, Any]) -> None:
    if isinstance(value, Mapping):
        inner = group.create_group(key)
        for name, part in value.items():
            _save(inner, name, part, known)
        return
    seen = (value.dtype.str, value.shape, value.tobytes()) if value.nbytes <= _SMALL else None
    if seen in known:
        group[key] = known[seen]
        return
    stored = group.create_dataset(key, data=value)
    if seen:
        known[seen] = stored


def _fill(file: Path, episodes: Iterable[Episode]) -> tuple[int, int]:
    """Steps and episodes that were stored."""
    import h5py

    known: dict[Any, Any] = {}
    nothing: Any = None
    steps = count = 0
    # To memory first: HDF5 that fails to write to a full disk ends the whole process.
    content = BytesIO()
    with h5py.File(content, "w", libver="latest") as store:
        for count, episode in enumerate(episodes, 1):
            group = store.create_group(f"episode_{count - 1}")
            group.attrs["id"] = count - 1
            group.attrs["total_steps"] = len(episode.rewards)
            for key, value in episode._asdict().items():
                _save(group, key, value, known)
            # Without infos, Minari 0.5.4 cannot print an episode.
            if nothing is None:
                nothing = group.create_group("infos")
            else:
                group["infos"] = nothing
            steps += len(episode.rewards)
    file.write_bytes(content.getbuffer())
    return steps, count


def _metadata(name: str, about: About) -> dict[str, Any]:
    from minari.serialization import serialize_space

    low, high = about.scores or (None, None)
    entries = {
        "dataset_id": name,
        "data_format": "hdf5",
        "jpeg_encoding": True,
        "observation_space": serialize_space(about.observation_space),
        "action_space": serialize_space(about.action_space),
        "env_spec": about.env and about.env.to_json(),
        "eval_env_spec": about.eval_env and about.eval_env.to_json(),
        "ref_min_score": low,
        "ref_max_score": high,
        "description": about.description,
        "algorithm_name": about.algorithm,
        "author": ["diffteach"],
        "minari_version": version("minari"),
        **about.more,
    }
    return {key: value for key, value in entries.items() if value is not None}


def make(env: EnvSpec) -> Any:
    """`gym.make` without its wish for v5: the published scores are those of the v4 environments."""
    import gymnasium as gym

    if env.id.startswith("gymnasium_robotics:"):
        # On import it warns of the hands' rewards, whatever it is imported for.
        with contextlib.redirect_stderr(StringIO()):
            importlib.import_module("gymnasium_robotics")

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)
        return gym.make(env.id, **env.kwargs)


def pinned(*packages: str) -> list[str]:
    """The installed versions, as requirements."""
    return [f"{package}=={version(package)}" for package in packages]


def _counted(episodes: Iterable[Episode], steps: int, name: str) -> Iterator[Episode]:
    with tqdm(total=steps, desc=name, unit=" steps", unit_scale=True, disable=None) as bar:
        for episode in episodes:
            yield episode
            bar.update(len(episode.rewards))


def name_parents(root: Path, folder: Path) -> None:
    """Minari lists a namespace by a file in its folder: one for each from the set to the root."""
    for parent in folder.parents:
        if parent == root:
            return
        if not (file := parent / "namespace_metadata.json").exists():
            file.write_text("{}", encoding="utf-8")


def write(name: str, episodes: Iterable[Episode], steps: int, about: About, root: Path) -> Path:
    """Store episodes as the Minari set `name` below `root`; returns its folder.

    A bar shows how many of the expected steps are stored.

    Until the last episode is there the folder has a hidden name, and whatever interrupts removes
    it. ValueError for an id that Minari would refuse or episodes without steps, FileExistsError if
    the set exists, OSError if it cannot be written.
    """
    check_id(name)
    folder = root / name
    if folder.exists():
        raise FileExistsError(f"the set {name} exists: delete {folder} to make it again")
    try:
        root.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(dir=root, prefix=".unfinished-"))
    except OSError as error:
        raise OSError(f"cannot write {folder}: {error.strerror or error}") from None
    try:
        hidden.chmod(0o755)
        data = hidden / "data"
        data.mkdir()
        stored, count = _fill(data / "main_data.hdf5", _counted(episodes, steps, name))
        if stored == 0:
            raise ValueError(f"episodes must have steps, got none for {name}")
        entries = _metadata(name, about)
        entries["total_steps"], entries["total_episodes"] = stored, count
        entries["dataset_size"] = round((data / "main_data.hdf5").stat().st_size / 1e6, 1)
        (data / "metadata.json").write_text(json.dumps(entries), encoding="utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.rename(hidden, folder)
        name_parents(root, folder)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(f"cannot write {folder}: {reason}") from None
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return folder
