"""Films: scenes that follow one another while a picture is looked at."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from diffteach.explore.canvas import Canvas
from diffteach.explore.explorable import Explorable
from diffteach.explore.params import Choice, Slider
from diffteach.explore.scene import Scene, Stack, layer

BOUNDS = (-1.0, 1.0, -1.0, 1.0)


def scene(mine=None, kind: str = "line", steps: int = 0) -> Scene:
    params = (
        Slider("step", "step", 0.0, 5.0, float(steps)),
        Slider("lam", "λ", 0.0, 2.0, 1.0),
        Choice("kind", "kind", ("line", "ring"), kind, kernel=True),
    )
    knots = tuple(float(k) for k in range(steps + 1))
    path = np.stack([np.arange(steps + 1.0), np.arange(steps + 1.0)], -1)[:, None]
    return Scene(
        "film", "A film", BOUNDS, params, (layer("points", xy="path"),), "At {step:d}.",
        {"path": Stack(path, {"step": knots})},
    )  # fmt: skip


def film(mine=None, kind: str = "line"):
    for steps in range(1, 4):
        if kind == "ring" and steps == 3:
            raise FloatingPointError("q became nan at step 3 of stage 'policy'")
        yield scene(mine, kind, steps)


def made() -> Explorable:
    return Explorable(scene, {"kind": "line"}, film=film)


def test_scenes_follow_and_untouched_values_with_them() -> None:
    explorable = made().advance()
    assert explorable.state == "running" and explorable["step"] == 1
    explorable.set(lam=0.5).advance()
    assert explorable["step"] == 2 and explorable["lam"] == 0.5
    assert explorable["path"].tolist() == [[2.0, 2.0]]
    explorable.set(step=0.5).advance()
    assert explorable["step"] == 0.5 and explorable["path"].tolist() == [[0.5, 0.5]]
    assert explorable.advance().state == "stopped"
    assert explorable["path"].tolist() == [[0.5, 0.5]]


def test_pause_keeps_the_place_and_stop_keeps_the_picture() -> None:
    explorable = made().advance().go("paused")
    assert explorable.go("running").advance()["step"] == 2
    explorable.go("stopped")
    assert explorable["step"] == 2
    assert explorable.advance()["step"] == 1


def test_another_choice_ends_the_film() -> None:
    explorable = made().advance().set(kind="ring")
    assert explorable.state == "stopped" and explorable["step"] == 0


def test_an_error_stops_the_film_and_leaves_the_last_scene() -> None:
    explorable = made().set(kind="ring").advance(3)
    assert explorable.state == "stopped" and explorable["step"] == 2
    assert explorable.error == "FloatingPointError: q became nan at step 3 of stage 'policy'"
    assert explorable.set(lam=0.1).error == ""


def test_a_still_picture_does_not_run() -> None:
    explorable = Explorable(scene, {"kind": "line"})
    for act in (explorable.advance, lambda: explorable.go("running")):
        with pytest.raises(ValueError, match="'film' has nothing that runs"):
            act()
    with pytest.raises(ValueError, match="state must be one of stopped, running, paused, got 'on'"):
        made().go("on")
    assert Canvas(explorable).state == ""


def test_a_widget_drives_the_film_in_the_kernels_loop() -> None:
    explorable = made()
    widget = Canvas(explorable)
    assert widget.state == "stopped"

    async def lesson() -> list[float]:
        seen = []
        widget.set_state({"state": "running"})
        while widget.state == "running":
            seen.append(widget.step)
            widget.set_state({"lam": 0.25})  # heard between two scenes
            await asyncio.sleep(0.005)
        return seen

    seen = asyncio.run(lesson())
    assert sorted(set(seen)) == seen[:1] + [s for s in (1.0, 2.0, 3.0) if s in seen[1:]]
    assert widget.step == 3 and explorable["lam"] == 0.25 and widget.state == "stopped"


def test_a_pause_from_the_browser_is_heard_between_two_scenes() -> None:
    def endless(mine=None, kind="line"):
        while True:
            yield scene(mine, kind, 1)

    explorable = Explorable(scene, {"kind": "line"}, film=endless)
    widget = Canvas(explorable)

    async def lesson() -> None:
        widget.set_state({"state": "running"})
        await asyncio.sleep(0.06)
        widget.set_state({"state": "paused"})
        await asyncio.sleep(0.06)

    asyncio.run(lesson())
    assert widget.state == explorable.state == "paused" and widget._driver is None


def test_a_failed_choice_leaves_the_film_alone() -> None:
    explorable = made().advance()
    with pytest.raises(ValueError, match="kind must be one of line, ring, got 'star'"):
        explorable.set(kind="star")
    assert explorable.advance()["step"] == 2
    assert replace(explorable.scene).name == "film"
