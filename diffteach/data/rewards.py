"""What papers do to recorded rewards before they learn from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.data.dataset import Dataset

LONGEST = 1000


def episode_returns(dataset: Dataset) -> Float[Tensor, " episodes"]:
    """Returns (float64) of stretches of rows that a terminal or the thousandth row ends.

    These are the episodes of IQL's and SRPO's code, which looks at terminals only: where a loader
    has dropped the rows of time limits, they drift over the true ones. An unfinished one at the
    end does not count.
    """
    done = dataset.transitions.done.bool()
    rows = torch.arange(len(done))
    first = torch.zeros_like(rows)
    first[1:] = torch.where(done[:-1], rows[1:], 0)
    steps = rows - first.cummax(0).values
    ends = done | (steps % LONGEST == LONGEST - 1)
    sums = dataset.transitions.rew.double().cumsum(0)[ends]
    return sums.diff(prepend=sums.new_zeros(1))


def raw(dataset: Dataset) -> Float[Tensor, " n"]:
    """The rewards as recorded (DTQL on locomotion, Diffusion-QL)."""
    return dataset.transitions.rew


def iql_locomotion(dataset: Dataset) -> Float[Tensor, " n"]:
    """1000 rewards over the distance of the best from the worst return (IQL, SRPO).

    ValueError where the data hold no two episodes of different return.
    """
    returns = episode_returns(dataset)
    if len(returns) == 0 or returns.min() == returns.max():
        raise ValueError(
            "iql_locomotion divides by the distance of the best from the worst return, and "
            f"{dataset.name} holds no two finished episodes of different return: take another "
            "reward tuning"
        )
    return dataset.transitions.rew / (returns.max() - returns.min()).item() * 1000


def iql_antmaze(dataset: Dataset) -> Float[Tensor, " n"]:
    """Rewards minus 1: every step costs, the goal is free (IQL, SRPO, DTQL on AntMaze)."""
    return dataset.transitions.rew - 1


def cql_antmaze(dataset: Dataset) -> Float[Tensor, " n"]:
    """4 (reward - 1/2) (CQL; Diffusion-QL on AntMaze)."""
    return 4 * (dataset.transitions.rew - 0.5)


def standardised(dataset: Dataset) -> Float[Tensor, " n"]:
    """Rewards minus their mean, over their standard deviation (Diffusion-QL on Adroit).

    ValueError where all rewards are equal.
    """
    rew = dataset.transitions.rew
    std = rew.std() if len(rew) > 1 else rew.new_zeros(())
    if std == 0:
        raise ValueError(
            f"standardised divides by the spread of the rewards, and those of {dataset.name} are "
            "all equal: take another reward tuning"
        )
    return (rew - rew.mean()) / std


TUNINGS: Mapping[str, Callable[[Dataset], Float[Tensor, " n"]]] = MappingProxyType(
    {
        "raw": raw,
        "iql_locomotion": iql_locomotion,
        "iql_antmaze": iql_antmaze,
        "cql_antmaze": cql_antmaze,
        "standardised": standardised,
    }
)
"""By the name that recipes and the command line use."""
