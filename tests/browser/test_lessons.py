"""Every lesson's page, opened from disk without a network: its numbers are Python's, it answers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from browser.test_page import settled
from browser.test_parity import READY, ROOT, close, formulas
from explore.decoding import as_shipped

from benchmarks.browser import until
from diffteach.explore import expression
from diffteach.explore.lessons import LESSONS
from diffteach.explore.pack import pack
from diffteach.objectives import score_regularization_grad, trust_region_loss, unit_weight
from diffteach.schedule import x0_from_eps
from diffteach.toys import empirical

pytestmark = pytest.mark.browser

OWN = {
    "guidance": lambda q, denoise, schedule, x_t, t, beta: -beta * x_t,
    "why_regularize": lambda a: a.square().sum(-1),
    "noise_and_scores": x0_from_eps,
    "noising": lambda points, schedule, x_t, t: empirical(points, 0.3).denoiser(schedule)(x_t, t),
    "mode_seeking": lambda log_q, log_p: (log_q - log_p).mean(0),
    "score_regularization": lambda denoise, schedule, act, t, eps: score_regularization_grad(
        denoise, schedule, act, t, eps, unit_weight(schedule, t)
    ),
    "trust_region": trust_region_loss,
    "one_point": trust_region_loss,
    "regularizers": trust_region_loss,
    "sampling_without_data": lambda energy: torch.softmax(energy / 3, 0),
    "training": lambda act: act[:, 0],
}
STATES = {
    "guidance": [
        {},
        {"t": 0.71, "energy": "quadratic, −|a − c|²/8", "probe": (-2.0, 1.0), "lam": 0.6},
        {"energy": "smooth step", "other": "β∇Q(x̂₀)", "lam": 0.13, "t": 0.11},
        {"behaviour": "one Gaussian", "energy": "smooth step", "lam": 0.1},
        {"behaviour": "one Gaussian", "other": "β∇[Q(x̂₀(x_t))]", "lam": 5.0},
    ],
    "why_regularize": [
        {},
        {"steps": 100.0, "heads": "least of two", "lam": 0.05, "tau": 0.93, "probe": (-2.3, 3.9)},
        {"show": "critic − λ·(−log p)", "lam": 0.4, "tau": 0.5, "steps": 450.0},
    ],
    "noise_and_scores": [{}, {"t": 0.71, "probe": (-2.3, 3.9)}],
    "noising": [
        {},
        {"time": 0.43, "left": "EDM SDE", "right": "EDM ODE", "probe": (-2.3, 3.9)},
        {"time": 1.83, "left": "VP SDE", "paths": "one start, 8 times"},
    ],
    "mode_seeking": [
        {},
        {"lam": 11.0, "start": (0.1, -0.2), "width": 1.3},
        {"family": "Dirac", "bad": 0.2, "lam": 0.4},
    ],
    "score_regularization": [
        {},
        {"lam": 200.0, "weight": "σ²", "probe": (-3.0, 4.0)},
        {"t0": 0.31, "units": "matched curvature", "field": "∇ at the probe's target"},
        {"weight": "α/σ", "baseline": False, "lam": 7.0},
    ],
    "trust_region": [
        {},
        {"lam": 30.0, "show": "objective", "reward": "hard", "probe": (-9.0, 2.0)},
        {"noise": "one level", "sigma": 0.77, "clip": True, "c": 5.0},
    ],
    "one_point": [
        {},
        {"morph": 1.0, "probe": (-1.0, -2.5), "units": "paper's own", "lam": 40.0},
        {"omega": "true score", "morph": 0.4, "target": (-3.0, 0.5), "release": False},
        {"omega": "α/σ", "lam": 0.3, "exact": False},
    ],
    "regularizers": [
        {},
        {"lam": 0.7, "time": 0.33, "omega": "true score", "probe": (-1.0, -2.5)},
        {"omega": "α/σ", "reward": "far out", "first": "one policy", "shade": "size of the pull"},
        {"omega": "1", "reward": "none", "traces": False, "lam": 100.0},
    ],
    "sampling_without_data": [
        {},
        {"noise": 0.4, "temperature": 0.2, "particles": "64", "probe": (2.3, 3.9)},
        {"noise": 13.0, "particles": "1", "proposal": "Unif[−6, 6]²", "temperature": 4.0},
        {"look": "the race", "sampler": "Langevin", "calls": 0.7},
    ],
    "training": [{}, {"step": 13.0, "dots": False}, {"step": 31.0, "behind": "log density"}],
}


@pytest.fixture(scope="module", params=LESSONS)
def lesson(request, chromium, tmp_path_factory):
    """A lesson with a student's function beside it, its page, and the scene the page carries."""
    explorable = LESSONS[request.param](guess=True).try_(OWN[request.param])
    if explorable.film is not None:
        explorable.advance(2)
    assert explorable.error == ""
    path = explorable.page(tmp_path_factory.mktemp("page") / "lesson.html")
    faults: list[str] = []
    context = chromium.new_context(offline=True, viewport={"width": 1200, "height": 1000})
    context.route(re.compile(r"^(?!file:|blob:|data:)"), lambda r: faults.append(r.request.url))
    page = context.new_page()
    page.on("console", lambda m: faults.append(m.text) if m.type != "log" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(path.as_uri())
    page.add_script_tag(content=ROOT)
    until(page, READY)
    yield explorable, page, as_shipped(explorable.scene, pack(explorable.scene))
    context.close()
    assert faults == []


def test_numbers_and_sentences_are_pythons(lesson) -> None:
    explorable, page, scene = lesson
    for state in STATES[scene.name]:
        setting = {**scene.defaults(), **state}
        page.evaluate(
            "function (v) { for (const k in v) diffteach_root().set(k, v[k]); }",
            {k: list(v) if isinstance(v, tuple) else v for k, v in setting.items()},
        )
        frame = scene.frame(setting)
        for text in formulas(scene):
            ours = np.asarray(frame.of(text), float)
            got = page.evaluate(
                "function (tree) { return diffteach_root().evaluate(tree); }",
                expression.parse(text),
            )
            if isinstance(got, dict):
                assert got["s"] == list(ours.shape), text
                got = np.array(got["d"], float).reshape(ours.shape)
            theirs = np.atleast_1d(np.asarray(got, float))
            assert close(np.atleast_1d(ours), theirs, 1e-4), (text, state)
        assert page.evaluate("diffteach_root().words") == frame.words


SETTING = "function (v) { for (const k in v) diffteach_root().set(k, v[k]); }"
OPENED = {
    ("trust_region", "sigma"): {"noise": "one level"},
    ("sampling_without_data", "calls"): {"look": "the race"},
}


def sliders_of(scene):
    """Each slider with the values that show it, and its place among the visible ones."""
    sliders = [p for p in scene.params if p.kind == "slider"]
    for slider in sliders:
        values = scene.defaults() | {"revealed": 1.0} | OPENED.get((scene.name, slider.name), {})
        frame = scene.frame(values)
        shown = [p.name for p in sliders if frame.shows(p)]
        yield slider, values, shown.index(slider.name)


def plain(values) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def test_every_slider_moves_by_keyboard_and_by_mouse(lesson) -> None:
    _, page, scene = lesson
    for param, values, place in sliders_of(scene):
        page.evaluate(SETTING, plain(values))
        settled(page)  # controls come and go with the next frame
        slider = page.locator("input[type=range]:visible").nth(place)
        slider.focus()
        seen = []
        for key in ("Home", "End", "ArrowLeft"):
            page.keyboard.press(key)
            seen.append(settled(page))
        assert seen[0] != seen[1], param.name
        at_end = page.evaluate("diffteach_root().values")[param.name]
        assert param.low < at_end < param.high
        box = slider.bounding_box()
        page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + box["height"] / 2)
        assert page.evaluate("diffteach_root().values")[param.name] < at_end
        assert settled(page) != seen[1], param.name


def test_every_handle_is_dragged(lesson) -> None:
    _, page, scene = lesson
    page.evaluate(SETTING, plain(scene.defaults()))
    for param in (p for p in scene.params if p.kind == "handle"):
        before = page.evaluate("diffteach_root().values")[param.name]
        knob = page.get_by_label(param.label).first
        knob.scroll_into_view_if_needed()
        box = knob.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 30, y - 20, steps=4)
        page.mouse.up()
        after = page.evaluate("diffteach_root().values")[param.name]
        assert after[0] > before[0], param.name
        assert after[1] > before[1], param.name


def test_no_serious_finding_of_axe(lesson) -> None:
    _, page, _ = lesson
    found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert serious == [], [v["id"] for v in serious]


TIME = "diffteach_root().values.time"


def test_noising_plays_pauses_steps_and_slows(chromium, tmp_path) -> None:
    page = chromium.new_page()
    page.goto(LESSONS["noising"]().set(time=0.1).page(tmp_path / "noising.html").as_uri())
    page.add_script_tag(content=ROOT)
    until(page, READY)

    def press(name: str) -> None:
        page.get_by_role("button", name=name, exact=True).click()

    press("Step")
    assert page.evaluate(TIME) == pytest.approx(0.1 + 1.98 / 40, abs=0.006)
    press("Play")
    until(page, TIME + " > 0.4")
    press("Pause")
    rests = page.evaluate(TIME)
    page.evaluate("new Promise(function (done) { setTimeout(done, 150); })")
    assert page.evaluate(TIME) == rests
    press("Slow")
    assert page.get_by_role("button", name="Slow").get_attribute("aria-pressed") == "true"
    asked = """function (n) { return new Promise(function (done) {
        const [root, began] = [diffteach_root(), performance.now()];
        const from = root.values.time;
        setTimeout(function () {
            done((root.values.time - from) / (performance.now() - began)); }, n); }); }"""
    press("Play")
    slow = page.evaluate(asked, 600)
    press("Slow")
    fast = page.evaluate(asked, 600)
    assert fast > 2 * slow > 0
    page.close()
