"""What drawings answer to bad input: one sentence, and no file half-written or lost."""

from __future__ import annotations

import json
import os

import pytest

from diffteach import toys
from diffteach.explore.lessons import mode_seeking, noise_and_scores, open_link, trust_region
from diffteach.toys.drawn import Drawing

LINE = [(-2.0, 1.0), (2.0, 1.0)]
NAN = float("nan")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def lesson():
    return noise_and_scores(density="8gaussians")


@pytest.mark.parametrize(
    ("strokes", "sentence"),
    [
        ([], "at least two distinct points, got none"),
        ([[]], "at least two distinct points, got none"),
        ([(1.0, 1.0)], "at least two distinct points, got a density of one point"),
        ([[(1.0, 1.0)], [(1.0, 1.0)] * 9], "got a density of one point"),
        ([(0.0, 0.0), (5.0, 0.0), (0.0, -7.0)], r"\[-4.05, 4.05\], got 2 of 3 outside"),
        ([LINE, [(NAN, 0.0)]], "must be finite, got NaN or infinity in 1 of 3"),
        ([(float("inf"), 0.0)], "must be finite"),
        ([1.0, 2.0, 3.0], "must have shape|must be points"),
        ([(1.0, 2.0, 3.0)], r"must have shape \(N, 2\), got one of shape \(1, 3\)"),
        ("heart", "must be points"),
        (3.0, "must be points"),
        (None, "must be points"),
        ([["a", "b"]], "must be points"),
        ([LINE, None], "must be points|must have shape"),
    ],
)
def test_strokes(lesson, strokes, sentence) -> None:
    values, scene = dict(lesson.values), lesson.scene
    with pytest.raises(ValueError, match=sentence):
        lesson.draw(strokes)
    assert lesson.values == values and lesson.scene is scene and os.listdir() == []


def test_the_box_is_that_of_the_picture_on_show() -> None:
    with pytest.raises(ValueError, match=r"in \[-10.8, 10.8\] .* got 1 of 2 outside"):
        trust_region().draw([(0.0, 0.0), (11.0, 0.0)])


def test_a_lesson_without_a_choice_of_density() -> None:
    with pytest.raises(ValueError, match="'mode_seeking' has no choice of density"):
        mode_seeking().draw(LINE)
    with pytest.raises(ValueError, match="there is no parameter 'draw' here"):
        mode_seeking(hide=("draw",))


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("heart", "ends in .json, got 'heart'"),
        ("drawn/" + 120 * "a" + ".json", "at most 100 characters in a link, got 133"),
    ],
)
def test_names_of_files(lesson, file, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        lesson.draw(LINE, file)
    assert lesson.values["density"] == "8gaussians" and os.listdir() == []


def test_a_folder_that_cannot_be_made(lesson, tmp_path) -> None:
    (tmp_path / "drawn").write_text("a file")
    with pytest.raises(OSError, match="cannot make drawn: File exists"):
        lesson.draw(LINE)
    with pytest.raises(OSError, match=r"cannot make .*b: No such file"):
        toys.save_drawn(toys.drawing(LINE), tmp_path / "a" / "b" / "c.json")
    assert lesson.values["density"] == "8gaussians"


def test_a_disk_that_fails_leaves_the_old_drawing(monkeypatch) -> None:
    path = toys.save_drawn(toys.drawing(LINE), "drawn/1.json")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="cannot write .*: No space left on device"):
        toys.save_drawn(toys.drawing([(0, 0), (1, 1)]), path)
    assert path.read_bytes() == before and os.listdir("drawn") == ["1.json"]


GOOD = {
    "format": "diffteach drawn density",
    "version": 1,
    "points": [[0.0, 0.0], [1.0, 1.0]],
    "bandwidth": 0.18,
    "window": 4.5,
}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is broken, or no JSON"),
        (b"\xff\xfe{", "is broken, or no JSON"),
        (json.dumps(GOOD)[:60].encode(), "is broken, or no JSON"),
        (b"[" * 100_000, "is broken, or no JSON"),
        (b"[1, 2]", "was not written by save_drawn"),
        (b'{"cells": []}', "was not written by save_drawn"),
        ({"version": 2}, "is of version 2, this diffteach reads 1"),
        ({"points": [[0.0, 0.0]]}, "two distinct ones, got a density of one point"),
        ({"points": []}, "must have shape"),
        ({"points": 3}, "not iterable"),
        ({"points": [[0.0, 0.0], [NAN, 0.0]]}, "must be finite, got NaN or infinity in 1 of 2"),
        ({"points": [[0.0, 0.0], [9.0, 0.0]]}, "got 1 of 2 outside"),
        ({"points": [[0.0, 0.0], [1.0]]}, "not enough values|expected 2"),
        ({"points": [[0.0, 0.0], ["a", 1.0]]}, "could not convert"),
        ({"bandwidth": 0.0}, "bandwidth must be positive and finite, got 0"),
        ({"bandwidth": "wide"}, "bandwidth must be a number, got 'wide'"),
        ({"window": -1.0}, "window must be positive"),
        ({"window": None}, "window must be a number"),
    ],
)
def test_files_that_are_not_ours_or_broken(lesson, tmp_path, content, sentence) -> None:
    path = tmp_path / "x.json"
    whole = content if isinstance(content, bytes) else json.dumps(GOOD | content).encode()
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=sentence) as caught:
        toys.density("x.json")
    assert str(caught.value).startswith("x.json is") and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=sentence):
        lesson.set(density="x.json")
    assert lesson.values["density"] == "8gaussians" and path.read_bytes() == whole


def test_a_file_that_lacks_an_entry(tmp_path) -> None:
    for name in ("points", "bandwidth", "window"):
        path = tmp_path / "x.json"
        path.write_text(json.dumps({k: v for k, v in GOOD.items() if k != name}))
        with pytest.raises(ValueError, match=f"'{name}' is missing"):
            toys.load_drawn(path)


def test_a_file_that_is_absent(lesson, tmp_path) -> None:
    sentence = "there is no drawn density 'drawn/7.json' in .*: draw it again there, or bring its"
    for use in (toys.density, toys.window, toys.check_name, toys.reward_fn, toys.load_drawn):
        with pytest.raises(ValueError, match=sentence):
            use("drawn/7.json")
    with pytest.raises(ValueError, match=sentence):
        toys.load("drawn/7.json", 10, 0)
    link = "noise_and_scores?density=drawn%2F7.json"
    for view in (open_link, lesson.open):
        with pytest.raises(ValueError, match=sentence):
            view(link)
    assert lesson.values["density"] == "8gaussians"
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ValueError, match="cannot read folder.json: Is a directory"):
        toys.density("folder.json")


def test_a_drawing_in_another_window_than_the_lessons() -> None:
    wide = Drawing(((0.0, 0.0), (9.0, 9.0)), 0.5, 12.0)
    toys.save_drawn(wide, "wide.json")
    with pytest.raises(ValueError, match="density must have window 4.5, wide.json has 12"):
        noise_and_scores("wide.json")
    assert trust_region("wide.json").values["density"] == "wide.json"


def test_there_are_no_frozen_points_of_a_drawing() -> None:
    name = toys.save_drawn(toys.drawing(LINE), "drawn/1.json").as_posix()
    with pytest.raises(ValueError, match="has no frozen points"):
        toys.frozen(name)


def test_what_a_browser_sends_is_answered_in_the_strip(lesson) -> None:
    canvas = lesson.widget
    scene = canvas.scene
    for k, (strokes, sentence) in enumerate(
        [
            ([[[1.0, 1.0]]], "a density of one point"),
            ([[[1.0, 1.0], [9.0, 1.0]]], "1 of 2 outside"),
            ([[["x", 1.0]]], "must be points"),
            ([3.0], "must have shape (N, 2)"),
        ],
        1,
    ):
        canvas.set_state({"strokes": strokes, "asked": k})
        assert sentence in canvas.error and canvas.answered == k and canvas.strokes == []
        assert canvas.scene is scene and canvas.density == "8gaussians"
    canvas.set_state({"strokes": [[[1.0, 1.0], [2.0, 1.0]]], "asked": 9})
    assert canvas.error == "" and canvas.density == "drawn/1.json" and canvas.answered == 9
