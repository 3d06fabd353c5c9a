"""FQL: a flow clones the data, and a one-step policy imitates it while it climbs Q (ICML 2025)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.checks import check_kind, check_not_negative, check_obs, check_space
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.data.names import task
from diffteach.nets import Critics, Learner, Mish, StepPolicy, Velocity, seeded
from diffteach.schedule import check_count
from diffteach.seeds import named_seed
from diffteach.train import Stream, named_generator, normal
from diffteach.types import Batch, Metrics, Recipe, Stage

Field = Callable[[Tensor, Tensor], Tensor]  # x (B, A), t (B,) -> velocity (B, A)


def mean_head(heads: Float[Tensor, "E B"]) -> Float[Tensor, " B"]:
    """Mean over critics."""
    return heads.mean(0)


def least_head(heads: Float[Tensor, "E B"]) -> Float[Tensor, " B"]:
    """Least over critics."""
    return heads.amin(0)


def flow_loss(
    velocity: Field,
    act: Float[Tensor, "B A"],
    t: Float[Tensor, " B"],
    noise: Float[Tensor, "B A"],
) -> Float[Tensor, " B"]:
    """||v((1 - t) z + t a, t) - (a - z)||^2, mean over A (flow matching on straight lines)."""
    share = t.unsqueeze(-1)
    x = (1 - share) * noise + share * act
    return (velocity(x, t) - (act - noise)).square().mean(-1)


def euler(velocity: Field, noise: Float[Tensor, "B A"], steps: int) -> Float[Tensor, "B A"]:
    """Where a flow carries noise, from t = 0 to 1 in steps of Euler's rule."""
    x = noise
    for k in range(steps):
        x = x + velocity(x, torch.full_like(x[:, 0], k / steps)) / steps
    return x


@dataclass(frozen=True)
class FQLConfig:
    """Settings of `FQL`; the defaults are the official ones."""

    alpha: float | int = 10.0
    """weight of staying with the flow; 3 to 30,000 by task, and more is nearer"""
    flow_steps: int = 10
    """steps of Euler's rule through the flow"""
    network: Callable[..., nn.Module] = Velocity
    """the flow, called as network(obs_dim, act_dim); (x, t, obs) -> velocity"""
    policy: Callable[..., nn.Module] = StepPolicy
    """the one-step policy, called as policy(obs_dim, act_dim); (obs, noise) -> actions"""
    critic: DoubleQConfig | KnownQ = DoubleQConfig(
        network=partial(Critics, width=512, depth=4, activation=nn.GELU, norm=True)
    )
    """twin critics"""
    heads: Callable[[Tensor], Tensor] = mean_head
    """what the critics say of the next action, (E, B) -> (B,): mean_head; least_head on Adroit"""
    lr: float | int = 3e-4
    """Adam's learning rate of flow and policy"""
    steps: int = 1_000_000
    """steps of all networks together"""
    batch_size: int = 256
    """rows per step"""

    def __post_init__(self) -> None:
        check_not_negative("alpha", self.alpha)
        check_count("flow_steps", self.flow_steps)
        check_kind("critic", self.critic, DoubleQConfig, KnownQ)


PAPER = FQLConfig()
# With alpha = 1 the pull back to the flow's own corner leaves 58 % of the actions on the way to the
# best one; with 10 nearly all stay where the flow puts them.
PLANE = FQLConfig(
    alpha=0.2,
    network=partial(Velocity, width=128, depth=2),
    policy=partial(StepPolicy, width=64, depth=2),
    critic=DoubleQConfig(lr=3e-3, network=partial(Critics, width=128, activation=Mish, norm=True)),
    lr=3e-3,
    steps=500,
    batch_size=128,
)
ALPHAS = {
    ("antmaze", "large"): 3.0,
    ("pen", "human"): 10_000.0,
    ("pen", "cloned"): 10_000.0,
    ("pen", "expert"): 3000.0,
    ("door", "human"): 30_000.0,
    ("door", "cloned"): 30_000.0,
    ("door", "expert"): 30_000.0,
    ("hammer", "human"): 30_000.0,
    ("hammer", "cloned"): 10_000.0,
    ("hammer", "expert"): 30_000.0,
    ("relocate", "human"): 10_000.0,
    ("relocate", "cloned"): 30_000.0,
    ("relocate", "expert"): 30_000.0,
}
"""Official code, on D4RL's AntMaze and Adroit; 10 elsewhere."""


def paper(name: str) -> Recipe:
    """Settings for a data set: alpha, half the steps on D4RL, the least critic on Adroit."""
    family, env, level = task(name)
    key = (family, env) if family == "antmaze" else (env, level)
    config = replace(PAPER, alpha=ALPHAS.get(key, 10.0), steps=500_000)
    if family == "adroit":
        config = replace(config, heads=least_head)
    return Recipe(config, "iql_antmaze" if family == "antmaze" else "raw", episodes=50)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {"paper": paper, "official": paper}


class FQL:
    """The flow is never differentiated through: the policy regresses on where it carries noise.

    Second tier here: for the plane and short runs.
    """

    def __init__(
        self,
        config: FQLConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim = obs_dim
        self.critic = config.critic.build(obs_dim, act_dim, config.steps, seed, device)
        with seeded(named_seed("flow", seed)):
            self.flow = config.network(obs_dim, act_dim).to(device)
        with seeded(named_seed("policy", seed)):
            self.policy = config.policy(obs_dim, act_dim).to(device)
        self.flow_learner = Learner(self.flow.parameters(), config.lr)
        self.learner = Learner(self.policy.parameters(), config.lr)

        def rows(n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
            t = torch.rand(n, generator=generator, device=generator.device)
            return t, *(normal((n, act_dim), generator) for _ in range(3))

        self.noise = Stream(rows, "noise", seed, device)
        self.chance = named_generator("act", seed, device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One stage, "policy": critics, flow and policy together."""
        config = self.config
        return (Stage("policy", config.steps, config.batch_size, self.joint_step),)

    def joint_step(self, batch: Batch) -> Metrics:
        """One step of the critics, of the flow and of the policy."""
        t, first, second, after = self.noise.take(len(batch.act))
        with torch.no_grad():
            act = self.clamped(self.policy(batch.next_obs, after))
            value = self.config.heads(self.critic.target(batch.next_obs, act))
        critic = self.critic.step(batch, value)
        return {**critic, **self.flow_step(batch, t, first), **self.policy_step(batch, second)}

    def flow_step(
        self, batch: Batch, t: Float[Tensor, " B"], noise: Float[Tensor, "B A"]
    ) -> Metrics:
        """One step of matching the flow to the data's actions."""
        loss = flow_loss(self.field(batch.obs), batch.act, t, noise).mean()
        self.flow_learner.step(loss)
        return {"flow_loss": loss.detach()}

    def policy_step(self, batch: Batch, noise: Float[Tensor, "B A"]) -> Metrics:
        """One step down alpha times the squared distance to the flow of the same noise, minus Q.

        Q is the mean of the critics at actions within the limit.
        """
        with torch.no_grad():
            flown = self.clamped(euler(self.field(batch.obs), noise, self.config.flow_steps))
        act = self.policy(batch.obs, noise)
        distance = (act - flown).square().mean()
        q = self.critic.online(batch.obs, self.clamped(act)).mean()
        loss = self.config.alpha * distance - q
        self.learner.step(loss)
        return {"policy_loss": loss.detach(), "distance": distance.detach(), "q": q.detach()}

    def field(self, obs: Float[Tensor, "B S"]) -> Field:
        """The flow at given observations."""
        return lambda x, t: self.flow(x, t, obs)

    def clamped(self, act: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """Actions within the limit."""
        return act.clamp(-self.act_limit, self.act_limit)

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """One action of the one-step policy."""
        check_obs(obs, self.obs_dim)
        with torch.no_grad():
            return self.clamped(self.policy(obs, normal((len(obs), self.act_dim), self.chance)))

    explore = act
