"""Sets made here: mazes as gymnasium-robotics has them, walks that replay, shares that add up."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from diffteach.data import build, minari, pointmaze
from diffteach.data.dataset import EnvSpec
from diffteach.data.rollouts import read_policy, rollouts
from diffteach.data.writing import make

FARAMA = ("open", "umaze", "medium", "large")
DEMOS = Path(__file__).resolve().parents[3] / "shared" / "data"


def recorded(folder: Path) -> list[Any]:
    return list(minari.episodes(folder, folder.name))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return np.array_equal(one, other)


# --- mazes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FARAMA)
def test_the_mazes_are_those_of_gymnasium_robotics(name: str) -> None:
    known = make(EnvSpec("gymnasium_robotics:" + build.MAZE_IDS[name])).unwrapped.maze
    maze = pointmaze.layout(name)
    assert maze.maze_map(marks=False) == known.maze_map
    marked = [(i, row.index("g")) for i, row in enumerate(maze.rows) if "g" in row]
    assert len(marked) == 1
    for cell in itertools.product(range(len(maze.rows)), range(len(maze.rows[0]))):
        centre = known.cell_rowcol_to_xy(np.array(cell))
        assert maze.centre(cell) == tuple(centre)
        near = (float(centre[0]) + 0.3, float(centre[1]) - 0.3)
        assert maze.cell(near) == tuple(known.cell_xy_to_rowcol(np.array(near))) == cell


@pytest.mark.parametrize("name", pointmaze.LAYOUTS)
def test_distances_are_the_powers_of_the_neighbourhood(name: str) -> None:
    maze = pointmaze.layout(name)
    free = [(i, j) for i, row in enumerate(maze.rows) for j, c in enumerate(row) if c != "#"]
    gap = np.abs(np.array(free)[:, None] - np.array(free)).sum(-1)
    walk = (gap <= 1).astype(int)
    reach = np.eye(len(free), dtype=int)
    steps = np.zeros_like(walk)
    for _ in free:
        steps += reach == 0
        reach = np.minimum(reach @ walk, 1)
    for k, goal in enumerate(free):
        found = pointmaze.distances(maze, goal)
        assert [found[cell] for cell in free] == steps[k].tolist()


def test_ways_of_equal_length_are_both_taken() -> None:
    maze = pointmaze.layout("detour")
    sides = []
    for seed in range(200):
        pilot = pointmaze.Controller(maze, np.random.default_rng(seed))
        force = pilot(maze.centre((2, 2)), (0.0, 0.0), maze.centre((2, 7)))
        sides.append(np.sign(force[1]))
    assert 70 < sides.count(1) < 130 and sides.count(1) + sides.count(-1) == 200


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Path:
    return build.pointmaze("umaze", 3000, 0, tmp_path_factory.mktemp("walks"))


def test_walks_follow_the_protocol(walks: Path) -> None:
    episodes = recorded(walks)
    assert sum(len(e.rewards) for e in episodes) == 3000
    for before, after in itertools.pairwise(episodes):
        ends = before.observations["observation"][-1]
        assert np.array_equal(ends, after.observations["observation"][0])
        gap = before.observations["achieved_goal"] - before.observations["desired_goal"]
        reached = np.linalg.norm(gap, axis=1) <= 0.45
        assert reached[-1] and not reached[1:-1].any()
        assert before.truncations.tolist() == [False] * (len(reached) - 2) + [True]
        assert not before.terminations.any()
        assert np.array_equal(before.rewards, reached[1:])
    actions = np.concatenate([e.actions for e in episodes])
    assert np.abs(actions).max() <= 1 and actions.dtype == np.float32
    lengths = [len(e.rewards) for e in episodes[:-1]]
    assert 50 < np.mean(lengths) < 110  # 75.7 in D4RL/pointmaze/umaze-v2


def test_walks_replay_step_by_step(walks: Path) -> None:
    env = build.maze_env(pointmaze.layout("umaze"), evaluation=True).unwrapped
    env.reset(seed=0)
    for episode in recorded(walks)[:5]:
        seen = episode.observations["observation"]
        env.point_env.set_state(seen[0, :2], seen[0, 2:])
        for action, wanted in zip(episode.actions, seen[1:], strict=True):
            obs = env.step(action)[0]["observation"]
            np.testing.assert_allclose(obs, wanted, atol=1e-9)


def test_a_seed_decides_a_set(walks: Path, tmp_path: Path) -> None:
    again = recorded(build.pointmaze("umaze", 3000, 0, tmp_path / "again"))
    other = recorded(build.pointmaze("umaze", 3000, 1, tmp_path / "other"))
    kept = recorded(walks)
    for one, two in zip(kept, again, strict=True):
        assert same(one.observations, two.observations) and same(one.actions, two.actions)
    assert not same(kept[0].observations, other[0].observations)


def test_the_built_set_tells_where_it_comes_from(walks: Path) -> None:
    data = minari.load("diffteach/pointmaze/umaze-v0", walks.parents[2])
    assert "3000 steps" in data.origin and "seed 0" in data.origin
    assert data.scores == pointmaze.SCORES["umaze"]
    entries = minari.metadata(walks)
    assert entries["seed"] == 0 and any(r.startswith("mujoco==") for r in entries["requirements"])
    assert data.env is not None
    env = make(data.env).unwrapped
    env.reset(seed=0)
    centre = pointmaze.layout("umaze").centre((1, 1))
    assert np.abs(env.goal - centre).max() <= 0.25
    with h5py.File(walks / "data" / "main_data.hdf5") as file:
        assert len(file) == entries["total_episodes"]


def test_the_reference_scores_are_what_is_measured() -> None:
    low, high = build.reference("umaze", episodes=30, seed=1)
    assert low < 40
    assert high == pytest.approx(pointmaze.SCORES["umaze"][1], rel=0.15)


def test_half_of_the_detours_pass_on_either_side(tmp_path: Path) -> None:
    episodes = recorded(build.detour(20_000, 0, tmp_path))
    assert [len(e.rewards) for e in episodes] == [400] * 50
    y = [e.observations["observation"][:, 1] for e in episodes]
    above = [bool(v.max() > 0.7) for v in y]
    below = [bool(v.min() < -0.7) for v in y]
    assert all(a != b for a, b in zip(above, below, strict=True))
    assert 15 <= sum(above) <= 35
    returns = np.array([e.rewards.sum() for e in episodes])
    up, down = (returns[np.array(side)] for side in (above, below))
    spread = returns.std() * np.sqrt(1 / len(up) + 1 / len(down))
    assert abs(up.mean() - down.mean()) < 3 * spread
    low, high = pointmaze.SCORES["detour"]
    assert low < returns.mean() < high  # there is something to learn


@pytest.mark.slow
def test_the_mean_of_both_ways_is_worse_than_either() -> None:
    """Who averages over the nearest hundredth of the data stands still where the ways part."""
    maze = pointmaze.layout("detour")
    episodes = list(build._detours(maze, 40_000, 0))
    seen = np.concatenate([e.observations["observation"][:-1] for e in episodes])
    acts = np.concatenate([e.actions for e in episodes])
    env = build.maze_env(maze, evaluation=True).unwrapped
    env.reset(seed=0)

    def play() -> float:
        now, total = env.reset()[0]["observation"], 0.0
        for _ in range(maze.limit):
            near = np.argpartition(np.square(seen - now).sum(-1), 400)[:400]
            obs, reward, *_ = env.step(acts[near].mean(0))
            now, total = obs["observation"], total + float(reward)
        return total

    data = np.mean([e.rewards.sum() for e in episodes])
    assert np.mean([play() for _ in range(6)]) < 0.5 * data


# --- policies ----------------------------------------------------------------------------------


def policy(file: Path, obs_dim: int, act_dim: int, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    arrays = {
        "mean": draw.normal(size=obs_dim),
        "std": draw.uniform(1, 2, obs_dim),
        "W0": draw.normal(size=(obs_dim, 5)),
        "b0": draw.normal(size=5),
        "W1": draw.normal(size=(5, 4)),
        "b1": draw.normal(size=4),
        "W_out": draw.normal(size=(4, act_dim)),
        "b_out": draw.normal(size=act_dim),
    }
    np.savez(file, activation="leaky_relu", **arrays)  # type: ignore[arg-type]
    return arrays


def test_a_policy_file_is_the_network_that_it_describes(tmp_path: Path) -> None:
    import torch

    arrays = policy(tmp_path / "p.npz", 3, 2)
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    obs = np.array([0.3, -1.0, 2.0])
    hidden = (torch.from_numpy(obs) - tensors["mean"]) / (tensors["std"] + 1e-6)
    for k in "01":
        linear = torch.nn.functional.linear(hidden, tensors[f"W{k}"].T, tensors[f"b{k}"])
        hidden = torch.nn.functional.leaky_relu(linear, 0.01)
    wanted = torch.nn.functional.linear(hidden, tensors["W_out"].T, tensors["b_out"])
    np.testing.assert_allclose(read_policy(tmp_path / "p.npz")(obs), wanted.numpy())


def test_every_noise_gets_its_share_of_the_steps(tmp_path: Path) -> None:
    policy(tmp_path / "p.npz", 11, 3)
    act = read_policy(tmp_path / "p.npz")
    folder = rollouts("hopper", tmp_path / "p.npz", [0, 0.4], 501, 0, tmp_path / "sets")
    episodes = recorded(folder)
    lengths = np.cumsum([len(e.rewards) for e in episodes])
    assert lengths[-1] == 501 and 251 in lengths
    split = lengths.tolist().index(251) + 1
    for number, episode in enumerate(episodes):
        exact = np.array([act(obs) for obs in episode.observations[:-1]]).clip(-1, 1)
        gap = np.abs(episode.actions - exact)
        assert gap.max() < 1e-6 if number < split else gap.mean() > 0.05
        assert np.abs(episode.actions).max() <= 1
        # Every episode is over or cut: by the fall, or where its share of steps ended.
        assert episode.terminations[-1] != episode.truncations[-1]
        assert not episode.terminations[:-1].any() and not episode.truncations[:-1].any()
    data = minari.load("diffteach/hopper/noisy-v0", tmp_path / "sets")
    assert data.scores == (-20.272305, 3234.3)
    assert data.env is not None and data.env.id == "Hopper-v4"
    again = recorded(rollouts("hopper", tmp_path / "p.npz", [0, 0.4], 501, 0, tmp_path / "again"))
    assert all(same(a.actions, b.actions) for a, b in zip(episodes, again, strict=True))


@pytest.mark.skipif(not DEMOS.is_dir(), reason="the recorded episodes are not here")
def test_an_expert_earns_what_its_recordings_earn(tmp_path: Path) -> None:
    folder = rollouts("hopper", DEMOS / "experts" / "hopper.npz", [0], 1000, 0, tmp_path)
    (episode,) = recorded(folder)
    with h5py.File(DEMOS / "hopper-v4-demos.hdf5") as file:
        returns = file["rewards"][:].reshape(2, 1000).sum(1)
    assert episode.rewards.sum() == pytest.approx(returns.mean(), rel=0.03)


# --- physics -----------------------------------------------------------------------------------


@pytest.mark.skipif(not DEMOS.is_dir(), reason="the recorded episodes are not here")
@pytest.mark.parametrize("name", ["halfcheetah", "hopper"])
def test_recorded_steps_replay_in_the_environment_of_the_evaluation(name: str) -> None:
    """The place along x is not observed, and no force depends on it."""
    from diffteach.data.names import ENVS

    env = make(ENVS[name]).unwrapped
    env.reset(seed=0)
    nq = env.model.nq
    with h5py.File(DEMOS / f"{name}-v4-demos.hdf5") as file:
        obs, act, after = (file[k][:] for k in ("observations", "actions", "next_observations"))
        rewards = file["rewards"][:]
    # Hopper shows velocities clipped to +-10: those rows hide their state.
    free = name == "halfcheetah" or (np.abs(obs[:, nq - 1 :]) < 9.99).all(1)
    rows = np.flatnonzero(np.broadcast_to(free, len(obs)))[::4]
    assert len(rows) > 300
    gaps, pay = [], []
    for row in rows:
        state = np.concatenate([[0.0], obs[row].astype(np.float64)])
        env.set_state(state[:nq], state[nq:])
        # Not clipped: the simulator does that, and the price of an action is that of the raw one.
        seen, reward, *_ = env.step(act[row])
        gaps.append((np.abs(seen - after[row]) / np.maximum(1, np.abs(after[row]))).max())
        pay.append(abs(float(reward) - rewards[row]))
    # Recordings are float32: half a unit in their last place goes through a contact.
    assert np.median(gaps) < 1e-6 and max(gaps) < 1e-5
    assert max(pay) < 1e-6
