"""Tables of runs: what each method reached, and under which protocol."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from diffteach.runs.folder import Folder


class Result(NamedTuple):
    """What one run's evaluations say."""

    data: str
    method: str
    preset: str
    changes: str
    """fields that differ from the preset's, as text"""
    seed: int
    steps: int
    """gradient steps of all stages at the newest evaluation"""
    unit: str
    """percent of the reference scores, or return"""
    episodes: int
    """episodes of each evaluation"""
    last: float
    """mean of the newest evaluation"""
    best: float
    """mean of the best evaluation: chosen by looking, so never better than it seems"""


def find(paths: Iterable[str | Path]) -> list[Folder]:
    """Folders of runs at or below the given ones; ValueError if there are none."""
    places = [Path(path) for path in paths]
    found = sorted({file.parent for place in places for file in place.rglob("run.json")})
    if not found:
        raise ValueError(f"no run was found in {', '.join(map(str, places)) or 'nothing'}")
    return [Folder(path) for path in found]


def curve(folder: Folder) -> tuple[list[int], list[list[float]], str]:
    """Steps, values of every evaluation's episodes there, and their unit."""
    rows = folder.read("evaluations")
    scored = bool(rows) and all(row["score"] for row in rows)
    values: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        values[int(row["total"])].append(float(row["score" if scored else "return"]))
    return sorted(values), [values[step] for step in sorted(values)], "%" if scored else "return"


def result(folder: Folder) -> Result | None:
    """One run's result; None if it has not been evaluated yet."""
    about, (steps, values, unit) = folder.about(), curve(folder)
    if not steps:
        return None
    setup, means = about["setup"], [statistics.fmean(each) for each in values]
    changes = ", ".join(f"{name}={value}" for name, value in setup["changes"].items())
    return Result(
        *(setup["data"], setup["method"], setup["preset"], changes, setup["seed"]),
        *(steps[-1], unit, len(values[-1]), means[-1], max(means)),
    )


def _spread(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {statistics.stdev(values) / len(values) ** 0.5:.1f}"


HEADER = (
    *("data", "method", "preset", "changed", "steps", "seeds", "episodes"),
    *("last", "best seen", "unit"),
)


def table(results: Iterable[Result]) -> str:
    """A Markdown table, one row for the seeds of one setup: mean ± standard error over seeds.

    Runs of different lengths or numbers of episodes are different rows: they are never averaged.
    """
    groups: dict[tuple[object, ...], list[Result]] = defaultdict(list)
    for each in results:
        key = each.data, each.method, each.preset, each.changes, each.steps, each.episodes
        groups[(*key, each.unit)].append(each)
    lines = [HEADER, ("---",) * len(HEADER)]
    for (data, method, preset, changes, steps, episodes, unit), group in sorted(groups.items()):
        last, best = ([getattr(r, name) for r in group] for name in ("last", "best"))
        cells = (data, method, preset, changes, f"{steps:,}", len(group), episodes)
        lines.append((*map(str, cells), _spread(last), _spread(best), str(unit)))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
