"""What every density shares: its interface, its checks, rows in chunks, score to denoiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from diffteach.types import Denoise, Schedule

Scalar = float | int | Tensor

# Elements per temporary: small enough for the cache, large enough to hide the calls.
CHUNK, CHUNK_CUDA = 2**19, 2**24


@runtime_checkable
class Density(Protocol):
    """A law on R^A with exact noisy versions; points are (..., A) and values (...)."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor: ...

    def log_prob(self, x: Tensor) -> Tensor: ...

    def score(self, x: Tensor) -> Tensor: ...

    def noised(self, alpha: Scalar, sigma: Scalar) -> Density: ...

    def denoiser(self, schedule: Schedule) -> Denoise: ...

    def to(self, target: torch.dtype | torch.device | str) -> Density: ...


def check_sample_size(n: int) -> None:
    """ValueError unless n is at least 1."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")


def check_noise(alpha: Scalar, sigma: Scalar) -> None:
    """ValueError unless both scales are finite and not negative."""
    for name, value in (("alpha", float(alpha)), ("sigma", float(sigma))):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and not negative, got {value}")


def check_points(x: Tensor, dim: int) -> None:
    """ValueError unless the last dimension of x is `dim`, TypeError unless x holds floats."""
    if not x.is_floating_point():
        raise TypeError(f"x must hold floating-point numbers, got {x.dtype}")
    if x.ndim == 0 or x.shape[-1] != dim:
        raise ValueError(f"x must have shape (..., {dim}), got {tuple(x.shape)}")


def rowwise(
    fn: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Tensor,
    scales: tuple[Scalar, Scalar],
    width: int,
) -> Tensor:
    """fn(x, alpha, sigma) over rows of x (..., A), in chunks of CHUNK / width rows.

    Scales are broadcast to x's leading shape.
    """
    lead = x.shape[:-1]
    rows = x.reshape(-1, x.shape[-1])
    alpha, sigma = (
        torch.as_tensor(s, dtype=x.dtype, device=x.device).expand(lead).reshape(-1) for s in scales
    )
    size = max(1, (CHUNK_CUDA if x.is_cuda else CHUNK) // width)
    chunks = list(zip(rows.split(size), alpha.split(size), sigma.split(size), strict=True))
    out = fn(*chunks[0])
    if len(chunks) > 1 and out.requires_grad:
        out = torch.cat([out, *(fn(*chunk) for chunk in chunks[1:])])
    elif len(chunks) > 1:
        # Small results kept between large temporaries would fragment the heap.
        whole = out.new_empty((len(rows), *out.shape[1:]))
        whole[:size] = out
        for start, chunk in zip(range(size, len(rows), size), chunks[1:], strict=True):
            whole[start : start + size] = fn(*chunk)
        out = whole
    return out.reshape(lead + out.shape[1:])


def denoiser_from_score(
    score_at: Callable[[Tensor, Tensor, Tensor], Tensor], schedule: Schedule
) -> Denoise:
    """The optimal noise prediction -sigma * score of the noisy law, t (B,) per row."""

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (s.to(x_t.dtype) for s in (schedule.alpha(t), schedule.sigma(t)))
        return -sigma.unsqueeze(-1) * score_at(x_t, alpha, sigma)

    return denoise
