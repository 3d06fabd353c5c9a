"""Reading a student's answer: a number, numbers in a shape, or a function that is called safely."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffteach.explore.blame import own_line


class Slip(Exception):
    """A wrong answer; its text is the hint."""


class Unanswered(Exception):
    """Nothing was handed in yet."""


# How a right number is usually missed, whatever the task.
_FACTORS: tuple[tuple[float, str], ...] = (
    (-1.0, "The size is right but the sign is not."),
    (2.0, "Exactly twice too large: look for a factor of 2 counted double, or a sum for a mean."),
    (0.5, "Exactly half of it: look for a lost factor of 2, or a mean where a sum belongs."),
    (100.0, "Give a plain number, not percent."),
)


def is_missing(answer: object) -> bool:
    """True for None and for `...`, which the starters contain."""
    return answer is None or answer is ...


def number(answer: Any) -> float:
    """One finite real number from Python, numpy or torch; Slip for anything else."""
    if callable(answer):
        raise Slip("This task wants a number: call your function and hand in what it returns.")
    if isinstance(answer, (str, bytes, bool)):
        raise Slip(f"This task wants a number, not {type(answer).__name__} {answer!r}.")
    if isinstance(answer, numbers.Real):
        value = float(answer)
    else:
        array = _array(answer)
        if array.numel() != 1:
            raise Slip(f"This task wants one number, and yours has shape {tuple(array.shape)}.")
        value = float(array.reshape(()))
    if not math.isfinite(value):
        raise Slip(f"Your number is {value}: look for a division by zero or the log of zero.")
    return value


def _array(value: Any) -> Tensor:
    try:
        array = value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise Slip(f"Numbers are needed here, and this is a {type(value).__name__}.") from None
    if array.is_complex():
        raise Slip("Real numbers are needed here, and yours are complex.")
    return array


def rows(value: Any, shape: Sequence[int], what: str = "Your function") -> Tensor:
    """A float64 tensor of the given shape, still attached to its graph.

    Slip for another shape or for values that are not finite; Unanswered for None and `...`.
    """
    if is_missing(value):
        raise Unanswered
    array = _array(value)
    if tuple(array.shape) != tuple(shape):
        raise Slip(f"{what} must return shape {tuple(shape)}, got {tuple(array.shape)}.")
    array = array.double()
    bad = int((~array.isfinite()).sum())
    if bad:
        raise Slip(f"{what} returns NaN or infinity in {bad} of {array.numel()} places.")
    return array


def called(function: Any, *args: Any, takes: str) -> Any:
    """What a student's function returns; `takes` names its arguments for the hints.

    Tensors are cloned, so that nothing the function does to them is felt here. Slip for something
    that is not a function, takes other arguments or fails; Unanswered where it returns None.
    """
    if not callable(function):
        raise Slip(
            f"This task wants the function itself, with arguments ({takes}), "
            f"not {_article(type(function).__name__)}."
        )
    name = getattr(function, "__name__", "your function")
    _check_signature(function, name, args, takes)
    try:
        value = function(*(a.clone() if isinstance(a, Tensor) else a for a in args))
    except Exception as error:
        raise Slip(_blame(error, function, name)) from None
    if is_missing(value):
        raise Unanswered
    return value


def _article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _check_signature(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], takes: str
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args)
    except TypeError:
        raise Slip(
            f"`{name}` is called with ({takes}), but yours is defined as `{name}{signature}`."
        ) from None


def _blame(error: Exception, function: Callable[..., Any], name: str) -> str:
    """The error in one line, and the student's line that met it."""
    said = (str(error).strip().splitlines() or [""])[0][:160].replace("`", "'")
    where, line = f"`{name}`", own_line(error, function)
    if line is not None:
        where = f"line {line[0]} of {where}" + (f", `{line[1]}`" if line[1] else "")
    return f"Your function stops in {where}: {type(error).__name__}: {said}"


def expect_number(
    answer: Any,
    right: float,
    slips: Sequence[tuple[float, str]],
    otherwise: str,
    tolerance: float = 0.01,
) -> None:
    """Slip unless the answer is `right` within a relative tolerance.

    `slips` are wrong numbers with the hint that each deserves; `otherwise` is the hint for all
    that match neither these nor a usual factor, and are not just rounded too far.
    """
    value = number(answer)
    if _close(value, right, tolerance):
        return
    for wrong, hint in slips:
        if _close(value, wrong, tolerance):
            raise Slip(hint)
    for factor, hint in _FACTORS:
        if _close(value, factor * right, tolerance):
            raise Slip(hint)
    if _close(value, right, 6 * tolerance):
        raise Slip(f"Close, but right to {tolerance:.0%} is asked: how many digits did you keep?")
    raise Slip(otherwise)


def _close(value: float, right: float, tolerance: float) -> bool:
    return abs(value - right) <= max(tolerance * abs(right), 1e-6)


def same(got: Tensor, want: Tensor, tolerance: float = 1e-3) -> bool:
    """True where the largest difference is within `tolerance` of the largest wanted value."""
    scale = max(float(want.abs().max()), 1e-9)
    return float((got.double() - want.double()).abs().max()) <= tolerance * scale


def expect_rows(
    got: Tensor,
    want: Tensor,
    slips: Sequence[tuple[Tensor, str]],
    otherwise: str,
    what: str,
    tolerance: float = 1e-3,
) -> None:
    """Slip unless two tensors agree to a tolerance relative to the largest wanted value.

    Wrong tensors are recognised in `slips` first, then a common factor between got and want.
    """
    if same(got, want, tolerance):
        return
    for wrong, hint in slips:
        if same(got, wrong, tolerance):
            raise Slip(hint)
    ratio = float((got * want).sum() / want.square().sum())
    if abs(ratio) > 1e-3 and same(got, ratio * want, tolerance):
        raise Slip(
            f"{what} has the wrong sign."
            if abs(ratio + 1) < 1e-2
            else f"{what} is {ratio:.3g} times what it should be, everywhere alike."
        )
    raise Slip(otherwise)
