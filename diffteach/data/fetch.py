"""The files of D4RL: where they are published, how large they are, and how they get here."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

from tqdm import tqdm

from diffteach.checks import nearest

MIRRORS = (
    "https://huggingface.co/datasets/imone/D4RL/resolve/main/{file}",
    "http://rail.eecs.berkeley.edu/datasets/offline_rl/{path}",
)
"""Addresses of a file with its name and its path on D4RL's own host, which is often down."""
MIRRORS_VARIABLE = "DIFFTEACH_D4RL_MIRRORS"
FOLDER_VARIABLE = "D4RL_DATASET_DIR"
PIECE = 1 << 20
PATIENCE = 30.0
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416
BAR: dict[str, Any] = {"unit": "B", "unit_scale": True, "disable": None}  # silent in files


class File(NamedTuple):
    """A published file; size in bytes and sha256 are None where nobody published them."""

    path: str
    size: int | None
    sha256: str | None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def _table() -> Mapping[str, File]:
    text = (files("diffteach.data") / "d4rl_files.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return MappingProxyType(
        {
            row["name"]: File(
                row["path"],
                int(row["bytes"]) if row["bytes"] != "-" else None,
                row["sha256"] if row["sha256"] != "-" else None,
            )
            for row in rows
        }
    )


FILES = _table()
"""By data set: paths from D4RL's infos.py, sizes and sums from TensorFlow Datasets' checksums."""
_NAMES = {file.name: name for name, file in FILES.items()}


def set_of(path: Path) -> str:
    """The D4RL set that is published in a file of this name, or else the name without ending."""
    return _NAMES.get(path.name, path.stem)


def folder(root: Path | str | None = None) -> Path:
    """Where files are kept: `root`, or $D4RL_DATASET_DIR, or ~/.d4rl/datasets as in D4RL."""
    default = os.environ.get(FOLDER_VARIABLE) or Path.home() / ".d4rl" / "datasets"
    return Path(root if root is not None else default)


def fetch(
    name: str, *, mirrors: Sequence[str] | None = None, root: Path | str | None = None
) -> Path:
    """The file of a D4RL set, downloaded unless it is there; a broken download is taken up again.

    Mirrors are tried in order: the argument, or else the addresses in $DIFFTEACH_D4RL_MIRRORS
    (separated by spaces), or else `MIRRORS`; {path} and {file} in them stand for the file's path
    on D4RL's host and its name. Only a file of the published size and sum is kept. ValueError for
    an unknown name or a file of another size, ConnectionError that says which file to put where.
    """
    if name not in FILES:
        raise ValueError(f"name must be that of a D4RL set, got {name!r}{nearest(name, FILES, 3)}")
    file, target = FILES[name], folder(root) / FILES[name].name
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"cannot make the folder {target.parent}: {error.strerror}") from None
        with _alone(target.parent):
            if not target.exists():  # another process may have been at it
                variable = os.environ.get(MIRRORS_VARIABLE, "").split()
                return _from_any(mirrors or variable or MIRRORS, name, target)
    size = target.stat().st_size
    if file.size not in (None, size):
        raise ValueError(
            f"{target} has {size:,} bytes instead of {file.size:,}: remove it, so that {name} can "
            "be downloaded again"
        )
    return target


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One download at a time into a folder, where the system can lock folders."""
    handle = None
    with suppress(ImportError, OSError):
        import fcntl

        handle = os.open(place, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _from_any(mirrors: Sequence[str], name: str, target: Path) -> Path:
    file, part = FILES[name], target.with_name(f"{target.name}.part")
    failures = []
    for mirror in mirrors:
        address = mirror.replace("{path}", file.path).replace("{file}", file.name)
        try:
            _download(address, part, file)
            return part.replace(target)
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise OSError(f"the disk of {target.parent} is too full for {name}") from None
            failures.append(f"{address}: {getattr(error, 'reason', None) or error}")
    length = f" ({file.size:,} bytes)" if file.size else ""
    kept = f"; {_size(part):,} bytes of it are kept for the next try" if _size(part) else ""
    raise ConnectionError(
        f"{name} could not be downloaded ({'; '.join(failures)}): put {file.name}{length} into "
        f"{target.parent}, or name other mirrors in {MIRRORS_VARIABLE}{kept}"
    )


def _download(address: str, part: Path, file: File) -> None:
    """Bring `part` to the whole file, or raise OSError; what does not fit the sum is removed."""
    resumed = _size(part) > 0
    while not _append(address, part, file, before := _size(part)):
        if _size(part) <= before:
            raise OSError(f"the connection broke off after {before:,} bytes")
    if file.sha256 in (None, _sum(part)):
        return
    part.unlink()
    if not resumed:
        raise OSError("what it sends is another file: its sha256 differs, and nothing was kept")
    _download(address, part, file)  # the beginning, from an earlier try, may have been wrong


def _append(address: str, part: Path, file: File, start: int) -> bool:
    """Ask once for what is missing; True when the whole file is there."""
    if start and start == file.size:
        return True
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE or not start:
            raise
        part.unlink()  # longer than the file, so it is another one's beginning
        return _append(address, part, file, 0)
    with response:
        start = start if response.status == PARTIAL_CONTENT else 0
        length = response.headers["Content-Length"]
        total = file.size if length is None else start + int(length)
        if file.size not in (None, total):
            raise OSError(f"it has {total:,} bytes instead of {file.size:,}")
        with part.open("ab" if start else "wb") as out:
            _copy(response, out, tqdm(desc=file.name, initial=start, total=total, **BAR))
    return total in (None, _size(part))


def _copy(response: HTTPResponse, out: BinaryIO, bar: tqdm) -> None:
    """Write what arrives; a connection that breaks off or stalls ends it quietly."""
    with bar, suppress(ConnectionError, TimeoutError):
        while piece := response.read(PIECE):
            bar.update(out.write(piece))


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _sum(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
