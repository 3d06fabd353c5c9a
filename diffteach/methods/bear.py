"""BEAR: Q under a bound on the MMD between policy and behaviour (NeurIPS 2019)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.behaviour import VAEConfig
from diffteach.checks import (
    check_between,
    check_kind,
    check_not_negative,
    check_obs,
    check_space,
)
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.data.names import task
from diffteach.nets import (
    CVAE,
    Critics,
    Learner,
    Mish,
    Policy,
    TanhGaussianPolicy,
    ema_update,
    seeded,
)
from diffteach.objectives import mmd, soft_clipped
from diffteach.sampling import best_of
from diffteach.schedule import check_count, check_positive
from diffteach.seeds import named_seed
from diffteach.tables import episodes
from diffteach.train import named_generator, normal
from diffteach.types import Batch, Metrics, Recipe, Stage


@dataclass(frozen=True)
class BEARConfig:
    """Settings of `BEAR`; the defaults are the paper's and its code's, without the ensemble's
    variance.
    """

    behaviour: VAEConfig = VAEConfig()
    """the model whose samples the policy has to match"""
    policy: Callable[..., Policy] = partial(TanhGaussianPolicy, width=400, depth=2)
    """called as policy(obs_dim, act_dim, act_limit)"""
    critic: DoubleQConfig | KnownQ = DoubleQConfig(lr=1e-3, network=partial(Critics, width=400))
    """twin critics of two layers; the code's have 400 and 300 units"""
    threshold: float | int = 0.05
    """greatest MMD that costs nothing (Eq. 1, epsilon)"""
    width: float | int = 20.0
    """the kernel is exp(-|u - v|_1/(2 width)) on actions before squashing; 10 or 20 in MuJoCo"""
    matches: int = 10
    """samples per state in the MMD"""
    cut: float | int = 0.5
    """the policy's noise is clamped to this in the MMD and in its Q (official code)"""
    least: float | int = 0.75
    """weight of the smaller critic in the target, the greater has the rest"""
    backups: int = 10
    """next actions per state, of which the best counts"""
    candidates: int = 10
    """actions per state of which `act` takes the best by the first critic; 1 ignores Q"""
    lr: float | int = 1e-3
    """Adam's learning rate of the policy"""
    dual_lr: float | int = 1e-3
    """Adam's learning rate of the multiplier's logarithm, which stays in [-5, 10]"""
    target_rate: float | int = 0.005
    """share of the policy's weights that its slow copy takes at each step"""
    match_steps: int = 20_000
    """first steps, in which the policy does nothing but match (official code)"""
    steps: int = 1_000_000
    """steps of all networks together after these"""
    batch_size: int = 100
    """rows per step"""

    def __post_init__(self) -> None:
        check_positive("width", self.width)
        check_positive("cut", self.cut)
        for name in ("matches", "backups", "candidates"):
            check_count(name, getattr(self, name))
        check_not_negative("threshold", self.threshold)
        check_between("least", self.least)
        check_between("target_rate", self.target_rate)
        check_kind("behaviour", self.behaviour, VAEConfig)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)


PAPER = BEARConfig()
PLANE = BEARConfig(
    behaviour=VAEConfig(partial(CVAE, width=128), lr=3e-3),
    policy=partial(TanhGaussianPolicy, width=64, depth=2),
    critic=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True)),
    backups=2,
    candidates=1,
    lr=3e-3,
    dual_lr=1e-2,
    match_steps=200,
    steps=800,
    batch_size=64,
)


def paper(name: str) -> Recipe:
    """The same settings on every data set, rewards as recorded."""
    return Recipe(PAPER, episodes=episodes(task(name).family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper}


class BEAR:
    """A Gaussian policy that may leave the behaviour's density but not its samples' neighbourhood.

    The multiplier of the constraint is learned by dual ascent.
    """

    def __init__(
        self,
        config: BEARConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        total = config.match_steps + config.steps
        self.behaviour = config.behaviour.build(obs_dim, act_dim, act_limit, seed, device)
        self.critic = config.critic.build(obs_dim, act_dim, total, seed, device)
        with seeded(named_seed("policy", seed)):
            self.policy = config.policy(obs_dim, act_dim, act_limit).to(device)
        if not isinstance(self.policy, TanhGaussianPolicy):
            name = type(self.policy).__name__
            raise TypeError(
                f"policy must be a TanhGaussianPolicy, whose noise the MMD needs, got {name}"
            )
        self.slow = copy.deepcopy(self.policy).requires_grad_(False)
        self.learner = Learner(self.policy.parameters(), config.lr)
        self.log_multiplier = nn.ParameterList([torch.zeros((), device=device)])
        self.dual_learner = Learner(self.log_multiplier.parameters(), config.dual_lr)
        self.noise = named_generator("matches", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "match", the policy without Q, then "policy"; VAE and critics learn in both."""
        config = self.config
        return (
            Stage("match", config.match_steps, config.batch_size, self.match_step),
            Stage("policy", config.steps, config.batch_size, self.joint_step),
        )

    def match_step(self, batch: Batch) -> Metrics:
        """One step of VAE and critics, and one of the policy towards the VAE's samples."""
        return self._step(batch, greed=0.0)

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of VAE and critics, and one of the policy up Q under the constraint."""
        return self._step(batch, greed=1.0)

    def _step(self, batch: Batch, greed: float) -> Metrics:
        vae = self.behaviour.step(batch)
        critic = self.critic.step(batch, self.next_value(batch))
        return {**vae, **critic, **self.policy_step(batch, greed)}

    def next_value(self, batch: Batch) -> Float[Tensor, " B"]:
        """Best soft-clipped slow Q among next actions of the slow policy."""
        obs = batch.next_obs
        noise = normal((self.config.backups, len(obs), self.act_dim), self.noise)
        with torch.no_grad():
            heads = self.critic.target(obs, self.slow.draw(obs, noise))
            return soft_clipped(heads, self.config.least).amax(0)

    def policy_step(self, batch: Batch, greed: float | int = 1.0) -> Metrics:
        """One step down multiplier * MMD - greed * Q, and one of the multiplier up the violation.

        Q is the least of the critics' means over the samples.
        """
        config, size = self.config, (self.config.matches, len(batch.obs))
        mean, log_std = self.policy(batch.obs)
        noise = normal((*size, self.act_dim), self.noise).clamp(-config.cut, config.cut)
        u = mean + log_std.exp() * noise
        rows = batch.obs.repeat(config.matches, 1)
        with torch.no_grad():
            latent = self.behaviour.latent(len(rows), self.noise)
            v = self.behaviour.net.raw(rows, latent).unflatten(0, size)
        distance = mmd(v, u, config.width).mean()
        heads = self.critic.online(batch.obs, self.act_limit * u.tanh())
        q = heads.mean(1).amin(0).mean()
        (log_multiplier,) = self.log_multiplier
        self.learner.step(log_multiplier.detach().exp() * distance - greed * q)
        self.dual_learner.step(log_multiplier.exp() * (config.threshold - distance.detach()))
        with torch.no_grad():
            log_multiplier.clamp_(-5, 10)
        ema_update(self.slow, self.policy, config.target_rate)
        return {
            "mmd": distance.detach(),
            "q": q.detach(),
            "multiplier": log_multiplier.detach().exp(),
        }

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """The best of `candidates` actions of the policy by the first critic."""
        check_obs(obs, self.obs_dim)
        noise = normal((self.config.candidates, len(obs), self.act_dim), self.chance)
        with torch.no_grad():
            acts = self.policy.draw(obs, noise)
            return best_of(acts, self.critic.online(obs, acts)[0])

    explore = act
