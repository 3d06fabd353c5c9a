"""QGPO: a diffusion behaviour guided by the energy of noisy actions, learned by CEP (ICML 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.bank import Bank, lots
from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checks import check_kind, check_not_negative, check_obs, check_space
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.data.names import task
from diffteach.nets import Critics, Learner, Mish, NoisyEnergy, ResNetDenoiser, seeded
from diffteach.objectives import contrastive_energy_loss, mean_one_weight
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import VP, check_count, check_positive, guided
from diffteach.seeds import named_seed
from diffteach.tables import IQL_REWARDS
from diffteach.train import named_generator, noise_stream
from diffteach.types import Batch, Metrics, QFunction, Recipe, Stage

Energy = Callable[[Tensor, Tensor], Tensor]


def self_normalised(log_weight: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
    """Softmax over a state's M actions: the official weights, whose optimum is off by O(1/M)."""
    return torch.softmax(log_weight, 0)


def batch_normalised(log_weight: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
    """`mean_one_weight` over M: exp(beta Q) over its mean in the batch, off by O(1/(M B)).

    Where states are alike, that is.
    """
    return mean_one_weight(log_weight) / len(log_weight)


def naive_energy(q: QFunction, beta: float | int) -> Energy:
    """beta Q(x_t), the value of the noisy action itself: what guidance is often taken for.

    Its gradient is right at no level but the clean one (CEP Sec. 3); where Q is piecewise constant
    it is 0 and guides nothing.
    """

    def energy(x_t: Tensor, t: Tensor) -> Tensor:
        return beta * q(x_t)

    return energy


@dataclass(frozen=True)
class QGPOConfig:
    """Settings of `QGPO`; the defaults are the official ones on locomotion."""

    beta: float | int = 3.0
    """the target is mu exp(beta Q); larger is greedier ("alpha" in the official code)"""
    scale: float | int = 1.0
    """multiplies the guidance when acting; exact at 1 alone, tuned per task in the paper"""
    weight: Callable[[Tensor], Tensor] = self_normalised
    """contrastive weights (M, B) of beta Q (M, B): self_normalised or batch_normalised"""
    supports: int = 16
    """actions of the behaviour per state, M (32 on AntMaze)"""
    target_beta: float | int = 1.0
    """V(s') is the mean of Q over the supports, weighted by softmax(target_beta Q)"""
    sample_steps: int = 8
    """noise levels of the reverse flow, of two evaluations each but the last (15 in all)"""
    behaviour: BehaviourConfig | KnownBehaviour = BehaviourConfig(
        VP(), network=ResNetDenoiser, lr=1e-4, anneal=False
    )
    """the diffusion model; the official network is a residual one with a narrow waist"""
    critic: DoubleQConfig | KnownQ = DoubleQConfig(network=partial(Critics, depth=3))
    """the Q networks"""
    energy: Callable[..., nn.Module] = partial(NoisyEnergy, width=256, depth=4, activation=nn.SiLU)
    """called as energy(obs_dim, act_dim, schedule, data_scale)"""
    data_scale: float | int = 0.5
    """root mean square of the action coordinates for the energy's network where the behaviour is
    known; else the behaviour's is taken"""
    lr: float | int = 3e-4
    """Adam's learning rate of the energy"""
    anneal: bool = False
    """a cosine takes the energy's rate to 0"""
    behaviour_steps: int = 600_000
    """steps of the first stage"""
    support_steps: int = 245
    """steps of the second: batches for which support actions are drawn, once (about 1M rows)"""
    critic_steps: int = 500_000
    """steps of the third"""
    energy_steps: int = 1_000_000
    """steps of the fourth"""
    behaviour_batch: int = 4096
    """rows for the behaviour, and for drawing supports"""
    batch_size: int = 256
    """rows for critic and energy"""

    def __post_init__(self) -> None:
        for name in ("beta", "target_beta", "data_scale"):
            check_positive(name, getattr(self, name))
        check_count("supports", self.supports, 2)
        check_count("sample_steps", self.sample_steps)
        check_not_negative("scale", self.scale)
        check_kind("behaviour", self.behaviour, BehaviourConfig, KnownBehaviour)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)


PAPER = QGPOConfig()
PLANE = QGPOConfig(
    beta=1.0,
    supports=16,
    behaviour=BehaviourConfig(VP()),
    critic=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True)),
    energy=NoisyEnergy,
    lr=3e-3,
    anneal=True,
    behaviour_steps=2000,
    support_steps=4,
    critic_steps=1000,
    energy_steps=1000,
    behaviour_batch=512,
    batch_size=64,
)


def paper(name: str) -> Recipe:
    """Settings for a data set; `scale`, which the paper tunes between 0 and 10, is left at 1."""
    family = task(name).family
    config = replace(PAPER, supports=32) if family == "antmaze" else PAPER
    return Recipe(config, IQL_REWARDS.get(family, "raw"), episodes=10)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper, "official": paper}


class QGPO:
    """Four stages: behaviour, its supports, critic, energy; acts by one guided reverse flow."""

    def __init__(
        self,
        config: QGPOConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int | None = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, 1.0 if act_limit is None else act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        size = obs_dim, act_dim
        self.behaviour = config.behaviour.build(*size, config.behaviour_steps, seed, device)
        self.schedule = config.behaviour.schedule
        self.critic = config.critic.build(*size, config.critic_steps, seed, device)
        scale = getattr(config.behaviour, "data_scale", config.data_scale)
        with seeded(named_seed("energy", seed)):
            self.net = config.energy(*size, self.schedule, scale).to(device)
        anneal = config.energy_steps if config.anneal else None
        self.learner = Learner(self.net.parameters(), config.lr, anneal)
        rows = config.support_steps * config.behaviour_batch
        shapes = ((obs_dim,), (act_dim,), (), (obs_dim,), (), *[(config.supports, act_dim)] * 2)
        self.bank = Bank(*(torch.zeros(rows, *shape, device=device) for shape in shapes))
        self.lots = lots(seed, device)
        self.noise = noise_stream(
            self.schedule.sample_time, act_dim, "energy", seed, device, config.supports
        )
        self.support = named_generator("support", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "behaviour", "support", "critic" and "energy"; the last two read the second's bank."""
        config = self.config
        wide, narrow = config.behaviour_batch, config.batch_size
        return (
            Stage("behaviour", config.behaviour_steps, wide, self.behaviour.step),
            Stage("support", config.support_steps, wide, self.support_step),
            Stage("critic", config.critic_steps, narrow, self.critic_step),
            Stage("energy", config.energy_steps, narrow, self.energy_step),
        )

    def support_step(self, batch: Batch) -> Metrics:
        """Draws supports for a batch and keeps both (official code: once for the whole data)."""
        here, there = (self.supports(obs) for obs in (batch.obs, batch.next_obs))
        self.bank.put(*batch, here, there)
        return {}

    def supports(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B M A"]:
        """Actions of the behaviour at each state."""
        count = self.config.supports
        acts = self.draw(obs.repeat_interleave(count, 0), 0, self.support)
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

    def energy_step(self, batch: Batch) -> Metrics:
        """One step of the contrastive loss on as many rows of the bank."""
        rows, support, _ = self.rows(len(batch.act))
        t, *eps = self.noise.take(len(batch.act))
        with torch.no_grad():
            value = self.critic.target(rows.obs, support).amin(0)
        weight, energy = self.config.weight(self.config.beta * value), self.energy(rows.obs)
        noise = torch.stack(eps)
        loss = contrastive_energy_loss(energy, self.schedule, support, t, noise, weight).mean()
        self.learner.step(loss)
        return {"energy_loss": loss.detach(), "q": value.mean()}

    def energy(self, obs: Float[Tensor, "#B S"]) -> Energy:
        """f(x_t, t), the learned log E[exp(beta Q(x_0)) | x_t] at given observations."""

        def bound(x_t: Tensor, t: Tensor) -> Tensor:
            return self.net(x_t, t, obs)

        return bound

    def draw(
        self, obs: Float[Tensor, "B S"], scale: float | int, generator: torch.Generator
    ) -> Float[Tensor, "B A"]:
        """Actions of the behaviour, guided with a given scale; 0 is the behaviour."""
        denoise = self.behaviour.denoise(obs)
        if scale:
            denoise = guided(denoise, self.schedule, self.energy(obs), scale)
        noise = initial_noise(self.schedule, len(obs), self.act_dim, generator)
        return sample(
            denoise, self.schedule, noise, self.config.sample_steps, generator, self.act_limit
        )

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """One guided action per state, unfiltered."""
        check_obs(obs, self.obs_dim)
        return self.draw(obs, self.config.scale, self.chance)

    explore = act
