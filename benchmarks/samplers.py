"""SDAC's toy: every Boltzmann sampler on the same targets, asking the energy equally often.

Each runs in a process of its own with one thread, so that its memory is its own.
"""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

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
    energy_w1,
    grid_kl,
    mode_shares,
    mode_weight_error,
    uniform_proposal,
)
from diffteach.objectives import mean_one_weight, raw_weight, self_weight, standardised_weight
from diffteach.schedule import EDM, VP
from diffteach.toys import density

Row = tuple[str, float, str, str]

BUDGET = 8_000_000
"""rows of the energy, or of its gradient, that each sampler may ask for"""
STEPS = 2000
"""most gradient steps of each; who asks little of the energy stops here"""
DIRECT_STEPS = 1000
"""as many as the budget leaves to RSSM with 16 particles"""
SHORT = 4
"""what the short race divides budget and steps by"""
POINTS = 50_000
"""points that are judged"""


@dataclass(frozen=True)
class Target:
    """A toy in units that suit a network, and how its points are judged."""

    unit: float
    """the sampler's coordinates are the toy's, divided by this"""
    data_scale: float
    """root mean square coordinate, in the sampler's units, as are all below but `window`"""
    t_max: float
    """end of RSSM's schedule: sigma/alpha is about 1.25 data_scale there"""
    box: float
    """half the side of the square in which Langevin and the uniform proposal start"""
    step: float
    """Langevin's"""
    window: float
    """half the side of the square of the grid KL, in the toy's units"""
    bandwidth: float
    """of the smoothing there"""


TARGETS = {
    "sdac_mixture": Target(1, 3.2, 0.5286, 6, 0.05, 9, 0.2),
    "two_moon_energy": Target(1, 1.5, 0.397, 4, 0.005, 6, 0.06),
    "gmm40": Target(25, 0.93, 0.259, 2, 0.0005, 56, 0.5),
}

Law = Any  # an exact density of the toys
Make = Callable[[Target, Energy, Law], Sampler]


def rssm(
    target: Target, energy: Energy, law: Law, weight: Any = raw_weight, particles: int = 16
) -> Sampler:
    return _rssm(target, energy, weight=weight, particles=particles)


def rssm_uniform(target: Target, energy: Energy, law: Law) -> Sampler:
    return _rssm(
        target, energy, proposal=functools.partial(uniform_proposal, half=target.box), particles=16
    )


def _rssm(target: Target, energy: Energy, **settings: Any) -> Sampler:
    net = DenoiserConfig(target.data_scale)
    return RSSM(RSSMConfig(VP(t_max=target.t_max), denoiser=net, **settings), energy)


def idem(target: Target, energy: Energy, law: Law, particles: int = 100) -> Sampler:
    schedule = EDM(sigma_min=0.01 * target.data_scale, sigma_max=2.5 * target.data_scale)
    return IDEM(IDEMConfig(schedule, particles, denoiser=DenoiserConfig(target.data_scale)), energy)


def fab(target: Target, energy: Energy, law: Law) -> Sampler:
    return FAB(FABConfig(target.data_scale, move=0.3), energy)


def langevin(target: Target, energy: Energy, law: Law) -> Sampler:
    return Langevin(LangevinConfig(POINTS, target.step, target.box), energy)


def direct(target: Target, energy: Energy, law: Law) -> Sampler:
    points = law.sample(POINTS, torch.Generator().manual_seed(1)) / target.unit
    return Direct(DirectConfig(denoiser=DenoiserConfig(target.data_scale)), points)


SAMPLERS: dict[str, Make] = {
    "Langevin": langevin,
    "RSSM, raw weights, 1 particle": functools.partial(rssm, particles=1),
    "RSSM, raw weights": rssm,
    "RSSM, raw weights, uniform proposal": rssm_uniform,
    "RSSM, mean-one weights": functools.partial(rssm, weight=mean_one_weight),
    "RSSM, standardised weights": functools.partial(rssm, weight=standardised_weight),
    "RSSM, standardised weights, 1 particle": functools.partial(
        rssm, weight=standardised_weight, particles=1
    ),
    "RSSM, self weights": functools.partial(rssm, weight=self_weight),
    "RSSM, self weights, 64 particles": functools.partial(rssm, weight=self_weight, particles=64),
    "iDEM": idem,
    "iDEM, 16 particles": functools.partial(idem, particles=16),
    "FAB": fab,
    "Direct, from exact points": direct,
}


def centres_and_weights(name: str, law: Law) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres of the modes, and the target's mass nearest to each."""
    if name == "two_moon_energy":
        return torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), torch.tensor([0.5, 0.5])
    exact = law.sample(1_000_000, torch.Generator().manual_seed(2))
    return law.means, mode_shares(exact, law.means)


def judge(name: str, x: torch.Tensor) -> dict[str, float]:
    """How far points are from a toy: KL, mass at wrong modes, distance of energies."""
    target, law = TARGETS[name], density(name)
    exact = law.sample(len(x), torch.Generator().manual_seed(3))
    return {
        "kl": grid_kl(law.log_prob, x, target.window, target.bandwidth),
        "mode_weight_error": mode_weight_error(x, *centres_and_weights(name, law)),
        "energy_w1": energy_w1(law.log_prob, x, exact),
    }


def measure(name: str, method: str, divisor: int = 1) -> dict[str, float]:
    """Trains one sampler on one toy until its budget is spent, and judges its points."""
    torch.set_num_threads(1)
    target, law = TARGETS[name], density(name)
    energy = Energy(
        lambda u: law.log_prob(target.unit * u),
        grad=lambda u: target.unit * law.score(target.unit * u),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    sampler, steps = SAMPLERS[method](target, energy, law), 0
    most = (DIRECT_STEPS if isinstance(sampler, Direct) else STEPS) // divisor
    while steps < most and max(energy.calls, energy.gradient_calls) < BUDGET // divisor:
        sampler.step()
        steps += 1
    seconds = time.process_time() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = judge(name, target.unit * sampler.sample(POINTS))
    if isinstance(sampler, FAB):
        # The sampler's coordinates are smaller by `unit`, and so is the integral there, squared.
        found |= {key: float(value) for key, value in sampler.assess(POINTS).items()}
    return {
        **found,
        "steps": steps,
        "calls": energy.calls,
        "gradient_calls": energy.gradient_calls,
        "seconds": seconds,
        "memory": memory,
    }


def _elsewhere(name: str, method: str, divisor: int) -> dict[str, float]:
    code = (
        "import json; from benchmarks.samplers import measure; "
        f"print(json.dumps(measure({name!r}, {method!r}, {divisor})))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def _race(name: str, divisor: int) -> Iterator[Row]:
    law = density(name)
    exact = judge(name, law.sample(POINTS, torch.Generator().manual_seed(4)))
    yield f"{name}: KL of exact points", exact["kl"], "nats", ""
    for method in SAMPLERS:
        found = _elsewhere(name, method, divisor)
        what = f"{name}: {method}"
        yield f"{what}: KL", found["kl"], "nats", ""
        yield f"{what}: mass at wrong modes", 100 * found["mode_weight_error"], "%", ""
        yield f"{what}: distance of energies", found["energy_w1"], "nats", ""
        yield f"{what}: gradient steps", found["steps"], "", ""
        yield f"{what}: energies", found["calls"] / 1e6, "million", ""
        yield f"{what}: gradients of the energy", found["gradient_calls"] / 1e6, "million", ""
        yield f"{what}: processor time", found["seconds"], "s", ""
        yield f"{what}: memory on top", found["memory"], "MiB", ""
        if "ess" in found:
            yield f"{what}: effective share of its points", 100 * found["ess"], "%", ""
            yield f"{what}: log of the integral of exp(E)", found["log_z"], "nats", ""


def short_race() -> Iterator[Row]:
    """Every sampler on SDAC's mixture at a quarter of the budget; even weights score .193."""
    yield from _race("sdac_mixture", SHORT)


def toys() -> Iterator[Row]:
    """Every sampler on every toy at the whole budget."""
    for name in TARGETS:
        yield from _race(name, 1)
