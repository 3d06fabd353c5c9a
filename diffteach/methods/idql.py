"""IDQL: IQL's values, and the best of many actions of a diffusion behaviour (2023)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.behaviour import BehaviourConfig
from diffteach.checks import check_between, check_kind, check_obs, check_space
from diffteach.critics import DoubleQConfig, ExpectileConfig
from diffteach.data.names import task
from diffteach.nets import Critics, Fourier, Mish, PlaneDenoiser, ResNetDenoiser, at, ema_update
from diffteach.sampling import best_of, initial_noise, sample, softmax_of
from diffteach.schedule import Discrete, check_count, cosine_betas, vp_betas
from diffteach.tables import IQL_EXPECTILES, IQL_REWARDS
from diffteach.train import named_generator
from diffteach.types import Batch, Denoise, Metrics, Recipe, Schedule, Stage


def implicit_weight(
    q: Float[Tensor, "K B"], value: Float[Tensor, " B"], expectile: float
) -> Float[Tensor, "K B"]:
    """|tau - 1(Q < V)|: what an expectile V says about actions of the behaviour (IDQL Sec. 4).

    V is the mean of Q under the policy mu |f'(Q - V)|/|Q - V| for the critic's loss f; only two
    weights occur with expectiles, however much better an action is.
    """
    return torch.where(q < value, 1 - expectile, expectile)


def clipped_sample(
    denoise: Denoise,
    schedule: Schedule,
    noise: Float[Tensor, "B A"],
    steps: int = 20,
    generator: torch.Generator | None = None,
    limit: float | int | None = None,
) -> Float[Tensor, "B A"]:
    """The official reverse chain: DDPM's mean, noise of variance beta, iterates within the limit.

    `ancestral` clamps the denoised point instead and adds the posterior's smaller noise. All levels
    are visited, whatever `steps`. TypeError unless the schedule is Discrete.
    """
    if not isinstance(schedule, Discrete):
        name = type(schedule).__name__
        raise TypeError(f"schedule must be Discrete for clipped_sample, got {name}")
    bound = float("inf") if limit is None else limit
    x = noise
    with torch.no_grad():
        for k in reversed(range(len(schedule))):
            beta, level = float(schedule.betas[k]), float(schedule.noise_bar[k])
            eps = denoise(x, torch.full((len(x),), k, device=x.device))
            x = (x - beta / level**0.5 * eps) / (1 - beta) ** 0.5
            if k:
                fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
                x = x + beta**0.5 * fresh
            x = x.clamp(-bound, bound)
    return x


def idql_denoiser(
    obs_dim: int, act_dim: int, schedule: Schedule, data_scale: float | int = 1.0
) -> ResNetDenoiser:
    """The LayerNorm ResNet with learnable Fourier features of the integer level (App. G)."""
    embedding = Fourier(64, 0.2, learnable=True)
    return ResNetDenoiser(obs_dim, act_dim, schedule, data_scale, embedding=embedding)


@dataclass(frozen=True)
class IDQLConfig:
    """Settings of `IDQL`; the defaults are the paper's on locomotion and its code's."""

    candidates: int = 64
    """actions of the behaviour of which `act` takes the best, N; 16, 64 and 256 were tried, and
    more is greedier"""
    critic: ExpectileConfig = ExpectileConfig()
    """IQL's V and Q; tau is 0.9 on AntMaze"""
    behaviour: BehaviourConfig = BehaviourConfig(
        Discrete(vp_betas(5)), network=idql_denoiser, lr=3e-4
    )
    """the diffusion model of the data's actions; Adam as in the paper"""
    sampler: Callable[..., Tensor] = clipped_sample
    """called as sampler(denoise, schedule, noise, steps, generator, limit): `clipped_sample` of the
    official code, or `sample`"""
    sample_steps: int = 20
    """noise levels of the reverse process where the schedule is continuous"""
    target_rate: float | int = 0.001
    """share of the behaviour's weights that its slow copy, which proposes, takes at each step"""
    behaviour_steps: int = 3_000_000
    """steps of the first stage, over which a cosine takes the rate to 0; the official code counts
    two per batch, of which the second sees no rows, so its rate is 0 after 1.5 million batches"""
    critic_steps: int = 1_500_000
    """steps of the second stage: one for two of the behaviour, as the code's comment says; the code
    itself takes one per batch, 3 million"""
    behaviour_batch: int = 512
    """rows for the behaviour"""
    batch_size: int = 256
    """rows for the critic"""

    def __post_init__(self) -> None:
        check_count("candidates", self.candidates)
        check_count("sample_steps", self.sample_steps)
        check_between("target_rate", self.target_rate)
        check_kind("critic", self.critic, ExpectileConfig)
        check_kind("behaviour", self.behaviour, BehaviourConfig)


PAPER = IDQLConfig()
OFFICIAL = replace(PAPER, behaviour_steps=1_500_000, critic_steps=3_000_000)
# Ten levels of the cosine schedule, as for Diffusion-QL's plane: five of the paper's leave half of
# the four corners' mass between the corners even with the exact denoiser.
PLANE = IDQLConfig(
    candidates=32,
    critic=ExpectileConfig(
        q=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True))
    ),
    behaviour=BehaviourConfig(
        Discrete(cosine_betas(10)), network=partial(PlaneDenoiser, depth=2), lr=5e-3
    ),
    sampler=sample,
    target_rate=0.02,
    behaviour_steps=1000,
    critic_steps=500,
    behaviour_batch=256,
)


def recipe(config: IDQLConfig, name: str) -> Recipe:
    """Settings for a data set: the expectile and the rewards of IQL, 50 episodes."""
    family = task(name).family
    critic = replace(config.critic, expectile=IQL_EXPECTILES.get(family, 0.7))
    return Recipe(replace(config, critic=critic), IQL_REWARDS.get(family, "raw"), episodes=50)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {
    "paper": partial(recipe, PAPER),
    "official": partial(recipe, OFFICIAL),
}


class IDQL:
    """Behaviour and values are learned apart and meet when acting: the best of N actions."""

    def __init__(
        self,
        config: IDQLConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        size = obs_dim, act_dim, config.behaviour_steps, seed, device
        self.behaviour = config.behaviour.build(*size)
        self.slow = copy.deepcopy(self.behaviour.net).requires_grad_(False)
        self.critic = config.critic.build(obs_dim, act_dim, config.critic_steps, seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "behaviour" and "critic", neither of which knows the other."""
        config = self.config
        return (
            Stage("behaviour", config.behaviour_steps, config.behaviour_batch, self.behaviour_step),
            Stage("critic", config.critic_steps, config.batch_size, self.critic.step),
        )

    def behaviour_step(self, batch: Batch) -> Metrics:
        """One step of denoising the data's actions, then the slow copy follows."""
        metrics = self.behaviour.step(batch)
        ema_update(self.slow, self.behaviour.net, self.config.target_rate)
        return metrics

    def proposals(
        self, obs: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "K B A"], Float[Tensor, "K B"]]:
        """Actions of the slow behaviour and their least slow Q."""
        config, count = self.config, self.config.candidates
        rows, schedule = obs.repeat(count, 1), self.behaviour.schedule
        noise = initial_noise(schedule, len(rows), self.act_dim, self.chance)
        more = config.sample_steps, self.chance, self.act_limit
        with torch.no_grad():
            acts = config.sampler(at(self.slow, rows), schedule, noise, *more)
            acts = acts.unflatten(0, (count, len(obs)))
            return acts, self.critic.target(obs, acts).amin(0)

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """The best of `candidates` actions of the behaviour."""
        check_obs(obs, self.obs_dim)
        return best_of(*self.proposals(obs))

    def explore(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """One of them drawn by `implicit_weight`: the policy that has the critic's values."""
        check_obs(obs, self.obs_dim)
        acts, q = self.proposals(obs)
        with torch.no_grad():
            weight = implicit_weight(q, self.critic.value(obs), self.config.critic.expectile)
        return softmax_of(acts, weight.log(), self.chance)
