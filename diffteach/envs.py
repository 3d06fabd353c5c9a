"""Gymnasium environments of the toys: importing this module registers them.

`gym.make("diffteach.envs:diffteach/Bandit2D-v0", density="25gaussians", reward="far")`; the same
name works with `gym.make_vec(..., vectorization_mode="sync")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import torch

from diffteach.toys import reward_fn, window

Observation = np.ndarray[Any, np.dtype[np.float32]]


class Bandit2D(gym.Env[Observation, Observation]):
    """One state, one step: the reward of a point in the square that holds a named set.

    The observation is (1.0,), the action (2,) in [-1, 1] and stands for the point window * action.
    `reward` is a name of `reward_names()`, a callable (..., 2) -> (...) on points, or None for the
    set's own. ValueError for unknown names and for actions of another shape.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        density: str = "8gaussians",
        reward: str | Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.window = window(density)
        name_or_fn = density if reward is None else reward
        self._reward = reward_fn(name_or_fn) if isinstance(name_or_fn, str) else name_or_fn
        # Bounds that differ: environment checkers take a point for a mistake.
        self.observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The only state."""
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(
        self, action: Observation
    ) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Reward of window * action (clipped to the box); the episode terminates."""
        act = np.asarray(action, dtype=np.float32)
        if act.shape != (2,) or not np.isfinite(act).all():
            raise ValueError(f"action must be 2 finite numbers, got {action!r}")
        point = self.window * torch.from_numpy(act.clip(-1, 1))
        reward = float(self._reward(point))
        return np.ones(1, np.float32), reward, True, False, {"point": point.numpy()}


if "diffteach/Bandit2D-v0" not in gym.registry:
    gym.register("diffteach/Bandit2D-v0", entry_point="diffteach.envs:Bandit2D")
