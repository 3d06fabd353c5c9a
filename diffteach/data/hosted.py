"""Farama's hosted Minari sets: downloaded whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffteach.data import minari
from diffteach.data.writing import check_id, name_parents


@contextmanager
def _minari_root(folder: Path) -> Iterator[None]:
    """Minari knows its root by an environment variable only."""
    key = "MINARI_DATASETS_PATH"
    before = os.environ.get(key)
    os.environ[key] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def download(name: str, root: Path | None = None) -> Path:
    """The folder of a hosted Minari set, downloaded below `root` unless it is there.

    Until all of it is there it has a hidden name. ValueError for an id that Minari would refuse,
    OSError, naming where to put the set, if it cannot be downloaded.
    """
    check_id(name)
    root = minari.default_root() if root is None else root
    folder = root / name
    if (folder / "data" / "metadata.json").is_file():
        return folder
    hidden: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(dir=root, prefix=".unfinished-"))
        with _minari_root(hidden):
            from minari.storage.hosting import download_dataset

            download_dataset(name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.rename(hidden / name, folder)
        name_parents(root, folder)
    except Exception as error:  # of whatever library Minari uses to reach its server
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"cannot download {name} ({reason}): without a network, put its folder at {folder}"
        ) from None
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)
    return folder
