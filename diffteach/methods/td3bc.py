"""TD3+BC: the deterministic policy gradient plus a squared distance to the data (NeurIPS 2021)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.checks import (
    check_between,
    check_kind,
    check_not_negative,
    check_obs,
    check_space,
)
from diffteach.critics import DoubleQConfig, KnownQ, mean_size
from diffteach.data.names import task
from diffteach.nets import (
    Critics,
    DiracPolicy,
    Learner,
    Mish,
    Policy,
    check_imitates,
    ema_update,
    imitation_loss,
    seeded,
)
from diffteach.schedule import check_count, check_positive
from diffteach.seeds import named_seed
from diffteach.tables import episodes
from diffteach.train import Counter, named_generator, normal
from diffteach.types import Batch, Metrics, Recipe, Stage


@dataclass(frozen=True)
class TD3BCConfig:
    """Settings of `TD3BC`; the defaults are the paper's (Table 3). It normalises observations,
    which is the business of the data.
    """

    alpha: float | int = 2.5
    """greed: Q is multiplied by alpha/mean|Q| against the squared distance (Eqs. 4 and 5)"""
    critic: DoubleQConfig | KnownQ = DoubleQConfig(target_every=2)
    """twin critics of TD3"""
    policy: Callable[..., Policy] = DiracPolicy
    """called as policy(obs_dim, act_dim, act_limit); a Gaussian clones by its likelihood instead"""
    lr: float | int = 3e-4
    """Adam's learning rate of the policy"""
    delay: int = 2
    """critic steps per policy step; the slow policy follows at the same steps"""
    target_rate: float | int = 0.005
    """share of the policy's weights that its slow copy takes at once"""
    smoothing: float | int = 0.2
    """standard deviation, in units of act_limit, of the noise on the next action"""
    smoothing_cut: float | int = 0.5
    """that noise is clamped to this many act_limits"""
    steps: int = 1_000_000
    """critic steps"""
    batch_size: int = 256
    """rows per step"""

    def __post_init__(self) -> None:
        check_positive("alpha", self.alpha)
        check_count("delay", self.delay)
        check_between("target_rate", self.target_rate)
        check_not_negative("smoothing", self.smoothing)
        check_not_negative("smoothing_cut", self.smoothing_cut)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)


PAPER = TD3BCConfig()
PLANE = TD3BCConfig(
    critic=DoubleQConfig(
        lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True), target_every=2
    ),
    policy=partial(DiracPolicy, width=64),
    lr=3e-3,
    steps=1000,
)


def paper(name: str) -> Recipe:
    """The same settings on every data set, observations standardised (Sec. 5)."""
    return Recipe(PAPER, standardise=True, episodes=episodes(task(name).family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper, "official": paper}


class TD3BC:
    """Actions are as good as Q says and as close to the data's mean as Q lets them."""

    def __init__(
        self,
        config: TD3BCConfig,
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
        self.slow = copy.deepcopy(self.policy).requires_grad_(False)
        self.learner = Learner(self.policy.parameters(), config.lr)
        self.counter = Counter()
        self.noise = named_generator("smoothing", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "policy": critic and policy together."""
        config = self.config
        return (Stage("policy", config.steps, config.batch_size, self.joint_step),)

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of the critics and, every `delay` of them, one of the policy."""
        metrics = self.critic.step(batch, self.next_value(batch))
        if self.counter.tick() % self.config.delay == 0:
            metrics = {**metrics, **self.policy_step(batch)}
            ema_update(self.slow, self.policy, self.config.target_rate)
        return metrics

    def next_value(self, batch: Batch) -> Float[Tensor, " B"]:
        """Least slow Q of the slow policy's next actions."""
        with torch.no_grad():
            return self.critic.target(batch.next_obs, self.smoothed(batch.next_obs)).amin(0)

    def smoothed(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Actions of the slow policy with clamped noise, within the limit (TD3 Eq. 14)."""
        config, limit = self.config, self.act_limit
        act = self.slow.draw(obs, normal((len(obs), self.act_dim), self.noise))
        noise = config.smoothing * normal((len(obs), self.act_dim), self.noise)
        cut = config.smoothing_cut
        return (act + limit * noise.clamp(-cut, cut)).clamp(-limit, limit)

    def policy_step(self, batch: Batch) -> Metrics:
        """One step down -alpha Q/mean|Q| + the distance to the data, Q of the first critic."""
        act = self.policy.draw(batch.obs, normal((len(batch.obs), self.act_dim), self.noise))
        q = self.critic.online(batch.obs, act)[0]
        greed = self.config.alpha / mean_size(q)
        distance = imitation_loss(self.policy, batch.obs, batch.act).mean()
        loss = distance - greed * q.mean()
        self.learner.step(loss)
        return {"policy_loss": loss.detach(), "distance": distance.detach(), "q": q.detach().mean()}

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """The policy's actions."""
        check_obs(obs, self.obs_dim)
        with torch.no_grad():
            return self.policy.draw(obs, normal((len(obs), self.act_dim), self.chance))

    explore = act
