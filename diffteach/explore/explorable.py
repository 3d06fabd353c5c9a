"""The thing a lesson hands out: a scene, its present parameter values, and its three views."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from diffteach.explore.blame import blame
from diffteach.explore.params import Choice, Handle, Toggle
from diffteach.explore.scene import Frame, Scene


@dataclass(eq=False)
class Explorable:
    """A scene built by `build(mine=None, **settings)`, with values that controls and cells set.

    `hide` names controls that are not shown; `guess=False` reveals the answer from the start.
    Settings that the scene offers as kernel choices are computed anew when they change.
    """

    build: Callable[..., Scene]
    settings: dict[str, Any] = field(default_factory=dict)
    hide: tuple[str, ...] = ()
    guess: bool = False
    mine: Callable[..., Any] | None = field(default=None, init=False)
    error: str = field(default="", init=False)
    scene: Scene = field(init=False, repr=False)
    values: dict[str, Any] = field(default_factory=dict, init=False)
    _listeners: list[Callable[[Explorable], None]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.scene = self._built(self.settings, None)
        self.values = self.scene.defaults()
        for name in self.hide:
            self.scene.param(name)

    def _built(self, settings: dict[str, Any], mine: Callable[..., Any] | None) -> Scene:
        scene = self.build(mine=mine, **settings)
        if self.guess:
            return scene
        params = tuple(p for p in scene.params if p.name != "guess")
        return replace(scene, prediction=None, params=params)

    def observe(self, listener: Callable[[Explorable], None]) -> None:
        """Call `listener(self)` after every change."""
        self._listeners.append(listener)

    def _changed(self) -> None:
        for listener in self._listeners:
            listener(self)

    def set(self, **values: Any) -> Explorable:
        """Set parameters; nothing is set if one of them is refused (ValueError, TypeError)."""
        revealed = {"revealed": float(values.pop("revealed"))} if "revealed" in values else {}
        checked = {name: self.scene.param(name).check(v) for name, v in values.items()}
        rebuilt = {
            name: v
            for name, v in checked.items()
            if getattr(self.scene.param(name), "kernel", False) and v != self.values[name]
        }
        if rebuilt:
            settings = self.settings | rebuilt
            scene = self._built(settings, self.mine)
            self.scene, self.settings = scene, settings
            kept = {n: v for n, v in self.values.items() if self._fits(n, v)}
            self.values = scene.defaults() | kept | rebuilt
        self.values |= {n: v for n, v in checked.items() if n not in rebuilt} | revealed
        self.error = ""
        self._changed()
        return self

    def _fits(self, name: str, value: Any) -> bool:
        if name == "revealed":
            return self.scene.prediction is not None
        try:
            self.scene.param(name).check(value)
        except (TypeError, ValueError):
            return False
        return True

    def request(self, **values: Any) -> None:
        """Like `set`, for a view: what goes wrong is shown in the strip and nothing changes."""
        try:
            self.set(**values)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            self._changed()

    def try_(self, mine: Callable[..., Any] | None) -> Explorable:
        """Show the picture of your own function beside the library's; None takes it away.

        An error in it is shown in the strip with the function's line, and the picture stays.
        """
        try:
            scene = self._built(self.settings, mine)
        except Exception as error:
            self.error = str(error) if mine is None else blame(error, mine)
        else:
            self.scene, self.mine, self.error = scene, mine, ""
            self.values = scene.defaults() | {
                n: v for n, v in self.values.items() if self._fits(n, v)
            }
        self._changed()
        return self

    def reset(self) -> Explorable:
        """Every parameter back to its default; settings and `try_` stay."""
        self.values = self.scene.defaults()
        self.error = ""
        self._changed()
        return self

    def predict(self, x: float, y: float) -> float:
        """Place the guess, reveal the answer, and return the guess's distance from it."""
        if self.scene.prediction is None:
            raise ValueError("this explorable asks for no prediction; build it with guess=True")
        self.set(guess=(x, y), revealed=1.0)
        score = self.frame().score
        assert score is not None
        return score

    def frame(self) -> Frame:
        """The picture at the present values, as arrays."""
        return self.scene.frame(self.values)

    def __getitem__(self, name: str) -> Any:
        """Present value of a parameter, an array or a named formula of the scene."""
        frame = self.frame()
        if not (name in self.values or name in self.scene.stacks or name in self.scene.let):
            known = ", ".join([*self.values, *self.scene.stacks, *self.scene.let])
            raise ValueError(f"there is no {name!r} here; there are {known}")
        return frame[name]

    def of(self, formula: str) -> Any:
        """Present value of a formula over the scene's names."""
        return self.frame().of(formula)

    @property
    def words(self) -> str:
        """The sentence that says what is seen."""
        return self.frame().words

    def fixed(self) -> dict[str, str]:
        """Settings of the builder that differ from its own defaults, as a permalink names them."""
        usual = {n: p.default for n, p in inspect.signature(self.build).parameters.items()}
        return {
            n: str(v)
            for n, v in self.settings.items()
            if isinstance(v, (str, int, float)) and v != usual.get(n)
        }

    def permalink(self) -> str:
        """The view as a short text: name?parameter=value&...; defaults are left out."""
        parts = self.fixed()
        defaults = self.scene.defaults()
        for param in self.scene.params:
            value = self.values[param.name]
            if value != defaults[param.name]:
                parts[param.name] = _to_text(value)
        if self.hide:
            parts["hide"] = ",".join(self.hide)
        query = "&".join(f"{n}={quote(str(v), safe=',.')}" for n, v in parts.items())
        return f"{self.scene.name}?{query}" if query else self.scene.name

    def open(self, link: str) -> Explorable:
        """Take the view of a permalink; ValueError if it is another lesson's or a value is off."""
        name, _, query = link.partition("?")
        if name != self.scene.name:
            raise ValueError(
                f"this permalink is for {name!r}, this explorable is {self.scene.name!r}"
            )
        pairs = dict(parse_qsl(query))
        hidden = tuple(n for n in pairs.pop("hide", "").split(",") if n)
        for n in hidden:
            self.scene.param(n)
        fixed = {n for n in pairs if n in self.settings and n not in self.values}
        for n in fixed:
            if str(self.settings[n]) != pairs[n]:
                raise ValueError(
                    f"this permalink needs {n}={pairs[n]}, built was {self.settings[n]}"
                )
        self.set(**{n: _from_text(self.scene, n, v) for n, v in pairs.items() if n not in fixed})
        self.hide = hidden
        self._changed()
        return self

    @cached_property
    def widget(self) -> Any:
        """The canvas: an anywidget with a trait for every parameter (observe, jslink, interact)."""
        from diffteach.explore.canvas import Canvas

        return Canvas(self)

    def figure(self, **options: Any) -> Any:
        """The picture as a matplotlib figure (a fresh one that no global list keeps)."""
        from diffteach.explore.agg import figure

        return figure(self.frame(), **options)

    def save(self, path: str | Path) -> Path:
        """Write the picture; the suffix (.png, .pdf, .svg) chooses the format."""
        from diffteach.explore.agg import save

        return save(self.frame(), Path(path))

    def page(self, path: str | Path) -> Path:
        """Write one self-contained HTML file that needs no kernel and no network."""
        from diffteach.explore.page import write

        return write(self, Path(path))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        try:
            widget = self.widget
        except ImportError:
            from diffteach.explore.agg import png

            return {"text/plain": self.words, "image/png": png(self.frame())}
        return widget._repr_mimebundle_(**options)


def _to_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{v:.4g}" for v in value)
    return value if isinstance(value, str) else f"{float(value):.4g}"


def _from_text(scene: Scene, name: str, text: str) -> Any:
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
