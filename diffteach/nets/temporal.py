"""Networks over plans: a denoiser and a value that convolve along time (Diffuser).

A plan is (a_1, s_2, a_2, ..., s_H, a_H) in one row; s_1 is the observation and never noisy.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from diffteach.nets.denoisers import PlaneDenoiser, precondition
from diffteach.nets.layers import Mish, Sinusoidal, mlp
from diffteach.types import Schedule


def plan_size(obs_dim: int, act_dim: int, horizon: int) -> int:
    """Coordinates of a plan: those of H pairs (s, a) without s_1."""
    return horizon * (obs_dim + act_dim) - obs_dim


def trajectory(
    obs: Float[Tensor, "B S"], plan: Float[Tensor, "B P"], horizon: int
) -> Float[Tensor, "B H D"]:
    """Pairs (s, a) from the observation on: the first state is the observation, to the bit."""
    return torch.cat([obs, plan], -1).unflatten(-1, (horizon, -1))


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, level_dim: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(n_in, n_out, 5, padding=2), nn.GroupNorm(8, n_out))
        self.second = nn.Sequential(nn.Conv1d(n_out, n_out, 5, padding=2), nn.GroupNorm(8, n_out))
        self.level = nn.Sequential(Mish(), nn.Linear(level_dim, n_out))
        self.skip = nn.Conv1d(n_in, n_out, 1)
        self.mish = Mish()

    def forward(self, x: Float[Tensor, "B C H"], level: Float[Tensor, "B L"]) -> Tensor:
        h = self.mish(self.first(x)) + self.level(level).unsqueeze(-1)
        return self.mish(self.second(h)) + self.skip(x)


def _check_horizon(horizon: int, widths: tuple[int, ...]) -> None:
    least = 2 ** (len(widths) - 1)
    if horizon < 1 or horizon % least:
        raise ValueError(
            f"horizon must be a multiple of {least}, which {len(widths)} widths halve to 1 and "
            f"back, got {horizon}"
        )


class TemporalDenoiser(nn.Module):
    """Small 1-D U-Net along time: net(x_t (B, P), t (B,), obs (B, S)) predicts the noise (B, P).

    The official one has two blocks where this has one, and predicts the clean plan. ValueError for
    a horizon that cannot be halved once less often than there are widths.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        horizon: int,
        schedule: Schedule,
        data_scale: float | int = 1.0,
        widths: tuple[int, ...] = (32, 64, 128, 256),
    ) -> None:
        super().__init__()
        _check_horizon(horizon, widths)
        self.schedule, self.data_scale, self.horizon = schedule, data_scale, horizon
        size, dim = obs_dim + act_dim, widths[0]
        self.level = nn.Sequential(Sinusoidal(dim), mlp((dim, 4 * dim, dim)))
        steps = list(itertools.pairwise((size, *widths)))
        self.down = nn.ModuleList(_Block(n_in, n_out, dim) for n_in, n_out in steps)
        self.shrink = nn.ModuleList(nn.Conv1d(w, w, 3, 2, 1) for w in widths[:-1])
        self.middle = _Block(widths[-1], widths[-1], dim)
        backwards = list(itertools.pairwise(widths[::-1]))
        self.grow = nn.ModuleList(nn.ConvTranspose1d(a, b, 4, 2, 1) for a, b in backwards)
        self.up = nn.ModuleList(_Block(2 * b, b, dim) for _, b in backwards)
        self.leave = nn.Conv1d(dim, size, 1)

    def forward(
        self, x_t: Float[Tensor, "B P"], t: Shaped[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B P"]:
        scaled = precondition(self.schedule, self.data_scale, x_t, t)
        level = self.level(scaled.level)
        h, kept = trajectory(obs, scaled.x, self.horizon).transpose(1, 2), []
        for k, block in enumerate(self.down):
            h = block(h, level)
            if k < len(self.shrink):
                kept.append(h)
                h = self.shrink[k](h)
        h = self.middle(h, level)
        for grow, block in zip(self.grow, self.up, strict=True):
            h = block(torch.cat([grow(h), kept.pop()], 1), level)
        answer = self.leave(h).transpose(1, 2).flatten(1)
        return scaled.skip - scaled.gain * answer[:, obs.shape[1] :]


class TemporalValue(nn.Module):
    """Return of a noisy plan: the way down of the U-Net, then a mean over time: -> (B,)."""

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        horizon: int,
        schedule: Schedule,
        data_scale: float | int = 1.0,
        widths: tuple[int, ...] = (32, 64, 128, 256),
    ) -> None:
        super().__init__()
        _check_horizon(horizon, widths)
        self.schedule, self.data_scale, self.horizon = schedule, data_scale, horizon
        dim = widths[0]
        self.level = nn.Sequential(Sinusoidal(dim), mlp((dim, 4 * dim, dim)))
        steps = list(itertools.pairwise((obs_dim + act_dim, *widths)))
        self.down = nn.ModuleList(_Block(n_in, n_out, dim) for n_in, n_out in steps)
        self.shrink = nn.ModuleList(nn.Conv1d(w, w, 3, 2, 1) for w in widths[:-1])
        self.leave = mlp((widths[-1] + dim, widths[-1] // 2, 1))

    def forward(
        self, x_t: Float[Tensor, "B P"], t: Shaped[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, " B"]:
        scaled = precondition(self.schedule, self.data_scale, x_t, t)
        level = self.level(scaled.level)
        h = trajectory(obs, scaled.x, self.horizon).transpose(1, 2)
        for k, block in enumerate(self.down):
            h = block(h, level)
            if k < len(self.shrink):
                h = self.shrink[k](h)
        return self.leave(torch.cat([h.mean(-1), level], -1)).squeeze(-1)


def flat_denoiser(
    obs_dim: int, act_dim: int, horizon: int, schedule: Schedule, data_scale: float | int = 1.0
) -> PlaneDenoiser:
    """A denoiser of plans without convolutions, for plans of one step on the plane."""
    return PlaneDenoiser(obs_dim, plan_size(obs_dim, act_dim, horizon), schedule, data_scale)


class FlatValue(nn.Module):
    """Return of a noisy plan by a plain network: (x_t (B, P), t (B,), obs (B, S)) -> (B,)."""

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        horizon: int,
        schedule: Schedule,
        data_scale: float | int = 1.0,
        width: int = 128,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.schedule, self.data_scale = schedule, data_scale
        self.level = Sinusoidal(8)
        size = plan_size(obs_dim, act_dim, horizon) + 8 + obs_dim
        self.body = mlp((size, *[width] * depth, 1), norm=True)

    def forward(
        self, x_t: Float[Tensor, "B P"], t: Shaped[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, " B"]:
        scaled = precondition(self.schedule, self.data_scale, x_t, t)
        return self.body(torch.cat([scaled.x, self.level(scaled.level), obs], -1)).squeeze(-1)
