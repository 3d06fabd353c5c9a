"""Minari sets: what is read is what was acted, and every end of an episode is told apart."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from diffteach.data import minari
from diffteach.data.dataset import Dataset, EnvSpec
from diffteach.data.writing import About, Episode, write
from diffteach.toys import load as load_toy
from diffteach.toys import window

OBS, ACT = Box(-np.inf, np.inf, (3,), np.float64), Box(-1, 1, (2,), np.float32)
NAME = "tests/walk/short-v0"


def episode(steps: int, over: bool, cut: bool, start: float = 0.0) -> Episode:
    """Observations that count on, so that a wrong row shows."""
    last = np.arange(steps) == steps - 1
    return Episode(
        start + np.arange(3.0 * (steps + 1)).reshape(steps + 1, 3),
        np.linspace(-1, 1, 2 * steps, dtype=np.float32).reshape(steps, 2),
        start + np.arange(float(steps)),
        last & over,
        last & cut,
    )


def about(**changes: object) -> About:
    return About("Counted.", "none", OBS, ACT, **changes)  # type: ignore[arg-type]


def stored(root: Path, *episodes: Episode, name: str = NAME, **changes: object) -> Dataset:
    write(name, episodes, 0, about(**changes), root)
    return minari.load(name, root)


def test_every_kind_of_end_keeps_its_true_next_observation(tmp_path: Path) -> None:
    parts = [
        episode(3, over=True, cut=False),
        episode(1, over=False, cut=True, start=100.0),
        episode(1, over=True, cut=False, start=200.0),
        episode(2, over=False, cut=False, start=300.0),  # the recording stopped
    ]
    data = stored(tmp_path, *parts)
    batch = data.transitions
    assert torch.equal(batch.done, torch.tensor([0.0, 0, 1, 0, 1, 0, 0]))
    assert data.ends.tolist() == [False, False, True, True, True, False, True]
    wanted = np.concatenate([part.observations[1:] for part in parts])
    assert np.array_equal(batch.next_obs.numpy(), wanted)
    assert np.array_equal(batch.obs[:, 0].numpy(), [0, 3, 6, 100, 200, 300, 303])
    assert np.array_equal(batch.rew.numpy(), [0, 1, 2, 100, 200, 300, 301])
    assert {column.dtype for column in batch} == {torch.float32}


def test_final_observations_that_nobody_recorded_follow_no_action(tmp_path: Path) -> None:
    parts = [
        episode(3, over=False, cut=True),
        episode(1, over=False, cut=True, start=100.0),
        episode(2, over=True, cut=False, start=200.0),
    ]
    data = stored(tmp_path, *parts, more={minari.REPEATED: "repeated"})
    assert data.transitions.obs[:, 0].tolist() == [0, 3, 200, 203]
    assert data.ends.tolist() == [False, True, False, True]
    assert data.transitions.done.tolist() == [0, 0, 0, 1]


def test_minari_itself_reads_what_is_written(tmp_path: Path, monkeypatch) -> None:
    import minari as farama
    from minari.namespace import list_local_namespaces

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    parts = [episode(3, over=True, cut=False), episode(2, over=False, cut=True, start=9.0)]
    env = gym.make("CartPole-v1").spec
    stored(tmp_path, *parts, env=env, scores=(0.0, 4.0))
    assert list(farama.list_local_datasets()) == [NAME]
    assert list_local_namespaces() == ["tests", "tests/walk"]
    found = farama.load_dataset(NAME)
    assert (found.total_steps, found.total_episodes) == (5, 2)
    assert found.filter_episodes(lambda e: bool(e.terminations[-1])).total_steps == 3
    assert found.recover_environment(eval_env=True).spec.id == "CartPole-v1"
    assert farama.get_normalized_score(found, np.array([1.0])) == pytest.approx(0.25)
    for part, read in zip(parts, found, strict=True):
        assert "total_steps" in repr(read)  # crashes in 0.5.4 where infos are missing
        for key, value in part._asdict().items():
            assert np.array_equal(getattr(read, key), value)
            assert getattr(read, key).dtype == value.dtype


def test_actions_fill_the_box_that_the_environment_is_given(tmp_path: Path) -> None:
    raw = episode(2, over=True, cut=False)
    wide = raw._replace(actions=np.array([[0.0, -4.0], [2.0, 4.0]], np.float32))
    box = Box(np.array([0, -4]), np.array([2, 4]), dtype=np.float32)
    write(NAME, [wide], 2, About("", "", OBS, box), tmp_path)
    assert minari.load(NAME, tmp_path).transitions.act.tolist() == [[-1, -1], [1, 1]]


def test_the_environment_is_that_for_evaluation(tmp_path: Path) -> None:
    collected, meant = (gym.make("CartPole-v1", max_episode_steps=k).spec for k in (1000, 7))
    data = stored(tmp_path, episode(2, True, False), env=collected, eval_env=meant)
    assert data.env == EnvSpec("CartPole-v1", {"max_episode_steps": 7}, ())
    other = stored(tmp_path, episode(2, True, False), name="tests/b-v0", env=collected)
    assert other.env is not None
    assert other.env.kwargs == {"max_episode_steps": 1000}
    nobody = stored(tmp_path, episode(2, True, False), name="tests/c-v0")
    assert nobody.env is None and nobody.scores is None


def test_our_table_of_scores_comes_before_those_of_the_set(tmp_path: Path) -> None:
    env = gym.make("CartPole-v1").spec  # Minari drops scores of sets without an environment
    given = {"env": env, "scores": (1.0, 2.0)}
    parts = [episode(2, True, False)]
    assert stored(tmp_path, *parts, name="mujoco/hopper/medium-v0", **given).scores == (
        -20.272305,
        3234.3,
    )
    assert stored(tmp_path, *parts, name="tests/own-v0", **given).scores == (1.0, 2.0)


def test_ids_are_listed_without_what_is_hidden_or_no_set(tmp_path: Path) -> None:
    stored(tmp_path, episode(2, True, False))
    (tmp_path / ".unfinished-x" / "data").mkdir(parents=True)
    (tmp_path / ".unfinished-x" / "data" / "metadata.json").write_text("{}")
    (tmp_path / "noversion").mkdir()
    found = minari.local(tmp_path)
    assert found[NAME] == tmp_path / NAME
    assert [name for name in found if not name.startswith("diffteach/")] == [NAME]


def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield episode(2, True, False)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(NAME, broken(), 2, about(), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- mazes -------------------------------------------------------------------------------------

U = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]]
CENTRE = (-1.0, 1.0)  # of g: column 1 of 5 and row 1 of 5, in cells of size 1 around the origin


def maze_episode(path: list[tuple[float, float]], goal: tuple[float, float], cut: bool) -> Episode:
    xy = np.array(path)
    steps = len(path) - 1
    goals = np.tile(goal, (steps + 1, 1))
    goals[0] = 77  # Farama's first observation still holds the goal before
    parts = {
        "observation": np.concatenate([xy, xy + 10], axis=1),
        "achieved_goal": xy,
        "desired_goal": goals,
    }
    last = np.arange(steps) == steps - 1
    return Episode(
        parts, np.zeros((steps, 2), np.float32), np.ones(steps), last & False, last & cut
    )


def maze(root: Path, name: str, *episodes: Episode, **kwargs: object) -> None:
    box = Box(-np.inf, np.inf, (2,))
    wide = Box(-np.inf, np.inf, (4,))
    space = gym.spaces.Dict({"observation": wide, "achieved_goal": box, "desired_goal": box})
    env = gym.make(
        "gymnasium_robotics:PointMaze_UMaze-v3", continuing_task=True, reset_target=False, **kwargs
    ).spec
    write(name, episodes, 0, About("", "", space, ACT, env=env), root)


POINTMAZE, ANTMAZE = "D4RL/pointmaze/umaze-v2", "D4RL/antmaze/umaze-v1"


def test_pointmaze_pays_for_the_goal_of_the_evaluation(tmp_path: Path) -> None:
    near, edge = (CENTRE[0], CENTRE[1] - 0.44), (CENTRE[0] - 0.46, CENTRE[1])
    parts = [
        maze_episode([(0.0, 1.0), near, (0.0, 1.0)], goal=(1.0, 1.0), cut=True),
        maze_episode([near, edge], goal=edge, cut=True),
    ]
    maze(tmp_path, POINTMAZE, *parts, maze_map=U)
    data = minari.load(POINTMAZE, tmp_path)
    assert data.transitions.rew.tolist() == [1, 0, 0]
    assert data.transitions.done.tolist() == [0, 0, 0]
    assert data.ends.tolist() == [False, True, True]
    assert data.transitions.obs.shape == (3, 4)
    assert data.env is not None and data.env.keys == ("observation",)
    assert data.env.kwargs["maze_map"] == U
    assert data.env.kwargs["max_episode_steps"] == 300


def test_dense_rewards_fall_with_the_distance_to_that_goal(tmp_path: Path) -> None:
    name = "D4RL/pointmaze/umaze-dense-v2"
    part = maze_episode([(0.0, 1.0), (CENTRE[0], 0.0)], goal=(1.0, 1.0), cut=True)
    maze(tmp_path, name, part, maze_map=U, reward_type="dense")
    assert minari.load(name, tmp_path).transitions.rew.item() == pytest.approx(np.exp(-1))


def test_with_goals_success_is_the_end_and_time_is_not(tmp_path: Path) -> None:
    parts = [
        maze_episode([(0.0, 1.0), (0.5, 1.0), (0.9, 1.0)], goal=(1.0, 1.0), cut=True),
        maze_episode([(0.0, 1.0), (0.5, 1.0)], goal=(1.0, 1.0), cut=True),
    ]
    maze(tmp_path, POINTMAZE, *parts, maze_map=U)
    data = minari.with_goals(POINTMAZE, tmp_path)
    assert data.transitions.done.tolist() == [0, 1, 0]
    assert data.transitions.rew.tolist() == [1, 1, 1]  # as recorded
    assert data.transitions.obs[:, 4:].tolist() == [[1, 1]] * 3
    assert data.transitions.next_obs[:, 4:].tolist() == [[1, 1]] * 3
    assert data.scores == (0.0, 1.0)
    assert data.env is not None
    assert data.env.keys == ("observation", "desired_goal")
    assert data.env.kwargs["continuing_task"] is False


def test_antmaze_ends_at_the_goal_and_observes_as_d4rl(tmp_path: Path) -> None:
    parts = [
        maze_episode([(0.0, 1.0), (0.5, 1.0), (0.9, 1.0)], goal=(1.0, 1.0), cut=True),
        maze_episode([(0.0, 1.0), (0.5, 1.0)], goal=(1.0, 1.0), cut=True),
    ]
    maze(tmp_path, ANTMAZE, *parts, maze_map=U)
    data = minari.load(ANTMAZE, tmp_path)
    assert data.transitions.done.tolist() == [0, 1, 0]
    # the place, then the body; the goal is not observed
    assert data.transitions.obs[1].tolist() == [0.5, 1, 0.5, 1, 10.5, 11]
    assert data.scores == (0.0, 1.0)
    assert data.env is not None
    assert data.env.keys == ("achieved_goal", "observation")
    assert data.env.kwargs["continuing_task"] is False


# --- the toys ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["8gaussians", "25gaussians", "four_corners", "swissroll", "two_moons"]
)
def test_the_toys_are_minari_sets(name: str) -> None:
    data = minari.load(f"diffteach/{name}-v0")
    points, reward = load_toy(name, 300, 0)
    batch = data.transitions
    torch.testing.assert_close(batch.act, points)
    assert torch.equal(batch.rew, reward)
    assert bool((batch.done == 1).all()) and bool(data.ends.all())
    assert torch.equal(batch.obs, torch.ones(300, 1))
    assert data.act_limit == window(name)
    assert data.env == EnvSpec("diffteach.envs:diffteach/Bandit2D-v0", {"density": name}, ())
    assert data.env is not None
    env = gym.make(data.env.id, **data.env.kwargs)
    env.reset(seed=0)
    paid = env.step((batch.act[0] / data.act_limit).numpy())[1]
    assert abs(float(paid) - float(reward[0])) < (2.0 if name == "four_corners" else 0.2)
    folder = minari.find(f"diffteach/{name}-v0")
    assert (folder / "data" / "main_data.hdf5").stat().st_size < 300_000


def test_generating_again_gives_the_same_sets(tmp_path: Path) -> None:
    import importlib.util

    root = minari.toys_root()
    assert root is not None
    spec = importlib.util.spec_from_file_location("generate", root.parent / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    folders = generate.write_bandits(tmp_path)
    assert {folder.name for folder in folders} == {
        p.name for p in (root / "diffteach").glob("*-v0")
    }
    again, kept = (minari.load("diffteach/two_moons-v0", place) for place in (tmp_path, root))
    for one, other in zip(again.transitions, kept.transitions, strict=True):
        torch.testing.assert_close(one, other)
    for folder in folders:
        told = (minari.metadata(place) for place in (folder, root / "diffteach" / folder.name))
        first, second = ({k: v for k, v in m.items() if k != "minari_version"} for m in told)
        assert first.keys() == second.keys()
        assert json.loads(first["env_spec"])["kwargs"] == json.loads(second["env_spec"])["kwargs"]
