"""The checkerboard: uniform on alternating cells, exact under noise through the error function."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.toys.interface import (
    Scalar,
    check_noise,
    check_points,
    check_sample_size,
    denoiser_from_score,
    rowwise,
)
from diffteach.types import Denoise, Schedule

_EDGES = (-4.0, -2.0, 0.0, 2.0, 4.0)
_CELLS = 8
_LOG_AREA = math.log(_CELLS * 4.0)
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def _hazard(z: Tensor) -> Tensor:
    """phi(z) / Phi(z), accurate in the left tail together with its derivatives."""
    edge = -10.0 if z.dtype == torch.float32 else -50.0
    tail, body = z.clamp(max=edge), z.clamp(min=edge)
    u = tail.square().reciprocal()
    mills = 1 - u * (1 - 3 * u * (1 - 5 * u * (1 - 7 * u)))
    exact = torch.exp(-0.5 * body.square() - _LOG_SQRT_2PI - torch.special.log_ndtr(body))
    return torch.where(z < edge, -tail / mills, exact)


def _strip(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """log P and (phi(low) - phi(high)) / P for P = Phi(high) - Phi(low), in either tail."""
    mirror = low + high > 0
    low, high = torch.where(mirror, -high, low), torch.where(mirror, -low, high)
    log_high = torch.special.log_ndtr(high)
    share = -torch.expm1(torch.special.log_ndtr(low) - log_high)  # P / Phi(high)
    # phi(low) / phi(high) - 1: squares of large z would cancel.
    slope = _hazard(high) * torch.expm1(0.5 * (high - low) * (high + low)) / share
    return log_high + share.log(), torch.where(mirror, -slope, slope)


class Checkerboard:
    """Uniform on the 8 cells of side 2 in [-4, 4]^2 whose lower left corner is black (CEP's toy).

    After `noised` it is the law of scale x_0 + blur eps. Each noisy cell is a product of
    differences of normal distribution functions, and the rows of cells make it two such products.
    """

    def __init__(self, scale: Scalar = 1.0, blur: Scalar = 0.0) -> None:
        check_noise(scale, blur)
        if not float(scale) > 0:
            raise ValueError(f"scale must be positive, got {float(scale)}")
        self.scale, self.blur = float(scale), float(blur)

    def to(self, target: torch.dtype | torch.device | str) -> Checkerboard:
        """Itself: it has no tensors, and results follow the points."""
        return self

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
        """n independent float32 points on the generator's device; ValueError unless n >= 1."""
        check_sample_size(n)
        device = generator.device if generator is not None else None
        u, v, eps_x, eps_y = torch.rand(4, n, generator=generator, device=device).unbind()
        column = (4 * u).floor().clamp(max=3)
        row = 2 * (2 * v).floor().clamp(max=1) + column % 2
        points = torch.stack([2 * (column + eps_x) - 4, 2 * (row + eps_y) - 4], -1)
        noise = torch.randn(n, 2, generator=generator, device=device)
        return self.scale * points + self.blur * noise

    def log_prob(self, x: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B"]:
        """Log-density; without blur -log 32 on the cells and -inf outside them."""
        if self.blur > 0:
            return self.log_prob_at(x, 1.0, 0.0)
        check_points(x, 2)
        cell = torch.floor(x / (2 * self.scale))
        black = ((x / self.scale).abs().amax(-1) <= 4) & (cell.sum(-1) % 2 == 0)
        inside = torch.full_like(x[..., 0], -_LOG_AREA) - 2 * math.log(self.scale)
        return torch.where(black, inside, -math.inf)

    def score(self, x: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
        """Gradient of log_prob; without blur 0 on the cells and NaN outside them."""
        if self.blur > 0:
            return self.score_at(x, 1.0, 0.0)
        inside = self.log_prob(x).isfinite().unsqueeze(-1)
        return torch.where(inside, torch.zeros_like(x), math.nan)

    def log_prob_at(
        self, x: Float[Tensor, "*B 2"], alpha: Scalar, sigma: Scalar
    ) -> Float[Tensor, "*B"]:
        """Log-density of alpha x_0 + sigma eps, scales per row or once, sigma positive."""
        check_points(x, 2)
        return rowwise(self._log_prob_rows, x, (alpha, sigma), 8)

    def score_at(
        self, x: Float[Tensor, "*B 2"], alpha: Scalar, sigma: Scalar
    ) -> Float[Tensor, "*B 2"]:
        """Score of alpha x_0 + sigma eps, scales per row or once, sigma positive."""
        check_points(x, 2)
        return rowwise(self._score_rows, x, (alpha, sigma), 8)

    def noised(self, alpha: Scalar, sigma: Scalar) -> Checkerboard:
        """The law of alpha x_0 + sigma eps; ValueError for alpha = 0 or negative scales."""
        check_noise(alpha, sigma)
        return Checkerboard(
            float(alpha) * self.scale, math.hypot(float(alpha) * self.blur, float(sigma))
        )

    def denoiser(self, schedule: Schedule) -> Denoise:
        """The optimal noise prediction: x_t (B, 2), t (B,) -> (B, 2), differentiable in x_t."""
        return denoiser_from_score(self.score_at, schedule)

    def _strips(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        """Log-mass and slope of the strips (R, 2 coordinates, 2, 2 parities), scale and blur."""
        scale = alpha * self.scale
        # The floor keeps t = 0 finite; there the score only serves to be multiplied by sigma.
        blur = (alpha.square() * self.blur**2 + sigma.square()).sqrt().clamp_min(1e-12)
        edges = torch.tensor(_EDGES, dtype=x.dtype, device=x.device) * scale[:, None]
        z = (edges[:, None, :] - x[:, :, None]) / blur[:, None, None]
        mass, slope = _strip(z[..., :-1], z[..., 1:])
        return mass.unflatten(-1, (2, 2)), slope.unflatten(-1, (2, 2)), scale, blur

    def _log_prob_rows(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        mass, _, scale, _ = self._strips(x, alpha, sigma)
        # Cells join an even column to an even row, or an odd one to an odd one.
        parities = mass.logsumexp(-2).sum(1)
        return parities.logsumexp(-1) - _LOG_AREA - 2 * scale.log()

    def _score_rows(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        mass, slope, _, blur = self._strips(x, alpha, sigma)
        parity = torch.softmax(mass.logsumexp(-2).sum(1), -1)
        within = torch.softmax(mass, -2) * parity[:, None, None, :]
        return (within * slope).sum((-2, -1)) / blur[:, None]
