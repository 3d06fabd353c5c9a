"""Critics and values."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from diffteach.nets.denoisers import precondition
from diffteach.nets.layers import Activation, Mish, Sinusoidal, mlp
from diffteach.types import Schedule


class _Parallel(nn.Module):
    """E linear layers as one batched product, each initialised like nn.Linear."""

    def __init__(self, heads: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(torch.empty(heads, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, 1, n_out).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "E B I"]) -> Float[Tensor, "E B O"]:
        return torch.baddbmm(self.bias, x, self.weight)


class _ParallelNorm(nn.Module):
    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, 1, width))
        self.bias = nn.Parameter(torch.zeros(heads, 1, width))

    def forward(self, x: Float[Tensor, "E B W"]) -> Float[Tensor, "E B W"]:
        return functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class Critics(nn.Module):
    """E independent Q networks evaluated together: (obs (B, S), act (*M, B, A)) -> (E, *M, B).

    Defaults are those of IQL and SRPO; `dtql_critics` builds DTQL's. ValueError for heads < 1.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        heads: int = 2,
        width: int = 256,
        depth: int = 2,
        activation: Activation = nn.ReLU,
        norm: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"heads must be at least 1, got {heads}")
        self.heads = heads
        layers: list[nn.Module] = []
        sizes = (obs_dim + act_dim, *[width] * depth)
        for n_in, n_out in itertools.pairwise(sizes):
            layers.append(_Parallel(heads, n_in, n_out))
            if norm:
                layers.append(_ParallelNorm(heads, n_out))
            layers.append(activation())
        self.body = nn.Sequential(*layers, _Parallel(heads, sizes[-1], 1))

    def forward(
        self, obs: Float[Tensor, "#B S"], act: Float[Tensor, "*M B A"]
    ) -> Float[Tensor, "E *M B"]:
        x = torch.cat([obs.expand(*act.shape[:-1], -1), act], -1)
        values = self.body(x.reshape(-1, x.shape[-1]).expand(self.heads, -1, -1))
        return values.reshape(self.heads, *act.shape[:-1])


def dtql_critics(obs_dim: int, act_dim: int, heads: int = 2, width: int = 256) -> Critics:
    """DTQL's critics: three layers, each with LayerNorm and Mish."""
    return Critics(obs_dim, act_dim, heads, width, depth=3, activation=Mish, norm=True)


class Value(nn.Module):
    """State value: obs (B, S) -> (B,)."""

    def __init__(
        self, obs_dim: int, width: int = 256, depth: int = 2, activation: Activation = nn.ReLU
    ) -> None:
        super().__init__()
        self.body = mlp((obs_dim, *[width] * depth, 1), activation)

    def forward(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, " B"]:
        return self.body(obs).squeeze(-1)


class NoisyEnergy(nn.Module):
    """Energy of noisy actions: (x_t (*M, B, A), t (B,), obs (#B, S)) -> (*M, B).

    QGPO's is four layers of 256 with SiLU. This one fades with the noise as the true energy does,
    whose gradient for Gaussian data and linear Q is alpha data_scale^2/v times a constant: small
    errors at high noise would move samples far. Its gradient is what counts, so it lacks the steep
    waves of `PlaneDenoiser`.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        schedule: Schedule,
        data_scale: float | int = 0.5,
        width: int = 128,
        depth: int = 3,
        activation: Activation = Mish,
    ) -> None:
        super().__init__()
        self.schedule, self.data_scale = schedule, data_scale
        self.level = Sinusoidal(8)
        self.body = mlp((act_dim + 8 + obs_dim, *[width] * depth, 1), activation)

    def forward(
        self,
        x_t: Float[Tensor, "*M B A"],
        t: Shaped[Tensor, " B"],
        obs: Float[Tensor, "#B S"],
    ) -> Float[Tensor, "*M B"]:
        lead = x_t.shape[:-1]
        rows, seen = (
            x_t.reshape(-1, x_t.shape[-1]),
            obs.expand(*lead, -1).reshape(-1, obs.shape[-1]),
        )
        scaled = precondition(self.schedule, self.data_scale, rows, t.expand(lead).reshape(-1))
        features = torch.cat([scaled.x, self.level(scaled.level), seen], -1)
        return (scaled.gain * self.body(features)).reshape(lead)
