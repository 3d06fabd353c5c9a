"""How fast the explorables answer on a screen: pages from disk, and JupyterLab with its kernel."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import browser
from benchmarks.lab import lab, notebook, open_notebook, run_cell, run_first_cell
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import LESSONS

Row = tuple[str, float, str, str]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOWN = "((document.querySelector('.diffteach') || {}).diffteach || {}).draws > 0"
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's browser, without a window."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise SystemExit("no Chromium here: install the package chromium or Google Chrome")
    with sync_playwright() as playwright:
        shown = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield shown
        shown.close()


HEAVIEST = ("trust_region", "one_point", "regularizers", "sampling_without_data")
"""lessons with the most to draw; one engine draws them all"""
# The heat map of trust_region changes with λ in this view; elsewhere the default view does.
VIEWS = {"trust_region": {"show": "objective"}}


def shown_lesson(name: str) -> Explorable:
    """A lesson in the view that its first slider repaints."""
    return LESSONS[name]().set(**VIEWS.get(name, {}))


def _rows(name: str, latency: browser.Latency) -> Iterator[Row]:
    yield f"{name}: key to pixels, p50", latency.p50, "ms", ""
    yield f"{name}: key to pixels, p95", latency.p95, "ms", "<= 40"
    yield f"{name}: frames shown of {latency.events} in a second", latency.frames, "", ">= 50"
    yield f"{name}: settled after the burst", latency.settle, "ms", "<= 60"


def pages() -> Iterator[Row]:
    """Every lesson's page from file://, the network off."""
    with chromium() as shown, tempfile.TemporaryDirectory() as folder:
        for name in LESSONS:
            address = shown_lesson(name).page(Path(folder) / f"{name}.html").as_uri()
            page = shown.new_context(offline=True).new_page()
            start = time.perf_counter()
            page.goto(address)
            browser.until(page, SHOWN)
            opened = time.perf_counter() - start
            yield f"page of {name}: opened to first picture", opened, "s", "<= 1"
            page.locator("input[type=range]:visible").first.focus()
            browser.install(page)
            yield from _rows(f"page of {name}", browser.measure(page))
            page.close()


def jupyterlab(lessons: Collection[str] = HEAVIEST) -> Iterator[Row]:
    """Lessons in JupyterLab, with the kernel idle and with the kernel busy."""
    with chromium() as shown, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for lesson in lessons:
            cell = f"from benchmarks.screen import shown_lesson\nshown_lesson({lesson!r})"
            notebook(folder / f"{lesson}.ipynb", cell, "import time\ntime.sleep(25)")
        with lab(folder) as address:
            for lesson in lessons:
                page = open_notebook(shown.new_context(), address.format(f"{lesson}.ipynb"))
                run_first_cell(page)
                for state in ("idle", "busy"):
                    if state == "busy":
                        run_cell(page, 1)
                        page.wait_for_timeout(500)
                    page.locator(".diffteach input[type=range]:visible").first.focus()
                    if state == "idle":
                        browser.install(page)
                    page.keyboard.press("Home")
                    page.wait_for_timeout(300)
                    yield from _rows(f"{lesson}, kernel {state}", browser.measure(page))
                page.close()
