"""Densities whose noisy versions are known exactly: Gaussian mixtures, also on point clouds.

Noise follows x_t = alpha x_0 + sigma eps. A component N(m, S) becomes
N(alpha m, alpha^2 S + sigma^2 I); in the eigenbasis of S that only shifts eigenvalues, so every
row of a batch may have its own noise level and nothing is factorised per row.
"""

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


def _check_centres(centres: Tensor, name: str) -> None:
    if centres.ndim != 2 or 0 in centres.shape or not centres.is_floating_point():
        raise ValueError(
            f"{name} must be a floating-point tensor of shape (K, A) with K and A at least 1, "
            f"got shape {tuple(centres.shape)} of {centres.dtype}"
        )
    bad = int((~centres.isfinite()).any(-1).sum())
    if bad:
        raise ValueError(f"{name} must be finite, got NaN or infinity in {bad} rows")


def _check_weights(weights: Tensor, n: int) -> None:
    if weights.shape != (n,):
        raise ValueError(f"weights must have shape ({n},), got {tuple(weights.shape)}")
    total = float(weights.detach().double().sum())
    if not bool((weights >= 0).all()) or not abs(total - 1) < 1e-4:
        raise ValueError(
            f"weights must not be negative and must sum to 1, got smallest "
            f"{float(weights.detach().min()):g} and sum {total:g}"
        )


def _spectrum_of_stds(stds: Tensor | float | int, means: Tensor) -> Tensor:
    stds = torch.as_tensor(stds, dtype=means.dtype, device=means.device)
    if stds.ndim > 1 or (stds.ndim == 1 and stds.shape != means.shape[:1]):
        raise ValueError(f"stds must have shape ({len(means)},), got {tuple(stds.shape)}")
    if not bool(((stds > 0) & stds.isfinite()).all()):
        raise ValueError(f"stds must be positive and finite, got {stds.detach().min():g} as least")
    variances = stds.square().reshape(-1, 1)
    # One shared variance keeps per-row work at (B, 1) instead of (B, K).
    shared = not stds.requires_grad and bool((variances == variances[0]).all())
    return variances[:1] if shared else variances


def _eigen(covariances: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    n, dim = means.shape
    if covariances.shape != (n, dim, dim):
        raise ValueError(
            f"covariances must have shape ({n}, {dim}, {dim}), got {tuple(covariances.shape)}"
        )
    if not bool(covariances.isfinite().all()):
        raise ValueError("covariances must be finite, got NaN or infinite entries")
    if not torch.allclose(covariances, covariances.mT, rtol=1e-4, atol=1e-6):
        gap = float((covariances - covariances.mT).detach().abs().max())
        raise ValueError(f"covariances must be symmetric, got entries {gap:g} from their mirror")
    spectrum, basis = torch.linalg.eigh(covariances.double())
    low, high = spectrum.detach().min(-1).values, spectrum.detach().max(-1).values
    if not bool((low > 1e-7 * high).all()):
        raise ValueError(
            f"covariances must be positive definite, got a matrix with eigenvalues from "
            f"{float(low.min()):g}"
        )
    return spectrum.to(means.dtype), basis.to(means.dtype)


class GaussianMixture:
    """sum_k weights_k N(means_k, stds_k^2 I or covariances_k), exact under noise.

    means (K, A); stds (K,) or one number, or covariances (K, A, A); weights (K,), uniform unless
    given. Results have the dtype of the points they are asked at. ValueError for non-finite means,
    stds <= 0, singular or asymmetric covariances, weights that are negative or do not sum to 1.
    """

    def __init__(
        self,
        means: Float[Tensor, "K A"],
        stds: Float[Tensor, " K"] | float | int | None = None,
        weights: Float[Tensor, " K"] | None = None,
        *,
        covariances: Float[Tensor, "K A A"] | None = None,
    ) -> None:
        _check_centres(means, "means")
        if weights is None:
            weights = means.new_full((len(means),), 1 / len(means))
        _check_weights(weights, len(means))
        basis = None
        if stds is not None and covariances is None:
            spectrum = _spectrum_of_stds(stds, means)
        elif covariances is not None and stds is None:
            spectrum, basis = _eigen(covariances, means)
        else:
            raise ValueError("give exactly one of stds and covariances")
        self._set(means, weights.to(means).log(), spectrum, basis)

    def _set(
        self, means: Tensor, log_weights: Tensor, spectrum: Tensor, basis: Tensor | None
    ) -> GaussianMixture:
        self.means, self.log_weights = means, log_weights
        self.spectrum, self.basis = spectrum, basis
        self._has_density = bool((spectrum.detach() > 0).all())
        return self

    def _with(
        self, means: Tensor, log_weights: Tensor, spectrum: Tensor, basis: Tensor | None
    ) -> GaussianMixture:
        return object.__new__(GaussianMixture)._set(means, log_weights, spectrum, basis)

    @property
    def weights(self) -> Float[Tensor, " K"]:
        """Mixture weights."""
        return self.log_weights.exp()

    @property
    def stds(self) -> Float[Tensor, " K"] | None:
        """Standard deviation of each component; None with full covariances."""
        if self.basis is not None:
            return None
        return self.spectrum[:, 0].sqrt().expand(len(self.means))

    @property
    def covariances(self) -> Float[Tensor, "K A A"]:
        """Covariance of each component."""
        n, dim = self.means.shape
        spread = torch.diag_embed(self.spectrum.expand(n, dim))
        return spread if self.basis is None else self.basis @ spread @ self.basis.mT

    def to(self, target: torch.dtype | torch.device | str) -> GaussianMixture:
        """The same mixture in another dtype or on another device."""
        basis = None if self.basis is None else self.basis.to(target)
        return self._with(
            self.means.to(target), self.log_weights.to(target), self.spectrum.to(target), basis
        )

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n A"]:
        """n independent points; ValueError unless n >= 1."""
        check_sample_size(n)
        pick = torch.multinomial(self.weights.detach(), n, replacement=True, generator=generator)
        means = self.means[pick]
        eps = torch.randn(means.shape, generator=generator, dtype=means.dtype, device=means.device)
        eps = self.spectrum.sqrt().expand(len(self.means), -1)[pick] * eps
        return means + (eps if self.basis is None else (self.basis[pick] @ eps[..., None])[..., 0])

    def log_prob(self, x: Float[Tensor, "*B A"]) -> Float[Tensor, "*B"]:
        """Log-density; ValueError at bandwidth 0, which has none."""
        self._need_density()
        return self.log_prob_at(x, 1.0, 0.0)

    def score(self, x: Float[Tensor, "*B A"]) -> Float[Tensor, "*B A"]:
        """Gradient of log_prob; ValueError at bandwidth 0."""
        self._need_density()
        return self.score_at(x, 1.0, 0.0)

    def log_prob_at(
        self, x: Float[Tensor, "*B A"], alpha: Scalar, sigma: Scalar
    ) -> Float[Tensor, "*B"]:
        """Log-density of alpha x_0 + sigma eps, the scales given per row or once."""
        check_points(x, self.means.shape[1])
        return rowwise(
            lambda *row: self._log_joint(*row).logsumexp(-1), x, (alpha, sigma), self._width
        )

    def score_at(
        self, x: Float[Tensor, "*B A"], alpha: Scalar, sigma: Scalar
    ) -> Float[Tensor, "*B A"]:
        """Score of alpha x_0 + sigma eps, the scales given per row or once."""
        check_points(x, self.means.shape[1])
        return rowwise(self._score_rows, x, (alpha, sigma), self._width)

    def noised(self, alpha: Scalar, sigma: Scalar) -> GaussianMixture:
        """The law of alpha x_0 + sigma eps; ValueError for negative scales or a point mass."""
        check_noise(alpha, sigma)
        spectrum = alpha**2 * self.spectrum + sigma**2
        if not bool((spectrum.detach() > 0).all()):
            raise ValueError(
                f"sigma must be positive where alpha times the bandwidth is zero, got alpha = "
                f"{float(alpha):g} and sigma = {float(sigma):g}"
            )
        return self._with(alpha * self.means, self.log_weights, spectrum, self.basis)

    def denoiser(self, schedule: Schedule) -> Denoise:
        """The optimal noise prediction: x_t (B, A), t (B,) -> (B, A), differentiable in x_t."""
        return denoiser_from_score(self.score_at, schedule)

    def tilted(self, slope: Float[Tensor, " A"], curvature: float | int = 0.0) -> GaussianMixture:
        """The law proportional to p(x) exp(slope.x - curvature |x|^2 / 2), again a mixture.

        With slope = 2 target/T and curvature = 2/T: p exp(-|x - target|^2 / T).
        """
        if not curvature >= 0:
            raise ValueError(f"curvature must not be negative, got {curvature}")
        y, g = self.means, slope.to(self.means).expand_as(self.means)
        if self.basis is not None:
            y, g = (torch.einsum("ka,kab->kb", v, self.basis) for v in (y, g))
        shrink = 1 + curvature * self.spectrum
        means = (y + self.spectrum * g) / shrink
        gain = (2 * y * g + self.spectrum * g.square() - curvature * y.square()) / shrink
        log_weights = self.log_weights + 0.5 * (gain - shrink.log()).sum(-1)
        if self.basis is not None:
            means = torch.einsum("kb,kab->ka", means, self.basis)
        return self._with(means, log_weights.log_softmax(0), self.spectrum / shrink, self.basis)

    def moments(self) -> tuple[Float[Tensor, " A"], Float[Tensor, "A A"]]:
        """Mean and covariance of the whole mixture."""
        mean = self.weights @ self.means
        spread = self.covariances + torch.einsum("ka,kb->kab", self.means - mean, self.means - mean)
        return mean, torch.einsum("k,kab->ab", self.weights, spread)

    @property
    def _width(self) -> int:
        return len(self.means) * (1 if self.basis is None else self.means.shape[1])

    def _need_density(self) -> None:
        if not self._has_density:
            raise ValueError(
                "bandwidth must be positive for a density or a score, got 0; the denoiser and "
                "noised(alpha, sigma > 0) exist at 0"
            )

    def _variances(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        spread = alpha.square()[:, None, None] * self.spectrum.to(x.dtype)
        return spread + sigma.square()[:, None, None]

    def _projected(self, x: Tensor, alpha: Tensor, basis: Tensor) -> Tensor:
        n, dim = self.means.shape
        flat = basis.to(x.dtype).permute(1, 0, 2).reshape(dim, n * dim)
        shift = torch.einsum("ka,kab->kb", self.means.to(x.dtype), basis.to(x.dtype))
        return (x @ flat).reshape(-1, n, dim) - alpha[:, None, None] * shift

    def _log_joint(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        var, dim = self._variances(x, alpha, sigma), x.shape[-1]
        if self.basis is None:
            var = var[..., 0]
            log_norm = -0.5 * dim * torch.log(2 * math.pi * var) + self.log_weights.to(x.dtype)
            return torch.addcmul(log_norm, self._squared_distance(x, alpha), -0.5 / var)
        y = self._projected(x, alpha, self.basis)
        quad = y.square() / var + torch.log(2 * math.pi * var)
        return self.log_weights.to(x.dtype) - 0.5 * quad.sum(-1)

    def _squared_distance(self, x: Tensor, alpha: Tensor) -> Tensor:
        # |x|^2 - 2 x.m + |m|^2 would cancel in float32 far from the origin.
        total = None
        for coord, mean in zip(x.unbind(-1), self.means.to(x.dtype).unbind(-1), strict=True):
            diff = torch.addcmul(coord[:, None], alpha[:, None], mean, value=-1)
            total = diff.square() if total is None else torch.addcmul(total, diff, diff)
        assert total is not None
        return total

    def _score_rows(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        share = torch.softmax(self._log_joint(x, alpha, sigma), -1)
        var = self._variances(x, alpha, sigma)
        if self.basis is None and var.shape[1] == 1:
            return (alpha[:, None] * (share @ self.means.to(x.dtype)) - x) / var[..., 0]
        if self.basis is None:
            pull = share / var[..., 0]
            return alpha[:, None] * (pull @ self.means.to(x.dtype)) - x * pull.sum(-1, True)
        y = share[..., None] * self._projected(x, alpha, self.basis) / var
        return -torch.einsum("rkb,kab->ra", y, self.basis.to(x.dtype))


def empirical(points: Float[Tensor, "K A"], bandwidth: float | int) -> GaussianMixture:
    """The mixture of N(point, bandwidth^2 I) over points (K, A), exact for that density.

    At bandwidth 0 only its denoiser, samples and noisy versions exist: the memorising denoiser.
    """
    if not (math.isfinite(bandwidth) and bandwidth >= 0):
        raise ValueError(f"bandwidth must be finite and not negative, got {bandwidth}")
    _check_centres(points, "points")
    mixture = GaussianMixture(points, bandwidth if bandwidth > 0 else 1.0)
    if bandwidth > 0:
        return mixture
    zero = torch.zeros_like(mixture.spectrum)
    return mixture._with(mixture.means, mixture.log_weights, zero, None)
