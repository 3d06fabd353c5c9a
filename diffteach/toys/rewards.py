"""Rewards of one-step problems: (..., A) -> (...), defined everywhere.

Where a paper defines a reward on samples only, `nearest` extends it by the closest labelled point.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.toys.interface import check_points
from diffteach.types import QFunction

NEAR_RADIUS = 15.0


def far(a: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
    """Distance to the origin (DTQL toy)."""
    return torch.linalg.vector_norm(a, dim=-1)


def near(a: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
    """15 minus the distance to the origin; DTQL subtracts from the largest norm in the data."""
    return NEAR_RADIUS - far(a)


def hard(a: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
    """Distance to the origin, doubled where x < -7.5 and y > 7.5 (DTQL toy)."""
    corner = (a[..., 0] < -7.5) & (a[..., 1] > 7.5)
    return far(a) * (1 + corner.to(a.dtype))


def same(a: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
    """0 everywhere (DTQL toy), with a zero gradient."""
    return 0 * a.sum(-1)


def squared_radius(a: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
    """|a|^2 / 9, the energy of CEP's swiss roll."""
    return a.square().sum(-1) / 9


def stripes(a: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B"]:
    """1 where 0 < x <= 2 or x <= -2, else 0, the energy of CEP's checkerboard; zero gradient."""
    x = a[..., 0]
    return (((x > 0) & (x <= 2)) | (x <= -2)).to(a.dtype) + same(a)


def quadratic(target: Float[Tensor, "*#B A"]) -> QFunction:
    """-|a - target|^2 (SRPO Fig. 3); ValueError unless the target is finite."""
    if target.ndim == 0 or not bool(target.isfinite().all()):
        raise ValueError(f"target must be a finite tensor of shape (..., A), got {target.tolist()}")

    def reward(a: Tensor) -> Tensor:
        check_points(a, target.shape[-1])
        return -(a - target.to(a)).square().sum(-1)

    return reward


def nearest(points: Float[Tensor, "K A"], rewards: Float[Tensor, " K"]) -> QFunction:
    """The reward of the closest of the labelled points; its gradient is zero."""
    if points.ndim != 2 or len(points) == 0 or rewards.shape != points.shape[:1]:
        raise ValueError(
            f"points and rewards must have shapes (K, A) and (K,) with K at least 1, got "
            f"{tuple(points.shape)} and {tuple(rewards.shape)}"
        )

    def reward(a: Tensor) -> Tensor:
        check_points(a, points.shape[1])
        rows, centres = a.detach().reshape(-1, a.shape[-1]), points.to(a)
        size = max(1, 2**20 // len(centres))
        index = torch.cat([torch.cdist(r, centres).argmin(-1) for r in rows.split(size)])
        return rewards.to(a)[index].reshape(a.shape[:-1]) + same(a)

    return reward


DTQL_REWARDS = {"near": near, "far": far, "hard": hard, "same": same}
