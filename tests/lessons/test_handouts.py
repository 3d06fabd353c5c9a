"""The views that a lesson's notes hand out: each is opened, and shows what its link names."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from diffteach.explore import links
from diffteach.explore.lessons import LESSONS

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
ROW = re.compile(r"^\| (\d+) \| `([^`]+)` \| (.+?) \|$", re.M)


def rows(path: Path) -> list[tuple[int, str, str]]:
    """Minute, link and question of every view in a lesson's notes."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (notes,) = ("".join(cell["source"]) for cell in cells if cell["id"] == "views")
    return [(int(minute), link, ask) for minute, link, ask in ROW.findall(notes)]


def handed_out():
    for path in NOTEBOOKS:
        for _, link, _ in rows(path):
            trains = [pytest.mark.slow] if "trained" in link else []
            yield pytest.param(link, id=f"{path.stem[:2]} {link}"[:60], marks=trains)


@cache
def lesson_of(name: str, guess: bool):
    """One explorable takes all views of a lesson: what need not be computed again is not."""
    return LESSONS[name](guess=guess)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_lesson_hands_out_views_in_the_order_of_its_minutes(path) -> None:
    minutes = [minute for minute, _, _ in rows(path)]
    assert len(minutes) >= 3 and minutes == sorted(minutes) and minutes[-1] <= 50
    asked = [ask for _, _, ask in rows(path)]
    assert all(ask[-1] in ".?)" for ask in asked)
    if path.stem[:2] != "00":
        assert "guess=1" in rows(path)[0][1], "a lesson begins with a prediction"


@pytest.mark.parametrize("link", list(handed_out()))
def test_a_view_opens_and_shows_what_it_names(link) -> None:
    assert len(link) <= 300
    name, pairs, hide, guess = links.parse(link)
    lesson = lesson_of(name, guess).open(link)
    assert lesson.hide == hide and lesson["revealed"] == (not guess)
    for key, text in pairs.items():
        if key in lesson.values:
            wanted = links.value_of(lesson.scene, key, text)
            assert lesson.values[key] == pytest.approx(wanted), key
        else:
            assert lesson.settings[key] == text
    written = links.parse(lesson.permalink())
    assert written.pairs == pairs, "names a default, or not as the library would write it"
