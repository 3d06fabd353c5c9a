"""IQL: an expectile critic, and a policy by advantage-weighted regression (ICLR 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.checks import check_kind, check_not_negative, check_obs, check_space
from diffteach.critics import DoubleQConfig, ExpectileConfig
from diffteach.data.names import task
from diffteach.nets import (
    Critics,
    GaussianPolicy,
    Learner,
    Mish,
    Policy,
    check_imitates,
    imitation_loss,
    seeded,
)
from diffteach.objectives import advantage_weight
from diffteach.schedule import check_positive
from diffteach.seeds import named_seed
from diffteach.tables import IQL_EXPECTILES, IQL_REWARDS, episodes
from diffteach.train import named_generator, normal
from diffteach.types import Batch, Metrics, Recipe, Stage


@dataclass(frozen=True)
class IQLConfig:
    """Settings of `IQL`; the defaults are the paper's on locomotion (App. B)."""

    beta: float | int = 3.0
    """inverse temperature: pi* ~ mu exp(beta A), larger is greedier; 10 on AntMaze (Eq. 7)"""
    cap: float | int = 100.0
    """greatest weight of a datum (official code)"""
    critic: ExpectileConfig = ExpectileConfig()
    """V and Q (Eqs. 5 and 6)"""
    policy: Callable[..., Policy] = GaussianPolicy
    """called as policy(obs_dim, act_dim, act_limit); with a DiracPolicy: weighted squared error"""
    lr: float | int = 3e-4
    """Adam's first learning rate for the policy"""
    anneal: bool = True
    """a cosine takes the policy's rate to 0 over all steps"""
    act_noise: float | int = 0.0
    """multiplies the noise of the action in `act`: 0 acts by the mean, as the paper evaluates"""
    steps: int = 1_000_000
    """steps of critic and policy together"""
    batch_size: int = 256
    """rows per step"""

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)
        check_positive("cap", self.cap)
        check_not_negative("act_noise", self.act_noise)
        check_kind("critic", self.critic, ExpectileConfig)


PAPER = IQLConfig()
OFFICIAL = replace(PAPER, policy=partial(GaussianPolicy, log_std_min=-5.0))
PLANE = IQLConfig(
    critic=ExpectileConfig(
        q=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True))
    ),
    policy=partial(GaussianPolicy, width=64),
    lr=3e-3,
    act_noise=1.0,
    steps=1000,
)


BETAS = {"antmaze": 10.0, "adroit": 0.5, "kitchen": 0.5}


def recipe(config: IQLConfig, name: str) -> Recipe:
    """Settings for a data set; the paper's dropout of 0.1 on Adroit and kitchen is not here."""
    family = task(name).family
    critic = replace(config.critic, expectile=IQL_EXPECTILES.get(family, config.critic.expectile))
    config = replace(config, beta=BETAS.get(family, config.beta), critic=critic)
    return Recipe(config, IQL_REWARDS.get(family, "raw"), episodes=episodes(family))


def corl(name: str) -> Recipe:
    """As in CORL: standardised observations, and rewards changed on AntMaze alone."""
    found, family = recipe(PAPER, name), task(name).family
    reward = IQL_REWARDS["antmaze"] if family == "antmaze" else "raw"
    return replace(found, reward=reward, standardise=True)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {
    "paper": partial(recipe, PAPER),
    "official": partial(recipe, OFFICIAL),
    "corl": corl,
}


class IQL:
    """Nothing outside the data is ever evaluated, neither by the critic nor by the policy."""

    def __init__(
        self,
        config: IQLConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        self.critic = config.critic.build(obs_dim, act_dim, config.steps, seed, device)
        with seeded(named_seed("policy", seed)):
            self.policy = config.policy(obs_dim, act_dim, act_limit).to(device)
        check_imitates(self.policy)
        anneal = config.steps if config.anneal else None
        self.learner = Learner(self.policy.parameters(), config.lr, anneal)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "policy": critic and policy together."""
        config = self.config
        return (Stage("policy", config.steps, config.batch_size, self.joint_step),)

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of the policy on the advantage of before, then one of V and of Q.

        CORL's order; the official code takes the advantage, and Q's target, after V's step.
        """
        policy = self.policy_step(batch, self.advantage(batch))
        return {**policy, **self.critic.step(batch)}

    def advantage(self, batch: Batch) -> Float[Tensor, " B"]:
        """Least slow Q minus V at the data's actions."""
        with torch.no_grad():
            q = self.critic.target(batch.obs, batch.act).amin(0)
            return q - self.critic.value(batch.obs)

    def policy_step(self, batch: Batch, advantage: Float[Tensor, " B"]) -> Metrics:
        """One step down min(exp(beta A), cap) times -log pi of the data's actions (Eq. 7)."""
        weight = advantage_weight(advantage, self.config.beta, self.config.cap)
        loss = (weight * imitation_loss(self.policy, batch.obs, batch.act)).mean()
        self.learner.step(loss)
        return {"policy_loss": loss.detach(), "weight": weight.mean()}

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """The policy's mean plus `act_noise` times its noise."""
        return self._draw(obs, self.config.act_noise)

    def explore(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Actions drawn from the policy."""
        return self._draw(obs, 1.0)

    def _draw(self, obs: Tensor, scale: float | int) -> Tensor:
        check_obs(obs, self.obs_dim)
        noise = normal((len(obs), self.act_dim), self.chance)
        with torch.no_grad():
            return self.policy.draw(obs, scale * noise)
