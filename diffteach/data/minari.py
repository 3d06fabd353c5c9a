"""Minari sets as transitions: T + 1 observations make every next observation exact."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffteach.checks import nearest
from diffteach.data import names, pointmaze
from diffteach.data.cache import cached
from diffteach.data.dataset import Dataset, EnvSpec, digest
from diffteach.data.views import View, recorded, relabelled, with_goal, with_success
from diffteach.data.writing import Array, check_id, make
from diffteach.types import Batch

REPEATED = "final_observations"  # metadata of sets whose last observations are not known
_SMALL = 2**20  # bytes that are converted as fast as a copy is checked


def toys_root() -> Path | None:
    """Where the toys' sets are, in a wheel or in a checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / "_toy_data" / "minari", package.parent / "toy_data" / "minari")
    return next((folder for folder in folders if folder.is_dir()), None)


def default_root() -> Path:
    """Minari's own place: the environment variable MINARI_DATASETS_PATH, or ~/.minari/datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def _roots(root: Path | None) -> list[Path]:
    toys = toys_root()
    return [default_root() if root is None else root, *([toys] if toys else [])]


def local(root: Path | None = None) -> dict[str, Path]:
    """Ids and folders of the sets below `root` (by default Minari's own) and of the toys.

    Hidden folders, and those without metadata, are no sets.
    """
    found: dict[str, Path] = {}
    for place in reversed(_roots(root)):
        for file in place.glob("**/data/metadata.json"):
            name = file.parents[1].relative_to(place).as_posix()
            if not any(part.startswith(".") for part in name.split("/")):
                found[name] = file.parents[1]
    return dict(sorted(found.items()))


def find(name: str, root: Path | None = None) -> Path:
    """The folder of a set; FileNotFoundError with the nearest names if there is none."""
    check_id(name)
    for place in _roots(root):
        if (place / name / "data" / "metadata.json").is_file():
            return place / name
    near = nearest(name, local(root), 3)
    raise FileNotFoundError(
        f"no Minari set {name} in {_roots(root)[0]}: fetch or build it by `diffteach data`{near}"
    )


def metadata(folder: Path) -> Mapping[str, Any]:
    """What a set says of itself; ValueError if the file is damaged."""
    try:
        entries = json.loads((folder / "data" / "metadata.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"the metadata of {folder} are damaged: {error}") from None
    if not isinstance(entries, dict) or "dataset_id" not in entries:
        raise ValueError(f"the metadata of {folder} are damaged: they name no dataset_id")
    return entries


def evaluation(entries: Mapping[str, Any], keys: tuple[str, ...] = ()) -> EnvSpec | None:
    """The environment for evaluation, else the recorded one, as what `gym.make` takes."""
    text = entries.get("eval_env_spec") or entries.get("env_spec")
    if text is None:
        return None
    spec = json.loads(text)
    module = (spec.get("entry_point") or "").partition(":")[0]
    package = module.partition(".")[0]
    prefix = {"gymnasium": "", "gymnasium_robotics": "gymnasium_robotics:"}.get(
        package, f"{module}:"
    )
    limit = spec.get("max_episode_steps")
    kwargs = {**(spec.get("kwargs") or {}), **({"max_episode_steps": limit} if limit else {})}
    return EnvSpec(f"{prefix}{spec['id']}", kwargs, keys)


def episodes(folder: Path, name: str) -> Iterator[Any]:
    """Minari's episodes of a set in order; OSError if its data cannot be read."""
    from minari.dataset.minari_dataset import MinariDataset

    try:
        yield from MinariDataset(folder / "data").iterate_episodes()
    except (OSError, KeyError, AssertionError, ImportError, RuntimeError) as error:
        raise OSError(f"cannot read the set {name} at {folder}: {error}") from None


def _scaling(entries: Mapping[str, Any], name: str) -> Callable[[Array], Array]:
    """Recorded actions to +-act_limit: environments are given act / act_limit in [-1, 1]."""
    space, limit = entries.get("action_space"), float(entries.get("act_limit", 1))
    box = json.loads(space) if space else {}
    if box.get("type", "Box") != "Box":
        raise ValueError(f"actions of {name} must be those of a Box, got {box['type']}")
    low = np.ravel(np.array(box.get("low", -1), np.float64))
    high = np.ravel(np.array(box.get("high", 1), np.float64))
    known = np.isfinite(low).all() and np.isfinite(high).all()
    plain = not known or ((low == -1).all() and (high == 1).all())

    def scale(actions: Array) -> Array:
        flat = actions.reshape(len(actions), -1)
        return limit * (flat if plain else 2 * (flat - low) / (high - low) - 1)

    return scale


def _columns(folder: Path, name: str, view: View) -> tuple[Batch, torch.Tensor]:
    entries = metadata(folder)
    scale = _scaling(entries, name)
    columns: list[list[Array]] = [[] for _ in range(6)]
    for number, episode in enumerate(episodes(folder, name)):
        obs, rewards, terminal = view(episode)
        steps = len(terminal)
        if len(obs) != steps + 1:
            raise ValueError(
                f"episode {number} of {name} must have {steps + 1} observations for its {steps} "
                f"steps, got {len(obs)}: it was written by a Minari before 0.4"
            )
        # An observation that was never recorded follows no action, except where nothing follows.
        kept = steps - (REPEATED in entries and not terminal[-1])
        ends = terminal | (np.arange(steps) == kept - 1)
        values = (obs[:-1], scale(episode.actions), rewards.reshape(-1), obs[1:], terminal, ends)
        for column, value in zip(columns, values, strict=True):
            column.append(value[:kept].astype(bool if value is ends else np.float32))
    if not columns[0] or sum(map(len, columns[0])) == 0:
        raise ValueError(f"the set {name} must have steps, {folder} has none")
    # One column after the other, so that only one is there twice.
    *batch, ends = (torch.from_numpy(np.concatenate(columns.pop(0))) for _ in range(6))
    for key, value in zip(Batch._fields, batch, strict=True):
        if bad := int((~torch.isfinite(value)).sum()):
            raise ValueError(f"{key} of {name} must be finite, got {bad} NaN or infinite values")
    return Batch(*batch), ends


def _scores(entries: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Our table's reference scores before those that the set brings along."""
    low, high = entries.get("ref_min_score"), entries.get("ref_max_score")
    brought = None if low is None or high is None else (float(low), float(high))
    family, maze, level = names.task(name)
    if family == "pointmaze" and level != "dense":
        return pointmaze.SCORES.get(maze, brought)
    return names.scores(name) or brought


def _convert(folder: Path, name: str, view: View, env: EnvSpec | None, change: str) -> Dataset:
    entries = metadata(folder)
    transitions, ends = _columns(folder, name, view)
    described = " ".join(str(entries.get("description") or f"The Minari set {name}.").split())
    return Dataset(
        name,
        transitions,
        ends,
        env,
        _scores(entries, name),
        f"{described} {change}".strip(),
        digest(transitions, ends),
        float(entries.get("act_limit", 1)),
    )


def _through_cache(folder: Path, view: str, convert: Callable[[], Dataset]) -> Dataset:
    sources = sorted(file for file in (folder / "data").rglob("*") if file.is_file())
    if sum(file.stat().st_size for file in sources) < _SMALL:
        return convert()
    return cached(sources, view, convert)


def _in_parts(folder: Path) -> bool:
    """Whether observations are dicts; their space may be left to the environment."""
    text = metadata(folder).get("observation_space")
    return text is None or json.loads(text).get("type") == "Dict"


def load(name: str, root: Path | None = None) -> Dataset:
    """A Minari set below `root` (by default Minari's own place) or among the toys.

    Truncations keep their true next observation and are not done. Dict observations are joined as
    D4RL does. In AntMaze a reached goal terminates, for the data and in `env`. In PointMaze, where
    the recorded goals move, rewards are those of the evaluation's goal and nothing terminates, as
    in D4RL's maze2d. Actions are scaled to +-1, those of a toy to its window. FileNotFoundError
    for a set that is not there; ValueError or OSError for a damaged one.
    """
    folder = find(name, root)
    family = names.task(name).family
    keys = names.KEYS.get(family, ("observation",))
    parts = _in_parts(folder)
    env = evaluation(metadata(folder), keys if parts else ())
    view, change = recorded(keys, name), ""
    if family == "antmaze" and parts:
        view = with_success(keys, name)
        change = "Reached goals, recorded as truncations, terminate."
        env = env and env._replace(kwargs={**env.kwargs, "continuing_task": False})
    elif family == "pointmaze":
        view = relabelled(env, name)
        change = "Rewards are those of the evaluation's goal."
    convert = functools.partial(_convert, folder, name, view, env, change)
    return _through_cache(folder, name, convert)


def with_goals(name: str, root: Path | None = None) -> Dataset:
    """A maze's Minari set with its recorded goals behind the observations; reaching one terminates.

    FileNotFoundError and ValueError as for `load`; ValueError for a set without goals.
    """
    folder = find(name, root)
    family = names.task(name).family
    if family not in ("pointmaze", "antmaze") or not _in_parts(folder):
        raise ValueError(
            f"goals are recorded in Minari's pointmaze and antmaze sets, not in {name}"
        )
    env = evaluation(metadata(folder), (*names.KEYS[family], "desired_goal"))
    env = env and env._replace(kwargs={**env.kwargs, "continuing_task": False})
    change = "Recorded goals follow the observations, and reaching one terminates."
    view = with_goal(names.KEYS[family], name)
    convert = functools.partial(_convert, folder, name, view, env, change)
    dataset = _through_cache(folder, f"{name} with goals", convert)
    # An episode pays 1, once, if it succeeds.
    return replace(dataset, scores=(0.0, 1.0))


def faults(name: str, root: Path | None = None) -> list[str]:
    """Sentences on what does not fit in a set that can be loaded; none if all does.

    Compared are the numbers of steps and episodes in its metadata, and the sizes of its
    environment. Errors as for `load`.
    """
    folder = find(name, root)
    entries, data = metadata(folder), load(name, root)
    found = []
    counted = [len(episode.rewards) for episode in episodes(folder, name)]
    for key, count in (("total_steps", sum(counted)), ("total_episodes", len(counted))):
        if entries.get(key) != count:
            found.append(f"{name} says {key} {entries.get(key)}, but has {count}")
    if data.env is not None:
        env = make(data.env)
        spaces = env.observation_space, env.action_space
        views = [spaces[0][key] for key in data.env.keys] or [spaces[0]]
        wanted = sum(math.prod(view.shape) for view in views), math.prod(spaces[1].shape)
        sizes = data.transitions.obs.shape[1], data.transitions.act.shape[1]
        env.close()
        for key, have, want in zip(("observations", "actions"), sizes, wanted, strict=True):
            if have != want:
                found.append(f"{key} of {name} have {have} entries, those of {data.env.id} {want}")
    return found
