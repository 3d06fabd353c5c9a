"""Names become settings, settings become a folder, and a folder becomes the same agent again."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from runs.plane_runs import SETUP, toy

from diffteach import plane, runs
from diffteach.runs.settings import base, changes, leaves, method, with_changes, with_steps

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
