"""See, break and build diffusion policies: the course as files, data sets, runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from tyro.extras import SubcommandApp

from diffteach.cli import course


def _app() -> SubcommandApp:
    app = SubcommandApp()
    for command in (course.page, course.pages, course.exercises):
        app.command(command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what cannot be done is one sentence on standard error and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments == ["--version"]:
        print(version("diffteach"))
        return 0
    try:
        written = _app().cli(prog="diffteach", description=__doc__, args=arguments)
    except (ValueError, TypeError, OSError) as error:
        print(f"diffteach: {error}", file=sys.stderr)
        return 1
    for path in written or ():
        print(path)
    return 0
