"""What an explorable shows, as data: parameters, shipped arrays, formulas, layers and words.

A scene is drawn by three views (browser canvas, matplotlib, a page on disk) that compute nothing
but its formulas. Fields are (H, W) with y along the rows, their nodes spanning `bounds` inclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffteach.explore import expression
from diffteach.explore.params import Choice, Handle, Param

WAITING = "The words wait for your guess."


@dataclass(frozen=True)
class Stack:
    """An array shipped to the views, with leading axes bound to parameters.

    `data` has shape (len(knots) for each axis, then the item); between the knots of a slider it is
    blended linearly in the slider's value, so what is linear in a parameter needs two knots.
    `bits` is the precision that is shipped, of the array's own range.
    """

    data: np.ndarray
    axes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    bits: int = 12

    def __post_init__(self) -> None:
        shape = tuple(len(knots) for knots in self.axes.values())
        if self.data.shape[: len(shape)] != shape:
            raise ValueError(f"data of shape {self.data.shape} does not start with knots {shape}")
        if any(np.any(np.diff(knots) <= 0) for knots in self.axes.values()):
            raise ValueError(f"knots must increase, got {dict(self.axes)}")

    def at(self, values: Mapping[str, Any]) -> np.ndarray | float:
        """The item at parameter values, blended between knots and held beyond them."""
        item = self.data.astype(np.float64)
        for name, knots in self.axes.items():
            if len(knots) == 1:
                item = item[0]
                continue
            value = min(max(values[name], knots[0]), knots[-1])
            k = min(int(np.searchsorted(knots, value, side="right")) - 1, len(knots) - 2)
            share = (value - knots[k]) / (knots[k + 1] - knots[k])
            # A share of 0 or 1 takes the knot itself, so that what lies beyond may be NaN.
            item = (
                item[k]
                if share == 0
                else item[k + 1]
                if share == 1
                else item[k] * (1 - share) + item[k + 1] * share
            )
        return item if item.ndim else float(item)


@dataclass(frozen=True)
class Panel:
    """A square of the plane (`kind` "plane") or a line chart ("chart") with its own limits."""

    title: str = ""
    kind: str = "plane"
    xlabel: str = ""
    ylabel: str = ""
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    xscale: str = "linear"
    yscale: str = "linear"
    when: str = "1"


@dataclass(frozen=True)
class Layer:
    """One thing drawn in a panel: `data` are formulas, `style` literals.

    kind      data                    style
    heat      field, low?, high?      colors ("sequential", "diverging", "density", "pale"), label
    contour   field, level            color, width, dash, fill ("above": shade where it is exceeded)
    points    xy (N,2), value? (N,)   color, size, shape ("dot", "ring", "square")
    arrows    xy (N,2), uv (N,2)      color, length (longest arrow, share of width; absent: data)
    path      xy (T,2) or (P,T,2)     color, width, dash, closed
    marker    xy (2,)                 color, shape ("star", "cross", "ring"), size (radius), label
    line      x (N,), y (N,)          color, width, dash
    rule      x or y (number)         color, width, dash, label
    Colours: ink, muted, blue, orange, green, vermilion, purple, sky, yellow. Purple is the
    reader's own: a guess, or what comes of a function handed to `try_`.
    """

    kind: str
    data: Mapping[str, str]
    style: Mapping[str, Any] = field(default_factory=dict)
    panel: int = 0
    when: str = "1"
    legend: str = ""


KINDS = {"heat", "contour", "points", "arrows", "path", "marker", "line", "rule"}


def layer(kind: str, panel: int = 0, when: str = "1", legend: str = "", **entries: Any) -> Layer:
    """A layer whose string entries named in its kind's `data` are formulas, the rest style."""
    formulas = {"field", "low", "high", "level", "xy", "uv", "value", "x", "y"}
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(sorted(KINDS))}, got {kind!r}")
    data = {k: str(v) for k, v in entries.items() if k in formulas}
    style = {k: v for k, v in entries.items() if k not in formulas}
    return Layer(kind, data, style, panel, when, legend)


@dataclass(frozen=True)
class Readout:
    """A number shown under the picture."""

    label: str
    formula: str
    form: str = ".2f"
    when: str = "1"


@dataclass(frozen=True)
class Prediction:
    """A guess placed in the picture before `revealed` turns 1: the answer is a point's formula."""

    question: str
    answer: str
    tolerance: float
    right: str = "Well placed."
    wrong: str = "Not there."


@dataclass(frozen=True)
class Operation:
    """A function of formulas that a lesson brings along: in Python and, alike, in JavaScript.

    `javascript` is a source that declares a function of this name; it may declare others, and
    functions may share one source. They take and return numbers or arrays {d, s}: values in
    row-major order and the shape.
    """

    name: str
    python: Callable[..., Any]
    javascript: str


@dataclass(frozen=True)
class Scene:
    """Everything a view needs; formulas in `let` may use parameters, stacks and each other.

    `words` is one sentence, or several by the formula of when each is said.
    """

    name: str
    title: str
    bounds: tuple[float, float, float, float]
    params: tuple[Param, ...]
    layers: tuple[Layer, ...]
    words: str | Mapping[str, str]
    stacks: Mapping[str, Stack] = field(default_factory=dict)
    let: Mapping[str, str] = field(default_factory=dict)
    panels: tuple[Panel, ...] = (Panel(),)
    readouts: tuple[Readout, ...] = ()
    prediction: Prediction | None = None
    functions: tuple[Operation, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        known = {p.name for p in self.params} | {*self.stacks, *self.let, "revealed"}
        names = [*(p.name for p in self.params), *self.stacks, *self.let]
        if twice := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"names must differ, got {', '.join(sorted(twice))} twice")
        for name, stack in self.stacks.items():
            if astray := set(stack.axes) - {p.name for p in self.params}:
                raise ValueError(
                    f"stack {name!r} has axes {', '.join(sorted(astray))}: no parameters"
                )
        if any(not 0 <= entry.panel < len(self.panels) for entry in self.layers):
            raise ValueError(f"a layer's panel must lie in 0..{len(self.panels) - 1}")
        callable_names = expression.KNOWN | {f.name for f in self.functions}
        for text in self.formulas():
            if unknown := expression.functions(text) - callable_names:
                raise ValueError(
                    f"formula {text!r} calls {', '.join(sorted(unknown))}: not defined"
                )
            if missing := expression.names(text) - known:
                raise ValueError(f"formula {text!r} reads {', '.join(sorted(missing))}: not in it")

    @property
    def said(self) -> Mapping[str, str]:
        """The sentences, by the formula of when each is said."""
        return {"1": self.words} if isinstance(self.words, str) else self.words

    def formulas(self) -> list[str]:
        """Every formula of the scene."""
        texts = [*self.let.values(), *(p.when for p in (*self.params, *self.panels))]
        texts += [t for entry in self.layers for t in (entry.when, *entry.data.values())]
        texts += [t for entry in self.readouts for t in (entry.when, entry.formula)]
        pieces = [p for words in self.said.values() for p in expression.template(words)]
        texts += [*self.said, *(piece[4] for piece in pieces if isinstance(piece, list))]
        return [*texts, self.prediction.answer] if self.prediction else texts

    def param(self, name: str) -> Param:
        """The parameter of a name; ValueError with the names there are."""
        for param in self.params:
            if param.name == name:
                return param
        names = ", ".join(p.name for p in self.params)
        raise ValueError(f"there is no parameter {name!r} here; there are {names}")

    @property
    def drawable(self) -> Choice | None:
        """The choice of a density that a reader may draw, if there is one."""
        return next((p for p in self.params if isinstance(p, Choice) and p.drawn), None)

    def check_hidden(self, names: Iterable[str]) -> None:
        """ValueError unless each is a parameter, or "draw" where a density can be drawn."""
        for name in names:
            if name != "draw" or self.drawable is None:
                self.param(name)

    def defaults(self) -> dict[str, Any]:
        """Default value of every parameter, and `revealed`: 0 while a prediction waits."""
        values: dict[str, Any] = {p.name: p.default for p in self.params}
        return values | {"revealed": float(self.prediction is None)}

    def frame(self, values: Mapping[str, Any]) -> Frame:
        """Everything drawn at these parameter values."""
        return Frame(self, self.defaults() | dict(values))


class Frame:
    """A scene at given parameter values: its formulas as numbers, evaluated once and when asked."""

    def __init__(self, scene: Scene, values: Mapping[str, Any]) -> None:
        self.scene = scene
        self.values = dict(values)
        self._extra = {f.name: f.python for f in scene.functions}
        self._known: dict[str, Any] = {
            p.name: self._numeric(p, values[p.name]) for p in scene.params
        } | {"revealed": float(values["revealed"])}

    @staticmethod
    def _numeric(param: Param, value: Any) -> Any:
        if isinstance(param, Choice):
            return float(param.options.index(value))
        return np.asarray(value, float) if isinstance(param, Handle) else float(value)

    def __getitem__(self, name: str) -> Any:
        """Value of a parameter, a stack or a named formula; ValueError for another name."""
        scene = self.scene
        if name not in self._known:
            if name in scene.stacks:
                self._known[name] = scene.stacks[name].at(self._known)
            elif name in scene.let:
                self._known[name] = self.of(scene.let[name])
            else:
                known = ", ".join([*self._known, *scene.stacks, *scene.let])
                raise ValueError(f"there is no {name!r} here; there are {known}")
        return self._known[name]

    def of(self, formula: str) -> Any:
        """Value of a formula: a number or an array."""
        return expression.evaluate(formula, self.__getitem__, self.scene.bounds, self._extra)

    def shows(self, entry: Layer | Readout | Param | Panel) -> bool:
        """Whether a layer, a read-out, a control or a panel is visible."""
        return bool(self.of(entry.when) != 0)

    @property
    def words(self) -> str:
        """The sentence that says what is seen, once a prediction is revealed."""
        if not self._known["revealed"]:
            return WAITING
        return "".join(
            piece if isinstance(piece, str) else self._slot(*piece)
            for when, words in self.scene.said.items()
            if self.of(when) != 0
            for piece in expression.template(words)
        )

    def _slot(
        self, _tree: Any, form: str | None, yes: str | None, no: str | None, text: str
    ) -> str:
        if yes is not None and no is not None:
            return (yes if self.of(text) else no).strip()
        choices = {p.name for p in self.scene.params if isinstance(p, Choice)}
        if text in choices and form is None:
            return str(self.values[text])
        return expression.number(float(np.squeeze(self.of(text))), form)

    @property
    def score(self) -> float | None:
        """Distance of the placed guess from the answer, or None without a prediction."""
        if self.scene.prediction is None:
            return None
        gap = np.asarray(self["guess"]) - self.of(self.scene.prediction.answer)
        return float(np.linalg.norm(gap))
