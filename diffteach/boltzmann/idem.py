"""iDEM: a denoiser that regresses on gradients of the energy around its own samples.

Akhound-Sadegh et al. 2024. The gradient form of what RSSM estimates from values (Stein's identity).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from diffteach.boltzmann.energy import Energy
from diffteach.boltzmann.learning import DenoiserConfig, Memory, bound
from diffteach.objectives import rssm_loss
from diffteach.sampling import draw, initial_noise, time_grid
from diffteach.schedule import EDM, check_count, check_positive, perturb, x0_from_eps
from diffteach.train import Stream
from diffteach.types import Denoise, Metrics, Schedule


def energy_gradient_target(
    energy: Energy,
    schedule: Schedule,
    x_t: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "M B A"],
) -> Float[Tensor, "B A"]:
    """-sigma S with the score estimate S = sum(w grad E)/(alpha sum(w)) (iDEM Eq. 8).

    w = exp(E(x_0)) at M points x_0 drawn backwards from x_t: biased for finite M. ValueError where
    all of a row's points have zero density.
    """
    x0 = x0_from_eps(schedule, x_t, t, eps)
    with torch.no_grad():
        log_w = energy(x0)
    if bool((dead := (log_w == -math.inf).all(0)).any()):
        raise ValueError(
            f"energy must be above -inf for a particle of every row, got none in "
            f"{int(dead.sum())} of {len(dead)} rows"
        )
    score = torch.einsum("mb,mba->ba", torch.softmax(log_w, 0), energy.gradient(x0))
    return -(schedule.sigma(t) / schedule.alpha(t)).unsqueeze(-1) * score


@dataclass(frozen=True)
class IDEMConfig:
    """Settings of `IDEM`; the defaults are for targets a few units wide."""

    schedule: EDM = EDM(sigma_min=0.01, sigma_max=8.0)
    """noise levels; they are trained evenly in log sigma (iDEM's geometric schedule)"""
    particles: int = 100
    """points of a score estimate, K (the official default; 500 for the 40 Gaussians)"""
    buffer: int = 10_000
    """own samples from which noisy points are made; the oldest go first"""
    fresh: int = 1000
    """own samples that enter the buffer at a time"""
    refresh: int = 50
    """gradient steps between two refreshments"""
    max_score: float | int = 33.0
    """largest norm of a score estimate, times data_scale (official: 70 at a scale of .46)"""
    denoiser: DenoiserConfig = DenoiserConfig()
    """network and training"""
    sample_steps: int = 60
    """noise levels that the reverse SDE visits (official: 1000)"""

    def __post_init__(self) -> None:
        for name in ("particles", "fresh", "refresh", "sample_steps"):
            check_count(name, getattr(self, name))
        check_count("buffer", self.buffer, self.fresh)
        check_positive("max_score", self.max_score)


class IDEM:
    """Learns the denoiser of exp(E) from gradients of E; proposes where to look by itself."""

    def __init__(
        self, config: IDEMConfig, energy: Energy, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.energy = config, energy
        self.model = config.denoiser.build(config.schedule, energy.dim, seed, device)
        self.noise = Stream(self._draw, "idem", seed, device, 8 * config.denoiser.batch_size)
        self.chance = torch.Generator(device).manual_seed(seed)
        self.buffer = Memory(self.sample(config.buffer))
        self.due = Memory(torch.tensor(config.refresh))

    def _draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        device, dim, schedule = generator.device, self.energy.dim, self.config.schedule
        low, high = math.log(schedule.sigma_min), math.log(schedule.sigma_max)
        share = torch.rand(n, generator=generator, device=device)
        shape = (n, self.config.particles, dim)
        return (
            torch.randint(self.config.buffer, (n,), generator=generator, device=device),
            (low + (high - low) * share).exp().clamp(schedule.sigma_min, schedule.sigma_max),
            torch.randn(n, dim, generator=generator, device=device),
            torch.randn(shape, generator=generator, device=device),
        )

    def step(self) -> Metrics:
        """One gradient step, and fresh samples for the buffer when due; reports the loss."""
        config = self.config
        if int(self.due.x) == 0:
            new = self.sample(config.fresh)
            self.buffer.x = torch.cat([self.buffer.x[config.fresh :], new])
            self.due.x = torch.tensor(config.refresh)
        self.due.x = self.due.x - 1
        rows, t, noise, eps = self.noise.take(config.denoiser.batch_size)
        x_t = perturb(config.schedule, self.buffer.x[rows], t, noise)
        target = energy_gradient_target(self.energy, config.schedule, x_t, t, eps.transpose(0, 1))
        limit = config.max_score / config.denoiser.data_scale * t.unsqueeze(-1)
        norm = torch.linalg.vector_norm(target, dim=-1, keepdim=True)
        target = target * (limit / norm.clamp_min(1e-12)).clamp(max=1)
        # ||sigma (s - S)||^2: iDEM's weight h(t) on the score is 1 on the noise.
        loss = rssm_loss(bound(self.model.net), x_t, t, target, torch.ones_like(t)).mean()
        self.model.step(loss)
        return {"loss": loss.detach()}

    @property
    def denoise(self) -> Denoise:
        """The learned denoiser, weights averaged."""
        return bound(self.model.average)

    def sample(self, n: int) -> Float[Tensor, "n A"]:
        """n points by the reverse SDE from N(0, sigma_max^2 I); asks the energy nothing."""
        config, chance = self.config, self.chance
        x = initial_noise(config.schedule, n, self.energy.dim, chance)
        # As many levels per decade everywhere.
        times = time_grid(config.schedule, config.sample_steps, 1e4).to(x.device)
        return draw(reverse_sde(self.denoise, config.schedule, x, times, chance))


def reverse_sde(
    denoise: Denoise,
    schedule: EDM,
    x_t: Float[Tensor, "B A"],
    times: Float[Tensor, " steps"],
    generator: torch.Generator,
) -> Iterator[Float[Tensor, "B A"]]:
    """Ancestral steps through noise levels; yields the points at times[1:], then denoised ones.

    Unlike the probability flow it forgets: what is wrong with the score at high noise, where few
    particles mislead, is drawn anew at lower noise.
    """
    for here, there in itertools.pairwise([*times, None]):
        t = here.expand(len(x_t))
        x0 = x0_from_eps(schedule, x_t, t, denoise(x_t, t))
        if there is None:
            yield x0
            return
        keep = (there / here).square()
        z = torch.randn(x_t.shape, generator=generator, device=x_t.device)
        x_t = x0 + keep * (x_t - x0) + there * (1 - keep).sqrt() * z
        yield x_t
