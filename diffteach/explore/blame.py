"""Which line of a student's function met an error."""

from __future__ import annotations

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
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == code.co_filename and (frame.lineno or 0) >= code.co_firstlineno:
            return (frame.lineno or 0) - code.co_firstlineno + 1, (frame.line or "").strip()
    return None


def blame(error: Exception, function: Callable[..., Any]) -> str:
    """The error in one sentence that names the function and its line."""
    where, line = getattr(function, "__name__", "your function"), own_line(error, function)
    if line is not None:
        where += f", line {line[0]}"
    return f"{type(error).__name__} in {where}: {error}"
