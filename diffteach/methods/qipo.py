"""QIPO: a diffusion policy clones its own actions, weighted by exp(beta Q) (ICLR 2025)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from diffteach.bank import Bank, lots
from diffteach.behaviour import BehaviourConfig
from diffteach.checks import check_kind, check_obs, check_space
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.data.names import task
from diffteach.nets import Critics, Learner, Mish, ResNetDenoiser, at
from diffteach.objectives import denoising_loss
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import VP, Discrete, check_count, check_positive, cosine_betas
from diffteach.tables import IQL_REWARDS
from diffteach.train import named_generator, noise_stream
from diffteach.types import Batch, Denoise, Metrics, Recipe, Schedule, Stage


def weighted_loss(
    denoise: Denoise,
    schedule: Schedule,
    support: Float[Tensor, "M B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "M B A"],
    weight: Float[Tensor, "M B"],
) -> Float[Tensor, " B"]:
    """Sum over M of weight ||eps_hat - eps||^2, summed over A, at one t per state.

    With weight = exp(beta Q(x_0)), up to a factor of the state, the optimum is the denoiser of
    p(x_0) exp(beta Q(x_0)), where p is the law of the supports; `denoise` sees M times B rows.
    """
    count, many = len(support), t.repeat(len(support))
    rows = (each.flatten(0, 1) for each in (support, eps))
    x0, noise = rows
    loss = denoising_loss(denoise, schedule, x0, many, noise, weight.flatten())
    return loss.unflatten(0, (count, len(t))).sum(0)


@dataclass(frozen=True)
class QIPOConfig:
    """Settings of `QIPO`; where the paper's are not known here, the defaults are QGPO's."""

    beta: float | int = 3.0
    """each round multiplies the policy by exp(beta Q), K of them the behaviour by exp(K beta Q)"""
    rounds: int = 1
    """how often supports are drawn anew, from the policy as it then is"""
    supports: int = 16
    """actions of the policy per state, M (32 on AntMaze); their weights are a softmax, whose bias
    is of order 1/M"""
    target_beta: float | int = 1.0
    """V(s') is the mean of Q over the supports, weighted by softmax(target_beta Q)"""
    sample_steps: int = 8
    """noise levels of the reverse flow, of two evaluations each but the last (15 in all)"""
    policy: BehaviourConfig = BehaviourConfig(VP(), network=ResNetDenoiser, lr=1e-4, anneal=False)
    """the diffusion model that first clones the data and then improves itself"""
    critic: DoubleQConfig | KnownQ = DoubleQConfig(network=partial(Critics, depth=3))
    """the Q networks"""
    lr: float | int = 1e-4
    """Adam's first learning rate of the weighted steps"""
    anneal: bool = False
    """a cosine takes it to 0 over all rounds"""
    behaviour_steps: int = 600_000
    """steps of the first stage, which clones"""
    support_steps: int = 245
    """batches for which supports are drawn in a round (about 1M rows)"""
    critic_steps: int = 500_000
    """steps of the critic, after the supports of the first round"""
    policy_steps: int = 500_000
    """weighted steps of a round"""
    behaviour_batch: int = 4096
    """rows for cloning, and for drawing supports"""
    batch_size: int = 256
    """rows for critic and policy"""

    def __post_init__(self) -> None:
        check_positive("beta", self.beta)
        check_positive("target_beta", self.target_beta)
        check_count("rounds", self.rounds)
        check_count("supports", self.supports, 2)
        check_count("sample_steps", self.sample_steps)
        check_kind("policy", self.policy, BehaviourConfig)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)


PAPER = QIPOConfig()
PLANE = QIPOConfig(
    beta=2.0,
    rounds=2,
    supports=8,
    policy=BehaviourConfig(Discrete(cosine_betas(10))),
    critic=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True)),
    lr=3e-3,
    anneal=True,
    behaviour_steps=1000,
    support_steps=4,
    critic_steps=500,
    policy_steps=500,
    behaviour_batch=256,
    batch_size=64,
)


def paper(name: str) -> Recipe:
    """Settings for a data set, QGPO's."""
    family = task(name).family
    config = replace(PAPER, supports=32) if family == "antmaze" else PAPER
    return Recipe(config, IQL_REWARDS.get(family, "raw"), episodes=10)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper, "official": paper}


class QIPO:
    """No energy is learned and nothing is guided: the policy's own actions are weighted.

    Second tier here: for the plane and short runs.
    """

    def __init__(
        self,
        config: QIPOConfig,
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
        self.policy = config.policy.build(*size, config.behaviour_steps, seed, device)
        self.schedule = config.policy.schedule
        self.critic = config.critic.build(*size, config.critic_steps, seed, device)
        anneal = config.rounds * config.policy_steps if config.anneal else None
        self.learner = Learner(self.policy.net.parameters(), config.lr, anneal)
        rows = config.support_steps * config.behaviour_batch
        shapes = ((obs_dim,), (act_dim,), (), (obs_dim,), (), *[(config.supports, act_dim)] * 2)
        self.bank = Bank(*(torch.zeros(rows, *shape, device=device) for shape in shapes))
        self.lots = lots(seed, device)
        self.noise = noise_stream(
            self.schedule.sample_time, act_dim, "policy", seed, device, config.supports
        )
        self.support = named_generator("support", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "behaviour", "support 1", "critic", "policy 1", then "support 2" and so on."""
        config = self.config
        wide, narrow = config.behaviour_batch, config.batch_size
        stages = [Stage("behaviour", config.behaviour_steps, wide, self.policy.step)]
        for number in range(1, config.rounds + 1):
            stages.append(Stage(f"support {number}", config.support_steps, wide, self.support_step))
            if number == 1:
                stages.append(Stage("critic", config.critic_steps, narrow, self.critic_step))
            stages.append(Stage(f"policy {number}", config.policy_steps, narrow, self.policy_step))
        return tuple(stages)

    def support_step(self, batch: Batch) -> Metrics:
        """Draws supports for a batch at both of its states, and keeps all; one state if all end."""
        here = self.supports(batch.obs)
        there = here if bool(batch.done.all()) else self.supports(batch.next_obs)
        self.bank.put(*batch, here, there)
        return {}

    def supports(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B M A"]:
        """Actions of the policy as it is at each state."""
        count = self.config.supports
        acts = self.draw(obs.repeat_interleave(count, 0), self.support)
        return acts.unflatten(0, (len(obs), count))

    def rows(self, n: int) -> tuple[Batch, Float[Tensor, "M B A"], Float[Tensor, "M B A"]]:
        """n rows of the bank: transitions, and supports of their two states."""
        *batch, here, there = self.bank.take(*self.lots.take(n))
        return Batch(*batch), here.transpose(0, 1), there.transpose(0, 1)

    def critic_step(self, batch: Batch) -> Metrics:
        """One step of Q on as many rows of the bank: in-support softmax Q-learning (CEP Sec. 4)."""
        rows, _, support = self.rows(len(batch.act))
        with torch.no_grad():
            q = self.critic.target(rows.next_obs, support).amin(0)
            next_value = (torch.softmax(self.config.target_beta * q, 0) * q).sum(0)
        return self.critic.step(rows, next_value)

    def policy_step(self, batch: Batch) -> Metrics:
        """One step of denoising supports weighted by softmax(beta Q), on as many rows."""
        rows, support, _ = self.rows(len(batch.act))
        t, *eps = self.noise.take(len(batch.act))
        with torch.no_grad():
            value = self.critic.target(rows.obs, support).amin(0)
            weight = torch.softmax(self.config.beta * value, 0)
        denoise = at(self.policy.net, rows.obs.repeat(len(support), 1))
        noise = torch.stack(eps)
        loss = weighted_loss(denoise, self.schedule, support, t, noise, weight).mean()
        self.learner.step(loss)
        return {"policy_loss": loss.detach(), "q": value.mean()}

    def draw(self, obs: Float[Tensor, "B S"], generator: torch.Generator) -> Float[Tensor, "B A"]:
        """Actions of the policy."""
        noise = initial_noise(self.schedule, len(obs), self.act_dim, generator)
        more = self.config.sample_steps, generator, self.act_limit
        return sample(self.policy.denoise(obs), self.schedule, noise, *more)

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """One action of the policy per state."""
        check_obs(obs, self.obs_dim)
        return self.draw(obs, self.chance)

    explore = act
