"""T30, T35 and the moment match of advantage-weighted regression."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from methods.baselines import (
    check_limits,
    check_resumes,
    check_same_seed_same_bytes,
    run,
    tilted_points,
    transitions,
)

from diffteach.critics import DoubleQConfig, ExpectileConfig
from diffteach.methods import IQL, IQLConfig
from diffteach.methods.iql import OFFICIAL, PAPER
from diffteach.nets import Critics, DiracPolicy, GaussianPolicy, TanhGaussianPolicy, Value
from diffteach.objectives import advantage_weight
from diffteach.toys import GaussianMixture
from diffteach.train import InMemory, one_step

TINY = IQLConfig(
    critic=ExpectileConfig(
        q=DoubleQConfig(lr=1e-3, network=partial(Critics, width=16)),
        value=partial(Value, width=16),
    ),
    policy=partial(GaussianPolicy, width=16),
    lr=1e-3,
    steps=12,
    batch_size=32,
)


@pytest.mark.parametrize("endless", [False, True])
def test_values_of_a_one_state_bandit(endless) -> None:
    """T30: Q = r where the episode ends; else Q = r + discount V and V = expectile/(1 - discount).

    Rewards 0 and 1 in equal parts: the tau-expectile of r is tau (T29).
    """
    tau, discount = 0.7, 0.5
    act = torch.tensor([[-0.5, 0.0], [0.5, 0.0]]).repeat(64, 1)
    rew = torch.tensor([0.0, 1.0]).repeat(64)
    q = DoubleQConfig(discount, 0.01, True, target_rate=0.1, network=partial(Critics, width=32))
    config = replace(
        TINY, critic=ExpectileConfig(tau, q, partial(Value, width=32)), steps=500, batch_size=128
    )
    agent = run(IQL(config, 1, 2), InMemory(one_step(act, rew, endless)))
    obs = torch.ones(2, 1)
    ahead = discount * tau / (1 - discount) if endless else 0.0
    expected = torch.tensor([0.0, 1.0]) + ahead
    heads = agent.critic.online(obs, act[:2]).detach()
    torch.testing.assert_close(heads, expected.expand(2, -1), atol=0.05, rtol=0)
    assert float(agent.critic.value(obs[:1]).detach()) == pytest.approx(tau + ahead, abs=0.05)
    # What the policy is told: the same in both problems.
    advantage = agent.advantage(one_step(act[:2], rew[:2]))
    torch.testing.assert_close(advantage, torch.tensor([-0.7, 0.3]), atol=0.05, rtol=0)


@pytest.mark.parametrize(("beta", "cap"), [(1.0, 1e9), (3.0, 1e9), (3.0, 5.0)])
def test_weighted_likelihood_of_discrete_actions(beta, cap) -> None:
    """T35: the best categorical policy is mu exp(beta A), normalised; the cap cuts its weights."""
    mu = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    advantage = torch.tensor([-1.0, 0.0, 0.4, 1.2], dtype=torch.float64)
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-10)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        weight = advantage_weight(advantage, beta, cap)
        value = -(mu * weight * logits.log_softmax(0)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    expected = [m * min(math.exp(beta * a), cap) for m, a in zip(mu, advantage, strict=True)]
    expected = torch.stack(expected) / sum(expected)
    torch.testing.assert_close(logits.detach().softmax(0), expected, atol=1e-4, rtol=0)


def test_weights_stay_finite_under_huge_advantages() -> None:
    weight = advantage_weight(torch.tensor([1e4, -1e4, 0.0]), 10.0)
    assert weight.tolist() == pytest.approx([100.0, 0.0, 1.0])


MIXTURE = GaussianMixture(
    torch.tensor([[0.5, 0.3], [-0.4, 0.1], [0.0, -0.5]]),
    torch.tensor([0.1, 0.15, 0.1]),
    torch.tensor([0.5, 0.3, 0.2]),
)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_regression_finds_the_moments_of_the_tilted_law(beta) -> None:
    """With A linear, mu exp(beta A) is a mixture: argmin KL(pi* || pi) has its mean and spread."""
    slope = torch.tensor([1.0, -1.5])
    target = MIXTURE.tilted(beta * slope)
    mean, covariance = target.moments()
    config = replace(TINY, beta=beta, cap=1e9, lr=0.02, steps=400)
    agent = IQL(config, 1, 2)
    batches = tilted_points(MIXTURE, 20_000)(2000)
    for _ in range(config.steps):
        batch = next(batches)
        agent.policy_step(batch, batch.act @ slope)
    found, log_std = agent.policy(torch.ones(1, 1))
    torch.testing.assert_close(found.detach()[0], mean, atol=0.02, rtol=0)
    torch.testing.assert_close(log_std.detach().exp(), covariance.diag().sqrt(), atol=0.02, rtol=0)


def test_with_a_dirac_it_is_weighted_squared_error() -> None:
    slope = torch.tensor([1.0, -1.5])
    config = replace(
        TINY, beta=2.0, cap=1e9, lr=0.02, steps=300, policy=partial(DiracPolicy, width=16)
    )
    agent = IQL(config, 1, 2)
    batches = tilted_points(MIXTURE, 20_000)(2000)
    for _ in range(config.steps):
        batch = next(batches)
        agent.policy_step(batch, batch.act @ slope)
    mean, _ = MIXTURE.tilted(2.0 * slope).moments()
    torch.testing.assert_close(agent.act(torch.ones(1, 1))[0], mean, atol=0.02, rtol=0)


def test_the_policy_learns_from_the_advantage_of_before() -> None:
    """CORL's order: the critic's step of the same batch does not enter the weights."""
    batch = transitions()
    agent, still = IQL(TINY, 3, 2), IQL(TINY, 3, 2)
    metrics = agent.joint_step(batch)
    alone = still.policy_step(batch, still.advantage(batch))
    assert metrics["weight"].equal(alone["weight"])
    assert not agent.advantage(batch).equal(still.advantage(batch))
    heads = still.critic.target(batch.obs, batch.act)
    by_hand = torch.minimum(*heads) - still.critic.value(batch.obs)
    torch.testing.assert_close(still.advantage(batch), by_hand.detach())


def test_it_is_deployed_by_its_mean_and_explores_by_its_law() -> None:
    agent, obs = IQL(TINY, 1, 2), torch.ones(500, 1)
    mean = agent.policy(obs)[0].detach()
    assert agent.act(obs).equal(mean)
    assert float(agent.explore(obs).std()) > 0.3
    half = IQL(replace(TINY, act_noise=0.1), 1, 2)
    assert float((half.act(obs) - mean).std()) == pytest.approx(0.1, abs=0.01)


def test_presets_differ_in_the_least_log_std() -> None:
    paper, official = (IQL(config, 1, 2).policy for config in (PAPER, OFFICIAL))
    assert (paper.log_std_min, official.log_std_min) == (-20.0, -5.0)


@pytest.mark.parametrize("policy", [GaussianPolicy, TanhGaussianPolicy, DiracPolicy])
def test_runs(policy, tmp_path) -> None:
    config = replace(TINY, policy=partial(policy, width=16), act_noise=1.0)
    check_same_seed_same_bytes(IQL, config)
    check_resumes(IQL, config, tmp_path / "run", 5)
    check_limits(IQL, config)
