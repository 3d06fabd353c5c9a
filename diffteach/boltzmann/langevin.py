"""Unadjusted Langevin chains: noise and the gradient of the energy, nothing learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.boltzmann.energy import Energy
from diffteach.boltzmann.learning import Memory
from diffteach.schedule import check_count, check_positive
from diffteach.types import Metrics


@dataclass(frozen=True)
class LangevinConfig:
    """Settings of `Langevin`."""

    chains: int = 4096
    """points that move side by side"""
    size: float | int = 0.05
    """step delta; on N(m, s^2) the variance settles at s^2/(1 - delta/(4 s^2))"""
    half: float | int = 6.0
    """chains start evenly spread over [-half, half]^A"""

    def __post_init__(self) -> None:
        check_count("chains", self.chains)
        check_positive("size", self.size)
        check_positive("half", self.half)


class Langevin:
    """x <- x + (delta/2) grad E(x) + sqrt(delta) z in every chain, without a Metropolis test."""

    def __init__(
        self,
        config: LangevinConfig,
        energy: Energy,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.energy = config, energy
        self.chance = torch.Generator(device).manual_seed(seed)
        u = torch.rand(config.chains, energy.dim, generator=self.chance, device=device)
        self.chains = Memory((2 * u - 1) * config.half)

    def step(self) -> Metrics:
        """One move of all chains; reports the root mean square gradient."""
        x, size = self.chains.x, self.config.size
        gradient = self.energy.gradient(x)
        z = torch.randn(x.shape, generator=self.chance, device=x.device)
        self.chains.x = x + size / 2 * gradient + size**0.5 * z
        return {"gradient": gradient.square().mean().sqrt()}

    def sample(self, n: int) -> Float[Tensor, "n A"]:
        """Where the first n chains are; ValueError for more points than chains."""
        if not 1 <= n <= self.config.chains:
            raise ValueError(
                f"n must lie between 1 and the number of chains, {self.config.chains}, got {n}"
            )
        return self.chains.x[:n].clone()
