"""Flows of actions and the one-step policies that imitate them (FQL)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.nets.layers import mlp


class Velocity(nn.Module):
    """Velocity of a flow from noise at t = 0 to actions at t = 1: (x, t, obs) -> (B, A)."""

    def __init__(self, obs_dim: int, act_dim: int, width: int = 512, depth: int = 4) -> None:
        super().__init__()
        self.body = mlp((obs_dim + act_dim + 1, *[width] * depth, act_dim), nn.GELU)

    def forward(
        self, x: Float[Tensor, "B A"], t: Float[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B A"]:
        return self.body(torch.cat([obs, x, t.unsqueeze(-1)], -1))


class StepPolicy(nn.Module):
    """Actions from noise in one step, unbounded: (obs, noise) -> (B, A)."""

    def __init__(self, obs_dim: int, act_dim: int, width: int = 512, depth: int = 4) -> None:
        super().__init__()
        self.body = mlp((obs_dim + act_dim, *[width] * depth, act_dim), nn.GELU)

    def forward(
        self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "B A"]
    ) -> Float[Tensor, "B A"]:
        return self.body(torch.cat([obs, noise], -1))
