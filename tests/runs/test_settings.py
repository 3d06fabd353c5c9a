"""Names become settings, settings become a folder, and a folder becomes the same agent again."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from runs.plane_runs import SETUP, toy

from diffteach import plane, runs
from diffteach.data import Dataset
from diffteach.data.dataset import digest
from diffteach.runs import Setup
from diffteach.runs.settings import base, changes, leaves, method, with_changes, with_steps
from diffteach.types import Batch

METHODS = sorted(plane.METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_steps_are_those_of_every_stage(name) -> None:
    build, config, _ = method(name)
    before, after = (build(c, 1, 2, 1.0, 0).stages for c in (config, with_steps(config, 7)))
    assert [s.steps for s in after] == [7 if s.steps else 0 for s in before]


@pytest.mark.parametrize("name", METHODS)
def test_changes_bring_one_config_to_another(name) -> None:
    config = method(name).plane
    other = with_steps(config, 7)
    found = changes(config, other)
    assert set(found.values()) == {7} and with_changes(config, found) == other
    assert changes(config, config) == {}
    assert {n.split(".")[0] for n in leaves(config)} <= {f.name for f in fields(config)}


def test_a_nested_leaf_is_replaced_and_an_unknown_one_named() -> None:
    config = base(SETUP).config
    new = with_changes(config, {"behaviour.lr": 0.5, "times": [0.1, 0.9]})
    assert new.behaviour.lr == 0.5 and new.times == (0.1, 0.9)
    assert replace(new, behaviour=config.behaviour, times=config.times) == config
    with pytest.raises(ValueError, match="did you mean 'behaviour.lr'"):
        with_changes(config, {"behaviour.lrr": 1})


def test_a_folder_gives_the_same_actions_and_the_same_returns(tmp_path) -> None:
    short = replace(SETUP, changes=dict.fromkeys(SETUP.changes, 5))
    data = toy()
    folder = runs.train(short, data, tmp_path / "run", evaluations=1, progress=False)
    first, second = (runs.open_run(folder.path) for _ in range(2))
    obs = torch.ones(50, 1)
    assert torch.equal(first.act(obs), second.act(obs))
    assert first.act(obs).abs().max() <= data.act_limit
    returns = [e.total for e in first.evaluate(20, seed=1)]
    problem = plane.bandit("four_corners")
    # A Dirac acts alike in every episode, and the bandit pays what the reward says of its action.
    assert returns == pytest.approx([float(problem.q(first.act(obs[:1])))] * 20, abs=1e-5)
    rows = folder.read("evaluations")
    assert {row["total"] for row in rows} == {"15"} and len(rows) == first.episodes
    # The bandit's scale: 0 and 5 count as 0 and 100 percent.
    row = rows[0]
    assert float(row["score"]) == pytest.approx(20 * float(row["return"]), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "changed"), [("diffuser", {"horizon": 8}), ("sfbc", {}), ("srpo", {}), ("iql", {})]
)
def test_agents_of_plans_and_of_rows_train_on_the_same_episodes(name, changed, tmp_path) -> None:
    """Ten walks of twenty steps, whose next observations are those of the next row."""
    generator = torch.Generator().manual_seed(0)
    walks = torch.randn(10, 21, 3, generator=generator).cumsum(1) / 5
    act = torch.rand(200, 2, generator=generator) * 2 - 1
    ends = torch.arange(200) % 20 == 19
    batch = Batch(
        walks[:, :-1].flatten(0, 1), act, act[:, 0], walks[:, 1:].flatten(0, 1), ends.float()
    )
    data = Dataset("mine/walks-v0", batch, ends, None, None, "drawn", digest(batch, ends))
    setup = Setup(name, data.name, seed=1)
    config = with_changes(with_steps(base(setup).config, 3), changed)
    small = with_changes(config, {n: 8 for n in leaves(config) if n in ("batch_size",)})
    setup = replace(setup, changes=changes(base(setup).config, small))
    folder = runs.train(setup, data, tmp_path / "run", progress=False)
    opened = runs.open_run(folder.path)
    assert opened.act(batch.obs[:5]).shape == (5, 2)
    with pytest.raises(ValueError, match="name no environment"):
        opened.evaluate()
