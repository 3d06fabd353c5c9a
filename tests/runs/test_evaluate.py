"""`envs.evaluate` plays what a plain loop over one environment plays."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from diffteach import plane
from diffteach.data import EnvSpec
from diffteach.envs import evaluate, make, sizes

MAZE = EnvSpec("gymnasium_robotics:PointMaze_UMaze-v3", {"continuing_task": True}, ("observation",))


def wave(obs: Tensor) -> Tensor:
    """Any policy that looks at its observation, row by row."""
    return torch.stack([obs[:, 0].sin(), obs[:, -1].cos(), obs.sum(-1).sin()], -1)


@pytest.mark.parametrize("name", ["Hopper-v4", "Walker2d-v4"])
def test_side_by_side_is_one_after_another(name) -> None:
    spec = EnvSpec(name)
    columns = sizes(spec)[1] // 3
    played = evaluate(lambda obs: wave(obs).repeat(1, columns), spec, 3, seed=5)
    for k, seed in enumerate(np.random.SeedSequence(5).generate_state(3)):
        env = make(spec)
        obs, over, total, steps = env.reset(seed=int(seed))[0], False, 0.0, 0
        while not over:
            row = wave(torch.from_numpy(obs[None]).float()).repeat(1, columns)
            obs, reward, terminated, truncated, _ = env.step(row[0].numpy())
            total, steps, over = total + float(reward), steps + 1, terminated or truncated
        # Rows of a batch and a single row may differ in the last bit, which the physics amplify.
        assert (played[k].length, played[k].total) == (steps, pytest.approx(total, rel=1e-3))
    lengths = [episode.length for episode in played]
    assert len(set(lengths)) > 1, "some episodes must end while others run"


def test_same_seed_same_returns_and_others_other() -> None:
    first, again, other = (evaluate(wave, EnvSpec("Hopper-v4"), 2, seed) for seed in (0, 0, 1))
    assert first == again and [e.total for e in first] != [e.total for e in other]


def test_the_bandit_pays_the_reward_of_the_point() -> None:
    spec = EnvSpec("diffteach.envs:diffteach/Bandit2D-v0", {"density": "25gaussians"})
    problem = plane.bandit("25gaussians")
    point = torch.tensor([[1.5, -2.0]])
    played = evaluate(lambda obs: point.expand(len(obs), 2), spec, 4, act_limit=problem.limit)
    assert [e.length for e in played] == [1] * 4
    assert [e.total for e in played] == pytest.approx([float(problem.q(point))] * 4, abs=1e-5)


def test_entries_of_a_dict_are_joined_in_order_and_time_is_limited() -> None:
    assert sizes(MAZE) == (4, 2)
    assert sizes(MAZE._replace(keys=("desired_goal", "observation"))) == (6, 2)
    seen = []

    def still(obs: Tensor) -> Tensor:
        seen.append(obs)
        return torch.zeros(len(obs), 2)

    (episode,) = evaluate(still, MAZE, 1)
    assert episode.length == 300 == len(seen) and seen[0].shape == (1, 4)


def test_another_box_is_scaled_to_one() -> None:
    """Pendulum takes torques of +-2 and pays -(angle^2 + .1 speed^2 + .001 torque^2)."""
    env = make(EnvSpec("Pendulum-v1"))
    env.reset(seed=0)
    theta, speed = env.unwrapped.state
    reward = env.step(np.array([0.5], np.float32))[1]
    angle = (theta + np.pi) % (2 * np.pi) - np.pi
    assert reward == pytest.approx(-(angle**2 + 0.1 * speed**2 + 0.001 * 1.0**2), abs=1e-5)


def test_actions_beyond_the_box_are_clipped() -> None:
    spec = EnvSpec("Pendulum-v1")
    big, full = (
        evaluate(lambda obs, a=a: torch.full((len(obs), 1), a), spec, 1)[0].total
        for a in (9.0, 1.0)
    )
    assert big == full


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (EnvSpec("Hoper-v4"), "env must be one that gymnasium knows: .*Hoper"),
        (EnvSpec("CartPole-v1"), "bounded box of actions, CartPole-v1 has Discrete"),
        (MAZE._replace(keys=()), "observes .*: say which keys to join"),
        (MAZE._replace(keys=("goal",)), r"observes \['achieved_goal', .*\], not goal"),
        (EnvSpec("Pendulum-v1", {"max_episode_steps": -1}), "must have a time limit"),
    ],
)
def test_environments_that_cannot_be_acted_in(spec, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        evaluate(wave, spec, 1)


def test_an_environment_that_says_nan_is_named() -> None:
    class Dying(gym.Wrapper):
        def step(self, action):
            obs, *rest = self.env.step(action)
            return np.full_like(obs, np.nan), *rest

    gym.register("Dying-v0", entry_point=lambda: Dying(gym.make("Pendulum-v1")))
    try:
        with pytest.raises(ValueError, match="Dying-v0 gave NaN .* step 1"):
            evaluate(
                lambda obs: torch.zeros(len(obs), 1), EnvSpec("Dying-v0", {"max_episode_steps": 9})
            )
    finally:
        gym.registry.pop("Dying-v0")
