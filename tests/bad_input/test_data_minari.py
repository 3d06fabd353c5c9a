"""Damaged, foreign and misnamed Minari sets are answered in one sentence, and nothing is left."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from diffteach import data
from diffteach.data import hosted, minari, writing
from diffteach.data.writing import About, Episode, write

OBS, ACT = Box(-np.inf, np.inf, (3,), np.float64), Box(-1, 1, (2,), np.float32)
NAME = "tests/set-v0"


def episode(steps: int = 4) -> Episode:
    cut = np.arange(steps) == steps - 1
    obs, act = np.ones((steps + 1, 3)), np.zeros((steps, 2), np.float32)
    return Episode(obs, act, np.ones(steps), cut & False, cut)


def stored(root: Path, part: Episode | None = None, name: str = NAME, **changes: Any) -> Path:
    about = {"observation_space": OBS, "action_space": ACT, **changes}
    return write(name, [part or episode()], 0, About("", "", **about), root)


def fails(kind: type[Exception], sentence: str, call: Callable[[], object]) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        call()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "set",
        "tests/set",
        "tests/set-v",
        "t/set-v0",
        "../set-v0",
        "/set-v0",
        "a b-v0",
        "tests//a-v0",
    ],
)
def test_ids_that_minari_refuses_or_chokes_on(tmp_path: Path, name: str) -> None:
    sentence = "name must look like namespace/environment/level-v0"
    fails(ValueError, sentence, lambda: stored(tmp_path, name=name))
    fails(ValueError, sentence, lambda: minari.load(name, tmp_path))
    fails(ValueError, sentence, lambda: hosted.download(name, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_set_names_its_neighbours(tmp_path: Path) -> None:
    stored(tmp_path, name="tests/hopper-v0")
    sentence = "no Minari set tests/hoper-v0 in .*did you mean 'tests/hopper-v0'"
    fails(FileNotFoundError, sentence, lambda: minari.load("tests/hoper-v0", tmp_path))
    fails(FileNotFoundError, "fetch or build", lambda: minari.load("x-v0", tmp_path / "none"))


def test_a_set_is_not_overwritten(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    before = (folder / "data" / "main_data.hdf5").read_bytes()
    fails(FileExistsError, "the set tests/set-v0 exists: delete ", lambda: stored(tmp_path))
    assert (folder / "data" / "main_data.hdf5").read_bytes() == before


def test_no_episodes_are_no_set(tmp_path: Path) -> None:
    about = About("", "", OBS, ACT)
    fails(ValueError, "must have steps, got none", lambda: write(NAME, [], 0, about, tmp_path))
    assert list(tmp_path.iterdir()) == []


def cut(folder: Path) -> None:
    file = folder / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:-500])


def foreign(folder: Path) -> None:
    (folder / "data" / "main_data.hdf5").write_bytes(b"not HDF5")


def without_actions(folder: Path) -> None:
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0/actions"]


def without_episode(folder: Path) -> None:
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file["episode_0"]


@pytest.mark.parametrize("damage", [cut, foreign, without_actions, without_episode])
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(stored(tmp_path))
    fails(OSError, "cannot read the set tests/set-v0 at ", lambda: minari.load(NAME, tmp_path))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_damaged_metadata_are_named(tmp_path: Path, text: str) -> None:
    folder = stored(tmp_path)
    (folder / "data" / "metadata.json").write_text(text)
    fails(ValueError, "the metadata of .* are damaged", lambda: minari.load(NAME, tmp_path))
    assert NAME in minari.local(tmp_path)  # one bad set does not hide the others


def test_a_set_of_a_newer_minari_is_refused(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    file = folder / "data" / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "minari_version": "99.0"}))
    fails(ValueError, "does not support .*99.0", lambda: minari.load(NAME, tmp_path))


CASES: list[tuple[str, Episode, str]] = [
    (
        "NaN reward",
        episode()._replace(rewards=np.array([0.0, np.nan, 1, np.inf])),
        "rew of tests/set-v0 must be finite, got 2 NaN or infinite values",
    ),
    (
        "NaN observation",
        episode()._replace(observations=np.full((5, 3), np.nan)),
        "obs of tests/set-v0 must be finite",
    ),
    (
        "a missing last observation",
        episode()._replace(observations=np.ones((4, 3))),
        "episode 0 of tests/set-v0 must have 5 observations for its 4 steps, got 4",
    ),
    (
        "whole numbers",
        episode()._replace(observations=np.ones((5, 3), np.int64)),
        "observations of tests/set-v0 must be arrays of floats",
    ),
]


@pytest.mark.parametrize(("part", "sentence"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_wrong_columns_are_named(tmp_path: Path, part: Episode, sentence: str) -> None:
    stored(tmp_path, part)
    fails(ValueError, sentence, lambda: minari.load(NAME, tmp_path))


def test_actions_must_be_continuous(tmp_path: Path) -> None:
    part = episode()._replace(actions=np.zeros(4, np.int64))
    stored(tmp_path, part, action_space=Discrete(3))
    sentence = "actions of tests/set-v0 must be those of a Box, got Discrete"
    fails(ValueError, sentence, lambda: minari.load(NAME, tmp_path))


def test_actions_beyond_the_box_are_counted_and_clipped_only_if_asked(tmp_path: Path) -> None:
    actions = np.array([[0, 0], [2, 0], [0, -3], [1, 1]], np.float32)
    stored(tmp_path, episode()._replace(actions=actions))
    sentence = "2 of 4 actions of tests/set-v0 leave"
    fails(ValueError, sentence, lambda: data.load(NAME, root=tmp_path))
    kept = data.load(NAME, root=tmp_path, clip=True)
    assert kept.transitions.act.tolist() == [[0, 0], [1, 0], [0, -1], [1, 1]]
    assert "2 actions clipped" in kept.origin


def test_observations_and_environment_of_different_size(tmp_path: Path) -> None:
    stored(tmp_path, env=gym.make("Pendulum-v1").spec)
    found = minari.faults(NAME, tmp_path)
    assert found == ["actions of tests/set-v0 have 2 entries, those of Pendulum-v1 1"]
    part = episode()._replace(observations=np.ones((5, 4)), actions=np.ones((4, 1), np.float32))
    wide, one = Box(-1, 1, (4,), np.float64), Box(-1, 1, (1,), np.float32)
    spec = gym.make("Pendulum-v1").spec
    stored(tmp_path, part, "tests/b-v0", observation_space=wide, action_space=one, env=spec)
    found = minari.faults("tests/b-v0", tmp_path)
    assert found == ["observations of tests/b-v0 have 4 entries, those of Pendulum-v1 3"]


def test_a_maze_without_a_goal_points_to_the_recorded_ones(tmp_path: Path) -> None:
    name = "tests/pointmaze/free-v0"
    stored(tmp_path, name=name)
    sentence = "must mark one goal, its maze marks 0; data.minari.with_goals keeps"
    fails(ValueError, sentence, lambda: minari.load(name, tmp_path))


def test_goals_where_none_are_recorded(tmp_path: Path) -> None:
    stored(tmp_path)
    sentence = "goals are recorded in Minari's pointmaze and antmaze sets, not in tests/set-v0"
    fails(ValueError, sentence, lambda: minari.with_goals(NAME, tmp_path))


def test_a_dict_without_the_entries_that_are_joined(tmp_path: Path) -> None:
    name = "tests/antmaze/x-v0"
    space = gym.spaces.Dict({"observation": OBS})
    part = episode()._replace(observations={"observation": np.ones((5, 3))})
    stored(tmp_path, part, name, observation_space=space)
    sentence = "observations of tests/antmaze/x-v0 hold observation, not achieved_goal"
    fails(ValueError, sentence, lambda: minari.load(name, tmp_path))


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", full)
    sentence = "cannot write .*tests/set-v0: No space left on device"
    fails(OSError, sentence, lambda: stored(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fails(OSError, "cannot write .*tests/set-v0", lambda: stored(tmp_path / "file"))


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stopped() -> Iterator[Episode]:
        yield episode()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(NAME, stopped(), 8, About("", "", OBS, ACT), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_network_says_where_to_put_the_set(tmp_path, monkeypatch) -> None:
    import minari.storage.hosting as hosting

    def offline(name: str) -> None:
        (writing.Path(os.environ["MINARI_DATASETS_PATH"]) / name).mkdir(parents=True)
        raise ConnectionError("Name or service not known\nfor five reasons")

    monkeypatch.setattr(hosting, "download_dataset", offline)
    before = os.environ.get("MINARI_DATASETS_PATH")
    name = "D4RL/pointmaze/umaze-v2"
    sentence = (
        rf"cannot download {name} \(Name or service not known\): .* put its folder at .*{name}"
    )
    fails(OSError, sentence, lambda: hosted.download(name, tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert os.environ.get("MINARI_DATASETS_PATH") == before


def test_a_download_arrives_whole(tmp_path, monkeypatch) -> None:
    import minari.storage.hosting as hosting

    def online(name: str) -> None:
        stored(Path(os.environ["MINARI_DATASETS_PATH"]), name=name)

    monkeypatch.setattr(hosting, "download_dataset", online)
    assert hosted.download(NAME, tmp_path) == tmp_path / NAME
    assert len(minari.load(NAME, tmp_path).ends) == 4
    monkeypatch.setattr(hosting, "download_dataset", full)
    assert hosted.download(NAME, tmp_path) == tmp_path / NAME  # it is there
