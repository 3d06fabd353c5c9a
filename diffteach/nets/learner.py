"""How a network's weights follow a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler


def descend(
    optimizer: torch.optim.Optimizer,
    loss: Float[Tensor, ""],
    max_norm: float | int | None = None,
) -> None:
    """One optimizer step on `loss`, differentiated with respect to the optimizer's parameters only.

    No other parameter that the loss passes through receives a gradient. With `max_norm` the
    gradient is scaled down to that norm if it is longer.
    """
    params = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    for param, grad in zip(params, torch.autograd.grad(loss, params), strict=True):
        param.grad = grad
    if max_norm is not None:
        clip_grad_norm_(params, max_norm)
    optimizer.step()
    for param in params:
        param.grad = None


class Learner:
    """AdamW on some parameters (Adam while weight_decay is 0), with a rate that a cosine may end.

    `anneal` is the number of steps over which the cosine takes the rate to 0, or None, or a factor
    of the rate as a function of the steps taken.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | int,
        anneal: int | Callable[[int], float] | None = None,
        weight_decay: float | int = 0.0,
        max_norm: float | int | None = None,
    ) -> None:
        self.optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=True)
        self.rate: LRScheduler | None = None
        if isinstance(anneal, int):
            self.rate = CosineAnnealingLR(self.optimizer, max(anneal, 1))
        elif anneal is not None:
            self.rate = LambdaLR(self.optimizer, anneal)
        self.max_norm = max_norm

    def step(self, loss: Float[Tensor, ""]) -> None:
        """One step down a scalar loss."""
        descend(self.optimizer, loss, self.max_norm)
        if self.rate is not None:
            self.rate.step()

    def state_dict(self) -> dict[str, Any]:
        """Moments and position on the cosine."""
        rate = None if self.rate is None else self.rate.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "rate": rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a stored state."""
        self.optimizer.load_state_dict(state_dict["optimizer"])
        if self.rate is not None:
            self.rate.load_state_dict(state_dict["rate"])
