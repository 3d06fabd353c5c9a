"""Checks that settings, agents and data share: one sentence for what is not accepted."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from torch import Tensor


def check_between(
    name: str, value: float | int, low: float | int = 0, high: float | int = 1
) -> None:
    """ValueError unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low}, {high}], got {value}")


def check_not_negative(name: str, value: float | int) -> None:
    """ValueError unless value >= 0 and finite."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and not negative, got {value}")


def check_limit(name: str, value: float | int | None) -> None:
    """ValueError unless value is None or positive and finite."""
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


def check_kind(name: str, value: object, *kinds: type) -> None:
    """TypeError unless value is of one of the kinds."""
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be of kind {wanted}, got {type(value).__name__}")


def check_space(obs_dim: int, act_dim: int, act_limit: float | int | None) -> None:
    """ValueError for a space without coordinates, or a box of actions that is empty or no box."""
    for name, size in (("obs_dim", obs_dim), ("act_dim", act_dim)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if act_limit is None or not 0 < act_limit < math.inf:
        raise ValueError(f"act_limit must be positive and finite, got {act_limit}")


def check_rows(name: str, rows: object, width: int, each: str) -> None:
    """TypeError unless rows is a tensor, ValueError unless its shape is (B, width)."""
    if not isinstance(rows, Tensor):
        raise TypeError(f"{name} must be of kind Tensor, got {type(rows).__name__}")
    if rows.ndim != 2 or rows.shape[-1] != width:
        raise ValueError(
            f"{name} must have shape (B, {width}), one row per {each}, got {tuple(rows.shape)}"
        )


def check_obs(obs: Tensor, obs_dim: int) -> None:
    """TypeError unless obs is a tensor, ValueError unless its shape is (B, obs_dim)."""
    check_rows("obs", obs, obs_dim, "state")


def unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that nobody knows: those there are, and the nearest of them."""
    known = list(known)
    hint = nearest(name, known)
    return ValueError(f"{what} must be one of {', '.join(known)}, got {name!r}{hint}")


def nearest(name: object, known: Iterable[str], most: int = 1) -> str:
    """The end of a sentence about an unknown name: up to `most` known ones near it, or nothing."""
    plain = {each.lower(): each for each in known}
    close = difflib.get_close_matches(str(name).strip().lower(), plain, most, 0.4)
    return f"; did you mean {' or '.join(repr(plain[each]) for each in close)}?" if close else ""
