"""What several lessons share: their densities, denoisers, and the student's own function."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.expression import at
from diffteach.explore.params import Choice
from diffteach.methods.bc import fit_points
from diffteach.schedule import EDM, VP
from diffteach.train import finish
from diffteach.types import Denoise, Schedule

DENSITIES = tuple(name for name in toys.names() if name not in ("gmm40", "two_moon_energy"))
TRAINING_STEPS = 2000


def density_choice(default: str) -> Choice:
    """The control that picks the density."""
    if default not in DENSITIES:
        toys.check_name(default)
        raise ValueError(f"density must be one of {', '.join(DENSITIES)}, got {default!r}")
    return Choice("density", "density", DENSITIES, default, kernel=True)


def denoiser_choice(default: str) -> Choice:
    """The control that picks the exact denoiser or one trained here and now."""
    return Choice("denoiser", "denoiser", ("exact", "trained"), default, kernel=True)


def bounds_of(density: str, margin: float = 1.0) -> fields.Bounds:
    """A square window that holds a named set."""
    half = margin * toys.window(density)
    return -half, half, -half, half


@lru_cache(maxsize=16)
def denoiser_of(name: str, schedule: EDM | VP, kind: str, seed: int) -> Denoise:
    """The exact denoiser of a named density, or one trained on 10,000 of its points."""
    if kind == "exact":
        return toys.density(name).denoiser(schedule)
    if kind != "trained":
        raise ValueError(f"denoiser must be one of exact, trained, got {kind!r}")
    points, _ = toys.load(name, 10_000, seed)
    return finish(fit_points(points, schedule, steps=TRAINING_STEPS, seed=seed))


def source(name: str) -> str:
    """A JavaScript file that lies beside the lessons."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def vectors_at(field: np.ndarray, points: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Bilinear reading, shaped as `points` (..., 2), of a vector field (2, H, W)."""
    where = tuple(float(b) for b in bounds)
    return np.stack([at(component, points, where) for component in field], -1)


def checked(value: Any, shape: torch.Size, what: str) -> Tensor:
    """What a student's function returned; ValueError unless it is a finite tensor of the shape."""
    if not isinstance(value, Tensor) or value.shape != shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{what} must be a tensor of shape {tuple(shape)}, got {got}")
    if not bool(value.detach().isfinite().all()):
        raise ValueError(f"{what} must be finite, got NaN or infinite values")
    return value


Loss = Callable[..., Tensor]


def pointwise(
    loss: Loss, denoise: Denoise, schedule: Schedule, act: Tensor, t: Tensor, eps: Tensor
) -> tuple[Float[Tensor, " B"], Float[Tensor, "B A"]]:
    """A student's loss(denoise, schedule, act, t, eps) and its gradient on the action.

    A loss without a path to the action has gradient 0. ValueError unless it returns (B,) finite.
    """
    act = act.clone().requires_grad_()
    value = checked(loss(denoise, schedule, act, t, eps), t.shape, "your loss")
    if not value.requires_grad:
        return value, torch.zeros_like(act)
    (grad,) = torch.autograd.grad(value.sum(), act, allow_unused=True, materialize_grads=True)
    return value.detach(), grad


def loss_field(
    loss: Loss, denoise: Denoise, schedule: EDM, bounds: fields.Bounds, size: int, levels: int = 24
) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W 2"]]:
    """A student's loss and its gradient on the grid, over noise levels and a 4 x 4 noise rule."""
    act = fields.grid(bounds, size)
    value, grad = torch.zeros(len(act)), torch.zeros_like(act)
    eps, shares = fields.hermite(4)
    for level, mass in zip(*fields.noise_levels(schedule, levels), strict=True):
        for e, share in zip(eps, shares, strict=True):
            t = level.expand(len(act))
            v, g = pointwise(loss, denoise, schedule, act, t, e.expand_as(act))
            value += mass * share * v
            grad += mass * share * g
    return value.reshape(size, size), grad.reshape(size, size, 2)
