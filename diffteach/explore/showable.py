"""What a view on a screen needs of an explorable: its scene and values, and a way to be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from diffteach.explore.scene import Scene


@runtime_checkable
class Showable(Protocol):
    """What a live view needs of an explorable."""

    scene: Scene
    values: dict[str, Any]
    hide: tuple[str, ...]
    error: str
    state: str
    film: Callable[..., Any] | None

    def opened(self) -> dict[str, Any]:
        """The values that Reset returns to."""

    def fixed(self) -> dict[str, str]:
        """Settings that a permalink names beside the parameters."""

    def request(self, strokes: Any = None, **values: Any) -> None:
        """Set parameters, then draw; what goes wrong is left in `error`."""

    def observe(self, listener: Callable[[Any], None]) -> None:
        """Call `listener(self)` after every change."""

    def go(self, state: str) -> Any:
        """Let the film run, wait or stop."""

    def advance(self) -> Any:
        """Show the film's next scene."""
