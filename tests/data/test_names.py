"""What a data set's name says: task, reference scores, environment, time limit."""

from __future__ import annotations

import pytest
import torch

from diffteach.data.dataset import EnvSpec
from diffteach.data.names import SCORES, Task, env_spec, normalized, scores, task, time_limit

TASKS = {
    "hopper-medium-v2": Task("locomotion", "hopper", "medium"),
    "halfcheetah-medium-replay-v2": Task("locomotion", "halfcheetah", "medium-replay"),
    "mujoco/walker2d/expert-v0": Task("locomotion", "walker2d", "expert"),
    "diffteach/hopper/noisy-v0": Task("locomotion", "hopper", "noisy"),
    "diffteach/hopper-mixed-v0": Task("locomotion", "hopper", "mixed"),
    "antmaze-umaze-v0": Task("antmaze", "umaze", ""),
    "antmaze-umaze-diverse-v2": Task("antmaze", "umaze", "diverse"),
    "antmaze-large-play-v2": Task("antmaze", "large", "play"),
    "D4RL/antmaze/medium-diverse-v1": Task("antmaze", "medium", "diverse"),
    "maze2d-umaze-v1": Task("maze2d", "umaze", ""),
    "maze2d-large-dense-v1": Task("maze2d", "large", "dense"),
    "pen-human-v1": Task("adroit", "pen", "human"),
    "D4RL/door/cloned-v2": Task("adroit", "door", "cloned"),
    "kitchen-partial-v0": Task("kitchen", "kitchen", "partial"),
    "D4RL/kitchen/complete-v2": Task("kitchen", "kitchen", "complete"),
    "D4RL/pointmaze/umaze-dense-v2": Task("pointmaze", "umaze", "dense"),
    "diffteach/pointmaze/open-v0": Task("pointmaze", "open", ""),
    "diffteach/four_corners-v0": Task("plane", "four_corners", ""),
    "diffteach/8gaussians-v0": Task("plane", "8gaussians", ""),
    "my-own-recordings": Task("other", "my", "own-recordings"),
    "atari/breakout/expert-v0": Task("other", "breakout", "expert"),
    "hopper": Task("locomotion", "hopper", ""),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_name_says_family_environment_and_level(name) -> None:
    assert task(name) == TASKS[name]


def test_versions_and_sources_share_a_task() -> None:
    assert task("antmaze-umaze-diverse-v0") == task("antmaze-umaze-diverse-v2")
    assert task("hopper-medium-v0") == task("mujoco/hopper/medium-v0")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hopper-medium-v2", (-20.272305, 3234.3)),
        ("walker2d-medium-replay-v2", (1.629008, 4592.3)),
        ("mujoco/halfcheetah/simple-v0", (-280.178953, 12135.0)),
        ("antmaze-large-play-v2", (0.0, 1.0)),
        ("kitchen-mixed-v0", (0.0, 4.0)),
        ("pen-cloned-v1", (96.262799, 3076.8331017826877)),
        ("maze2d-umaze-v1", (23.85, 161.86)),
        ("maze2d-umaze-dense-v1", (68.537689, 193.66285642381482)),
        ("maze2d-umaze-v0", None),  # has other scores than v1
        ("D4RL/pointmaze/umaze-v2", None),  # another environment than maze2d
        ("diffteach/four_corners-v0", None),
        ("recordings", None),
    ],
)
def test_reference_scores_are_those_of_d4rl(name, expected) -> None:
    assert scores(name) == expected


def test_scores_are_percent_of_the_way_from_random_to_expert() -> None:
    low, high = SCORES["hopper"]
    returns = torch.tensor([low, high, (low + high) / 2], dtype=torch.float64)
    torch.testing.assert_close(
        normalized(returns, (low, high)), torch.tensor([0.0, 100.0, 50.0], dtype=torch.float64)
    )
    # D4RL's hopper-medium, mean return 1422: published as 44 percent.
    assert normalized(torch.tensor(1422.0), SCORES["hopper"]).item() == pytest.approx(44.3, abs=0.1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("walker2d-medium-v2", EnvSpec("Walker2d-v4")),
        (
            "pen-human-v1",
            EnvSpec("gymnasium_robotics:AdroitHandPen-v1", {"max_episode_steps": 100}),
        ),
        ("door-human-v1", EnvSpec("gymnasium_robotics:AdroitHandDoor-v1")),
        (
            "diffteach/four_corners-v0",
            EnvSpec("diffteach.envs:diffteach/Bandit2D-v0", {"density": "four_corners"}),
        ),
        ("antmaze-umaze-v2", None),
        ("maze2d-umaze-v1", None),
        ("kitchen-complete-v0", None),
        ("ant-medium-v2", None),
        ("diffteach/hopper/own-v0", EnvSpec("Hopper-v4")),
        ("mujoco/walker2d/medium-v0", None),  # recorded on v5, and says so itself
        ("recordings", None),
    ],
)
def test_an_environment_is_named_only_where_it_matches_the_data(name, expected) -> None:
    assert env_spec(name) == expected


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("hopper-medium-v2", 1000),
        ("antmaze-umaze-v2", 700),
        ("antmaze-large-play-v2", 1000),
        ("maze2d-open-v0", 150),
        ("maze2d-umaze-v1", 300),
        ("maze2d-umaze-dense-v1", 300),
        ("maze2d-large-v1", 800),
        ("pen-human-v0", 100),
        ("door-human-v0", 200),
        ("kitchen-complete-v0", 280),
        ("recordings", None),
    ],
)
def test_time_limits(name, limit) -> None:
    assert time_limit(name) == limit
