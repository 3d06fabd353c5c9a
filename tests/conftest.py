"""What every test stands on: shape checks, one thread, fixed seeds, and a browser that is there."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
BAD_INPUT = Path(__file__).resolve().parent / "bad_input"
TRAINING = ("methods", "boltzmann", "figures")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # as in the Makefile
NO_BROWSER = (
    "no Chromium found: install the package chromium or Google Chrome, "
    "or name the browser in the environment variable CHROMIUM"
)
ALONE = (
    "tests/bad_input needs a run of its own, since the import hook that checks shapes for all "
    "other tests would speak before the library: pytest tests/bad_input"
)

# Set before numpy and torch are imported, and inherited by notebook kernels and workers. On a busy
# machine a second thread can slow small kernels a thousandfold, and sums depend on their number.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ["MPLBACKEND"] = "Agg"

hypothesis.settings.register_profile("diffteach", deadline=None, derandomize=True)
hypothesis.settings.load_profile("diffteach")


def _asked(config: pytest.Config) -> list[Path]:
    return [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in config.args]


def _hooked(config: pytest.Config) -> bool:
    """False when only bad-input tests were asked for: the hook would speak before the library."""
    if os.environ.get("DIFFTEACH_NO_HOOK") == "1":
        return False
    return not all(path.is_relative_to(BAD_INPUT) for path in _asked(config))


def pytest_configure(config: pytest.Config) -> None:
    if _hooked(config):
        if any(path.is_relative_to(BAD_INPUT) for path in _asked(config)):
            raise pytest.UsageError(ALONE)
        from jaxtyping import install_import_hook

        install_import_hook("diffteach", "beartype.beartype")


def pytest_report_header(config: pytest.Config) -> str:
    if _hooked(config):
        return "diffteach: shapes are checked; tests/bad_input is left to a run of its own"
    return "diffteach: shapes are not checked, so that the library itself answers bad input"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if _hooked(config) and collection_path == BAD_INPUT else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in TRAINING:  # whole folders train methods
            item.add_marker("trains")
    # Playwright's sync interface keeps an event loop on this thread, which notebooks must not meet.
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """The same numbers whichever tests ran before, also where a test forgets its generator."""
    random.seed(0)
    # Tests that need neither should not pay for importing them.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Sample data that lies beside the checkout on some machines; it is never committed."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("the folder of sample data beside the checkout is not here")
    return path


def _browser_path() -> str:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or pytest.fail(NO_BROWSER, pytrace=False)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    path = _browser_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",  # root, as in containers, has none
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                # The browser itself must not ask the network for anything while a test listens.
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()
