"""SDAC: an online diffusion policy exp(Q/lambda), learned from values of Q alone (ICML 2025).

Noisy actions come first; clean ones are drawn backwards from them and weighted by exp(Q/lambda).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.checks import (
    check_between,
    check_kind,
    check_not_negative,
    check_obs,
    check_space,
)
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.nets import (
    Critics,
    Learner,
    Mish,
    MLPDenoiser,
    PlaneDenoiser,
    at,
    ema_update,
    seeded,
)
from diffteach.objectives import (
    reverse_sampling_target,
    rssm_loss,
    self_weight,
    standardised_weight,
)
from diffteach.sampling import best_of, initial_noise, sample
from diffteach.schedule import VP, Discrete, check_count, check_positive, perturb, relax_betas
from diffteach.seeds import named_seed
from diffteach.train import Counter, named_generator, normal
from diffteach.types import Batch, Metrics, QFunction, Recipe, Stage


def entropy_excess(log_alpha: Float[Tensor, ""], act_dim: int) -> Float[Tensor, ""]:
    """Entropy of the noise 0.1 alpha eps above the wanted -0.9 act_dim: what log alpha descends.

    Neither Q nor the policy enters: alpha falls to exp(-0.9)/(0.1 sqrt(2 pi e)) = 0.98378 on a
    schedule of its own (official code; Eq. 18 says adaptive).
    """
    unit = 0.5 * math.log(2 * math.pi * math.e) + math.log(0.1) + 0.9
    return act_dim * (unit + log_alpha)


def linear_decay(step: int, first: int = 25_000, last: int = 75_000, end: float = 0.1) -> float:
    """Factor of the actor's rate: 1 until `first` of its own steps, `end` from `last` on."""
    return 1 - (1 - end) * min(max((step - first) / (last - first), 0.0), 1.0)


@dataclass(frozen=True)
class SDACConfig:
    """Settings of `SDAC`: the paper's, and the official code's for what the paper leaves open."""

    temperature: float | int = 1.0
    """lambda of exp(Q/lambda) at the start, Q of scaled rewards; alpha/alpha_start multiplies it"""
    particles: int = 1
    """clean actions drawn per noisy one, K (paper 1, official code 64)"""
    row_weight: Callable[[Tensor, Tensor], Tensor] = standardised_weight
    """weight of a noisy action, of log mean exp(Q/lambda) (B,) and lambda: standardised_weight
    (paper), mean_one_weight (for one state) or self_weight (official code), which needs K > 1"""
    clamp_drawn: bool = True
    """drawn actions are clamped to the box before Q sees them, the noise that led there is not:
    Q counts as constant beyond the box (official code)"""
    reward_scale: float | int = 0.2
    """multiplies rewards (official code)"""
    candidates: int = 32
    """flows per action, of which the best by the least online Q is kept, in acting, in targets and
    for the noisy actions (official code; the paper calls it efficient behaviour policy)"""
    noise_scale: float | int = 0.1
    """noise of explored actions and of those in targets: noise_scale alpha act_limit eps; only
    `explore` clamps the sum, as the official environments do"""
    alpha_start: float | int = 5.0
    """first alpha"""
    alpha_lr: float | int = 7e-3
    """Adam's rate on log alpha; 0 keeps alpha"""
    alpha_every: int = 250
    """steps from one change of alpha to the next"""
    schedule: Discrete | VP = Discrete(relax_betas(20))
    """noise levels of the policy"""
    start_std: float | int = 0.5
    """spread of the noise from which flows start (official code; 1 belongs to the last level)"""
    network: Callable[..., nn.Module] = MLPDenoiser
    """called as network(obs_dim, act_dim, schedule, data_scale)"""
    data_scale: float | int = 0.5
    """root mean square of the action coordinates, for networks that ask"""
    critic: DoubleQConfig | KnownQ = DoubleQConfig(
        target_every=2, network=partial(Critics, depth=3, activation=Mish)
    )
    """the Q networks"""
    lr: float | int = 3e-4
    """Adam's first learning rate of the policy"""
    rate: Callable[[int], float] = linear_decay
    """factor of that rate as a function of the policy's own steps"""
    delay: int = 2
    """steps of the critic per step of the policy"""
    target_rate: float | int = 0.005
    """share of the policy that its slow copy takes at each step; the slow copy acts"""
    sample_steps: int = 20
    """levels that a flow visits on VP; a discrete chain visits its own"""
    steps: int = 200_000
    """steps of the critic"""
    batch_size: int = 256
    """rows per step"""

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_positive("alpha_start", self.alpha_start)
        check_positive("data_scale", self.data_scale)
        for name in ("noise_scale", "alpha_lr", "start_std", "reward_scale"):
            check_not_negative(name, getattr(self, name))
        check_between("target_rate", self.target_rate)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)
        for name in ("particles", "candidates", "delay", "alpha_every", "sample_steps"):
            check_count(name, getattr(self, name))
        if self.particles == 1 and self.row_weight is self_weight:
            raise ValueError(
                "row_weight self_weight needs at least two particles: with one, its softmax is 1 "
                "whatever Q says and the policy learns pure noise; take standardised_weight"
            )


PAPER = SDACConfig()
OFFICIAL = replace(PAPER, particles=64, row_weight=self_weight)
PLANE = replace(
    OFFICIAL,
    reward_scale=1.0,
    candidates=1,
    noise_scale=0.0,
    alpha_lr=0.0,
    start_std=1.0,
    network=PlaneDenoiser,
    critic=DoubleQConfig(
        lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True), target_every=2
    ),
    lr=3e-3,
    rate=partial(linear_decay, first=0, last=500),
    target_rate=0.02,
    steps=1000,
)


def recipe(config: SDACConfig, name: str) -> Recipe:
    """The same settings everywhere; it learns from data, too, though it is made to act."""
    return Recipe(config, episodes=20)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {
    "paper": partial(recipe, PAPER),
    "official": partial(recipe, OFFICIAL),
}


class SDAC:
    """Critic and diffusion policy trained together; no gradient of Q is ever taken."""

    def __init__(
        self,
        config: SDACConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        self.schedule = config.schedule
        self.critic = config.critic.build(obs_dim, act_dim, config.steps, seed, device)
        with seeded(named_seed("policy", seed)):
            net = config.network(obs_dim, act_dim, config.schedule, config.data_scale)
        self.net = net.to(device)
        self.slow = copy.deepcopy(self.net).requires_grad_(False)
        self.learner = Learner(self.net.parameters(), config.lr, config.rate)
        log_alpha = torch.tensor(math.log(config.alpha_start), device=device)
        self.heat = nn.ParameterDict({"log_alpha": nn.Parameter(log_alpha)})
        self.cooler = Learner(self.heat.parameters(), config.alpha_lr)
        self.counter = Counter()
        self.noise = named_generator("training", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "policy"."""
        return (Stage("policy", self.config.steps, self.config.batch_size, self.joint_step),)

    @property
    def alpha(self) -> Tensor:
        """Scale of noise and temperature."""
        return self.heat["log_alpha"].detach().exp()

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of the critic, and of policy and alpha whenever it is their turn."""
        config, count = self.config, self.counter.tick()
        metrics = {**self.critic_step(batch), "alpha": self.alpha}
        if count % config.delay == 0:
            metrics |= self.policy_step(batch.obs)
            ema_update(self.slow, self.net, config.target_rate)
        if count % config.alpha_every == 0:
            self.cool()
        return metrics

    def cool(self) -> None:
        """One step of log alpha down its excess entropy."""
        log_alpha = self.heat["log_alpha"]
        self.cooler.step(log_alpha * entropy_excess(log_alpha.detach(), self.act_dim))

    def critic_step(self, batch: Batch) -> Metrics:
        """One step on r + discount Q(noisy best action); no entropy in it, unlike Eq. 2."""
        if isinstance(self.critic, KnownQ):
            return {}  # nothing to learn, so no action has to be drawn for it
        act = self.noisy(self.draw(self.net, batch.next_obs, self.noise), self.noise)
        with torch.no_grad():
            next_value = self.critic.target(batch.next_obs, act).amin(0)
        scaled = batch._replace(rew=self.config.reward_scale * batch.rew)
        return self.critic.step(scaled, next_value)

    def policy_step(self, obs: Float[Tensor, "B S"]) -> Metrics:
        """One step of reverse sampling score matching at noised actions of the policy (Eq. 15)."""
        config, schedule, n = self.config, self.schedule, len(obs)
        act = self.noisy(self.draw(self.net, obs, self.noise), self.noise)
        t = schedule.sample_time(n, self.noise)
        x_t = perturb(schedule, act, t, normal((n, self.act_dim), self.noise))
        eps = normal((config.particles, n, self.act_dim), self.noise)
        temperature = config.temperature * self.alpha / config.alpha_start
        q = self.value(obs)
        target, log_weight = reverse_sampling_target(q, schedule, x_t, t, eps, temperature)
        weight = config.row_weight(log_weight, temperature)
        loss = rssm_loss(at(self.net, obs), x_t, t, target, weight).mean()
        self.learner.step(loss)
        return {"policy_loss": loss.detach(), "q": log_weight.mean() * temperature}

    def value(self, obs: Float[Tensor, "B S"]) -> QFunction:
        """The least online Q, of actions clamped to the box if `clamp_drawn` says so."""

        def q(act: Tensor) -> Tensor:
            limit = self.act_limit if self.config.clamp_drawn else math.inf
            return self.critic.online(obs, act.clamp(-limit, limit)).amin(0)

        return q

    def draw(
        self, net: nn.Module, obs: Float[Tensor, "B S"], generator: torch.Generator
    ) -> Float[Tensor, "B A"]:
        """The best by online Q of `candidates` flows within the box."""
        config, count = self.config, self.config.candidates
        wide = obs.repeat(count, 1)
        noise = initial_noise(self.schedule, len(wide), self.act_dim, generator)
        denoise, steps = at(net, wide), config.sample_steps
        acts = sample(
            denoise, self.schedule, config.start_std * noise, steps, generator, self.act_limit
        ).unflatten(0, (count, len(obs)))
        if count == 1:
            return acts[0]
        with torch.no_grad():
            return best_of(acts, self.critic.online(obs, acts).amin(0))

    def noisy(self, act: Float[Tensor, "B A"], generator: torch.Generator) -> Float[Tensor, "B A"]:
        """Actions with exploration noise, which may leave the box."""
        scale = self.config.noise_scale * self.act_limit * self.alpha
        return act + scale * normal(tuple(act.shape), generator)

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Best of `candidates` of the slow policy, without noise."""
        check_obs(obs, self.obs_dim)
        return self.draw(self.slow, obs, self.chance)

    def explore(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """`act` with noise, clamped to the box."""
        noisy = self.noisy(self.act(obs), self.chance)
        return noisy.clamp(-self.act_limit, self.act_limit)
