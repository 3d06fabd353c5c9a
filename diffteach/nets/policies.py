"""Policies that act in one step."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffteach.nets.denoisers import DTQLBody
from diffteach.nets.layers import mlp


class DiracPolicy(nn.Module):
    """One action per observation, act_limit * tanh(mlp(obs)) (SRPO, TD3+BC)."""

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        width: int = 256,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.act_limit = act_limit
        self.body = mlp((obs_dim, *[width] * depth, act_dim), nn.ReLU)

    def forward(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        return self.act_limit * self.body(obs).tanh()

    def draw(
        self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "*K B A"]
    ) -> Float[Tensor, "*K B A"]:
        """The action, whatever the noise."""
        return self(obs).expand(noise.shape)


class TanhGaussianPolicy(nn.Module):
    """act_limit * tanh(u) with u ~ N(mean(obs), std(obs)^2); log std clamped to [-5, 2] (DTQL).

    Orthogonal weights and zero biases, as in DTQL's code. `log_prob` shrinks given actions by
    `edge`, since no u has an action at the limit; DTQL's code has 1/1.001. ValueError unless
    0 < edge < 1.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        width: int = 256,
        depth: int = 3,
        edge: float = 1 - 1e-6,
    ) -> None:
        super().__init__()
        if not 0 < edge < 1:
            raise ValueError(f"edge must lie strictly between 0 and 1, got {edge}")
        self.act_limit, self.edge = act_limit, edge
        self.body = mlp((obs_dim, *[width] * depth, 2 * act_dim), nn.ReLU)
        for module in self.body:
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self, obs: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
        """Mean and log standard deviation of u."""
        mean, log_std = self.body(obs).chunk(2, -1)
        return mean, log_std.clamp(-5, 2)

    def sample(
        self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "B A"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
        """Reparametrised actions u = mean + std * noise, squashed, and their log density."""
        mean, log_std = self(obs)
        u = mean + log_std.exp() * noise
        return self.act_limit * u.tanh(), tanh_gaussian_log_prob(u, mean, log_std, self.act_limit)

    def draw(
        self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "*K B A"]
    ) -> Float[Tensor, "*K B A"]:
        """Reparametrised actions."""
        mean, log_std = self(obs)
        return self.act_limit * (mean + log_std.exp() * noise).tanh()

    def log_prob(self, obs: Float[Tensor, "B S"], act: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """Log density of given actions, clamped to the limit and shrunk by `edge`."""
        u = (self.edge * (act / self.act_limit).clamp(-1, 1)).atanh()
        mean, log_std = self(obs)
        return tanh_gaussian_log_prob(u, mean, log_std, self.act_limit)


def tanh_gaussian_log_prob(
    u: Float[Tensor, "B A"],
    mean: Float[Tensor, "B A"],
    log_std: Float[Tensor, "B A"],
    act_limit: float | int,
) -> Float[Tensor, " B"]:
    """Log density of act_limit * tanh(u), u ~ N(mean, std^2), with the Jacobian of the squashing.

    log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)) does not underflow (SAC, App. C).
    """
    gaussian = -0.5 * ((u - mean) / log_std.exp()).square() - log_std - 0.5 * math.log(2 * math.pi)
    stretch = 2 * (math.log(2) - u - functional.softplus(-2 * u)) + math.log(act_limit)
    return (gaussian - stretch).sum(-1)


class GaussianPolicy(nn.Module):
    """N(act_limit * tanh(mlp(obs)), std^2) with one std per coordinate for all observations (IQL).

    log std starts at 0 and is clamped to [log_std_min, 2]: -20 in CORL, -5 in IQL's own code.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        width: int = 256,
        depth: int = 2,
        log_std_min: float | int = -20.0,
    ) -> None:
        super().__init__()
        self.act_limit, self.log_std_min = act_limit, log_std_min
        self.body = mlp((obs_dim, *[width] * depth, act_dim), nn.ReLU)
        self.log_std = nn.Parameter(torch.zeros(act_dim))

    def forward(
        self, obs: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, " A"]]:
        """Mean and log standard deviation."""
        return self.act_limit * self.body(obs).tanh(), self.log_std.clamp(self.log_std_min, 2)

    def draw(
        self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "*K B A"]
    ) -> Float[Tensor, "*K B A"]:
        """Actions mean + std * noise, clamped to act_limit."""
        mean, log_std = self(obs)
        return (mean + log_std.exp() * noise).clamp(-self.act_limit, self.act_limit)

    def log_prob(self, obs: Float[Tensor, "B S"], act: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """Log density before the clamp."""
        mean, log_std = self(obs)
        z = (act - mean) / log_std.exp()
        return (-0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


class Perturbation(nn.Module):
    """Moves an action by at most share * act_limit per coordinate, within the limit (BCQ)."""

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        share: float | int = 0.05,
        widths: tuple[int, ...] = (400, 300),
    ) -> None:
        super().__init__()
        self.act_limit, self.reach = act_limit, share * act_limit
        self.body = mlp((obs_dim + act_dim, *widths, act_dim), nn.ReLU)

    def forward(self, obs: Float[Tensor, "B S"], act: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        moved = act + self.reach * self.body(torch.cat([obs, act], -1)).tanh()
        return moved.clamp(-self.act_limit, self.act_limit)


class ImplicitPolicy(nn.Module):
    """One-step generator a = G(level * noise, obs, level) of DQL-KL (DTQL Sec. 5; level 2.5).

    No squashing, no preconditioning and the raw level as in the official code, although weights
    copied from a trained `DTQLBody` expect c_in x and log(level)/4: `act_limit` is not used.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int | None = None,
        width: int = 256,
        depth: int = 3,
        level_dim: int = 16,
        level: float | int = 2.5,
    ) -> None:
        super().__init__()
        self.level = level
        self.body = DTQLBody(obs_dim, act_dim, width, depth, level_dim)

    def draw(
        self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "*K B A"]
    ) -> Float[Tensor, "*K B A"]:
        """Actions, differentiable in the weights."""
        rows = self.level * noise.reshape(-1, noise.shape[-1])
        seen = obs.expand(*noise.shape[:-1], -1).reshape(len(rows), -1)
        return self.body(rows, seen, rows.new_full((len(rows),), self.level)).reshape(noise.shape)


Policy = DiracPolicy | GaussianPolicy | TanhGaussianPolicy | ImplicitPolicy
"""A policy that acts in one step: policy.draw(obs (B, S), noise (*K, B, A)) -> actions (*K, B, A).

K candidates of a state cost one pass through a network that does not look at the noise.
"""


def check_imitates(policy: Policy) -> None:
    """TypeError for a policy of unknown likelihood, which `imitation_loss` cannot train."""
    if isinstance(policy, ImplicitPolicy):
        raise TypeError(
            "policy must be a DiracPolicy, GaussianPolicy or TanhGaussianPolicy, whose likelihood "
            "is known, got ImplicitPolicy"
        )


def imitation_loss(
    policy: Policy, obs: Float[Tensor, "B S"], act: Float[Tensor, "B A"]
) -> Float[Tensor, " B"]:
    """How badly a policy explains given actions: -log pi(act | obs).

    A Dirac stands for a Gaussian of fixed width: squared error, mean over A (TD3+BC's scaling).
    TypeError for an ImplicitPolicy.
    """
    check_imitates(policy)
    if isinstance(policy, GaussianPolicy | TanhGaussianPolicy):
        return -policy.log_prob(obs, act)
    return (policy(obs) - act).square().mean(-1)
