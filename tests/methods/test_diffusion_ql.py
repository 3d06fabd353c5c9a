"""Diffusion-QL: gradients through the whole chain, its two losses, and the slow policy."""

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

from diffteach.behaviour import BehaviourConfig
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.methods import DiffusionQL, DiffusionQLConfig
from diffteach.methods.diffusion_ql import PAPER
from diffteach.nets import Critics, MLPDenoiser
from diffteach.schedule import Discrete, vp_betas
from diffteach.train import one_step

CHAIN = Discrete(vp_betas(4))
TINY = DiffusionQLConfig(
    policy=BehaviourConfig(
        CHAIN, network=partial(MLPDenoiser, width=16, depth=1), lr=1e-3, anneal=False
    ),
    critic=DoubleQConfig(lr=1e-3, network=partial(Critics, width=16)),
    target_start=3,
    target_every=2,
    candidates=8,
    steps=12,
    batch_size=32,
)


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in net.parameters()])


class PerLevel(torch.nn.Module):
    """A denoiser with a weight for each level and nothing else: eps_hat = w_t."""

    def __init__(self, obs_dim, act_dim, schedule, data_scale) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(len(schedule), act_dim))

    def forward(self, x, t, obs):
        return self.w[t] + 0 * x


def test_every_level_of_the_chain_is_reached_by_the_gradient_of_q() -> None:
    """With eps_hat = w_t the chain is linear: da/dw_k is known, and T levels down it is not 0.

    a = x0 of level 0; the mean's share of x0 and of x_t at each level multiply up.
    """
    agent = DiffusionQL(replace(TINY, policy=BehaviourConfig(CHAIN, network=PerLevel)), 1, 1, 1e6)
    act = agent.chain(agent.policy.net, torch.ones(1, 1), torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad(act.sum(), agent.policy.net.w)
    alpha_bar = torch.cat([torch.ones(1), CHAIN.alpha_bar]).double()
    reach, expected = 1.0, []
    for k in range(len(CHAIN)):  # from the last step of the chain to its first
        before, now = alpha_bar[k], alpha_bar[k + 1]
        beta = 1 - now / before
        of_x0 = beta * before.sqrt() / (1 - now)
        of_xt = (1 - before) * (1 - beta).sqrt() / (1 - now)
        expected.append(-reach * of_x0 * (1 - now).sqrt() / now.sqrt())
        reach = reach * (of_x0 / now.sqrt() + of_xt)
    torch.testing.assert_close(slope[:, 0].double(), torch.stack(expected), rtol=1e-3, atol=0)
    assert float(slope.abs().min()) > 0.1


def test_its_loss_is_cloning_minus_normalised_q() -> None:
    """Q = 3 everywhere: Q/|Q| = 1, and eta shifts the loss by itself."""
    batch, losses = transitions(), []
    for eta in (0.0, 2.0):
        agent = DiffusionQL(
            replace(TINY, eta=eta, critic=KnownQ(lambda a: 3 + 0 * a.sum(-1))), 3, 2
        )
        metrics = agent.policy_step(batch)
        losses.append(float(metrics["policy_loss"]))
    assert losses[0] == pytest.approx(float(metrics["clone"]) / 2, rel=1e-5)  # a mean over A
    assert losses[1] == pytest.approx(losses[0] - 2, abs=1e-5)


def test_a_coin_decides_which_critic_drives_and_which_scales() -> None:
    """Heads 1 and 4 everywhere: q/scale is 1/4 or 4, each about half of the time."""
    agent, batch = DiffusionQL(replace(TINY, eta=1.0), 3, 2), transitions(64)
    agent.policy.learner.step = lambda loss: None
    with torch.no_grad():
        for p in agent.critic.net.parameters():
            p.zero_()
        agent.critic.net.body[-1].bias += torch.tensor([1.0, 4.0])[:, None, None]
    ratios = []
    for _ in range(60):
        m = agent.policy_step(batch)
        ratios.append(round(float(m["clone"]) / 2 - float(m["policy_loss"]), 3))
    assert set(ratios) == {0.25, 4.0}
    assert 18 <= ratios.count(4.0) <= 42


def test_it_climbs_where_cloning_is_cheap() -> None:
    """With data everywhere and Q = a_x the policy's actions move to the right."""
    g = torch.Generator().manual_seed(0)
    batch = one_step(2 * torch.rand(256, 2, generator=g) - 1)
    shifts = []
    for eta in (0.0, 5.0):
        policy = replace(TINY.policy, lr=0.01)
        config = replace(TINY, eta=eta, policy=policy, critic=KnownQ(lambda a: a[..., 0] + 1))
        agent = DiffusionQL(replace(config, candidates=1), 1, 2)
        for _ in range(150):
            agent.policy_step(batch)
        shifts.append(float(agent.act(torch.ones(500, 1))[:, 0].mean()))
    assert abs(shifts[0]) < 0.3 and shifts[1] > 0.8  # measured: 0.17 at most and 0.96 at least


def test_slow_policy_waits_then_follows_at_every_second_step() -> None:
    agent, batch = DiffusionQL(replace(TINY, target_rate=0.5), 3, 2), transitions(32)
    moved, before = [], weights(agent.slow)
    for _ in range(8):
        agent.joint_step(batch)
        after = weights(agent.slow)
        moved.append(not after.equal(before))
        if moved[-1]:
            torch.testing.assert_close(after, (before + weights(agent.policy.net)) / 2)
        before = after
    assert moved == [False, False, False, True, False, True, False, True]


def test_next_value_is_the_least_critic_of_each_ones_best() -> None:
    """max_q_backup: the maximum over actions comes before the minimum over critics."""
    agent, batch = DiffusionQL(replace(TINY, backups=3), 3, 2), transitions(4)
    acts = torch.tensor([[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]])
    agent.chain = lambda policy, obs, generator: acts.repeat_interleave(4, 0)
    table = {0.1: (1.0, 9.0), 0.2: (5.0, 2.0), 0.3: (3.0, 3.0)}

    class Table:
        def target(self, obs, act):
            rows = [[table[round(float(a), 1)][e] for a in act[:, 0, 0]] for e in (0, 1)]
            return torch.tensor(rows)[:, :, None].expand(2, 3, 4)

    agent.critic = Table()
    assert agent.next_value(batch).tolist() == [5.0] * 4


def test_bootstraps_by_the_slow_policy_and_acts_by_the_fast_one() -> None:
    agent, batch = DiffusionQL(replace(TINY, candidates=1), 3, 2), transitions(64)
    acted, value = agent.act(batch.obs), agent.next_value(batch)
    with torch.no_grad():
        for p in agent.policy.net.parameters():
            p.add_(0.3)
    twin = DiffusionQL(replace(TINY, candidates=1), 3, 2)
    assert twin.act(batch.obs).equal(acted)
    twin.noise.manual_seed(1)
    agent.noise.manual_seed(1)
    assert agent.next_value(batch).equal(twin.next_value(batch))
    assert not agent.act(batch.obs).equal(acted) and value.shape == (64,)


def test_actions_are_chosen_by_softmax() -> None:
    """Q = 3 sign(a_x) among 2 fair candidates: the better side has 1/4 + 1/2 sigmoid(6)."""
    q = KnownQ(lambda a: 3 * a[..., 0].sign())
    policy = replace(TINY.policy, network=PerLevel)
    agent = DiffusionQL(replace(TINY, critic=q, candidates=2, policy=policy), 1, 2)
    agent.chain = lambda policy, obs, generator: torch.randn(len(obs), 2, generator=generator)
    share = float((agent.act(torch.ones(8000, 1))[:, 0] > 0).float().mean())
    expected = 0.25 + 0.5 * float(torch.tensor(6.0).sigmoid())
    assert share == pytest.approx(expected, abs=0.015)


def test_long_gradients_are_cut_for_both() -> None:
    """The paper's settings reach both optimizers."""
    agent = DiffusionQL(PAPER, 3, 2)
    assert agent.policy.learner.max_norm == 1.0 == agent.critic.learner.max_norm


def test_runs(tmp_path) -> None:
    """Broken off between two steps of the slow policy."""
    check_same_seed_same_bytes(DiffusionQL, TINY)
    check_resumes(DiffusionQL, TINY, tmp_path / "run", 5)
    check_limits(DiffusionQL, TINY)
