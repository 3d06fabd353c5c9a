"""Draw the frozen point sets and the Minari sets again: `python toy_data/generate.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np

import diffteach.envs  # noqa: F401  registers Bandit2D
from diffteach import toys
from diffteach.data.writing import About, Episode, write
from diffteach.toys.frozen import write as write_points

BANDITS = ("8gaussians", "25gaussians", "four_corners", "swissroll", "two_moons")
EPISODES, SEED = 300, 0


def episodes(name: str) -> Iterator[Episode]:
    """One step each; actions are points over the window, so that they fill [-1, 1]."""
    points, rewards = toys.load(name, EPISODES, SEED)
    actions = (points / toys.window(name)).numpy()
    if np.abs(actions).max() > 1:
        raise ValueError(f"the points of {name} must lie in its window {toys.window(name)}")
    state, over = np.ones((2, 1), np.float32), np.ones(1, bool)
    for action, reward in zip(actions, rewards.numpy(), strict=True):
        yield Episode(state, action[None], reward[None], over, ~over)


def write_bandits(root: Path) -> list[Path]:
    """Write every set of one-step episodes below `root`; returns their folders."""
    folders = []
    for name in BANDITS:
        env = gym.make("diffteach/Bandit2D-v0", density=name)
        about = About(
            f"{EPISODES} points of {name} and their rewards, seed {SEED}, as one-step episodes of "
            f"Bandit2D; made by diffteach.",
            "the density itself",
            env.observation_space,
            env.action_space,
            env=env.spec,
            more={"act_limit": toys.window(name), "seed": SEED},
        )
        set_name = f"diffteach/{name}-v0"
        folders.append(write(set_name, episodes(name), EPISODES, about, root))
    return folders


if __name__ == "__main__":
    here = Path(__file__).parent
    for file in write_points(here):
        print(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB")
    for folder in write_bandits(here / "minari"):
        data = folder / "data" / "main_data.hdf5"
        print(f"{folder.name}: {data.stat().st_size / 1e3:.0f} kB")
