"""Behaviour cloning with a diffusion model: the behaviour that every method here leans on."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from diffteach.nets import PlaneDenoiser, descend, seeded
from diffteach.objectives import denoising_loss, unit_weight
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import EDM, VP, Discrete, check_count, check_positive
from diffteach.train import InMemory, Progress, Stream, check_finite, fit, one_step
from diffteach.types import Batch, Denoise, Metrics, Schedule, Stage


@dataclass(frozen=True)
class BCConfig:
    """Settings of `DiffusionBC`; the defaults are for problems on the plane."""

    schedule: VP | EDM | Discrete = EDM()
    """how noise is mixed in"""
    data_scale: float | int = 0.5
    """root mean square of the action coordinates; scales the network, not the data"""
    weight: Callable[[Schedule, Tensor], Tensor] = unit_weight
    """weight of the squared eps-residual (SRPO Eq. 13: 1)"""
    network: Callable[..., nn.Module] = PlaneDenoiser
    """called as network(obs_dim, act_dim, schedule, data_scale)"""
    steps: int = 2000
    """gradient steps"""
    batch_size: int = 512
    """rows per step"""
    lr: float | int = 1e-2
    """Adam's first learning rate; a cosine takes it to 0 over all steps"""
    sample_steps: int = 20
    """noise levels visited by `act` (VP and EDM)"""

    def __post_init__(self) -> None:
        check_count("steps", self.steps, 0)
        check_count("batch_size", self.batch_size)
        check_count("sample_steps", self.sample_steps)
        check_positive("lr", self.lr)
        check_positive("data_scale", self.data_scale)


class DiffusionBC:
    """Clones a behaviour by denoising its actions; acts by running the reverse process.

    With the plane's own network and settings by default, on obs = ones(B, 1) there.
    """

    def __init__(
        self,
        config: BCConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int | None = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_count("obs_dim", obs_dim)
        check_count("act_dim", act_dim)
        if act_limit is not None:
            check_positive("act_limit", act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        schedule = config.schedule
        with seeded(seed):
            self.net = config.network(obs_dim, act_dim, schedule, config.data_scale).to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.lr, fused=True)
        self.rate = CosineAnnealingLR(self.optimizer, max(config.steps, 1))
        self.noise = Stream(
            lambda n, g: (
                schedule.sample_time(n, g),
                torch.randn(n, act_dim, generator=g, device=g.device),
            ),
            "noise",
            seed,
            device,
        )
        self.chance = torch.Generator(device).manual_seed(seed)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "behaviour"."""
        return (Stage("behaviour", self.config.steps, self.config.batch_size, self.behaviour_step),)

    def denoise(self, obs: Float[Tensor, "B S"]) -> Denoise:
        """The denoiser at given observations; a single row serves any number of points."""

        def bound(x_t: Tensor, t: Tensor) -> Tensor:
            return self.net(x_t, t, obs.expand(len(x_t), -1))

        return bound

    def behaviour_step(self, batch: Batch) -> Metrics:
        """One step of denoising; reports the mean loss."""
        config = self.config
        t, eps = self.noise.take(len(batch.act))
        weight = config.weight(config.schedule, t)
        denoise = self.denoise(batch.obs)
        loss = denoising_loss(denoise, config.schedule, batch.act, t, eps, weight).mean()
        descend(self.optimizer, loss)
        self.rate.step()
        return {"behaviour_loss": loss.detach()}

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Actions drawn from the learned behaviour, clamped to act_limit unless that is None."""
        config = self.config
        noise = initial_noise(config.schedule, len(obs), self.act_dim, self.chance)
        denoise, steps = self.denoise(obs), config.sample_steps
        return sample(denoise, config.schedule, noise, steps, self.chance, self.act_limit)


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
    config = BCConfig(schedule, scale, steps=steps, batch_size=batch_size)
    agent = DiffusionBC(config, 1, points.shape[-1], None, seed, points.device)
    yield from fit(agent, InMemory(one_step(points.float()), seed))
    agent.net.requires_grad_(False)
    return agent.denoise(torch.ones(1, 1, device=points.device))
