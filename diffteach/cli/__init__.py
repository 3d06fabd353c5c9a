"""See, break and build diffusion policies: the course as files, data sets, runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from tyro.conf import Positional
from tyro.extras import SubcommandApp

from diffteach.cli import course, runs


def _app() -> SubcommandApp:
    app = SubcommandApp()
    for command in (course.page, course.pages, course.exercises):
        app.command(command)
    app.command(name="train")(_train)
    app.command(name="eval")(runs.evaluate)
    app.command(name="report")(runs.table)
    app.command(name="data")(_data)
    return app


def _train(arguments: Positional[tuple[str, ...]]) -> None:
    """Train a method on a data set: `diffteach train METHOD --data SET`."""
    # Only its line in the help: what `train` accepts depends on the method.


def _data(arguments: Positional[tuple[str, ...]]) -> Sequence[object]:
    """Recorded data: list, info, check, fetch, build, convert."""
    try:
        from diffteach.cli import data
    except ModuleNotFoundError as error:
        text = f"recorded data need the package {error.name}: install diffteach[rl]"
        raise OSError(text) from None
    return data.main(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what cannot be done is one sentence on standard error and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments == ["--version"]:
        print(version("diffteach"))
        return 0
    written: Sequence[object] | None
    try:
        if arguments[:1] == ["train"]:
            written = runs.train(arguments[1:])
        elif arguments[:1] == ["data"]:
            written = _data(tuple(arguments[1:]))
        else:
            written = _app().cli(prog="diffteach", description=__doc__, args=arguments)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"diffteach: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"diffteach: {stop.args[0] if stop.args else 'stopped'}", file=sys.stderr)
        return 130
    for path in written or ():
        print(path)
    return 0
