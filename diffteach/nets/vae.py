"""The variational auto-encoder of actions on which BCQ and BEAR stand."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffteach.nets.layers import mlp


class CVAE(nn.Module):
    """Encoder and decoder of actions given observations; 2 A latents (BCQ, App. and code).

    The decoder answers before squashing, since BEAR compares actions there.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        width: int = 750,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.act_limit, self.latent_dim = act_limit, 2 * act_dim
        hidden = [width] * depth
        self.encoder = mlp((obs_dim + act_dim, *hidden, 2 * self.latent_dim), nn.ReLU)
        self.decoder = mlp((obs_dim + self.latent_dim, *hidden, act_dim), nn.ReLU)

    def encode(
        self, obs: Float[Tensor, "B S"], act: Float[Tensor, "B A"]
    ) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """Mean and log standard deviation, clamped to [-4, 15], of the latent."""
        mean, log_std = self.encoder(torch.cat([obs, act], -1)).chunk(2, -1)
        return mean, log_std.clamp(-4, 15)

    def raw(self, obs: Float[Tensor, "B S"], latent: Float[Tensor, "B L"]) -> Float[Tensor, "B A"]:
        """u of the action act_limit * tanh(u)."""
        return self.decoder(torch.cat([obs, latent], -1))

    def decode(
        self, obs: Float[Tensor, "B S"], latent: Float[Tensor, "B L"]
    ) -> Float[Tensor, "B A"]:
        """Actions."""
        return self.act_limit * self.raw(obs, latent).tanh()
