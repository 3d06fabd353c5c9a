"""Learning values: the two kinds of critic that the methods share, and a known one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.checks import check_between, check_kind, check_limit
from diffteach.nets import Critics, Learner, Value, ema_update, seeded
from diffteach.objectives import expectile_loss, td_target
from diffteach.sampling import softmax_of
from diffteach.schedule import check_count
from diffteach.seeds import named_seed
from diffteach.train import Counter
from diffteach.types import Batch, Metrics, QFunction


@dataclass(frozen=True)
class DoubleQConfig:
    """Settings of `DoubleQ`: those that IQL, TD3+BC, Diffusion-QL and their heirs share."""

    discount: float | int = 0.99
    """of the next state's value"""
    lr: float | int = 3e-4
    """Adam's learning rate"""
    anneal: bool = False
    """a cosine takes the rate to 0 over all steps (DTQL's lr_decay)"""
    target_rate: float | int = 0.005
    """share of the online weights that the targets take at once"""
    target_every: int = 1
    """steps from one time to the next (TD3+BC: 2)"""
    max_norm: float | int | None = None
    """longer gradients are cut to this length (Diffusion-QL)"""
    network: Callable[..., nn.Module] = Critics
    """called as network(obs_dim, act_dim); (obs (B, S), act (*M, B, A)) -> (E, *M, B)"""

    def __post_init__(self) -> None:
        check_count("target_every", self.target_every)
        check_between("discount", self.discount)
        check_between("target_rate", self.target_rate)
        check_limit("max_norm", self.max_norm)

    def build(
        self,
        obs_dim: int,
        act_dim: int,
        steps: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> DoubleQ:
        """Critics with fresh weights, to be trained for `steps` steps."""
        return DoubleQ(self, obs_dim, act_dim, steps, seed, device)


class DoubleQ:
    """Critics that regress on r + discount (1 - done) V(s'), and their slow copies."""

    def __init__(
        self,
        config: DoubleQConfig,
        obs_dim: int,
        act_dim: int,
        steps: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        with seeded(named_seed("critic", seed)):
            self.net = config.network(obs_dim, act_dim).to(device)
            self.slow = config.network(obs_dim, act_dim).to(device).requires_grad_(False)
        self.slow.load_state_dict(self.net.state_dict())
        anneal = steps if config.anneal else None
        self.learner = Learner(self.net.parameters(), config.lr, anneal, max_norm=config.max_norm)
        self.counter = Counter()

    def online(
        self, obs: Float[Tensor, "#B S"], act: Float[Tensor, "*M B A"]
    ) -> Float[Tensor, "E *M B"]:
        """Every head's value."""
        return self.net(obs, act)

    def target(
        self, obs: Float[Tensor, "#B S"], act: Float[Tensor, "*M B A"]
    ) -> Float[Tensor, "E *M B"]:
        """Every slow head's value."""
        return self.slow(obs, act)

    def step(self, batch: Batch, next_value: Float[Tensor, " B"]) -> Metrics:
        """One regression of every head on the TD target, then the slow copies follow."""
        y = td_target(batch.rew, batch.done, next_value.detach(), self.config.discount)
        loss = (self.net(batch.obs, batch.act) - y).square().mean(-1).sum()
        self.learner.step(loss)
        if self.counter.tick() % self.config.target_every == 0:
            ema_update(self.slow, self.net, self.config.target_rate)
        return {"critic_loss": loss.detach()}


@dataclass(frozen=True)
class ExpectileConfig:
    """Settings of `ExpectileCritic`; the defaults are IQL's and SRPO's on locomotion."""

    expectile: float = 0.7
    """tau of the value loss; 0.9 on AntMaze (IQL Eq. 5)"""
    q: DoubleQConfig = DoubleQConfig()
    """the Q networks; the value is trained at their rate"""
    value: Callable[..., nn.Module] = Value
    """called as value(obs_dim)"""
    value_on_target: bool = True
    """V regresses on the slow critics (IQL, SRPO); False: on the online ones (DTQL's code)"""

    def __post_init__(self) -> None:
        check_kind("q", self.q, DoubleQConfig)
        if not 0 < self.expectile < 1:
            raise ValueError(f"expectile must lie strictly between 0 and 1, got {self.expectile}")

    def build(
        self,
        obs_dim: int,
        act_dim: int,
        steps: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> ExpectileCritic:
        """Critics and a value with fresh weights, to be trained for `steps` steps."""
        return ExpectileCritic(self, obs_dim, act_dim, steps, seed, device)


class ExpectileCritic:
    """IQL's critic: V is an expectile of Q over the data's actions, Q regresses on r + V(s').

    No action outside the data is ever evaluated (IQL Eqs. 5 and 6; SRPO Eqs. 11 and 12).
    """

    def __init__(
        self,
        config: ExpectileConfig,
        obs_dim: int,
        act_dim: int,
        steps: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.q = config.q.build(obs_dim, act_dim, steps, seed, device)
        with seeded(named_seed("value", seed)):
            self.value = config.value(obs_dim).to(device)
        anneal = steps if config.q.anneal else None
        self.learner = Learner(self.value.parameters(), config.q.lr, anneal)
        self.online, self.target = self.q.online, self.q.target

    def step(self, batch: Batch) -> Metrics:
        """One step of V, and one of Q on the V from before it."""
        with torch.no_grad():
            heads = self.target if self.config.value_on_target else self.online
            q = heads(batch.obs, batch.act).amin(0)
            next_value = self.value(batch.next_obs)
        loss = expectile_loss(q - self.value(batch.obs), self.config.expectile).mean()
        self.learner.step(loss)
        return {"value_loss": loss.detach(), **self.q.step(batch, next_value)}


@dataclass(frozen=True)
class KnownQ:
    """A Q-function known beforehand: stands wherever a critic's settings do."""

    q: QFunction
    """act (..., A) -> values (...), the same at every observation"""

    def build(
        self,
        obs_dim: int,
        act_dim: int,
        steps: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> KnownQ:
        """Itself: there is nothing to train."""
        return self

    def online(
        self, obs: Float[Tensor, "#B S"], act: Float[Tensor, "*M B A"]
    ) -> Float[Tensor, "1 *M B"]:
        """The value, as that of a single head; ValueError for a q that answers in another shape."""
        values = self.q(act)
        if values.shape != act.shape[:-1]:
            raise ValueError(
                f"q must answer actions {tuple(act.shape)} with values {tuple(act.shape[:-1])}, "
                f"got {tuple(values.shape)}"
            )
        return values.unsqueeze(0)

    target = online

    def step(self, batch: Batch, next_value: Float[Tensor, " B"] | None = None) -> Metrics:
        """Nothing to do."""
        return {}


Critic = DoubleQ | ExpectileCritic | KnownQ
"""Anything that values actions: critic.target(obs (B, S), act (*M, B, A)) -> (E, *M, B)."""


def softmax_choice(
    critic: Critic,
    obs: Float[Tensor, "B S"],
    candidates: Float[Tensor, "K B A"],
    generator: torch.Generator,
) -> Float[Tensor, "B A"]:
    """One candidate per state, drawn by the softmax over K of the least slow Q.

    How DTQL, its KL baseline and Diffusion-QL act; a single candidate is not valued at all.
    """
    if len(candidates) == 1:
        return candidates[0]
    with torch.no_grad():
        values = critic.target(obs, candidates).amin(0)
    return softmax_of(candidates, values, generator)


def mean_size(q: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Mean |Q|, by which TD3+BC and Diffusion-QL divide Q; no gradient flows through it.

    At least 1e-6: where Q is 0 at every action it would be 0/0, and a NaN in every weight.
    """
    return q.detach().abs().mean().clamp_min(1e-6)
