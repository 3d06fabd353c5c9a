"""What a frame draws again, and that what it leaves standing is the picture drawn afresh."""

from __future__ import annotations

import pytest
from browser.test_page import PIXELS, STATE
from explore import gallery

from benchmarks.browser import frames, until
from diffteach.explore.explorable import Explorable

pytestmark = pytest.mark.browser

COUNTING = """(function () {
  const clear = CanvasRenderingContext2D.prototype.clearRect;
  CanvasRenderingContext2D.prototype.clearRect = function (...box) {
    this.canvas.cleared = (this.canvas.cleared || 0) + 1;
    return clear.apply(this, box);
  };
})()"""
CLEARED = "Array.from(document.querySelectorAll('canvas')).map(function (c) { return c.cleared; })"
SET = "function (v) { for (const k in v) STATE.set(k, v[k]); }".replace("STATE", STATE)


@pytest.fixture
def page(chromium, tmp_path):
    opened = chromium.new_context(offline=True).new_page()
    opened.add_init_script(COUNTING)
    opened.goto(Explorable(gallery.build).page(tmp_path / "gallery.html").as_uri())
    until(opened, f"{STATE} && {STATE}.draws > 0")
    frames(opened)
    yield opened
    opened.context.close()


def test_only_panels_that_change_are_drawn(page) -> None:
    before = page.evaluate(CLEARED)
    for k in range(3):
        page.evaluate(SET, {"b": 0.2 + 0.1 * k})
        frames(page)
    drawn = [after - start for after, start in zip(page.evaluate(CLEARED), before, strict=True)]
    assert drawn == [3, 0, 3, 0]  # b is a level in the first panel and a rate in the third


def test_a_frame_over_what_stood_still_is_the_frame_drawn_afresh(page) -> None:
    moves = ({"a": 0.5}, {"a": 0.55}, {"a": 0.6}, {"probe": [1, 2]}, {"probe": [1.2, 2]})
    more = ({"b": 0.3}, {"a": 0.9}, {"mode": "saddle"}, {"a": 0.8}, {"on": False}, {"on": True})
    for move in (*moves, *more):
        page.evaluate(SET, move)
        frames(page)
        over = page.evaluate(PIXELS)
        for width in (1240, 1280):  # another width and back: every panel is laid out anew
            page.set_viewport_size({"width": width, "height": 720})
            frames(page)
        assert page.evaluate(PIXELS) == over, move
