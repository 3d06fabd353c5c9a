"""What the samplers that learn a denoiser share: network, its average, optimizer, reverse flow."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.nets import PlaneDenoiser, descend, ema_update, seeded
from diffteach.schedule import check_count, check_positive
from diffteach.types import Denoise, Schedule


def check_share(name: str, value: float | int) -> None:
    """ValueError unless 0 < value <= 1."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {value}")


@dataclass(frozen=True)
class LearnerConfig:
    """The denoiser and its training, the same for every sampler that learns one."""

    data_scale: float | int = 1.0
    """root mean square of the target's coordinates, as well as it is known; scales the network"""
    width: int = 128
    """units of each of three hidden layers"""
    batch_size: int = 512
    """rows of a gradient step"""
    lr: float | int = 3e-3
    """Adam's rate, constant: a race has no planned end"""
    average: float | int = 0.01
    """share of a step's weights in the running average that draws the samples"""

    def __post_init__(self) -> None:
        check_count("width", self.width)
        check_count("batch_size", self.batch_size)
        check_positive("data_scale", self.data_scale)
        check_positive("lr", self.lr)
        check_share("average", self.average)


class Memory(nn.Module):
    """One tensor that changes from step to step and belongs into a checkpoint."""

    x: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x)


class Learner(NamedTuple):
    """What is trained, what is used, and what changes the former."""

    net: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer


def learner(
    config: LearnerConfig, schedule: Schedule, dim: int, seed: int, device: torch.device | str
) -> Learner:
    """A fresh denoiser, a frozen copy for the average of its weights, and Adam."""
    with seeded(seed):
        net = PlaneDenoiser(0, dim, schedule, config.data_scale, config.width).to(device)
    average = copy.deepcopy(net).requires_grad_(False)
    return Learner(net, average, torch.optim.Adam(net.parameters(), lr=config.lr, fused=True))


def bound(net: nn.Module) -> Denoise:
    """A network without observations as a denoiser of points alone."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return net(x_t, t, x_t[:, :0])

    return denoise


def learn(parts: Learner, loss: Float[Tensor, ""], share: float | int) -> None:
    """One optimizer step on `loss`, after which the average takes its share."""
    descend(parts.optimizer, loss)
    ema_update(parts.average, parts.net, share)
