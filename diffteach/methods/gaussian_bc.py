"""Behaviour cloning by maximum likelihood: one Gaussian, or one action, per state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.checks import check_obs, check_space
from diffteach.data.names import task
from diffteach.nets import (
    Learner,
    Policy,
    TanhGaussianPolicy,
    check_imitates,
    imitation_loss,
    seeded,
)
from diffteach.seeds import named_seed
from diffteach.tables import episodes
from diffteach.train import named_generator, normal
from diffteach.types import Batch, Metrics, Recipe, Stage


@dataclass(frozen=True)
class GaussianBCConfig:
    """Settings of `GaussianBC`; the defaults are for problems on the plane."""

    policy: Callable[..., Policy] = partial(TanhGaussianPolicy, width=64, depth=2)
    """called as policy(obs_dim, act_dim, act_limit); a DiracPolicy learns the mean action"""
    lr: float | int = 3e-3
    """Adam's learning rate"""
    steps: int = 1000
    """gradient steps"""
    batch_size: int = 512
    """rows per step"""


D4RL = GaussianBCConfig(TanhGaussianPolicy, 3e-4, 1_000_000, 256)


def paper(name: str) -> Recipe:
    """The usual baseline, on observations as recorded; no paper here calls it its own."""
    return Recipe(D4RL, episodes=episodes(task(name).family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper}


class GaussianBC:
    """Clones a behaviour by maximum likelihood: one mode, wherever the data has several."""

    def __init__(
        self,
        config: GaussianBCConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        with seeded(named_seed("policy", seed)):
            self.policy = config.policy(obs_dim, act_dim, act_limit).to(device)
        check_imitates(self.policy)
        self.learner = Learner(self.policy.parameters(), config.lr)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "policy"."""
        config = self.config
        return (Stage("policy", config.steps, config.batch_size, self.policy_step),)

    def policy_step(self, batch: Batch) -> Metrics:
        """One step down -log pi of the data's actions."""
        loss = imitation_loss(self.policy, batch.obs, batch.act).mean()
        self.learner.step(loss)
        return {"policy_loss": loss.detach()}

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Actions drawn from the policy."""
        check_obs(obs, self.obs_dim)
        noise = normal((len(obs), self.act_dim), self.chance)
        with torch.no_grad():
            return self.policy.draw(obs, noise)
