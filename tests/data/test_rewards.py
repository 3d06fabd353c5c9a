"""Reward tunings against arrays worked out by hand."""

from __future__ import annotations

import pytest
import torch

from diffteach.data.dataset import Dataset
from diffteach.data.rewards import TUNINGS, episode_returns
from diffteach.types import Batch


def dataset(rewards: list[float] | torch.Tensor, done: list[int] = ()) -> Dataset:
    """One-dimensional transitions with these rewards, terminal at the rows of `done`."""
    rew = torch.as_tensor(rewards, dtype=torch.float32)
    n = len(rew)
    flags = torch.zeros(n)
    flags[list(done)] = 1
    obs = torch.zeros(n, 1)
    batch = Batch(obs, torch.zeros(n, 1), rew, obs, flags)
    return Dataset("by hand", batch, flags.bool(), None, None, "made for a test", "")


REWARDS = [1.0, 2.0, 3.0, 4.0, -10.0, 5.0, 100.0]
DONE = [2, 4]  # returns 6 and -6; the last two rows are an unfinished episode and do not count


def test_the_names_are_these() -> None:
    names = {"raw", "iql_locomotion", "iql_antmaze", "cql_antmaze", "standardised"}
    assert set(TUNINGS) == names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raw", REWARDS),
        ("iql_antmaze", [0.0, 1.0, 2.0, 3.0, -11.0, 4.0, 99.0]),
        ("cql_antmaze", [2.0, 6.0, 10.0, 14.0, -42.0, 18.0, 398.0]),
        ("iql_locomotion", [1000 * reward / 12 for reward in REWARDS]),
    ],
)
def test_tunings_by_hand(name, expected) -> None:
    data = dataset(REWARDS, DONE)
    tuned = TUNINGS[name](data)
    assert tuned.dtype == torch.float32
    torch.testing.assert_close(tuned, torch.tensor(expected))
    assert data.transitions.rew.tolist() == REWARDS  # the recording is left as it was


def test_standardised_divides_by_the_sample_deviation() -> None:
    # mean 2, deviations -1 0 1: variance 2 / (3 - 1)
    tuned = TUNINGS["standardised"](dataset([1.0, 2.0, 3.0]))
    torch.testing.assert_close(tuned, torch.tensor([-1.0, 0.0, 1.0]))


def test_returns_are_cut_at_terminals_and_after_a_thousand_rows() -> None:
    rewards = torch.ones(2_503)
    rewards[2_000:] = 2.0
    # 0..999 | 1000..1499, terminal | 1500..2499: 500 ones and 500 twos | 3 rows left over
    assert episode_returns(dataset(rewards, [1_499])).tolist() == [1000.0, 500.0, 1500.0]


def test_a_terminal_on_the_thousandth_row_ends_one_episode_not_two() -> None:
    returns = episode_returns(dataset(torch.ones(1_500), [999, 1_000, 1_499]))
    assert returns.tolist() == [1000.0, 1.0, 499.0]


def test_filtered_halfcheetah_drifts_over_its_episodes() -> None:
    # Its episodes of 1,000 steps lose their last row to the filter: 999 rows each, no terminals.
    # Segments of 1,000 rows then take one more row of the next episode each, as SRPO's code does.
    rewards = torch.cat([torch.full((999,), float(k)) for k in range(3)])
    returns = episode_returns(dataset(rewards))
    assert returns.tolist() == [1.0, 998.0 + 2 * 2.0]


def test_returns_agree_with_a_walk_over_the_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(20_000, generator=generator)
    done = torch.nonzero(torch.rand(20_000, generator=generator) < 3e-4).flatten().tolist()
    total, length, expected = 0.0, 0, []
    for row, reward in enumerate(rewards.tolist()):
        total, length = total + reward, length + 1
        if row in done or length == 1000:
            expected.append(total)
            total, length = 0.0, 0
    returns = episode_returns(dataset(rewards, done))
    torch.testing.assert_close(returns, torch.tensor(expected, dtype=torch.float64))
