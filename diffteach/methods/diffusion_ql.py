"""Diffusion-QL: a diffusion policy, trained through its whole reverse chain (ICLR 2023)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.behaviour import BehaviourConfig, schedule_of
from diffteach.checks import (
    check_between,
    check_kind,
    check_not_negative,
    check_obs,
    check_space,
)
from diffteach.critics import DoubleQConfig, KnownQ, mean_size, softmax_choice
from diffteach.data.names import task
from diffteach.nets import Critics, Mish, MLPDenoiser, PlaneDenoiser, at, ema_update
from diffteach.objectives import denoising_loss, unit_weight
from diffteach.sampling import ancestral, initial_noise
from diffteach.schedule import Discrete, check_count, cosine_betas, vp_betas
from diffteach.tables import episodes
from diffteach.train import Counter, named_generator
from diffteach.types import Batch, Metrics, Recipe, Stage

CRITIC = DoubleQConfig(max_norm=1.0, network=partial(Critics, depth=3, activation=Mish))


@dataclass(frozen=True)
class DiffusionQLConfig:
    """Settings of `DiffusionQL`; the defaults are the paper's on walker2d-medium (App. D)."""

    eta: float | int = 1.0
    """greed: multiplies -Q/mean|Q| against the denoising loss (Eq. 3); 0.005 to 4.5 by task"""
    policy: BehaviourConfig = BehaviourConfig(
        Discrete(vp_betas(5)), network=MLPDenoiser, lr=3e-4, anneal=False, max_norm=1.0
    )
    """the diffusion model that is the policy; gradients are cut to 1 to 10 by task"""
    critic: DoubleQConfig | KnownQ = CRITIC
    """twin critics"""
    backups: int = 1
    """next actions per state; with more, each slow critic counts its best (10: "max_q_backup")"""
    target_rate: float | int = 0.005
    """share of the policy's weights that its slow copy takes at once"""
    target_every: int = 5
    """steps from one time to the next"""
    target_start: int = 1000
    """steps before which the slow copy stays as it began"""
    candidates: int = 50
    """actions per state of which `act` draws one by softmax(Q); 1 acts by the policy alone"""
    steps: int = 2_000_000
    """steps of critic and policy together"""
    batch_size: int = 256
    """rows per step"""

    def __post_init__(self) -> None:
        for name in ("backups", "target_every", "candidates"):
            check_count(name, getattr(self, name))
        check_not_negative("eta", self.eta)
        check_between("target_rate", self.target_rate)
        check_count("target_start", self.target_start, 0)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)
        check_kind("policy", self.policy, BehaviourConfig)
        schedule_of("policy", self.policy, Discrete, "Diffusion-QL")


PAPER = DiffusionQLConfig()
# Five levels of the paper's schedule leave half of the four corners' mass between the corners even
# with the exact denoiser; the official toy takes 50. Ten of the cosine schedule leave 1 %.
PLANE = DiffusionQLConfig(
    eta=2.5,
    policy=BehaviourConfig(
        Discrete(cosine_betas(10)),
        network=partial(PlaneDenoiser, depth=2),
        lr=5e-3,
        max_norm=1.0,
    ),
    critic=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True)),
    target_start=0,
    steps=500,
    batch_size=128,
)


class TaskRow(NamedTuple):
    """What the paper sets by task."""

    max_norm: float
    """longest gradient, of policy and critics ("gn")"""
    eta: float = 1.0
    backups: int = 1
    """10 where "max_q_backup" is on"""
    lr: float = 3e-4
    """the policy's; the critics' stays 3e-4"""
    epochs: int = 1000
    """of 1,000 steps"""


TASKS: Mapping[tuple[str, str, str], TaskRow] = {
    ("locomotion", "halfcheetah", "medium"): TaskRow(9, epochs=2000),
    ("locomotion", "halfcheetah", "medium-replay"): TaskRow(2, epochs=2000),
    ("locomotion", "halfcheetah", "medium-expert"): TaskRow(7, epochs=2000),
    ("locomotion", "hopper", "medium"): TaskRow(9, epochs=2000),
    ("locomotion", "hopper", "medium-replay"): TaskRow(4, epochs=2000),
    ("locomotion", "hopper", "medium-expert"): TaskRow(5, epochs=2000),
    ("locomotion", "walker2d", "medium"): TaskRow(1, epochs=2000),
    ("locomotion", "walker2d", "medium-replay"): TaskRow(4, epochs=2000),
    ("locomotion", "walker2d", "medium-expert"): TaskRow(5, epochs=2000),
    ("antmaze", "umaze", ""): TaskRow(2, 0.5),
    ("antmaze", "umaze", "diverse"): TaskRow(3, 2, 10),
    ("antmaze", "medium", "play"): TaskRow(2, 2, 10, lr=1e-3),
    ("antmaze", "medium", "diverse"): TaskRow(1, 3, 10),
    ("antmaze", "large", "play"): TaskRow(10, 4.5, 10),
    ("antmaze", "large", "diverse"): TaskRow(7, 3.5, 10),
    ("adroit", "pen", "human"): TaskRow(7, 0.15, lr=3e-5),
    ("adroit", "pen", "cloned"): TaskRow(8, 0.1, lr=3e-5),
    ("kitchen", "kitchen", "complete"): TaskRow(9, 0.005, epochs=250),
    ("kitchen", "kitchen", "partial"): TaskRow(10, 0.005),
    ("kitchen", "kitchen", "mixed"): TaskRow(10, 0.005),
}
"""Official code; its AntMaze is v0. Its scores are of checkpoints chosen by evaluation or by the
denoising loss, not of the last."""
REWARDS = {"antmaze": "cql_antmaze", "adroit": "standardised"}


def paper(name: str) -> Recipe:
    """Settings for a data set by the official table, which is the paper's."""
    config, where = PAPER, task(name)
    if row := TASKS.get(where):
        config = replace(
            config,
            eta=row.eta,
            policy=replace(config.policy, lr=row.lr, max_norm=row.max_norm),
            critic=replace(CRITIC, max_norm=row.max_norm),
            backups=row.backups,
            steps=1000 * row.epochs,
        )
    return Recipe(config, REWARDS.get(where.family, "raw"), episodes=episodes(where.family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper, "official": paper}


class DiffusionQL:
    """Denoises the data's actions and climbs Q with its own, which cost a whole chain each."""

    def __init__(
        self,
        config: DiffusionQLConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        size = obs_dim, act_dim, config.steps, seed, device
        self.critic = config.critic.build(*size)
        self.policy = config.policy.build(*size)
        self.slow = copy.deepcopy(self.policy.net).requires_grad_(False)
        self.schedule = schedule_of("policy", config.policy, Discrete, "Diffusion-QL")
        self.counter = Counter()
        self.coin = named_generator("coin", seed)
        self.noise = named_generator("chain", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "policy": critic and policy together."""
        config = self.config
        return (Stage("policy", config.steps, config.batch_size, self.joint_step),)

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of the critics, one of the policy, and the slow copies follow."""
        config = self.config
        critic = self.critic.step(batch, self.next_value(batch))
        policy = self.policy_step(batch)
        count = self.counter.tick()
        if count > config.target_start and count % config.target_every == 0:
            ema_update(self.slow, self.policy.net, config.target_rate)
        return {**critic, **policy}

    def next_value(self, batch: Batch) -> Float[Tensor, " B"]:
        """Least over slow critics of the best next action of the slow policy; 0 if all rows end."""
        count, obs = self.config.backups, batch.next_obs
        if bool(batch.done.all()):  # on one-step problems a whole chain would be multiplied by 0
            return torch.zeros_like(batch.rew)
        with torch.no_grad():
            acts = self.chain(self.slow, obs.repeat(count, 1), self.noise)
            heads = self.critic.target(obs, acts.unflatten(0, (count, len(obs))))
            return heads.amax(1).amin(0)

    def policy_step(self, batch: Batch) -> Metrics:
        """One step down the denoising loss of the data - eta Q_i/mean|Q_j| of own actions (Eq. 3).

        i and j are the two critics in an order that a coin decides, as in the official code.
        """
        denoise = self.policy.denoise(batch.obs)
        t, eps = self.policy.noise.take(len(batch.act))
        weight = unit_weight(self.schedule, t)
        clone = denoising_loss(denoise, self.schedule, batch.act, t, eps, weight).mean()
        heads = self.critic.online(batch.obs, self.chain(self.policy.net, batch.obs, self.noise))
        first = int(torch.randint(len(heads), (), generator=self.coin))
        q = heads[first].mean()
        greed = self.config.eta / mean_size(heads[first - 1])
        loss = clone / self.act_dim - greed * q
        self.policy.learner.step(loss)
        return {"policy_loss": loss.detach(), "clone": clone.detach(), "q": q.detach()}

    def chain(
        self, net: nn.Module, obs: Float[Tensor, "B S"], generator: torch.Generator
    ) -> Float[Tensor, "B A"]:
        """Actions from a network's whole reverse chain, differentiable in its weights."""
        noise = initial_noise(self.schedule, len(obs), self.act_dim, generator)
        steps = ancestral(at(net, obs), self.schedule, noise, generator, self.act_limit)
        *_, act = steps
        return act

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """One of `candidates` actions, drawn by the softmax of the least slow Q.

        The policy itself proposes them, not its slow copy.
        """
        check_obs(obs, self.obs_dim)
        count = self.config.candidates
        with torch.no_grad():
            acts = self.chain(self.policy.net, obs.repeat(count, 1), self.chance)
        return softmax_choice(self.critic, obs, acts.unflatten(0, (count, -1)), self.chance)

    explore = act
