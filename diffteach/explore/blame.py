"""Which line of a student's function met an error."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from typing import Any


def own_line(error: Exception, function: Callable[..., Any]) -> tuple[int, str] | None:
    """Number (1 is the def or the lambda itself) and text of the function's last line on the way.

    None if the error came from elsewhere, or the function has no Python code.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    lines = [n for frame, n in traceback.walk_tb(error.__traceback__) if frame.f_code is code]
    if not lines:
        return None
    return lines[-1] - code.co_firstlineno + 1, linecache.getline(
        code.co_filename, lines[-1]
    ).strip()


def blame(error: Exception, function: Callable[..., Any]) -> str:
    """The error in one sentence that names the function and its line."""
    where, line = getattr(function, "__name__", "your function"), own_line(error, function)
    if line is not None:
        where += f", line {line[0]}"
    return f"{type(error).__name__} in {where}: {error}"
