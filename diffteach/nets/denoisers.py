"""Denoisers: net(x_t (B, A), t (B,), obs (B, S)) predicts the noise eps (B, A)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from diffteach.nets.layers import Dropout, Fourier, Mish, Sinusoidal, mlp
from diffteach.types import Denoise, Schedule


def at(net: nn.Module, obs: Float[Tensor, "#B S"]) -> Denoise:
    """A network as a denoiser at given observations; a single row serves any number of points."""

    def bound(x_t: Tensor, t: Tensor) -> Tensor:
        return net(x_t, t, obs.expand(len(x_t), -1))

    return bound


class Scaled(NamedTuple):
    """A noisy point in units in which a network sees it, and how its answer F becomes eps."""

    x: Float[Tensor, "B A"]
    """c_in x_t"""
    level: Float[Tensor, " B"]
    """log(sigma/alpha): the noise level on the scale of the clean data, log(t) on EDM"""
    skip: Float[Tensor, "B A"]
    """the optimal eps for Gaussian data of that scale"""
    gain: Float[Tensor, "B 1"]
    """eps = skip - gain F"""


def precondition(
    schedule: Schedule,
    data_scale: float | int,
    x_t: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
) -> Scaled:
    """The preconditioning of Karras et al. 2022, Table 1, carried over to any schedule.

    With v = (alpha data_scale)^2 + sigma^2: c_in = 1/sqrt(v), skip = sigma x_t/v and
    gain = alpha data_scale/sqrt(v). On EDM it is DTQL's D = c_skip x + c_out F.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    signal = data_scale * alpha
    c_in = torch.rsqrt(signal * signal + sigma * sigma)
    x = c_in.unsqueeze(-1) * x_t
    level = (sigma.clamp_min(1e-5) / alpha).log()
    return Scaled(x, level, (sigma * c_in).unsqueeze(-1) * x, (signal * c_in).unsqueeze(-1))


class PlaneFeatures(nn.Module):
    """What the small networks see of a noisy point in low dimension: (B, 7 A + 8 + S).

    Each scaled coordinate u also enters as sin and cos of 2u, 4u and 8u: without them 2,000 steps
    do not resolve 25 modes.
    """

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.level = Sinusoidal(8)
        self.register_buffer("frequencies", torch.tensor([2.0, 4.0, 8.0]), persistent=False)

    @staticmethod
    def width(obs_dim: int, act_dim: int) -> int:
        """Number of features."""
        return 7 * act_dim + 8 + obs_dim

    def forward(self, scaled: Scaled, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B F"]:
        waves = (scaled.x.unsqueeze(-1) * self.frequencies).flatten(1)
        return torch.cat([scaled.x, waves.sin(), waves.cos(), self.level(scaled.level), obs], -1)


class PlaneDenoiser(nn.Module):
    """Small preconditioned Mish network for problems of low dimension; any schedule.

    `data_scale` is the root mean square of the clean data's coordinates.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        schedule: Schedule,
        data_scale: float | int = 0.5,
        width: int = 128,
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.schedule, self.data_scale = schedule, data_scale
        self.features = PlaneFeatures()
        self.body = mlp((self.features.width(obs_dim, act_dim), *[width] * depth, act_dim))

    def forward(
        self, x_t: Float[Tensor, "B A"], t: Shaped[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B A"]:
        scaled = precondition(self.schedule, self.data_scale, x_t, t)
        return scaled.skip - scaled.gain * self.body(self.features(scaled, obs))


class MLPDenoiser(nn.Module):
    """Mish MLP on (x_t, obs, embedded level) that predicts eps (Diffusion-QL, SDAC).

    The level's embedding is Diffusion-QL's; SDAC's code has frequencies 1e4^(-k/half), features
    over sqrt(dim) and another initialisation. `data_scale` is unused: the network sees points as
    they are.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        schedule: Schedule,
        data_scale: float | int = 1.0,
        width: int = 256,
        depth: int = 3,
        level_dim: int = 16,
    ) -> None:
        super().__init__()
        embed = mlp((level_dim, 2 * level_dim, level_dim))
        self.level = nn.Sequential(Sinusoidal(level_dim), embed)
        self.body = mlp((act_dim + obs_dim + level_dim, *[width] * depth, act_dim))

    def forward(
        self, x_t: Float[Tensor, "B A"], t: Shaped[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B A"]:
        return self.body(torch.cat([x_t, obs, self.level(t)], -1))


class ResNetDenoiser(nn.Module):
    """LayerNorm ResNet that predicts eps, of SRPO and IDQL (IDQL App. G; SRPO App. D).

    Continuous times as in SRPO, frozen Fourier features; `embedding` (dim 64) replaces them.
    `data_scale` is unused: the network sees points as they are.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        schedule: Schedule,
        data_scale: float | int = 1.0,
        width: int = 256,
        blocks: int = 3,
        dropout: float | int = 0.1,
        embedding: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.embedding = Fourier(64) if embedding is None else embedding
        self.level = mlp((64, 128, 128))
        self.enter = nn.Linear(act_dim + obs_dim + 128, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Dropout(dropout, seed=int(torch.randint(2**31, ()))),
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                Mish(),
                nn.Linear(4 * width, width),
            )
            for _ in range(blocks)
        )
        self.leave = nn.Sequential(Mish(), nn.Linear(width, act_dim))

    def forward(
        self, x_t: Float[Tensor, "B A"], t: Shaped[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B A"]:
        h = self.enter(torch.cat([x_t, obs, self.level(self.embedding(t))], -1))
        for block in self.blocks:
            h = h + block(h)
        return self.leave(h)


class DTQLBody(nn.Module):
    """DTQL's score network without preconditioning: (x (B, A), obs (B, S), level (B,)) -> (B, A).

    The first layer has no activation, as in the official code: two affine maps compose, so the
    network is one layer shallower than it looks.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        width: int = 256,
        depth: int = 3,
        level_dim: int = 16,
    ) -> None:
        super().__init__()
        embed = mlp((level_dim, 2 * level_dim, level_dim))
        self.level = nn.Sequential(Sinusoidal(level_dim), embed)
        self.body = nn.Sequential(
            nn.Linear(act_dim + obs_dim + level_dim, width), mlp((*[width] * (depth + 1), act_dim))
        )

    def forward(
        self, x: Float[Tensor, "B A"], obs: Float[Tensor, "B S"], level: Float[Tensor, " B"]
    ) -> Float[Tensor, "B A"]:
        return self.body(torch.cat([x, obs, self.level(level)], -1))


class DTQLDenoiser(nn.Module):
    """DTQL's preconditioned network as an eps-denoiser; on EDM data_scale is sigma_data."""

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        schedule: Schedule,
        data_scale: float | int = 0.5,
        width: int = 256,
        depth: int = 3,
        level_dim: int = 16,
    ) -> None:
        super().__init__()
        self.schedule, self.data_scale = schedule, data_scale
        self.body = DTQLBody(obs_dim, act_dim, width, depth, level_dim)

    def forward(
        self, x_t: Float[Tensor, "B A"], t: Shaped[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B A"]:
        scaled = precondition(self.schedule, self.data_scale, x_t, t)
        return scaled.skip - scaled.gain * self.body(scaled.x, obs, scaled.level / 4)
