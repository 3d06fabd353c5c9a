"""Boltzmann targets that are known through their energy."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.toys.densities import GaussianMixture
from diffteach.toys.interface import Scalar, check_noise, check_points, check_sample_size
from diffteach.types import Denoise, Schedule

_RADIUS, _RING_STD, _HORN, _HORN_STD = 2.0, 0.2, 2.0, 0.3
_SPACING, _BANDWIDTH = 0.1, 0.06


@functools.cache
def _quadrature() -> GaussianMixture:
    axis = torch.arange(-4.0, 4.0 + _SPACING / 2, _SPACING, dtype=torch.float64)
    nodes = torch.cartesian_prod(axis, axis)
    p = TwoMoonEnergy().log_prob_unnormalised(nodes).exp().reshape(len(axis), -1)
    around = sum(p.roll(step, dim) for step in (-1, 1) for dim in (0, 1)) - 4 * p
    # The bandwidth adds h^2/2 times the Laplacian of p: taken off beforehand.
    weights = (p - 0.5 * (_BANDWIDTH / _SPACING) ** 2 * around).flatten()
    keep = weights > 1e-5 * weights.max()
    return GaussianMixture(nodes[keep], _BANDWIDTH, weights[keep] / weights[keep].sum())


class TwoMoonEnergy:
    """Two crescents at (+-2, 0), the "Two Moon" target of normflows and FAB.

    log p = -((|z|-2)/.2)^2/2 - ((|z1|-2)/.3)^2/2 + log(1 + exp(-4|z1|/.09)) - log Z. `log_prob`,
    `score` and `sample` are exact; `noised` and `denoiser` are those of a mixture on a grid of
    spacing 0.1 and bandwidth 0.06, exact for that density, which differs from the
    target by at most 1.5 % of its peak.
    """

    log_normaliser: float = 0.80421444863212

    def to(self, target: torch.dtype | torch.device | str) -> TwoMoonEnergy:
        """Itself: it has no tensors, and results follow the points."""
        return self

    def log_prob_unnormalised(self, x: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B"]:
        """Minus the energy, at most about 0."""
        check_points(x, 2)
        ring = (torch.linalg.vector_norm(x, dim=-1) - _RADIUS) / _RING_STD
        # The same as the formula above, but smooth at z1 = 0.
        horns = [((x[..., 0] + side) / _HORN_STD).square() for side in (-_HORN, _HORN)]
        return -0.5 * ring.square() + torch.logaddexp(-0.5 * horns[0], -0.5 * horns[1])

    def log_prob(self, x: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B"]:
        """Log-density."""
        return self.log_prob_unnormalised(x) - self.log_normaliser

    def score(self, x: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
        """Gradient of log_prob; 0 for the ring's part at the origin, where it has a kink."""
        check_points(x, 2)
        radius = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        ring = (_RADIUS / radius.clamp_min(1e-12) - 1) / _RING_STD**2 * x
        pull = _HORN * torch.tanh(_HORN / _HORN_STD**2 * x[..., 0]) - x[..., 0]
        return ring + torch.stack([pull / _HORN_STD**2, torch.zeros_like(pull)], -1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 2"]:
        """n independent float32 points by rejection; ValueError unless n >= 1."""
        check_sample_size(n)
        device = generator.device if generator is not None else None
        found, count = [], 0
        while count < n:
            u = torch.rand(3, 8 * n, generator=generator, device=device)
            z = torch.randn(8 * n, generator=generator, device=device)
            side = torch.where(u[0] < 0.5, -_HORN, _HORN)
            # Beyond 4 the ring leaves e^-50: horn x uniform covers all that is representable.
            proposal = torch.stack([side + _HORN_STD * z, 8 * u[1] - 4], -1)
            ring = (torch.linalg.vector_norm(proposal, dim=-1) - _RADIUS) / _RING_STD
            found.append(proposal[u[2].log() < -0.5 * ring.square()])
            count += len(found[-1])
        return torch.cat(found)[:n]

    def noised(self, alpha: Scalar, sigma: Scalar) -> GaussianMixture:
        """The quadrature mixture under noise; ValueError for negative scales."""
        check_noise(alpha, sigma)
        return _quadrature().to(torch.float32).noised(alpha, sigma)

    def denoiser(self, schedule: Schedule) -> Denoise:
        """The optimal noise prediction of the quadrature mixture."""
        mixture = _quadrature()

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return mixture.to(x_t.device).denoiser(schedule)(x_t, t)

        return denoise
