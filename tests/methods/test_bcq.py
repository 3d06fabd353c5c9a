"""BCQ: proposals, their perturbation, the soft-clipped target and the best of many."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from methods.baselines import (
    check_limits,
    check_resumes,
    check_same_seed_same_bytes,
    transitions,
)

from diffteach.behaviour import VAEConfig
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.methods import BCQ, BCQConfig
from diffteach.nets import CVAE, Critics, Perturbation, seeded
from diffteach.objectives import soft_clipped

TINY = BCQConfig(
    behaviour=VAEConfig(partial(CVAE, width=16)),
    perturbation=partial(Perturbation, widths=(16,)),
    critic=DoubleQConfig(lr=1e-3, network=partial(Critics, width=16)),
    candidates=20,
    steps=12,
    batch_size=32,
)


def test_between_the_least_and_the_greatest_critic() -> None:
    heads = torch.tensor([[1.0, 5.0], [3.0, 1.0]])
    assert soft_clipped(heads, 0.75).tolist() == [1.5, 2.0]
    assert soft_clipped(heads, 1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("limit", [1.0, 4.5])
def test_no_action_is_moved_far(limit) -> None:
    with seeded(0):
        net = Perturbation(1, 2, limit, share=0.05, widths=(8,))
    obs, act = torch.ones(500, 1), limit * (2 * torch.rand(500, 2) - 1)
    with torch.no_grad():
        net.body[-1].bias.fill_(50.0)
        moved = net(obs, act)
    torch.testing.assert_close(moved, (act + 0.05 * limit).clamp(max=limit))


def test_the_perturbation_climbs_as_far_as_it_may() -> None:
    agent = BCQ(replace(TINY, critic=KnownQ(lambda a: a[..., 0] - a[..., 1]), lr=0.01), 3, 2)
    batch = transitions()
    for _ in range(200):
        agent.policy_step(batch)
    act = torch.zeros(5, 2)
    moved = agent.perturbation(batch.obs[:5], act).detach()
    torch.testing.assert_close(
        moved, torch.tensor([[0.05, -0.05]]).expand(5, -1), atol=2e-3, rtol=0
    )


def test_acting_takes_the_best_of_the_proposals() -> None:
    """More candidates, better actions; one candidate ignores Q."""
    q = KnownQ(lambda a: a[..., 0])
    obs, means = torch.ones(300, 1), []
    for count in (1, 10, 100):
        agent = BCQ(replace(TINY, critic=q, candidates=count), 1, 2)
        with torch.no_grad():
            agent.behaviour.net.decoder[-1].weight.mul_(5)
        means.append(float(agent.act(obs)[:, 0].mean()))
    assert means[0] + 0.05 < means[1] < means[2]
    proposals = agent.behaviour.draw(torch.ones(30_000, 1), torch.Generator().manual_seed(1))
    # The mean of the best of 100 lies beyond the 0.98 quantile of one.
    assert means[2] > float(proposals[:, 0].quantile(0.98)) - 0.05


def test_bootstraps_from_the_best_of_the_backups() -> None:
    """With more proposals the best is better; heads that differ by d lower the value by d/4."""
    batch, values = transitions(), []
    for count in (1, 50):
        agent = BCQ(replace(TINY, backups=count), 3, 2)
        with torch.no_grad():
            agent.behaviour.net.decoder[-1].weight.mul_(20)
            agent.critic.slow.body[-1].weight.mul_(5)
        values.append(agent.next_value(batch))
    assert float((values[1] > values[0]).float().mean()) > 0.9
    agent = BCQ(TINY, 3, 2)
    with torch.no_grad():
        for p in agent.critic.slow.parameters():
            p.zero_()
        agent.critic.slow.body[-1].bias += torch.tensor([1.0, 3.0])[:, None, None]
    assert agent.next_value(batch).tolist() == [1.5] * len(batch.act)


def test_slow_perturbation_takes_its_share() -> None:
    agent = BCQ(replace(TINY, target_rate=0.25), 3, 2)
    before = agent.slow.body[0].weight.clone()
    agent.policy_step(transitions())
    expected = before + 0.25 * (agent.perturbation.body[0].weight.detach() - before)
    torch.testing.assert_close(agent.slow.body[0].weight, expected)


def test_runs(tmp_path) -> None:
    check_same_seed_same_bytes(BCQ, TINY)
    check_resumes(BCQ, TINY, tmp_path / "run", 5)
    check_limits(BCQ, TINY)
