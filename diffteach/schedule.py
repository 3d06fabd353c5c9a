"""Noise schedules and the four ways to say what a denoiser predicts.

Every schedule is x_t = alpha(t) x_0 + sigma(t) eps with eps ~ N(0, I).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from diffteach.types import Denoise, Schedule


def check_positive(name: str, value: float | int) -> None:
    """ValueError unless value > 0."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")


def check_count(name: str, value: int, least: int = 1) -> None:
    """ValueError unless value >= least."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def _uniform(n: int, generator: torch.Generator | None) -> Float[Tensor, " n"]:
    check_count("n", n)
    device = generator.device if generator is not None else None
    return torch.rand(n, generator=generator, device=device, dtype=torch.float64)


def _check_range(t: Tensor, low: float | int, high: float | int, what: str) -> None:
    # Reading a value of a CUDA tensor would stall the device; compiled code cannot branch on it.
    if t.is_cuda or torch.compiler.is_compiling() or t.numel() == 0:
        return
    smallest, largest = (float(v) for v in t.detach().aminmax())
    # float32 rounds some ends of a range up, 0.397 for one, and those times are still inside.
    high = float(torch.tensor(high, dtype=t.dtype))
    if not (low <= smallest and largest <= high):
        raise ValueError(
            f"t must lie in [{low:g}, {high:g}] for {what}, got values in "
            f"[{smallest:g}, {largest:g}]"
        )


@dataclass(frozen=True)
class VP:
    """Variance-preserving SDE with beta(t) linear in t (Song et al. 2021; SRPO Eq. 4).

    Times lie in [0, t_max]; training draws them from [t_min, t_max].
    """

    beta_min: float | int = 0.1
    """rate of noise at t = 0"""
    beta_max: float | int = 20.0
    """rate of noise at t = 1"""
    t_min: float | int = 1e-3
    """least time of training"""
    t_max: float | int = 1.0
    """greatest time"""

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(
                f"beta_min and beta_max must satisfy 0 < beta_min <= beta_max, "
                f"got {self.beta_min} and {self.beta_max}"
            )
        if not 0 < self.t_min < self.t_max:
            raise ValueError(
                f"t_min and t_max must satisfy 0 < t_min < t_max, got {self.t_min} and {self.t_max}"
            )

    def beta(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Noise rate beta(t) = beta_min + t (beta_max - beta_min)."""
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def log_alpha(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """-t^2 (beta_max - beta_min)/4 - t beta_min/2; ValueError outside [0, t_max]."""
        _check_range(t, 0.0, self.t_max, "VP")
        return -t * (0.25 * (self.beta_max - self.beta_min) * t + 0.5 * self.beta_min)

    def alpha(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Signal scale in (0, 1]."""
        return torch.exp(self.log_alpha(t))

    def sigma(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Noise scale in [0, 1): sqrt(1 - alpha^2)."""
        return torch.sqrt(-torch.expm1(2 * self.log_alpha(t)))

    def sample_time(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        """n times, uniform on [t_min, t_max]; float32 on the generator's device."""
        u = _uniform(n, generator)
        return (self.t_min + (self.t_max - self.t_min) * u).float()


@dataclass(frozen=True)
class EDM:
    """Variance-exploding schedule whose time *is* the noise level (Karras et al. 2022; DTQL).

    Training levels follow the log-logistic law with location log(sigma_data) and scale 1/2,
    truncated to [sigma_min, sigma_max]; its distribution function is s^2 / (s^2 + sigma_data^2).
    """

    sigma_min: float | int = 0.002
    """least noise level"""
    sigma_max: float | int = 80.0
    """greatest noise level"""
    sigma_data: float | int = 0.5
    """standard deviation of the data, by which weights and networks are scaled"""

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"sigma_min and sigma_max must satisfy 0 < sigma_min < sigma_max, "
                f"got {self.sigma_min} and {self.sigma_max}"
            )
        check_positive("sigma_data", self.sigma_data)

    def alpha(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Signal scale: 1."""
        return torch.ones_like(t)

    def sigma(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Noise scale: t itself; ValueError unless t > 0."""
        _check_range(t, torch.finfo(t.dtype).tiny, math.inf, "EDM (t is the noise level)")
        return t

    def cdf(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Distribution function of the untruncated law, F(s) = s^2/(s^2 + sigma_data^2)."""
        return sigma**2 / (sigma**2 + self.sigma_data**2)

    def quantile(self, u: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Noise level at share u in [0, 1] of the truncated law."""
        low, high = (s**2 / (s**2 + self.sigma_data**2) for s in (self.sigma_min, self.sigma_max))
        v = low + (high - low) * u
        return (self.sigma_data * torch.sqrt(v / (1 - v))).clamp(self.sigma_min, self.sigma_max)

    def sample_time(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        """n noise levels of the training law; float32 on the generator's device."""
        # float64 because 1 - F(80) is 4e-5: float32 would leave steps in the upper tail.
        return self.quantile(_uniform(n, generator)).float()


@dataclass(frozen=True, eq=False)
class Discrete:
    """T-step DDPM (Ho et al. 2020): t is a long in 0..T-1, and 0 is the first *noisy* level.

    Two are equal if their betas are, in value and type.
    """

    betas: Float[Tensor, " T"]
    """share of the variance that each step renews"""
    alpha_bar: Float[Tensor, " T"] = field(init=False, repr=False)
    """share of the signal's variance that is left after each step"""
    noise_bar: Float[Tensor, " T"] = field(init=False, repr=False)
    """1 - alpha_bar, of which float32 would lose four digits at the first levels of many"""

    def __post_init__(self) -> None:
        betas = self.betas
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(f"betas must be a non-empty vector, got shape {tuple(betas.shape)}")
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(f"betas must lie strictly between 0 and 1, got {betas.tolist()}")
        alpha_bar = torch.cumprod(1 - betas.double(), 0)
        object.__setattr__(self, "alpha_bar", alpha_bar.to(betas.dtype))
        object.__setattr__(self, "noise_bar", (1 - alpha_bar).to(betas.dtype))

    def __len__(self) -> int:
        return len(self.betas)

    # A dataclass would compare the tensors themselves, whose == has no single answer.
    def _key(self) -> tuple[object, ...]:
        return (self.betas.dtype, *self.betas.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Discrete) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _at(self, table: Float[Tensor, " T"], t: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        if t.is_floating_point():
            raise TypeError(f"t must hold integers for a Discrete schedule, got {t.dtype}")
        _check_range(t, 0, len(self) - 1, "Discrete")
        return table.to(t.device)[t]

    def alpha(self, t: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Signal scale sqrt(alpha_bar_t); ValueError outside 0..T-1, TypeError for floats."""
        return torch.sqrt(self._at(self.alpha_bar, t))

    def sigma(self, t: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Noise scale sqrt(1 - alpha_bar_t)."""
        return torch.sqrt(self._at(self.noise_bar, t))

    def sample_time(self, n: int, generator: torch.Generator | None = None) -> Int[Tensor, " n"]:
        """n levels, uniform on 0..T-1."""
        return (_uniform(n, generator) * len(self)).long()


def _steps(n: int) -> Float[Tensor, " T"]:
    check_count("the number of steps", n)
    return torch.arange(1, n + 1, dtype=torch.float64)


def linear_betas(n: int, low: float | int = 1e-4, high: float | int = 2e-2) -> Float[Tensor, " n"]:
    """Linear betas of DDPM (Ho et al. 2020)."""
    return (low + (high - low) * (_steps(n) - 1) / max(n - 1, 1)).float()


def relax_betas(n: int, scale: float | int = 0.8) -> Float[Tensor, " n"]:
    """scale * linspace(1e-4, 0.999, n): SDAC and DPMD use 0.8; DACER, DIPO and QVPO there 0.3."""
    if not 0 < scale <= 1:
        raise ValueError(f"scale must lie in (0, 1], got {scale}")
    return linear_betas(n, scale * 1e-4, scale * 0.999)


def cosine_betas(n: int, offset: float | int = 0.008) -> Float[Tensor, " n"]:
    """Cosine betas, capped at 0.999 (Nichol & Dhariwal 2021, grid 0..n over n)."""

    def level(k: Tensor) -> Tensor:
        return torch.cos((k / n + offset) / (1 + offset) * math.pi / 2) ** 2

    k = _steps(n)
    return (1 - level(k) / level(k - 1)).clamp(max=0.999).float()


def vp_betas(
    n: int, beta_min: float | int = 0.1, beta_max: float | int = 10.0
) -> Float[Tensor, " n"]:
    """Few-step discretisation of the VP SDE (Diffusion-QL, IDQL, QSM; T = 5 there)."""
    k = _steps(n)
    return -torch.expm1(-beta_min / n - 0.5 * (beta_max - beta_min) * (2 * k - 1) / n**2).float()


def _scales(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    return schedule.alpha(t).unsqueeze(-1), schedule.sigma(t).unsqueeze(-1)


def perturb(
    schedule: Schedule,
    x0: Float[Tensor, "*#M B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "*#M B A"],
) -> Float[Tensor, "... B A"]:
    """Noisy points x_t = alpha(t) x0 + sigma(t) eps."""
    alpha, sigma = _scales(schedule, t)
    return alpha * x0 + sigma * eps


def x0_from_eps(
    schedule: Schedule,
    x_t: Float[Tensor, "*#M B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "*#M B A"],
) -> Float[Tensor, "... B A"]:
    """Denoised point (x_t - sigma eps)/alpha; for the optimal eps it is E[x_0 | x_t] (Tweedie)."""
    alpha, sigma = _scales(schedule, t)
    return (x_t - sigma * eps) / alpha


def eps_from_x0(
    schedule: Schedule,
    x_t: Float[Tensor, "*#M B A"],
    t: Shaped[Tensor, " B"],
    x0: Float[Tensor, "*#M B A"],
) -> Float[Tensor, "... B A"]:
    """Noise (x_t - alpha x0)/sigma."""
    alpha, sigma = _scales(schedule, t)
    return (x_t - alpha * x0) / sigma


def score_from_eps(
    schedule: Schedule, t: Shaped[Tensor, " B"], eps: Float[Tensor, "*M B A"]
) -> Float[Tensor, "*M B A"]:
    """Score of the noisy law, -eps/sigma(t)."""
    return -eps / schedule.sigma(t).unsqueeze(-1)


def eps_from_score(
    schedule: Schedule, t: Shaped[Tensor, " B"], score: Float[Tensor, "*M B A"]
) -> Float[Tensor, "*M B A"]:
    """Noise predicted by a score, -sigma(t) score."""
    return -schedule.sigma(t).unsqueeze(-1) * score


def clip_denoised(denoise: Denoise, schedule: Schedule, limit: float | int) -> Denoise:
    """A denoiser whose denoised point is clamped to [-limit, limit] (DTQL's D4RL setting).

    Where the clamp is active no gradient flows through the denoiser.
    """
    check_positive("limit", limit)

    def clipped(x_t: Tensor, t: Tensor) -> Tensor:
        x0 = x0_from_eps(schedule, x_t, t, denoise(x_t, t)).clamp(-limit, limit)
        return eps_from_x0(schedule, x_t, t, x0)

    return clipped


def guided(
    denoise: Denoise,
    schedule: Schedule,
    energy: Callable[[Tensor, Tensor], Tensor],
    scale: float | int = 1.0,
) -> Denoise:
    """The denoiser eps_hat - scale sigma grad E(x_t, t) of the noisy law times exp(scale E).

    energy: x_t (B, A), t (B,) -> (B,). At scale 1 and E = log E[exp(beta Q(x_0)) | x_t] it belongs
    to p(x_0) exp(beta Q(x_0)) noised (CEP Sec. 3). Nothing flows through E's gradient into x_t.
    """

    def tilted(x_t: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            (slope,) = torch.autograd.grad(energy(x, t).sum(), x)
        return denoise(x_t, t) + eps_from_score(schedule, t, scale * slope)

    return tilted
