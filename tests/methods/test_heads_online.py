"""Which head, copy, state and setting enter QGPO and SDAC, and that shared settings are used."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from methods.baselines import Affine, set_apart, transitions

from diffteach.behaviour import BehaviourConfig
from diffteach.critics import DoubleQConfig, ExpectileConfig
from diffteach.methods import qgpo, sdac
from diffteach.methods.qgpo import QGPO
from diffteach.methods.sdac import SDAC
from diffteach.schedule import EDM, VP

DATA = transitions(64)
OBS, AFTER = DATA.obs, DATA.next_obs
HEADS = DoubleQConfig(lr=0.1, network=Affine)


def same(got, want) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


# QGPO: a bank whose rows and supports of s and s' all differ

GUIDED = replace(
    qgpo.PLANE, critic=HEADS, support_steps=1, behaviour_batch=64, supports=4, sample_steps=2
)


def banked(config):
    agent, losses = set_apart(QGPO, config)
    agent.bank = qgpo.Bank(*(torch.zeros_like(column) for column in agent.bank.columns))
    g = torch.Generator().manual_seed(1)
    here, there = torch.rand(2, 64, 4, 2, generator=g)
    agent.bank.put(*DATA, here, there)
    return agent, losses


def test_qgpo_weighs_supports_of_the_state_by_the_least_slow_head(monkeypatch) -> None:
    asked = []

    def weight(x):
        asked.append(x)
        return torch.softmax(x, 0)

    agent, _ = banked(replace(GUIDED, beta=0.3, weight=weight))
    rows, here, _ = agent.rows(64)
    monkeypatch.setattr(agent, "rows", lambda n: (rows, here, 100 + here))
    metrics = agent.energy_step(DATA)
    want = agent.critic.slow(rows.obs, here).amin(0)
    same(asked[0], 0.3 * want)
    same(metrics["q"], want.mean())


def test_qgpo_backs_up_supports_of_the_next_state_by_the_least_slow_head(monkeypatch) -> None:
    agent, _ = banked(replace(GUIDED, target_beta=0.5))
    rows, _, there = agent.rows(64)
    monkeypatch.setattr(agent, "rows", lambda n: (rows, 100 + there, there))
    steps = []
    monkeypatch.setattr(agent.critic, "step", lambda *args: steps.append(args) or {})
    agent.critic_step(DATA)
    ((batch, value),) = steps
    assert batch is rows
    q = agent.critic.slow(rows.next_obs, there).amin(0)
    want = (q * (q / 2).exp()).sum(0) / (q / 2).exp().sum(0)
    same(value, want)


def test_qgpos_rows_are_transitions_with_supports_of_their_own_states() -> None:
    agent, _ = banked(GUIDED)
    rows, here, there = agent.rows(32)
    bank = agent.bank.columns
    for row in range(32):
        (number,) = (bank[0] == rows.obs[row]).all(-1).nonzero().flatten().tolist()
        assert here[:, row].equal(bank[5][number]) and there[:, row].equal(bank[6][number])
        assert rows.next_obs[row].equal(bank[3][number])


def test_qgpo_asks_the_behaviour_at_both_states(monkeypatch) -> None:
    agent, _ = set_apart(QGPO, GUIDED)
    states = []
    monkeypatch.setattr(
        agent, "draw", lambda obs, scale, *_: states.append((obs, scale)) or obs[:, :2]
    )
    agent.support_step(DATA)
    assert [scale for _, scale in states] == [0, 0]
    for column, state in ((5, OBS), (6, AFTER)):
        same(agent.bank.columns[column], state[:, None, :2].expand(64, 4, 2))


# SDAC

ONLINE = replace(
    sdac.PLANE,
    critic=HEADS,
    candidates=3,
    particles=4,
    noise_scale=0.1,
    alpha_start=5.0,
    alpha_lr=0.1,
    temperature=2.0,
    start_std=0.25,
    schedule=VP(),
    sample_steps=2,
    clamp_drawn=False,
)


@pytest.fixture
def online():
    return set_apart(SDAC, ONLINE)[0]


def spied(monkeypatch, owner, name, found):
    original = getattr(owner, name)

    def call(*args, **kwargs):
        result = original(*args, **kwargs)
        found.append((args, result))
        return result

    monkeypatch.setattr(owner, name, call)
    return found


def test_sdac_weighs_by_the_least_online_head(online, monkeypatch) -> None:
    found = spied(monkeypatch, sdac, "reverse_sampling_target", [])
    online.policy_step(OBS)
    (((q, *_), _),) = found
    acts = torch.randn(4, 64, 2)
    same(q(acts), online.critic.net(OBS, acts).amin(0))


def test_sdac_keeps_the_best_flow_by_the_least_online_head(online, monkeypatch) -> None:
    found = spied(monkeypatch, sdac, "best_of", [])
    online.act(OBS)
    (((candidates, values), _),) = found
    assert candidates.shape == (3, 64, 2)
    same(values, online.critic.net(OBS, candidates).amin(0))


def test_sdac_acts_by_the_slow_net_and_trains_on_noisy_actions_of_the_online_one(
    online, monkeypatch
) -> None:
    found = spied(monkeypatch, online, "draw", [])
    points = spied(monkeypatch, sdac, "perturb", [])
    online.act(OBS)
    online.policy_step(OBS)
    online.critic_step(DATA)
    nets = [args[0] for args, _ in found]
    assert nets[0] is online.slow and nets[1] is nets[2] is online.net
    assert [args[1].equal(state) for (args, _), state in zip(found, (OBS, OBS, AFTER), strict=True)]
    noise = points[0][0][1] - found[1][1]
    want = 0.1 * float(online.alpha)
    # 128 normal numbers: their spread is known to 1/16, four standard errors are a quarter.
    assert 0.75 * want < float(noise.std()) < 1.25 * want


def test_sdac_backs_up_the_least_slow_head_at_noisy_actions_of_the_next_state(
    online, monkeypatch
) -> None:
    noisy = spied(monkeypatch, online, "noisy", [])
    steps = []
    monkeypatch.setattr(online.critic, "step", lambda *args: steps.append(args) or {})
    online.critic_step(DATA)
    ((batch, value),) = steps
    ((_, act),) = noisy
    same(value, online.critic.slow(AFTER, act).amin(0))
    same(batch.rew, ONLINE.reward_scale * DATA.rew)


def test_sdacs_temperature_cools_with_alpha(online, monkeypatch) -> None:
    found = spied(monkeypatch, sdac, "reverse_sampling_target", [])
    online.heat["log_alpha"].data.fill_(1.0)
    online.cool()
    online.policy_step(OBS)
    same(online.alpha.log(), torch.tensor(0.9))  # Adam's first step is the rate, downwards
    same(found[0][0][5], torch.tensor(2.0 / 5.0).mul(torch.tensor(0.9).exp()))


def test_sdacs_flows_start_from_their_own_spread(online, monkeypatch) -> None:
    noises = spied(monkeypatch, sdac, "initial_noise", [])
    flows = spied(monkeypatch, sdac, "sample", [])
    online.act(OBS)
    same(flows[0][0][2], 0.25 * noises[0][1])


# What every method shares


def test_a_behaviour_weighs_its_residuals() -> None:
    losses = []
    for size in (1.0, 3.0):
        config = BehaviourConfig(EDM(), weight=lambda schedule, t, size=size: size * t)
        losses.append(config.build(3, 2, 10).step(DATA)["behaviour_loss"])
    same(losses[1], 3 * losses[0])


def test_a_behaviours_weights_decay() -> None:
    def trained(decay):
        model = BehaviourConfig(EDM(), lr=0.1, anneal=False, weight_decay=decay).build(3, 2, 1)
        before = [p.detach().clone() for p in model.net.parameters()]
        model.step(DATA)
        return before, list(model.net.parameters())

    (before, plain), (_, decayed) = trained(0.0), trained(0.5)
    for start, free, kept in zip(before, plain, decayed, strict=True):
        same(kept, free - 0.1 * 0.5 * start)  # AdamW: rate times decay times the old weight


@pytest.mark.parametrize("anneal", [True, False])
def test_critics_and_values_end_at_no_rate_if_they_anneal(anneal) -> None:
    critic = ExpectileConfig(q=replace(HEADS, anneal=anneal)).build(3, 2, 4)

    def rates() -> list[float]:
        parts = (critic.learner, critic.q.learner)
        return [part.optimizer.param_groups[0]["lr"] for part in parts]

    assert rates() == [0.1, 0.1]
    for _ in range(2):
        critic.step(DATA)
    assert rates() == pytest.approx([0.05, 0.05] if anneal else [0.1, 0.1])
    for _ in range(2):
        critic.step(DATA)
    assert rates() == pytest.approx([0, 0] if anneal else [0.1, 0.1])
