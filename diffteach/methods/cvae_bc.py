"""Behaviour cloning by the variational auto-encoder of BCQ and BEAR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.behaviour import VAEConfig
from diffteach.checks import check_kind, check_obs, check_space
from diffteach.data.names import task
from diffteach.nets import CVAE
from diffteach.tables import episodes
from diffteach.train import named_generator
from diffteach.types import Recipe, Stage


@dataclass(frozen=True)
class CVAEBCConfig:
    """Settings of `CVAEBC`; the defaults are for problems on the plane."""

    behaviour: VAEConfig = VAEConfig(partial(CVAE, width=128), lr=3e-3)
    """the model"""
    steps: int = 1000
    """gradient steps"""
    batch_size: int = 512
    """rows per step"""

    def __post_init__(self) -> None:
        check_kind("behaviour", self.behaviour, VAEConfig)


D4RL = CVAEBCConfig(VAEConfig(), 1_000_000, 100)


def paper(name: str) -> Recipe:
    """BCQ's auto-encoder, trained as there."""
    return Recipe(D4RL, episodes=episodes(task(name).family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper}


class CVAEBC:
    """Clones a behaviour with the variational auto-encoder of BCQ and BEAR."""

    def __init__(
        self,
        config: CVAEBCConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_limit = config, act_limit
        self.obs_dim = obs_dim
        self.behaviour = config.behaviour.build(obs_dim, act_dim, act_limit, seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "behaviour"."""
        config = self.config
        return (Stage("behaviour", config.steps, config.batch_size, self.behaviour.step),)

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Actions decoded from clamped normal latents."""
        check_obs(obs, self.obs_dim)
        return self.behaviour.draw(obs, self.chance)
