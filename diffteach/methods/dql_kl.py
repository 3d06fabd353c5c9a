"""DQL-KL: an implicit policy pulled to a diffusion behaviour by a reverse KL (DTQL's baseline).

The KL of Diff-Instruct, VSD and DMD: a second diffusion model, the fake score, follows the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from diffteach.behaviour import Behaviour, BehaviourConfig, KnownBehaviour
from diffteach.checks import check_kind, check_not_negative, check_obs, check_space
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ, softmax_choice
from diffteach.data.names import task
from diffteach.nets import (
    Critics,
    DTQLDenoiser,
    ImplicitPolicy,
    Learner,
    Mish,
    Policy,
    Value,
    dtql_critics,
    ema_update,
    seeded,
)
from diffteach.objectives import (
    dmd_grad,
    edm_weight,
    kl_weight,
    score_regularization_grad,
    unit_weight,
    vsd_grad,
)
from diffteach.schedule import EDM, check_count
from diffteach.seeds import named_seed
from diffteach.tables import DTQL_TASKS, at_task, episodes
from diffteach.train import Counter, named_generator, noise_stream, normal
from diffteach.types import Batch, Denoise, Metrics, Recipe, Schedule, Stage


def kl_pull(
    real: Denoise,
    fake: Denoise,
    schedule: Schedule,
    act: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "B A"],
) -> Float[Tensor, "B A"]:
    """2 alpha/sigma (eps_real - eps_fake): descends 2 E_t KL(pi_t || mu_t) (DTQL Eq. 8).

    Averaged over A and at DTQL's noise levels it is on the trust region's scale: equal to it for a
    policy of one action, and otherwise without its penalty on the policy's spread.
    """
    return vsd_grad(real, fake, schedule, act, t, eps, 2 * kl_weight(schedule, t))


def spreadless_pull(
    real: Denoise,
    fake: Denoise,
    schedule: Schedule,
    act: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "B A"],
) -> Float[Tensor, "B A"]:
    """2 alpha/sigma (eps_real - eps), SRPO's pull: without the fake score no entropy is kept."""
    return score_regularization_grad(real, schedule, act, t, eps, 2 * kl_weight(schedule, t))


SCORE = BehaviourConfig(EDM(), weight=edm_weight, network=DTQLDenoiser, lr=3e-4, anneal=False)
CLIPPED = replace(SCORE, limit=1.0)


@dataclass(frozen=True)
class DQLKLConfig:
    """Settings of `DQLKL`; the defaults are those of hopper-medium without its rate decay."""

    alpha: float | int = 5.0
    """multiplies the KL against Q (Eq. 8): larger stays closer to the data"""
    pull: Callable[..., Tensor] = kl_pull
    """the KL's gradient on the action, a function of (real, fake, schedule, act, t, eps): kl_pull
    (paper), dmd_grad (official code) or spreadless_pull (SRPO's, without entropy)"""
    behaviour: BehaviourConfig | KnownBehaviour = SCORE
    """the diffusion model of the data, with the weight of DTQL's (Eq. 3)"""
    fake: BehaviourConfig | KnownBehaviour = SCORE
    """the diffusion model of the policy's actions, the fake score; same schedule"""
    critic: ExpectileConfig | KnownQ = ExpectileConfig(
        q=DoubleQConfig(network=dtql_critics),
        value=partial(Value, depth=3, activation=Mish),
        value_on_target=False,
    )
    """IQL's critic with V on the online Q, as for DTQL"""
    policy: Callable[..., Policy] = ImplicitPolicy
    """called as policy(obs_dim, act_dim, act_limit)"""
    lr: float | int = 3e-4
    """Adam's learning rate of the policy"""
    anneal: bool = False
    """a cosine takes the policy's rate to 0 over all steps"""
    pretrain_steps: int = 50_000
    """steps of critic and behaviour before the policy joins; their cosines count these too and the
    slow critics follow, whereas the official code's begin with the policy"""
    inherit: bool = True
    """fake score and implicit policy start from the behaviour that pretraining made; a policy of
    another kind, a known behaviour and a run without pretraining have nothing to take over"""
    steps: int = 1_000_000
    """steps of all together"""
    batch_size: int = 256
    """rows per step"""
    candidates: int = 1024
    """actions per state of which `act` draws one by softmax(Q); 1 acts by the policy alone"""

    def __post_init__(self) -> None:
        check_count("candidates", self.candidates)
        check_not_negative("alpha", self.alpha)
        check_kind("behaviour", self.behaviour, BehaviourConfig, KnownBehaviour)
        check_kind("fake", self.fake, BehaviourConfig, KnownBehaviour)
        check_kind("critic", self.critic, ExpectileConfig, KnownQ)
        if self.fake.schedule != self.behaviour.schedule:
            raise ValueError(
                f"fake must have the behaviour's schedule {self.behaviour.schedule}, "
                f"got {self.fake.schedule}"
            )


PAPER = DQLKLConfig()
OFFICIAL = replace(PAPER, pull=dmd_grad, behaviour=CLIPPED, fake=CLIPPED)
# Weights as on DTQL's plane.
PLANE = DQLKLConfig(
    alpha=1.0,
    behaviour=BehaviourConfig(EDM(), weight=unit_weight),
    fake=BehaviourConfig(EDM(), weight=unit_weight, lr=3e-3, anneal=False),
    critic=ExpectileConfig(
        q=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True)),
        value_on_target=False,
    ),
    policy=partial(ImplicitPolicy, width=128),
    lr=1e-3,
    anneal=True,
    pretrain_steps=0,
    steps=2000,
    batch_size=256,
    candidates=1,
)


def recipe(config: DQLKLConfig, name: str) -> Recipe:
    """Settings for a data set by DTQL's table, as in the official code."""
    where = task(name)
    if row := DTQL_TASKS.get(where):
        config = at_task(config, row, ("behaviour", "fake"))
    reward = "iql_antmaze" if where.family == "antmaze" else "raw"
    return Recipe(config, reward, episodes=episodes(where.family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {
    "paper": partial(recipe, PAPER),
    "official": partial(recipe, OFFICIAL),
}


def check_heir(name: str, heir: nn.Module, source: nn.Module) -> None:
    """ValueError unless both have the same weights by name and shape, and the same data_scale."""
    theirs, ours = (
        {k: tuple(p.shape) for k, p in net.named_parameters()}
        | {"data_scale": getattr(net, "data_scale", None)}
        for net in (source, heir)
    )
    for key in {**theirs, **ours}:
        if theirs.get(key) != ours.get(key):
            raise ValueError(
                f"{name} must be like the behaviour to start from it: {key} is {ours.get(key)}, "
                f"needed is {theirs.get(key)}; inherit=False starts afresh"
            )


class DQLKL:
    """Critic, behaviour, policy and fake score trained together; no reverse process is ever run."""

    def __init__(
        self,
        config: DQLKLConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        size, steps = (obs_dim, act_dim), config.pretrain_steps + config.steps
        self.critic = config.critic.build(*size, steps, seed, device)
        self.behaviour = config.behaviour.build(*size, steps, seed, device)
        self.fake = config.fake.build(*size, config.steps, named_seed("fake", seed), device)
        with seeded(named_seed("policy", seed)):
            self.policy = config.policy(obs_dim, act_dim, act_limit).to(device)
        anneal = config.steps if config.anneal else None
        self.learner = Learner(self.policy.parameters(), config.lr, anneal)
        self.schedule = config.behaviour.schedule
        self.noise = noise_stream(
            self.schedule.sample_time, act_dim, "policy", seed, device, noises=2
        )
        self.chance = named_generator("act", seed, device)
        self.counter = Counter()
        for name, heir, source in self.heirs():
            check_heir(name, heir, source)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "pretrain", critic and behaviour, then "policy", all four."""
        config = self.config
        return (
            Stage("pretrain", config.pretrain_steps, config.batch_size, self.pretrain_step),
            Stage("policy", config.steps, config.batch_size, self.joint_step),
        )

    def heirs(self) -> list[tuple[str, nn.Module, nn.Module]]:
        """What becomes a copy of the behaviour, with its name and the part that it copies.

        The official policy takes DTQL's body without its preconditioning, so it does not start as
        a denoiser.
        """
        config, behaviour, fake = self.config, self.behaviour, self.fake
        if not (config.inherit and config.pretrain_steps and isinstance(behaviour, Behaviour)):
            return []
        found: list[tuple[str, nn.Module, nn.Module]] = []
        if isinstance(fake, Behaviour):
            found.append(("fake", fake.net, behaviour.net))
        if isinstance(self.policy, ImplicitPolicy):
            body = getattr(behaviour.net, "body", behaviour.net)
            found.append(("policy", self.policy.body, body))
        return found

    def pretrain_step(self, batch: Batch) -> Metrics:
        """One step of the critic and one of the behaviour; the last makes the heirs its copies."""
        metrics = {**self.critic.step(batch), **self.behaviour.step(batch)}
        if self.counter.tick() == self.config.pretrain_steps:
            for _, heir, source in self.heirs():
                ema_update(heir, source, 1)
        return metrics

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of critic, behaviour, policy and fake score, in the official order.

        The fake score learns from the very actions by which the policy learned.
        """
        t, eps, latent = self.noise.take(len(batch.obs))
        act = self.policy.draw(batch.obs, latent)
        metrics = {**self.critic.step(batch), **self.behaviour.step(batch)}
        metrics |= self.policy_step(batch.obs, act, t, eps)
        fake = self.fake.step(batch._replace(act=act.detach()))
        return {**metrics, **{f"fake_{name}": value for name, value in fake.items()}}

    def policy_step(
        self,
        obs: Float[Tensor, "B S"],
        act: Float[Tensor, "B A"],
        t: Shaped[Tensor, " B"],
        eps: Float[Tensor, "B A"],
    ) -> Metrics:
        """One step down alpha KL - min Q at the policy's actions; the KL is known by its gradient
        alone."""
        real, fake = self.behaviour.denoise(obs), self.fake.denoise(obs)
        pull = self.config.pull(real, fake, self.schedule, act.detach(), t, eps)
        q = self.critic.online(obs, act).amin(0).mean()
        self.learner.step(self.config.alpha * (pull * act).mean(-1).mean() - q)
        return {"q": q.detach(), "pull": pull.square().sum(-1).mean().sqrt()}

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """One of `candidates` actions of the policy, drawn by the softmax of the least slow Q.

        Clamped to act_limit: nothing keeps a generator's points inside the box.
        """
        check_obs(obs, self.obs_dim)
        noise = normal((self.config.candidates, len(obs), self.act_dim), self.chance)
        with torch.no_grad():
            acts = self.policy.draw(obs, noise).clamp(-self.act_limit, self.act_limit)
        return softmax_choice(self.critic, obs, acts, self.chance)

    explore = act
