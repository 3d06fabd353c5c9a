"""Policies that act in one step."""

from __future__ import annotations

import math

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

    def draw(self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """The action, whatever the noise."""
        return self(obs)


class TanhGaussianPolicy(nn.Module):
    """act_limit * tanh(u) with u ~ N(mean(obs), std(obs)^2); log std clamped to [-5, 2] (DTQL).

    Orthogonal weights and zero biases, as in DTQL's code.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        width: int = 256,
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.act_limit = act_limit
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

    def draw(self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """Reparametrised actions."""
        return self.sample(obs, noise)[0]

    def log_prob(self, obs: Float[Tensor, "B S"], act: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        """Log density of given actions; those at or beyond the limit count as just inside it."""
        edge = 1 - 1e-6
        u = (act / self.act_limit).clamp(-edge, edge).atanh()
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

    def draw(self, obs: Float[Tensor, "B S"], noise: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        """Actions, differentiable in the weights."""
        return self.body(self.level * noise, obs, noise.new_full((len(noise),), self.level))


Policy = DiracPolicy | TanhGaussianPolicy | ImplicitPolicy
"""A policy that acts in one step: policy.draw(obs (B, S), noise (B, A)) -> actions (B, A)."""
