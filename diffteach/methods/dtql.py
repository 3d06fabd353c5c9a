"""DTQL: a one-step policy inside the trust region of a diffusion behaviour (NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.behaviour import BehaviourConfig, KnownBehaviour, schedule_of
from diffteach.checks import check_kind, check_not_negative, check_obs, check_space
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ, softmax_choice
from diffteach.data.names import task
from diffteach.nets import (
    Critics,
    DTQLDenoiser,
    Learner,
    Mish,
    PlaneDenoiser,
    Policy,
    TanhGaussianPolicy,
    Value,
    dtql_critics,
    seeded,
)
from diffteach.objectives import edm_weight, trust_region_loss, unit_weight
from diffteach.schedule import EDM, check_count
from diffteach.seeds import named_seed
from diffteach.tables import DTQL_TASKS, at_task, episodes
from diffteach.train import named_generator, noise_stream, normal
from diffteach.types import Batch, Metrics, Recipe, Stage


@dataclass(frozen=True)
class DTQLConfig:
    """Settings of `DTQL`; the defaults are those of hopper-medium without its rate decay."""

    alpha: float | int = 5.0
    """multiplies the trust region against Q (Eq. 5): larger stays closer to the data"""
    gamma: float | int = 0.0
    """multiplies -log pi of the data's actions, which the paper calls an entropy; AntMaze 1"""
    behaviour: BehaviourConfig | KnownBehaviour = BehaviourConfig(
        EDM(), weight=edm_weight, network=DTQLDenoiser, lr=3e-4, anneal=False
    )
    """the diffusion model, on EDM, with the trust region's own weight (Eq. 3); the official D4RL
    runs clamp its output: limit=1"""
    critic: ExpectileConfig | KnownQ = ExpectileConfig(
        q=DoubleQConfig(network=dtql_critics),
        value=partial(Value, depth=3, activation=Mish),
        value_on_target=False,
    )
    """IQL's critic with V on the online Q, as in the official code"""
    policy: Callable[..., Policy] = partial(TanhGaussianPolicy, edge=1 / 1.001)
    """called as policy(obs_dim, act_dim, act_limit); the official code undoes the squashing by
    atanh(a/(1 + 1e-3)), which decides how far actions at the limit pull with gamma > 0"""
    lr: float | int = 3e-4
    """Adam's learning rate of the policy"""
    anneal: bool = False
    """a cosine takes the policy's rate to 0 over all steps"""
    pretrain_steps: int = 50_000
    """steps of critic and behaviour before the policy joins; their cosines count these too and the
    slow critics follow, whereas the official code's begin with the policy"""
    steps: int = 1_000_000
    """steps of all three together"""
    batch_size: int = 256
    """rows per step"""
    candidates: int = 1024
    """actions per state of which `act` draws one by softmax(Q); 1 acts by the policy alone"""

    def __post_init__(self) -> None:
        check_count("candidates", self.candidates)
        check_not_negative("alpha", self.alpha)
        check_not_negative("gamma", self.gamma)
        check_kind("behaviour", self.behaviour, BehaviourConfig, KnownBehaviour)
        check_kind("critic", self.critic, ExpectileConfig, KnownQ)
        schedule_of("behaviour", self.behaviour, EDM, "DTQL")


PAPER = DTQLConfig()
OFFICIAL = replace(
    PAPER,
    behaviour=BehaviourConfig(
        EDM(), weight=edm_weight, network=DTQLDenoiser, lr=3e-4, anneal=False, limit=1.0
    ),
)
# On the plane every level counts alike: of the exact heights of the ridges between the modes of
# 25gaussians, 12.57 and 21.75, a behaviour trained so has 8.5 and 13.9, with edm_weight 6.6 and
# 10.5.
PLANE = DTQLConfig(
    alpha=1.0,
    behaviour=BehaviourConfig(EDM(), weight=unit_weight, network=partial(PlaneDenoiser, width=96)),
    critic=ExpectileConfig(
        q=DoubleQConfig(lr=3e-3, network=partial(Critics, width=64, activation=Mish, norm=True)),
        value=partial(Value, width=32),
        value_on_target=False,
    ),
    policy=partial(TanhGaussianPolicy, width=64, depth=2),
    lr=3e-3,
    pretrain_steps=300,  # so that no policy follows a critic which knows nothing yet
    steps=900,
    batch_size=256,
    candidates=1,
)


def recipe(config: DTQLConfig, name: str) -> Recipe:
    """Settings for a data set by the official table; paper and code share it."""
    where = task(name)
    if row := DTQL_TASKS.get(where):
        config = replace(at_task(config, row, ("behaviour",)), gamma=row.gamma)
    reward = "iql_antmaze" if where.family == "antmaze" else "raw"
    return Recipe(config, reward, episodes=episodes(where.family))


RECIPES: Mapping[str, Callable[[str], Recipe]] = {
    "paper": partial(recipe, PAPER),
    "official": partial(recipe, OFFICIAL),
}


class DTQL:
    """Critic, behaviour and policy trained together; the diffusion model is never sampled."""

    def __init__(
        self,
        config: DTQLConfig,
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
        with seeded(named_seed("policy", seed)):
            self.policy = config.policy(obs_dim, act_dim, act_limit).to(device)
        if config.gamma and not isinstance(self.policy, TanhGaussianPolicy):
            name = type(self.policy).__name__
            raise TypeError(f"gamma needs a TanhGaussianPolicy, whose density is known, got {name}")
        anneal = config.steps if config.anneal else None
        self.learner = Learner(self.policy.parameters(), config.lr, anneal)
        self.schedule = schedule_of("behaviour", config.behaviour, EDM, "DTQL")
        self.noise = noise_stream(
            self.schedule.sample_time, act_dim, "policy", seed, device, noises=2
        )
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "pretrain", critic and behaviour, then "policy", all three."""
        config = self.config
        return (
            Stage("pretrain", config.pretrain_steps, config.batch_size, self.pretrain_step),
            Stage("policy", config.steps, config.batch_size, self.joint_step),
        )

    def pretrain_step(self, batch: Batch) -> Metrics:
        """One step of the critic and one of the behaviour."""
        return {**self.critic.step(batch), **self.behaviour.step(batch)}

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of the critic, the behaviour and the policy, in the official order."""
        return {**self.pretrain_step(batch), **self.policy_step(batch)}

    def policy_step(self, batch: Batch) -> Metrics:
        """One step down alpha L_TR - min Q - gamma log pi(a_data) (Eq. 5 and the official code)."""
        config, schedule = self.config, self.schedule
        t, eps, latent = self.noise.take(len(batch.obs))
        act = self.policy.draw(batch.obs, latent)
        denoise = self.behaviour.denoise(batch.obs)
        trust = trust_region_loss(denoise, schedule, act, t, eps).mean()
        q = self.critic.online(batch.obs, act).amin(0).mean()
        loss = config.alpha * trust - q
        if isinstance(self.policy, TanhGaussianPolicy) and config.gamma:
            loss = loss - config.gamma * self.policy.log_prob(batch.obs, batch.act).mean()
        self.learner.step(loss)
        return {"policy_loss": loss.detach(), "trust_region": trust.detach(), "q": q.detach()}

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """One of `candidates` actions of the policy, drawn by the softmax of the least slow Q."""
        check_obs(obs, self.obs_dim)
        noise = normal((self.config.candidates, len(obs), self.act_dim), self.chance)
        with torch.no_grad():
            acts = self.policy.draw(obs, noise)
        return softmax_choice(self.critic, obs, acts, self.chance)

    explore = act
