"""What every lesson's picture owes its readers: honest bars, one colour for theirs, plain names."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
import torch

from diffteach.explore import colors, expression
from diffteach.explore.lessons import LESSONS

# What a student may hand in, by lesson; `training` takes a reward, which draws nothing of its own.
OWN = {
    "why_regularize": lambda a: a.square().sum(-1),
    "noise_and_scores": lambda schedule, x_t, t, eps: x_t,
    "noising": lambda points, schedule, x_t, t: x_t,
    "mode_seeking": lambda log_q, log_p: (log_q - log_p).mean(0),
    "score_regularization": lambda denoise, schedule, act, t, eps: act,
    "one_point": lambda denoise, schedule, act, t, eps: act,
    "regularizers": lambda denoise, schedule, act, t, eps: act,
    "sampling_without_data": torch.ones_like,
    "guidance": lambda q, denoise, schedule, x_t, t, beta: torch.zeros_like(x_t),
}


@cache
def lesson_of(name: str):
    """A lesson that asks first, for tests that leave it as it is."""
    return LESSONS[name](guess=True)


def names_of(scene) -> set[str]:
    return {*scene.stacks, *scene.let}


def reads(scene, layer, wanted: set[str]) -> bool:
    """Whether a layer shows what is computed from one of the names."""
    texts, seen = list(layer.data.values()), set()
    while texts:
        for name in expression.names(texts.pop()) - seen:
            seen.add(name)
            texts += [scene.let[name]] if name in scene.let else []
    return bool(seen & wanted)


@pytest.mark.parametrize("name", LESSONS)
def test_purple_is_the_readers_own(name) -> None:
    lesson = lesson_of(name)
    assert lesson.scene.param("guess").color == "purple"
    assert [entry for entry in lesson.scene.layers if entry.style.get("color") == "purple"] == []
    if name not in OWN:
        return
    scene = lesson.build(mine=OWN[name], **lesson.settings)
    purple = [entry for entry in scene.layers if entry.style.get("color") == "purple"]
    assert any(e.legend or e.style.get("label") for e in purple)
    new = names_of(scene) - names_of(lesson.scene)
    assert all(reads(scene, entry, new) for entry in purple)


# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as the three kinds of colour
# blindness see it.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color: str, sight) -> np.ndarray:
    """CIELAB of a colour as somebody sees it."""
    value = np.array(colors.rgb(color))
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratio = XYZ @ np.clip(np.array(sight) @ linear, 0, 1) / XYZ.sum(1)
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("palette", [colors.LIGHT, colors.DARK], ids=["light", "dark"])
def test_the_readers_colour_is_told_from_all_others(palette, sight) -> None:
    others = [name for name in palette if name != "purple"]
    own = lab(palette["purple"], SIGHT[sight])
    near = {n: float(np.linalg.norm(lab(palette[n], SIGHT[sight]) - own)) for n in others}
    assert min(near.values()) > 20, near  # CIELAB; 2.3 is just noticeable


@pytest.mark.parametrize("name", LESSONS)
def test_no_bar_of_a_density_promises_more_than_its_picture_has(name) -> None:
    lesson = lesson_of(name)
    maps = [e for e in lesson.scene.layers if e.kind == "heat"]
    for entry in (e for e in maps if e.style["colors"] in ("density", "pale")):
        field = lesson.of(entry.data["field"])
        span = np.ptp(field)
        assert lesson.of(entry.data.get("high", "-99")) <= field.max() + 0.02 * span, entry
        assert lesson.of(entry.data.get("low", "99")) >= field.min() - 0.02 * span, entry


PLACES = re.compile(r"\b(left|right|black|white)\b")


@pytest.mark.parametrize("name", LESSONS)
def test_names_hold_on_a_narrow_page_and_in_the_dark(name) -> None:
    scene = lesson_of(name).scene
    said = [*(p.title for p in scene.panels), *(r.label for r in scene.readouts)]
    said += [scene.prediction.question, *(p.label for p in scene.params), *scene.said.values()]
    assert [text for text in said if PLACES.search(re.sub(r"\{.*?\}", "", text))] == []
