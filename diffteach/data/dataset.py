"""What every source of recorded episodes becomes: transitions in order, and where to act."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jaxtyping import Bool
from torch import Tensor

from diffteach.types import Batch


class EnvSpec(NamedTuple):
    """An environment to act in: `gym.make(id, **kwargs)`, its module named as in `module:Name-v0`.

    `keys` names the entries of a dict observation in the order in which they are joined.
    """

    id: str
    kwargs: Mapping[str, Any] = {}
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Transitions of recorded episodes, in the order in which they happened."""

    name: str
    """as in `hopper-medium-v2`, `D4RL/antmaze/umaze-v1` or `diffteach/pointmaze/umaze-v0`"""
    transitions: Batch
    """float32 on the CPU; rewards as recorded"""
    ends: Bool[Tensor, " n"]
    """the last kept row of an episode, however it ended"""
    env: EnvSpec | None
    """where a policy of these data is evaluated; None if nobody knows"""
    scores: tuple[float, float] | None
    """returns that count as 0 and 100 percent; None if nobody knows"""
    origin: str
    """one sentence: who recorded what, and what the loader changed"""
    digest: str
    """sha256 of the columns: a run keeps it, so that it never resumes on other data"""
    act_limit: float | int = 1.0
    """actions lie within +-act_limit; an environment is given act / act_limit"""


def digest(transitions: Batch, ends: Bool[Tensor, " n"]) -> str:
    """The sha256 of the columns' shapes, kinds of numbers and bytes."""
    total = hashlib.sha256()
    for column in (*transitions, ends):
        total.update(f"{column.dtype} {tuple(column.shape)}".encode())
        total.update(column.contiguous().numpy().data)
    return total.hexdigest()


def outside(dataset: Dataset) -> int:
    """How many actions leave the box of +-act_limit in some coordinate."""
    # Not counted: a last digit that float32 rounded up.
    return int((dataset.transitions.act.abs() > dataset.act_limit * (1 + 1e-6)).any(-1).sum())


def clipped(dataset: Dataset) -> Dataset:
    """The data with actions brought into the box of +-act_limit, as simulators do by themselves."""
    count, limit = outside(dataset), dataset.act_limit
    if count == 0:
        return dataset
    transitions = dataset.transitions._replace(act=dataset.transitions.act.clamp(-limit, limit))
    return replace(
        dataset,
        transitions=transitions,
        origin=f"{dataset.origin}; {count} actions clipped to [-{limit:g}, {limit:g}]",
        digest=digest(transitions, dataset.ends),
    )
