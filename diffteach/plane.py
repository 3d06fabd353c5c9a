"""Problems on the plane: a named set and a reward, as batches for the methods of D4RL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach import toys
from diffteach.methods import bc, bcq, bear, diffusion_ql, dtql, iql, srpo, td3bc
from diffteach.toys import Density, GaussianMixture
from diffteach.train import InMemory, one_step
from diffteach.types import Agent, QFunction

# (class, settings for the plane); called as Method(config, obs_dim, act_dim, act_limit, seed)
METHODS: Mapping[str, tuple[Callable[..., Agent], Any]] = {
    "bc": (bc.DiffusionBC, bc.BCConfig()),
    "bcq": (bcq.BCQ, bcq.PLANE),
    "bear": (bear.BEAR, bear.PLANE),
    "cvae_bc": (bc.CVAEBC, bc.CVAEBCConfig()),
    "diffusion_ql": (diffusion_ql.DiffusionQL, diffusion_ql.PLANE),
    "dtql": (dtql.DTQL, dtql.PLANE),
    "gaussian_bc": (bc.GaussianBC, bc.GaussianBCConfig()),
    "iql": (iql.IQL, iql.PLANE),
    "srpo": (srpo.SRPO, srpo.PLANE),
    "td3bc": (td3bc.TD3BC, td3bc.PLANE),
}


@dataclass(frozen=True)
class Bandit:
    """Points of a named set with their rewards: one state, one step."""

    name: str
    points: Float[Tensor, "n 2"]
    reward: Float[Tensor, " n"]
    q: QFunction
    """the reward, defined everywhere"""
    density: Density
    """the exact law of the points"""
    limit: float
    """half the side of the square that holds the set: the methods' act_limit"""

    def source(self, seed: int = 0, endless: bool = False) -> InMemory:
        """Batches; `endless` bootstraps as DTQL's toy code does."""
        return InMemory(one_step(self.points, self.reward, endless), seed)


def bandit(
    name: str = "8gaussians", reward: str | None = None, n: int = 10_000, seed: int = 0
) -> Bandit:
    """n points of a named set; `reward` names a function of the point, None is the set's own.

    ValueError for unknown names, and for a reward that is the same at all points: nothing could be
    preferred, ask for "same" by name if that is meant.
    """
    points, own = toys.load(name, n, seed)
    q = toys.reward_fn(name if reward is None else reward)
    values = own if reward is None else q(points)
    if reward != "same" and float(values.min()) == float(values.max()):
        raise ValueError(
            f"reward must differ between points, got {float(values[0]):g} at each of {n} points"
        )
    return Bandit(name, points, values, q, toys.density(name), toys.window(name))


class Outcome(NamedTuple):
    """What became of a policy."""

    reward: float
    """mean reward of its actions"""
    outside: float
    """share of its actions less likely under the data's law than all but 0.1 % of the data"""
    spread: float
    """root mean square distance of its actions from their mean"""
    modes: Float[Tensor, " K"]
    """share of its actions nearest to each mode of a mixture, those outside left out; else empty"""


def outcome(problem: Bandit, actions: Float[Tensor, "B 2"]) -> Outcome:
    """Rewards, support and modes of a policy's actions."""
    density = problem.density
    floor = density.log_prob(problem.points).quantile(0.001)
    inside = density.log_prob(actions) >= floor
    modes = actions.new_zeros(0)
    curve = toys.default_bandwidth(problem.name) > 0
    if isinstance(density, GaussianMixture) and not curve:
        nearest = torch.cdist(actions[inside], density.means).argmin(-1)
        modes = torch.bincount(nearest, minlength=len(density.means)) / len(actions)
    return Outcome(
        float(problem.q(actions).mean()),
        1 - float(inside.float().mean()),
        float((actions - actions.mean(0)).square().sum(-1).mean().sqrt()),
        modes,
    )
