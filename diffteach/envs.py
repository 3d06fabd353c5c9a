"""Environments: those of the toys, which importing this module registers, and `evaluate`.

`gym.make("diffteach.envs:diffteach/Bandit2D-v0", density="25gaussians", reward="far")`; the same
name works with `gym.make_vec(..., vectorization_mode="sync")`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsFloat

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.data import EnvSpec
from diffteach.schedule import check_count
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


class Episode(NamedTuple):
    """One finished episode."""

    total: float
    """sum of its rewards"""
    length: int
    """its steps"""
    last: dict[str, Any]
    """what the environment added to its last step"""


def make(spec: EnvSpec) -> gym.Env[Any, Any]:
    """The environment, taking actions in [-1, 1] and giving flat observations.

    ValueError for an environment that does not exist, has no box of actions with finite bounds, or
    lacks a key.
    """
    with warnings.catch_warnings():
        # The published scores are those of the v4 environments; gymnasium would like v5.
        warnings.filterwarnings("ignore", ".*is out of date", DeprecationWarning)
        try:
            # The checker warns and goes on; `evaluate` stops and says what is wrong.
            env = gym.make(spec.id, disable_env_checker=True, **spec.kwargs)
        except gym.error.Error as error:
            raise ValueError(f"env must be one that gymnasium knows: {error}") from None
    box = env.action_space
    if not isinstance(box, gym.spaces.Box) or not box.is_bounded():
        raise ValueError(f"env must have a bounded box of actions, {spec.id} has {box}")
    if (box.low != -1).any() or (box.high != 1).any():
        env = gym.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))
    if spec.keys:
        space = env.observation_space
        known = list(space) if isinstance(space, gym.spaces.Dict) else []
        if missing := [key for key in spec.keys if key not in known]:
            raise ValueError(f"env {spec.id} observes {known or space}, not {', '.join(missing)}")
        env = gym.wrappers.FilterObservation(env, spec.keys)
    elif isinstance(env.observation_space, gym.spaces.Dict):
        raise ValueError(
            f"env {spec.id} observes {list(env.observation_space)}: say which keys to join"
        )
    return env


def _flat(obs: Any, keys: tuple[str, ...]) -> Observation:
    parts = [obs[key] for key in keys] if keys else [obs]
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)


def sizes(spec: EnvSpec) -> tuple[int, int]:
    """Numbers of observation and action coordinates."""
    env = make(spec)
    obs, act = env.observation_space.sample(), env.action_space.sample()
    env.close()
    return len(_flat(obs, spec.keys)), len(act)


def evaluate(
    act: Callable[[Float[Tensor, "B S"]], Float[Tensor, "B A"]],
    spec: EnvSpec,
    episodes: int = 10,
    seed: int = 0,
    act_limit: float | int = 1.0,
) -> list[Episode]:
    """Plays `episodes` side by side, each to its end; `act` sees those still running as one batch.

    An environment is given act / act_limit, clipped to [-1, 1]. Episode k starts from a seed that
    `seed` and k decide. ValueError for an environment that lacks a time limit or says NaN.
    """
    check_count("episodes", episodes)
    first = make(spec)
    limited = first.spec is not None and first.spec.max_episode_steps is not None
    # A one-step problem ends by itself.
    if not limited and not isinstance(first.unwrapped, Bandit2D):
        raise ValueError(f"env must have a time limit, {spec.id} has none")
    envs = [first, *(make(spec) for _ in range(episodes - 1))]
    seeds = np.random.SeedSequence(seed).generate_state(episodes)
    views = [_flat(e.reset(seed=int(s))[0], spec.keys) for e, s in zip(envs, seeds, strict=True)]
    totals, lengths = [0.0] * episodes, [0] * episodes
    done: dict[int, Episode] = {}
    while len(done) < episodes:
        live = [k for k in range(episodes) if k not in done]
        obs = torch.from_numpy(np.stack([views[k] for k in live]))
        acts = (act(obs).cpu().numpy() / np.float32(act_limit)).clip(-1, 1)
        for k, a in zip(live, acts, strict=True):
            view, reward, over, cut, info = envs[k].step(a)
            views[k] = _flat(view, spec.keys)
            totals[k] += float(reward)
            lengths[k] += 1
            if not np.isfinite(views[k]).all() or not np.isfinite(totals[k]):
                raise ValueError(f"env {spec.id} gave NaN or infinite values in step {lengths[k]}")
            if over or cut:
                done[k] = Episode(totals[k], lengths[k], info)
                envs[k].close()
    return [done[k] for k in range(episodes)]
