"""A policy's episodes with several strengths of noise, made here: a real Minari set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffteach.checks import check_not_negative
from diffteach.data import names
from diffteach.data.dataset import EnvSpec
from diffteach.data.writing import About, Array, Episode, make, pinned, write
from diffteach.schedule import check_count

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "leaky_relu": lambda h: np.where(h > 0, h, 0.01 * h),
}
_KEYS = ("mean", "std", "activation", "W0", "b0", "W1", "b1", "W_out", "b_out")


def read_policy(file: Path) -> Callable[[Array], Array]:
    """The network of an .npz file as a function of one observation, not clipped.

    h = (obs - mean) / (std + 1e-6), then twice h = activation(h W + b), then h W_out + b_out;
    `activation` is tanh or leaky_relu (slope 0.01). FileNotFoundError; ValueError for another file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"policy must be an .npz file, there is none at {file}")
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (ValueError, OSError, AttributeError) as error:
        raise ValueError(f"policy must be an .npz file of arrays, {file} is not: {error}") from None
    if missing := [key for key in _KEYS if key not in arrays]:
        raise ValueError(f"policy must hold {', '.join(_KEYS)}; {file} lacks {', '.join(missing)}")
    kind = str(arrays.pop("activation"))
    if kind not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {kind!r}")
    activation, wide = ACTIVATIONS[kind], {k: a.astype(np.float64) for k, a in arrays.items()}

    def act(obs: Array) -> Array:
        hidden = (obs - wide["mean"]) / (wide["std"] + 1e-6)
        for layer in "01":
            hidden = activation(hidden @ wide[f"W{layer}"] + wide[f"b{layer}"])
        return hidden @ wide["W_out"] + wide["b_out"]

    return act


def _env(robot: str) -> EnvSpec:
    known = [key for key in names.ENVS if key in names.ROBOTS]
    if robot not in known:
        raise ValueError(f"robot must be one of {', '.join(known)}, got {robot!r}")
    return names.ENVS[robot]


def _episode(env: Any, obs: Array, act: Callable[[Array], Array], limit: int) -> Episode:
    """One episode from a fresh reset; the last of `limit` steps is a truncation."""
    observations, actions, rewards = [obs], [], []
    over = cut = False
    while not (over or cut):
        actions.append(act(obs).clip(-1, 1).astype(np.float32))
        obs, reward, over, cut, _ = env.step(actions[-1])
        observations.append(obs)
        rewards.append(float(reward))
        cut = cut or (len(rewards) == limit and not over)
    last = np.arange(len(rewards)) == len(rewards) - 1
    return Episode(
        np.array(observations), np.array(actions), np.array(rewards), last & over, last & cut
    )


def _play(
    env: Any, policy: Callable[[Array], Array], noises: Sequence[float | int], steps: int, seed: int
) -> Iterator[Episode]:
    generator = np.random.default_rng(seed)
    env.reset(seed=seed)
    for k, noise in enumerate(noises):
        left = steps // len(noises) + (k < steps % len(noises))

        def act(obs: Array, noise: float | int = noise) -> Array:
            mean = policy(obs)
            return mean.clip(-1, 1) + noise * generator.standard_normal(mean.shape)

        while left:
            episode = _episode(env, env.reset()[0], act, left)
            left -= len(episode.rewards)
            yield episode


def rollouts(
    robot: str, policy: Path, noises: Sequence[float | int], steps: int, seed: int, root: Path
) -> Path:
    """Make `diffteach/ROBOT/noisy-v0` from a policy's file; returns its folder.

    Each standard deviation in `noises` gets an equal share of the steps; actions are clipped to
    +-1 before and after the noise. The environment is the v4 of the reference scores. ValueError
    for an unknown robot, a policy of another size, no noises or one below 0, too few steps.
    """
    if not noises:
        raise ValueError("noises must name at least one standard deviation, got none")
    for noise in noises:
        check_not_negative("noises", noise)
    check_count("steps", steps, least=len(noises))
    env, network = make(_env(robot)), read_policy(policy)
    size = env.observation_space.shape[0]
    try:
        width = network(np.zeros(size)).shape
    except ValueError:
        raise ValueError(f"policy must take the {size} observations of {env.spec.id}") from None
    if width != env.action_space.shape:
        wanted = env.action_space.shape[0]
        raise ValueError(f"policy must give {wanted} actions for {env.spec.id}, got {width[0]}")
    about = About(
        f"{steps} steps of {policy.name} in {env.spec.id} with action noise of standard deviation "
        f"{', '.join(f'{noise:g}' for noise in noises)} in equal shares, seed {seed}; "
        f"made by diffteach.",
        "expert network with noise",
        env.observation_space,
        env.action_space,
        env=env.spec,
        scores=names.scores(f"{robot}-v2"),
        more={"seed": seed, "requirements": pinned("mujoco", "gymnasium")},
    )
    episodes = _play(env, network, noises, steps, seed)
    return write(f"diffteach/{robot}/noisy-v0", episodes, steps, about, root)
