"""Behaviour cloning, no rewards: with a diffusion model, by maximum likelihood, with a VAE."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.behaviour import BehaviourConfig, VAEConfig
from diffteach.checks import check_kind, check_obs, check_space
from diffteach.nets import (
    CVAE,
    Learner,
    Policy,
    TanhGaussianPolicy,
    check_imitates,
    imitation_loss,
    seeded,
)
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import EDM, VP, Discrete, check_count
from diffteach.seeds import named_seed
from diffteach.train import InMemory, Progress, check_finite, fit, named_generator, normal, one_step
from diffteach.types import Batch, Denoise, Metrics, Stage


@dataclass(frozen=True)
class BCConfig:
    """Settings of `DiffusionBC`; the defaults are for problems on the plane."""

    behaviour: BehaviourConfig = BehaviourConfig()
    """the model"""
    steps: int = 2000
    """gradient steps"""
    batch_size: int = 512
    """rows per step"""
    sample_steps: int = 20
    """noise levels visited by `act` (VP and EDM)"""

    def __post_init__(self) -> None:
        check_count("steps", self.steps, 0)
        check_count("batch_size", self.batch_size)
        check_count("sample_steps", self.sample_steps)
        check_kind("behaviour", self.behaviour, BehaviourConfig)


class DiffusionBC:
    """Clones a behaviour by denoising its actions; acts by running the reverse process."""

    def __init__(
        self,
        config: BCConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int | None = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, 1.0 if act_limit is None else act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        self.behaviour = config.behaviour.build(obs_dim, act_dim, config.steps, seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "behaviour"."""
        config = self.config
        return (Stage("behaviour", config.steps, config.batch_size, self.behaviour.step),)

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Actions drawn from the learned behaviour, clamped to act_limit unless that is None."""
        check_obs(obs, self.obs_dim)
        schedule = self.behaviour.schedule
        noise = initial_noise(schedule, len(obs), self.act_dim, self.chance)
        denoise, steps = self.behaviour.denoise(obs), self.config.sample_steps
        return sample(denoise, schedule, noise, steps, self.chance, self.act_limit)


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


@dataclass(frozen=True)
class CVAEBCConfig:
    """Settings of `CVAEBC`; the defaults are for problems on the plane."""

    behaviour: VAEConfig = VAEConfig(partial(CVAE, width=128), lr=3e-3)
    """the model"""
    steps: int = 1000
    """gradient steps"""
    batch_size: int = 512
    """rows per step"""


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


def fit_points(
    points: Float[Tensor, "n A"],
    schedule: VP | EDM | Discrete,
    steps: int = 2000,
    seed: int = 0,
    batch_size: int = 512,
) -> Generator[Progress, None, Denoise]:
    """Trains a denoiser on points; yields `Progress` after each step, returns the frozen denoiser.

    The points are used as given, in float32; only the network is scaled to them. Take the result
    by `denoise = yield from fit_points(...)` or `denoise = finish(fit_points(...))`. ValueError for
    no points, NaN or negative steps.
    """
    if points.ndim != 2 or 0 in points.shape:
        raise ValueError(
            f"points must hold at least one row of at least one coordinate, (n, A), "
            f"got shape {tuple(points.shape)}"
        )
    check_finite("points", points)
    scale = float(points.square().mean().sqrt()) or 1.0
    config = BCConfig(BehaviourConfig(schedule, scale), steps, batch_size)
    agent = DiffusionBC(config, 1, points.shape[-1], None, seed, points.device)
    yield from fit(agent, InMemory(one_step(points.float()), seed))
    agent.behaviour.net.requires_grad_(False)
    return agent.behaviour.denoise(torch.ones(1, 1, device=points.device))
