"""The thing a lesson hands out: a scene, its present parameter values, and its three views."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from diffteach import toys
from diffteach.explore import links
from diffteach.explore.blame import blame, own_line
from diffteach.explore.params import Choice, Param
from diffteach.explore.scene import Frame, Scene

STATES = ("stopped", "running", "paused")


@dataclass(eq=False)
class Explorable:
    """A scene built by `build(mine=None, **settings)`, with values that controls and cells set.

    `hide` names controls that are not shown, "draw" the button to draw a density; `guess=False`
    reveals the answer from the start.
    Settings that the scene offers as kernel choices are computed anew when they change.
    `film(mine=None, **settings)` yields scenes that follow the built one, as training does.
    """

    build: Callable[..., Scene]
    settings: dict[str, Any] = field(default_factory=dict)
    hide: tuple[str, ...] = ()
    guess: bool = False
    film: Callable[..., Iterator[Scene]] | None = None
    mine: Callable[..., Any] | None = field(default=None, init=False)
    error: str = field(default="", init=False)
    state: str = field(default="stopped", init=False)
    score: float | None = field(default=None, init=False)
    scene: Scene = field(init=False, repr=False)
    values: dict[str, Any] = field(default_factory=dict, init=False)
    _opening: dict[str, Any] = field(default_factory=dict, init=False)
    _own_error: str = field(default="", init=False)
    _rest: Iterator[Scene] | None = field(default=None, init=False)
    _listeners: list[Callable[[Explorable], None]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.scene = self._built(self.settings, None)
        self.values = self.scene.defaults()
        self.scene.check_hidden(self.hide)

    def _built(self, settings: dict[str, Any], mine: Callable[..., Any] | None) -> Scene:
        scene = self._asked(self.build(mine=mine, **settings))
        self.state, self._rest = "stopped", None
        return scene

    def _asked(self, scene: Scene) -> Scene:
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
        """Set parameters; nothing is set if one of them is refused (ValueError, TypeError).

        Kernel choices come first: the others must fit the scene that these compute.
        """
        revealed = (
            {"revealed": self._reveal(values.pop("revealed"))} if "revealed" in values else {}
        )
        chosen = {n: v for n, v in values.items() if _is_kernel(self.scene.param(n))}
        chosen = {n: self.scene.param(n).check(v) for n, v in chosen.items()}
        scene, settings = self.scene, self.settings | chosen
        if settings != self.settings:
            scene = self._built(settings, self.mine)
        rest = {n: scene.param(n).check(v) for n, v in values.items() if n not in chosen}
        self._show(scene, chosen | rest | revealed)
        self.settings, self.error = settings, self._own_error
        self._changed()
        return self

    def _reveal(self, value: Any) -> float:
        if self.scene.prediction is None or value not in (0, 1):
            raise ValueError(
                f"revealed must be 0 or 1 and needs a prediction (guess=True), got {value!r}"
            )
        return float(value)

    def _show(self, scene: Scene, values: dict[str, Any]) -> None:
        """Take a scene, new values, moved ones that fit it, and the score once revealed."""
        hidden, usual = not self.values["revealed"], self.scene.defaults() | {"revealed": None}
        moved = {n: v for n, v in self.values.items() if v != usual[n]}
        kept = {n: v for n, v in moved.items() if _fits(scene, n, v)}
        self.scene, self.values = scene, scene.defaults() | kept | values
        if not self.values["revealed"]:
            self.score = None
        elif hidden:
            self.score = self.frame().score

    def draw(self, strokes: Any, file: str | None = None) -> Explorable:
        """Make strokes in the picture's coordinates the density, kept in a file whose name it has.

        strokes: points (N, 2), or a list of such. Without `file`, a new one in the folder `drawn`;
        a file that is there is overwritten. ValueError for a lesson without a choice of density,
        fewer than two distinct points, points that are not finite or outside the drawing square,
        or a name that would make links long.
        """
        choice = self.scene.drawable
        if choice is None:
            raise ValueError(f"{self.scene.name!r} has no choice of density, so none can be drawn")
        drawing, name = toys.drawing(strokes, choice.drawn), file or toys.new_name()
        links.check_short("file", name)
        chosen = {choice.name: toys.save_drawn(drawing, name).as_posix()}
        scene = self._built(self.settings | chosen, self.mine)
        self._show(scene, chosen)
        self.settings, self.error = self.settings | chosen, self._own_error
        self._changed()
        return self

    def go(self, state: str) -> Explorable:
        """Let the film run ("running"), wait ("paused"), or end with what there is ("stopped").

        A widget advances a running film by itself; without one `advance` does. ValueError for
        another word, or without a film.
        """
        if self.film is None:
            raise ValueError(f"{self.scene.name!r} has nothing that runs")
        if state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}, got {state!r}")
        if state == "running" and self._rest is None:
            self._rest = self.film(mine=self.mine, **self.settings)
        if state == "stopped":
            self._rest = None
        self.state, self.error = state, self._own_error
        self._changed()
        return self

    def advance(self, scenes: int = 1) -> Explorable:
        """Show the film's next scenes; at its end, or at an error, it stops and the last one stays.

        Values that were not moved follow the new scene's defaults. ValueError without a film.
        """
        if self._rest is None:
            self.go("running")
        assert self._rest is not None
        for _ in range(scenes):
            try:
                scene = self._asked(next(self._rest))
            except StopIteration:
                return self.go("stopped")
            except Exception as error:
                self.go("stopped")
                self.error = f"{type(error).__name__}: {error}"
                self._changed()
                return self
            self._show(scene, {})
            self._changed()
        return self

    def finish(self) -> Explorable:
        """Show the film's last scene."""
        self.advance()
        while self.state == "running":
            self.advance()
        return self

    def request(self, strokes: Any = None, **values: Any) -> None:
        """Like `set` and `draw`, for a view: what goes wrong is shown in the strip."""
        self._own_error = ""
        try:
            if values or not strokes:
                self.set(**values)
            if strokes:
                self.draw(strokes)
        except Exception as error:
            known = self.mine is not None and own_line(error, self.mine) is not None
            said = f"{type(error).__name__}: {error}"
            self.error = blame(error, self.mine) if known and self.mine else said
            self._changed()

    def try_(self, mine: Callable[..., Any] | None) -> Explorable:
        """Show the picture of your own function beside the library's; None takes it away.

        An error in it is shown in the strip with the function's line, until the next `try_` or the
        next touch of the picture; what an earlier function drew goes away.
        """
        try:
            scene = self._built(self.settings, mine)
        except Exception as error:
            if mine is None:
                raise
            self._own_error, mine = blame(error, mine), None
            scene = self.scene if self.mine is None else self._built(self.settings, None)
        else:
            self._own_error = ""
        self.mine, self.error = mine, self._own_error
        self._show(scene, {})
        self._changed()
        return self

    def opened(self) -> dict[str, Any]:
        """The values that Reset returns to: those of the first call, when a view shows them."""
        if not self._opening:
            self._opening = dict(self.values)
        return self._opening

    def reset(self) -> Explorable:
        """Every parameter back to the view first shown, or to its default; settings stay."""
        kept = {n: v for n, v in self._opening.items() if _fits(self.scene, n, v)}
        kernel = {n: self.values[n] for n in self.values if n in self.settings}
        self.values = self.scene.defaults() | kept | kernel
        self.values["revealed"] = float(self.scene.prediction is None)
        self.score, self.error = None, self._own_error
        self._changed()
        return self

    def predict(self, x: float, y: float) -> float:
        """Place the guess, reveal the answer, and return the guess's distance from it."""
        if self.scene.prediction is None:
            raise ValueError("this explorable asks for no prediction; build it with guess=True")
        self.set(guess=(x, y), revealed=0)
        self.set(revealed=1)
        assert self.score is not None
        return self.score

    def frame(self) -> Frame:
        """The picture at the present values, as arrays."""
        return self.scene.frame(self.values)

    def __getitem__(self, name: str) -> Any:
        """Present value of a parameter, an array or a named formula of the scene."""
        return self.frame()[name]

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
        return links.written(self.scene, self.values, self.fixed(), self.hide)

    def open(self, link: str) -> Explorable:
        """Take the view of a permalink: what it does not name is at its default.

        ValueError if it is another lesson's, a value is off, or it needs settings that only a new
        explorable can have.
        """
        name, pairs, hide, guess = links.parse(link)
        if name != self.scene.name:
            raise ValueError(
                f"this permalink is for {name!r}, this explorable is {self.scene.name!r}"
            )
        settings = self._settings_of(pairs)
        before, self.guess = self.guess, guess
        try:
            same = settings == self.settings and guess == before
            scene = self.scene if same else self._built(settings, self.mine)
            scene.check_hidden(hide)
            named = {n: links.value_of(scene, n, t) for n, t in pairs.items() if n not in settings}
            checked = {n: scene.param(n).check(v) for n, v in named.items()}
        except Exception:
            self.guess = before
            raise
        self._show(scene, scene.defaults() | checked)
        self.settings, self.hide, self.error = settings, hide, self._own_error
        self._changed()
        return self

    def _settings_of(self, pairs: dict[str, str]) -> dict[str, Any]:
        """The settings that a link asks for; ValueError for what this explorable cannot take."""
        usual = {n: p.default for n, p in inspect.signature(self.build).parameters.items()}
        settings = {
            n: links.typed(n, pairs[n], v) if n in pairs else usual.get(n, v)
            for n, v in self.settings.items()
        }
        for n, value in settings.items():
            if n in self.values:
                self.scene.param(n).check(value)
            elif value != self.settings[n]:
                raise ValueError(f"this permalink needs {n}={value}, built was {self.settings[n]}")
        return settings

    @cached_property
    def widget(self) -> Any:
        """The canvas: an anywidget with a trait for every parameter (observe, jslink, interact)."""
        from diffteach.explore.canvas import Canvas

        return Canvas(self)

    def figure(self, **options: Any) -> Any:
        """The picture as a matplotlib figure (a fresh one that no global list keeps)."""
        from diffteach.explore.agg import figure

        return figure(self.frame(), hide=self.hide, **options)

    def save(
        self, path: str | Path, *, over: str = "", frames: int = 40, seconds: float | int = 4.0
    ) -> Path:
        """Write the picture; the suffix (.png, .pdf, .svg, .gif) chooses the format.

        A .gif moves the slider named by `over` (else the first) from end to end, in so many frames
        and seconds. ValueError for another suffix or slider, or numbers out of range.
        """
        if Path(path).suffix.lower() == ".gif":
            from diffteach.explore import gif

            moving = gif.sweep(self.scene, self.values, over, frames)
            return gif.save(moving, Path(path), seconds, self.hide)
        if over:
            raise ValueError(f"only a .gif moves over a slider, got {Path(path).name!r}")
        from diffteach.explore import agg

        return agg.save(self.frame(), Path(path), hide=self.hide)

    def page(self, path: str | Path) -> Path:
        """Write one self-contained HTML file that needs no kernel and no network."""
        from diffteach.explore.page import write

        return write(self, Path(path))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        try:
            widget = self.widget
        except ImportError:
            from diffteach.explore.agg import png

            return {"text/plain": self.words, "image/png": png(self.frame(), hide=self.hide)}
        return widget._repr_mimebundle_(**options)


def _is_kernel(param: Param) -> bool:
    return isinstance(param, Choice) and param.kernel


def _fits(scene: Scene, name: str, value: Any) -> bool:
    if name == "revealed":
        return scene.prediction is not None
    try:
        scene.param(name).check(value)
    except (TypeError, ValueError):
        return False
    return True
