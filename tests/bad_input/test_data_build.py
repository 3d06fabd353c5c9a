"""What cannot be built or converted is said in one sentence, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffteach.data import build, convert, rollouts

SHAPES = {"W0": (11, 4), "b0": (4,), "W1": (4, 4), "b1": (4,), "W_out": (4, 3), "b_out": (3,)}


def policy(root: Path, activation: str = "tanh", **changes: tuple[int, ...] | None) -> Path:
    shapes = {"mean": (11,), "std": (11,), **SHAPES, **changes}
    arrays = {key: np.ones(shape) for key, shape in shapes.items() if shape is not None}
    np.savez(root / "policy.npz", activation=activation, **arrays)  # type: ignore[arg-type]
    return root / "policy.npz"


def play(root: Path, file: Path, robot: str = "hopper", noises=(0.0,), steps: int = 10) -> object:
    return rollouts.rollouts(robot, file, noises, steps, 0, root / "sets")


def text(root: Path) -> Path:
    (root / "policy.npz").write_text("no archive")
    return root / "policy.npz"


def pickled(root: Path) -> Path:
    np.savez(root / "policy.npz", mean=np.array([{}], dtype=object))
    return root / "policy.npz"


CASES: list[tuple[str, Callable[[Path], object], str]] = [
    ("maze", lambda r: build.pointmaze("spiral", 9, 0, r / "sets"), "layout must be one of open, "),
    ("one goal", lambda r: build.pointmaze("detour", 9, 0, r / "sets"), "layout must be one of op"),
    ("no steps", lambda r: build.pointmaze("open", 0, 0, r / "sets"), "steps must be at least 1"),
    ("no detour", lambda r: build.detour(-1, 0, r / "sets"), "steps must be at least 1, got -1"),
    ("robot", lambda r: play(r, policy(r), "ant"), "robot must be one of halfcheetah, hopper, w"),
    ("hand", lambda r: play(r, policy(r), "pen"), "robot must be one of"),
    ("no noises", lambda r: play(r, policy(r), noises=()), "noises must name at least one"),
    ("noise", lambda r: play(r, policy(r), noises=(0.1, -1)), "noises must be finite and not neg"),
    ("few steps", lambda r: play(r, policy(r), noises=(0, 1), steps=1), "steps must be at least 2"),
    ("no file", lambda r: play(r, r / "no.npz"), "policy must be an .npz file, there is none at"),
    ("text", lambda r: play(r, text(r)), "policy must be an .npz file of arrays, .* is not"),
    ("pickle", lambda r: play(r, pickled(r)), "policy must be an .npz file of arrays, .* is not"),
    ("lacking", lambda r: play(r, policy(r, W1=None)), "policy must hold .* lacks W1"),
    ("relu", lambda r: play(r, policy(r, "relu")), "activation must be one of tanh, leaky_relu"),
    ("other robot", lambda r: play(r, policy(r), "walker2d"), "take the 17 observations of Walk"),
    ("actions", lambda r: play(r, policy(r, W_out=(4, 2), b_out=(2,))), "give 3 actions for Hop"),
    ("layers", lambda r: play(r, policy(r, W1=(5, 4))), "policy must take the 11 observations"),
    ("file", lambda r: convert.to_minari(r / "no.hdf5", None, r / "sets"), "does not exist"),
    ("set", lambda r: convert.to_hdf5("tests/no-v0", r / "x", r / "sets"), "no Minari set tests/"),
    (
        "no HDF5",
        lambda r: convert.to_minari(text(r).rename(r / "a-v0.hdf5"), None, r / "sets"),
        "cannot be read: it is no HDF5 file",
    ),
]


@pytest.mark.parametrize(("call", "sentence"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_sentence_and_nothing_made(
    tmp_path: Path, call: Callable[[Path], object], sentence: str
) -> None:
    with pytest.raises((ValueError, OSError), match=sentence) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)
    sets = tmp_path / "sets"
    assert not sets.exists() or list(sets.iterdir()) == []


def test_a_set_that_exists_is_kept(tmp_path: Path) -> None:
    build.pointmaze("open", 50, 0, tmp_path)
    with pytest.raises(FileExistsError, match="the set diffteach/pointmaze/open-v0 exists: delete"):
        build.pointmaze("open", 50, 1, tmp_path)


def test_dicts_do_not_go_to_a_flat_file(tmp_path: Path) -> None:
    build.pointmaze("open", 50, 0, tmp_path)
    with pytest.raises(ValueError, match="must be arrays, D4RL's files hold no dicts"):
        convert.to_hdf5("diffteach/pointmaze/open-v0", tmp_path / "x.hdf5", tmp_path)
    assert not (tmp_path / "x.hdf5").exists()
