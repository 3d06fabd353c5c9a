"""A small language of formulas that Python and the browser evaluate alike.

A scene states its pictures as formulas over parameters and shipped arrays ("lam*trust - q"), so a
slider needs no kernel. The syntax is Python's; `parse` turns it into nested lists for JavaScript.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

Tree = float | str | list[Any]
_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


@lru_cache(maxsize=4096)
def _parse(text: str) -> str | float | tuple[Any, ...]:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"formula {text!r} is not valid: {error.msg}") from None
    return _convert(tree, text)


def _convert(node: ast.expr, text: str) -> str | float | tuple[Any, ...]:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return float(value)
        case ast.Name():
            return node.id
        case ast.BinOp() if type(node.op) in _BINARY:
            return (_BINARY[type(node.op)], _convert(node.left, text), _convert(node.right, text))
        case ast.UnaryOp(op=ast.USub()):
            return ("neg", _convert(node.operand, text))
        case ast.UnaryOp(op=ast.Not()):
            return ("==", _convert(node.operand, text), 0.0)
        case ast.BoolOp():
            name = "min" if isinstance(node.op, ast.And) else "max"
            return (name, *(("!=", _convert(v, text), 0.0) for v in node.values))
        case ast.Compare(ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return (_COMPARE[type(op)], _convert(node.left, text), _convert(right, text))
        case ast.IfExp():
            parts = (node.test, node.body, node.orelse)
            return ("where", *(_convert(p, text) for p in parts))
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return (name, *(_convert(a, text) for a in node.args))
    raise ValueError(f"formula {text!r} uses {type(node).__name__}, which formulas do not have")


def parse(text: str) -> Tree:
    """Nested lists [operator, argument, ...] of a formula; ValueError if it is not one."""

    def lists(tree: Any) -> Tree:
        return [lists(part) for part in tree] if isinstance(tree, tuple) else tree

    return lists(_parse(text))


def names(text: str) -> set[str]:
    """Names of parameters, arrays and formulas that a formula reads."""

    def walk(tree: Any) -> set[str]:
        if isinstance(tree, tuple):
            return set().union(*(walk(part) for part in tree[1:]))
        return {tree} if isinstance(tree, str) else set()

    return walk(_parse(text))


def functions(text: str) -> set[str]:
    """Names of the functions that a formula calls."""

    def walk(tree: Any) -> set[str]:
        if isinstance(tree, tuple):
            return {tree[0]}.union(*(walk(part) for part in tree[1:]))
        return set()

    return walk(_parse(text))


def at(field: np.ndarray, point: np.ndarray, bounds: tuple[float, ...]) -> np.ndarray | np.floating:
    """Bilinear reading of a field (H, W) at points (..., 2), clamped to its bounds."""
    x0, x1, y0, y1 = bounds
    rows, cols = field.shape
    u = np.clip((point[..., 0] - x0) / (x1 - x0), 0, 1) * (cols - 1)
    v = np.clip((point[..., 1] - y0) / (y1 - y0), 0, 1) * (rows - 1)
    j, i = np.minimum(u.astype(int), cols - 2), np.minimum(v.astype(int), rows - 2)
    u, v = u - j, v - i
    below = field[i, j] * (1 - u) + field[i, j + 1] * u
    above = field[i + 1, j] * (1 - u) + field[i + 1, j + 1] * u
    return below * (1 - v) + above * v


def argmin(field: np.ndarray, bounds: tuple[float, ...]) -> np.ndarray:
    """Position (2,) of a field's lowest value, refined by a parabola along each axis."""
    x0, x1, y0, y1 = bounds
    i, j = np.unravel_index(np.nanargmin(field), field.shape)
    rows, cols = field.shape

    def refine(low: float, mid: float, high: float) -> float:
        bend = low - 2 * mid + high
        return 0.5 * (low - high) / bend if np.isfinite(bend) and bend > 0 else 0.0

    du = refine(*field[i, j - 1 : j + 2]) if 0 < j < cols - 1 else 0.0
    dv = refine(*field[i - 1 : i + 2, j]) if 0 < i < rows - 1 else 0.0
    return np.array(
        [x0 + (j + du) * (x1 - x0) / (cols - 1), y0 + (i + dv) * (y1 - y0) / (rows - 1)]
    )


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Distance (N,) from each point (N, 2), or (1,) from one (2,), to the nearest centre (K, 2)."""
    gaps = np.atleast_2d(points)[:, None] - np.atleast_2d(centres)[None]
    return np.sqrt((gaps**2).sum(-1)).min(1)


_PURE: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
    "neg": np.negative,
    "<": lambda a, b: np.less(a, b) * 1.0,
    "<=": lambda a, b: np.less_equal(a, b) * 1.0,
    ">": lambda a, b: np.greater(a, b) * 1.0,
    ">=": lambda a, b: np.greater_equal(a, b) * 1.0,
    "==": lambda a, b: np.equal(a, b) * 1.0,
    "!=": lambda a, b: np.not_equal(a, b) * 1.0,
    "where": lambda c, a, b: np.where(np.not_equal(c, 0), a, b),
    "min": lambda *v: np.minimum.reduce([*np.broadcast_arrays(*v)]),
    "max": lambda *v: np.maximum.reduce([*np.broadcast_arrays(*v)]),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "lowest": lambda v: np.fmin.reduce(np.ravel(v)),
    "highest": lambda v: np.fmax.reduce(np.ravel(v)),
    "mean": np.nanmean,
    "median": np.nanmedian,
    "total": np.nansum,
    "norm": lambda v: np.sqrt(np.square(v).sum(-1)),
    "point": lambda x, y: np.array([float(x), float(y)]),
    "x": lambda p: p[..., 0],
    "y": lambda p: p[..., 1],
    "column": lambda a, j: a[..., int(j)],
    "row": lambda a, i: a[int(i)],
    "nearest": nearest,
}


KNOWN = frozenset({*_PURE, "at", "argmin"})


def evaluate(
    text: str,
    lookup: Callable[[str], Any],
    bounds: tuple[float, ...],
    extra: Mapping[str, Callable[..., Any]],
) -> Any:
    """Value of a formula: a number or an array; ValueError for a function nobody defines.

    Of two arrays the shapes must agree, or the last axis of one must match the other's.
    """
    spatial: dict[str, Callable[..., Any]] = {
        "at": lambda f, p: at(f, p, bounds),
        "argmin": lambda f: argmin(f, bounds),
    }

    def walk(tree: Any) -> Any:
        if isinstance(tree, str):
            return lookup(tree)
        if not isinstance(tree, tuple):
            return tree
        function = _PURE.get(tree[0]) or spatial.get(tree[0]) or extra.get(tree[0])
        if function is None:
            raise ValueError(f"formula {text!r} calls {tree[0]!r}, which is not defined")
        return function(*(walk(part) for part in tree[1:]))

    with np.errstate(all="ignore"):
        return walk(_parse(text))


_SLOT = re.compile(r"\{([^{}?]*?)(?::([^{}?:]+))?(?:\?([^{}|]*)\|([^{}]*))?\}")


def template(text: str) -> list[Any]:
    """Pieces of a sentence: strings, and slots [formula tree, format, if true, if false].

    A slot is `{formula}`, `{formula:.2f}` or `{formula ? words if true | words if false}`.
    """
    pieces: list[Any] = []
    end = 0
    for slot in _SLOT.finditer(text):
        formula, form, yes, no = slot.groups()
        pieces += [text[end : slot.start()], [parse(formula), form, yes, no, formula.strip()]]
        end = slot.end()
    return [*pieces, text[end:]]


def number(value: float, form: str | None) -> str:
    """A number in words: `.2f`, `+.2f`, `d`, or `.4g` by default; a dash where there is none."""
    if not np.isfinite(value):
        return "–" if np.isnan(value) else ("∞" if value > 0 else "−∞")
    if form == "d":
        return str(round(value)).replace("-", "−")
    text = format(value, form or ".4g")
    # A small negative number that rounds to zero is written without its sign.
    return text.removeprefix("-") if not re.search("[1-9]", text) else text.replace("-", "−")
