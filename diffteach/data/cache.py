"""A flat copy of a converted set: one .npy file per column, mapped into memory, with checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffteach.data.dataset import Dataset, EnvSpec
from diffteach.types import Batch

# Part of every key: raise it when what is stored, or how a source is converted, changes.
LAYOUT = 1
_COLUMNS = (*Batch._fields, "ends")


def directory() -> Path:
    """Where copies are kept: the environment variable DIFFTEACH_CACHE, or ~/.cache/diffteach."""
    return Path(os.environ.get("DIFFTEACH_CACHE") or Path.home() / ".cache" / "diffteach")


def _key(sources: Sequence[Path], view: str) -> tuple[str, list[Any]]:
    """The folder's name, decided by paths and view, and the state of the sources."""
    paths = [str(source.resolve()) for source in sources]
    stats = [source.stat() for source in sources]
    name = hashlib.sha256("\0".join([view, *paths]).encode()).hexdigest()[:16]
    return name, [LAYOUT, *([stat.st_size, stat.st_mtime_ns] for stat in stats)]


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read(folder: Path, state: list[Any]) -> Dataset | None:
    """The copy in a folder; None if it is of another state of the source, damaged or no copy."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["state"] != state:
            return None
        for column in _COLUMNS:
            if _checksum(folder / f"{column}.npy") != meta["checksums"][column]:
                return None
        # Pages are shared with the file until somebody writes, and nothing is written back.
        arrays = [np.load(folder / f"{column}.npy", mmap_mode="c") for column in _COLUMNS]
        *batch, ends = (torch.from_numpy(array) for array in arrays)
        env = meta["env"] and EnvSpec(meta["env"][0], meta["env"][1], tuple(meta["env"][2]))
        scores = meta["scores"] and (meta["scores"][0], meta["scores"][1])
        return Dataset(
            meta["name"],
            Batch(*batch),
            ends,
            env,
            scores,
            meta["origin"],
            meta["digest"],
            meta["act_limit"],
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _write(dataset: Dataset, folder: Path, state: list[Any]) -> None:
    checksums = {}
    columns = (*dataset.transitions, dataset.ends)
    for name, column in zip(_COLUMNS, columns, strict=True):
        np.save(folder / f"{name}.npy", column.contiguous().numpy())
        checksums[name] = _checksum(folder / f"{name}.npy")
    env = dataset.env
    meta = {
        "state": state,
        "checksums": checksums,
        "name": dataset.name,
        "env": env and [env.id, dict(env.kwargs), list(env.keys)],
        "scores": dataset.scores,
        "origin": dataset.origin,
        "digest": dataset.digest,
        "act_limit": dataset.act_limit,
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def cached(sources: Sequence[Path], view: str, convert: Callable[[], Dataset]) -> Dataset:
    """What `convert()` makes of the files `sources`, mapped from a copy that is made if missing.

    `view` names the conversion: another one has another copy. A copy is used only while the sources
    have the size and time of change that it was made from and each of its columns its checksum. It
    is written under another name and renamed; OSError, and nothing left, if that cannot be done.
    """
    key, state = _key(sources, view)
    root = directory()
    label = re.sub(r"[^\w-]+", "-", view).strip("-")[-60:]
    folder = root / f"{label}-{key}"
    if (found := _read(folder, state)) is not None:
        return found
    dataset = convert()
    hidden: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(dir=root, prefix=".unfinished-"))
        _write(dataset, hidden, state)
        shutil.rmtree(folder, ignore_errors=True)
        # Another process may have been faster: its copy is as good.
        with contextlib.suppress(FileExistsError, OSError):
            os.rename(hidden, folder)
    except OSError as error:
        raise OSError(
            f"cannot keep a copy of {dataset.name} in {root}: {error.strerror or error}; name a "
            f"folder with room in the environment variable DIFFTEACH_CACHE"
        ) from None
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)
    mapped = _read(folder, state)
    return dataset if mapped is None else mapped
