"""Permalinks: a view as a short text, name?parameter=value&...; defaults are left out."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote

from diffteach.explore.params import Choice, Handle, Toggle
from diffteach.explore.scene import Scene


class Link(NamedTuple):
    """A permalink taken apart; `pairs` are settings and parameters as text."""

    name: str
    pairs: dict[str, str]
    hide: tuple[str, ...]
    guess: bool


def parse(link: str) -> Link:
    """The parts of a permalink, or of the address of a page whose hash is one."""
    name, _, query = link.rpartition("#")[2].partition("?")
    pairs = dict(parse_qsl(query))
    hide = tuple(n for n in pairs.pop("hide", "").split(",") if n)
    return Link(name, pairs, hide, pairs.pop("guess", "0") == "1")


def written(
    scene: Scene, values: dict[str, Any], fixed: dict[str, Any], hide: tuple[str, ...]
) -> str:
    """The permalink of a view; a prediction travels as guess=1, never where the guess lies."""
    defaults = scene.defaults()
    parts = dict(fixed)
    for name in (p.name for p in scene.params if p.name != "guess"):
        if values[name] != defaults[name]:
            parts[name] = _to_text(values[name])
    if scene.prediction is not None:
        parts["guess"] = "1"
    if hide:
        parts["hide"] = ",".join(hide)
    query = "&".join(f"{n}={quote(str(v), safe=',.')}" for n, v in parts.items())
    return f"{scene.name}?{query}" if query else scene.name


def check_short(what: str, text: str) -> None:
    """ValueError for a text that would take more than 100 of a link's 300 characters."""
    length = len(quote(text, safe=",."))
    if length > 100:
        raise ValueError(f"{what} must take at most 100 characters in a link, got {length}")


def typed(name: str, text: str, like: Any) -> Any:
    """A setting's text as a value of the type that the setting has; ValueError if it is none."""
    try:
        return type(like)(text)
    except ValueError:
        kind = type(like).__name__
        raise ValueError(f"{name} must be of type {kind} in a permalink, got {text!r}") from None


def _to_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{v:.4g}" for v in value)
    return value if isinstance(value, str) else f"{float(value):.4g}"


def value_of(scene: Scene, name: str, text: str) -> Any:
    """A parameter's text as a value, not yet checked; ValueError if it is no number."""
    param = scene.param(name)
    if isinstance(param, Choice):
        return text
    try:
        if isinstance(param, Handle):
            x0, x1, y0, y1 = param.bounds
            x, y = (float(v) for v in text.split(","))
            return _snapped(x, x0, x1), _snapped(y, y0, y1)
        if isinstance(param, Toggle):
            return text == "1"
        return _snapped(float(text), param.low, param.high)
    except ValueError:
        raise ValueError(f"{name} must be a number in a permalink, got {text!r}") from None


def _snapped(value: float, low: float, high: float) -> float:
    """A link carries four digits, which may round a value just past the end of its range."""
    edge = min(max(value, low), high)
    return edge if abs(value - edge) <= 1e-3 * max(abs(value), abs(edge)) else value
