"""How an episode of a Minari set is seen: its observations, rewards and terminal steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diffteach.data.dataset import EnvSpec
from diffteach.data.pointmaze import Layout, Point
from diffteach.data.writing import Array

# Of one episode: observations (T + 1, S), rewards (T,), whether each step terminates (T,).
View = Callable[[Any], tuple[Array, Array, Array]]

RADIUS = 0.45  # of a goal in gymnasium-robotics' mazes


def _joined(observations: Any, keys: Sequence[str], name: str) -> Array:
    """Entries of a dict side by side, (T + 1, S); arrays as they are."""
    if isinstance(observations, Mapping):
        if missing := [key for key in keys if key not in observations]:
            raise ValueError(
                f"observations of {name} hold {', '.join(observations)}, not {', '.join(missing)}"
            )
        parts = [observations[key] for key in keys]
    else:
        parts = [observations]
    if not all(isinstance(part, np.ndarray) and part.dtype.kind == "f" for part in parts):
        raise ValueError(f"observations of {name} must be arrays of floats, as in a Box")
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _reached(episode: Any, name: str) -> Array:
    """Whether each step ended within the radius of the episode's goal, (T,)."""
    places, goals = (
        _joined(episode.observations, (key,), name) for key in ("achieved_goal", "desired_goal")
    )
    return np.linalg.norm(places[1:] - goals[-1], axis=1) <= RADIUS


def recorded(keys: Sequence[str], name: str) -> View:
    def view(episode: Any) -> tuple[Array, Array, Array]:
        return _joined(episode.observations, keys, name), episode.rewards, episode.terminations

    return view


def with_success(keys: Sequence[str], name: str) -> View:
    """A reached goal terminates: Minari's mazes record it as a truncation."""

    def view(episode: Any) -> tuple[Array, Array, Array]:
        terminal = episode.terminations | _reached(episode, name)
        return _joined(episode.observations, keys, name), episode.rewards, terminal

    return view


def with_goal(keys: Sequence[str], name: str) -> View:
    """The same with the recorded goal, fixed within an episode, behind the observation."""

    def view(episode: Any) -> tuple[Array, Array, Array]:
        obs = _joined(episode.observations, (*keys, "desired_goal"), name)
        # A new episode's first observation may still hold the goal before.
        goal = episode.observations["desired_goal"][-1]
        obs[:, -len(goal) :] = goal
        return obs, episode.rewards, episode.terminations | _reached(episode, name)

    return view


def goal_of(env: EnvSpec | None, name: str) -> Point:
    """The centre of the one goal of a maze's evaluation; ValueError if it has none or several."""
    rows = env.kwargs.get("maze_map", ()) if env else ()
    cells = [(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell == "g"]
    if len(cells) != 1:
        raise ValueError(
            f"the evaluation of {name} must mark one goal, its maze marks {len(cells)}; "
            f"data.minari.with_goals keeps the recorded ones"
        )
    return Layout(name, tuple("".join(map(str, row)) for row in rows), 0).centre(cells[0])


def relabelled(env: EnvSpec | None, name: str) -> View:
    """The reward of one goal for all, and no terminal, as D4RL's maze2d."""
    goal = np.array(goal_of(env, name))
    dense = env is not None and env.kwargs.get("reward_type") == "dense"

    def view(episode: Any) -> tuple[Array, Array, Array]:
        obs = _joined(episode.observations, ("observation",), name)
        gap = np.linalg.norm(obs[1:, :2] - goal, axis=1)
        reward = np.exp(-gap) if dense else (gap <= RADIUS).astype(np.float64)
        return obs, reward, np.zeros(len(reward), bool)

    return view
