"""Drawing a density into an explorable, from a cell and through the widget's trait."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from diffteach import toys
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import LESSONS, noise_and_scores, open_link, parts
from diffteach.explore.lessons.noise_and_scores import SCHEDULE
from diffteach.explore.lessons.trust_region import scene as region
from diffteach.explore.page import html
from diffteach.schedule import EDM

LINE = [(-2.0, 1.0), (2.0, 1.0)]
WITH_DENSITY = [
    n for n, lesson in LESSONS.items() if "density" in inspect.signature(lesson).parameters
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_all_lessons_but_three_have_a_density() -> None:
    # Those have targets of their own: named mixtures in a frame, energies, two modes and a slope.
    without = set(LESSONS) - set(WITH_DENSITY)
    assert without == {"guidance", "mode_seeking", "sampling_without_data"}
    for name in without:
        assert LESSONS[name]().scene.drawable is None


@pytest.mark.parametrize("name", WITH_DENSITY)
def test_every_lesson_with_a_density_takes_a_drawn_one(name) -> None:
    drawn = toys.save_drawn(toys.drawing([LINE, [(0.0, -3.0), (0.0, 0.0)]]), "drawn/t.json")
    lesson = LESSONS[name](drawn.as_posix())
    choice = lesson.scene.drawable
    assert choice is not None and choice.drawn == pytest.approx(toys.drawn.BOX)
    assert lesson.values["density"] == "drawn/t.json" == choice.options[-1]
    lesson.scene.check_hidden(("draw", *lesson.values.keys() - {"revealed"}))
    assert lesson.words and np.isfinite(lesson.of("highest(data)"))
    link = lesson.permalink()
    assert "density=drawn%2Ft.json" in link and len(link) <= 300
    assert open_link(link).values == lesson.values


def test_a_link_to_a_drawing_opens_on_another_density() -> None:
    lesson = noise_and_scores().draw(LINE).set(t=0.5)
    again = noise_and_scores("rings").open(lesson.permalink())
    assert again.values == lesson.values and again.permalink() == lesson.permalink()


def test_a_drawing_is_the_density_of_the_picture() -> None:
    lesson = noise_and_scores()
    assert lesson.draw(LINE) is lesson
    name = lesson.values["density"]
    assert name == "drawn/1.json" == lesson.settings["density"]
    drawing = toys.load_drawn(name)
    law = toys.GaussianMixture(torch.tensor(drawing.points), drawing.bandwidth)
    x0 = lesson.set(t=0.34, probe=(0.5, 3.0))["denoised"]
    t = torch.tensor([0.34])
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    x = torch.tensor([[0.5, 3.0]])
    eps = law.denoiser(SCHEDULE)(x, t)
    np.testing.assert_allclose(x0, ((x - sigma * eps) / alpha)[0], atol=0.02)
    assert lesson.draw([(0.0, 0.0), (1.0, 1.0)]).values["density"] == "drawn/2.json"
    lesson.set(density="drawn/1.json")
    np.testing.assert_allclose(lesson["denoised"], x0, atol=1e-9)
    lesson.set(density="8gaussians")
    assert "drawn/1.json" not in lesson.scene.param("density").options
    assert lesson.draw(LINE, "drawn/heart.json").values["density"] == "drawn/heart.json"


def small_region(density: str = "25gaussians") -> Explorable:
    """DTQL's trust region on a coarse grid."""
    return Explorable(region, {"density": density, "size": 24})


def test_what_is_drawn_on_a_wider_plane_keeps_its_look() -> None:
    lesson = small_region()
    lesson.draw([(-10.8, 0.0), (10.8, 0.0)])
    points = np.array(toys.load_drawn("drawn/1.json").points)
    assert np.ptp(points[:, 0]) == pytest.approx(2 * 4.05, abs=0.2) and (points[:, 1] == 0).all()
    assert toys.window("drawn/1.json") == 4.5
    assert lesson.scene.param("probe").bounds == (-4.5, 4.5, -4.5, 4.5)
    # The reward of the file's name runs from 0 to 1 along the line.
    assert lesson.scene.param("reward").default == "drawn/1.json"
    assert float(lesson["q"].min()) == 0 and float(lesson["q"].max()) == 1


def test_reset_keeps_a_drawing_and_gives_the_opening_view_back() -> None:
    lesson = noise_and_scores().set(t=0.5)
    lesson.opened()
    lesson.draw(LINE).set(t=0.9, clean=False)
    lesson.reset()
    assert lesson.values["density"] == "drawn/1.json"
    assert lesson.values["t"] == 0.5 and lesson.values["clean"] is True


def test_another_drawing_in_the_same_file_is_another_density() -> None:
    lesson = small_region("8gaussians").draw(LINE, "x.json")
    before = lesson["logp"].copy()
    denoise = parts.denoiser_of("x.json", EDM(), "exact", 0)
    assert parts.denoiser_of("x.json", EDM(), "exact", 0) is denoise
    lesson.draw([(1.0, -2.0), (1.0, 2.0)], "x.json")
    assert not np.array_equal(lesson["logp"], before)
    assert parts.denoiser_of("x.json", EDM(), "exact", 0) is not denoise
    lesson.draw(LINE, "x.json")
    assert np.array_equal(lesson["logp"], before)


def test_strokes_are_a_trait_that_is_taken_once() -> None:
    lesson = noise_and_scores()
    canvas = lesson.widget
    scene = canvas.scene
    canvas.set_state({"strokes": [[list(p) for p in LINE], [[0.0, 0.0]]], "asked": 1, "t": 0.5})
    assert canvas.error == "" and canvas.answered == 1 and canvas.strokes == []
    assert canvas.density == lesson.values["density"] == "drawn/1.json"
    assert canvas.t == lesson.values["t"] == 0.5
    assert canvas.scene != scene and canvas.fixed == {"density": "drawn/1.json"}
    assert canvas.drawn == ["drawn/1.json"]
    canvas.strokes = [[[0.0, 0.0], [1.0, 0.0]]]  # and from a cell
    assert canvas.density == "drawn/2.json" and canvas.drawn == ["drawn/1.json", "drawn/2.json"]
    canvas.density = "drawn/1.json"
    assert lesson.settings["density"] == "drawn/1.json"
    # A widget made later lists what is there.
    assert noise_and_scores().widget.drawn == ["drawn/1.json", "drawn/2.json"]


def test_your_own_function_stays_beside_a_drawing() -> None:
    lesson = noise_and_scores().try_(lambda schedule, x, t, eps: x)
    lesson.draw(LINE)
    assert lesson.error == "" and "own" in lesson.scene.stacks


def test_a_page_carries_the_drawing_on_show_and_no_other() -> None:
    toys.save_drawn(toys.drawing([(0.0, 0.0), (1.0, 1.0)]), "drawn/other.json")
    lesson = noise_and_scores().draw(LINE)
    page = html(lesson)
    assert '"density": "drawn/1.json"' in page and "other.json" not in page
    assert "penFor" not in page.replace("host.pen", "")


def test_the_button_to_draw_can_be_hidden() -> None:
    lesson = noise_and_scores(hide=("draw", "density"))
    assert lesson.widget.hide == ["draw", "density"]
    assert lesson.permalink() == "noise_and_scores?hide=draw,density"
    assert open_link(lesson.permalink()).hide == ("draw", "density")
