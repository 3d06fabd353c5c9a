"""Drawing a density: with the mouse in JupyterLab, with a finger on a sheet, and what is sent."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from benchmarks.browser import frames, until
from benchmarks.lab import lab, notebook, open_notebook, output, run_cell, run_first_cell
from diffteach import toys
from diffteach.explore.lessons import noise_and_scores
from diffteach.explore.page import script

pytestmark = pytest.mark.browser

STATE = "document.querySelector('.diffteach').diffteach"
# A model that only remembers: what the view sends is read from it, what a kernel says is told it.
MODEL = """
const heard = {}, sent = [], values = VALUES;
const changed = new Map();
const model = {
  get: function (name) { return values[name]; },
  set: function (name, value) {
    const all = typeof name === "string" ? { [name]: value } : name;
    for (const key in all) { values[key] = all[key]; changed.set(key, all[key]); }
  },
  save_changes: function () { sent.push(Object.fromEntries(changed)); changed.clear(); },
  on: function (event, act) { heard[event] = act; },
  off: function () {},
};
window.sent = sent;
window.tell = function (said) {
  Object.assign(values, said);
  for (const key in said) heard["change:" + key]?.();
};
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def model_page(chromium, folder, explorable, **options):
    """A page with the widget's own JavaScript and no kernel behind its model."""
    canvas = explorable.widget
    values = {name: getattr(canvas, name) for name in (*explorable.values, "hide", "fixed")}
    values |= {"opening": {}, "drawn": ["drawn/8.json"], "error": "", "asked": 0, "answered": 0}
    packed = base64.b64encode(canvas.scene).decode()
    values = json.dumps(values)[:-1] + f', "scene": bytes("{packed}")}}'
    source = script(explorable.scene, "widget").replace("export default", "const widget =")
    path = folder / "widget.html"
    path.write_text(
        f"<!doctype html><html lang='en'><title>t</title><style>{canvas._css}</style><main>"
        "<h1>t</h1><h2>t</h2><div id='here'></div></main><script type='module'>"
        "const bytes = (t) => Uint8Array.from(atob(t), (c) => c.charCodeAt(0));"
        + MODEL.replace("VALUES", values)
        + source
        + ";widget.render({ model, el: document.getElementById('here') });</script>",
        encoding="utf-8",
    )
    context = chromium.new_context(offline=True, viewport={"width": 900, "height": 900}, **options)
    page = context.new_page()
    page.goto(path.as_uri())
    until(page, f"document.querySelector('.diffteach')?.diffteach && {STATE}.draws > 0")
    return page


def place(page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the plane lies on the screen."""
    box = page.locator(".dt-panel canvas").first.bounding_box()
    # The lesson's plane is [-5, 5]^2: the plot has the size of its canvas without the margins.
    side = box["width"] - 38 - 10
    return box["x"] + 38 + (x + 5) / 10 * side, box["y"] + 26 + (5 - y) / 10 * side


def drag(page, *points: tuple[float, float]) -> None:
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(page, *point), steps=8)
    page.mouse.up()


def touch(page, *points: tuple[float, float]) -> None:
    """A finger's stroke, as the browser itself hears it."""
    devtools = page.context.new_cdp_session(page)
    kinds = ["touchStart", *["touchMove"] * (len(points) - 1)]
    for kind, (x, y) in zip(kinds, (place(page, *p) for p in points), strict=True):
        where = [{"x": x, "y": y}]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def test_the_mouse_draws_undoes_and_cancels(chromium, tmp_path) -> None:
    lesson = noise_and_scores()
    page = model_page(chromium, tmp_path, lesson)
    options = page.get_by_label("density", exact=True).locator("option").all_text_contents()
    assert options[0] == "8gaussians" and options[-1] == "drawn/8.json"
    button(page, "Draw your own").click()
    assert button(page, "Done").is_disabled() and button(page, "Undo").is_disabled()
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    probe = page.evaluate(f"{STATE}.values.probe")
    drag(page, (0.9, 0.4), (3, 0.4))  # begins on the probe, which stays where it is
    drag(page, (-2, -2), (-2, 4.9), (4.9, 4.9))  # beyond the square it follows the edge
    drag(page, (1, 1), (2, 2))
    assert page.evaluate(f"{STATE}.values.probe") == probe
    button(page, "Undo").click()
    faults = Axe().run(page).response["violations"]
    assert faults == [], faults
    button(page, "Done").click()
    (strokes,) = [s["strokes"] for s in page.evaluate("sent") if "strokes" in s]
    assert len(strokes) == 2
    first, second = (np.array(stroke) for stroke in strokes)
    np.testing.assert_allclose(first[[0, -1]], [(0.9, 0.4), (3, 0.4)], atol=0.05)
    np.testing.assert_allclose(second[0], (-2, -2), atol=0.05)
    np.testing.assert_allclose(second[-1], (4.05, 4.05), atol=0.05)
    assert second.max() == pytest.approx(toys.drawn.BOX)
    # While the kernel is silent and when it refuses, the strokes stay.
    assert page.locator(".dt-sheet").count() == 1
    page.evaluate("tell({ error: 'ValueError: no room', answered: 1 })")
    assert page.get_by_role("alert").inner_text().startswith("ValueError: no room")
    button(page, "Undo").click()
    button(page, "Done").click()
    again = [s["strokes"] for s in page.evaluate("sent") if "strokes" in s][1]
    assert again == strokes[:1]
    button(page, "Undo").click()
    assert button(page, "Undo").is_disabled()
    page.keyboard.press("Escape")
    assert page.locator(".dt-sheet").count() == 0 and button(page, "Draw your own").is_visible()
    # What was sent is what the kernel takes.
    lesson.widget.set_state({"strokes": strokes, "asked": 1})
    assert lesson.widget.error == ""
    page.context.close()


def test_a_finger_draws_and_does_not_scroll(chromium, tmp_path) -> None:
    page = model_page(chromium, tmp_path, noise_and_scores(), has_touch=True)
    page.locator("main").evaluate("function (m) { m.style.height = '3000px'; }")
    button(page, "Draw your own").tap()
    touch(page, (0, 3), (0, 1.5), (0, 0), (0, -3))
    touch(page, (2, 2))
    button(page, "Done").tap()
    (strokes,) = [s["strokes"] for s in page.evaluate("sent") if "strokes" in s]
    np.testing.assert_allclose(strokes[0], [(0, 3), (0, 1.5), (0, 0), (0, -3)], atol=0.05)
    np.testing.assert_allclose(strokes[1], [(2, 2)], atol=0.05)
    assert page.evaluate("window.scrollY") == 0
    page.context.close()


def test_what_is_hidden_cannot_be_drawn(chromium, tmp_path) -> None:
    page = model_page(chromium, tmp_path, noise_and_scores(hide=("draw",)))
    assert page.get_by_label("density", exact=True).is_visible()
    assert button(page, "Draw your own").count() == 0
    page.evaluate("tell({ hide: [] })")
    button(page, "Draw your own").click()
    frames(page)
    page.evaluate("tell({ hide: ['density'] })")
    frames(page)
    assert page.locator(".dt-sheet").count() == 0 and button(page, "Done").count() == 0
    page.context.close()


def test_a_page_without_a_kernel_has_no_pen(chromium, tmp_path) -> None:
    path = noise_and_scores().page(tmp_path / "lesson.html")
    assert "Draw your own" not in path.read_text(encoding="utf-8")


CELLS = (
    "from diffteach.explore.lessons import noise_and_scores, trust_region\n"
    "e = noise_and_scores()\ne",
    "print('says', e.values['density'], e.permalink())",
    "e.draw([(-3, 0), (3, 0)], 'drawn/line.json'); print('drawn')",
    "r = trust_region('drawn/line.json'); print('other', r['optimum'].round(0) + 0.0)",
)


def test_in_jupyterlab_a_drawing_becomes_the_density(chromium, tmp_path) -> None:
    notebook(tmp_path / "demo.ipynb", *CELLS)
    context = chromium.new_context(viewport={"width": 1400, "height": 1200})
    with lab(tmp_path) as address:
        page = open_notebook(context, address.format("demo.ipynb"))
        run_first_cell(page)
        before = page.evaluate(f"{STATE}.evaluate(['at', 'logp', 'probe'])")
        button(page, "Draw your own").click()
        drag(page, (-3, 3), (-3, -3), (3, -3))
        button(page, "Done").click()
        page.wait_for_function(f"{STATE}.values.density === 'drawn/1.json'")
        page.wait_for_function(f"{STATE}.evaluate(['at', 'logp', 'probe']) !== {before!r}")
        assert page.locator(".dt-sheet").count() == 0
        written = toys.load_drawn(tmp_path / "drawn" / "1.json")
        points = np.array(written.points)
        corner = np.abs(points - (-3, -3)).max(1).min()
        assert corner < 0.18 and np.ptp(points, axis=0) == pytest.approx((6, 6), abs=0.3)
        run_cell(page, 1)
        output(page, 1, "says drawn/1.json noise_and_scores?density=drawn%2F1.json")
        run_cell(page, 2)
        output(page, 2, "drawn")
        page.wait_for_function(f"{STATE}.values.density === 'drawn/line.json'")
        listed = page.get_by_label("density", exact=True).locator("option").all_text_contents()
        assert listed[-2:] == ["drawn/line.json", "drawn/1.json"]
        run_cell(page, 3)
        output(page, 3, re.compile(r"other \["))
        context.close()
