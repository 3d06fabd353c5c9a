"""Tasks as nbgrader assignments: its rules hold, right answers earn the point, others do not."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from course.test_planted import PLANTED

from diffteach.cli import main
from diffteach.course import export, task, tasks
from diffteach.course.solutions import SOLUTIONS

PATHS = export.lessons()
LESSONS = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@lru_cache
def cells(path: Path) -> dict[str, str]:
    return {cell["id"]: cell["source"] for cell in export.assignment(path)["cells"]}


def name_of(id: str, part: str) -> str:
    return f"{part}-{id.replace('.', '-')}"


def released(source: str) -> str:
    """What a student is given: nbgrader's stub where an answer was, at the indent of its mark."""
    region = r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION$"
    stub = r"\1# YOUR CODE HERE\n\1raise NotImplementedError()"
    return re.sub(region, stub, source, flags=re.DOTALL | re.MULTILINE)


def prepared(path) -> dict[str, Any]:
    """A namespace after the assignment's first cells, with a stand-in for the picture."""
    given: dict[str, Any] = {"explorable": SimpleNamespace(try_=lambda function: None)}
    given["explorable"].set = lambda **controls: given["explorable"]
    exec(cells(path)["imports"], given)
    return given


@LESSONS
def test_nbgraders_rules_for_cells_hold(path) -> None:
    """Those of its schema 3 and its validator, and of notebooks."""
    found = export.assignment(path)
    nbformat.validate(nbformat.from_dict(found))
    graded = [c for c in found["cells"] if "nbgrader" in c["metadata"]]
    ids = [c["metadata"]["nbgrader"]["grade_id"] for c in graded]
    assert len(set(ids)) == len(ids)
    for cell, name in zip(graded, ids, strict=True):
        known = dict(cell["metadata"]["nbgrader"])
        assert re.fullmatch(r"[a-zA-Z0-9_\-]+", name) and name == known.pop("grade_id")
        assert known.pop("schema_version") == 3
        assert ("points" in known) == known["grade"]
        assert known.pop("points", 1) > 0
        assert set(known) == {"grade", "solution", "locked", "task"}
        assert {type(value) for value in known.values()} == {bool}
        assert not known["task"] and sum(known.values()) in (1, 2)
        assert not (known["solution"] and (known["grade"] or known["locked"]))
        assert known["grade"] <= (cell["cell_type"] == "code" and known["locked"])
        marks = [cell["source"].count(mark) for mark in (export.BEGIN, export.END)]
        assert marks == [int(known["solution"])] * 2


def test_every_task_is_exported_once() -> None:
    names = Counter(name for path in PATHS for name in cells(path))
    for part in ("task", "answer", "test"):
        asked = [name for name in names if name.startswith(f"{part}-")]
        assert sorted(asked) == sorted(name_of(found.id, part) for found in tasks())
        assert all(names[name] == 1 for name in asked)


@LESSONS
def test_reference_answers_pass_in_their_cells(path) -> None:
    given = prepared(path)
    for name, source in cells(path).items():
        if name.startswith(("answer", "test")):
            exec(compile(source, name, "exec"), given)


@LESSONS
def test_what_students_are_given_says_no_answer_and_fails(path) -> None:
    source = cells(path)
    for found in tasks(path.name[:2]):
        given, answer = prepared(path), released(source[name_of(found.id, "answer")])
        solution = export.reference(found)
        assert "SOLUTION" not in answer and solution not in answer
        assert answer.startswith(found.starter.splitlines()[0])
        if callable(SOLUTIONS[found.id]):
            exec(answer, given)
        else:
            with pytest.raises(NotImplementedError):
                exec(answer, given)
        with pytest.raises(AssertionError):
            exec(source[name_of(found.id, "test")], given)


def rejected(id: str, answer: object) -> bool:
    (path,) = (path for path in PATHS if path.name.startswith(id[:2]))
    given = {export._named(task(id)): answer}
    try:
        exec(cells(path)[name_of(id, "test")], given)
    except AssertionError as error:
        return bool(str(error))
    return False


def test_planted_wrong_answers_get_no_point() -> None:
    assert {id for id, _, _ in PLANTED} == {found.id for found in tasks()}
    assert [id for id, answer, _ in PLANTED if not rejected(id, answer)] == []


def test_a_right_answer_may_warn(capsys) -> None:
    def noisy(sigma):
        print("a warning", file=sys.stderr)
        return SOLUTIONS["06.3"](sigma)

    assert not rejected("06.3", noisy)
    assert capsys.readouterr().err == ""


def test_arguments_have_the_starters_names() -> None:
    body = export.reference(task("05.3"), ("process", "t"))
    assert body.splitlines() == [
        "schedule = process",
        "return 3 * (schedule.alpha(t) / schedule.sigma(t)) ** 2",
    ]


def test_the_command_writes_nbgraders_folders_and_overwrites_nothing(tmp_path, capsys) -> None:
    folder = tmp_path / "new" / "course"
    assert main(["exercises", str(folder)]) == 0
    files = [folder / "source" / path.stem / path.name for path in PATHS]
    assert capsys.readouterr().out.split() == [str(file) for file in files]
    assert [json.loads(file.read_text()) for file in files] == list(map(export.assignment, PATHS))
    files[0].unlink()
    files[1].write_text("edited")
    assert main(["exercises", str(folder)]) == 1
    said = capsys.readouterr().err
    assert str(files[1]) in said and "already there" in said
    assert files[1].read_text() == "edited" and not files[0].exists()
