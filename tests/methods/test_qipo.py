"""QIPO: the weighted optimum is the tilted law's denoiser, rounds renew supports, four corners."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from core.oracles import three_modes
from methods.baselines import (
    Affine,
    apart,
    check_limits,
    check_resumes,
    check_same_seed_same_bytes,
    corners,
    run,
    transitions,
)

from diffteach.behaviour import BehaviourConfig
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.methods.qipo import PAPER, PLANE, QIPO, RECIPES, QIPOConfig, weighted_loss
from diffteach.nets import Critics, ResNetDenoiser
from diffteach.plane import fitted, outcome
from diffteach.schedule import VP
from diffteach.train import InMemory, one_step

LAW = VP()
TINY = QIPOConfig(
    rounds=2,
    supports=4,
    sample_steps=2,
    policy=BehaviourConfig(LAW, network=partial(ResNetDenoiser, width=16, blocks=1)),
    critic=DoubleQConfig(network=partial(Critics, width=16)),
    behaviour_steps=3,
    support_steps=2,
    critic_steps=3,
    policy_steps=3,
    behaviour_batch=16,
    batch_size=8,
)


@pytest.mark.parametrize("time", [0.1, 0.3, 0.6])
def test_the_weighted_optimum_is_the_denoiser_of_the_tilted_mixture(time) -> None:
    """Along every direction of an affine family the loss is flat at the closed form, no other.

    A mixture times exp(b.a) is a mixture with weights w_k exp(b.m_k + s_k^2 |b|^2/2) and means
    m_k + s_k^2 b.
    """
    law, tilt = three_modes(), torch.tensor([2.0, -1.0], dtype=torch.float64)
    weights = law.weights * (law.means @ tilt + law.stds**2 * tilt.square().sum() / 2).exp()
    tilted = type(law)(law.means + law.stds[:, None] ** 2 * tilt, law.stds, weights / weights.sum())
    g = torch.Generator().manual_seed(0)
    support = law.sample(200_000, g).unsqueeze(1)  # 200,000 supports of one state
    eps = torch.randn(support.shape, generator=g, dtype=torch.float64)
    weight = torch.softmax(support @ tilt, 0)
    t = torch.tensor([time], dtype=torch.float64)

    def slopes(exact) -> torch.Tensor:
        theta = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)

        def denoise(x, t):
            return exact(x, t) + theta[0] + theta[1] * x

        loss = weighted_loss(denoise, LAW, support, t, eps, weight)
        assert loss.shape == (1,)
        return torch.autograd.grad(loss.sum(), theta)[0]

    assert float(slopes(tilted.denoiser(LAW)).abs().max()) < 0.02
    assert float(slopes(law.denoiser(LAW)).abs().max()) > 0.1


def test_the_policy_learns_from_its_supports_weighted_by_the_least_slow_head() -> None:
    config = replace(TINY, critic=DoubleQConfig(network=Affine), beta=0.7)
    agent, twin = (apart(QIPO(config, 3, 2)) for _ in range(2))
    losses, batch = [], transitions(16)
    for each in (agent, twin):
        each.bank.filled = 0
        each.support_step(batch)
    agent.learner.step = losses.append
    agent.policy_step(transitions(8))
    rows, support, _ = twin.rows(8)
    t, *eps = twin.noise.take(8)
    weight = torch.softmax(0.7 * twin.critic.slow(rows.obs, support).min(0).values, 0)
    total = torch.zeros(8)
    for k in range(4):
        alpha, sigma = LAW.alpha(t)[:, None], LAW.sigma(t)[:, None]
        x_t = alpha * support[k] + sigma * eps[k]
        error = (twin.policy.net(x_t, t, rows.obs) - eps[k]).square().sum(-1)
        total = total + weight[k] * error
    torch.testing.assert_close(losses[0].detach(), total.mean().detach())


def test_each_round_draws_its_supports_from_the_policy_of_before() -> None:
    agent, seen = QIPO(TINY, 3, 2), []
    kept = agent.support_step

    def support_step(batch):
        metrics = kept(batch)
        seen.append((agent.policy.net.leave[1].weight.clone(), agent.bank.columns[5].clone()))
        return metrics

    agent.support_step = support_step
    run(agent, InMemory(transitions()))
    names = [stage.name for stage in agent.stages]
    assert names == ["behaviour", "support 1", "critic", "policy 1", "support 2", "policy 2"]
    (first, _), (again, whole), (second, _), (_, renewed) = seen
    assert first.equal(again) and not first.equal(second)
    assert (whole != renewed).flatten(1).any(1).all()


@pytest.mark.slow
def test_rounds_multiply() -> None:
    """With beta b.a and a Gaussian, each round moves the mean by beta s^2 b: here from 0 to .32."""
    q = KnownQ(lambda a: a[..., 0])
    config = QIPOConfig(
        beta=1.0,
        rounds=2,
        supports=32,
        sample_steps=20,
        policy=BehaviourConfig(LAW, 0.4, lr=1e-2),
        critic=q,
        lr=3e-3,
        anneal=True,
        behaviour_steps=300,
        support_steps=2,
        critic_steps=0,
        policy_steps=150,
        behaviour_batch=256,
        batch_size=32,
    )
    g = torch.Generator().manual_seed(0)
    data = InMemory(one_step(0.4 * torch.randn(20_000, 2, generator=g)))
    agent = run(QIPO(config, 1, 2, 5.0), data)
    mean = agent.act(torch.ones(1500, 1)).mean(0)
    torch.testing.assert_close(mean, torch.tensor([0.32, 0.0]), rtol=0, atol=0.07)


def test_critics_learn_in_support() -> None:
    agent, twin = (QIPO(replace(TINY, target_beta=2.0), 3, 2) for _ in range(2))
    batch, values = transitions(16), []
    for each in (agent, twin):
        each.support_step(batch)
    agent.critic.step = lambda rows, value: values.append(value) or {}
    agent.critic_step(transitions(8))
    rows, _, there = twin.rows(8)
    q = twin.critic.slow(rows.next_obs, there).min(0).values
    expected = (q * (2 * q).exp()).sum(0) / (2 * q).exp().sum(0)
    torch.testing.assert_close(values[0], expected.detach())


def test_recipes_are_qgpos() -> None:
    maze, hopper = (RECIPES["paper"](n) for n in ("antmaze-umaze-v2", "hopper-medium-v2"))
    assert (maze.config.supports, maze.reward) == (32, "iql_antmaze")
    assert hopper.config == PAPER and hopper.reward == "iql_locomotion"


@pytest.mark.parametrize(
    ("seed", "settings", "least", "most"),
    [
        (0, {"behaviour_steps": 400, "critic_steps": 150, "policy_steps": 150}, 0.95, 0.03),
        *(pytest.param(s, {}, 0.95, 0.02, marks=pytest.mark.slow) for s in range(3)),
    ],
)
def test_four_corners(seed, settings, least, most) -> None:
    """Two rounds of beta = 2: exp(8) against the second best corner; one draw, no selection."""
    problem, obs = corners(), torch.ones(500, 1)
    config = replace(fitted(PLANE, problem), **settings)
    agent = run(QIPO(config, 1, 2, problem.limit, seed), problem.source(seed))
    result = outcome(problem, agent.act(obs))
    assert float(result.modes[2]) >= least and result.outside <= most


def test_runs(tmp_path) -> None:
    """Broken off in several stages."""
    check_same_seed_same_bytes(QIPO, TINY)
    for steps in (2, 4, 10, 14):
        check_resumes(QIPO, TINY, tmp_path / "run", steps)
    check_limits(QIPO, TINY)
