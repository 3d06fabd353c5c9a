"""The race of lesson 09: every Boltzmann sampler on one target, asking the energy equally often."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffteach import toys
from diffteach.boltzmann import (
    FAB,
    IDEM,
    RSSM,
    DenoiserConfig,
    Direct,
    DirectConfig,
    Energy,
    FABConfig,
    IDEMConfig,
    Langevin,
    LangevinConfig,
    RSSMConfig,
    Sampler,
    grid_kl,
)
from diffteach.objectives import mean_one_weight, raw_weight, self_weight, standardised_weight
from diffteach.schedule import EDM, VP

BUDGET = 1.5
"""million rows of the energy, or of its gradient, that each sampler may ask for"""
STOPS = tuple(BUDGET * share for share in (0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8, 1))
SHOWN, JUDGED, CELLS = 192, 1500, 150


@dataclass(frozen=True)
class Course:
    """A target as the samplers meet it, and how their points are judged."""

    data_scale: float
    """root mean square coordinate"""
    t_max: float
    """end of RSSM's noise: sigma/alpha is about 1.25 data_scale there"""
    box: float
    """half the side of the square in which Langevin's chains start"""
    step: float
    """Langevin's"""
    window: float
    """half the side of the square of the KL"""
    bandwidth: float
    """of the smoothing of both laws"""


COURSES: Mapping[str, Course] = {
    "sdac_mixture": Course(3.2, 0.5286, 6.0, 0.05, 9.0, 0.4),
    "two_moon_energy": Course(1.5, 0.397, 4.0, 0.005, 6.0, 0.12),
    "8gaussians": Course(2.0, 0.445, 4.5, 0.01, 6.0, 0.15),
}


class Shot(NamedTuple):
    """Points (S, n, 2) and KLs (S,) of every sampler after so many million energies."""

    calls: float
    points: Tensor
    kl: Tensor


def _denoiser(course: Course) -> DenoiserConfig:
    return DenoiserConfig(course.data_scale, batch_size=256)


def _rssm(weight: Callable[..., Tensor], course: Course, energy: Energy, law: object) -> Sampler:
    schedule = VP(t_max=course.t_max)
    config = RSSMConfig(schedule, weight=weight, denoiser=_denoiser(course), pool=1 << 15)
    return RSSM(config, energy)


def _idem(course: Course, energy: Energy, law: object) -> Sampler:
    schedule = EDM(sigma_min=0.01 * course.data_scale, sigma_max=2.5 * course.data_scale)
    config = IDEMConfig(schedule, 16, fresh=500, denoiser=_denoiser(course), sample_steps=40)
    return IDEM(config, energy)


def _fab(course: Course, energy: Energy, law: object) -> Sampler:
    return FAB(FABConfig(course.data_scale, layers=8, width=48, move=0.3, batch_size=1024), energy)


def _langevin(course: Course, energy: Energy, law: object) -> Sampler:
    return Langevin(LangevinConfig(5000, course.step, course.box), energy)


def _direct(course: Course, energy: Energy, law: toys.Density) -> Sampler:
    points = law.sample(20_000, torch.Generator().manual_seed(1))
    return Direct(DirectConfig(denoiser=_denoiser(course)), points)


SAMPLERS: Mapping[str, Callable[..., Sampler]] = {
    "RSSM, raw weights": partial(_rssm, raw_weight),
    "RSSM, mean-one weights": partial(_rssm, mean_one_weight),
    "RSSM, standardised weights": partial(_rssm, standardised_weight),
    "RSSM, self weights": partial(_rssm, self_weight),
    "Langevin": _langevin,
    "iDEM": _idem,
    "FAB": _fab,
    "direct, from exact points": _direct,
}
NAMES = tuple(SAMPLERS)


def judge(target: str, x: Tensor) -> float:
    """KL of a target against the law of points, both smoothed."""
    course = COURSES[target]
    log_p = toys.density(target).log_prob
    return grid_kl(log_p, x, course.window, course.bandwidth, CELLS)


def before(target: str) -> Shot:
    """The square in which chains start, for every sampler, before the first energy."""
    generator = torch.Generator().manual_seed(0)
    half = COURSES[target].box
    points = half * (2 * torch.rand(JUDGED, 2, generator=generator) - 1)
    n = len(NAMES)
    kl = torch.full((n,), judge(target, points))
    return Shot(0.0, points[:SHOWN].expand(n, -1, -1).clone(), kl)


def race(target: str, names: tuple[str, ...] = NAMES) -> Iterator[Shot]:
    """A shot whenever all named samplers have used another share of the budget.

    Who learns from exact points takes as many steps as RSSM.
    """
    course, law = COURSES[target], toys.density(target)
    energies = {name: Energy(law.log_prob, grad=law.score) for name in names}
    samplers = {name: SAMPLERS[name](course, energies[name], law) for name in names}
    per_step = RSSMConfig().particles * _denoiser(course).batch_size
    steps = 0
    for stop in STOPS:
        points, kls = [], []
        for name, sampler in samplers.items():
            asked = energies[name]
            if isinstance(sampler, Direct):
                while steps * per_step < 1e6 * stop:
                    sampler.step()
                    steps += 1
            else:
                while max(asked.calls, asked.gradient_calls) < 1e6 * stop:
                    sampler.step()
            x = sampler.sample(JUDGED)
            points.append(x[:SHOWN])
            kls.append(judge(target, x))
        yield Shot(stop, torch.stack(points), torch.tensor(kls))


def floor(target: str) -> float:
    """What as many exact points score."""
    exact = toys.density(target).sample(JUDGED, torch.Generator().manual_seed(4))
    return judge(target, exact)


def arrays(shots: list[Shot]) -> dict[str, np.ndarray]:
    """Shots as arrays: points (S, T, n, 2) and KLs (T, S)."""
    points = torch.stack([shot.points for shot in shots], 1).numpy()
    return {"points": points, "kl": torch.stack([shot.kl for shot in shots]).numpy()}
