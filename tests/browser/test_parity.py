"""The browser's numbers and sentences are Python's."""

from __future__ import annotations

import numpy as np
import pytest
from explore import gallery
from explore.decoding import as_shipped

from benchmarks.browser import until
from diffteach.explore import expression
from diffteach.explore.explorable import Explorable
from diffteach.explore.pack import pack

pytestmark = pytest.mark.browser

READY = "document.getElementById('diffteach').diffteach && diffteach_root().draws > 0"
ROOT = "function diffteach_root() { return document.getElementById('diffteach').diffteach; }"


@pytest.fixture(scope="module")
def shown(chromium, tmp_path_factory):
    """A page of the gallery on disk, opened without a network; and the scene it carries."""
    explorable = Explorable(gallery.build, guess=True)
    path = explorable.page(tmp_path_factory.mktemp("page") / "gallery.html")
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    page.add_script_tag(content=ROOT)
    until(page, READY)
    yield page, as_shipped(explorable.scene, pack(explorable.scene))
    context.close()


def formulas(scene):
    texts = [*scene.let, *scene.stacks, *scene.formulas()]
    return sorted(set(texts))


def close(ours: np.ndarray, theirs: np.ndarray, share: float = 1e-6) -> bool:
    finite = np.isfinite(ours)
    same = np.array_equal(ours[~finite], theirs[~finite], equal_nan=True)
    span = np.ptp(ours[finite]) if finite.any() else 0.0
    scale = max(span, np.abs(ours[finite]).max(initial=0.0), 1e-12)
    return same and bool(np.all(np.abs(ours[finite] - theirs[finite]) <= share * scale))


@pytest.mark.parametrize("state", gallery.STATES, ids=range(len(gallery.STATES)))
def test_every_formula_has_the_same_value(shown, state) -> None:
    page, scene = shown
    frame = scene.frame(state)
    setting = {**scene.defaults(), **state}
    page.evaluate(
        "function (v) { for (const k in v) diffteach_root().set(k, v[k]); }",
        {k: list(v) if isinstance(v, tuple) else v for k, v in setting.items()},
    )
    for text in formulas(scene):
        ours = np.asarray(frame.of(text), float)
        got = page.evaluate(
            "function (tree) { return diffteach_root().evaluate(tree); }", expression.parse(text)
        )
        if isinstance(got, dict):
            assert got["s"] == list(ours.shape), text
            got = np.array(got["d"], float).reshape(ours.shape)
        assert close(np.atleast_1d(ours), np.atleast_1d(np.asarray(got, float))), text
    assert page.evaluate("diffteach_root().words") == frame.words


CASES = [0.0, -0.0, 0.5, 1.5, 2.5, 0.125, 0.375, 2.675, 1.005, 12345.0, 123456.0, 1e-5, 0.00012345]
CASES += [-0.001, -2.5, 99.95, 0.9999, 1.0625, 3.14159, -7.0, 100.0, 1e-300]


def test_numbers_are_written_alike(shown) -> None:
    page, _ = shown
    forms = [None, ".2f", "+.2f", "d", ".0f", ".3g", ".4g", ".1e", ".0%", ".1%", "+.3g", "g", "f"]
    source = "function (v) { return diffteach_root().write(v[0], v[1]); }"
    for form in forms:
        for value in CASES:
            theirs = page.evaluate(source, [value, form])
            assert theirs == expression.number(value, form), (value, form)
