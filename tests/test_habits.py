"""What reviewers should not have to look for: stray outputs, one machine's paths, hidden needs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The brackets keep these patterns from finding themselves.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:work|root)/|(?<![\w.])/(?:home|Users)/[\w.-]+/|[\\/.]py[e]nv\b|\b[A-Z]:\\Users\\"
)
REGISTRY_HOST = re.compile(
    r"py[p]i\.org|python[h]osted\.org|download\.py[t]orch\.org|ana[c]onda\.(?:org|com)"
    r"|registry\.n[p]mjs\.org|registry\.yarn[p]kg\.com"
)

# Import names that are not the distribution's name.
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}
TOOLS = {"docs", "dev"}  # extras that no user of the library installs


def committed() -> list[Path]:
    """Tracked files and those that are about to be."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def notebook_faults(text: str) -> list[str]:
    notebook = json.loads(text)
    kernel = notebook["metadata"].get("kernelspec", {}).get("name")
    faults = [] if kernel == "python3" else [f"names the kernel {kernel} instead of python3"]
    for number, cell in enumerate(notebook["cells"]):
        if cell.get("outputs"):
            faults.append(f"cell {number} has outputs")
        if cell.get("execution_count") is not None:
            faults.append(f"cell {number} has an execution count")
    return faults


def text_faults(text: str, prose: bool) -> list[str]:
    """Prose may tell a reader where to find a package; files that machines read may not."""
    patterns = [MACHINE_PATH] if prose else [MACHINE_PATH, REGISTRY_HOST]
    return [match.group() for pattern in patterns for match in pattern.finditer(text)]


def third_party(tree: ast.AST, whole: bool) -> Iterator[str]:
    """Imported distributions; without `whole`, only those needed to import the module."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            names = []
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if whole or not inside:
                pending.extend(ast.iter_child_nodes(node))
        for name in names:
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in ("diffteach", "__future__"):
                yield normal(DISTRIBUTIONS.get(top, top))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(without: set[str] | None = None) -> set[str]:
    """Dependencies and those of all extras but some; the dependencies alone by default."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {} if without is None else project["optional-dependencies"]
    chosen = [needs for extra, needs in extras.items() if extra not in without]
    needs = [*project["dependencies"], *(need for needs in chosen for need in needs)]
    return {normal(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for need in needs}


def import_faults(source: str) -> list[str]:
    """A module of the library must import without the tools, and use nothing undeclared."""
    tree = ast.parse(source)
    everything = declared(without=set())
    undeclared = set(third_party(tree, whole=True)) - everything
    misplaced = set(third_party(tree, whole=False)) & (everything - declared(without=TOOLS))
    return sorted(
        [f"{name} is not declared" for name in undeclared]
        + [f"{name} is a tool" for name in misplaced]
    )


def test_notebooks_are_committed_without_outputs() -> None:
    notebooks = [path for path in committed() if path.suffix == ".ipynb"]
    faults = {path.name: notebook_faults(path.read_text(encoding="utf-8")) for path in notebooks}
    assert {name: found for name, found in faults.items() if found} == {}


def test_no_file_names_a_machine_or_a_registry() -> None:
    faults = {}
    for path in committed():
        # Paths hide in binary files too, as bytes.
        text = path.read_bytes().decode("utf-8", errors="ignore")
        if found := text_faults(text, prose=path.suffix == ".md"):
            faults[str(path.relative_to(ROOT))] = found
    assert faults == {}


def test_what_the_library_imports_is_declared() -> None:
    modules = sorted((ROOT / "diffteach").rglob("*.py"))
    faults = {
        str(path.relative_to(ROOT)): import_faults(path.read_text(encoding="utf-8"))
        for path in modules
    }
    assert {name: found for name, found in faults.items() if found} == {}


def unused(needs: set[str], sources: Iterable[str]) -> set[str]:
    """Declared dependencies that no module imports."""
    return needs - {name for source in sources for name in third_party(ast.parse(source), True)}


def test_what_every_user_installs_is_imported() -> None:
    modules = (ROOT / "diffteach").rglob("*.py")
    assert unused(declared(), (path.read_text(encoding="utf-8") for path in modules)) == set()


def test_unused_dependencies_are_found() -> None:
    sources = ["import torch.nn", "def f():\n    from sklearn import cluster", "from . import tqdm"]
    assert unused({"torch", "scikit-learn", "tqdm"}, sources) == {"tqdm"}


def test_the_constraints_pin_all_that_is_declared() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", pin)] == []
    assert declared(without=set()) - {pin.split("==")[0] for pin in pins} == set()


CELL = {"cell_type": "code", "metadata": {}, "source": "1 + 1"}


def notebook(kernel: str = "python3", **cell: object) -> str:
    cells = [{**CELL, "outputs": [], "execution_count": None, **cell}, {"cell_type": "markdown"}]
    return json.dumps({"metadata": {"kernelspec": {"name": kernel}}, "cells": cells})


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (notebook(), []),
        (notebook(outputs=[{"output_type": "stream"}]), ["cell 0 has outputs"]),
        (notebook(execution_count=3), ["cell 0 has an execution count"]),
        (notebook(kernel="my-venv"), ["names the kernel my-venv instead of python3"]),
        ('{"metadata": {}, "cells": []}', ["names the kernel None instead of python3"]),
    ],
)
def test_notebook_faults_are_found(text: str, faults: list[str]) -> None:
    assert notebook_faults(text) == faults


@pytest.mark.parametrize("user", ["work", "root", "home/ann", "Users/ann"])
def test_paths_of_a_machine_are_found(user: str) -> None:
    assert text_faults(f'open("/{user}/data.npz")', prose=True) == [f"/{user}/"]
    assert text_faults(f"see ./{user}/ or paper{user}/x", prose=False) == []


@pytest.mark.parametrize("host", ["py" + "pi.org", "download.py" + "torch.org"])
def test_registry_hosts_are_found_outside_prose(host: str) -> None:
    assert text_faults(f"--index-url https://{host}/simple", prose=False) == [host]
    assert text_faults(f"--index-url https://{host}/simple", prose=True) == []


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ("import json, torch.nn\nfrom safetensors.torch import save_file\nfrom . import x", []),
        ("def f():\n    import pandas", []),
        ("import sklearn", ["scikit-learn is a tool"]),
        ("def f():\n    import einops", ["einops is not declared"]),
        ("try:\n    import pandas\nexcept ImportError: ...", ["pandas is a tool"]),
        ("from stable_baselines3 import PPO\nimport PIL.Image", []),
    ],
)
def test_undeclared_imports_are_found(source: str, faults: list[str]) -> None:
    assert import_faults(source) == faults


def test_bad_input_beside_other_tests_is_refused() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "tests/bad_input/test_core.py", "tests/core"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert run.stderr.startswith("ERROR: tests/bad_input needs a run of its own")
