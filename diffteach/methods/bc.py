"""Behaviour cloning by a diffusion model; no rewards."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.behaviour import BehaviourConfig
from diffteach.checks import check_kind, check_obs, check_space
from diffteach.data.names import task
from diffteach.nets import MLPDenoiser
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import EDM, VP, Discrete, check_count, vp_betas
from diffteach.tables import episodes
from diffteach.train import InMemory, Progress, check_finite, fit, named_generator, one_step
from diffteach.types import Denoise, Recipe, Stage


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


D4RL = BCConfig(
    BehaviourConfig(Discrete(vp_betas(5)), network=MLPDenoiser, lr=3e-4, anneal=False),
    steps=1_000_000,
    batch_size=256,
)


def official(name: str) -> Recipe:
    """Cloning as in Diffusion-QL's code, the same on every data set."""
    return Recipe(D4RL, episodes=episodes(task(name).family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": official, "official": official}


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
