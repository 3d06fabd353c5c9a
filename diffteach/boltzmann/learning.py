"""What the samplers that learn share: a network and its average, and what a checkpoint keeps."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.nets import Learner, PlaneDenoiser, ema_update, seeded
from diffteach.schedule import check_count, check_positive
from diffteach.types import Denoise, Schedule


def check_share(name: str, value: float | int) -> None:
    """ValueError unless 0 < value <= 1."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {value}")


@dataclass(frozen=True)
class DenoiserConfig:
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

    def build(
        self, schedule: Schedule, dim: int, seed: int, device: torch.device | str
    ) -> Averaged:
        """A denoiser with fresh weights."""
        with seeded(seed):
            net = PlaneDenoiser(0, dim, schedule, self.data_scale, self.width)
        return Averaged(net.to(device), self.lr, self.average)


class Memory(nn.Module):
    """One tensor that changes from step to step and belongs into a checkpoint."""

    x: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.register_buffer("x", x)


class Averaged:
    """A network in training, and the running average of its weights, which is what is used.

    `share` is what the average takes of the weights after each step.
    """

    def __init__(self, net: nn.Module, lr: float | int, share: float | int) -> None:
        self.net, self.share = net, share
        self.average = copy.deepcopy(net).requires_grad_(False)
        self.learner = Learner(net.parameters(), lr)

    def step(self, loss: Float[Tensor, ""]) -> None:
        """One step of Adam down a scalar loss, after which the average takes its share."""
        self.learner.step(loss)
        ema_update(self.average, self.net, self.share)


def bound(net: nn.Module) -> Denoise:
    """A network without observations as a denoiser of points alone."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return net(x_t, t, x_t[:, :0])

    return denoise
