"""Which head, which copy and which state enter each loss and each action.

Critics of two heads, slow copies and policies are all set apart, and every state has values of its
own, so that a least head is neither the first nor a mean, and no copy stands in for another.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from methods.baselines import Affine, set_apart, transitions

from diffteach import critics
from diffteach.behaviour import KnownBehaviour
from diffteach.critics import DoubleQConfig, ExpectileConfig
from diffteach.methods import bcq, bear, diffusion_ql, dql_kl, dtql, iql, srpo, td3bc
from diffteach.methods.bcq import BCQ
from diffteach.methods.bear import BEAR
from diffteach.methods.diffusion_ql import DiffusionQL
from diffteach.methods.dql_kl import DQLKL
from diffteach.methods.dtql import DTQL
from diffteach.methods.iql import IQL
from diffteach.methods.srpo import SRPO
from diffteach.methods.td3bc import TD3BC
from diffteach.nets import DiracPolicy, Value, seeded
from diffteach.schedule import EDM, VP

DATA = transitions(64)
OBS, AFTER = DATA.obs, DATA.next_obs
HEADS = DoubleQConfig(lr=0.1, network=Affine)
VALUES = ExpectileConfig(q=HEADS, value=partial(Value, width=16))
DIRAC = partial(DiracPolicy, width=16)


def blind(x, t):
    return torch.zeros_like(x)


def same(got, want) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def same_slopes(loss, want, policy) -> None:
    """Two losses have the same value and the same gradient in the policy's weights."""
    same(loss, want)
    weights = list(policy.parameters())
    for a, b in zip(*(torch.autograd.grad(x, weights) for x in (loss, want)), strict=True):
        same(a, b)


def recorded(monkeypatch, module, name):
    """What a function of a method's file is called with; it still does its work."""
    calls, original = [], getattr(module, name)

    def spy(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, spy)
    return calls


# SRPO, DTQL, DQL-KL


def test_srpo_climbs_the_mean_of_the_slow_heads() -> None:
    config = srpo.SRPOConfig(
        beta=0.7, baseline=False, behaviour=KnownBehaviour(blind, VP()), critic=VALUES, policy=DIRAC
    )
    agent, losses = set_apart(SRPO, config)
    q = agent.critic.q.slow
    metrics = agent.policy_step(DATA)
    act = agent.policy(OBS)
    same(metrics["q"], q(OBS, act).mean())
    # A blind denoiser pulls nowhere; the slope of an affine Q is its weight on the action.
    same_slopes(losses[0], -0.7 * (act @ q.weight[:, 3:].mean(0)).mean(), agent.policy)
    same(agent.q_slope(OBS, act.detach())[1], q.weight[:, 3:].mean(0).expand(64, 2))


def dtql_agent(**settings):
    config = dtql.DTQLConfig(
        behaviour=KnownBehaviour(blind, EDM()), critic=VALUES, policy=DIRAC, **settings
    )
    return set_apart(DTQL, config)


def test_dtql_climbs_the_least_online_head() -> None:
    agent, losses = dtql_agent(alpha=0.0)
    metrics = agent.policy_step(DATA)
    want = agent.critic.q.net(OBS, agent.policy(OBS)).amin(0).mean()
    same(metrics["q"], want)
    same_slopes(losses[0], -want, agent.policy)


def test_dtql_pays_alpha_for_the_trust_region() -> None:
    agent, _ = dtql_agent(alpha=3.0)
    metrics = agent.policy_step(DATA)
    same(metrics["policy_loss"], 3 * metrics["trust_region"] - metrics["q"])


@pytest.mark.parametrize(
    ("module", "build"), [(dtql, DTQL), (dql_kl, DQLKL)], ids=["DTQL", "DQL-KL"]
)
def test_both_act_by_the_softmax_of_the_least_slow_head(monkeypatch, module, build) -> None:
    known = KnownBehaviour(blind, EDM())
    config = replace(module.PAPER, behaviour=known, critic=VALUES, candidates=4, policy=DIRAC)
    if module is dql_kl:
        config = replace(config, fake=known)
    agent, _ = set_apart(build, config)
    calls = recorded(monkeypatch, critics, "softmax_of")
    agent.act(OBS)
    ((candidates, values, _),) = calls
    same(values, agent.critic.q.slow(OBS, candidates).amin(0))
    same(candidates, agent.policy(OBS).detach().expand(4, 64, 2))  # each at its own state


def test_dtql_climbs_the_critic_of_after_its_step() -> None:
    agent, _ = dtql_agent()
    metrics = agent.joint_step(DATA)
    same(metrics["q"], agent.critic.q.net(OBS, agent.policy(OBS)).amin(0).mean())


def test_dql_kl_climbs_the_least_online_head() -> None:
    known = KnownBehaviour(blind, EDM())
    config = replace(
        dql_kl.PAPER, alpha=0.0, behaviour=known, fake=known, critic=VALUES, policy=DIRAC
    )
    agent, losses = set_apart(DQLKL, config)
    t, eps, latent = agent.noise.take(64)
    metrics = agent.policy_step(OBS, agent.policy.draw(OBS, latent), t, eps)
    want = agent.critic.q.net(OBS, agent.policy(OBS)).amin(0).mean()
    same(metrics["q"], want)
    same_slopes(losses[0], -want, agent.policy)


# IQL, TD3+BC


def test_iql_takes_the_advantage_of_the_slow_heads_before_the_value_moves() -> None:
    config = replace(iql.PLANE, beta=0.5, critic=VALUES, policy=DIRAC)
    agent, losses = set_apart(IQL, config)
    with torch.no_grad():
        advantage = agent.critic.q.slow(OBS, DATA.act).amin(0) - agent.critic.value(OBS)
    weight = (0.5 * advantage).exp().clamp(max=100)
    metrics = agent.joint_step(DATA)
    same(metrics["weight"], weight.mean())
    error = (agent.policy(OBS) - DATA.act).square().mean(-1)
    same_slopes(losses[0], (weight * error).mean(), agent.policy)


@pytest.mark.parametrize("slow", [True, False])
def test_values_regress_on_the_copy_that_the_settings_name(monkeypatch, slow) -> None:
    critic = replace(VALUES, value_on_target=slow, expectile=0.9).build(3, 2, 10)
    with seeded(1), torch.no_grad():
        critic.q.slow.weight.normal_()
    heads = (critic.q.slow if slow else critic.q.net)(OBS, DATA.act).amin(0)
    gap = (heads - critic.value(OBS)).detach()
    metrics = critic.step(DATA)
    same(metrics["value_loss"], (torch.where(gap > 0, 0.9, 0.1) * gap**2).mean())


def test_critics_regress_on_the_next_states_value_of_before() -> None:
    critic = VALUES.build(3, 2, 10)
    with torch.no_grad():
        y = DATA.rew + 0.99 * (1 - DATA.done) * critic.value(AFTER)
        gap = critic.q.net(OBS, DATA.act) - y
    same(critic.step(DATA)["critic_loss"], gap.square().mean(1).sum())


TD3 = replace(td3bc.PLANE, critic=HEADS, policy=DIRAC)


def test_td3bc_divides_the_first_online_head_by_its_mean_size() -> None:
    agent, losses = set_apart(TD3BC, TD3)
    with torch.no_grad():
        agent.critic.net.bias.zero_()  # means near 0, unlike mean sizes
    act = agent.policy(OBS)
    q = agent.critic.net(OBS, act)[0]
    metrics = agent.policy_step(DATA)
    assert q.min() < 0 < q.max()  # |mean Q| is not mean |Q|
    same(metrics["q"], q.mean())
    want = (act - DATA.act).square().mean() - 2.5 * q.mean() / q.detach().abs().mean()
    same_slopes(losses[0], want, agent.policy)


def test_td3bc_backs_up_the_least_slow_head_at_the_slow_policys_next_action() -> None:
    agent, _ = set_apart(TD3BC, replace(TD3, smoothing=0.0))
    want = agent.critic.slow(AFTER, agent.slow(AFTER)).amin(0)
    same(agent.next_value(DATA), want)


def test_td3bc_smooths_within_the_cut_and_the_limit() -> None:
    agent, _ = set_apart(TD3BC, replace(TD3, smoothing=5.0, smoothing_cut=0.25))
    moved = agent.smoothed(AFTER) - agent.slow(AFTER)
    assert 0.24 < moved.abs().max() <= 0.25 + 1e-6
    assert agent.smoothed(AFTER).abs().max() <= 1


# BCQ, BEAR


def soft(heads):
    return 0.75 * heads.amin(0) + 0.25 * heads.amax(0)


def recorded_draws(monkeypatch, owner):
    draws, original = [], owner.draw

    def draw(*args):
        draws.append((args[0], original(*args)))
        return draws[-1][1]

    monkeypatch.setattr(owner, "draw", draw)
    return draws


def test_bcq_backs_up_proposals_that_the_slow_perturbation_moved(monkeypatch) -> None:
    agent, _ = set_apart(BCQ, replace(bcq.PLANE, critic=HEADS, backups=3))
    draws = recorded_draws(monkeypatch, agent.behaviour)
    got = agent.next_value(DATA)
    ((rows, proposals),) = draws
    assert rows.equal(AFTER.repeat(3, 1))
    heads = agent.critic.slow(rows, agent.slow(rows, proposals))
    same(got, soft(heads).view(3, 64).amax(0))


def test_bcq_moves_proposals_up_the_first_online_head(monkeypatch) -> None:
    agent, losses = set_apart(BCQ, replace(bcq.PLANE, critic=HEADS))
    draws = recorded_draws(monkeypatch, agent.behaviour)
    agent.policy_step(DATA)
    moved = agent.perturbation(OBS, draws[0][1])
    same_slopes(losses[0], -agent.critic.net(OBS, moved)[0].mean(), agent.perturbation)


@pytest.mark.parametrize(("module", "build"), [(bcq, BCQ), (bear, BEAR)], ids=["BCQ", "BEAR"])
def test_both_act_by_the_first_online_head(monkeypatch, module, build) -> None:
    agent, _ = set_apart(build, replace(module.PLANE, critic=HEADS, candidates=5))
    calls = recorded(monkeypatch, module, "best_of")
    agent.act(OBS)
    ((candidates, values),) = calls
    assert candidates.shape == (5, 64, 2)
    same(values, agent.critic.net(OBS, candidates)[0])


def test_bcq_acts_by_the_perturbation_itself(monkeypatch) -> None:
    agent, _ = set_apart(BCQ, replace(bcq.PLANE, critic=HEADS, candidates=1))
    draws = recorded_draws(monkeypatch, agent.behaviour)
    same(agent.act(OBS), agent.perturbation(OBS, draws[0][1]).detach())


def test_bear_backs_up_the_slow_policys_next_actions(monkeypatch) -> None:
    agent, _ = set_apart(BEAR, replace(bear.PLANE, critic=HEADS, backups=3))
    draws = recorded_draws(monkeypatch, agent.slow)
    got = agent.next_value(DATA)
    ((states, acts),) = draws
    assert states is AFTER and acts.shape == (3, 64, 2)
    same(got, soft(agent.critic.slow(AFTER, acts)).amax(0))


def test_bear_matches_raw_actions_and_climbs_the_least_mean_of_the_online_heads(
    monkeypatch,
) -> None:
    agent, losses = set_apart(BEAR, replace(bear.PLANE, critic=HEADS, matches=4, cut=0.5))
    with torch.no_grad():  # heads that swap places between a state's samples
        for value in agent.policy.parameters():
            value.mul_(0.1)
        agent.critic.net.bias.zero_()
        agent.critic.net.weight[1] = -agent.critic.net.weight[0]
        agent.critic.net.weight[:, :3] = 0
    multiplier = agent.log_multiplier[0].detach().exp()
    calls = recorded(monkeypatch, bear, "mmd")
    latents = recorded(monkeypatch, agent.behaviour.net, "raw")
    metrics = agent.policy_step(DATA)
    ((v, u, width),) = calls
    ((rows, latent),) = latents
    assert rows.equal(OBS.repeat(4, 1)) and width == 20
    same(v, agent.behaviour.net.raw(rows, latent).detach().view(4, 64, 2))
    mean, log_std = agent.policy(OBS)
    noise = ((u - mean) / log_std.exp()).detach().abs()
    assert abs(float(noise.max()) - 0.5) < 2e-3  # float32 of large means
    at_the_cut = float((noise > 0.498).float().mean())
    assert abs(at_the_cut - 0.617) < 0.08  # 2 (1 - Phi(1/2)), 4 standard errors
    heads = agent.critic.net(OBS, u.tanh())
    q = heads.mean(1).amin(0).mean()
    assert abs(float((q - heads.amin(0).mean()).detach())) > 0.01
    same(metrics["q"], q)
    same(losses[0], multiplier * metrics["mmd"] - q)


# Diffusion-QL

DQL = replace(diffusion_ql.PLANE, critic=HEADS, eta=1.7)


def test_diffusion_ql_climbs_one_online_head_over_the_others_mean_size(monkeypatch) -> None:
    agent, losses = set_apart(DiffusionQL, DQL)
    with torch.no_grad():  # a denoising loss that leaves Q digits
        for value in agent.policy.net.parameters():
            value.mul_(0.1)
        agent.critic.net.bias.zero_()  # means near 0, unlike mean sizes
    acts, original = [], agent.chain
    monkeypatch.setattr(
        agent, "chain", lambda net, *rest: acts.append((net, original(net, *rest))) or acts[-1][1]
    )
    metrics, seen = agent.policy_step(DATA), set()
    for _ in range(8):
        ((net, act),) = acts
        assert net is agent.policy.net
        heads = agent.critic.net(OBS, act)
        (first,) = (k for k in (0, 1) if torch.isclose(metrics["q"], heads[k].mean()))
        assert metrics["clone"] < 100
        greed = 1.7 * heads[first].mean() / heads[1 - first].abs().mean()
        same(losses[-1], metrics["clone"] / 2 - greed)
        seen.add(first)
        acts.clear()
        metrics = agent.policy_step(DATA)
    assert seen == {0, 1}


def test_diffusion_ql_backs_up_each_slow_heads_best_next_action(monkeypatch) -> None:
    agent, _ = set_apart(DiffusionQL, replace(DQL, backups=3))
    with torch.no_grad():  # heads that disagree about which action is best
        for value in agent.slow.parameters():
            value.mul_(0.1)
        agent.critic.slow.bias.zero_()
        agent.critic.slow.weight[1] = -agent.critic.slow.weight[0]
        agent.critic.slow.weight[:, :3] = 0
    acts, original = [], agent.chain
    monkeypatch.setattr(
        agent, "chain", lambda *args: acts.append((*args, original(*args))) or acts[-1][-1]
    )
    got = agent.next_value(DATA)
    ((net, rows, _, act),) = acts
    assert net is agent.slow and rows.equal(AFTER.repeat(3, 1))
    same(got, agent.critic.slow(rows, act).view(2, 3, 64).amax(1).amin(0))


def test_diffusion_ql_acts_by_the_softmax_of_the_least_slow_head(monkeypatch) -> None:
    agent, _ = set_apart(DiffusionQL, replace(DQL, candidates=3))
    calls = recorded(monkeypatch, critics, "softmax_of")
    nets, original = [], agent.chain
    monkeypatch.setattr(agent, "chain", lambda *args: nets.append(args[0]) or original(*args))
    agent.act(OBS)
    ((candidates, values, _),) = calls
    same(values, agent.critic.slow(OBS, candidates).amin(0))
    assert nets == [agent.policy.net]
