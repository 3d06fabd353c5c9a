"""The words every module shares: batches, and the callables that methods are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


class Batch(NamedTuple):
    """Transitions (B rows); `done` is 1 at a true termination and 0 at a truncation."""

    obs: Float[Tensor, "B S"]
    act: Float[Tensor, "B A"]
    rew: Float[Tensor, " B"]
    next_obs: Float[Tensor, "B S"]
    done: Float[Tensor, " B"] | Bool[Tensor, " B"]


@runtime_checkable
class Denoise(Protocol):
    """x_t (B, A), t (B,) -> predicted noise (B, A); observations are already bound."""

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Tensor: ...


@runtime_checkable
class QFunction(Protocol):
    """act (..., A) -> values (...); observations are already bound."""

    def __call__(self, act: Tensor, /) -> Tensor: ...


@runtime_checkable
class Schedule(Protocol):
    """How signal and noise mix at time t: x_t = alpha(t) x_0 + sigma(t) eps."""

    def alpha(self, t: Shaped[Tensor, " B"]) -> Float[Tensor, " B"]: ...

    def sigma(self, t: Shaped[Tensor, " B"]) -> Float[Tensor, " B"]: ...

    def sample_time(
        self, n: int, generator: torch.Generator | None = None
    ) -> Shaped[Tensor, " n"]: ...


Metrics = Mapping[str, Tensor]


@dataclass(frozen=True)
class Stage:
    """One training stage of a method: `update(batch)` runs `steps` times on `batch_size` rows."""

    name: str
    steps: int
    batch_size: int
    update: Callable[[Batch], Metrics]


@dataclass(frozen=True)
class Recipe:
    """How a paper, or its official code, runs a method on one data set."""

    config: Any
    """the method's settings"""
    reward: str = "raw"
    """a name of `data.rewards.TUNINGS`: what is done to the recorded rewards"""
    standardise: bool = False
    """observations minus the data's mean, over its standard deviation"""
    episodes: int = 10
    """episodes of an evaluation"""


@runtime_checkable
class Agent(Protocol):
    """What `train.fit` and `evaluate` need of a method."""

    @property
    def stages(self) -> tuple[Stage, ...]: ...

    def act(self, obs: Tensor) -> Tensor: ...
