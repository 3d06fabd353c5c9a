"""EDP: Diffusion-QL without the chain, Q climbs through a one-step prediction (NeurIPS 2023)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from diffteach.behaviour import BehaviourConfig
from diffteach.checks import (
    check_between,
    check_kind,
    check_not_negative,
    check_obs,
    check_space,
)
from diffteach.critics import DoubleQConfig, KnownQ, mean_size
from diffteach.data.names import task
from diffteach.nets import Critics, Mish, MLPDenoiser, at, ema_update
from diffteach.objectives import denoising_loss, unit_weight
from diffteach.sampling import draw, heun, initial_noise, softmax_of, time_grid
from diffteach.schedule import VP, Discrete, check_count, linear_betas, perturb, x0_from_eps
from diffteach.train import Counter, named_generator
from diffteach.types import Batch, Metrics, Recipe, Stage


@dataclass(frozen=True)
class EDPConfig:
    """Settings of `EDP`; the defaults are the official ones with TD3's update on locomotion."""

    eta: float | int = 2.0
    """greed: multiplies -Q/mean|Q| against the denoising loss ("alpha" in the official code)"""
    policy: BehaviourConfig = BehaviourConfig(
        Discrete(linear_betas(1000)), network=MLPDenoiser, lr=3e-4, anneal=False, max_norm=9.0
    )
    """the diffusion model that is the policy; gradients are cut to 1 to 10 by task"""
    critic: DoubleQConfig | KnownQ = DoubleQConfig(
        max_norm=9.0, network=partial(Critics, depth=3, activation=Mish)
    )
    """twin critics"""
    sample_steps: int = 8
    """noise levels of Heun's rule, of two evaluations each but the last: 15 in all, as many as the
    official DPM-solver has"""
    target_rate: float | int = 0.005
    """share of the policy's weights that its slow copy takes at once"""
    target_every: int = 5
    """steps from one time to the next"""
    target_start: int = 1000
    """steps before which the slow copy stays as it began"""
    candidates: int = 50
    """actions per state of which `act` draws one by softmax(Q); 1 acts by the policy alone"""
    steps: int = 2_000_000
    """steps of critic and policy together"""
    batch_size: int = 256
    """rows per step"""

    def __post_init__(self) -> None:
        for name in ("sample_steps", "target_every", "candidates"):
            check_count(name, getattr(self, name))
        check_not_negative("eta", self.eta)
        check_between("target_rate", self.target_rate)
        check_count("target_start", self.target_start, 0)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)
        check_kind("policy", self.policy, BehaviourConfig)


PAPER = EDPConfig()
# Eight levels of Heun's rule are too few for the narrow corners: 20 % of a clone lies between them,
# 6 % with fifteen.
PLANE = EDPConfig(
    eta=3.0,
    policy=BehaviourConfig(VP(), max_norm=1.0),
    critic=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True)),
    sample_steps=15,
    target_start=0,
    candidates=20,
    steps=1000,
)
# Diffusion-QL's table, of which the official code takes the greatest length of gradients alone.
LENGTHS = {
    ("halfcheetah", "medium"): 9.0,
    ("hopper", "medium"): 9.0,
    ("walker2d", "medium"): 1.0,
    ("halfcheetah", "medium-replay"): 2.0,
    ("hopper", "medium-replay"): 4.0,
    ("walker2d", "medium-replay"): 4.0,
    ("halfcheetah", "medium-expert"): 7.0,
    ("hopper", "medium-expert"): 5.0,
    ("walker2d", "medium-expert"): 5.0,
    ("umaze", ""): 2.0,
    ("umaze", "diverse"): 3.0,
    ("medium", "play"): 2.0,
    ("medium", "diverse"): 1.0,
    ("large", "play"): 10.0,
    ("large", "diverse"): 7.0,
    ("pen", "human"): 7.0,
    ("pen", "cloned"): 8.0,
    ("kitchen", "complete"): 9.0,
    ("kitchen", "partial"): 10.0,
    ("kitchen", "mixed"): 10.0,
}


def paper(name: str) -> Recipe:
    """Settings for a data set: how far gradients are cut, and CQL's rewards on AntMaze.

    The official code maps the rewards of Adroit and of the kitchen to [-1, 1]; here they are raw.
    """
    family, *where = task(name)
    length = LENGTHS.get((where[0], where[1]), 9.0)
    config = replace(
        PAPER,
        policy=replace(PAPER.policy, max_norm=length),
        critic=DoubleQConfig(max_norm=length, network=partial(Critics, depth=3, activation=Mish)),
    )
    return Recipe(config, "cql_antmaze" if family == "antmaze" else "raw")


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper, "official": paper}


class EDP:
    """Denoises the data's actions and climbs Q with what one look at a noisy one predicts.

    Second tier here: for the plane and short runs.
    """

    def __init__(
        self,
        config: EDPConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        size = obs_dim, act_dim, config.steps, seed, device
        self.critic, self.policy = config.critic.build(*size), config.policy.build(*size)
        self.slow = copy.deepcopy(self.policy.net).requires_grad_(False)
        self.schedule = config.policy.schedule
        self.counter = Counter()
        self.coin = named_generator("coin", seed)
        self.noise = named_generator("next", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "policy": critic and policy together."""
        config = self.config
        return (Stage("policy", config.steps, config.batch_size, self.joint_step),)

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of the critics, one of the policy, and the slow copy follows."""
        config = self.config
        critic = self.critic.step(batch, self.next_value(batch))
        policy = self.policy_step(batch)
        count = self.counter.tick()
        if count > config.target_start and count % config.target_every == 0:
            ema_update(self.slow, self.policy.net, config.target_rate)
        return {**critic, **policy}

    def next_value(self, batch: Batch) -> Float[Tensor, " B"]:
        """Least slow Q of the slow policy's next actions; 0 if all rows end."""
        if bool(batch.done.all()):
            return torch.zeros_like(batch.rew)
        acts = self.draw(self.slow, batch.next_obs, self.noise)
        with torch.no_grad():
            return self.critic.target(batch.next_obs, acts).amin(0)

    def predicted(
        self,
        batch: Batch,
        t: Shaped[Tensor, " B"],
        eps: Float[Tensor, "B A"],
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
        """Actions (x_t - sigma eps_hat)/alpha within the limit, and the denoising loss (Eq. 9).

        One evaluation serves both, and gradients flow through it alone.
        """
        x_t = perturb(self.schedule, batch.act, t, eps)
        eps_hat = at(self.policy.net, batch.obs)(x_t, t)
        act = x0_from_eps(self.schedule, x_t, t, eps_hat).clamp(-self.act_limit, self.act_limit)
        weight = unit_weight(self.schedule, t)
        clone = denoising_loss(lambda x, t: eps_hat, self.schedule, batch.act, t, eps, weight)
        return act, clone

    def policy_step(self, batch: Batch) -> Metrics:
        """One step down the denoising loss - eta Q_i/mean|Q_i| of the predicted actions.

        A coin decides which critic i is.
        """
        act, clone = self.predicted(batch, *self.policy.noise.take(len(batch.act)))
        heads = self.critic.online(batch.obs, act)
        q = heads[int(torch.randint(len(heads), (), generator=self.coin))]
        loss = clone.mean() / self.act_dim - self.config.eta / mean_size(q) * q.mean()
        self.policy.learner.step(loss)
        return {
            "policy_loss": loss.detach(),
            "clone": clone.detach().mean(),
            "q": q.detach().mean(),
        }

    def draw(
        self, net: nn.Module, obs: Float[Tensor, "B S"], generator: torch.Generator
    ) -> Float[Tensor, "B A"]:
        """Actions from a network's reverse flow in `sample_steps` levels, without a graph."""
        noise = initial_noise(self.schedule, len(obs), self.act_dim, generator)
        times = time_grid(self.schedule, self.config.sample_steps).to(noise.device)
        act = draw(heun(at(net, obs), self.schedule, noise, times))
        return act.clamp(-self.act_limit, self.act_limit)

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """One of `candidates` actions of the policy, drawn by the softmax of the least slow Q."""
        check_obs(obs, self.obs_dim)
        count = self.config.candidates
        acts = self.draw(self.policy.net, obs.repeat(count, 1), self.chance)
        acts = acts.unflatten(0, (count, len(obs)))
        if count == 1:
            return acts[0]
        with torch.no_grad():
            return softmax_of(acts, self.critic.target(obs, acts).amin(0), self.chance)

    explore = act
