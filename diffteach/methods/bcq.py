"""BCQ: the best of many actions that a VAE of the behaviour proposes (ICML 2019)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.behaviour import VAEConfig
from diffteach.checks import check_between, check_kind, check_obs, check_space
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.data.names import task
from diffteach.nets import CVAE, Critics, Learner, Mish, Perturbation, ema_update, seeded
from diffteach.objectives import soft_clipped
from diffteach.sampling import best_of
from diffteach.schedule import check_count
from diffteach.seeds import named_seed
from diffteach.tables import episodes
from diffteach.train import named_generator
from diffteach.types import Batch, Metrics, Recipe, Stage


@dataclass(frozen=True)
class BCQConfig:
    """Settings of `BCQ`; the defaults are the paper's and its code's."""

    behaviour: VAEConfig = VAEConfig()
    """the model that proposes actions (Sec. 4)"""
    perturbation: Callable[..., Perturbation] = Perturbation
    """called as perturbation(obs_dim, act_dim, act_limit): moves proposals by 5 % at most"""
    critic: DoubleQConfig | KnownQ = DoubleQConfig(lr=1e-3, network=partial(Critics, width=400))
    """twin critics of two layers; the code's have 400 and 300 units"""
    least: float | int = 0.75
    """weight of the smaller critic in the target, the greater has the rest (Eq. 13)"""
    lr: float | int = 1e-3
    """Adam's learning rate of the perturbation"""
    target_rate: float | int = 0.005
    """share of the perturbation's weights that its slow copy takes at each step"""
    backups: int = 10
    """proposals per next state, of which the best counts"""
    candidates: int = 100
    """proposals per state of which `act` takes the best by the first critic; 1 ignores Q"""
    steps: int = 1_000_000
    """steps of all networks together"""
    batch_size: int = 100
    """rows per step"""

    def __post_init__(self) -> None:
        check_count("backups", self.backups)
        check_count("candidates", self.candidates)
        check_between("least", self.least)
        check_between("target_rate", self.target_rate)
        check_kind("behaviour", self.behaviour, VAEConfig)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)


PAPER = BCQConfig()
PLANE = BCQConfig(
    behaviour=VAEConfig(partial(CVAE, width=128), lr=3e-3),
    perturbation=partial(Perturbation, widths=(64, 64)),
    critic=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True)),
    lr=3e-3,
    backups=2,
    steps=1000,
    batch_size=128,
)


def paper(name: str) -> Recipe:
    """The same settings on every data set, rewards as recorded."""
    return Recipe(PAPER, episodes=episodes(task(name).family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper}


class BCQ:
    """Proposals of a VAE, moved a little uphill, and chosen among by Q."""

    def __init__(
        self,
        config: BCQConfig,
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
        self.critic = config.critic.build(obs_dim, act_dim, config.steps, seed, device)
        with seeded(named_seed("perturbation", seed)):
            self.perturbation = config.perturbation(obs_dim, act_dim, act_limit).to(device)
        self.slow = copy.deepcopy(self.perturbation).requires_grad_(False)
        self.learner = Learner(self.perturbation.parameters(), config.lr)
        self.noise = named_generator("proposals", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "policy": all networks together."""
        config = self.config
        return (Stage("policy", config.steps, config.batch_size, self.joint_step),)

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of the VAE, the critics and the perturbation, in the official order."""
        vae = self.behaviour.step(batch)
        critic = self.critic.step(batch, self.next_value(batch))
        return {**vae, **critic, **self.policy_step(batch)}

    def next_value(self, batch: Batch) -> Float[Tensor, " B"]:
        """Best soft-clipped slow Q among proposals, which the slow perturbation has moved."""
        count, obs = self.config.backups, batch.next_obs
        rows = obs.repeat(count, 1)
        with torch.no_grad():
            acts = self.slow(rows, self.behaviour.draw(rows, self.noise))
            heads = self.critic.target(obs, acts.unflatten(0, (count, len(obs))))
            return soft_clipped(heads, self.config.least).amax(0)

    def policy_step(self, batch: Batch) -> Metrics:
        """One step of the perturbation up the first critic, at fresh proposals."""
        proposals = self.behaviour.draw(batch.obs, self.noise)
        q = self.critic.online(batch.obs, self.perturbation(batch.obs, proposals))[0].mean()
        self.learner.step(-q)
        ema_update(self.slow, self.perturbation, self.config.target_rate)
        return {"q": q.detach()}

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """The best of `candidates` moved proposals by the first critic."""
        check_obs(obs, self.obs_dim)
        count = self.config.candidates
        rows = obs.repeat(count, 1)
        with torch.no_grad():
            acts = self.perturbation(rows, self.behaviour.draw(rows, self.chance))
            acts = acts.unflatten(0, (count, len(obs)))
            return best_of(acts, self.critic.online(obs, acts)[0])

    explore = act
