"""What a lesson looks like on paper: its cells, its tasks, and the claims that point at them."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest

from diffteach.course import tasks

ROOT = Path(__file__).resolve().parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CLAIMS = ROOT / "docs" / "claims.md"
CELL = re.compile(r"`(\d\d_\w+)` · `([a-z0-9-]+)`")
VERDICTS = ("holds", "holds if", "fails")
LESSONS = sorted({task.id[:2] for task in tasks()})


def cells(path: Path) -> dict[str, dict[str, str]]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {cell["id"]: cell | {"source": "".join(cell["source"])} for cell in found}


def path_of(lesson: str) -> Path:
    (path,) = (path for path in PATHS if path.name.startswith(lesson))
    return path


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_cells_are_few_and_named(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    names = [cell.id for cell in notebook.cells]
    assert len(set(names)) == len(names) <= 25
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9-]{1,19}", name)] == []
    assert names[0] == "title" and names[-1] == "results"
    assert re.match(r"# For the course's own tests.*\nRESULTS = {", notebook.cells[-1].source)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_only_cells_that_verify_are_folded_and_no_open_one_is_long(path: Path) -> None:
    explained = False
    for name, cell in cells(path).items():
        explained = explained or "olded cells" in cell["source"]
        folded = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        assert ("hide-input" in cell["metadata"].get("tags", ())) == folded
        if folded:
            assert explained, "nothing says what a folded cell is"
            # JupyterLab shows the first line of a folded cell.
            assert cell["source"].startswith("# ") and re.search("assert|RESULTS", cell["source"])
        elif cell["cell_type"] == "code":
            assert len(cell["source"].splitlines()) <= 15, f"{name} is long: fold or shorten it"
    assert folded, "the last cell is for the tests"


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_has_its_tasks_unanswered_and_checked(lesson: str) -> None:
    sources = [cell["source"] for cell in cells(path_of(lesson)).values()]
    for task in tasks(lesson):
        assert f'task("{task.id}")' in sources or any(
            source.endswith(f'task("{task.id}")') for source in sources
        )
        (answer,) = (source for source in sources if f'check("{task.id}", ' in source)
        assert answer.startswith(task.starter.splitlines()[0]) and "..." in answer


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_predicts_before_it_slides_and_ends_in_three_sentences(lesson: str) -> None:
    found = cells(path_of(lesson))
    order = list(found)
    parts = ["predict", "picture", "score", "slide", "derive", "source", "tasks", "recap"]
    assert [order.index(part) for part in parts] == sorted(order.index(part) for part in parts)
    assert "guess=True" in found["picture"]["source"]
    recap = found["recap"]["source"].removeprefix("## Recap").strip()
    assert len(re.findall(r"\.(?=\s|$)", recap)) == 3


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_other_cell_overwrites_a_students_answer(lesson: str) -> None:
    given: dict[str, str] = {}
    for name, cell in cells(path_of(lesson)).items():
        if cell["cell_type"] != "code":
            continue
        body = ast.parse(cell["source"]).body
        stored = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        for statement in body:
            if not isinstance(statement, ast.FunctionDef):
                nodes = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
                stored |= {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
        for variable in stored - {"result"}:
            assert not (variable in given and "answer" in name + given[variable]), variable
            given[variable] = name


def rows() -> list[list[str]]:
    lines = CLAIMS.read_text(encoding="utf-8").splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return table[1:]


def test_claims_stand_in_the_order_of_the_lessons() -> None:
    lessons = [CELL.findall(where)[0][0] for _, _, where, _ in rows()]
    assert lessons == sorted(lessons)


def test_claims_point_at_cells_that_exist() -> None:
    assert len(rows()) >= 15
    for claim, source, where, verdict in rows():
        assert claim and source
        named = CELL.findall(where)
        assert named, f"no cell is named for {claim!r}"
        for notebook, cell in named:
            found = cells(ROOT / "notebooks" / f"{notebook}.ipynb")
            assert found[cell]["cell_type"] == "code", f"{cell} of {notebook} runs nothing"
            assert "assert" in found[cell]["source"], f"{cell} of {notebook} asserts nothing"
        word = verdict.removeprefix("**").partition("**")[0]
        assert word in VERDICTS and re.search(r"\d", verdict), f"{claim!r}: {verdict!r}"
