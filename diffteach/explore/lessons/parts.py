"""What several lessons share: their densities, denoisers, and the student's own function."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

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
from diffteach.toys.drawn import SHARE
from diffteach.train import finish
from diffteach.types import Denoise, Schedule

DENSITIES = tuple(name for name in toys.names() if name not in ("gmm40", "two_moon_energy"))
TRAINING_STEPS = 2000
T = TypeVar("T")


def density_choice(default: str, names: tuple[str, ...] = DENSITIES) -> Choice:
    """The control that picks one of the named densities, or draws one: a drawn one is listed too.

    ValueError for another name, or a drawing in another window than the one of all that are named.
    """
    toys.check_name(default)
    windows, own = {toys.window(name) for name in names}, toys.window(default)
    if toys.is_drawn(default):
        names = (*names, default)
        if len(windows) == 1 and own not in windows:
            raise ValueError(f"density must have window {min(windows):g}, {default} has {own:g}")
    if default not in names:
        raise ValueError(f"density must be one of {', '.join(names)}, got {default!r}")
    return Choice("density", "density", names, default, kernel=True, drawn=SHARE * own)


def denoiser_choice(default: str) -> Choice:
    """The control that picks the exact denoiser or one trained here and now."""
    return Choice("denoiser", "denoiser", ("exact", "trained"), default, kernel=True)


def bounds_of(density: str, margin: float = 1.0) -> fields.Bounds:
    """A square window that holds a named set."""
    half = margin * toys.window(density)
    return -half, half, -half, half


def remembered(size: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """An lru_cache of that size that forgets a drawn density when its file becomes another."""

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        @lru_cache(maxsize=size)
        def known(_drawn: tuple[toys.Drawing, ...], *args: Any, **named: Any) -> T:
            return function(*args, **named)

        @wraps(function)
        def call(*args: Any, **named: Any) -> T:
            files = filter(toys.is_drawn, (*args, *named.values()))
            return known(tuple(map(toys.load_drawn, files)), *args, **named)

        return call

    return decorate


@remembered(16)
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
