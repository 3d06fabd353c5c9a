"""The one-step environment: gymnasium's own checks, rewards, seeds, vectors."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from diffteach.envs import Bandit2D
from diffteach.toys import names, quadratic, reward_fn, reward_names, window

ID = "diffteach.envs:diffteach/Bandit2D-v0"


@pytest.mark.parametrize("name", names())
def test_checker_has_no_complaint(name: str) -> None:
    check_env(gym.make(ID, density=name).unwrapped)


@pytest.mark.parametrize("reward", reward_names())
def test_every_reward_goes_with_every_density(reward: str) -> None:
    action = np.array([-0.9, 0.8], np.float32)
    for name in names():
        env = gym.make(ID, density=name, reward=reward)
        obs, _ = env.reset(seed=0)
        assert obs.tolist() == [1.0]
        _, value, terminated, truncated, info = env.step(action)
        point = window(name) * torch.from_numpy(action)
        assert float(value) == pytest.approx(float(reward_fn(reward)(point)), rel=1e-5)
        assert terminated and not truncated
        assert info["point"] == pytest.approx(point.numpy())


def test_reward_may_be_a_function_or_the_sets_own() -> None:
    target = torch.tensor([1.5, -1.5])
    env = Bandit2D("8gaussians", quadratic(target))
    env.reset()
    assert env.step((target / env.window).numpy())[1] == pytest.approx(0)
    own = Bandit2D("25gaussians")
    own.reset()
    assert own.step(np.ones(2, np.float32))[1] == pytest.approx(12 * 2**0.5)


def test_actions_are_clipped_to_the_box() -> None:
    env = Bandit2D("25gaussians")
    env.reset()
    assert env.step(np.full(2, 3.0, np.float32))[1] == env.step(np.ones(2, np.float32))[1]


def test_vector_environment() -> None:
    envs = gym.make_vec(ID, num_envs=3, vectorization_mode="sync", density="25gaussians")
    obs, _ = envs.reset(seed=0)
    assert obs.shape == (3, 1)
    actions = np.array([[1, 0], [0, 0.5], [0, 0]], np.float32)
    _, rewards, terminated, truncated, _ = envs.step(actions)
    assert rewards == pytest.approx([12, 6, 0])
    assert terminated.all() and not truncated.any()
    envs.close()
