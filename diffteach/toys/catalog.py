"""Named sets: `density`, `load`, `reward_fn` and the window that holds a set.

A name is one of `names()`, or that of a drawn density's file: it ends in .json.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.checks import unknown
from diffteach.toys.densities import empirical
from diffteach.toys.drawn import drawn_set, is_drawn
from diffteach.toys.interface import Density, check_sample_size
from diffteach.toys.rewards import DTQL_REWARDS
from diffteach.toys.sets import SETS, ToySet
from diffteach.types import QFunction


def names() -> tuple[str, ...]:
    """Names of the sets."""
    return tuple(SETS)


def reward_names() -> tuple[str, ...]:
    """Names that `reward_fn` knows: DTQL's four, then every set's own reward."""
    return (*DTQL_REWARDS, *SETS)


def find_set(name: str) -> ToySet:
    """The named set, or the drawn density of a file; ValueError that lists the names there are."""
    if is_drawn(name):
        return drawn_set(name)
    if name not in SETS:
        raise unknown("name", name, names())
    return SETS[name]


def check_name(name: str) -> None:
    """ValueError unless `name` is that of a set, or of a drawn density's file that can be read."""
    find_set(name)


def density(
    name: str, *, bandwidth: float | int | None = None, n: int = 10_000, seed: int = 0
) -> Density:
    """The exact float32 law of a named set, or its empirical mixture of the given bandwidth.

    Without a bandwidth: mixtures, the checkerboard and the two-moon energy as they are; noisy
    curves as mixtures along the clean curve whose bandwidth is the set's own noise. With one: the
    mixture on load(name, n, seed)'s points, exact for that density; at 0 only its denoiser exists.
    ValueError for an unknown name.
    """
    if bandwidth is not None:
        return empirical(load(name, n, seed)[0], bandwidth)
    return find_set(name).density().to(torch.float32)


def load(name: str, n: int, seed: int) -> tuple[Float[Tensor, "n A"], Float[Tensor, " n"]]:
    """n points of a named set and the papers' rewards of these points, float32.

    The same seed gives the same points; no global random state is touched. ValueError for an
    unknown name or n < 1.
    """
    toy = find_set(name)
    check_sample_size(n)
    points, reward = toy.draw(n, torch.Generator().manual_seed(seed))
    return points.float(), reward.float()


def window(name: str) -> float:
    """Half the side of the square around the origin that holds a named set."""
    return find_set(name).window


def default_bandwidth(name: str) -> float:
    """Bandwidth of the mixture that `density(name)` is on a noisy curve, 0 elsewhere."""
    return find_set(name).bandwidth


def reward_fn(name: str) -> QFunction:
    """A reward (..., 2) -> (...) defined everywhere: near, far, hard, same, or a set's own.

    A set's own reward is CEP's energy, Diffusion-QL's corner mean, DTQL's `far`, the
    (unnormalised) log-density of a Boltzmann target, or how far along a drawing the point lies.
    Piecewise constant ones have gradient 0.
    """
    if name in DTQL_REWARDS:
        return DTQL_REWARDS[name]
    if name not in SETS and not is_drawn(name):
        raise unknown("name", name, reward_names())
    return find_set(name).reward()
