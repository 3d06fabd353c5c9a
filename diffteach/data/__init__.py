"""Recorded episodes: D4RL files, Minari sets and sets built here, as transitions."""

from __future__ import annotations

from pathlib import Path

from diffteach.checks import nearest
from diffteach.data.dataset import Dataset, EnvSpec, clipped, outside

__all__ = ["Dataset", "EnvSpec", "known", "load"]

SMALL = 2**20  # bytes of a file that is read as fast as its copy is checked


def load(
    name: str, *, file: Path | str | None = None, root: Path | str | None = None, clip: bool = False
) -> Dataset:
    """The data set of that name: D4RL's, downloaded if need be, or a Minari id on this machine.

    `file` is a D4RL file at hand, under any name; `root` the folder of D4RL's files or Minari's
    sets instead of the usual one. Large sets are converted once and then mapped from a copy.
    Actions beyond the box are refused or, with `clip`, clipped. ValueError or FileNotFoundError,
    with the nearest names, for an unknown set; OSError where a download or copy is not possible.
    """
    dataset = _load(name, file, None if root is None else Path(root))
    beyond, limit = outside(dataset), dataset.act_limit
    if beyond and not clip:
        raise ValueError(
            f"{beyond:,} of {len(dataset.ends):,} actions of {name} leave [-{limit:g}, {limit:g}], "
            "where simulators clip them: clip=True (on the command line --clip) does so here"
        )
    return clipped(dataset)


def known(root: Path | str | None = None) -> list[str]:
    """D4RL's sets, and the ids of the Minari sets on this machine."""
    from diffteach.data import minari
    from diffteach.data.fetch import FILES

    return [*FILES, *minari.local(None if root is None else Path(root))]


def _load(name: str, file: Path | str | None, root: Path | None) -> Dataset:
    try:
        from diffteach.data import d4rl, minari
        from diffteach.data.cache import cached
        from diffteach.data.fetch import FILES, fetch
    except ModuleNotFoundError as error:
        text = f"recorded data need the package {error.name}: install diffteach[rl]"
        raise ModuleNotFoundError(text, name=error.name) from None
    if file is None and "/" in name:
        return minari.load(name, root)
    if file is None and name not in FILES:
        raise ValueError(f"there is no data set {name!r}{nearest(name, known(root), 3)}")
    path = fetch(name, root=root) if file is None else Path(file)
    if not path.is_file() or path.stat().st_size < SMALL:
        return d4rl.load(path, name)
    return cached([path], name, lambda: d4rl.load(path, name))
