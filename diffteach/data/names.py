"""What the name of a data set says: its task, reference scores and environment."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from diffteach.data.dataset import EnvSpec


class Task(NamedTuple):
    """What a set was recorded on, without the version: tables of settings are keyed by this.

    `family` is locomotion, antmaze, maze2d, pointmaze, adroit, kitchen, plane or other; `env` the
    robot, maze, hand task or toy; `level` the rest, as in medium-replay, and empty without one.
    """

    family: str
    env: str
    level: str


ROBOTS = ("halfcheetah", "hopper", "walker2d", "ant", "humanoid", "swimmer", "reacher", "pusher")
HAND_TASKS = ("pen", "door", "hammer", "relocate")
MAZES = ("antmaze", "maze2d", "pointmaze")

SCORES = MappingProxyType(
    {
        "halfcheetah": (-280.178953, 12135.0),
        "hopper": (-20.272305, 3234.3),
        "walker2d": (1.629008, 4592.3),
        "ant": (-325.6, 3879.7),
        "antmaze": (0.0, 1.0),
        "pen": (96.262799, 3076.8331017826877),
        "hammer": (-274.856578, 12794.134825156867),
        "relocate": (-6.425911, 4233.877797728884),
        "door": (-56.512833, 2880.5693087298737),
        "kitchen": (0.0, 4.0),
        # Their maxima come from a controller with a fault (D4RL's issues 159 and 215): scores
        # above 100 are normal. v0 of the three mazes has other scores.
        "maze2d-open-v0": (0.01, 20.66),
        "maze2d-umaze-v1": (23.85, 161.86),
        "maze2d-medium-v1": (13.13, 277.39),
        "maze2d-large-v1": (6.7, 273.99),
        "maze2d-open-dense-v0": (11.17817, 27.166538620695782),
        "maze2d-umaze-dense-v1": (68.537689, 193.66285642381482),
        "maze2d-medium-dense-v1": (44.264742, 297.4552547777125),
        "maze2d-large-dense-v1": (30.569041, 303.4857382709002),
    }
)
"""Returns of a random and of an expert policy, by environment (D4RL, d4rl/infos.py)."""

KEYS = MappingProxyType(
    {
        "antmaze": ("achieved_goal", "observation"),
        "pointmaze": ("observation",),
        "kitchen": ("observation",),
    }
)
"""Entries of a dict observation, by family, in the order in which D4RL joins them: no goal."""

ENVS = MappingProxyType(
    {
        # v4 pays and moves as the v2 of the recordings; Walker2d-v5 has another friction.
        "halfcheetah": EnvSpec("HalfCheetah-v4"),
        "hopper": EnvSpec("Hopper-v4"),
        "walker2d": EnvSpec("Walker2d-v4"),
        # The reference scores of the pen are those of 100 steps (Minari's issue 303).
        "pen": EnvSpec("gymnasium_robotics:AdroitHandPen-v1", {"max_episode_steps": 100}),
        "door": EnvSpec("gymnasium_robotics:AdroitHandDoor-v1"),
        "hammer": EnvSpec("gymnasium_robotics:AdroitHandHammer-v1"),
        "relocate": EnvSpec("gymnasium_robotics:AdroitHandRelocate-v1"),
    }
)
"""Environments of today for what D4RL recorded, by robot or hand task."""

TIME_LIMITS = MappingProxyType(
    {
        **dict.fromkeys(("halfcheetah", "hopper", "walker2d", "ant"), 1000),
        **{"antmaze-umaze": 700, "antmaze-medium": 1000, "antmaze-large": 1000},
        **{"maze2d-open": 150, "maze2d-umaze": 300, "maze2d-medium": 600, "maze2d-large": 800},
        **{"pen": 100, "door": 200, "hammer": 200, "relocate": 200, "kitchen": 280},
    }
)
"""Steps of an episode at most, by environment (D4RL's registrations; maze2d from v1 on)."""


def task(name: str) -> Task:
    """The task of a D4RL name or a Minari id; any other name is of the family `other`."""
    *namespace, local = name.split("/", 1)
    first, *rest = re.split("[/-]", re.sub(r"-v\d+$", "", local))
    level = "-".join(rest)
    if first in MAZES:
        return Task(first, rest[0] if rest else "", "-".join(rest[1:]))
    if first in ROBOTS:
        return Task("locomotion", first, level)
    if first in HAND_TASKS:
        return Task("adroit", first, level)
    if first == "kitchen":
        return Task("kitchen", first, level)
    if namespace == ["diffteach"] and not rest:
        return Task("plane", first, "")
    return Task("other", first, level)


def scores(name: str) -> tuple[float, float] | None:
    """Returns that count as 0 and as 100 percent, or None where D4RL has none."""
    family, env, _ = task(name)
    return next((SCORES[key] for key in (name, env, family) if key in SCORES), None)


def normalized(returns: Float[Tensor, "*n"], reference: tuple[float, float]) -> Float[Tensor, "*n"]:
    """Returns as percent of the way from the first to the second reference score."""
    low, high = reference
    if not low < high:
        raise ValueError(f"reference must be two scores in rising order, got {reference}")
    return 100 * (returns - low) / (high - low)


def env_spec(name: str) -> EnvSpec | None:
    """The environment for policies of D4RL's sets and our own; None where none of today matches.

    Minari's sets carry their own. Today's AntMaze, PointMaze and kitchen differ from D4RL's in
    coordinates or observations, and Ant-v4 in its observations.
    """
    family, env, _ = task(name)
    if family == "plane":
        return EnvSpec("diffteach.envs:diffteach/Bandit2D-v0", {"density": env})
    foreign = "/" in name and not name.startswith("diffteach/")
    return None if foreign else ENVS.get(env)


def time_limit(name: str) -> int | None:
    """Steps after which an episode of D4RL's task is cut, or None for a name without one."""
    family, env, _ = task(name)
    return TIME_LIMITS.get(f"{family}-{env}", TIME_LIMITS.get(env))
