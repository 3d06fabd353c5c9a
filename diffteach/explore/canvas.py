"""The live view in Jupyter: an anywidget that draws in the browser, with a trait per parameter."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import anywidget
import traitlets

from diffteach import toys
from diffteach.explore.pack import pack
from diffteach.explore.page import script, style
from diffteach.explore.params import Choice, Handle, Param, Slider
from diffteach.explore.scene import Scene
from diffteach.explore.showable import Showable

BREATH = 0.02


class Canvas(anywidget.AnyWidget):
    """An explorable as a widget: every parameter, and `revealed`, is a trait of its name.

    `strokes` set from either side are drawn and gone; `drawn` names the drawings that are there.
    Setting a trait to what its parameter refuses raises ValueError and shows it in the strip.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    scene = traitlets.Bytes().tag(sync=True)
    error = traitlets.Unicode().tag(sync=True)
    hide = traitlets.List(traitlets.Unicode()).tag(sync=True)
    fixed = traitlets.Dict().tag(sync=True)
    asked = traitlets.Int().tag(sync=True)
    answered = traitlets.Int().tag(sync=True)
    opening = traitlets.Dict().tag(sync=True)
    strokes: traitlets.List = traitlets.List().tag(sync=True)
    drawn = traitlets.List(traitlets.Unicode()).tag(sync=True)
    state = traitlets.Unicode().tag(sync=True)

    def __init__(self, explorable: Showable) -> None:
        self._explorable = explorable
        self._shown: Scene | None = None
        self._following = False
        self._driver: asyncio.Task[None] | None = None
        opening = {name: _plain(value) for name, value in explorable.opened().items()}
        super().__init__(_esm=script(explorable.scene, "widget"), _css=style(), opening=opening)
        self._follow(explorable)
        explorable.observe(self._follow)
        self.observe(self._changed, ["strokes", "state"])

    def _follow(self, explorable: Showable) -> None:
        """Take over what the explorable says now; the scene itself only if it is another one."""
        outer, self._following = self._following, True
        try:
            with self.hold_sync():
                self.hide = list(explorable.hide)
                self.fixed = explorable.fixed()
                self.error = explorable.error
                self.state = explorable.state if explorable.film else ""
                if explorable.scene is not self._shown:
                    self._show(explorable.scene)
                for name, value in explorable.values.items():
                    self.set_trait(name, _plain(value))
        finally:
            self._following = outer
        if self.state == "running" and self._driver is None:
            self._driver = _task(self._drive())

    async def _drive(self) -> None:
        """Advance a running film, with a breath between scenes in which messages are heard."""
        try:
            while self._explorable.state == "running":
                self._explorable.advance()
                await asyncio.sleep(BREATH)
        finally:
            self._driver = None

    def _show(self, scene: Scene) -> None:
        before = {p.name for p in self._shown.params} if self._shown else set()
        new = {p.name: p for p in scene.params if p.name not in before}
        for name in new:
            if hasattr(Canvas, name):
                raise ValueError(f"a parameter cannot be called {name!r}: widgets use that name")
        values = self._explorable.values
        traits = {n: _trait(p, values[n]) for n, p in new.items() if not self.has_trait(n)}
        if not self.has_trait("revealed"):
            traits["revealed"] = traitlets.Float(values["revealed"]).tag(sync=True)
        if traits:
            self.add_traits(**traits)
            self._register_validator(_refuse, tuple(traits))
            self.observe(self._changed, list(traits))
        self.drawn = list(toys.drawn_names()) if scene.drawable else []
        packed = pack(scene)  # may fail: the scene counts as shown only after it
        self._esm, self.scene, self._shown = script(scene, "widget"), packed, scene

    def _changed(self, change: Any) -> None:
        if not self._following:
            self._tell()

    def _tell(self, dismissed: bool = False) -> None:
        """Pass on to the explorable, at once, every trait that differs from it, and strokes.

        A request without values, for a strip that was dismissed, only clears the error.
        """
        values = self._explorable.values
        new = {n: getattr(self, n) for n in values if getattr(self, n) != _plain(values[n])}
        strokes, self.strokes = self.strokes, []
        if new or dismissed or strokes:
            self._explorable.request(strokes, **new)
        if self.state and self.state != self._explorable.state:
            self._explorable.go(self.state)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """What the browser sends; a value that is refused is shown in the strip, not raised."""
        outer, self._following = self._following, True
        try:
            super().set_state(sync_data)
        except (ValueError, TypeError, traitlets.TraitError) as error:
            self.error = str(error)
        finally:
            self._following = outer
        try:
            self._tell(dismissed=sync_data.get("error") == "")
        except KeyboardInterrupt:
            self._explorable.error = "Interrupted: the picture stays as it was."
            self._follow(self._explorable)
            raise
        finally:
            self.answered = self.asked


def _refuse(widget: Canvas, proposal: Any) -> Any:
    """The proposed value, checked by its parameter."""
    name, value = proposal["trait"].name, proposal["value"]
    if widget._following or name == "revealed":
        return value
    try:
        return _plain(widget._explorable.scene.param(name).check(value))
    except (ValueError, TypeError) as error:
        widget.error = str(error)
        raise


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """The work as a task of the kernel's loop; None where no loop runs, as in a script."""
    try:
        return asyncio.get_running_loop().create_task(work)
    except RuntimeError:
        work.close()
        return None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _trait(param: Param, value: Any) -> traitlets.TraitType:
    if isinstance(param, Slider):
        return traitlets.Float(value).tag(sync=True)
    if isinstance(param, Handle):
        pair = traitlets.List(traitlets.Float(), _plain(value), minlen=2, maxlen=2)
        return pair.tag(sync=True)
    if isinstance(param, Choice):
        return traitlets.Unicode(value).tag(sync=True)
    return traitlets.Bool(value).tag(sync=True)
