"""Walks of a point mass through mazes, made here instead of downloaded: real Minari sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diffteach.data.dataset import EnvSpec
from diffteach.data.pointmaze import LAYOUTS, SCORES, Controller, Layout, Point, layout
from diffteach.data.writing import About, Array, Episode, make, pinned, write
from diffteach.schedule import check_count

Act = Callable[[list[float], Point], Array]

FARAMA_NOISE, DETOUR_NOISE = 0.5, 0.2
SLOWEST = 0.3
MAZE_IDS = {
    "open": "PointMaze_Open-v3",
    "umaze": "PointMaze_UMaze-v3",
    "medium": "PointMaze_Medium-v3",
    "large": "PointMaze_Large-v3",
}


def maze_env(maze: Layout, evaluation: bool) -> Any:
    """gymnasium's environment of a maze; the two are Farama's for evaluation and for collection.

    For evaluation the goal is the marked cell's, the start any other cell (or the marked one), and
    each step that ends within 0.45 of the goal pays 1 until the time is over. For collection the
    goal moves on when it is reached, for ever. Both shift goal and start by up to 0.25 per axis.
    """
    settings = {
        "maze_map": maze.maze_map(marks=evaluation),
        "continuing_task": True,
        "reset_target": not evaluation,
        "max_episode_steps": maze.limit if evaluation else 1_000_000,
    }
    known = MAZE_IDS.get(maze.name, MAZE_IDS["umaze"])
    return make(EnvSpec(f"gymnasium_robotics:{known}", settings))


def _reset(env: Any, seed: int | None = None) -> list[float]:
    return env.reset(seed=seed)[0]["observation"].tolist()


def _walk(env: Any, now: list[float], act: Act, limit: int) -> tuple[Episode, list[float]]:
    """One episode from the state `now`, and the state after it; a goal that moves on ends it."""
    goal: Point = tuple(env.goal.tolist())
    rows, actions, rewards = [now], [], []
    for _ in range(limit):
        actions.append(act(now, goal).clip(-1, 1).astype(np.float32))
        obs, reward, _, _, info = env.step(actions[-1])
        now = obs["observation"].tolist()
        rows.append(now)
        rewards.append(float(reward))
        if info["success"] and env.reset_target:
            break
    observations, n = np.array(rows), len(rewards)
    parts = {
        "observation": observations,
        "achieved_goal": observations[:, :2],
        "desired_goal": np.tile(goal, (n + 1, 1)),
    }
    # As Farama's sets, whose episodes never terminate.
    truncations = np.arange(n) == n - 1
    over = np.zeros(n, bool)
    return Episode(parts, np.array(actions), np.array(rewards), over, truncations), now


def _piloted(
    pilot: Controller, share: float | int, noise: float | int, generator: np.random.Generator
) -> Act:
    """The pilot's force, times a share of it once it is clipped, and Gaussian noise."""

    def act(now: list[float], goal: Point) -> Array:
        force = np.array(pilot((now[0], now[1]), (now[2], now[3]), goal))
        if share < 1:
            force = share * force.clip(-1, 1)
        return force + noise * generator.standard_normal(2)

    return act


def _wander(maze: Layout, steps: int, seed: int) -> Iterator[Episode]:
    env = maze_env(maze, evaluation=False).unwrapped
    generator = np.random.default_rng(seed)
    act = _piloted(Controller(maze, generator), 1, FARAMA_NOISE, generator)
    now = _reset(env, seed)
    while steps:
        episode, now = _walk(env, now, act, steps)
        steps -= len(episode.rewards)
        yield episode


def _detours(maze: Layout, steps: int, seed: int) -> Iterator[Episode]:
    env = maze_env(maze, evaluation=True).unwrapped
    generator = np.random.default_rng(seed)
    env.reset(seed=seed)
    while steps:
        share = generator.uniform(SLOWEST, 1)
        act = _piloted(Controller(maze, generator), share, DETOUR_NOISE, generator)
        episode, _ = _walk(env, _reset(env), act, min(steps, maze.limit))
        steps -= len(episode.rewards)
        yield episode


def _about_maze(maze: Layout, description: str, collected_by: Any, seed: int) -> About:
    evaluation = maze_env(maze, evaluation=True)
    return About(
        description,
        "waypoint controller",
        evaluation.observation_space,
        evaluation.action_space,
        env=collected_by.spec,
        eval_env=evaluation.spec,
        scores=SCORES.get(maze.name),
        more={"seed": seed, "requirements": pinned("mujoco", "gymnasium", "gymnasium-robotics")},
    )


def pointmaze(name: str, steps: int, seed: int, root: Path) -> Path:
    """Make `diffteach/pointmaze/NAME-v0` by Farama's protocol; returns its folder.

    A pilot who knows the maze walks to one random goal after another; each action has Gaussian
    noise of standard deviation 0.5 and is clipped to +-1. Episodes end where a goal is reached,
    by truncation, and the next one starts there (minari-dataset-generation-scripts, pointmaze).
    ValueError for an unknown maze, one with a single goal, or steps < 1.
    """
    check_count("steps", steps)
    maze = layout(name)
    if name not in MAZE_IDS:
        raise ValueError(f"layout must be one of {', '.join(MAZE_IDS)}, got {name!r}")
    text = (
        f"{steps} steps of a waypoint controller with action noise {FARAMA_NOISE}, seed {seed}, "
        f"after Farama's protocol for D4RL/pointmaze/{name}-v2; made by diffteach."
    )
    about = _about_maze(maze, text, maze_env(maze, evaluation=False), seed)
    episodes = _wander(maze, steps, seed)
    return write(f"diffteach/pointmaze/{name}-v0", episodes, steps, about, root)


def detour(steps: int, seed: int, root: Path) -> Path:
    """Make `diffteach/pointmaze/detour-v0`, where modes matter; returns its folder.

    Between start and goal lies an island. Either side is as short, and a coin decides: the mean of
    both runs into the island. Each episode has 400 steps with its own share of the full force,
    uniform on [0.3, 1], and action noise 0.2; at the goal it stays. ValueError for steps < 1.
    """
    check_count("steps", steps)
    maze = LAYOUTS["detour"]
    text = (
        f"{steps} steps of a waypoint controller that passes an island on either side, with "
        f"{SLOWEST:g} to 1 of the full force and action noise {DETOUR_NOISE}, seed {seed}; "
        f"made by diffteach."
    )
    about = _about_maze(maze, text, maze_env(maze, evaluation=True), seed)
    episodes = _detours(maze, steps, seed)
    return write("diffteach/pointmaze/detour-v0", episodes, steps, about, root)


def reference(name: str, episodes: int = 100, seed: int = 0) -> tuple[float, float]:
    """Mean returns of uniform actions and of the noiseless pilot in a maze's evaluation."""
    maze = layout(name)
    env = maze_env(maze, evaluation=True).unwrapped
    generator = np.random.default_rng(seed)
    env.reset(seed=seed)

    def random(now: list[float], goal: Point) -> Array:
        return generator.uniform(-1, 1, 2)

    def mean(act: Callable[[], Act]) -> float:
        walks = (_walk(env, _reset(env), act(), maze.limit)[0] for _ in range(episodes))
        return float(np.mean([walk.rewards.sum() for walk in walks]))

    pilot = Controller(maze, generator)
    return mean(lambda: random), mean(lambda: _piloted(pilot, 1, 0, generator))
