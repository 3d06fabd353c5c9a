"""Every lesson runs from top to bottom, unanswered, in a fresh kernel; twice with equal results."""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
SECONDS = 120  # for each cell; `benchmarks/library.py` times whole notebooks

# Appended: the arrays and numbers whose values the lesson asserts, each as a hash of its bytes.
DIGEST = """
given = dict(globals())
import hashlib, json
import numpy as np
print(json.dumps({
    name: hashlib.sha256(np.asarray(value, dtype=float).tobytes()).hexdigest()
    for name, value in RESULTS.items()
}))
"""
# Appended: a student who predicts and answers. Running the cells has revealed nothing.
STUDENT = """
import inspect
from diffteach.course import check, solutions
from diffteach.course.solutions import SOLUTIONS
assert explorable["revealed"] == 0, "the answer is shown before anybody guessed"
assert explorable.score is None
assert explorable.predict(0.5, 0.5) == explorable.score >= 0 and explorable.error == ""

# Reference solutions, typed into the lesson: what they need is imported there.
for name, function in inspect.getmembers(solutions, inspect.isfunction):
    id = (function.__doc__ or "")[:4]
    if function.__module__ == solutions.__name__ and id.startswith("{lesson}."):
        typed = "from __future__ import annotations\\n" + inspect.getsource(function)
        exec(typed, given)
        number = not callable(SOLUTIONS[id])
        result = check(id, given[name]() if number else given[name])
        assert result.passed, f"{id}: {result.hint}"

mine = SOLUTIONS.get("{lesson}.2")
if mine is not None:
    alone = len(explorable.scene.layers)
    explorable.try_(mine)
    assert explorable.error == "", explorable.error
    assert len(explorable.scene.layers) > alone
"""


def run(name: str) -> dict[str, str]:
    """Executes a lesson and a student's cells after it; returns the hashes of its results."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    appended = (("digest", DIGEST), ("student", STUDENT.replace("{lesson}", name[:2])))
    for cell_id, source in appended:
        notebook.cells.append(nbformat.v4.new_code_cell(source, id=cell_id))
    with tempfile.TemporaryDirectory() as folder:
        # Sockets in a folder of ours: over TCP the kernel warns that nothing is encrypted.
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(NOTEBOOKS)}},
            config=Config(KernelManager={"transport": "ipc", "ip": str(Path(folder) / "kernel")}),
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            pytest.fail(f"{name}, cell {last(notebook)}: {error}", pytrace=False)
    noise = [
        f"cell {cell.id}: {output.text}"
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.get("name") == "stderr"
    ]
    assert noise == [], "a lesson warns"
    return json.loads(notebook.cells[-2].outputs[0].text)


def last(notebook: nbformat.NotebookNode) -> str:
    """The cell that was run last: the one that failed."""
    started = [c.id for c in notebook.cells if "iopub.execute_input" in str(c.metadata)]
    return started[-1] if started else "(none)"


@lru_cache
def first(name: str) -> dict[str, str]:
    return run(name)


@pytest.mark.notebook
@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_runs(name: str) -> None:
    assert first(name)


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_gives_the_same_numbers_again(name: str) -> None:
    assert run(name) == first(name)
