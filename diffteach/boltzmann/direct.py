"""Denoising of exact samples: what a sampler without data could reach at best."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.boltzmann.learning import DenoiserConfig, bound
from diffteach.objectives import denoising_loss, unit_weight
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import EDM, VP, check_count
from diffteach.train import Stream, check_finite
from diffteach.types import Denoise, Metrics


@dataclass(frozen=True)
class DirectConfig:
    """Settings of `Direct`."""

    schedule: VP | EDM = VP()
    """noise levels, up to one whose law is the starting noise: data set no limit here"""
    denoiser: DenoiserConfig = DenoiserConfig()
    """network and training"""
    sample_steps: int = 20
    """noise levels that the reverse flow visits"""

    def __post_init__(self) -> None:
        check_count("sample_steps", self.sample_steps)


class Direct:
    """The same network on the ordinary denoising loss of points that are given."""

    def __init__(
        self,
        config: DirectConfig,
        points: Float[Tensor, "n A"],
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if points.ndim != 2 or 0 in points.shape:
            raise ValueError(f"points must be a non-empty (n, A), got shape {tuple(points.shape)}")
        check_finite("points", points)
        self.config, self.points = config, points.float().to(device)
        self.model = config.denoiser.build(config.schedule, points.shape[1], seed, device)
        self.noise = Stream(self._draw, "direct", seed, device)
        self.chance = torch.Generator(device).manual_seed(seed)

    def _draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        x0, device = self.points, generator.device
        return (
            x0[torch.randint(len(x0), (n,), generator=generator, device=device)],
            self.config.schedule.sample_time(n, generator),
            torch.randn(n, x0.shape[1], generator=generator, device=device),
        )

    def step(self) -> Metrics:
        """One gradient step; reports the loss."""
        schedule = self.config.schedule
        x0, t, eps = self.noise.take(self.config.denoiser.batch_size)
        weight = unit_weight(schedule, t)
        loss = denoising_loss(bound(self.model.net), schedule, x0, t, eps, weight).mean()
        self.model.step(loss)
        return {"loss": loss.detach()}

    @property
    def denoise(self) -> Denoise:
        """The learned denoiser, weights averaged."""
        return bound(self.model.average)

    def sample(self, n: int) -> Float[Tensor, "n A"]:
        """n points by the reverse flow."""
        x = initial_noise(self.config.schedule, n, self.points.shape[1], self.chance)
        return sample(self.denoise, self.config.schedule, x, self.config.sample_steps)
