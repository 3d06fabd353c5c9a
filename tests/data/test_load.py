"""The one door: D4RL's names, files at hand and Minari ids come in by their names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from diffteach import data
from diffteach.data import d4rl, fetch

ROWS = 50


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("DIFFTEACH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def recording(path: Path, reach: float = 1.0) -> Path:
    generator = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["observations"] = generator.normal(size=(ROWS, 11)).astype(np.float32)
        file["actions"] = generator.uniform(-reach, reach, (ROWS, 3)).astype(np.float32)
        file["rewards"] = generator.normal(size=ROWS).astype(np.float32)
        file["terminals"] = np.arange(ROWS) % 10 == 9
        file["timeouts"] = np.zeros(ROWS, bool)
    return path


def same(one: data.Dataset, other: data.Dataset) -> bool:
    columns = zip(one.transitions, other.transitions, strict=True)
    return one.digest == other.digest and all(torch.equal(*pair) for pair in columns)


def test_a_d4rl_name_loads_the_file_in_the_folder(tmp_path: Path, monkeypatch) -> None:
    path = recording(tmp_path / "hopper_medium-v2.hdf5")
    file = fetch.FILES["hopper-medium-v2"]._replace(size=path.stat().st_size)
    monkeypatch.setattr(fetch, "FILES", {"hopper-medium-v2": file})
    loaded = data.load("hopper-medium-v2", root=tmp_path)
    assert same(loaded, d4rl.load(path))
    assert loaded.env == data.EnvSpec("Hopper-v4")


def test_a_file_at_hand_takes_the_name_it_is_given(tmp_path: Path) -> None:
    path = recording(tmp_path / "somewhere" / "x.hdf5")
    loaded = data.load("hopper-medium-v2", file=path)
    assert (loaded.name, loaded.env) == ("hopper-medium-v2", data.EnvSpec("Hopper-v4"))
    assert same(loaded, d4rl.load(path))
    assert data.load("diffteach/hopper/own-v0", file=str(path)).name == "diffteach/hopper/own-v0"


def test_large_files_are_converted_once(tmp_path: Path, own_cache: Path, monkeypatch) -> None:
    path = recording(tmp_path / "x.hdf5")
    direct = data.load("hopper-own-v0", file=path)
    assert not own_cache.exists()
    monkeypatch.setattr(data, "SMALL", 0)
    assert same(data.load("hopper-own-v0", file=path), direct)
    monkeypatch.setattr(d4rl, "load", None)  # would fail if it were asked again
    assert same(data.load("hopper-own-v0", file=path), direct)


def test_actions_beyond_the_box_are_clipped_when_asked_for(tmp_path: Path) -> None:
    path = recording(tmp_path / "x.hdf5", reach=2.0)
    cut = data.load("hopper-own-v0", file=path, clip=True)
    plain = d4rl.load(path, "hopper-own-v0")
    assert torch.equal(cut.transitions.act, plain.transitions.act.clamp(-1, 1))
    assert torch.equal(cut.transitions.obs, plain.transitions.obs)


def test_a_toy_is_known_and_loaded_by_its_id() -> None:
    assert {"hopper-medium-v2", "diffteach/four_corners-v0"} <= set(data.known())
    toy = data.load("diffteach/four_corners-v0")
    assert toy.transitions.obs.shape[1:] == (1,)
    assert toy.transitions.done.all()


def test_importing_the_data_package_stays_light() -> None:
    code = "import sys, diffteach.data; print(*{name.split('.')[0] for name in sys.modules})"
    run = [sys.executable, "-c", code]
    loaded = set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())
    assert loaded.isdisjoint({"h5py", "minari", "gymnasium", "pandas", "PIL"})
