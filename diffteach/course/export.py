"""The tasks of the lessons as nbgrader assignments: the source notebooks, with answers inside."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffteach.course import solutions, tasks
from diffteach.course.tasks import Task
from diffteach.files import write_bytes

Cell = dict[str, Any]

POINTS = 1
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
# nbgrader gives no points to a test that writes to standard error, be it a mere warning.
TEST = """# Graded by nbgrader.
import contextlib
import io

from diffteach.course import check

with contextlib.redirect_stderr(io.StringIO()):
    result = check("{id}", {answer})
assert result, result.hint
"""


def directory() -> Path:
    """Where the lessons' notebooks are, in a wheel or in a checkout; FileNotFoundError if not."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_notebooks", package.parent / "notebooks"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no notebooks beside {package.name}: neither _notebooks nor notebooks")


def lessons() -> tuple[Path, ...]:
    """The notebooks of the lessons that have tasks, in order."""
    found = {name.id.partition(".")[0] for name in tasks()}
    return tuple(path for path in sorted(directory().glob("*.ipynb")) if path.name[:2] in found)


def _named(found: Task) -> str:
    """What the starter of a task wants to be filled in: a variable or a function."""
    return re.sub(r"^(?:def )?(\w+).*", r"\1", found.starter, flags=re.DOTALL)


def reference(found: Task, given: Sequence[str] = ()) -> str:
    """The body of a task's reference answer; `given` are its arguments as the starter calls them.

    For a number it ends in an assignment to the starter's variable.
    """
    functions = inspect.getmembers(solutions, inspect.isfunction)
    (answer,) = (f for _, f in functions if (f.__doc__ or "").startswith(f"{found.id}:"))
    lines = inspect.getsource(answer).splitlines()
    (function,) = ast.parse("\n".join(lines)).body
    assert isinstance(function, ast.FunctionDef)
    _, *body = function.body
    if not callable(solutions.SOLUTIONS[found.id]):
        last = body[-1].lineno - 1
        lines[last] = lines[last].replace("return", f"{_named(found)} =", 1)
    own = inspect.signature(answer).parameters
    renamed = [f"{mine} = {name}" for mine, name in zip(own, given, strict=False) if mine != name]
    return "\n".join([*renamed, textwrap.dedent("\n".join(lines[body[0].lineno - 1 :]))])


def solved(found: Task, source: str) -> str:
    """The lesson's answer cell of a task, its dots replaced by the reference between marks.

    A variable's own `name = ...` stays above: students keep it when nbgrader takes the answer out.
    """
    first, lines = ast.parse(source).body[0], source.splitlines()
    given: list[str] = []
    above = dots = first.lineno
    indent = ""
    if isinstance(first, ast.FunctionDef):
        given = [argument.arg for argument in first.args.args]
        dots, indent = first.body[-1].lineno, " " * first.body[-1].col_offset
        above = dots - 1
    region = textwrap.indent("\n".join([BEGIN, reference(found, given), END]), indent)
    return "\n".join([*lines[:above], region, *lines[dots:]])


def _cell(kind: str, name: str, source: str, **grading: Any) -> Cell:
    """A cell of nbformat 4.5; with `grading`, one that nbgrader knows by its name."""
    known = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    metadata = {"nbgrader": known | {"grade_id": name} | grading} if grading else {}
    cell = {"cell_type": kind, "id": name, "metadata": metadata, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _imports(sources: list[str]) -> str:
    """Every import of the lesson, once: whatever its answers need is among them."""
    found = [
        ast.unparse(node)
        for source in sources
        for node in ast.parse(source).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    return "\n".join(dict.fromkeys(found))


def _asked(found: Task, source: str) -> list[Cell]:
    """Text, answer and test of a task, whose cell in the lesson has this source."""
    name = found.id.replace(".", "-")
    test = TEST.format(id=found.id, answer=_named(found)).rstrip()
    return [
        _cell("markdown", f"task-{name}", found._repr_markdown_(), locked=True),
        _cell("code", f"answer-{name}", solved(found, source), solution=True),
        _cell("code", f"test-{name}", test, grade=True, locked=True, points=POINTS),
    ]


def assignment(path: Path) -> dict[str, Any]:
    """The nbgrader source of a lesson's tasks: its imports, its picture, its tasks.

    The picture is there for what the tasks put into it; the rest of the lesson stays in the lesson.
    """
    lesson = json.loads(path.read_text(encoding="utf-8"))
    source = {cell["id"]: "".join(cell["source"]) for cell in lesson["cells"]}
    code = [source[cell["id"]] for cell in lesson["cells"] if cell["cell_type"] == "code"]
    title = source["title"].partition("\n")[0]
    cells = [
        _cell("markdown", "title", title + "\n\n" + source["tasks"]),
        _cell("code", "imports", _imports(code), locked=True),
        _cell("code", "picture", source["picture"], locked=True),
    ]
    for found in tasks(path.name[:2]):
        (answer,) = (text for text in code if f'check("{found.id}", ' in text)
        cells += _asked(found, answer)
    return {key: lesson[key] for key in ("metadata", "nbformat", "nbformat_minor")} | {
        "cells": cells
    }


def write(folder: Path) -> list[Path]:
    """Write every lesson's assignment to FOLDER/source/LESSON/LESSON.ipynb, nbgrader's layout.

    FileExistsError before anything is written if one of them is there: it may have been edited.
    """
    files = {path: folder / "source" / path.stem / path.name for path in lessons()}
    for file in files.values():
        if file.exists():
            raise FileExistsError(f"{file} is already there: move it away, or choose a new folder")
    for path, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(assignment(path), indent=1, ensure_ascii=False) + "\n"
        write_bytes(text.encode(), file)
    return list(files.values())
