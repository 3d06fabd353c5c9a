"""Arrays of lesson 09: the target, training's noisy points, and what a student's weights make."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from diffteach import toys
from diffteach.boltzmann import effective_sample_size
from diffteach.explore import fields
from diffteach.explore.lessons import parts
from diffteach.explore.lessons import sampling_without_data_race as course
from diffteach.explore.scene import Stack
from diffteach.toys import GaussianMixture, TwoMoonEnergy

TARGETS = tuple(course.COURSES)
COUNTS = (1, 4, 16, 64)
PROPOSALS = ("p_t", "N(0, 4I)", "Unif[−6, 6]²")
HALVES = {"sdac_mixture": 14.0, "two_moon_energy": 5.0, "8gaussians": 7.5}
TEMPERATURES = (0.1, 0.3, 1.0, 2.0, 5.0)
LEVELS = np.geomspace(0.1, 20.0, 20)
OWN_LEVELS, OWN_SIZE = tuple(np.geomspace(0.1, 20.0, 12).tolist()), 33


def noise_of(seed: int) -> Tensor:
    """The particles' noise (4096, 2)."""
    return torch.randn(4096, 2, generator=torch.Generator().manual_seed(seed))


def law_of(target: str) -> dict[str, Stack]:
    """The target as `energies` reads it: a mixture, or the crescents' normaliser alone."""
    law = toys.density(target)
    if moons := not isinstance(law, GaussianMixture):
        means, stds = torch.zeros(1, 2), torch.ones(1)
        logs = -torch.tensor([TwoMoonEnergy.log_normaliser])
    else:
        assert law.stds is not None
        means, stds = law.means, law.stds
        logs = law.weights.log() - 2 * stds.log() - math.log(2 * math.pi)
    entries = {"means": means, "stds": stds, "logs": logs, "moons": torch.tensor(float(moons))}
    return {name: Stack(value.double().numpy()) for name, value in entries.items()}


def _clean(target: str, temperature: float, n: int, generator: torch.Generator) -> Tensor:
    """Points of exp(E/temperature), from its values on a grid."""
    half = HALVES[target]
    nodes = fields.grid((-half, half, -half, half), 301)
    share = torch.softmax(toys.density(target).log_prob(nodes) / temperature, 0)
    jitter = (torch.rand(n, 2, generator=generator) - 0.5) * 2 * half / 300
    return nodes[torch.multinomial(share, n, replacement=True, generator=generator)] + jitter


def noisy_points(
    target: str, temperature: float, n: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clean points and noise that make x_t ~ p_t, and points of the two proposals, (n, 2) each."""
    generator = torch.Generator().manual_seed(seed)
    clean = _clean(target, temperature, n, generator)
    eta, gauss = (torch.randn(n, 2, generator=generator) for _ in range(2))
    return clean, eta, 2 * gauss, 12 * torch.rand(n, 2, generator=generator) - 6


@lru_cache(maxsize=8)
def typical(target: str, seed: int, n: int = 96) -> np.ndarray:
    """Median effective number (proposals, counts, temperatures, levels) of training's x_t."""
    log_p, levels = toys.density(target).log_prob, torch.tensor(LEVELS).float()[:, None, None]
    eps = torch.randn(COUNTS[-1], len(LEVELS), n, 2, generator=torch.Generator().manual_seed(seed))
    found = np.empty((len(PROPOSALS), len(COUNTS), len(TEMPERATURES), len(LEVELS)))
    for j, temperature in enumerate(TEMPERATURES):
        clean, eta, gauss, even = noisy_points(target, temperature, n, seed + 1)
        wide = (1 + levels.square()).sqrt()
        for p, z in enumerate((clean + levels * eta, wide * gauss, wide * even)):
            energy = log_p(z - levels * eps) / temperature
            for k, count in enumerate(COUNTS):
                found[p, k, j] = effective_sample_size(energy[:count]).median(-1).values.numpy()
    return found


def stacks(target: str, seed: int, size: int) -> dict[str, Stack]:
    """All that does not depend on the race or on a student."""
    bounds = parts.bounds_of(target)
    logp = fields.on_grid(toys.density(target).log_prob, bounds, size)
    points = noisy_points(target, 1.0, 120, seed + 2)
    numbers = {
        **dict(zip(("clean", "eta", "gauss", "even"), points, strict=True)),
        "eps": noise_of(seed),
        "counts": torch.tensor([*COUNTS, 256.0]),
        "half": torch.tensor(HALVES[target]),
        "box": torch.tensor(bounds),
        "levels": torch.tensor(LEVELS),
    }
    axes = {
        "proposal": tuple(map(float, range(len(PROPOSALS)))),
        "particles": tuple(map(float, range(len(COUNTS)))),
        "temperature": TEMPERATURES,
    }
    deep = np.maximum(logp - logp.max(), -8 * TEMPERATURES[-1])
    return {
        **law_of(target),
        **{name: Stack(value.numpy()) for name, value in numbers.items()},
        "logp": Stack(deep, bits=10),
        "typical": Stack(typical(target, seed), axes),
    }


def own_fields(mine: Callable[[Tensor], Tensor], target: str, seed: int) -> np.ndarray:
    """Targets (counts, levels, 2, H, W) of a student's weights, where x_t/alpha is a grid's node.

    mine(energy (M, B)) -> weights (M, B); NaN where all of a point's weights are 0. ValueError for
    weights that are negative, not finite or of another shape.
    """
    nodes, eps = fields.grid(parts.bounds_of(target), OWN_SIZE), noise_of(seed)[: COUNTS[-1]]
    found = np.empty((len(COUNTS), len(OWN_LEVELS), 2, OWN_SIZE, OWN_SIZE))
    for j, level in enumerate(OWN_LEVELS):
        energy = toys.density(target).log_prob(nodes - level * eps[:, None])
        for k, count in enumerate(COUNTS):
            given = energy[:count].clone()
            # A single particle is the target whatever it weighs, and has no spread to ask for.
            value = torch.ones_like(given) if count == 1 else mine(given)
            weight = parts.checked(value, given.shape, "your weights").detach().double()
            if bool((weight < 0).any()):
                raise ValueError(f"your weights must not be negative, got {float(weight.min()):g}")
            bar = torch.einsum("mb,ma->ab", weight, eps[:count].double()) / weight.sum(0)
            found[k, j] = bar.reshape(2, OWN_SIZE, OWN_SIZE).numpy()
    return found
