"""BEAR: the MMD by brute force and on two points, the constraint, and its multiplier."""

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
    transitions,
)

from diffteach.behaviour import VAEConfig
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.methods import BEAR, BEARConfig
from diffteach.nets import CVAE, Critics, TanhGaussianPolicy
from diffteach.objectives import mmd

TINY = BEARConfig(
    behaviour=VAEConfig(partial(CVAE, width=16)),
    policy=partial(TanhGaussianPolicy, width=16, depth=1),
    critic=DoubleQConfig(lr=1e-3, network=partial(Critics, width=16)),
    match_steps=4,
    steps=8,
    batch_size=32,
)


def test_discrepancy_by_brute_force() -> None:
    x, y, width = torch.randn(4, 3, 2), torch.randn(6, 3, 2), 0.7

    def mean_kernel(a, b, row) -> float:
        values = [
            math.exp(-float((p[row] - q[row]).abs().sum()) / (2 * width)) for p in a for q in b
        ]
        return sum(values) / len(values)

    for row, value in enumerate(mmd(x, y, width).tolist()):
        own = mean_kernel(x, x, row) + mean_kernel(y, y, row)
        assert value == pytest.approx(math.sqrt(own - 2 * mean_kernel(x, y, row) + 1e-6), rel=1e-4)


def test_discrepancy_of_two_points_and_of_equal_sets() -> None:
    """MMD^2 of two points is 2 - 2 exp(-d/(2 width)), d their distance in the 1-norm."""
    x, y = torch.zeros(1, 1, 2), torch.tensor([[[0.3, -0.5]]])
    expected = math.sqrt(2 - 2 * math.exp(-0.8 / 3) + 1e-6)
    assert float(mmd(x, y, 1.5)) == pytest.approx(expected, rel=1e-5)
    same = torch.randn(5, 2, 2)
    assert mmd(same, same[[3, 1, 0, 4, 2]], 1.0).tolist() == pytest.approx([1e-3] * 2, abs=4e-4)


def test_discrepancy_of_two_laws() -> None:
    """N(0, 1) and N(m, 1) on a line: E exp(-|z|/(2w)) for z ~ N(0 or m, 2) has a closed form."""
    width, shift, n = 0.5, 1.0, 2000
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, n, 1, 1, generator=g)
    y = y + shift

    def expected_kernel(mean: float) -> float:
        # E exp(-k|z|), z ~ N(mean, s^2): two halves of a Gaussian integral
        k, s = 1 / (2 * width), math.sqrt(2)
        half = [
            math.exp(k * k * s * s / 2 - k * sign * mean)
            * 0.5
            * math.erfc((k * s * s - sign * mean) / (s * math.sqrt(2)))
            for sign in (1, -1)
        ]
        return sum(half)

    expected = math.sqrt(2 * expected_kernel(0.0) - 2 * expected_kernel(shift))
    assert float(mmd(x, y, width)) == pytest.approx(expected, abs=0.02)


def test_equal_sets_leave_a_finite_slope() -> None:
    x = torch.randn(3, 2, 2)
    y = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(mmd(x, y, 20.0).sum(), y)
    assert bool(torch.isfinite(slope).all())


def test_the_multiplier_rises_while_the_bound_is_broken() -> None:
    batch = transitions()
    for threshold, sign in ((0.0, 1), (10.0, -1)):
        agent = BEAR(replace(TINY, threshold=threshold, dual_lr=0.1), 3, 2)
        logs = [math.log(float(agent.policy_step(batch)["multiplier"])) for _ in range(3)]
        # Adam's first steps have the length of the rate.
        assert logs == pytest.approx([sign * 0.1 * k for k in (1, 2, 3)], abs=5e-3)


@pytest.mark.parametrize(("threshold", "end"), [(10.0, -5.0), (0.0, 10.0)])
def test_the_multiplier_stays_between_its_ends(threshold, end) -> None:
    agent = BEAR(replace(TINY, threshold=threshold, dual_lr=4.0), 3, 2)
    for _ in range(4):
        last = agent.policy_step(transitions(16))["multiplier"]
    assert math.log(float(last)) == pytest.approx(end)


def test_matching_ignores_q_and_the_policy_step_climbs_it() -> None:
    batch = transitions()
    uphill = KnownQ(lambda a: 10 * a[..., 0])
    moves = []
    for greed in (0.0, 1.0):
        agent = BEAR(replace(TINY, critic=uphill, lr=0.01), 3, 2)
        for _ in range(60):
            agent.policy_step(batch, greed)
        moves.append(float(agent.policy(batch.obs)[0][:, 0].tanh().detach().mean()))
    assert moves[1] > 0.8 and abs(moves[0]) < 0.3


def test_matching_brings_the_policy_to_the_model() -> None:
    """A VAE whose decoder is constant: the policy's samples, before squashing, go there."""
    agent = BEAR(replace(TINY, lr=0.02, width=1.0), 3, 2)
    with torch.no_grad():
        for p in agent.behaviour.net.decoder.parameters():
            p.zero_()
        agent.behaviour.net.decoder[-1].bias.copy_(torch.tensor([0.7, -0.4]))
    batch = transitions()
    for _ in range(300):
        metrics = agent.policy_step(batch, 0.0)
    mean, log_std = agent.policy(batch.obs)
    torch.testing.assert_close(mean.detach().mean(0), torch.tensor([0.7, -0.4]), atol=0.1, rtol=0)
    assert float(metrics["mmd"]) < 0.35 and float(log_std.detach().max()) < -1


def test_stages() -> None:
    match, policy = BEAR(TINY, 3, 2).stages
    assert (match.name, match.steps, policy.name, policy.steps) == ("match", 4, "policy", 8)


def test_runs(tmp_path) -> None:
    """Broken off inside the second stage."""
    check_same_seed_same_bytes(BEAR, TINY)
    check_resumes(BEAR, TINY, tmp_path / "run", 7)
    check_limits(BEAR, TINY)
