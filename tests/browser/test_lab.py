"""The widget in JupyterLab with a real kernel."""

from __future__ import annotations

import contextlib

import pytest
from playwright.sync_api import TimeoutError

from benchmarks.lab import lab, notebook, open_notebook, output, run_cell, run_first_cell

pytestmark = pytest.mark.browser

CELLS = (
    "from explore import gallery\n"
    "from diffteach.explore.explorable import Explorable\n"
    "e = Explorable(gallery.build, guess=True)\n"
    "e",
    "print('a is', e.values['a'], e.widget.a, 'probe', e.values['probe'], e.values['tilt'])",
    "import time; print('busy', flush=True); time.sleep(8); print('free')",
    "def mine(field):\n    return field / None\ne.try_(mine); print('tried')",
    "e.try_(lambda field: 1 - field); print('turned')",
    "e.set(a=0.75, mode='saddle'); e.widget.b = 0.5; print('set')",
    "try:\n    e.widget.a = 5\nexcept ValueError as error:\n    print('refused', error)",
    "print('error', repr(e.error), repr(e.widget.error))",
)
STATE = "document.querySelector('.diffteach').diffteach"


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    notebook(folder / "demo.ipynb", *CELLS)
    context = chromium.new_context(viewport={"width": 1400, "height": 1200})
    with lab(folder) as address:
        page = open_notebook(context, address.format("demo.ipynb"))
        run_first_cell(page)
        yield page
        context.close()


def shown(page, name: str):
    return page.evaluate(f"{STATE}.values")[name]


def says(page, index: int, text: str) -> None:
    """Run a cell until it prints a text: JupyterLab may still hold back what was last moved."""
    for _ in range(5):
        run_cell(page, index)
        with contextlib.suppress(TimeoutError):
            return output(page, index, text, timeout=3000)
    return output(page, index, text)


def focus(page, index: int = 0) -> None:
    page.locator(".diffteach input[type=range]").nth(index).focus()


def test_arrow_keys_reach_the_slider_and_the_kernel_follows(page) -> None:
    focus(page)
    draws = page.evaluate(f"{STATE}.draws")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"Math.abs({STATE}.values.a - 0.35) < 1e-9")
    assert page.evaluate(f"{STATE}.draws") > draws
    knob = page.locator(".dt-handle").first
    knob.focus()
    page.keyboard.press("Shift+ArrowRight")
    says(page, 1, "a is 0.35 0.35 probe (0.9, 1.0) level")


def test_what_cells_set_is_shown(page) -> None:
    run_cell(page, 5)
    output(page, 5, "set")
    page.wait_for_function(f"{STATE}.values.b === 0.5")
    assert shown(page, "a") == 0.75 and shown(page, "mode") == "saddle"
    run_cell(page, 6)
    output(page, 6, "refused a must lie in [0, 1], got 5")
    strip = page.locator(".diffteach [role=alert]")
    strip.filter(has_text="a must lie in [0, 1], got 5").wait_for(timeout=7000)
    strip.get_by_role("button", name="Dismiss").click()
    assert strip.is_hidden()
    assert shown(page, "a") == 0.75
    says(page, 7, "error ''")


def test_it_draws_while_the_kernel_is_busy(page) -> None:
    run_cell(page, 2)
    output(page, 2, "busy")
    focus(page)
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"Math.abs({STATE}.values.a - 0.02) < 1e-9")
    page.get_by_role("radio", name="level").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.locator(".dt-strip", has_text="Computing").wait_for(timeout=7000)
    output(page, 2, "free")
    page.locator(".dt-strip", has_text="Computing").wait_for(state="hidden")
    page.wait_for_function(f"{STATE}.values.tilt === 'level'")  # the latest choice wins
    assert shown(page, "a") == pytest.approx(0.02)
    assert page.locator(".dt-strip:visible").count() == 0


def test_a_choice_of_the_kernel_brings_another_scene(page) -> None:
    run_cell(page, 1)
    before = page.evaluate(f"{STATE}.evaluate(['total', 'bump'])")
    page.get_by_text("tilted", exact=True).click()
    page.wait_for_function(f"{STATE}.values.tilt === 'tilted'")
    page.wait_for_function(f"{STATE}.evaluate(['total', 'bump']) !== {before!r}")
    assert shown(page, "a") == pytest.approx(0.02)
    says(page, 1, "tilted")


def test_your_own_function_and_its_errors(page) -> None:
    run_cell(page, 3)
    output(page, 3, "tried")
    strip = page.locator(".diffteach [role=alert]")
    strip.filter(has_text="TypeError in mine, line 2").wait_for(timeout=7000)
    run_cell(page, 4)
    output(page, 4, "turned")
    page.wait_for_function(f"{STATE}.evaluate(['lowest', 'bump']) < 0.1")
    page.wait_for_function("!document.querySelector('.diffteach [role=alert]:not([hidden])')")
