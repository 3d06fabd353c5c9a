"""Lesson 09: the denoiser of exp(E/λ) without data, by particles drawn backwards (RSSM, SDAC)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from diffteach import toys
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.lessons import sampling_without_data_race as course
from diffteach.explore.lessons import sampling_without_data_view as view
from diffteach.explore.lessons.sampling_without_data_arrays import (
    COUNTS,
    OWN_LEVELS,
    OWN_SIZE,
    PROPOSALS,
    TARGETS,
    own_fields,
    stacks,
)
from diffteach.explore.lessons.sampling_without_data_moves import FUNCTIONS
from diffteach.explore.params import Choice, Handle, Param, Slider
from diffteach.explore.scene import Prediction, Readout, Scene, Stack

PRESETS = {
    "what the particles say": "sampling_without_data",
    "guess the denoised point": "sampling_without_data?guess=1&hide=look,proposal,temperature",
    "one particle: pure noise": "sampling_without_data?particles=1",
    "high noise kills it": "sampling_without_data?noise=16&particles=64",
    "two crescents": "sampling_without_data?target=two_moon_energy",
    "the race": "sampling_without_data?look=the%20race",
}
"""Views to hand out, by what they show."""


def _raced(target: str, shots: list[course.Shot]) -> dict[str, Stack]:
    """The race so far, by sampler and by energies asked for."""
    found, clock = course.arrays(shots), tuple(shot.calls for shot in shots)
    axes = {"sampler": tuple(map(float, range(len(course.NAMES)))), "calls": clock}
    return {
        "racers": Stack(found["points"], axes, bits=9),
        "kl_now": Stack(found["kl"].T.copy(), axes),
        "kl": Stack(found["kl"]),
        "clock": Stack(np.array(clock)),
        "ran": Stack(np.array(float(len(shots) > 1))),
        "least": Stack(np.array(_least(target))),
    }


@lru_cache(maxsize=8)
def _least(target: str) -> float:
    return course.floor(target)


@lru_cache(maxsize=8)
def _before(target: str) -> course.Shot:
    return course.before(target)


def _params(target: str, at: float) -> tuple[Param, ...]:
    bounds, scale = parts.bounds_of(target), course.COURSES[target].data_scale
    return (
        Slider(
            "noise",
            "noise level σ/α",
            0.1,
            20.0,
            1.25 * scale,
            scale="log",
            paper="ᾱ = 1/(1 + (σ/α)²)",
            when=view.POINT,
        ),
        Slider(
            "temperature",
            "temperature λ",
            0.1,
            5.0,
            1.0,
            scale="log",
            paper="SDAC's λ of exp(Q/λ): right = more random",
            when=view.POINT,
        ),
        Slider(
            "calls",
            "million energies",
            0.0,
            course.BUDGET,
            float(at),
            when=view.RACE,
        ),
        Choice(
            "particles",
            "particles K",
            tuple(map(str, COUNTS)),
            "16",
            paper="SDAC: paper 1, code 64",
            when=view.POINT,
        ),
        Choice(
            "proposal",
            "x_t of training from",
            PROPOSALS,
            PROPOSALS[0],
            paper="p̃_t",
            when=view.POINT,
        ),
        Choice("sampler", "sampler", course.NAMES, course.NAMES[0], when=view.RACE),
        Choice("look", "look at", ("one noisy point", "the race"), "one noisy point"),
        Choice("target", "target exp(E)", TARGETS, target, kernel=True),
        Handle(
            "probe",
            "noisy point x_t/α",
            (-0.62 * scale, -0.62 * scale),
            bounds,
            color="orange",
            when=view.POINT,
        ),
        Handle(
            "guess",
            "your guess",
            (-0.8 * bounds[1], 0.8 * bounds[1]),
            bounds,
            color="purple",
            when=view.POINT,
        ),
    )


def _scene(
    mine: Callable[..., Any] | None,
    target: str,
    seed: int,
    size: int,
    shots: list[course.Shot],
) -> Scene:
    arrays, own = stacks(target, seed, size) | _raced(target, shots), mine is not None
    let: dict[str, str] = dict(view.LET)
    readouts: tuple[Readout, ...] = view.READOUTS
    if mine is not None:
        axes = {"particles": tuple(map(float, range(len(COUNTS)))), "noise": OWN_LEVELS}
        arrays["own"] = Stack(own_fields(mine, target, seed), axes, bits=9)
        let, readouts = let | view.OWN_LET, (*readouts, *view.OWN_READOUTS)
    return Scene(
        name="sampling_without_data",
        title="Sampling without data",
        bounds=parts.bounds_of(target),
        params=_params(target, shots[-1].calls),
        layers=view.layers(own),
        words=view.WORDS,
        stacks=arrays,
        let=let,
        panels=view.PANELS,
        readouts=readouts,
        prediction=Prediction(
            "The orange ring is a noisy point x_t, the shading the density that is wanted. Where "
            "is its clean point on average, E[x₀|x_t]? Drag your guess there.",
            "exact",
            tolerance=0.12 * toys.window(target),
            right="Well placed.",
            wrong="Not there: every mode counts by its mass and by how well it explains x_t.",
        ),
        functions=FUNCTIONS,
        note="x_t is drawn as x_t/α; the exact point by quadrature; biases over 16,384 fixed "
        f"particles; race: {course.JUDGED:,} points judged, both laws smoothed by "
        f"{course.COURSES[target].bandwidth:g}; your weights on a {OWN_SIZE} × {OWN_SIZE} grid",
    )


def scene(
    mine: Callable[..., Any] | None = None,
    target: str = TARGETS[0],
    seed: int = 0,
    size: int = 61,
) -> Scene:
    """A noisy point and its particles as a scene; `mine` is another weight than exp(E/λ).

    mine(energy (M, B)) -> weights (M, B), not negative; it brings its own temperature.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    return _scene(mine, target, seed, size, [_before(target)])


def film(
    mine: Callable[..., Any] | None = None,
    target: str = TARGETS[0],
    seed: int = 0,
    size: int = 61,
) -> Iterator[Scene]:
    """The same while the samplers race: a scene at every stop of the budget."""
    shots = [_before(target)]
    for shot in course.race(target):
        shots.append(shot)
        yield _scene(mine, target, seed, size, shots)


def sampling_without_data(
    target: str = TARGETS[0],
    *,
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """Clean points drawn backwards from a dragged x_t, weighted by exp(E/λ); and a race (Train).

    target "sdac_mixture", "two_moon_energy" or "8gaussians"; `hide` names controls to leave out;
    `guess=True` asks for a prediction first. ValueError for another target. Source: SDAC Eqs. 9,
    10 and 15.
    """
    return Explorable(scene, {"target": target, "seed": seed}, hide, guess, film)
