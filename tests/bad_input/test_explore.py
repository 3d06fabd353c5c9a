"""What scenes and their views answer to bad input: one sentence, nothing half-done."""

from __future__ import annotations

import os

import numpy as np
import pytest
from explore import gallery

from diffteach.explore import colors
from diffteach.explore.explorable import Explorable
from diffteach.explore.pack import quantise
from diffteach.explore.params import Slider
from diffteach.explore.scene import Scene, Stack, layer


@pytest.fixture
def explorable() -> Explorable:
    return Explorable(gallery.build)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"a": 1.5}, r"a must lie in \[0, 1\], got 1.5"),
        ({"a": float("nan")}, "a must lie in"),
        ({"mode": "odd"}, "mode must be one of plain, mirrored, saddle, got 'odd'"),
        ({"probe": (5.0, 0.0)}, r"probe must lie in \[-2, 2\] x \[-1, 3\], got \(5, 0\)"),
        ({"lam": 1.0}, "there is no parameter 'lam' here; there are a, b, "),
    ],
)
def test_values_out_of_range(explorable: Explorable, values: dict, sentence: str) -> None:
    before = dict(explorable.values)
    with pytest.raises(ValueError, match=sentence):
        explorable.set(**values)
    assert explorable.values == before


@pytest.mark.parametrize(
    ("name", "value"), [("a", "x"), ("a", True), ("on", "yes"), ("probe", 3.0), ("probe", (1.0,))]
)
def test_values_of_the_wrong_type(explorable: Explorable, name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} must be"):
        explorable.set(**{name: value})


def test_a_parameter_that_widgets_would_swallow() -> None:
    def build(mine=None) -> Scene:
        return Scene("x", "", gallery.BOUNDS, (Slider("layout", "l", 0.0, 1.0, 0.5),), (), "")

    with pytest.raises(ValueError, match="cannot be called 'layout'"):
        _ = Explorable(build).widget


@pytest.mark.parametrize("link", ["other?a=1", "gallery?a=9", "gallery?a=x", "gallery?probe=1"])
def test_permalinks(explorable: Explorable, link: str) -> None:
    with pytest.raises(ValueError):
        explorable.open(link)


def test_a_page_that_cannot_be_written(explorable: Explorable, tmp_path) -> None:
    with pytest.raises(OSError, match="cannot write .*: No such file or directory"):
        explorable.page(tmp_path / "nowhere" / "page.html")
    with pytest.raises(OSError, match="it is a folder"):
        explorable.page(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_page_whose_disk_fails_leaves_the_old_one(explorable, tmp_path, monkeypatch) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="cannot write .*: No space left on device"):
        explorable.page(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["page.html"]


def test_a_picture_of_an_unknown_kind(explorable: Explorable, tmp_path) -> None:
    with pytest.raises(ValueError, match="saved as .png, .pdf, .svg or .gif, got 'a.bmp'"):
        explorable.save(tmp_path / "a.bmp")
    assert os.listdir(tmp_path) == []


def test_scenes_that_do_not_hold_together() -> None:
    with pytest.raises(ValueError, match="kind must be one of"):
        layer("heatmap", field="1")
    with pytest.raises(ValueError, match="knots must increase"):
        Stack(np.zeros((2, 3)), {"a": (1.0, 0.0)})
    with pytest.raises(ValueError, match="does not start with knots"):
        Stack(np.zeros((2, 3)), {"a": (0.0, 1.0, 2.0)})
    with pytest.raises(ValueError, match="reads nothing_such"):
        Scene("x", "", gallery.BOUNDS, (), (layer("heat", field="nothing_such"),), "")
    with pytest.raises(ValueError, match="bits must lie in 1..16"):
        quantise(np.zeros(3), 17)
    with pytest.raises(ValueError, match="colors must be one of sequential"):
        colors.ramp("rainbow", False)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"over": "lam"}, "over must be one of the sliders a, b, .*got 'lam'"),
        ({"over": "mode"}, "over must be one of the sliders"),
        ({"frames": 1}, "frames must be a whole number from 2, got 1"),
        ({"frames": 2.5}, "frames must be a whole number"),
        ({"frames": True}, "frames must be a whole number"),
        ({"seconds": 0}, "seconds must be at least 0.8 for 40 frames, got 0"),
        ({"seconds": float("nan")}, "seconds must be at least"),
        ({"seconds": -3.0, "frames": 2}, "seconds must be at least 0.04 for 2 frames"),
    ],
)
def test_motions(explorable: Explorable, options: dict, sentence: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=sentence):
        explorable.save(tmp_path / "a.gif", **options)
    assert os.listdir(tmp_path) == []


def test_motions_of_what_cannot_move(explorable: Explorable, tmp_path) -> None:
    with pytest.raises(ValueError, match="only a .gif moves over a slider, got 'a.png'"):
        explorable.save(tmp_path / "a.png", over="a")

    def still(mine=None) -> Scene:
        return Scene("still", "", gallery.BOUNDS, (), (), "")

    with pytest.raises(ValueError, match="'still' has no slider that a .gif could move"):
        Explorable(still).save(tmp_path / "a.gif")
    with pytest.raises(OSError, match="cannot write .*: No such file or directory"):
        explorable.save(tmp_path / "nowhere" / "a.gif", frames=2)
    assert os.listdir(tmp_path) == []
