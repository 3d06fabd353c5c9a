"""Training, live: the film is the run that `fit` makes, and what goes wrong leaves a picture."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffteach import plane
from diffteach.explore.lessons import training as lesson
from diffteach.train import finish, fit

pytestmark = pytest.mark.trains


@pytest.fixture
def short(monkeypatch) -> None:
    """Every method at a thirtieth of its steps, in six scenes."""
    monkeypatch.setattr(sys.modules["diffteach.explore.lessons.training"], "SCENES", 6)
    for name, (build, settings) in plane.METHODS.items():
        steps = {f: n // 30 for f, n in vars(settings).items() if f.endswith("steps") and n > 60}
        monkeypatch.setitem(plane.METHODS, name, (build, replace(settings, **steps)))


def test_the_film_is_the_run_of_fit(short) -> None:
    explorable = lesson("8gaussians", "dtql", "near").finish()
    assert explorable.error == "" and explorable.state == "stopped"
    problem = plane.bandit("8gaussians", "near")
    agent = plane.agent("dtql", problem)
    steps = len(list(fit(agent, problem.source())))
    assert explorable["step"] == sum(stage.steps for stage in agent.stages) == steps
    assert 6 <= len(explorable["clock"]) <= 8
    policy = agent.policy(torch.ones(1, 1))[0].tanh() * problem.limit
    assert np.abs(explorable["policy"].mean(0) - policy[0].detach().numpy()).max() < 1.5
    again = lesson("8gaussians", "dtql", "near").finish()
    assert np.array_equal(explorable["policy"], again["policy"])


@pytest.mark.parametrize("method", plane.METHODS)
def test_every_method_runs_and_its_slider_goes_back(method, short) -> None:
    explorable = lesson("four_corners", method, "its own").finish()
    assert explorable.error == ""
    assert np.isfinite(explorable["policy"]).all()
    latest = explorable["policy"]
    explorable.set(step=0.0)
    assert "Untrained." in explorable.words
    assert not np.array_equal(explorable["policy"], latest)


def test_numbers_are_those_of_the_actions(short) -> None:
    explorable = lesson("25gaussians", "gaussian_bc", "far").advance(2)
    actions = torch.tensor(explorable["policy"], dtype=torch.float32)
    seen = plane.outcome(plane.bandit("25gaussians", "far"), actions)
    assert explorable["earns"] == pytest.approx(seen.reward, rel=1e-4)
    assert explorable["off"] == pytest.approx(seen.outside, abs=1e-6)
    assert explorable.of("middle").tolist() == pytest.approx(actions.mean(0).tolist(), abs=1e-4)


def test_lambda_multiplies_the_methods_own_weight() -> None:
    problem = plane.bandit("8gaussians")
    for method, (name, sign) in plane.REGULARISATION.items():
        usual, strong = (plane.agent(method, problem, lam).config for lam in (1, 10))
        assert getattr(strong, name) == pytest.approx(getattr(usual, name) * 10.0**sign)
    with pytest.raises(ValueError, match="lam must be positive, got 0"):
        plane.agent("dtql", problem, 0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bear", "sfbc"])
def test_more_lambda_keeps_the_policy_nearer_to_the_data(method) -> None:
    problem = plane.bandit("8gaussians", "far")
    away, more = [], []
    for lam in (0.1, 10):
        agent = plane.agent(method, problem, lam)
        finish(fit(agent, problem.source()))
        actions = agent.act(torch.ones(512, 1)).detach()
        away.append(float(torch.cdist(actions, problem.points).min(1).values.mean()))
        more.append(float(problem.q(actions).mean() - problem.q(problem.points).mean()))
    if method == "bear":
        assert away[1] < 0.5 * away[0], away
    else:  # chosen among what the data do: it leaves their law, never the data
        assert 0 < more[1] < 0.9 * more[0], more
        assert max(away) < 0.05, away


def test_a_students_reward_is_what_the_policy_learns(short) -> None:
    explorable = lesson("8gaussians", "td3bc")
    assert explorable.try_(lambda a: a[:, 0]).error == ""
    assert explorable.of("highest(q)") == pytest.approx(1.12 * 4.5, rel=1e-3)
    explorable.advance(2)
    assert explorable["earns"] == pytest.approx(explorable["policy"][:, 0].mean(), abs=1e-3)
    for mine, words in (
        (lambda a: a, "your reward must be a tensor of shape (10000,), got (10000, 2)"),
        (lambda a: a[:, 0] / 0, "your reward must be finite"),
        (lambda a: 0 * a[:, 0] + 3, "your reward must differ between points, got 3 at each"),
    ):
        assert words in explorable.try_(mine).error
        assert explorable.state == "stopped" and "Untrained." in explorable.words
    explorable.try_(None).advance()
    assert explorable.error == ""


def test_divergence_names_the_loss_its_step_and_its_stage(short, monkeypatch) -> None:
    build, settings = plane.METHODS["gaussian_bc"]
    monkeypatch.setitem(plane.METHODS, "gaussian_bc", (build, replace(settings, lr=1e38)))
    explorable = lesson("8gaussians", "gaussian_bc").finish()
    said = r"FloatingPointError: policy_loss became (nan|-?inf) at step \d+ of stage 'policy'"
    assert re.fullmatch(said, explorable.error)


def test_divergence_without_a_loss_names_the_actions_and_keeps_the_last_picture(
    short, monkeypatch
) -> None:
    build, settings = plane.METHODS["srpo"]
    monkeypatch.setitem(plane.METHODS, "srpo", (build, replace(settings, lr=1e38, critic_steps=9)))
    explorable = lesson("8gaussians", "srpo").finish()
    said = (
        r"FloatingPointError: the policy's actions are not finite after step \d+ of stage 'policy'"
    )
    assert re.fullmatch(said, explorable.error)
    assert explorable.state == "stopped" and np.isfinite(explorable["policy"]).all()
    assert explorable["step"] > 9
    assert explorable.set(step=1.0).error == ""
