"""Models of the behaviour policy, which most methods here lean on: diffusion models and VAEs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.checks import check_limit, check_not_negative
from diffteach.nets import CVAE, Learner, PlaneDenoiser, at, seeded
from diffteach.objectives import denoising_loss, kl_from_normal, unit_weight
from diffteach.schedule import EDM, VP, Discrete, check_count, check_positive, clip_denoised
from diffteach.seeds import named_seed
from diffteach.train import named_generator, noise_stream, normal
from diffteach.types import Batch, Denoise, Metrics, Schedule

Weight = Callable[[Schedule, Tensor], Tensor]
S = TypeVar("S", VP, EDM, Discrete)


@dataclass(frozen=True)
class BehaviourConfig:
    """Settings of a learned behaviour; the defaults are for problems on the plane."""

    schedule: VP | EDM | Discrete = EDM()
    """how noise is mixed in"""
    data_scale: float | int = 0.5
    """root mean square of the action coordinates; scales the network, not the data"""
    weight: Weight = unit_weight
    """weight of the squared eps-residual (SRPO Eq. 13: 1)"""
    network: Callable[..., nn.Module] = PlaneDenoiser
    """called as network(obs_dim, act_dim, schedule, data_scale)"""
    lr: float | int = 1e-2
    """Adam's first learning rate"""
    anneal: bool = True
    """a cosine takes the rate to 0 over all steps"""
    weight_decay: float | int = 0.0
    """AdamW's decay; 0 is Adam"""
    max_norm: float | int | None = None
    """longer gradients are cut to this length (Diffusion-QL)"""
    limit: float | int | None = None
    """denoised points are clamped to +-limit, in training and in use (DTQL's clip_denoised)"""

    def __post_init__(self) -> None:
        check_positive("lr", self.lr)
        check_positive("data_scale", self.data_scale)
        check_not_negative("weight_decay", self.weight_decay)
        check_limit("max_norm", self.max_norm)
        check_limit("limit", self.limit)

    def build(
        self,
        obs_dim: int,
        act_dim: int,
        steps: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Behaviour:
        """A model with fresh weights, to be trained for `steps` steps."""
        return Behaviour(self, obs_dim, act_dim, steps, seed, device)


class Behaviour:
    """A denoiser of actions given observations, and the step that trains it on data."""

    def __init__(
        self,
        config: BehaviourConfig,
        obs_dim: int,
        act_dim: int,
        steps: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_count("obs_dim", obs_dim)
        check_count("act_dim", act_dim)
        self.config, self.schedule = config, config.schedule
        with seeded(named_seed("behaviour", seed)):
            net = config.network(obs_dim, act_dim, config.schedule, config.data_scale)
        self.net = net.to(device).eval()
        anneal = steps if config.anneal else None
        self.learner = Learner(
            self.net.parameters(), config.lr, anneal, config.weight_decay, config.max_norm
        )
        self.noise = noise_stream(config.schedule.sample_time, act_dim, "noise", seed, device)

    def denoise(self, obs: Float[Tensor, "B S"]) -> Denoise:
        """The denoiser at given observations; a single row serves any number of points."""
        denoise = at(self.net, obs)
        if self.config.limit is None:
            return denoise
        return clip_denoised(denoise, self.schedule, self.config.limit)

    def step(self, batch: Batch) -> Metrics:
        """One step of denoising the batch's actions; reports the mean loss."""
        t, eps = self.noise.take(len(batch.act))
        weight = self.config.weight(self.schedule, t)
        self.net.train()
        denoise = self.denoise(batch.obs)
        loss = denoising_loss(denoise, self.schedule, batch.act, t, eps, weight).mean()
        self.learner.step(loss)
        self.net.eval()
        return {"behaviour_loss": loss.detach()}


@dataclass(frozen=True)
class KnownBehaviour:
    """A behaviour whose optimal denoiser is known: stands wherever a `BehaviourConfig` does."""

    denoiser: Denoise
    """the exact denoiser, the same at every observation"""
    schedule: VP | EDM | Discrete
    """the schedule that it belongs to"""

    def build(
        self,
        obs_dim: int,
        act_dim: int,
        steps: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> KnownBehaviour:
        """Itself: there is nothing to train."""
        return self

    def denoise(self, obs: Float[Tensor, "B S"]) -> Denoise:
        """The exact denoiser."""
        return self.denoiser

    def step(self, batch: Batch) -> Metrics:
        """Nothing to do."""
        return {}


def schedule_of(
    name: str, model: BehaviourConfig | KnownBehaviour, kind: type[S], method: str
) -> S:
    """A model's schedule; TypeError unless it is of the kind that the method's formulas need."""
    schedule = model.schedule
    if not isinstance(schedule, kind):
        raise TypeError(
            f"{name} must have a schedule of kind {kind.__name__} for {method}, "
            f"got {type(schedule).__name__}"
        )
    return schedule


@dataclass(frozen=True)
class VAEConfig:
    """Settings of a variational auto-encoder of the behaviour; the defaults are BCQ's."""

    network: Callable[..., CVAE] = CVAE
    """called as network(obs_dim, act_dim, act_limit)"""
    kl_weight: float | int = 0.5
    """multiplies the mean KL of the latents against the mean squared error of the actions"""
    latent_limit: float | int = 0.5
    """latents are clamped to +-this when actions are drawn: only near the mean (BCQ's code)"""
    lr: float | int = 1e-3
    """Adam's learning rate"""

    def __post_init__(self) -> None:
        check_positive("latent_limit", self.latent_limit)
        check_not_negative("kl_weight", self.kl_weight)

    def build(
        self,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> VAEBehaviour:
        """A model with fresh weights."""
        return VAEBehaviour(self, obs_dim, act_dim, act_limit, seed, device)


class VAEBehaviour:
    """A decoder of actions, and the step that trains it on data (BCQ Sec. 4)."""

    def __init__(
        self,
        config: VAEConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        with seeded(named_seed("vae", seed)):
            self.net = config.network(obs_dim, act_dim, act_limit).to(device)
        self.learner = Learner(self.net.parameters(), config.lr)
        self.noise = named_generator("vae", seed, device)

    def latent(self, n: int, generator: torch.Generator) -> Float[Tensor, "n L"]:
        """Latents from which actions are drawn, clamped normal noise."""
        limit, shape = self.config.latent_limit, (n, self.net.latent_dim)
        return normal(shape, generator).clamp(-limit, limit)

    def draw(self, obs: Float[Tensor, "B S"], generator: torch.Generator) -> Float[Tensor, "B A"]:
        """Actions drawn from the model."""
        with torch.no_grad():
            return self.net.decode(obs, self.latent(len(obs), generator))

    def step(self, batch: Batch) -> Metrics:
        """One step down squared error + kl_weight KL, each a mean over its coordinates."""
        mean, log_std = self.net.encode(batch.obs, batch.act)
        noise = normal(tuple(mean.shape), self.noise)
        act = self.net.decode(batch.obs, mean + log_std.exp() * noise)
        error = (act - batch.act).square().mean()
        kl = kl_from_normal(mean, log_std).mean()
        self.learner.step(error + self.config.kl_weight * kl)
        return {"vae_error": error.detach(), "vae_kl": kl.detach()}
