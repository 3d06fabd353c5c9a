"""Reverse sampling score matching: a denoiser of exp(E) from values of E alone (SDAC Eqs. 9-17).

Noisy points come first, from any law; clean ones are drawn backwards from them and weighted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from diffteach.boltzmann.energy import Energy
from diffteach.boltzmann.learning import DenoiserConfig, Memory, bound
from diffteach.boltzmann.metrics import effective_sample_size
from diffteach.objectives import raw_weight, reverse_sampling_target, rssm_loss
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import VP, check_count, check_positive, perturb, x0_from_eps
from diffteach.train import Stream
from diffteach.types import Denoise, Metrics, Schedule

Proposed = tuple[Float[Tensor, "n dim"], Float[Tensor, " n"]]


def gaussian_proposal(
    n: int, dim: int, generator: torch.Generator, std: float | int = 2.0
) -> Proposed:
    """n noisy points from N(0, std^2 I), at every noise level alike, and their log-densities."""
    z = torch.randn(n, dim, generator=generator, device=generator.device)
    return std * z, -z.square().sum(-1) / 2 - dim * math.log(std * math.sqrt(2 * math.pi))


def uniform_proposal(
    n: int, dim: int, generator: torch.Generator, half: float | int = 6.0
) -> Proposed:
    """n noisy points evenly spread over [-half, half]^dim, and their log-densities."""
    u = torch.rand(n, dim, generator=generator, device=generator.device)
    return half * (2 * u - 1), u.new_full((n,), -dim * math.log(2 * half))


def particle_ess(
    energy: Callable[[Tensor], Tensor],
    schedule: Schedule,
    x_t: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "M B A"],
    temperature: float | int = 1.0,
) -> Float[Tensor, " B"]:
    """How many of a row's M backward draws carry its target: near 1, the target is their best."""
    with torch.no_grad():
        return effective_sample_size(energy(x0_from_eps(schedule, x_t, t, eps)) / temperature)


@dataclass(frozen=True)
class RSSMConfig:
    """Settings of `RSSM`; the defaults are for targets a few units wide."""

    schedule: VP = VP(t_max=0.5286)
    """noise levels; the default ends at sigma/alpha = 4, since particles miss the target beyond"""
    proposal: Callable[..., tuple[Tensor, Tensor]] = gaussian_proposal
    """called as proposal(n, dim, generator): noisy points and log-densities (SDAC Eq. 15)"""
    weight: Callable[[Tensor, float | int], Tensor] = raw_weight
    """row weight of the loss, of log mean exp(E/temperature) less its peak, and temperature:
    raw_weight, mean_one_weight, standardised_weight (the paper's) or self_weight (its code's)"""
    particles: int = 16
    """backward draws per noisy point, K (1 in the paper's formula, 64 in SDAC's code)"""
    temperature: float | int = 1.0
    """the target is exp(E/temperature)"""
    denoiser: DenoiserConfig = DenoiserConfig()
    """network and training"""
    sample_steps: int = 20
    """noise levels that the reverse flow visits"""
    pool: int = 1 << 18
    """backward draws, paid for once, that find the law at the noisiest level: N(0, I) is not it"""

    def __post_init__(self) -> None:
        check_count("particles", self.particles)
        check_count("sample_steps", self.sample_steps)
        check_count("pool", self.pool)
        check_positive("temperature", self.temperature)


class RSSM:
    """Learns the denoiser of exp(E/temperature) without data and without gradients of E."""

    def __init__(
        self, config: RSSMConfig, energy: Energy, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.energy = config, energy
        self.model = config.denoiser.build(config.schedule, energy.dim, seed, device)
        self.peak = Memory(torch.tensor(torch.finfo().min, device=device))
        self.noise = Stream(self._draw, "rssm", seed, device, 8 * config.denoiser.batch_size)
        self.chance = torch.Generator(device).manual_seed(seed)
        self.starts = Memory(self._starts())

    def _draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        shape = (n, self.config.particles, self.energy.dim)
        return (
            self.config.proposal(n, self.energy.dim, generator)[0],
            self.config.schedule.sample_time(n, generator),
            torch.randn(shape, generator=generator, device=generator.device),
        )

    def step(self) -> Metrics:
        """One gradient step; reports the loss and the rows' effective number."""
        config = self.config
        x_t, t, eps = self.noise.take(config.denoiser.batch_size)
        target, log_weight = reverse_sampling_target(
            self.energy, config.schedule, x_t, t, eps.transpose(0, 1), config.temperature
        )
        live = log_weight > -math.inf  # of other rows, which no particle reached, nothing is known
        if not bool(live.any()):
            raise ValueError("proposal must reach points of positive density, got none in a batch")
        self.peak.x = torch.maximum(self.peak.x, log_weight.max())
        weight = config.weight(log_weight[live] - self.peak.x, config.temperature)
        error = rssm_loss(bound(self.model.net), x_t[live], t[live], target[live], weight)
        loss = error.sum() / len(live)
        self.model.step(loss)
        rows = effective_sample_size(weight.log())
        return {"loss": loss.detach(), "rows": rows}

    @property
    def denoise(self) -> Denoise:
        """The learned denoiser, weights averaged."""
        return bound(self.model.average)

    def sample(self, n: int) -> Float[Tensor, "n A"]:
        """n points by the reverse flow from the law at its noisiest level; asks E nothing."""
        config, starts, chance = self.config, self.starts.x, self.chance
        pick = torch.randint(len(starts), (n,), generator=chance, device=starts.device)
        noise = initial_noise(config.schedule, n, self.energy.dim, chance)
        t = noise.new_full((n,), float(config.schedule.t_max))
        x_t = perturb(config.schedule, starts[pick], t, noise)
        return sample(self.denoise, config.schedule, x_t, config.sample_steps)

    def _starts(self) -> Tensor:
        """Clean points at which the noisiest level is centred, by importance of backward draws.

        With x_t ~ p~ and x_0 drawn backwards from it, exp(E(x_0))/p~(x_t) weighs x_0 as the target
        does. Noise hides how coarse they are.
        """
        config, schedule = self.config, self.config.schedule
        x_t, log_density = config.proposal(config.pool, self.energy.dim, self.chance)
        t = x_t.new_full((config.pool,), float(schedule.t_max))
        eps = torch.randn(x_t.shape, generator=self.chance, device=x_t.device)
        x0 = x0_from_eps(schedule, x_t, t, eps)
        with torch.no_grad():
            log_weight = self.energy(x0) / config.temperature - log_density
        if bool((log_weight == -math.inf).all()):
            raise ValueError("proposal must reach points of positive density, got none in the pool")
        weight = torch.softmax(log_weight, 0)
        n = max(config.pool // 16, 1)
        return x0[torch.multinomial(weight, n, replacement=True, generator=self.chance)]
