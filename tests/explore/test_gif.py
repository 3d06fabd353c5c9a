"""A slider's sweep as a .gif: its frames, their time, and the figures it leaves behind."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from diffteach.explore import agg, colors, gif
from diffteach.explore.explorable import Explorable
from diffteach.explore.params import Choice, Handle, Slider
from diffteach.explore.scene import Scene, Stack, layer

BOUNDS = (-1.0, 1.0, -1.0, 1.0)
HILL = np.exp(-np.add.outer(np.linspace(-2, 2, 24) ** 2, np.linspace(-2, 2, 24) ** 2))


def build(mine=None) -> Scene:
    """A hill and marks; a slider moves one, and the words grow from one line to three with it."""
    long = "a sentence that goes on and on " * 4
    return Scene(
        "small",
        "A hill",
        BOUNDS,
        (
            Slider("a", "a", 0.0, 1.0, 0.3),
            Slider("lam", "λ", 0.01, 100.0, 1.0, scale="log"),
            Choice("mode", "mode", ("plain", "other"), "plain"),
            Handle("probe", "probe", (0.5, 0.5), BOUNDS, color="orange"),
        ),
        (
            layer("heat", field="hill", colors="sequential"),
            layer("marker", xy="point(a, -a)", color="green", shape="star"),
            layer("path", xy="box", color="vermilion"),
        ),
        f"At {{a:.2f}} {{a > 0.4 ?{long}|short}}.",
        {"hill": Stack(HILL), "box": Stack(np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)]))},
    )


@pytest.fixture
def explorable() -> Explorable:
    return Explorable(build)


def frames_of(path) -> list[np.ndarray]:
    with Image.open(path) as image:
        pictures = []
        for k in range(image.n_frames):
            image.seek(k)
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
        return pictures


def test_a_sweep_goes_from_end_to_end_along_the_track(explorable: Explorable) -> None:
    values = {**explorable.values, "mode": "other"}
    frames = gif.sweep(explorable.scene, values, "", 5)
    assert [frame.values["a"] for frame in frames] == [0, 0.25, 0.5, 0.75, 1]
    assert {frame.values["mode"] for frame in frames} == {"other"}
    stops = [f.values["lam"] for f in gif.sweep(explorable.scene, values, "lam", 5)]
    np.testing.assert_allclose(stops, [0.01, 0.1, 1, 10, 100])
    assert (stops[0], stops[-1]) == (0.01, 100.0)


def test_the_file_has_the_frames_their_time_and_their_size(explorable, tmp_path) -> None:
    values = dict(explorable.values)
    path = explorable.save(tmp_path / "sweep.gif", over="a", frames=4, seconds=1.0)
    with Image.open(path) as image:
        assert (image.format, image.n_frames, image.info["loop"]) == ("GIF", 4, 0)
        assert image.info["duration"] == 250
        size = image.size
    pictures = frames_of(path)
    assert all(not np.array_equal(a, b) for a, b in zip(pictures, pictures[1:], strict=False))
    still = agg.figure(explorable.frame())
    still.canvas.draw()
    assert still.canvas.get_width_height() == size
    assert explorable.values == values and plt.get_fignums() == []


def test_every_frame_is_the_picture_at_its_value(explorable, tmp_path) -> None:
    path = explorable.save(tmp_path / "sweep.gif", over="a", frames=3)
    drawn = (explorable.scene.frame({**explorable.values, "a": a}) for a in (0.0, 0.5, 1.0))
    for ours, shown in zip(agg.pixels(list(drawn)), frames_of(path), strict=True):
        # 256 colours for a whole film: close everywhere, exact on the paper.
        assert abs(shown - ours).mean() < 4
        assert tuple(shown[1, 1]) == (255, 255, 255)


def test_marks_keep_their_colours(explorable, tmp_path) -> None:
    path = explorable.save(tmp_path / "sweep.gif", frames=2)
    ours, _ = agg.pixels(gif.sweep(explorable.scene, explorable.values, "", 2))
    shown = frames_of(path)[0]
    for name in ("paper", "ink", "orange", "vermilion", "green"):
        rgb = [int(colors.LIGHT[name][k : k + 2], 16) for k in (1, 3, 5)]
        where = (ours == rgb).all(-1)
        assert where.any() and (shown[where] == rgb).all(), name


def test_the_same_sweep_is_the_same_file_and_hides_what_is_hidden(explorable, tmp_path) -> None:
    first, again = (explorable.save(tmp_path / n, frames=2) for n in ("a.gif", "b.gif"))
    assert first.read_bytes() == again.read_bytes()
    explorable.hide = ("probe",)
    bare = explorable.save(tmp_path / "c.gif", frames=2)
    assert not np.array_equal(frames_of(bare)[0], frames_of(first)[0])


def test_one_figure_serves_all_frames_and_words_keep_their_room(explorable, monkeypatch) -> None:
    made = []
    figure = agg.Figure
    monkeypatch.setattr(agg, "Figure", lambda *a, **k: made.append(figure(*a, **k)) or made[-1])
    frames = gif.sweep(explorable.scene, explorable.values, "a", 3)
    assert frames[0].words.count(" ") < 4 < frames[-1].words.count(" ")
    places = [tuple(made[0].axes[0].get_position().bounds) for _ in agg.pixels(frames)]
    assert len(made) == 1 and len(places) == 3
    np.testing.assert_allclose(places, places[:1] * 3, atol=2e-3)


def test_other_formats_stay_as_they_are(explorable, tmp_path) -> None:
    for suffix, begin in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        assert explorable.save(tmp_path / f"a{suffix}").read_bytes().startswith(begin)
    assert (tmp_path / "a.png").read_bytes() == agg.png(explorable.frame())
