"""How fast a canvas in a browser answers: from the key that is pressed to the pixels that change.

Works on a Playwright page that shows one `.diffteach` element with the slider in focus. A change
counts when the next frame begins, so that the pixels have been handed to the screen by then.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

PROBE = """
window.diffteachProbe = (function () {
  const canvas = document.querySelector(".diffteach canvas");
  const small = document.createElement("canvas");
  small.width = small.height = 48;
  const g = small.getContext("2d", { willReadFrequently: true });
  const probe = { keys: [], changes: [], frames: 0 };
  let before = "";
  function look() {
    probe.frames++;
    g.clearRect(0, 0, 48, 48);
    g.drawImage(canvas, 0, 0, 48, 48);
    const data = g.getImageData(0, 0, 48, 48).data;
    let hash = 0;
    for (let i = 0; i < data.length; i++) hash = (hash * 31 + data[i]) | 0;
    if (hash !== before) probe.changes.push(performance.now());
    before = hash;
    requestAnimationFrame(look);
  }
  requestAnimationFrame(look);
  function pressed(event) { probe.keys.push(event.timeStamp); }
  document.addEventListener("keydown", pressed, true);
  return probe;
})();
"""
CLEAR = "diffteachProbe.keys.length = diffteachProbe.changes.length = 0"
READ = "[diffteachProbe.keys, diffteachProbe.changes]"
DRAW = """
(function () {
  const it = document.querySelector(".diffteach").diffteach;
  const times = [];
  for (let k = 0; k < COUNT; k++) {
    STEP
    const began = performance.now();
    it.draw();
    times.push(performance.now() - began);
  }
  return times;
})()
"""


FRAMES = """new Promise(function (done) {
  let left = 3;
  requestAnimationFrame(function next() { if (left--) requestAnimationFrame(next); else done(); });
})"""


def frames(page: Any) -> None:
    """Wait until what was asked for is drawn, however long a frame takes on this machine."""
    page.evaluate(FRAMES)


def until(page: Any, condition: str, seconds: float = 30.0) -> None:
    """Wait for a condition; Playwright's own way evaluates strings, which a page's policy forbids.

    TimeoutError if it does not come true.
    """
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} did not come true in {seconds:g} s")
        frames(page)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from key to pixels, and of a burst the frames shown and the time to settle."""

    p50: float
    p95: float
    frames: int
    events: int
    settle: float

    def __str__(self) -> str:
        return (
            f"key to pixels p50 {self.p50:.0f} / p95 {self.p95:.0f} ms, "
            f"{self.frames} of {self.events} frames, settled after {self.settle:.0f} ms"
        )


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def install(page: Any) -> None:
    """Start watching the first canvas of the page."""
    page.evaluate(PROBE)
    page.wait_for_timeout(200)


def presses(page: Any, count: int = 40, pause: float = 0.08) -> list[float]:
    """Milliseconds from each key press to the first changed pixels after it."""
    page.evaluate(CLEAR)
    for k in range(count):
        page.keyboard.press("ArrowRight" if k < count / 2 else "ArrowLeft")
        time.sleep(pause)
    keys, changes = page.evaluate(READ)
    after = [min((c for c in changes if c > key), default=None) for key in keys]
    return [c - key for key, c in zip(keys, after, strict=True) if c is not None]


def burst(page: Any, events: int = 60, seconds: float = 1.0) -> tuple[int, float]:
    """Frames shown during evenly spaced key presses, and milliseconds until the last change."""
    page.evaluate(CLEAR)
    began = time.perf_counter()
    for k in range(events):
        time.sleep(max(0.0, began + k * seconds / events - time.perf_counter()))
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(600)
    keys, changes = page.evaluate(READ)
    seen = [c for c in changes if c > keys[0]]
    return len(seen), max(seen) - keys[-1]


def measure(page: Any, count: int = 40) -> Latency:
    """Key to pixels and a burst of 60 events in a second; a slider must have the focus."""
    times = presses(page, count)
    page.keyboard.press("Home")
    page.wait_for_timeout(300)
    frames, settle = burst(page)
    return Latency(statistics.median(times), percentile(times, 0.95), frames, 60, settle)


def draw_times(page: Any, step: str, count: int = 60) -> list[float]:
    """Milliseconds of JavaScript per draw; `step` is code that changes `it` for the k-th draw."""
    return page.evaluate(DRAW.replace("COUNT", str(count)).replace("STEP", step))
