"""Training, live, in JupyterLab: played, paused and stopped while the page stays responsive."""

from __future__ import annotations

import re

import pytest

from benchmarks.lab import lab, notebook, open_notebook, output, run_cell, run_first_cell

pytestmark = pytest.mark.browser

CELLS = (
    "from diffteach.explore.lessons import training\n"
    "explorable = training('8gaussians', 'dtql', 'near')\nexplorable",
    "print(explorable.state, explorable.scene.stacks['clock'].data.size)",
)


def test_a_method_trains_while_it_is_watched(chromium, tmp_path) -> None:
    notebook(tmp_path / "demo.ipynb", *CELLS)
    context = chromium.new_context(viewport={"width": 1400, "height": 1400})
    with lab(tmp_path) as address:
        page = open_notebook(context, address.format("demo.ipynb"))
        run_first_cell(page)
        page.locator(".diffteach").evaluate("function (e) { window.lesson = e.diffteach; }")
        step = "Number(window.lesson.values.step)"
        stop = page.get_by_role("button", name="Stop")
        assert stop.is_disabled() and page.evaluate(step) == 0
        page.get_by_role("button", name="Train", exact=True).click()
        for _ in range(3):
            seen = page.evaluate(step)
            page.wait_for_function(f"{step} > {seen}")
        slider = page.locator("input[type=range]:visible").first
        slider.focus()
        page.keyboard.press("Home")  # heard while the kernel trains, and kept
        page.wait_for_function(f"{step} === 0")
        draws = page.evaluate("window.lesson.draws")
        page.wait_for_function(f"window.lesson.draws > {draws} + 2")
        assert page.evaluate(step) == 0
        page.get_by_role("button", name="Pause training").click()
        page.get_by_role("button", name="Train on").wait_for()
        page.get_by_role("button", name="Train on").click()
        page.get_by_role("button", name="Pause training").wait_for()
        stop.click()
        page.get_by_role("button", name="Train", exact=True).wait_for(timeout=10_000)
        run_cell(page, 1)
        output(page, 1, re.compile(r"stopped \d+"))
        assert "Untrained." in page.evaluate("window.lesson.words")
        page.keyboard.press("Escape")
        slider.focus()
        page.keyboard.press("End")
        page.wait_for_function(f"{step} > 0")
        assert "Stage policy." in page.evaluate("window.lesson.words")
    context.close()
