"""FAB: a normalising flow trained by annealed importance sampling (Midgley et al. 2023).

The only one of these samplers whose density is known, and with it the target's normaliser.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.boltzmann.energy import Energy
from diffteach.boltzmann.learning import check_share
from diffteach.boltzmann.metrics import effective_sample_size
from diffteach.nets import Learner, ema_update, mlp, seeded
from diffteach.schedule import check_count, check_positive
from diffteach.types import Metrics

LogDensity = Callable[[Tensor], Tensor]


class RealNVP(nn.Module):
    """Affine couplings on N(0, scale^2 I), the identity at first (Dinh et al. 2017).

    Each keeps one half of the coordinates and scales and shifts the other by a network of it.
    Ours, since these few lines need no library of flows among the dependencies.
    ValueError for a single coordinate, which has no other half.
    """

    def __init__(
        self, dim: int, scale: float | int = 1.0, layers: int = 12, width: int = 80
    ) -> None:
        super().__init__()
        check_count("dim of a flow", dim, 2)
        self.dim, self.scale = dim, scale
        self.kept = [dim // 2 if k % 2 else dim - dim // 2 for k in range(layers)]
        nets = [mlp((k, width, width, 2 * (dim - k))) for k in self.kept]
        for net in nets:
            for value in net[-1].parameters():
                nn.init.zeros_(value)
        self.nets = nn.ModuleList(nets)

    def _coupling(self, net: nn.Module, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_gain, shift = net(kept).chunk(2, -1)
        # One coupling stretches by at most e^2: a flow that overflows cannot be trained back.
        return 2 * torch.tanh(log_gain / 2), shift

    def _base(self, z: Tensor) -> Tensor:
        return -z.square().sum(-1) / 2 - self.dim * math.log(self.scale * math.sqrt(2 * math.pi))

    def sample(self, n: int, generator: torch.Generator) -> Float[Tensor, "n A"]:
        """n points."""
        u = torch.randn(n, self.dim, generator=generator, device=generator.device)
        for size, net in zip(self.kept, self.nets, strict=True):
            kept, moved = u.split([size, self.dim - size], -1)
            log_gain, shift = self._coupling(net, kept)
            u = torch.cat([moved * log_gain.exp() + shift, kept], -1)
        return self.scale * u

    def log_prob(self, x: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """Log-density, normalised."""
        u, volume = x / self.scale, torch.zeros_like(x[:, 0])
        for size, net in zip(reversed(self.kept), reversed(self.nets), strict=True):
            moved, kept = u.split([self.dim - size, size], -1)
            log_gain, shift = self._coupling(net, kept)
            u = torch.cat([kept, (moved - shift) * torch.exp(-log_gain)], -1)
            volume = volume - log_gain.sum(-1)
        return self._base(u) + volume


class Annealed(NamedTuple):
    """Points after annealing, their weights, and the share of accepted moves."""

    x: Float[Tensor, "B A"]
    log_weight: Float[Tensor, " B"]
    accepted: Float[Tensor, ""]


def annealed(
    log_p: LogDensity,
    log_q: LogDensity,
    x: Float[Tensor, "B A"],
    levels: int,
    size: float | int,
    generator: torch.Generator,
) -> Annealed:
    """Annealed importance sampling from x ~ q towards p^2/q, alpha = 2 (FAB Eq. 7).

    One Metropolis move of `size` at each of `levels` laws between; the weights average to the
    integral of p^2/q, with or without moves. Asks (levels + 1) B values of log_p.
    """

    def ratio_at(x: Tensor) -> tuple[Tensor, Tensor]:
        log_q_x = log_q(x)
        return log_q_x, 2 * (log_p(x) - log_q_x)

    log_q_x, ratio = ratio_at(x)
    log_weight, accepted = ratio / (levels + 1), torch.zeros((), device=x.device)
    for level in range(1, levels + 1):
        share = level / (levels + 1)
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        there = x + size * z
        log_q_there, ratio_there = ratio_at(there)
        gain = log_q_there + share * ratio_there - (log_q_x + share * ratio)
        u = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
        move = u.log() < gain
        x = torch.where(move.unsqueeze(-1), there, x)
        log_q_x, ratio = (
            torch.where(move, log_q_there, log_q_x),
            torch.where(move, ratio_there, ratio),
        )
        log_weight = log_weight + ratio / (levels + 1)
        accepted = accepted + move.float().mean() / levels
    return Annealed(x, log_weight, accepted)


@dataclass(frozen=True)
class FABConfig:
    """Settings of `FAB`; without the prioritised buffer of the official code."""

    data_scale: float | int = 1.0
    """standard deviation of the flow before training"""
    layers: int = 12
    """affine couplings (official: 15)"""
    width: int = 80
    """units of each coupling's two hidden layers"""
    levels: int = 1
    """laws between the flow and p^2/q, with one Metropolis move each"""
    move: float | int = 1.0
    """standard deviation of a Metropolis move, in data_scale"""
    batch_size: int = 512
    """points of a gradient step (official: 128)"""
    lr: float | int = 5e-4
    """Adam's rate (official: 1e-4)"""
    average: float | int = 0.01
    """share of a step's weights in the running average that draws the samples (official: none)"""

    def __post_init__(self) -> None:
        for name in ("layers", "width", "batch_size"):
            check_count(name, getattr(self, name))
        check_count("levels", self.levels, 0)
        for name in ("data_scale", "move", "lr"):
            check_positive(name, getattr(self, name))
        check_share("average", self.average)


class FAB:
    """Raises the flow's density where annealed samples of p^2/q are: a forward divergence."""

    def __init__(
        self, config: FABConfig, energy: Energy, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.energy = config, energy
        with seeded(seed):
            flow = RealNVP(energy.dim, config.data_scale, config.layers, config.width)
        self.flow = flow.to(device)
        self.average = copy.deepcopy(self.flow).requires_grad_(False)
        self.learner = Learner(self.flow.parameters(), config.lr)
        self.chance = torch.Generator(device).manual_seed(seed)

    def step(self) -> Metrics:
        """One gradient step; reports the loss, the weights' effective number and accepted moves.

        ValueError where none of the points has a positive density.
        """
        config, size = self.config, self.config.move * self.config.data_scale
        with torch.no_grad():
            x = self.flow.sample(config.batch_size, self.chance)
            x, log_weight, accepted = annealed(
                self.energy, self.flow.log_prob, x, config.levels, size, self.chance
            )
        if bool((log_weight == -math.inf).all()):
            raise ValueError(
                f"energy must be above -inf at some of the flow's points, got none of "
                f"{len(x)}: data_scale {config.data_scale} may be too small or too large"
            )
        loss = -(torch.softmax(log_weight, 0) * self.flow.log_prob(x)).sum()
        self.learner.step(loss)
        ema_update(self.average, self.flow, config.average)
        rows = effective_sample_size(log_weight)
        return {"loss": loss.detach(), "rows": rows, "accepted": accepted}

    def sample(self, n: int) -> Float[Tensor, "n A"]:
        """n points of the flow; asks the energy nothing."""
        with torch.no_grad():
            return self.average.sample(n, self.chance)

    def log_prob(self, x: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """The flow's log-density."""
        with torch.no_grad():
            return self.average.log_prob(x)

    def assess(self, n: int) -> Metrics:
        """From n points of the flow: their effective share, and the log of the integral of exp(E).

        Costs n values of the energy.
        """
        x = self.sample(n)
        log_weight = self.energy(x).detach() - self.log_prob(x)
        log_z = torch.logsumexp(log_weight, 0) - math.log(n)
        return {"ess": effective_sample_size(log_weight) / n, "log_z": log_z}
