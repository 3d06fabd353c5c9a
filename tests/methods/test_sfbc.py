"""SfBC: planned returns by hand, rounds, selection without putting back, four corners."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from methods.baselines import (
    apart,
    check_limits,
    check_resumes,
    check_same_seed_same_bytes,
    corners,
    equal,
    run,
    transitions,
)

from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checkpoint import load, save
from diffteach.methods.sfbc import (
    OFFICIAL,
    PAPER,
    PLANE,
    RECIPES,
    SfBC,
    SfBCConfig,
    best_ahead,
    best_here,
    gumbel_top,
)
from diffteach.nets import Critics, ResNetDenoiser
from diffteach.plane import fitted, outcome
from diffteach.schedule import VP
from diffteach.train import fit

TINY = SfBCConfig(
    supports=4,
    candidates=6,
    selected=2,
    sample_steps=2,
    behaviour=BehaviourConfig(VP(), network=partial(ResNetDenoiser, width=16, blocks=1)),
    network=partial(Critics, heads=1, width=16),
    behaviour_steps=4,
    critic_steps=5,
    batch_size=32,
)
NEVER = torch.full((5,), -torch.inf)
REW = torch.tensor([1.0, 2.0, 4.0, 3.0, 5.0])
LAST = torch.tensor([False, False, True, False, True])  # three steps, then two
VALUE = torch.tensor([9.0, 6.0, 1.0, 0.0, 7.0])


def test_without_values_returns_are_discounted_sums_to_the_end_of_the_episode() -> None:
    for plan in (best_ahead, best_here):
        assert plan(REW, LAST, NEVER, 0.5).tolist() == [3.0, 4.0, 4.0, 5.5, 5.0]


def test_planning_leaves_an_episode_where_another_does_better() -> None:
    """By hand, R_2 = 4; R_1 = 2 + max(4, 1)/2 = 4; R_0 = 1 + max(4, V_1 = 6)/2 = 4. Next episode:
    R_4 = 5, R_3 = 3 + max(5, V_4 = 7)/2 = 6.5."""
    assert best_ahead(REW, LAST, VALUE, 0.5).tolist() == [4.0, 4.0, 4.0, 6.5, 5.0]


def test_the_official_planning_lifts_a_step_to_its_own_states_value() -> None:
    assert best_here(REW, LAST, VALUE, 0.5).tolist() == [9.0, 6.0, 4.0, 6.5, 7.0]


def test_on_one_step_the_official_planning_forgets_the_rewards_below_the_value() -> None:
    reward, ends = torch.tensor([0.0, 1.5, 3.0, 5.0]), torch.ones(4).bool()
    value = torch.full((4,), 4.5)
    assert best_ahead(reward, ends, value, 0.99).equal(reward)
    assert best_here(reward, ends, value, 0.99).tolist() == [4.5, 4.5, 4.5, 5.0]


def test_selection_draws_by_the_posterior_weights_without_putting_back() -> None:
    """Weights .5, .3, .2: the pair's chances are p_i p_j/(1 - p_i)."""
    share = torch.tensor([0.5, 0.3, 0.2])
    logits = share.log()[:, None].expand(3, 40_000) - 200  # only differences count
    pair = gumbel_top(logits, 2, torch.Generator().manual_seed(0))
    for i in range(3):
        for j in range(3):
            expected = 0.0 if i == j else float(share[i] * share[j] / (1 - share[i]))
            found = float(((pair[0] == i) & (pair[1] == j)).float().mean())
            assert found == pytest.approx(expected, abs=0.012)


def test_values_are_softmax_means_over_supports_of_the_slow_critic() -> None:
    """The behaviour is N(0, I), Q = a_x: E[a e^{2a}]/E[e^{2a}] = 2 for as many supports as here."""
    known = KnownBehaviour(lambda x, t: VP().sigma(t)[:, None] * x, VP())
    agent = SfBC(
        replace(TINY, alpha=2.0, supports=1000, sample_steps=40, behaviour=known), 1, 2, 50.0
    )
    agent.slow = lambda obs, act: act[None, ..., 0]
    value = agent.values(torch.ones(40, 1))
    assert float(value.mean()) == pytest.approx(2.0, abs=0.15)
    assert agent.values(torch.ones(40, 1)).equal(value)


def episodes(n: int = 64):
    data = transitions(n)
    return data._replace(done=torch.zeros(n)), torch.arange(n) % 8 == 7


def test_the_source_plans_in_units_of_the_round_before() -> None:
    agent, (data, ends) = SfBC(TINY, 3, 2), episodes()
    source = agent.source(data, ends)
    first = source.returns()
    assert first.equal(best_ahead(data.rew, ends, torch.full((64,), -torch.inf), 0.99))
    batch = next(source(500))
    rows = (batch.act[:, None] == data.act).all(-1).float().argmax(1)
    units = (first - first.mean()) / first.std(correction=0)
    torch.testing.assert_close(batch.rew, units[rows])
    assert batch.obs.equal(data.obs[rows])
    agent.counter.count = TINY.critic_steps  # a round has ended
    agent.values = lambda obs: torch.full((64,), 2.0)
    value = torch.full((64,), float(first.mean() + 2 * first.std(correction=0)))
    torch.testing.assert_close(source.returns(), best_ahead(data.rew, ends, value, 0.99))


def test_a_round_begins_afresh_and_ends_with_a_copy() -> None:
    agent, batch = SfBC(TINY, 3, 2), transitions(32)
    q = [agent.net(batch.obs, batch.act)]
    for _ in range(5):
        agent.critic_step(batch)
    assert agent.slow(batch.obs, batch.act).equal(agent.net(batch.obs, batch.act))
    assert not agent.net(batch.obs, batch.act).equal(q[0]) and agent.finished == 1
    agent.critic_step(batch)
    twin = SfBC(TINY, 3, 2)
    twin.critic_step(batch)
    assert agent.net(batch.obs, batch.act).equal(twin.net(batch.obs, batch.act))


@pytest.mark.parametrize("stop", [2, 7, 9, 12])
def test_a_planned_run_resumes_as_itself(tmp_path, stop) -> None:
    data, ends = episodes()

    def begun(seed=0):
        agent = SfBC(TINY, 3, 2, seed=seed)
        return agent, agent.source(data, ends, seed)

    whole, source = begun()
    run(whole, source)
    agent, source = begun()
    done: dict[str, int] = {}
    run(agent, source, done, stop)
    save(tmp_path / "run", agent, source, done)
    rest, source = begun()
    for _ in fit(rest, source, load(tmp_path / "run", rest, source)):
        pass
    assert equal(whole, rest)


def test_the_mean_of_the_selected_is_the_action() -> None:
    agent, twin = (apart(SfBC(replace(TINY, selected=6), 3, 2)) for _ in range(2))
    obs = transitions(9).obs
    acts = twin.draw(obs, 6, twin.chance)
    torch.testing.assert_close(agent.act(obs), acts.mean(0))


def test_recipes_follow_the_family() -> None:
    hopper, maze = (RECIPES["official"](n).config for n in ("hopper-medium-v2", "antmaze-umaze-v2"))
    assert hopper == OFFICIAL != PAPER and hopper.selected == 4
    assert (maze.selected, maze.critic_steps) == (1, 2 * PAPER.critic_steps)


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_four_corners(seed) -> None:
    problem, obs = corners(), torch.ones(300, 1)
    config = replace(fitted(PLANE, problem), behaviour_steps=400, critic_steps=150)
    agent = run(SfBC(config, 1, 2, problem.limit, seed), problem.source(seed))
    result = outcome(problem, agent.act(obs))
    assert float(result.modes[2]) >= 0.95 and result.outside <= 0.02


def test_runs(tmp_path) -> None:
    """Broken off within the first stage, at the end of a round and within the next."""
    check_same_seed_same_bytes(SfBC, TINY)
    for steps in (3, 9, 11):
        check_resumes(SfBC, TINY, tmp_path / "run", steps)
    check_limits(SfBC, TINY)
