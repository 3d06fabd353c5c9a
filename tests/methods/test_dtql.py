"""DTQL, the whole method: where its policy and its spread end against T15, and its settings."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from core.oracles import gaussian_denoiser

from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checkpoint import load, save
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ
from diffteach.methods import dql_kl, dtql
from diffteach.methods.dtql import DTQL, DTQLConfig
from diffteach.nets import Critics, DiracPolicy, ResNetDenoiser, TanhGaussianPolicy, seeded
from diffteach.objectives import edm_weight, trust_region_loss, unit_weight
from diffteach.schedule import EDM
from diffteach.toys.rewards import quadratic, same
from diffteach.train import InMemory, fit, one_step
from diffteach.types import Agent, Batch

MEAN, TARGET, STD = (0.8, -0.3), (-1.0, 1.0), 0.5
LIMIT = 4.0
SCHEDULE = EDM()


def gaussian_points(n: int = 4000) -> torch.Tensor:
    eps = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return torch.tensor(MEAN) + STD * eps


def batch(points: torch.Tensor) -> Batch:
    return one_step(points, quadratic(torch.tensor(TARGET))(points))


KNOWN = DTQLConfig(
    alpha=1.0,
    behaviour=KnownBehaviour(gaussian_denoiser(torch.tensor(MEAN), STD, SCHEDULE), SCHEDULE),
    critic=KnownQ(quadratic(torch.tensor(TARGET))),
    policy=partial(DiracPolicy, width=32),
    lr=2e-2,
    anneal=True,
    pretrain_steps=0,
    steps=400,
    candidates=1,
)
# Every kind of state that a run can have: dropout, slow critics, cosines, streams, a choice.
SMALL = DTQLConfig(
    behaviour=BehaviourConfig(SCHEDULE, network=partial(ResNetDenoiser, width=16, blocks=1)),
    critic=ExpectileConfig(q=DoubleQConfig(network=partial(Critics, width=16))),
    policy=partial(TanhGaussianPolicy, width=16, depth=1),
    anneal=True,
    pretrain_steps=6,
    steps=7,
    batch_size=32,
    candidates=4,
)


def trained(config: DTQLConfig, seed: int = 0, limit: float = LIMIT) -> DTQL:
    agent = DTQL(config, 1, 2, limit, seed)
    for _ in fit(agent, InMemory(batch(gaussian_points()), seed)):
        pass
    return agent


def end(agent: DTQL) -> torch.Tensor:
    return agent.act(torch.ones(1, 1))[0]


@pytest.mark.parametrize("alpha", [0.25, 4.0])
def test_the_policy_ends_between_target_and_mean(alpha) -> None:
    """T15 for s = sigma_data: (2 target + alpha m/(d s^2))/(2 + alpha/(d s^2)), d = 2."""
    ratio = alpha / (2 * STD**2)
    expected = (2 * torch.tensor(TARGET) + ratio * torch.tensor(MEAN)) / (2 + ratio)
    ends = end(trained(replace(KNOWN, alpha=alpha)))
    torch.testing.assert_close(ends, expected, atol=0.03, rtol=0)


def test_a_gaussian_policy_loses_its_spread() -> None:
    """T15: the trust region grows with tau^2, so log std falls to its clamp at -5."""
    policy = partial(TanhGaussianPolicy, width=32, depth=2)
    agent = trained(replace(KNOWN, policy=policy, anneal=False, lr=1e-2))
    _, log_std = agent.policy(torch.ones(1, 1))
    assert bool((log_std == -5).all())
    acts = agent.act(torch.ones(500, 1))
    assert float(acts.std(0).max()) < 2 * LIMIT * math.exp(-5)


@pytest.mark.parametrize(("alpha", "gamma"), [(1.0, 1.0), (4.0, 0.5)])
def test_the_likelihood_of_data_keeps_a_spread(alpha, gamma) -> None:
    """T15 without Q: tau^2/s^2 = (-gamma d + sqrt(gamma^2 d^2 + 4 alpha gamma d))/(2 alpha)."""
    data = gaussian_points(20_000) - torch.tensor(MEAN)
    data = data / data.std(0) * STD
    zero = KnownBehaviour(gaussian_denoiser(torch.zeros(2), STD, SCHEDULE), SCHEDULE)
    config = replace(
        KNOWN,
        alpha=alpha,
        gamma=gamma,
        behaviour=zero,
        critic=KnownQ(same),
        policy=partial(TanhGaussianPolicy, width=32, depth=2),
        lr=1e-2,
    )
    agent = DTQL(config, 1, 2, 10.0)  # wide, so that the squashing is straight near 0
    for _ in fit(agent, InMemory(one_step(data))):
        pass
    _, log_std = agent.policy(torch.ones(1, 1))
    ratio = (10.0 * log_std.exp()).square() / STD**2
    root = math.sqrt((gamma * 2) ** 2 + 8 * alpha * gamma)
    expected = (root - gamma * 2) / (2 * alpha)
    torch.testing.assert_close(ratio, torch.full_like(ratio, expected), rtol=0.06, atol=0)


@pytest.mark.parametrize("settings", [dtql.PAPER, dtql.OFFICIAL])
def test_the_presets_likelihood_of_actions_at_the_limit_is_the_official_one(settings) -> None:
    """Normal.log_prob(atanh(a/(1 + 1e-3))) without a Jacobian: its slopes, the same in ours."""
    with seeded(0):
        policy = settings.policy(3, 2, 1.0)
    obs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    act = torch.linspace(-1, 1, 128).reshape(64, 2)  # from one edge to the other
    mean, log_std = policy(obs)
    official = torch.distributions.Normal(mean, log_std.exp()).log_prob((act / 1.001).atanh())
    params = list(policy.parameters())
    wanted = torch.autograd.grad(official.sum(-1).mean(), params)
    got = torch.autograd.grad(policy.log_prob(obs, act).mean(), params)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_learned_parts_end_where_known_parts_do() -> None:
    known = replace(KNOWN, alpha=4.0)  # an end that lies where the data does
    learned = replace(
        known,
        behaviour=BehaviourConfig(SCHEDULE),
        critic=dtql.PLANE.critic,
        pretrain_steps=200,
        steps=200,
    )
    gap = end(trained(learned)) - end(trained(known))
    assert float(gap.norm()) < 0.15


def test_the_policys_step_moves_the_policy_alone() -> None:
    agent = DTQL(SMALL, 1, 2, LIMIT)
    assert isinstance(agent, Agent)
    assert [(s.name, s.steps) for s in agent.stages] == [("pretrain", 6), ("policy", 7)]
    others = [agent.critic.q.net, agent.critic.value, agent.behaviour.net]
    before = [p.clone() for net in others for p in net.parameters()]
    own = [p.clone() for p in agent.policy.parameters()]
    agent.policy_step(batch(gaussian_points(32)))
    after = [p for net in others for p in net.parameters()]
    assert all(p.equal(q) and p.grad is None for p, q in zip(after, before, strict=True))
    assert any(not p.equal(q) for p, q in zip(agent.policy.parameters(), own, strict=True))


def test_pretraining_leaves_the_policy_alone() -> None:
    agent = DTQL(SMALL, 1, 2, LIMIT)
    own = [p.clone() for p in agent.policy.parameters()]
    agent.pretrain_step(batch(gaussian_points(32)))
    assert all(p.equal(q) for p, q in zip(agent.policy.parameters(), own, strict=True))


def test_actions_are_drawn_by_the_softmax_of_q() -> None:
    """Of many candidates at temperature 1: the policy's law times exp(Q), renormalised."""
    config = replace(SMALL, critic=KnownQ(lambda a: 3 * a[..., 0]), candidates=256)
    agent = DTQL(config, 1, 2, 1.0)
    acts = agent.act(torch.ones(2000, 1))
    plain = DTQL(replace(config, candidates=1), 1, 2, 1.0).act(torch.ones(100_000, 1))
    weights = torch.softmax(3 * plain[:, 0].double(), 0)
    torch.testing.assert_close(acts.mean(0).double(), weights @ plain.double(), atol=0.03, rtol=0)
    assert float((acts - plain.mean(0)).mean(0).norm()) > 0.2


def test_the_policys_network_sees_each_state_once_however_many_candidates() -> None:
    agent, rows = DTQL(replace(SMALL, candidates=64), 1, 2, 1.0), []
    agent.policy.body.register_forward_hook(lambda net, args, out: rows.append(len(args[0])))
    agent.act(torch.ones(3, 1))
    assert rows == [3]


def test_same_seed_same_bytes() -> None:
    before = torch.get_rng_state()
    runs = [trained(SMALL, seed) for seed in (0, 0, 1)]
    assert end(runs[0]).equal(end(runs[1])) and not end(runs[0]).equal(end(runs[2]))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("stage", ["pretrain", "policy"])
def test_each_stage_resumes_where_it_was(stage, tmp_path) -> None:
    path, whole = tmp_path / "run", trained(SMALL)
    first, source, done = DTQL(SMALL, 1, 2, LIMIT), InMemory(batch(gaussian_points())), {}
    for progress in fit(first, source, done):
        if (progress.stage, progress.step) == (stage, 4):
            save(path, first, source, done)
            break
    second, source = DTQL(SMALL, 1, 2, LIMIT, seed=9), InMemory(batch(gaussian_points()), 9)
    done = load(path, second, source)
    assert done[stage] == 4
    labels = [(p.stage, p.step) for p in fit(second, source, done)]
    assert labels[0] == (stage, 5) and labels[-1] == ("policy", 7)
    for one, other in (
        (second.critic.q.net, whole.critic.q.net),
        (second.critic.value, whole.critic.value),
        (second.behaviour.net, whole.behaviour.net),
        (second.policy, whole.policy),
    ):
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        assert all(a.equal(b) for a, b in pairs)
    assert end(second).equal(end(whole))


def pole(act: torch.Tensor) -> torch.Tensor:
    """A reward that no one should give: it grows without bound towards x = 1, and is NaN beyond."""
    return -(1 - act[..., 0]).log()


def test_a_run_that_diverges_says_where_and_its_last_good_state_stays(tmp_path) -> None:
    """Save at the steps that `fit` has just checked; a bad state is never written."""
    config = replace(KNOWN, alpha=1e-3, critic=KnownQ(pole), lr=1e-3)
    path, done, saved = tmp_path / "run", {}, []
    agent, source = DTQL(config, 1, 2, LIMIT), InMemory(batch(gaussian_points()))
    words = r"(policy_loss|q) became nan at step \d+ of stage 'policy'"
    with pytest.raises(FloatingPointError, match=words):
        for progress in fit(agent, source, done, check_every=5):
            if progress.step % 5 == 0:
                save(path, agent, source, done)
                saved.append(progress.step)
    assert not bool(end(agent).isfinite().all())
    good = DTQL(config, 1, 2, LIMIT, seed=3)
    assert load(path, good, source) == {"policy": saved[-1]}
    assert bool(end(good).isfinite().all())
    assert 0 < done["policy"] - saved[-1] <= 5


def test_settings_of_paper_and_official_code() -> None:
    clamped = replace(dtql.PAPER.behaviour, limit=1.0)
    assert replace(dtql.PAPER, behaviour=clamped) == dtql.OFFICIAL
    assert dtql.PAPER.behaviour.limit is None


@pytest.mark.parametrize("settings", [dtql.PAPER, dtql.OFFICIAL, dql_kl.PAPER, dql_kl.OFFICIAL])
def test_the_presets_clone_by_the_trust_regions_own_functional(settings) -> None:
    """Eqs. 3 and 4 are one functional, at data and at the policy's action; ours sums over A."""
    behaviour = settings.behaviour.build(3, 2, 10)
    twin = settings.behaviour.build(3, 2, 10)
    generator = torch.Generator().manual_seed(0)
    obs, act = (torch.randn(64, k, generator=generator) for k in (3, 2))
    t, eps = twin.noise.take(64)
    denoise = twin.denoise(obs)
    wanted = 2 * trust_region_loss(denoise, settings.behaviour.schedule, act, t, eps).mean()
    rows = one_step(act)._replace(obs=obs)
    torch.testing.assert_close(behaviour.step(rows)["behaviour_loss"], wanted.detach())
    # EDM's own words: ((D - a)/c_out)^2, 1/c_out^2 = (s^2 + s_d^2)/(s s_d)^2 on D - a.
    residual = t[:, None] * (denoise(act + t[:, None] * eps, t) - eps)
    if settings.behaviour.limit is None:
        square = (t**2 + 0.25) / (0.5 * t) ** 2 * residual.square().sum(-1)
        torch.testing.assert_close(square.mean(), wanted)


def test_on_the_plane_all_levels_count_alike() -> None:
    assert dtql.PLANE.behaviour.weight is dql_kl.PLANE.behaviour.weight is unit_weight
    assert dql_kl.OFFICIAL.fake.weight is edm_weight
