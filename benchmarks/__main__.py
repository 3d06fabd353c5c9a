"""`make bench`: what the README claims, measured; a table, and the same as JSON beside it."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import library, panels, samplers, screen

Row = tuple[str, float, str, str]
PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "import": library.import_time,
    "frame": library.first_frame,
    "field": library.trust_region_field,
    "training": library.training,
    "samplers": samplers.short_race,
    "panels": panels.panels,
    "page": screen.pages,
    "lab": screen.jupyterlab,
}
LONG: dict[str, Callable[[], Iterator[Row]]] = {
    "samplers-long": samplers.toys,
    "lab-long": partial(screen.jupyterlab, screen.LESSONS),
    "notebooks": library.notebooks,
}
"""measured only when they are named"""


def met(value: float, goal: str) -> str:
    """ "yes", "no", or nothing where there is no goal."""
    if not goal:
        return ""
    sign, limit = goal.split()
    return "yes" if (value <= float(limit) if sign == "<=" else value >= float(limit)) else "no"


def main() -> None:
    """Measure the parts that are named, or all but the long ones."""
    known = PARTS | LONG
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(known)}")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    args = parser.parse_args()
    if unknown := set(args.parts) - set(known):
        parser.error(f"PART must be of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    rows = []
    print(f"{'what':72} {'figure':>10} {'unit':10} {'goal':8} met")
    for part in args.parts or PARTS:
        for name, value, unit, goal in known[part]():
            print(f"{name:72} {value:10.3g} {unit:10} {goal:8} {met(value, goal)}", flush=True)
            rows.append({"part": part, "what": name, "value": value, "unit": unit, "goal": goal})
    args.json.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    args.json.write_text(json.dumps({**machine, "rows": rows}, indent=1), encoding="utf-8")
    print(f"written to {args.json}")


if __name__ == "__main__":
    main()
