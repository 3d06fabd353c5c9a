"""What is no recording, no known set or no reachable file is answered in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from diffteach import data
from diffteach.data import d4rl, fetch, hdf5
from diffteach.data.dataset import Dataset
from diffteach.data.names import normalized
from diffteach.data.rewards import TUNINGS
from diffteach.types import Batch

N = 20


def columns(**changes) -> dict:
    whole = {
        "observations": np.zeros((N, 3), np.float32),
        "actions": np.zeros((N, 2), np.float32),
        "rewards": np.zeros(N, np.float32),
        "terminals": np.zeros(N, bool),
        "timeouts": np.zeros(N, bool),
        **changes,
    }
    return {key: column for key, column in whole.items() if column is not None}


def stored(path: Path, **changes) -> Path:
    with h5py.File(path, "w") as file:
        for key, column in columns(**changes).items():
            file[key] = column
    return path


def spoiled(value: float, *rows: int) -> np.ndarray:
    column = np.zeros(N, np.float32)
    column[list(rows)] = value
    return column


FILES = [
    ({"rewards": None}, "lacks rewards: a file of D4RL holds observations, actions, rewards"),
    ({"rewards": None, "terminals": None}, "lacks rewards, terminals"),
    ({"rewards": np.zeros(N - 1)}, "as many rows, got observations 20, actions 20, rewards 19"),
    ({"observations": np.zeros((N, 3), "S4")}, r"observations of .* must be numbers, got \|S4"),
    ({"actions": np.zeros((N, 2), np.complex64)}, "actions of .* must be numbers, got complex64"),
    ({"observations": np.zeros((N, 3, 3))}, r"must be of shape \(N, width\), got \(20, 3, 3\)"),
    ({"observations": np.zeros(N)}, r"must be of shape \(N, width\), got \(20,\)"),
    ({"actions": np.zeros((N, 0))}, r"must be of shape \(N, width\), got \(20, 0\)"),
    ({"rewards": np.zeros((N, 2))}, r"rewards of .* must be of shape \(N,\), got \(20, 2\)"),
    ({"rewards": np.float32(1)}, r"rewards of .* must be of shape \(N,\), got \(\)"),
    ({"rewards": spoiled(np.nan, 7, 9)}, "rewards of .* finite, but 2 of 20 rows are not, row 7"),
    ({"rewards": spoiled(np.inf, 0)}, "must be finite, but 1 of 20 rows"),
    ({"observations": np.full((N, 3), np.nan)}, "observations of .* but 20 of 20 rows"),
    ({"actions": np.stack([spoiled(0), spoiled(np.nan, 4)], 1)}, "actions of .* but 1 of 20 rows"),
    ({"terminals": spoiled(0.5, 3)}, "terminals of .* must be 0 or 1"),
    ({"timeouts": spoiled(2, 3)}, "timeouts of .* must be 0 or 1"),
    ({"timeouts": None}, "has no timeouts, and 'x' does not tell .* as in maze2d-umaze-v1"),
    ({"timeouts": np.ones(N, bool)}, "holds no row with a next observation"),
    ({key: column[:1] for key, column in columns().items()}, "at least 2 rows, got 1"),
]


@pytest.mark.parametrize(("changes", "sentence"), FILES)
def test_files_that_are_no_recording(changes, sentence, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        d4rl.load(stored(tmp_path / "x.hdf5", **changes))


@pytest.mark.parametrize("function", [d4rl.load, d4rl.load_exact, lambda p: list(hdf5.read(p))])
def test_files_that_cannot_be_read(function, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.hdf5 does not exist"):
        function(tmp_path / "nothing.hdf5")
    noise = np.random.default_rng(0).normal(size=(5_000, 3)).astype(np.float32)
    same = {key: np.zeros(5_000, bool) for key in ("rewards", "terminals", "timeouts")}
    whole = stored(tmp_path / "whole.hdf5", observations=noise, actions=noise, **same).read_bytes()
    path = tmp_path / "x.hdf5"
    for cut in (0, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="is no HDF5 file, or was cut short or damaged"):
            function(path)
    path.write_text("not even that")
    with pytest.raises(ValueError, match="is no HDF5 file"):
        function(path)
    with pytest.raises(ValueError, match="is no HDF5 file"):
        function(tmp_path)


def test_damaged_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    noise = np.random.default_rng(0).normal(size=(5_000, 3)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("observations", data=noise, compression="gzip")
        for key in ("actions", "rewards", "terminals", "timeouts"):
            file[key] = np.zeros((5_000, 1), bool)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5_000] = bytes(5_000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        d4rl.load(path)


def test_exact_next_observations_must_be_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"stores no next_observations: only D4RL's own rule"):
        d4rl.load_exact(stored(tmp_path / "x.hdf5"))


def episode(observations: int, steps: int) -> hdf5.Episode:
    rows = np.zeros((observations, 3), np.float32), np.zeros((steps, 2), np.float32)
    return hdf5.Episode(*rows, np.zeros(steps, np.float32), False, True)


def test_episodes_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x.hdf5"
    with pytest.raises(ValueError, match="must all have a final observation, or none"):
        hdf5.write(path, [episode(4, 3), episode(3, 3)])
    monkeypatch.setattr(hdf5, "PIECE", 1)
    with pytest.raises(ValueError, match="must all have a final observation, or none"):
        hdf5.write(path, [episode(4, 3), episode(3, 3)])
    with pytest.raises(ValueError, match="episodes must hold at least one"):
        hdf5.write(path, [])
    with pytest.raises(OSError, match=r"cannot write .*x\.hdf5"):
        hdf5.write(tmp_path / "no" / "folder" / "x.hdf5", [episode(4, 3)])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = hdf5.write(tmp_path / "x.hdf5", [episode(4, 3)])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="must all have"):
        hdf5.write(path, [episode(4, 3), episode(3, 3)])
    assert path.read_bytes() == before


def test_unknown_sets_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no data set 'hoper-medium-v2'; did you mean 'hopper-me"):
        data.load("hoper-medium-v2")
    with pytest.raises(ValueError, match=r"no data set 'hopper-medium'; did you mean 'hopper-medi"):
        data.load("hopper-medium")
    with pytest.raises(ValueError, match=r"no data set 'zzzzzz'$"):
        data.load("zzzzzz")
    with pytest.raises(ValueError, match=r"name must be that of a D4RL set, got 'door-human'; did"):
        fetch.fetch("door-human", root=tmp_path)


def test_actions_beyond_the_box_are_counted(tmp_path: Path) -> None:
    actions = np.zeros((N, 2), np.float32)
    actions[[3, 5, 19], 1] = 1.5, -7.0, 9.0  # the last row is dropped
    path = stored(tmp_path / "x.hdf5", actions=actions)
    with pytest.raises(ValueError, match=r"2 of 19 actions of own leave \[-1, 1\].* clip=True"):
        data.load("own", file=path)


def test_without_a_network_it_says_which_file_to_put_where(tmp_path: Path) -> None:
    nowhere = ["http://127.0.0.1:9/{path}", "http://127.0.0.1:9/{file}", "no address"]
    sentence = (
        r"pen-human-v1 could not be downloaded \(http://127.0.0.1:9/hand_dapg_v1/pen-human-v1.hdf5:"
        r".*no address: .*\): put pen-human-v1.hdf5 \(2,040,573 bytes\) into .*, or name other "
        "mirrors in DIFFTEACH_D4RL_MIRRORS"
    )
    with pytest.raises(ConnectionError, match=sentence):
        fetch.fetch("pen-human-v1", mirrors=nowhere, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_is_no_download(tmp_path: Path) -> None:
    stored(tmp_path / "pen-human-v1.hdf5")
    with pytest.raises(ValueError, match=r"bytes instead of 2,040,573: remove it"):
        data.load("pen-human-v1", root=tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot make the folder .*file"):
        fetch.fetch("pen-human-v1", root=tmp_path / "file" / "datasets")


def test_a_full_disk_while_downloading(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "_download", full)
    with pytest.raises(OSError, match=r"the disk of .* is too full for pen-human-v1"):
        fetch.fetch("pen-human-v1", root=tmp_path)


def test_without_h5py(monkeypatch) -> None:
    for module in ("diffteach.data.d4rl", "diffteach.data.hdf5"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(data, "d4rl", None, raising=False)
    monkeypatch.delattr(data, "d4rl")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"need the package h5py: install diffteach\[rl"):
        data.load("hopper-medium-v2")


def transitions(rewards: list[float]) -> Dataset:
    rew = torch.tensor(rewards)
    obs = torch.zeros(len(rew), 1)
    return Dataset(
        "own", Batch(obs, obs, rew, obs, torch.ones(len(rew))), rew > 0, None, None, "", ""
    )


def test_tunings_that_would_divide_by_nothing() -> None:
    with pytest.raises(ValueError, match="no two finished episodes of different return"):
        TUNINGS["iql_locomotion"](transitions([1.0, 1.0]))
    for rewards in ([2.0, 2.0], [2.0]):
        with pytest.raises(ValueError, match="those of own are all equal"):
            TUNINGS["standardised"](transitions(rewards))


@pytest.mark.parametrize("reference", [(1.0, 1.0), (2.0, 1.0), (0.0, float("nan"))])
def test_reference_scores_must_rise(reference) -> None:
    with pytest.raises(ValueError, match="reference must be two scores in rising order"):
        normalized(torch.ones(3), reference)
