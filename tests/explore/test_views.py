"""The widget's traits, the matplotlib picture and the page, without a browser."""

from __future__ import annotations

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from explore import compass, gallery
from explore.decoding import unpacked

from diffteach.explore import agg, colors
from diffteach.explore.explorable import Explorable
from diffteach.explore.pack import pack
from diffteach.explore.page import html

AT_REST = {p.name: p.default for p in gallery.PARAMS}


@pytest.fixture
def explorable() -> Explorable:
    return Explorable(gallery.build, guess=True)


def pixels(png: bytes) -> np.ndarray:
    return plt.imread(io.BytesIO(png))


def test_every_parameter_is_a_trait_that_follows_both_ways(explorable: Explorable) -> None:
    canvas = explorable.widget
    canvas.a, canvas.mode, canvas.on, canvas.probe = 0.5, "saddle", False, [1.0, 2.0]
    assert explorable.values["a"] == 0.5 and explorable.values["mode"] == "saddle"
    assert explorable.values["on"] is False and explorable.values["probe"] == (1.0, 2.0)
    explorable.set(a=0.125, probe=(0.0, 0.0), revealed=1.0)
    assert (canvas.a, canvas.probe, canvas.revealed) == (0.125, [0.0, 0.0], 1.0)
    heard: list[float] = []
    canvas.observe(lambda change: heard.append(change["new"]), "a")
    explorable.reset()
    assert heard == [0.3]


def test_the_scene_is_sent_only_when_it_is_another_one(explorable: Explorable) -> None:
    canvas = explorable.widget
    sent: list[bytes] = []
    canvas.observe(lambda change: sent.append(change["new"]), "scene")
    assert canvas.scene == pack(explorable.scene)
    for k in range(200):
        canvas.a = k / 200
    assert sent == []
    canvas.tilt = "tilted"
    explorable.try_(lambda field: 1 - field)
    assert len(sent) == 2
    assert canvas.scene == pack(explorable.scene)
    assert explorable.settings == {"tilt": "tilted"} and canvas.fixed == {"tilt": "tilted"}
    header, _ = unpacked(canvas.scene)
    assert header["params"][4]["default"] == "tilted"
    assert plt.get_fignums() == []


def test_what_the_browser_sends_is_taken_together(explorable: Explorable) -> None:
    canvas = explorable.widget
    calls: list[float] = []
    explorable.observe(lambda it: calls.append(it.values["a"]))
    canvas.set_state({"a": 0.9, "b": 0.5, "probe": [1.5, -0.5], "asked": 3})
    assert calls == [0.9]
    assert explorable.values["b"] == 0.5 and explorable.values["probe"] == (1.5, -0.5)
    assert canvas.answered == 3
    canvas.set_state({"a": 7.0})
    assert "a must lie in [0, 1], got 7" in canvas.error
    assert canvas.a == explorable.values["a"] == 0.9


def test_an_interrupted_kernel_choice_is_answered_and_changes_nothing() -> None:
    def build(mine=None, tilt: str = "level"):
        if tilt == "tilted":
            raise KeyboardInterrupt
        return gallery.build(tilt=tilt)

    explorable = Explorable(build)
    canvas = explorable.widget
    with pytest.raises(KeyboardInterrupt):
        canvas.set_state({"tilt": "tilted", "asked": 1})
    assert canvas.answered == canvas.asked == 1
    assert canvas.tilt == explorable.values["tilt"] == "level"
    assert canvas.error == explorable.error and "Interrupted" in canvas.error
    canvas.set_state({"a": 0.5})
    assert explorable.values["a"] == 0.5 and canvas.error == ""


def test_dismissing_the_strip_is_heard_and_takes_values_along(explorable: Explorable) -> None:
    canvas = explorable.widget
    canvas.set_state({"a": 7.0})
    assert explorable.error != ""
    canvas.set_state({"error": "", "a": 0.5})
    assert explorable.error == canvas.error == "" and canvas.a == 0.5


def test_a_scene_that_cannot_be_packed_is_tried_again(explorable: Explorable, monkeypatch) -> None:
    canvas = explorable.widget
    with monkeypatch.context() as patch:

        def full(scene):
            raise ValueError("cannot be packed")

        patch.setattr("diffteach.explore.canvas.pack", full)
        with pytest.raises(ValueError, match="cannot be packed"):
            canvas.set_state({"tilt": "tilted"})
        assert "cannot be packed" in canvas.error
    explorable.set(a=0.5)
    assert canvas.scene == pack(explorable.scene) and canvas.tilt == "tilted"


def test_the_opening_view_is_that_of_the_first_showing(explorable: Explorable) -> None:
    explorable.set(a=0.75, probe=(1.0, 1.0))
    canvas = explorable.widget
    explorable.set(a=0.25)
    assert canvas.opening["a"] == 0.75 and canvas.opening["probe"] == [1.0, 1.0]
    assert '"opening": {"a": 0.75' in html(explorable)


def test_hidden_handles_are_not_drawn_and_labels_stay_inside(explorable: Explorable) -> None:
    shown, hidden = (
        [len(axes.lines) for axes in agg.figure(explorable.frame(), hide=hide).axes]
        for hide in ((), ("probe",))
    )
    assert sum(shown) == sum(hidden) + 1
    assert agg.png(explorable.frame()) != agg.png(explorable.frame(), hide=("probe",))
    fig = agg.figure(explorable.frame())
    fig.canvas.draw()
    (label,) = [t for axes in fig.axes for t in axes.texts if t.get_text() == "here"]
    assert label.get_window_extent().x1 < label.axes.transData.transform((1.9, 2))[0]


def test_the_picture_is_the_right_way_round() -> None:
    scene = compass.build()
    fig = agg.figure(scene.frame({}), hide=("knob",))
    fig.canvas.draw()
    shown = np.asarray(fig.canvas.buffer_rgba())[..., :3] / 255
    boxes = [axes.get_window_extent() for axes in fig.axes]
    boxes = [box for box in boxes if box.height > 100]  # without the colour bar
    plots = [
        shown[len(shown) - round(b.y1) : len(shown) - round(b.y0), round(b.x0) : round(b.x1)]
        for b in boxes
    ]
    assert compass.faults(plots) == []


def test_a_refused_value_raises_shows_and_leaves_the_widget_alive(explorable: Explorable) -> None:
    canvas = explorable.widget
    with pytest.raises(ValueError, match=r"a must lie in \[0, 1\], got 2"):
        canvas.a = 2.0
    assert canvas.error == "a must lie in [0, 1], got 2" and canvas.a == 0.3
    with pytest.raises(ValueError, match="mode must be one of plain, mirrored, saddle"):
        canvas.mode = "odd"
    with pytest.raises(ValueError, match="probe must lie in"):
        canvas.probe = [9.0, 9.0]
    canvas.a = 0.4
    assert explorable.values["a"] == 0.4 and canvas.error == ""


def test_an_error_of_your_own_function_is_shown(explorable: Explorable) -> None:
    def mine(field):
        return field["no"]

    canvas = explorable.widget
    explorable.try_(mine)
    assert "in mine, line 2" in canvas.error


def test_widget_and_page_carry_the_functions_and_no_address(explorable: Explorable) -> None:
    canvas = explorable.widget
    text = html(explorable)
    assert "function swirl(points, turn)" in canvas._esm
    assert canvas._esm.rstrip().endswith("export default { render: renderWidget };")
    assert re.findall(r"https?://", canvas._esm + canvas._css + text) == []
    assert "new Function" not in text and not re.search(r"\beval\(", text)
    assert "<title>Everything &amp; &lt;all&gt;</title>" in text
    assert text.count("</script>") == 3
    assert len(text) <= 300_000


def test_the_picture_shows_what_the_scene_says(explorable: Explorable) -> None:
    before = pixels(agg.png(explorable.frame()))
    explorable.set(a=0.9)
    after = pixels(agg.png(explorable.frame()))
    assert before.shape == after.shape
    assert 0.005 < (np.abs(before - after).max(-1) > 0.1).mean() < 0.6
    corner = before[:4, :4, :3].mean()
    assert corner > 0.99 and pixels(agg.png(explorable.frame(), dark=True))[:4, :4, :3].mean() < 0.2
    explorable.set(on=False)
    assert pixels(agg.png(explorable.frame())).shape[1] < before.shape[1]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_pictures_are_saved_alike_twice(explorable: Explorable, tmp_path, suffix: str) -> None:
    path = explorable.save(tmp_path / f"picture{suffix}")
    assert path.stat().st_size > 10_000
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", colors.NAMES)
def test_colours_read_on_paper(name: str) -> None:
    assert colors.contrast(colors.LIGHT[name], colors.LIGHT["paper"]) >= 4.5
    assert colors.contrast(colors.DARK[name], colors.DARK["paper"]) >= 4.5


def test_ramps_run_one_way_in_lightness() -> None:
    for dark in (False, True):
        light = colors.ramp("sequential", dark) @ np.array([0.2126, 0.7152, 0.0722])
        assert (np.diff(light) > 0).all()
