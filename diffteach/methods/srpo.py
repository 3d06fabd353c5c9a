"""SRPO: one action per state, regularised by the score of a diffusion behaviour (ICLR 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.behaviour import BehaviourConfig, KnownBehaviour, Weight, schedule_of
from diffteach.checks import check_kind, check_obs, check_space
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ
from diffteach.data.names import task
from diffteach.nets import (
    Critics,
    DiracPolicy,
    Learner,
    Mish,
    PlaneDenoiser,
    Policy,
    ResNetDenoiser,
    Value,
    seeded,
)
from diffteach.objectives import score_regularization_grad, variance_weight
from diffteach.schedule import VP, check_positive
from diffteach.seeds import named_seed
from diffteach.tables import IQL_EXPECTILES, IQL_REWARDS
from diffteach.train import named_generator, noise_stream, normal
from diffteach.types import Batch, Metrics, Recipe, Stage


@dataclass(frozen=True)
class SRPOConfig:
    """Settings of `SRPO`; the defaults are the paper's on locomotion (Table 2, App. D)."""

    beta: float | int = 0.05
    """temperature: pi* ~ mu exp(beta Q), larger is greedier (per task in the paper's Table 2)"""
    weight: Weight = variance_weight
    """omega(t) on the eps-residual (sigma^2; Eq. 15)"""
    baseline: bool = True
    """subtract eps from eps_hat (Eq. 15); the official default does not"""
    normalize_q_grad: bool = False
    """divide each action's gradient of Q by its root mean square (official code on AntMaze)"""
    times: tuple[float, float] = (0.02, 0.98)
    """range of the uniform t at which the policy is regularised"""
    behaviour: BehaviourConfig | KnownBehaviour = BehaviourConfig(
        VP(), network=ResNetDenoiser, lr=3e-4, anneal=False, weight_decay=0.01
    )
    """the diffusion model, on VP (Eq. 13)"""
    critic: ExpectileConfig | KnownQ = ExpectileConfig()
    """IQL's critic (Eqs. 11 and 12)"""
    policy: Callable[..., Policy] = DiracPolicy
    """called as policy(obs_dim, act_dim, act_limit); AntMaze: partial(DiracPolicy, depth=4)"""
    lr: float | int = 3e-4
    """Adam's first learning rate for the policy; a cosine takes it to 0"""
    critic_steps: int = 1_500_000
    """steps of the first stage"""
    behaviour_steps: int = 2_000_000
    """steps of the second stage; a quarter is nearly as good"""
    policy_steps: int = 1_000_000
    """steps of the third stage"""
    batch_size: int = 256
    """rows for critic and policy"""
    behaviour_batch: int = 2048
    """rows for the behaviour"""

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)
        check_kind("behaviour", self.behaviour, BehaviourConfig, KnownBehaviour)
        check_kind("critic", self.critic, ExpectileConfig, KnownQ)
        self.noise_levels()

    def noise_levels(self) -> VP:
        """The behaviour's schedule between the times at which the policy is regularised."""
        low, high = self.times
        if not 0 < low < high:
            raise ValueError(f"times must be two rising numbers above 0, got {self.times}")
        schedule = schedule_of("behaviour", self.behaviour, VP, "SRPO")
        return replace(schedule, t_min=low, t_max=high)


PAPER = SRPOConfig()
OFFICIAL = replace(PAPER, baseline=False)
PLANE = SRPOConfig(
    beta=1.0,
    behaviour=BehaviourConfig(VP(), network=partial(PlaneDenoiser, width=96)),
    critic=ExpectileConfig(
        q=DoubleQConfig(lr=3e-3, network=partial(Critics, width=64, activation=Mish, norm=True)),
        value=partial(Value, width=32),
    ),
    policy=partial(DiracPolicy, width=64),
    lr=1e-2,
    critic_steps=400,
    behaviour_steps=1000,
    policy_steps=600,
    behaviour_batch=256,
)


BETAS: Mapping[tuple[str, str, str], float] = {
    ("locomotion", "halfcheetah", "medium"): 0.2,
    ("locomotion", "halfcheetah", "medium-replay"): 0.2,
    ("locomotion", "halfcheetah", "medium-expert"): 0.01,
    ("locomotion", "hopper", "medium"): 0.05,
    ("locomotion", "hopper", "medium-replay"): 0.2,
    ("locomotion", "hopper", "medium-expert"): 0.01,
    ("locomotion", "walker2d", "medium"): 0.05,
    ("locomotion", "walker2d", "medium-replay"): 0.5,
    ("locomotion", "walker2d", "medium-expert"): 0.1,
    ("antmaze", "umaze", ""): 0.02,
    ("antmaze", "umaze", "diverse"): 0.04,
    ("antmaze", "medium", "play"): 0.08,
    ("antmaze", "medium", "diverse"): 0.05,
    ("antmaze", "large", "play"): 0.06,
    ("antmaze", "large", "diverse"): 0.05,
}
"""Table 2, and the official code's."""


def recipe(config: SRPOConfig, name: str) -> Recipe:
    """Settings for a data set: beta by task, a deeper policy and steered gradients on AntMaze."""
    where = task(name)
    config = replace(config, beta=BETAS.get(where, config.beta))
    if where.family == "antmaze" and isinstance(config.critic, ExpectileConfig):
        config = replace(
            config,
            normalize_q_grad=True,
            policy=partial(DiracPolicy, depth=4),
            critic=replace(config.critic, expectile=IQL_EXPECTILES["antmaze"]),
        )
    return Recipe(config, IQL_REWARDS.get(where.family, "raw"), episodes=20)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {
    "paper": partial(recipe, PAPER),
    "official": partial(recipe, OFFICIAL),
}


class SRPO:
    """Three stages one after another: critic, behaviour, policy; nothing is ever sampled."""

    def __init__(
        self,
        config: SRPOConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        size = obs_dim, act_dim
        self.critic = config.critic.build(*size, config.critic_steps, seed, device)
        self.behaviour = config.behaviour.build(*size, config.behaviour_steps, seed, device)
        with seeded(named_seed("policy", seed)):
            self.policy = config.policy(obs_dim, act_dim, act_limit).to(device)
        self.learner = Learner(self.policy.parameters(), config.lr, config.policy_steps)
        times = config.noise_levels().sample_time
        self.noise = noise_stream(times, act_dim, "policy", seed, device, noises=2)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "critic", "behaviour" and "policy"; each can be resumed by itself."""
        config = self.config
        return (
            Stage("critic", config.critic_steps, config.batch_size, self.critic.step),
            Stage("behaviour", config.behaviour_steps, config.behaviour_batch, self.behaviour.step),
            Stage("policy", config.policy_steps, config.batch_size, self.policy_step),
        )

    def policy_step(self, batch: Batch) -> Metrics:
        """One step along Eq. 15, in the official scaling: omega (eps_hat - eps) - beta grad Q."""
        config, schedule = self.config, self.behaviour.schedule
        t, eps, latent = self.noise.take(len(batch.obs))
        act = self.policy.draw(batch.obs, latent)
        denoise, weight = self.behaviour.denoise(batch.obs), config.weight(schedule, t)
        pull = score_regularization_grad(
            denoise, schedule, act.detach(), t, eps, weight, config.baseline
        )
        q, slope = self.q_slope(batch.obs, act.detach())
        self.learner.step(((pull - config.beta * slope) * act).sum(-1).mean())
        return {"q": q, "pull": pull.square().sum(-1).mean().sqrt()}

    def q_slope(
        self, obs: Float[Tensor, "B S"], act: Float[Tensor, "B A"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "B A"]]:
        """Mean value of the actions and the gradient of Q, the mean of the slow heads, at each."""
        act = act.requires_grad_()
        q = self.critic.target(obs, act).mean(0)
        (slope,) = torch.autograd.grad(q.sum(), act)
        if self.config.normalize_q_grad:
            slope = slope / slope.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
        return q.detach().mean(), slope

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """The policy's actions."""
        check_obs(obs, self.obs_dim)
        with torch.no_grad():
            return self.policy.draw(obs, normal((len(obs), self.act_dim), self.chance))

    explore = act
