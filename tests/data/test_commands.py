"""`diffteach data`: what it makes is a set that it can tell of, check, and turn back."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from diffteach.cli import main
from diffteach.data import minari


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "files"))
    monkeypatch.setenv("DIFFTEACH_CACHE", str(tmp_path / "copies"))
    return tmp_path / "sets"


def said(capsys, *arguments: str) -> str:
    assert main(["data", *arguments]) == 0
    return capsys.readouterr().out


def test_a_maze_is_built_listed_told_and_checked(root: Path, capsys) -> None:
    name = "diffteach/pointmaze/umaze-v0"
    assert str(root / name) in said(capsys, "build", "pointmaze/umaze", "--steps", "300")
    listed = said(capsys, "list").splitlines()
    assert name in listed and "diffteach/four_corners-v0" in listed
    assert "hopper-medium-v2" in listed[-2] and "pointmaze/detour" in listed[-1]
    told = said(capsys, "info", name)
    assert "300 transitions" in told and "observations 4, actions 2" in told
    assert "9.78 is 0 and 208.33 100 percent" in told
    assert "nothing known of it is missing" in said(capsys, "check", name)


def test_a_policy_is_played_with_its_noises(root: Path, tmp_path: Path, capsys) -> None:
    sizes = {"W0": (11, 2), "b0": 2, "W1": (2, 2), "b1": 2, "W_out": (2, 3), "b_out": 3}
    arrays = {key: np.zeros(size) for key, size in sizes.items()}
    file = tmp_path / "p.npz"
    np.savez(file, mean=np.zeros(11), std=np.ones(11), activation="tanh", **arrays)  # type: ignore[arg-type]
    arguments = ["hopper", "--policy", str(file), "--noise", "0,0.5", "--steps", "60"]
    said(capsys, "build", *arguments)
    data = minari.load("diffteach/hopper/noisy-v0")
    assert len(data.ends) == 60
    assert (data.transitions.act == 0).all(-1).sum() == 30  # without noise this policy rests


def test_a_file_goes_there_and_back(root: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, draw = tmp_path / "walk-v0.hdf5", np.random.default_rng(0)
    columns = {
        "observations": draw.normal(size=(6, 2)),
        "actions": draw.uniform(-1, 1, (6, 1)),
        "rewards": draw.normal(size=6),
        "terminals": np.arange(6) == 5,
        "timeouts": np.arange(6) == 2,
    }
    with h5py.File(file, "w") as stored:
        stored.update(columns)
    assert "Final states are missing" in said(capsys, "convert", str(file), "--name", "tests/w-v0")
    assert said(capsys, "convert", "tests/w-v0").strip() == "w-v0.hdf5"
    with h5py.File("w-v0.hdf5") as back:
        assert all(np.array_equal(back[key][:], value) for key, value in columns.items())


def test_what_does_not_fit_is_said(root: Path, capsys) -> None:
    said(capsys, "build", "pointmaze/open", "--steps", "200")
    file = root / "diffteach" / "pointmaze" / "open-v0" / "data" / "metadata.json"
    entries = json.loads(file.read_text())
    entries["total_steps"] = 7
    file.write_text(json.dumps(entries))
    assert main(["data", "check", "diffteach/pointmaze/open-v0"]) == 1
    assert "says total_steps 7, but has 200" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["build", "pointmaze/huge"], "layout must be one of open, umaze, medium, large, detour"),
        (["build", "hopper"], "a robot with --policy FILE.npz, got 'hopper'"),
        (["build", "hopper", "--policy", "no.npz"], "policy must be an .npz file, there is none"),
        (["build", "hopper", "--policy", "no.npz", "--noise", "a"], "noise must be numbers like"),
        (["build", "pointmaze/open", "--steps", "0"], "steps must be at least 1, got 0"),
        (["info", "diffteach/four_corner-v0"], "did you mean 'diffteach/four_corners-v0'"),
        (["convert", "no.hdf5"], "no.hdf5 does not exist"),
        (["convert", "tests/no-v0"], "no Minari set tests/no-v0"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, sentence, root: Path, capsys) -> None:
    assert main(["data", *arguments]) == 1
    printed = capsys.readouterr()
    assert sentence in printed.err and len(printed.err.splitlines()) == 1
    assert printed.out == ""
    assert not root.exists() or list(root.iterdir()) == []
