"""DESIGN in force: who may import whom, where each dependency lives, and what a class may be."""

from __future__ import annotations

import ast
import builtins
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "diffteach"

# A module belongs to the longest name here that it starts with, and imports from lower floors or
# from its own entry. The package itself is the roof: it may import all and nothing imports it.
FLOORS = {
    "types": 0,
    "files": 0,
    "checks": 0,
    "seeds": 0,
    "schedule": 1,
    "nets": 2,
    "toys": 2,
    "data": 2,
    "train": 2,
    "checkpoint": 2,
    "bank": 3,
    "objectives": 3,
    "tables": 3,
    "sampling": 3,
    "envs": 3,
    "behaviour": 4,
    "critics": 4,
    "methods": 5,
    "boltzmann": 5,
    "plane": 6,
    "explore": 6,
    "explore.lessons": 7,
    "runs": 7,
    "course": 8,  # its checks may look for what the lessons' pictures show
    "sweep": 8,
    "report": 8,
    "cli": 9,
    "__main__": 10,
    "": 11,
}
HOMES = {
    "matplotlib": ("explore.agg", "report"),
    "ipywidgets": ("explore.canvas",),
    "anywidget": ("explore.canvas",),
    "gymnasium": ("envs", "data"),
    "gymnasium_robotics": ("envs", "data"),
    "minari": ("data",),
    "h5py": ("data",),
    "ray": ("sweep",),
    "stable_baselines3": ("runs",),
}
LAZY = ("matplotlib", "ipywidgets", "anywidget", "gymnasium", "minari", "ray")
STRANGERS = ("methods",)  # the modules of these packages never import each other
BASES = {
    *("Module", "Function", "Env", "AnyWidget"),  # Function: torch.autograd
    *("Protocol", "NamedTuple", "TypedDict", "Enum", "IntEnum", "StrEnum"),
    *(n for n, o in vars(builtins).items() if isinstance(o, type) and issubclass(o, Exception)),
}

Sources = dict[str, str]  # module name below diffteach ("" is the package itself) -> source text


def read_sources(package: Path) -> Sources:
    names = {path: path.relative_to(package).with_suffix("") for path in package.rglob("*.py")}
    return {
        ".".join(p for p in name.parts if p != "__init__"): path.read_text(encoding="utf-8")
        for path, name in sorted(names.items())
    }


def packages(sources: Sources) -> set[str]:
    return {name.rpartition(".")[0] for name in sources if name}


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def entry(name: str) -> str | None:
    """The row of FLOORS that a module belongs to."""
    if name == "":
        return ""
    return max((row for row in FLOORS if row and within(name, row)), key=len, default=None)


def imports(name: str, sources: Sources) -> set[str]:
    """Absolute names of all imported modules, those inside functions too."""
    known = {"diffteach": "", **{f"diffteach.{module}": module for module in sources if module}}
    here = ["diffteach", *name.split(".")] if name else ["diffteach"]
    found: set[str] = set()
    for node in ast.walk(ast.parse(sources[name])):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - (name in packages(sources)) if node.level else 0
            anchor = ".".join(here[: len(here) - up]) if node.level else ""
            base = ".".join(part for part in (anchor, node.module) if part)
            # `from package import module` names a module, `from module import name` does not.
            below = (f"{base}.{alias.name}" for alias in node.names)
            found.update(full if full in known else base for full in below)
    return found


def own_imports(name: str, sources: Sources) -> set[str]:
    ours = (module for module in imports(name, sources) if within(module, "diffteach"))
    return {module.removeprefix("diffteach").removeprefix(".") for module in ours}


def floor_faults(sources: Sources) -> list[str]:
    faults = []
    for name in sources:
        row = entry(name)
        if row is None:
            faults.append(f"{name} has no floor")
            continue
        for other in sorted(own_imports(name, sources)):
            target = entry(other)
            if target is None or (target != row and FLOORS[target] >= FLOORS[row]):
                faults.append(f"{name or 'diffteach'} imports {other or 'diffteach'}")
    return faults


def cycle_faults(sources: Sources) -> list[str]:
    graph = {name: own_imports(name, sources) & set(sources) for name in sources}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(name or "diffteach" for name in error.args[1])]
    return []


def stranger_faults(sources: Sources) -> list[str]:
    return [
        f"{name} imports {other}"
        for package in STRANGERS
        for name in sources
        if name.startswith(package + ".")
        for other in sorted(own_imports(name, sources))
        if within(other, package)
    ]


def home_faults(sources: Sources) -> list[str]:
    return [
        f"{name or 'diffteach'} imports {module}"
        for name in sources
        for module in sorted({full.split(".")[0] for full in imports(name, sources)} & set(HOMES))
        if not any(within(name, home) for home in HOMES[module])
    ]


def dotted(node: ast.expr) -> str:
    """The last name of `a.b.C`, `C[...]` or `C(...)`."""
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def class_faults(sources: Sources) -> list[str]:
    """Classes are leaves, and an isinstance check of a protocol works at run time."""
    classes = [
        (name, node)
        for name, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    ]
    ours = {node.name for _, node in classes}
    faults = []
    for name, node in classes:
        bases = [dotted(base) for base in node.bases]
        faults += [
            f"{name}.{node.name} derives from {base}"
            for base in bases
            if base in ours or base not in BASES
        ]
        runtime = "runtime_checkable" in {dotted(mark) for mark in node.decorator_list}
        if "Protocol" in bases and not runtime:
            faults.append(f"{name}.{node.name} is a protocol without runtime_checkable")
    return faults


CHECKS = [floor_faults, cycle_faults, stranger_faults, home_faults, class_faults]


@pytest.mark.parametrize("check", CHECKS)
def test_the_library_keeps_to_the_plan(check) -> None:
    assert check(read_sources(PACKAGE)) == []


PLANTED = [
    (floor_faults, {"schedule": "import diffteach.objectives"}, "schedule imports objectives"),
    (floor_faults, {"types": "from . import nets", "nets": ""}, "types imports nets"),
    (floor_faults, {"toys.a": "from ..train import fit", "train": ""}, "toys.a imports train"),
    (floor_faults, {"train": "def f():\n    from diffteach import nets"}, "train imports "),
    (floor_faults, {"cli": "from diffteach import __version__"}, "cli imports diffteach"),
    (floor_faults, {"explore.page": "from diffteach.explore.lessons import a"}, "explore.page "),
    (floor_faults, {"helpers": ""}, "helpers has no floor"),
    (cycle_faults, {"toys.a": "from . import b", "toys.b": "from .a import f"}, "toys.b"),
    (cycle_faults, {"toys": "from .a import f", "toys.a": "from diffteach.toys import g"}, "toys"),
    (stranger_faults, {"methods.srpo": "from .dtql import DTQL", "methods.dtql": ""}, "srpo"),
    (stranger_faults, {"methods.srpo": "from diffteach.methods import DTQL"}, "methods.srpo"),
    (home_faults, {"nets": "def f():\n    import matplotlib.pyplot as plt"}, "nets imports mat"),
    (home_faults, {"explore.page": "from ipywidgets import Box"}, "explore.page imports ipyw"),
    (home_faults, {"envs": "import h5py"}, "envs imports h5py"),
    (home_faults, {"reporter": "import matplotlib"}, "reporter imports matplotlib"),
    (class_faults, {"nets": "class A(nn.Module): ...\nclass B(A): ..."}, "nets.B derives from A"),
    (class_faults, {"a": "class Base: ...", "b": "class C(a.Base): ..."}, "b.C derives from Base"),
    (class_faults, {"envs": "class E(gym.Wrapper): ..."}, "envs.E derives from Wrapper"),
    (class_faults, {"types": "class P(Protocol[T]): ..."}, "types.P is a protocol without"),
]


@pytest.mark.parametrize(("check", "planted", "fault"), PLANTED)
def test_each_check_finds_what_it_looks_for(check, planted, fault, tmp_path: Path) -> None:
    for name, source in planted.items():
        inside = any(other.startswith(name + ".") for other in planted)
        path = tmp_path.joinpath(*name.split("."))
        path = path / "__init__.py" if inside else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    faults = check(read_sources(tmp_path))
    assert len(faults) == 1
    assert fault in faults[0]


ALLOWED = {
    "": "from diffteach import objectives, schedule\nfrom .schedule import VP",
    "types": "@runtime_checkable\nclass P(Protocol): ...\nclass Batch(NamedTuple): ...",
    "schedule": "from .types import P\nclass OutOfRange(ValueError): ...",
    "toys": "from .a import f\nfrom . import b",
    "toys.a": "from diffteach import schedule\nfrom .b import g\nfrom diffteach.toys.b import g",
    "toys.b": "import numpy as np",
    "objectives": "from diffteach.schedule import VP",
    "methods": "from diffteach.methods.srpo import SRPO",
    "methods.srpo": "from diffteach.objectives import loss\nclass Actor(torch.nn.Module): ...",
    "data.d4rl": "import h5py, minari\nimport gymnasium as gym",
    "explore.canvas": "import anywidget\nclass Canvas(anywidget.AnyWidget): ...",
    "explore.lessons.trust_region": "from diffteach.explore import canvas\nfrom .. import canvas",
}


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_cries_wolf(check) -> None:
    assert check(ALLOWED) == []


def test_importing_the_package_pulls_in_nothing_heavy() -> None:
    code = "import sys, diffteach; print(*{name.split('.')[0] for name in sys.modules})"
    run = [sys.executable, "-c", code]
    loaded = subprocess.run(run, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "torch" in loaded.stdout.split()
    assert set(LAZY).isdisjoint(loaded.stdout.split())


@pytest.mark.parametrize(("first", "spins"), [("diffteach", "2000"), ("torch", "None")])
def test_threads_sleep_soon_where_that_can_still_be_said(first, spins) -> None:
    code = f"import os, {first}, diffteach; print(os.environ.get('GOMP_SPINCOUNT'))"
    env = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=env, cwd=ROOT)
    assert done.stdout.strip() == spins
