"""The flat copy of a converted set: used while it is whole and the source unchanged, never else."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from diffteach.data import cache
from diffteach.data.dataset import Dataset, EnvSpec, digest
from diffteach.types import Batch


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("DIFFTEACH_CACHE", str(tmp_path / "copies"))
    return tmp_path / "copies"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "source.bin"
    file.write_bytes(b"recorded")
    return file


def dataset(seed: int = 0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    obs, act, rew, next_obs, done = (
        torch.randn(50, k, generator=generator) for k in (3, 2, 1, 3, 1)
    )
    batch = Batch(obs, act, rew[:, 0], next_obs, (done[:, 0] > 1).float())
    ends = torch.arange(50) % 10 == 9
    env = EnvSpec("Hopper-v4", {"max_episode_steps": 9, "maze_map": [[1, "g"]]}, ("a", "b"))
    return Dataset("x/y-v0", batch, ends, env, (0.0, 2.5), "Drawn.", digest(batch, ends), 3.0)


def counted(result: Dataset) -> tuple[Callable[[], Dataset], list[int]]:
    calls: list[int] = []

    def convert() -> Dataset:
        calls.append(1)
        return result

    return convert, calls


def equal(one: Dataset, other: Dataset) -> bool:
    told = [(d.name, d.env, d.scores, d.origin, d.digest, d.act_limit) for d in (one, other)]
    columns = zip((*one.transitions, one.ends), (*other.transitions, other.ends), strict=True)
    return told[0] == told[1] and all(torch.equal(a, b) for a, b in columns)


def test_a_copy_is_equal_and_made_once(source: Path) -> None:
    convert, calls = counted(dataset())
    first = cache.cached([source], "x", convert)
    second = cache.cached([source], "x", convert)
    assert len(calls) == 1
    assert equal(first, dataset()) and equal(second, dataset())
    assert digest(second.transitions, second.ends) == second.digest


def test_nothing_is_known_of_environment_and_scores(source: Path) -> None:
    from dataclasses import replace

    bare = replace(dataset(), env=None, scores=None)
    cache.cached([source], "x", lambda: bare)
    assert equal(cache.cached([source], "x", dataset), bare)


def test_writing_to_a_mapped_column_leaves_the_copy_as_it_was(source: Path) -> None:
    cache.cached([source], "x", dataset)
    mapped = cache.cached([source], "x", dataset)
    mapped.transitions.obs.zero_()
    convert, calls = counted(dataset())
    assert equal(cache.cached([source], "x", convert), dataset())
    assert calls == []


def test_another_conversion_of_the_same_source_has_its_own_copy(source: Path) -> None:
    cache.cached([source], "x", dataset)
    assert equal(cache.cached([source], "x with goals", lambda: dataset(1)), dataset(1))
    assert equal(cache.cached([source], "x", lambda: dataset(2)), dataset(0))


def longer(source: Path) -> None:
    source.write_bytes(b"recorded again")


def newer(source: Path) -> None:
    before = source.stat().st_mtime_ns
    os.utime(source, ns=(before, before + 1))


@pytest.mark.parametrize("change", [longer, newer])
def test_a_changed_source_is_converted_again_in_the_same_place(source, folder, change) -> None:
    cache.cached([source], "x", dataset)
    change(source)
    assert equal(cache.cached([source], "x", lambda: dataset(1)), dataset(1))
    assert len(list(folder.iterdir())) == 1


def flipped(copy: Path) -> None:
    content = bytearray((copy / "rew.npy").read_bytes())
    content[-1] ^= 1
    (copy / "rew.npy").write_bytes(content)


def cut(copy: Path) -> None:
    (copy / "obs.npy").write_bytes((copy / "obs.npy").read_bytes()[:-8])


def lost(copy: Path) -> None:
    (copy / "ends.npy").unlink()


def half(copy: Path) -> None:
    text = (copy / "meta.json").read_text()
    (copy / "meta.json").write_text(text[: len(text) // 2])


def other(copy: Path) -> None:
    (copy / "meta.json").write_text("[]")


def older(copy: Path) -> None:
    meta = json.loads((copy / "meta.json").read_text())
    meta["state"][0] -= 1
    (copy / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("damage", [flipped, cut, lost, half, other, older])
def test_a_damaged_copy_is_never_used(source: Path, folder: Path, damage) -> None:
    cache.cached([source], "x", dataset)
    (copy,) = folder.iterdir()
    damage(copy)
    assert equal(cache.cached([source], "x", lambda: dataset(1)), dataset(1))
    assert equal(cache.cached([source], "x", dataset), dataset(1))  # and replaced


def test_a_half_written_copy_is_never_found(source: Path, folder: Path, monkeypatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            cache.cached([source], "x", dataset)
    assert list(folder.iterdir()) == []
    # What kill -9 leaves has a hidden name.
    (folder / ".unfinished-1").mkdir()
    assert equal(cache.cached([source], "x", lambda: dataset(1)), dataset(1))


def test_a_full_disk_is_said_and_leaves_nothing(source: Path, folder: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"cannot keep .*x/y-v0.*No space left.*DIFFTEACH_CACHE"):
        cache.cached([source], "x", dataset)
    assert list(folder.iterdir()) == []


TWO_MILLION = """
import sys
from pathlib import Path
import numpy as np
from gymnasium.spaces import Box
from diffteach.data.writing import About, Episode, write

def episodes():
    draw = np.random.default_rng(0)
    for _ in range(2000):
        over = np.zeros(1000, bool)
        act = draw.uniform(-1, 1, (1000, 6)).astype(np.float32)
        yield Episode(draw.normal(size=(1001, 17)), act, draw.normal(size=1000), over, over)

about = About("", "", Box(-np.inf, np.inf, (17,), np.float64), Box(-1, 1, (6,), np.float32))
write("tests/large-v0", episodes(), 0, about, Path(sys.argv[1]))
"""
TRAINED = """
import resource, sys
from pathlib import Path
from diffteach.data import minari
from diffteach.methods.iql import IQL, IQLConfig
from diffteach.train import InMemory, fit

data = minari.load("tests/large-v0", Path(sys.argv[1]))
assert len(data.ends) == 2_000_000
agent = IQL(IQLConfig(), 17, 6)
for step, _ in enumerate(fit(agent, InMemory(data.transitions))):
    if step == 100:
        break
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_two_million_transitions_train_in_one_and_a_half_gigabytes(tmp_path: Path) -> None:
    def run(code: str) -> str:
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run(TWO_MILLION)
    converting, mapped = int(run(TRAINED)), int(run(TRAINED))
    assert converting < 1.5e6 and mapped < 1.5e6  # kB
