"""D4RL's flat files: which rows become transitions, worked out by hand on numbered rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from diffteach.data import d4rl, hdf5
from diffteach.data.dataset import Dataset, EnvSpec, clipped

ROWS = 8


def numbered(rows: int = ROWS, terminals: list[int] = (), timeouts: list[int] = ()) -> dict:
    """A file's columns: row i observes i, then i + 0.5, acts i / 100 and earns i."""
    i = np.arange(rows, dtype=np.float32)
    return {
        "observations": np.stack([i, -i], 1),
        "next_observations": np.stack([i + 0.5, -i], 1),
        "actions": np.stack([i, i, -i], 1) / 100,
        "rewards": i,
        "terminals": np.isin(np.arange(rows), terminals),
        "timeouts": np.isin(np.arange(rows), timeouts),
    }


def stored(path: Path, columns: dict, without: tuple[str, ...] = ()) -> Path:
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            if name not in without:
                file[name] = column
    return path


def rows(data: Dataset) -> list[int]:
    return data.transitions.obs[:, 0].int().tolist()


def marked(data: Dataset, flags: torch.Tensor) -> list[int]:
    return [row for row, flag in zip(rows(data), flags, strict=True) if flag]


# terminals, timeouts -> the rows that stay, and the last row of each episode among them
EDGES = {
    "nothing ends": ([], [], [0, 1, 2, 3, 4, 5, 6], [6]),
    "a time limit inside": ([], [3], [0, 1, 2, 4, 5, 6], [2, 6]),
    "a terminal inside": ([3], [], [0, 1, 2, 3, 4, 5, 6], [3, 6]),
    "a time limit on the last row": ([], [3, 7], [0, 1, 2, 4, 5, 6], [2, 6]),
    "a time limit one row before the last": ([], [6], [0, 1, 2, 3, 4, 5], [5]),
    "a terminal on the last row": ([3, 7], [], [0, 1, 2, 3, 4, 5, 6], [3, 6]),
    "one step, then a terminal": ([0, 1, 4], [], [0, 1, 2, 3, 4, 5, 6], [0, 1, 4, 6]),
    "one step, then a time limit": ([], [0, 3, 4], [1, 2, 5, 6], [2, 6]),
    "both on one row": ([3], [3], [0, 1, 2, 4, 5, 6], [2, 6]),
    "a terminal before a time limit": ([2], [3], [0, 1, 2, 4, 5, 6], [2, 6]),
}


@pytest.mark.parametrize("edge", EDGES)
def test_rows_of_time_limits_and_the_last_row_go_terminals_stay(edge, tmp_path: Path) -> None:
    terminals, timeouts, kept, ends = EDGES[edge]
    path = stored(tmp_path / "recorded.hdf5", numbered(ROWS, terminals, timeouts))
    data = d4rl.load(path)
    assert rows(data) == kept
    assert marked(data, data.ends) == ends
    assert marked(data, data.transitions.done) == [row for row in terminals if row in kept]


def test_the_next_observation_is_that_of_the_row_below(tmp_path: Path) -> None:
    # Behind the terminal of row 3 that is the first state of the next episode, which no method
    # looks at; what the file stores as next observation is ignored.
    data = d4rl.load(stored(tmp_path / "recorded.hdf5", numbered(ROWS, [3], [6])))
    assert rows(data) == [0, 1, 2, 3, 4, 5]
    obs, act, rew, next_obs, done = data.transitions
    assert next_obs.tolist() == [[i + 1, -i - 1] for i in range(6)]
    assert rew.tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(act, torch.arange(6)[:, None] / 100 * torch.tensor([1, 1, -1]))
    assert done.tolist() == [0, 0, 0, 1, 0, 0]
    assert {column.dtype for column in data.transitions} == {torch.float32}
    assert data.act_limit == 1


def test_exact_next_observations_keep_every_row(tmp_path: Path) -> None:
    path = stored(tmp_path / "recorded.hdf5", numbered(ROWS, [3], [6]))
    data = d4rl.load_exact(path)
    assert rows(data) == list(range(8))
    assert data.transitions.next_obs.tolist() == [[i + 0.5, -i] for i in range(8)]
    assert marked(data, data.transitions.done) == [3]
    assert marked(data, data.ends) == [3, 6, 7]


@pytest.mark.parametrize("load", [d4rl.load, d4rl.load_exact])
def test_doubles_and_columns_of_width_one_are_converted_and_said(load, tmp_path: Path) -> None:
    columns = numbered(ROWS, [3], [6])
    plain = load(stored(tmp_path / "recorded.hdf5", columns))
    wide = {
        name: column.astype(np.float64) if column.dtype == np.float32 else column.astype(np.uint8)
        for name, column in columns.items()
    }
    for name in ("rewards", "terminals", "timeouts"):
        wide[name] = wide[name][:, None]
    odd = load(stored(tmp_path / "odd.hdf5", wide))
    for one, other in zip(plain.transitions, odd.transitions, strict=True):
        assert torch.equal(one, other)
    assert (plain.digest, plain.ends.tolist()) == (odd.digest, odd.ends.tolist())
    assert "float64" in odd.origin
    assert "float64" not in plain.origin


def test_without_timeouts_episodes_end_after_as_many_steps_as_the_task_has(tmp_path: Path) -> None:
    # A pen's episode has 100 steps. D4RL's count begins at 0 in the file and after a time limit,
    # but at 1 after a terminal: row 99 goes, and after the terminal of row 150 row 249 goes.
    columns = numbered(360, [150])
    path = stored(tmp_path / "recorded.hdf5", columns, ("timeouts", "next_observations"))
    data = d4rl.load(path, "pen-human-v0")
    assert sorted(set(range(359)) - set(rows(data))) == [99, 249, 349]
    assert marked(data, data.ends) == [98, 150, 248, 348, 358]
    assert "100" in data.origin


def test_a_terminal_on_the_step_of_the_time_limit_goes_too(tmp_path: Path) -> None:
    columns = numbered(210, [99])
    path = stored(tmp_path / "recorded.hdf5", columns, ("timeouts",))
    data = d4rl.load(path, "pen-human-v0")
    assert sorted(set(range(209)) - set(rows(data))) == [99, 199]


def test_the_name_gives_environment_and_scores(tmp_path: Path) -> None:
    path = stored(tmp_path / "hopper_medium-v2.hdf5", numbered(ROWS, [3]))
    data = d4rl.load(path)
    assert data.name == "hopper-medium-v2"
    assert data.env == EnvSpec("Hopper-v4")
    assert data.scores == (-20.272305, 3234.3)
    assert d4rl.load(path, "walker2d-medium-v2").env == EnvSpec("Walker2d-v4")
    own = d4rl.load(stored(tmp_path / "recorded.hdf5", numbered(ROWS, [3])))
    assert (own.name, own.env, own.scores) == ("recorded", None, None)


def test_an_antmaze_says_that_no_environment_of_today_is_its_own(tmp_path: Path) -> None:
    columns = numbered(ROWS, [3])
    del columns["next_observations"]
    file = "Ant_maze_u-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5"
    data = d4rl.load(stored(tmp_path / file, columns))
    assert data.name == "antmaze-umaze-diverse-v2"
    assert data.env is None
    assert "no environment of today" in data.origin


def test_the_digest_is_of_the_columns_alone(tmp_path: Path) -> None:
    columns = numbered(ROWS, [3])
    one = d4rl.load(stored(tmp_path / "one.hdf5", columns))
    assert d4rl.load(stored(tmp_path / "two.hdf5", columns)).digest == one.digest
    columns["rewards"] = columns["rewards"] + 1
    assert d4rl.load(stored(tmp_path / "three.hdf5", columns)).digest != one.digest


def test_actions_beyond_the_box_are_counted_kept_and_cut_on_demand(tmp_path: Path) -> None:
    columns = numbered(ROWS, [3])
    columns["actions"][1] = [1.5, -2.0, 0.5]
    columns["actions"][4] = [0.0, 1.0, 1.25]
    columns["actions"][7] = 3.0  # the last row is dropped
    data = d4rl.load(stored(tmp_path / "recorded.hdf5", columns))
    assert "2 of 7 actions leave [-1, 1]" in data.origin
    assert data.transitions.act[1].tolist() == [1.5, -2.0, 0.5]
    cut = clipped(data)
    assert cut.transitions.act[[1, 4]].tolist() == [[1.0, -1.0, 0.5], [0.0, 1.0, 1.0]]
    assert torch.equal(cut.transitions.act[[0, 2, 3]], data.transitions.act[[0, 2, 3]])
    assert cut.digest != data.digest
    assert "clipped" in cut.origin
    assert clipped(cut) is cut


# ---- whole episodes, read and written


def test_episodes_carry_their_final_states(tmp_path: Path) -> None:
    path = stored(tmp_path / "recorded.hdf5", numbered(6, [1], [2]))
    first, second, third = hdf5.read(path)
    assert first.observations[:, 0].tolist() == [0, 1, 1.5]
    assert second.observations[:, 0].tolist() == [2, 2.5]
    assert third.observations[:, 0].tolist() == [3, 4, 5, 5.5]
    assert (first.terminal, first.timeout) == (True, False)
    assert (second.terminal, second.timeout) == (False, True)
    assert (third.terminal, third.timeout) == (False, False)  # the recording stops here
    assert third.rewards.tolist() == [3, 4, 5]
    assert third.actions.shape == (3, 3)


def test_episodes_without_final_states_have_one_observation_less(tmp_path: Path) -> None:
    path = stored(tmp_path / "recorded.hdf5", numbered(6, [1], [2]), ("next_observations",))
    shapes = [len(episode.observations) - len(episode.rewards) for episode in hdf5.read(path)]
    assert shapes == [0, 0, 0]


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_writing_the_episodes_of_a_file_gives_its_columns(final, kind, tmp_path: Path) -> None:
    columns = numbered(20, [4, 5, 19], [5, 9])
    inner = ~(columns["terminals"] | columns["timeouts"])
    columns["next_observations"][inner] = columns["observations"][np.flatnonzero(inner) + 1]
    for name in ("observations", "next_observations", "actions", "rewards"):
        columns[name] = columns[name].astype(kind)
    without = () if final else ("next_observations",)
    path = stored(tmp_path / "one.hdf5", columns, without)
    copy = hdf5.write(tmp_path / "two.hdf5", hdf5.read(path))
    with h5py.File(copy) as file:
        assert set(file) == set(columns) - set(without)
        for name in file:
            assert file[name].dtype == columns[name].dtype
            np.testing.assert_array_equal(file[name][:], columns[name])
    assert d4rl.load(copy).digest == d4rl.load(path).digest


def test_many_episodes_are_written_in_pieces(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(hdf5, "PIECE", 7)
    columns = numbered(50, [], list(range(4, 50, 5)))
    path = stored(tmp_path / "one.hdf5", columns)
    assert [len(piece) for piece in hdf5._pieces(hdf5.read(path))] == [2] * 5
    hdf5.write(path, hdf5.read(path))  # over the file itself: whole or not at all
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["rewards"][:], columns["rewards"])
        np.testing.assert_array_equal(file["timeouts"][:], columns["timeouts"])


def test_the_same_episodes_give_the_same_bytes(tmp_path: Path) -> None:
    path = stored(tmp_path / "one.hdf5", numbered(50, [10, 20]))
    one = hdf5.write(tmp_path / "two.hdf5", hdf5.read(path)).read_bytes()
    assert hdf5.write(tmp_path / "three.hdf5", hdf5.read(path)).read_bytes() == one


# ---- known counts and mean returns


def test_a_file_is_held_against_what_is_known_of_its_set(tmp_path: Path, monkeypatch) -> None:
    # Finished episodes: rows 0..3 earn 6, rows 4..5 earn 9; rows 6 and 7 were cut short.
    path = stored(tmp_path / "hopper_medium-v2.hdf5", numbered(ROWS, [3], [5]))
    monkeypatch.setattr(d4rl, "EXPECTED", {"hopper-medium-v2": (6, 7.5)})
    assert d4rl.check(path) == []
    monkeypatch.setattr(d4rl, "EXPECTED", {"hopper-medium-v2": (7, 9)})
    assert d4rl.check(path) == [
        "hopper-medium-v2 has 7 rows in finished episodes, this file 6",
        "hopper-medium-v2 has a mean return of 9.0, this file 7.5",
    ]
    assert d4rl.check(path, "my-own-v0") == []


def test_what_is_known_are_rows_and_mean_returns() -> None:
    assert d4rl.EXPECTED["hopper-medium-v2"] == (999_906, 1422)
    assert d4rl.EXPECTED["halfcheetah-medium-replay-v2"] == (202_000, 3093)
    assert len(d4rl.EXPECTED) == 9


# ---- recordings made elsewhere


@pytest.mark.parametrize(
    ("robot", "returns"), [("hopper", [3717, 3718]), ("halfcheetah", [4068, 4002])]
)
def test_recorded_demonstrations(robot, returns, shared: Path) -> None:
    path = shared / "data" / f"{robot}-v4-demos.hdf5"
    if not path.exists():
        pytest.skip("the recordings are not here")
    data = d4rl.load(path, f"diffteach/{robot}/demos-v0")
    # Two episodes of 1,000 rows: the row of the first time limit and the last row of all go.
    assert len(data.transitions.rew) == 1_998
    assert data.ends.nonzero().flatten().tolist() == [998, 1_997]
    assert not data.transitions.done.any()
    found = [episode.rewards.sum() for episode in hdf5.read(path)]
    assert found == pytest.approx(returns, abs=0.5)
    exact = d4rl.load_exact(path)
    inner = [*range(999), *range(1_000, 1_999)]
    for ours, stored_columns in zip(data.transitions, exact.transitions, strict=True):
        assert torch.equal(ours, stored_columns[inner])
    with h5py.File(path) as file:
        beyond = (np.abs(file["actions"][:][inner]) > 1).any(1).sum()
    assert beyond > 0
    assert f"{beyond:,} of 1,998 actions leave [-1, 1]" in data.origin


@pytest.mark.slow
def test_two_million_rows_are_read_within_a_gigabyte_and_a_half(tmp_path: Path) -> None:
    # halfcheetah-medium-expert: 17 + 17 + 6 + 1 numbers and two flags a row.
    path = tmp_path / "large.hdf5"
    with h5py.File(path, "w") as file:
        for key, width in (("observations", 17), ("next_observations", 17), ("actions", 6)):
            file.create_dataset(key, (2_000_000, width), "f4", fillvalue=0.5)
        file.create_dataset("rewards", (2_000_000,), "f4")
        file["terminals"] = np.zeros(2_000_000, bool)
        file["timeouts"] = np.arange(2_000_000) % 1000 == 999
    code = (
        "import resource, sys; from diffteach.data import d4rl; "
        "data = d4rl.load(sys.argv[1]); "
        "print(len(data.ends), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    run = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    rows, kilobytes = map(int, done.stdout.split())
    assert rows == 2_000_000 - 2_000
    assert kilobytes < 1.5e6
