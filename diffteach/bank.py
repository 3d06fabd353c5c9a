"""A bank of transitions with actions drawn for them, which QGPO and QIPO learn from."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.train import Stream


class Bank:
    """Transitions with actions of the behaviour at both of their states, filled batch by batch."""

    def __init__(self, *columns: Tensor) -> None:
        self.columns, self.filled = columns, 0

    def put(self, *columns: Tensor) -> None:
        """Appends rows; where no room is left, it starts anew and the old rows are gone.

        So a second `fit` replaces the supports of the first by those of the behaviour it trained.
        """
        first = self.filled if self.filled + len(columns[0]) <= len(self.columns[0]) else 0
        rows = slice(first, first + len(columns[0]))
        for mine, new in zip(self.columns, columns, strict=True):
            mine[rows] = new
        self.filled = rows.stop

    def take(self, share: Float[Tensor, " B"]) -> list[Tensor]:
        """Rows at shares in [0, 1) of what is there; ValueError while that is nothing."""
        if not self.filled:
            raise ValueError("support_steps must be at least 1 for the stages after it, got 0")
        row = (share * self.filled).long()
        return [column[row] for column in self.columns]

    def state_dict(self) -> dict[str, Any]:
        """All rows, and how many are filled."""
        return {"columns": list(self.columns), "filled": self.filled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Holds the stored rows; ValueError for rows of another shape."""
        self.filled = state_dict["filled"]
        for mine, stored in zip(self.columns, state_dict["columns"], strict=True):
            if mine.shape != stored.shape:
                raise ValueError(f"the bank has shape {mine.shape}, got {stored.shape}")
            mine.copy_(stored)


def lots(seed: int, device: torch.device | str = "cpu") -> Stream:
    """A stream of shares in [0, 1) for `Bank.take`."""

    def rows(n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.rand(n, generator=generator, device=generator.device),)

    return Stream(rows, "bank", seed, device)
