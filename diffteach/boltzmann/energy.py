"""A density known up to a factor, what asking it costs, and what every sampler of it can do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.schedule import check_count
from diffteach.types import Metrics


@runtime_checkable
class Sampler(Protocol):
    """One unit of work at a time, and n points at any time.

    A unit is a gradient step, or a move of every Langevin chain. What it costs is counted by the
    `Energy` that the sampler was given.
    """

    def step(self) -> Metrics: ...

    def sample(self, n: int) -> Tensor: ...


class Energy:
    """log p up to a constant, counting the rows it is asked for; -inf stands for zero density.

    `grad` (..., A) -> (..., A) replaces automatic differentiation. ValueError for points of another
    width, results of another shape, NaN or +inf.
    """

    def __init__(
        self,
        log_p_hat: Callable[[Tensor], Tensor],
        dim: int = 2,
        grad: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        check_count("dim", dim)
        self.log_p_hat, self.dim, self.grad = log_p_hat, dim, grad
        self.calls = 0
        """rows whose value was computed"""
        self.gradient_calls = 0
        """rows whose gradient was computed"""

    def __call__(self, x: Float[Tensor, "*B A"], /) -> Float[Tensor, "*B"]:
        """Values at x, differentiable if log_p_hat is."""
        self._check_points(x)
        self.calls += x.shape[:-1].numel()
        return self._values(x)

    def gradient(self, x: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
        """Gradients at x, without a graph; counted as gradients only."""
        self._check_points(x)
        self.gradient_calls += x.shape[:-1].numel()
        if self.grad is not None:
            result = self.grad(x).detach()
        else:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                result = torch.autograd.grad(self._values(x).sum(), x)[0]
        if result.shape != x.shape:
            raise ValueError(f"grad must return shape {tuple(x.shape)}, got {tuple(result.shape)}")
        if not bool(result.isfinite().all()):
            bad = int((~result.isfinite()).any(-1).sum())
            raise ValueError(
                f"the gradient of log_p_hat must be finite, got {bad} rows that are not"
            )
        return result

    def state_dict(self) -> dict[str, Any]:
        """The two counters."""
        return {"calls": self.calls, "gradient_calls": self.gradient_calls}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Counts on from a stored state."""
        self.calls, self.gradient_calls = state_dict["calls"], state_dict["gradient_calls"]

    def _check_points(self, x: Tensor) -> None:
        if x.ndim == 0 or x.shape[-1] != self.dim:
            raise ValueError(f"points must have shape (..., {self.dim}), got {tuple(x.shape)}")

    def _values(self, x: Tensor) -> Tensor:
        value = self.log_p_hat(x)
        if value.shape != x.shape[:-1]:
            raise ValueError(
                f"log_p_hat must return shape {tuple(x.shape[:-1])} for points of shape "
                f"{tuple(x.shape)}, got {tuple(value.shape)}"
            )
        # NaN is not below infinity either.
        if not bool((value < math.inf).all()):
            raise ValueError(
                f"log_p_hat must be finite or -inf, got {int(value.isnan().sum())} NaN and "
                f"{int((value == math.inf).sum())} +inf values"
            )
        return value
