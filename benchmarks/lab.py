"""A JupyterLab of our own on a free port of the loopback, and a notebook open in it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

TESTS = Path(__file__).resolve().parents[1] / "tests"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[str]:
    """Run JupyterLab in `folder`, nothing read from or written to the user's own settings.

    Yields the address of a notebook, `{}` standing for its name.
    """
    port, token = free_port(), secrets.token_hex(8)
    private = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    private |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    private |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += ["--expose-app-in-browser", f"--IdentityProvider.token={token}"]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, f"--notebook-dir={folder}"],
            env=os.environ | private | {"PYTHONPATH": path, "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}"
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(1200):  # a busy machine starts it in a minute
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook of code cells."""
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(metadata={"kernelspec": spec})
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(book, path)


# JupyterLab drops a run that comes before the notebook's own session stands, and says nothing.
SESSION = """(function () {
  const book = window.jupyterapp.shell.currentWidget;
  return book.context.ready.then(function () { return book.sessionContext.ready; });
})()"""


def open_notebook(context: Any, address: str) -> Any:
    """A page with the notebook open and its kernel ready to run cells."""
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=60_000)
    page.evaluate(SESSION)
    return page


def run_first_cell(page: Any) -> None:
    """Run the first cell and wait for the picture it shows."""
    run_cell(page, 0)
    page.wait_for_selector(".diffteach canvas", timeout=60_000)


def run_cell(page: Any, index: int) -> None:
    """Select a cell and run it, without waiting for its end."""
    page.locator(".jp-Notebook .jp-CodeCell").nth(index).locator(".jp-InputPrompt").click()
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-cell')")


def output(page: Any, index: int, text: str, timeout: float = 15_000) -> None:
    """Wait until a cell's output contains a text."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    cell.locator(".jp-OutputArea-output", has_text=text).first.wait_for(timeout=timeout)
