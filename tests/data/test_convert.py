"""A D4RL file becomes a Minari set and comes back with nothing lost."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from diffteach.data import d4rl, minari
from diffteach.data.convert import MISSING, to_hdf5, to_minari

DEMOS = Path(__file__).resolve().parents[3] / "shared" / "data"
KEYS = ("observations", "actions", "rewards", "terminals", "timeouts")


def columns(kind: type = np.float32) -> dict[str, np.ndarray]:
    """A terminal, a time limit, one-step episodes, both at once, and an end in mid-episode."""
    draw = np.random.default_rng(0)
    terminals = np.array([0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0], bool)
    timeouts = np.array([0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0], bool)
    n = len(terminals)
    obs = draw.normal(size=(n, 3)).astype(kind)
    following = np.roll(obs, -1, axis=0)
    ends = terminals | timeouts
    ends[-1] = True
    following[ends] = draw.normal(size=(ends.sum(), 3))
    return {
        "observations": obs,
        "actions": draw.uniform(-1, 1, (n, 2)).astype(kind),
        "rewards": draw.normal(size=n).astype(kind),
        "terminals": terminals,
        "timeouts": timeouts,
        "next_observations": following,
    }


def d4rl_file(path: Path, stored: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for key, value in stored.items():
            file[key] = value
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: file[key][:] for key in file}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_file_with_final_states_comes_back_whole(tmp_path: Path, kind: type) -> None:
    stored = columns(kind)
    file = d4rl_file(tmp_path / "hopper_medium-v2.hdf5", stored)
    folder = to_minari(file, root=tmp_path)
    assert folder == tmp_path / "converted" / "hopper-medium-v2"
    back = read(to_hdf5("converted/hopper-medium-v2", tmp_path / "back.hdf5", tmp_path))
    assert back.keys() == stored.keys()
    for key, value in stored.items():
        assert np.array_equal(back[key], value)
        assert back[key].dtype == value.dtype


def test_a_file_without_final_states_says_so_and_comes_back(tmp_path: Path) -> None:
    stored = columns()
    del stored["next_observations"]
    file = d4rl_file(tmp_path / "other.hdf5", stored)
    to_minari(file, "tests/other-v0", tmp_path)
    data = minari.load("tests/other-v0", tmp_path)
    assert MISSING in data.origin
    back = read(to_hdf5("tests/other-v0", tmp_path / "back.hdf5", tmp_path))
    assert back.keys() == stored.keys()
    assert all(np.array_equal(back[key], value) for key, value in stored.items())


def test_the_set_is_a_real_one_with_the_state_after_the_last_step(tmp_path, monkeypatch) -> None:
    import minari as farama

    stored = columns()
    to_minari(d4rl_file(tmp_path / "hopper_medium-v2.hdf5", stored), root=tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    found = farama.load_dataset("converted/hopper-medium-v2")
    assert (found.total_steps, found.total_episodes) == (11, 6)
    assert [bool(e.terminations[-1]) for e in found] == [True, False, True, False, True, False]
    assert [bool(e.truncations[-1]) for e in found] == [False, True, False, True, True, False]
    assert np.array_equal(found[0].observations[-1], stored["next_observations"][2])
    assert found.recover_environment().spec.id == "Hopper-v4"


@pytest.mark.parametrize("final", [True, False])
def test_both_ways_of_loading_agree(tmp_path: Path, final: bool) -> None:
    """D4RL drops what a time limit cut, and the last row of a file."""
    stored = columns()
    # Both at once is dropped by D4RL, where Minari keeps the terminal.
    stored["timeouts"][8] = False
    if not final:
        del stored["next_observations"]
    file = d4rl_file(tmp_path / "hopper_medium-v2.hdf5", stored)
    to_minari(file, root=tmp_path)
    ours = minari.load("converted/hopper-medium-v2", tmp_path).transitions
    theirs = d4rl.load(file).transitions
    kept = np.ones(len(ours.rew), bool)
    if final:
        kept = ~stored["timeouts"]
        kept[-1] = False
    for key in ("obs", "act", "rew", "done"):
        one, other = getattr(ours, key).numpy()[kept], getattr(theirs, key).numpy()
        # Without final states the recording's last row but one may be kept or not.
        assert np.array_equal(one[: len(other)], other)
        assert len(one) == len(other)


@pytest.mark.skipif(not DEMOS.is_dir(), reason="the recorded episodes are not here")
@pytest.mark.parametrize("name", ["hopper", "halfcheetah"])
def test_real_recordings_come_back_whole(tmp_path: Path, name: str) -> None:
    file = DEMOS / f"{name}-v4-demos.hdf5"
    to_minari(file, f"tests/{name}-v0", tmp_path)
    back, stored = read(to_hdf5(f"tests/{name}-v0", tmp_path / "b.hdf5", tmp_path)), read(file)
    for key in KEYS:
        assert np.array_equal(back[key], stored[key])
