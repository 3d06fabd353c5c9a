"""The notebooks in JupyterLab, as a student has them: run from top to bottom, then played with."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from benchmarks.lab import lab, open_notebook

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
DONE = """window.jupyterapp.shell.currentWidget.content.widgets.every(function (cell) {
  return cell.model.type !== 'code' || cell.model.executionCount !== null; })"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    for path in NOTEBOOKS:
        shutil.copy(path, folder)
    with lab(folder) as address:
        yield address


def run_all(page) -> None:
    """Run every cell and wait for the last."""
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(DONE, timeout=180_000)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_lesson_runs_and_its_sliders_answer(path, address, chromium) -> None:
    # Tall, because JupyterLab renders only the cells near the window.
    context = chromium.new_context(viewport={"width": 1400, "height": 20_000})
    faults: list[str] = []
    context.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda r: faults.append(r.request.url))
    page = open_notebook(context, address.format(path.name))
    run_all(page)
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    shown = page.locator(".diffteach").first
    shown.evaluate("function (e) { window.lesson = e.diffteach; }")
    slider = shown.locator("input[type=range]:visible").first
    slider.focus()
    before = page.evaluate("[lesson.draws, JSON.stringify(lesson.values)]")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("lesson.draws > " + str(before[0]))
    assert page.evaluate("JSON.stringify(lesson.values)") != before[1]
    box = slider.bounding_box()
    moved = page.evaluate("JSON.stringify(lesson.values)")
    page.mouse.click(box["x"] + 0.15 * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_function(f"JSON.stringify(lesson.values) !== {moved!r}")
    context.close()
    assert faults == []
