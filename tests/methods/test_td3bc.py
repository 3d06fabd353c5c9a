"""TD3+BC on a quadratic Q, smoothing, and what happens at every second step only."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from methods.baselines import (
    check_limits,
    check_resumes,
    check_same_seed_same_bytes,
    run,
    transitions,
)

from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.methods import TD3BC, TD3BCConfig
from diffteach.nets import Critics, DiracPolicy, TanhGaussianPolicy
from diffteach.train import Counter, InMemory, named_generator, one_step

TINY = TD3BCConfig(
    critic=DoubleQConfig(lr=1e-3, network=partial(Critics, width=16), target_every=2),
    policy=partial(DiracPolicy, width=16),
    lr=1e-3,
    steps=12,
    batch_size=32,
)
MEAN, TARGET = torch.tensor([-0.3, 0.2]), torch.tensor([0.5, -0.1])


def hill(act: torch.Tensor) -> torch.Tensor:
    return 2.0 - (act - TARGET).square().sum(-1)


@pytest.mark.parametrize("alpha", [0.5, 2.5])
def test_optimum_on_a_quadratic_hill(alpha) -> None:
    """min mean_A (a - m)^2 - greed Q(a): a = (m/A + greed target)/(1/A + greed).

    The greed alpha/|Q(a)| follows the action, so the optimum is a fixed point, found here by
    iterating.
    """
    g = torch.Generator().manual_seed(0)
    points = MEAN + 0.1 * torch.randn(2000, 2, generator=g)
    config = replace(TINY, alpha=alpha, critic=KnownQ(hill), lr=0.01, steps=600, batch_size=500)
    agent = run(TD3BC(config, 1, 2), InMemory(one_step(points)))
    best = points.mean(0)
    for _ in range(200):
        greed = alpha / float(hill(best).abs())
        best = (points.mean(0) / 2 + greed * TARGET) / (0.5 + greed)
    torch.testing.assert_close(agent.act(torch.ones(1, 1))[0], best, atol=0.02, rtol=0)
    assert 0.1 < float((best - MEAN).norm()) < float((TARGET - MEAN).norm())


def test_scale_of_the_reward_does_not_matter() -> None:
    """Q is divided by mean|Q|."""
    batch = transitions()
    losses = [
        TD3BC(replace(TINY, critic=KnownQ(lambda a, s=s: s * hill(a))), 3, 2).policy_step(batch)
        for s in (1.0, 100.0)
    ]
    assert float(losses[0]["policy_loss"]) == pytest.approx(
        float(losses[1]["policy_loss"]), rel=1e-5
    )


def test_only_the_first_critic_drives_the_policy() -> None:
    batch, agents = transitions(), [TD3BC(TINY, 3, 2) for _ in range(3)]
    with torch.no_grad():
        agents[1].critic.net.body[-1].bias[1] += 5
        first = agents[2].critic.net.body[-1].bias[0]
        first -= agents[2].critic.online(batch.obs, agents[2].policy(batch.obs))[0].mean()
    losses = [float(agent.policy_step(batch)["policy_loss"]) for agent in agents]
    assert losses[0] == losses[1] != losses[2]


def test_policy_and_slow_networks_move_at_every_second_step() -> None:
    agent, batches = TD3BC(TINY, 3, 2), InMemory(transitions())(32)

    def weights() -> list[torch.Tensor]:
        nets = agent.policy, agent.slow, agent.critic.slow, agent.critic.net
        return [torch.cat([p.detach().flatten().clone() for p in n.parameters()]) for n in nets]

    moved, before = [], weights()
    for _ in range(4):
        metrics = agent.joint_step(next(batches))
        after = weights()
        moved.append([not a.equal(b) for a, b in zip(before, after, strict=True)])
        assert ("policy_loss" in metrics) == moved[-1][0]
        before = after
    assert moved == [[False, False, False, True], [True] * 4] * 2


def test_slow_policy_takes_its_share() -> None:
    agent, batches = TD3BC(replace(TINY, target_rate=0.25), 3, 2), InMemory(transitions())(32)
    before = agent.slow.body[0].weight.clone()
    agent.joint_step(next(batches))
    agent.joint_step(next(batches))
    expected = before + 0.25 * (agent.policy.body[0].weight.detach() - before)
    torch.testing.assert_close(agent.slow.body[0].weight, expected)


def test_next_actions_are_smoothed_by_clamped_noise() -> None:
    """Noise of 0.2 limits, cut at 0.5; here 0.4 and 0.5, so that the cut shows: P = 0.211."""
    agent = TD3BC(replace(TINY, smoothing=0.4), 1, 2, act_limit=2.0)
    with torch.no_grad():
        for p in agent.slow.parameters():
            p.zero_()
    noise = agent.smoothed(torch.ones(20_000, 1)) / 2.0
    assert float(noise.abs().max()) == pytest.approx(0.5)
    assert float((noise.abs() > 0.4999).float().mean()) == pytest.approx(0.211, abs=0.01)
    with torch.no_grad():
        agent.slow.body[-1].bias.fill_(1.5)
    assert float(agent.smoothed(torch.ones(2000, 1)).max()) == 2.0


def test_bootstraps_from_the_least_slow_critic_of_the_slow_policy() -> None:
    agent, batch = TD3BC(replace(TINY, smoothing=0.0), 3, 2), transitions()
    with torch.no_grad():
        agent.critic.slow.body[-1].bias += torch.tensor([3.0, -3.0])[:, None, None]
        agent.slow.body[-1].bias += 0.5
    heads = agent.critic.slow(batch.next_obs, agent.slow(batch.next_obs))
    torch.testing.assert_close(agent.next_value(batch), torch.minimum(*heads).detach())


def test_counters_and_named_generators() -> None:
    counter = Counter()
    assert [counter.tick() for _ in range(3)] == [1, 2, 3]
    other = Counter()
    other.load_state_dict(counter.state_dict())
    assert other.tick() == 4
    draws = [
        torch.randn(3, generator=named_generator(name, seed)).tolist()
        for name, seed in (("a", 0), ("a", 0), ("b", 0), ("a", 1))
    ]
    assert draws[0] == draws[1] and len({tuple(d) for d in draws}) == 3


@pytest.mark.parametrize("policy", [DiracPolicy, TanhGaussianPolicy])
def test_runs(policy, tmp_path) -> None:
    """Broken off after an odd number of steps: the delay's counters must survive."""
    config = replace(TINY, policy=partial(policy, width=16))
    check_same_seed_same_bytes(TD3BC, config)
    check_resumes(TD3BC, config, tmp_path / "run", 5)
    check_limits(TD3BC, config)
