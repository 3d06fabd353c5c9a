"""Diffuser: whole plans are denoised towards high returns, the best one's first action is taken."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from diffteach.checks import check_between, check_kind, check_not_negative, check_obs, check_space
from diffteach.data.names import task
from diffteach.nets import (
    FlatValue,
    Learner,
    TemporalDenoiser,
    TemporalValue,
    at,
    ema_update,
    flat_denoiser,
    plan_size,
    seeded,
)
from diffteach.objectives import unit_weight
from diffteach.sampling import ancestral, best_of, draw, initial_noise
from diffteach.schedule import Discrete, check_count, check_positive, cosine_betas, guided, perturb
from diffteach.seeds import named_seed
from diffteach.train import Counter, Stream, check_batch, named_generator, noise_stream
from diffteach.types import Batch, Metrics, Recipe, Schedule, Stage


def clean_weight(schedule: Schedule, t: Shaped[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Weight (sigma/alpha)^2 on the eps-residual: the squared error of the denoised plan."""
    return (schedule.sigma(t) / schedule.alpha(t)).square()


@dataclass(frozen=True)
class DiffuserConfig:
    """Settings of `Diffuser`; the defaults are the official ones on hopper and walker2d."""

    horizon: int = 32
    """steps of a plan, H (4 on halfcheetah)"""
    scale: float | int = 0.1
    """of the guidance by the slope of the predicted return; tuned per task"""
    guide_from: int = 2
    """levels below this are not guided"""
    candidates: int = 64
    """plans of which the one with the best predicted return is followed for one step"""
    discount: float | int = 0.997
    """of the returns that guide"""
    penalty: float | int = -100.0
    """added to the reward of a step that ends its episode by termination"""
    first_weight: float | int = 10.0
    """weight of the first action's coordinates in the denoising loss"""
    schedule: Discrete = Discrete(cosine_betas(20))
    """of the plans"""
    weight: Callable[[Schedule, Tensor], Tensor] = clean_weight
    """weight of the squared eps-residual of a level; the official loss is on the denoised plan"""
    network: Callable[..., nn.Module] = TemporalDenoiser
    """called as network(obs_dim, act_dim, horizon, schedule, data_scale)"""
    value: Callable[..., nn.Module] = TemporalValue
    """called likewise; (x_t (B, P), t (B,), obs (B, S)) -> (B,)"""
    data_scale: float | int = 1.0
    """root mean square of a plan's coordinates"""
    lr: float | int = 2e-4
    """Adam's learning rate of both networks"""
    target_rate: float | int = 0.005
    """share of the denoiser's weights that its slow copy, which plans, takes at once"""
    target_every: int = 10
    """steps from one time to the next"""
    target_start: int = 2000
    """steps up to which the slow copy is the denoiser itself"""
    steps: int = 1_000_000
    """steps of the denoiser"""
    value_steps: int = 200_000
    """steps of the return predictor"""
    batch_size: int = 64
    """plans per step"""

    def __post_init__(self) -> None:
        for name in ("horizon", "candidates", "target_every"):
            check_count(name, getattr(self, name))
        for name in ("guide_from", "target_start"):
            check_count(name, getattr(self, name), 0)
        for name in ("first_weight", "data_scale"):
            check_positive(name, getattr(self, name))
        check_not_negative("scale", self.scale)
        check_between("discount", self.discount)
        check_between("target_rate", self.target_rate)
        check_kind("schedule", self.schedule, Discrete)


PAPER = DiffuserConfig()
# Plans of one step: a plan is an action, its return the reward.
PLANE = DiffuserConfig(
    horizon=1,
    scale=0.2,
    candidates=16,
    penalty=0.0,
    schedule=Discrete(cosine_betas(10)),
    weight=unit_weight,
    network=flat_denoiser,
    value=FlatValue,
    lr=3e-3,
    target_rate=0.05,
    target_every=1,
    target_start=0,
    steps=1000,
    value_steps=500,
    batch_size=256,
)


def paper(name: str) -> Recipe:
    """Settings for a data set: horizon, networks and guidance of the official code."""
    _, env, level = task(name)
    config = PAPER
    if env == "halfcheetah":
        widths = (32, 128, 256)
        config = replace(
            PAPER,
            horizon=4,
            scale=0.001,
            guide_from=4,
            network=partial(TemporalDenoiser, widths=widths),
            value=partial(TemporalValue, widths=widths),
        )
    if (env, level) == ("hopper", "medium-expert"):
        config = replace(PAPER, scale=0.0001, guide_from=4)
    return Recipe(config, standardise=True)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper, "official": paper}


class Diffuser:
    """A plan is an action: a batch's `obs` is s_1, its `act` (a_1, s_2, ..., s_H, a_H), its `rew`
    the return, and every row ends.

    So s_1 is in-painted by construction, and plans of one step are those of any other method.
    `source` makes such batches of recorded episodes. Second tier here: for the plane and short
    runs.
    """

    def __init__(
        self,
        config: DiffuserConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim, self.size = obs_dim, plan_size(obs_dim, act_dim, config.horizon)
        space = obs_dim, act_dim, config.horizon, config.schedule, config.data_scale
        with seeded(named_seed("plans", seed)):
            self.net = config.network(*space).to(device)
        with seeded(named_seed("value", seed)):
            self.value = config.value(*space).to(device)
        self.slow = copy.deepcopy(self.net).requires_grad_(False)
        self.learner = Learner(self.net.parameters(), config.lr)
        self.value_learner = Learner(self.value.parameters(), config.lr)
        self.emphasis = torch.ones(self.size, device=device)
        self.emphasis[:act_dim] = config.first_weight
        self.counter = Counter()
        times = config.schedule.sample_time
        self.noise = noise_stream(times, self.size, "plans", seed, device)
        self.value_noise = noise_stream(times, self.size, "value", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "plans" and "value", neither of which knows the other."""
        config, size = self.config, self.config.batch_size
        return (
            Stage("plans", config.steps, size, self.plan_step),
            Stage("value", config.value_steps, size, self.value_step),
        )

    def plan_step(self, batch: Batch) -> Metrics:
        """One step of denoising plans, in which the first action counts more."""
        config, schedule = self.config, self.config.schedule
        t, eps = self.noise.take(len(batch.act))
        residual = at(self.net, batch.obs)(perturb(schedule, batch.act, t, eps), t) - eps
        loss = (config.weight(schedule, t) * (self.emphasis * residual.square()).mean(-1)).mean()
        self.learner.step(loss)
        count = self.counter.tick()
        if count <= config.target_start:
            self.slow.load_state_dict(self.net.state_dict())
        elif count % config.target_every == 0:
            ema_update(self.slow, self.net, config.target_rate)
        return {"plan_loss": loss.detach()}

    def value_step(self, batch: Batch) -> Metrics:
        """One step of predicting returns from noisy plans."""
        t, eps = self.value_noise.take(len(batch.act))
        x_t = perturb(self.config.schedule, batch.act, t, eps)
        loss = (self.value(x_t, t, batch.obs) - batch.rew).square().mean()
        self.value_learner.step(loss)
        return {"value_loss": loss.detach()}

    def guide(self, obs: Float[Tensor, "B S"]) -> Callable[[Tensor, Tensor], Tensor]:
        """The predicted return of noisy plans at given observations, 0 below `guide_from`.

        As an energy of `guided` it moves the mean of level k by
        scale beta_k/sqrt(1 - beta_k) times its slope. The official code moves the noisy plan
        instead, by its posterior's variance, and twice.
        """

        def energy(x_t: Tensor, t: Tensor) -> Tensor:
            return torch.where(t >= self.config.guide_from, self.value(x_t, t, obs), 0.0)

        return energy

    def plans(self, obs: Float[Tensor, "B S"]) -> tuple[Tensor, Float[Tensor, "K B"]]:
        """Plans (K, B, P) from given states and their predicted returns."""
        config, schedule = self.config, self.config.schedule
        rows = obs.repeat(config.candidates, 1)
        denoise = at(self.slow, rows)
        if config.scale:
            denoise = guided(denoise, schedule, self.guide(rows), config.scale)
        noise = initial_noise(schedule, len(rows), self.size, self.chance)
        found = draw(ancestral(denoise, schedule, noise, self.chance))
        found[:, : self.act_dim].clamp_(-self.act_limit, self.act_limit)
        with torch.no_grad():
            clean = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
            returns = self.value(found, clean, rows)
        return tuple(x.unflatten(0, (config.candidates, len(obs))) for x in (found, returns))

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """The first action of the plan with the best predicted return."""
        check_obs(obs, self.obs_dim)
        return best_of(*self.plans(obs))[:, : self.act_dim]

    explore = act

    def source(self, data: Batch, ends: Bool[Tensor, " n"], seed: int = 0) -> Plans:
        """Batches of plans cut from transitions in order, with their returns."""
        return Plans(self.config, data, ends, seed)


class Plans:
    """Random windows of episodes as plans with their discounted returns; a `Source` for `Diffuser`.

    A window that reaches beyond its episode repeats the last row.
    """

    def __init__(
        self, config: DiffuserConfig, data: Batch, ends: Bool[Tensor, " n"], seed: int = 0
    ) -> None:
        check_batch(data)
        if ends.shape != data.rew.shape:
            raise ValueError(
                f"ends must have shape {tuple(data.rew.shape)} like data.rew, "
                f"got {tuple(ends.shape)}"
            )
        self.data, self.horizon = data, config.horizon
        n, device = len(data.rew), data.rew.device
        last, row = ends | data.done.bool(), torch.arange(n, device=device)
        self.stop = torch.where(last, row, n - 1).flip(0).cummin(0).values.flip(0)
        self.returns = _returns(data, last, config)

        def rows(k: int, generator: torch.Generator) -> tuple[Tensor, ...]:
            return (torch.randint(n, (k,), generator=generator, device=device),)

        self._rows = Stream(rows, "rows", seed, device)

    def at(self, start: Shaped[Tensor, " B"]) -> Batch:
        """The plans that begin at given rows."""
        ahead = torch.arange(self.horizon, device=start.device)
        rows = torch.minimum(start[:, None] + ahead, self.stop[start][:, None])
        pairs = torch.cat([self.data.obs[rows], self.data.act[rows]], -1).flatten(1)
        obs, plan = pairs.split(
            [self.data.obs.shape[1], pairs.shape[1] - self.data.obs.shape[1]], 1
        )
        returns = self.returns[start]
        return Batch(obs, plan, returns, obs, torch.ones_like(returns))

    def __call__(self, batch_size: int) -> Iterator[Batch]:
        """Batches of the given size, without end."""
        while True:
            yield self.at(*self._rows.take(batch_size))

    def state_dict(self) -> dict[str, Any]:
        """Position in the stream of rows."""
        return self._rows.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a stored position."""
        self._rows.load_state_dict(state_dict)


def _returns(data: Batch, last: Tensor, config: DiffuserConfig) -> Tensor:
    rew = data.rew + config.penalty * data.done.to(data.rew.dtype)
    found, ahead = [], 0.0
    for r, end in zip(rew.flip(0).tolist(), last.flip(0).tolist(), strict=True):
        ahead = r + (0.0 if end else config.discount * ahead)
        found.append(ahead)
    return rew.new_tensor(found).flip(0)
