"""Problems on the plane: their batches, their exact laws, what an outcome counts, the panels."""

from __future__ import annotations

import pytest
import torch

from diffteach import plane, toys
from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.methods import dtql, qgpo, sdac, srpo
from diffteach.plane import bandit, fitted, outcome, panel, with_exact_behaviour
from diffteach.schedule import EDM, VP
from diffteach.types import Agent


def test_a_problem_holds_points_their_rewards_and_both_laws() -> None:
    problem = bandit("25gaussians", "hard", n=2000, seed=3)
    points, far = toys.load("25gaussians", 2000, 3)
    assert problem.points.equal(points) and problem.limit == 12.0
    assert problem.reward.equal(problem.q(points))
    assert float((problem.reward / far).max()) == pytest.approx(2)
    own = bandit("8gaussians", n=500)
    assert own.reward.equal(toys.load("8gaussians", 500, 0)[1])
    assert problem.scale == pytest.approx(50.09**0.5, rel=0.02)


def test_a_step_ends_unless_the_bandit_is_endless() -> None:
    problem = bandit("8gaussians", n=100)
    for endless, done in ((False, 1.0), (True, 0.0)):
        batch = next(problem.source(0, endless)(32))
        assert batch.done.equal(torch.full((32,), done))
        assert batch.obs.equal(torch.ones(32, 1)) and batch.next_obs.equal(batch.obs)


def test_outcome_counts_modes_and_what_lies_outside() -> None:
    problem = bandit("25gaussians", "far")
    law = problem.density
    centre, corner = torch.tensor([0.0, 0.0]), torch.tensor([10.0, 10.0])
    acts = torch.cat([centre.expand(60, 2), corner.expand(30, 2), torch.full((10, 2), 2.5)])
    found = outcome(problem, acts)
    assert found.outside == pytest.approx(0.1)
    shares = {int(k): float(v) for k, v in enumerate(found.modes) if v > 0}
    assert shares == pytest.approx({12: 0.6, 24: 0.3})
    assert found.reward == pytest.approx(0.3 * 200**0.5 + 0.1 * 12.5**0.5)
    assert found.spread == pytest.approx(
        float((acts - acts.mean(0)).norm(dim=-1).square().mean()) ** 0.5
    )
    fresh = outcome(problem, law.sample(20_000, torch.Generator().manual_seed(5)))
    assert fresh.outside == pytest.approx(0.001, abs=0.001)
    assert float((fresh.modes - 0.04).abs().max()) < 0.01


def test_a_curve_has_no_modes() -> None:
    problem = bandit("dtql_swissroll")
    found = outcome(problem, problem.points[:50])
    assert len(found.modes) == 0 and found.outside < 0.05


@pytest.mark.parametrize("settings", [dtql.PLANE, srpo.PLANE])
def test_settings_are_fitted_to_the_size_of_the_data(settings) -> None:
    problem = bandit("25gaussians")
    told = fitted(settings, problem)
    assert told.behaviour.data_scale == problem.scale
    assert told == type(settings)(
        **{
            **{name: getattr(settings, name) for name in settings.__dataclass_fields__},
            "behaviour": told.behaviour,
        }
    )
    known = with_exact_behaviour(told, problem)
    assert isinstance(known.behaviour, KnownBehaviour)
    assert known.behaviour.schedule == settings.behaviour.schedule
    assert fitted(known, problem) == known


@pytest.mark.parametrize("settings", [sdac.PLANE, qgpo.PLANE])
def test_a_data_scale_of_the_methods_own_is_fitted_too(settings) -> None:
    """SDAC's policy and QGPO's energy are the networks of diffusion models themselves."""
    problem = bandit("25gaussians")
    assert fitted(settings, problem).data_scale == problem.scale != settings.data_scale
    drawn = plane.agent("sdac", problem)
    assert drawn.net.data_scale == problem.scale


def test_every_panel_makes_an_agent_that_acts_on_its_problem() -> None:
    for row in plane.ROWS:
        for column, (name, _) in plane.COLUMNS.items():
            problem, agent = panel(row, column)
            assert problem.name == name and isinstance(agent, Agent)
            assert agent.act(torch.ones(3, 1)).shape == (3, 2)
    for policy in plane.POLICIES:
        _, agent = panel("trust region", "25 far", policy=policy, exact=True)
        assert isinstance(agent.behaviour, KnownBehaviour)


def test_panels_of_one_seed_start_alike_and_of_two_apart() -> None:
    acts = [panel("trust region", "25 far", seed)[1].act(torch.ones(5, 1)) for seed in (0, 0, 1)]
    assert acts[0].equal(acts[1]) and not acts[0].equal(acts[2])


def test_schedules_of_the_rows() -> None:
    assert panel("trust region", "25 far")[1].behaviour.schedule == EDM()
    behaviour = panel("reverse KL, σ²", "25 far")[1].config.behaviour
    assert isinstance(behaviour, BehaviourConfig) and behaviour.schedule == VP()
