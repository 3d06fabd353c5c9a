"""Networks: denoisers, critics, values and policies, and the two ways their weights change.

A denoiser is called as net(x_t (B, A), t (B,), obs (B, S)) and predicts the noise eps (B, A).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from diffteach.types import Schedule

Activation = Callable[[], nn.Module]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Makes the initialisation of CPU modules built inside depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed every accelerator, which fork_rng does not restore.
        torch.default_generator.manual_seed(seed)
        yield


def mlp(
    sizes: tuple[int, ...], activation: Activation = nn.Mish, norm: bool = False
) -> nn.Sequential:
    """Linear layers of the given sizes (inputs first) with an activation between them.

    With `norm` a LayerNorm precedes each activation. ValueError for fewer than two sizes.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must hold at least two positive widths, got {sizes}")
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(n_in, n_out), *([nn.LayerNorm(n_out)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Fourier(nn.Module):
    """Gaussian Fourier features [sin(2 pi w t), cos(2 pi w t)] with w ~ N(0, scale^2).

    Frozen at scale 30 in SRPO, learnable at scale 0.2 in IDQL; `dim` counts the outputs.
    """

    def __init__(self, dim: int = 64, scale: float = 30.0, learnable: bool = False) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(scale * torch.randn(dim // 2), requires_grad=learnable)

    def forward(self, t: Shaped[Tensor, " B"]) -> Float[Tensor, "B D"]:
        angle = 2 * math.pi * t.unsqueeze(-1).to(self.frequencies.dtype) * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], -1)


class Sinusoidal(nn.Module):
    """Features [sin(f_k t), cos(f_k t)], f_k = 1e4^(-k/(dim/2 - 1)) (Diffusion-QL, DTQL)."""

    frequencies: Tensor

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        half = dim // 2
        exponent = torch.arange(half) / max(half - 1, 1)
        self.register_buffer("frequencies", 1e4**-exponent, persistent=False)

    def forward(self, t: Shaped[Tensor, " B"]) -> Float[Tensor, "B D"]:
        angle = t.unsqueeze(-1).to(self.frequencies.dtype) * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], -1)


def log_noise_to_signal(schedule: Schedule, t: Shaped[Tensor, " B"]) -> Float[Tensor, " B"]:
    """log(sigma/alpha), the noise level on the scale of the clean data; log(t) on EDM."""
    return (schedule.sigma(t).clamp_min(1e-5) / schedule.alpha(t)).log()


def precondition(
    schedule: Schedule,
    data_scale: float,
    x_t: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"], Float[Tensor, "B 1"]]:
    """Karras et al. 2022, Table 1, for any schedule: (c_in x_t, skip, gain), eps = skip - gain F.

    With v = (alpha data_scale)^2 + sigma^2: c_in = 1/sqrt(v), skip = sigma x_t/v, the optimal eps
    for Gaussian data, and gain = alpha data_scale/sqrt(v). On EDM it is DTQL's
    D = c_skip x + c_out F with sigma_data = data_scale.
    """
    alpha, sigma = schedule.alpha(t).unsqueeze(-1), schedule.sigma(t).unsqueeze(-1)
    signal = alpha * data_scale
    c_in = torch.rsqrt(signal.square() + sigma.square())
    inner = c_in * x_t
    return inner, sigma * c_in * inner, signal * c_in


class PlaneDenoiser(nn.Module):
    """Small preconditioned Mish network for problems of low dimension; any schedule.

    `data_scale` is the root mean square of the clean data's coordinates. Each scaled coordinate u
    also enters as sin and cos of 2u, 4u and 8u: without them 2,000 steps do not resolve 25 modes.
    """

    frequencies: Tensor

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        schedule: Schedule,
        data_scale: float = 0.5,
        width: int = 128,
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.schedule, self.data_scale = schedule, data_scale
        self.level = Sinusoidal(8)
        self.register_buffer("frequencies", torch.tensor([2.0, 4.0, 8.0]), persistent=False)
        self.body = mlp((7 * act_dim + 8 + obs_dim, *[width] * depth, act_dim))

    def forward(
        self, x_t: Float[Tensor, "B A"], t: Shaped[Tensor, " B"], obs: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B A"]:
        inner, skip, gain = precondition(self.schedule, self.data_scale, x_t, t)
        waves = (inner.unsqueeze(-1) * self.frequencies).flatten(1)
        level = self.level(log_noise_to_signal(self.schedule, t))
        features = torch.cat([inner, waves.sin(), waves.cos(), level, obs], -1)
        return skip - gain * self.body(features)


def descend(optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""]) -> None:
    """One optimizer step on `loss`, differentiated with respect to the optimizer's parameters only.

    No other parameter that the loss passes through receives a gradient.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for param, grad in zip(params, torch.autograd.grad(loss, params), strict=True):
        param.grad = grad
    optimizer.step()
    for param in params:
        param.grad = None


def ema_update(target: nn.Module, source: nn.Module, rate: float | int) -> None:
    """target <- target + rate (source - target), in place; rate in [0, 1] is the source's share."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {rate}")
    with torch.no_grad():
        torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)
