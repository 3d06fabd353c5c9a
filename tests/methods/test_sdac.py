"""SDAC: the Boltzmann policy of a known Q, best of N, the schedule called temperature, the loop."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from diffteach import toys
from diffteach.checkpoint import load, save
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.methods import sdac
from diffteach.methods.sdac import (
    SDAC,
    SDACConfig,
    entropy_excess,
    linear_decay,
)
from diffteach.nets import Critics, MLPDenoiser, PlaneDenoiser
from diffteach.objectives import (
    mean_one_weight,
    raw_weight,
    reverse_sampling_target,
    self_weight,
    standardised_weight,
)
from diffteach.schedule import Discrete, relax_betas
from diffteach.train import InMemory, fit, one_step
from diffteach.types import Agent, Batch

LAW = toys.density("sdac_mixture")  # 0.8 at (3, 3), 0.2 at (-3, -3), both of variance 1
OBS, ONE = torch.ones(1, 1), torch.tensor(1.0)
KNOWN = replace(
    sdac.PLANE,
    critic=KnownQ(LAW.log_prob),
    data_scale=3.2,
    network=partial(PlaneDenoiser, width=64, depth=2),
    schedule=Discrete(relax_betas(12)),
    delay=1,
    steps=300,
    rate=partial(linear_decay, first=0, last=300),
    lr=1e-2,
)


def trained(config: SDACConfig, limit: float = 9.0) -> SDAC:
    agent = SDAC(config, 1, 2, limit)
    for _ in fit(agent, InMemory(one_step(torch.zeros(1, 2)))):
        pass
    return agent


def major_share(act: torch.Tensor) -> float:
    return float((act.sum(-1) > 0).float().mean())


def test_the_policy_of_a_known_energy_is_its_boltzmann_law() -> None:
    """Both modes, their places, widths and shares (0.8), from values of the energy alone."""
    act = trained(replace(KNOWN, particles=256)).act(OBS.expand(4000, 1))
    assert major_share(act) == pytest.approx(0.8, abs=0.06)
    for mode, half in zip(LAW.means, (act[act.sum(-1) > 0], act[act.sum(-1) < 0]), strict=True):
        torch.testing.assert_close(half.mean(0), mode, rtol=0, atol=0.25)
        torch.testing.assert_close(half.std(0), torch.ones(2), rtol=0, atol=0.2)


@pytest.mark.slow
def test_few_particles_even_out_the_shares() -> None:
    """The official K = 64: a softmax over few draws is biased to equal shares (0.7 measured)."""
    share = major_share(trained(KNOWN).act(OBS.expand(4000, 1)))
    assert 0.55 < share < 0.76


@pytest.mark.slow
def test_one_particle_suffices_where_rows_are_weighted() -> None:
    """The paper's K = 1 has no such bias, but a batch of which few rows count."""
    config = replace(KNOWN, particles=1, row_weight=mean_one_weight, batch_size=1024, steps=600)
    act = trained(config).act(OBS.expand(4000, 1))
    assert major_share(act) == pytest.approx(0.8, abs=0.07)


@pytest.mark.slow
def test_actions_pile_up_on_the_rim_of_a_box_that_cuts_the_energy() -> None:
    """Q counts as constant beyond the box. Of exp(Q) within it, cut through its modes at 3, the
    larger one has the mean 3 - sqrt(2/pi) = 2.20 and nothing on the rim; the policy has 0.35."""
    act = trained(KNOWN, limit=3.0).act(OBS.expand(2000, 1))
    assert act.abs().max() <= 3.0
    assert ((act.abs() > 2.99).float().mean(0) > 0.2).all()
    assert (act[act.sum(-1) > 0].mean(0) > 2.45).all()


@pytest.mark.parametrize(("clamp", "reach"), [(True, 1.0), (False, math.inf)])
def test_what_q_is_asked_is_clamped_to_the_box_or_not(clamp, reach) -> None:
    asked = []

    def q(act):
        asked.append(float(act.abs().max()))
        return act.sum(-1)

    config = replace(KNOWN, critic=KnownQ(q), clamp_drawn=clamp)
    SDAC(config, 1, 2, 1.0).policy_step(OBS.expand(64, 1))
    assert (max(asked) <= 1.0) == (reach == 1.0)


# T31 and T32


@pytest.mark.parametrize("act_dim", [1, 2, 17])
def test_alpha_falls_to_its_fixed_point_whatever_the_policy_does(act_dim) -> None:
    """T31: from 5 to 1.48 after 232 changes, 1.07 after 400, 1 % of .98378 after 579."""
    agent = SDAC(SDACConfig(network=partial(MLPDenoiser, width=8)), 1, act_dim)
    path = [float(agent.alpha)]
    for _ in range(800):
        agent.cool()
        path.append(float(agent.alpha))
    assert path[0] == pytest.approx(5)
    assert path[232] == pytest.approx(1.48, abs=0.01)
    assert path[400] == pytest.approx(1.07, abs=0.01)
    assert path[579] == pytest.approx(0.98378, rel=0.01)
    assert path[800] == pytest.approx(0.98378, rel=0.005)
    fixed = torch.tensor(math.log(10 * math.exp(-0.9) / math.sqrt(2 * math.pi * math.e)))
    assert float(entropy_excess(fixed, act_dim)) == pytest.approx(0, abs=1e-5)


def test_the_best_of_n_has_the_law_of_a_maximum() -> None:
    """T32: with F the share of single actions below, E F = N/(N + 1), KL = ln N - (N - 1)/N."""
    n = 8
    known = replace(KNOWN, critic=KnownQ(lambda act: act[..., 0]))
    one, best = SDAC(known, 1, 2, 9.0), SDAC(replace(known, candidates=n), 1, 2, 9.0, seed=0)
    single = one.act(OBS.expand(8000, 1))[:, 0].sort().values
    rank = torch.searchsorted(single, best.act(OBS.expand(2000, 1))[:, 0].contiguous())
    share = (rank + 0.5) / (len(single) + 1)
    assert float(share.mean()) == pytest.approx(n / (n + 1), abs=0.01)
    kl = math.log(n) + (n - 1) * share.log().mean()
    assert float(kl) == pytest.approx(math.log(n) - (n - 1) / n, abs=0.08)


# the loss


def test_one_denoised_row_per_noisy_action_has_the_gradient_of_all_its_particles() -> None:
    """The network is asked once per noisy action, not once per particle, for the same gradient."""
    agent = SDAC(KNOWN, 1, 2, 9.0)
    t = agent.schedule.sample_time(32, torch.Generator().manual_seed(0))
    x_t, eps = 3 * torch.randn(32, 2), torch.randn(16, 32, 2)
    q = agent.value(OBS.expand(32, 1))
    target, _ = reverse_sampling_target(q, agent.schedule, x_t, t, eps, 1.0)
    x0 = (x_t - agent.schedule.sigma(t)[:, None] * eps) / agent.schedule.alpha(t)[:, None]
    share = torch.softmax(LAW.log_prob(x0.clamp(-9, 9)), 0)
    out = agent.net(x_t, t, OBS.expand(32, 1))
    short = (out - target).square().sum(-1).mean()
    long = (share * (out - eps).square().sum(-1)).sum(0).mean()
    params = list(agent.net.parameters())
    for a, b in zip(
        torch.autograd.grad(short, params, retain_graph=True),
        torch.autograd.grad(long, params),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    rows = []
    agent.net.register_forward_hook(lambda net, inputs, out: rows.append(len(inputs[0])))
    agent.draw = lambda net, obs, generator: torch.zeros(len(obs), 2)
    agent.policy_step(OBS.expand(32, 1))
    assert rows == [32]


def test_row_weights_keep_the_ratios_of_exp_q() -> None:
    log_weight = torch.tensor([0.0, 1.0, 3.0])
    weight = mean_one_weight(log_weight, ONE)
    torch.testing.assert_close(weight, log_weight.exp() / log_weight.exp().mean())
    assert raw_weight(log_weight, ONE).equal(log_weight.exp())
    assert self_weight(log_weight, ONE).equal(torch.ones(3))


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_papers_rows_standardise_q_within_the_batch(temperature) -> None:
    """exp(z/lambda), z in units of the batch's spread: the same for Q, 300 Q and Q + 1000."""
    q, heat = (
        torch.randn(400, generator=torch.Generator().manual_seed(0)),
        torch.tensor(temperature),
    )
    q[0] = 40.0  # an outlier counts as 3 standard deviations
    z = ((q - q.mean()) / (q - q.mean()).square().mean().sqrt()).clamp(max=3)
    wanted = (z / temperature).exp()
    for scale, shift in ((1.0, 0.0), (300.0, 0.0), (1.0, 1000.0)):
        weight = standardised_weight((scale * q + shift) / temperature, heat)
        torch.testing.assert_close(weight, wanted / wanted.mean(), rtol=2e-3, atol=1e-6)
    assert standardised_weight(torch.full((5,), 7.3), heat).equal(torch.ones(5))


def test_rows_of_states_of_very_different_value_all_count() -> None:
    """Q of 500 +- 100 over states, as on MuJoCo: of 256 rows, exp(Q) alone leaves one or two."""
    q = 500 + 100 * torch.randn(256, generator=torch.Generator().manual_seed(0))
    left = [
        float(rows(q, ONE).sum() ** 2 / rows(q, ONE).square().sum())
        for rows in (mean_one_weight, standardised_weight)
    ]
    assert left[0] < 2 and left[1] > 80


# the loop

SMALL = SDACConfig(
    particles=4,
    row_weight=self_weight,
    candidates=3,
    alpha_every=3,
    network=partial(MLPDenoiser, width=16),
    critic=DoubleQConfig(network=partial(Critics, width=16), target_every=2),
    steps=9,
    batch_size=16,
)


def source(seed: int = 0) -> InMemory:
    g = torch.Generator().manual_seed(1)
    obs, act, after = (torch.randn(200, k, generator=g) for k in (3, 2, 3))
    done = (torch.rand(200, generator=g) < 0.2).float()
    return InMemory(Batch(obs, act.tanh(), obs.sum(-1), after, done), seed)


def nets(agent: SDAC) -> tuple[torch.nn.Module, ...]:
    return agent.net, agent.slow, agent.critic.net, agent.critic.slow


def values(net: torch.nn.Module) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in net.parameters())


def weights(agent: SDAC) -> bytes:
    return b"".join(map(values, (*nets(agent), agent.heat)))


def test_policy_and_copies_move_every_second_step_and_alpha_every_third() -> None:
    agent, batches = SDAC(SMALL, 3, 2), source()(16)
    moved = []
    for _ in range(6):
        before = [values(part) for part in (*nets(agent), agent.heat)]
        agent.joint_step(next(batches))
        after = [values(part) for part in (*nets(agent), agent.heat)]
        moved.append("".join("-x"[a != b] for a, b in zip(before, after, strict=True)))
    # policy, its copy, critics, their copies, alpha
    assert moved == ["--x--", "xxxx-", "--x-x", "xxxx-", "--x--", "xxxxx"]


def test_the_copy_follows_the_policy_at_its_rate() -> None:
    agent, batches = SDAC(replace(SMALL, target_rate=0.25), 3, 2), source()(16)
    before = next(agent.slow.parameters()).clone()
    for _ in range(2):
        agent.joint_step(next(batches))
    wanted = before + 0.25 * (next(agent.net.parameters()) - before)
    torch.testing.assert_close(next(agent.slow.parameters()).data, wanted.data)


def test_the_td_target_is_scaled_reward_and_q_of_the_noisy_best_action() -> None:
    agent, batch = SDAC(SMALL, 3, 2), next(source()(16))
    act, seen = torch.full((16, 2), 0.9), []
    agent.draw = lambda net, obs, generator: act if net is agent.net else None
    agent.critic.step = lambda rows, value: seen.append((rows, value)) or {}
    twin = torch.Generator()
    twin.set_state(agent.noise.get_state())
    agent.critic_step(batch)
    noisy = act + 0.1 * 5 * torch.randn(16, 2, generator=twin)
    assert noisy.abs().max() > 1  # not clamped, as in the official code
    with torch.no_grad():
        wanted = agent.critic.slow(batch.next_obs, noisy).min(0).values
    rows, value = seen[0]
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(rows.rew, 0.2 * batch.rew)


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, stop) -> None:
    whole = SDAC(SMALL, 3, 2)
    for _ in fit(whole, source()):
        pass
    half, data, done = SDAC(SMALL, 3, 2), source(), {}
    steps = fit(half, data, done)
    for _ in range(stop):
        next(steps)
    save(tmp_path / "half", half, data, done)
    rest, data = SDAC(SMALL, 3, 2, seed=5), source(3)
    for _ in fit(rest, data, load(tmp_path / "half", rest, data)):
        pass
    assert weights(rest) == weights(whole)
    assert rest.explore(torch.ones(9, 3)).equal(whole.explore(torch.ones(9, 3)))


def test_acting_leaves_training_as_it_was_and_seeds_tell_runs_apart() -> None:
    before, runs = torch.get_rng_state(), []
    for seed, look in ((0, False), (0, True), (1, False)):
        agent = SDAC(SMALL, 3, 2, seed=seed)
        for _ in fit(agent, source()):
            if look:
                agent.act(torch.ones(2, 3))
        runs.append(weights(agent))
    assert runs[0] == runs[1] != runs[2]
    assert torch.get_rng_state().equal(before)
    assert isinstance(agent, Agent)


def test_actions_stay_within_the_limit_and_only_exploration_is_noisy() -> None:
    agent, obs = SDAC(replace(SMALL, noise_scale=1.0), 3, 2, 0.7), torch.ones(300, 3)
    act, explored = agent.act(obs), agent.explore(obs)
    assert act.abs().max() <= 0.7 and explored.abs().max() <= 0.7
    # Noise of 1 * 5 * 0.7 throws nearly all to the rim.
    assert (explored.abs() == 0.7).float().mean() > 0.7 > (act.abs() == 0.7).float().mean()


def test_the_actors_rate_falls_linearly_between_two_of_its_steps() -> None:
    assert [linear_decay(k) for k in (0, 25_000)] == [1, 1]
    assert linear_decay(50_000) == pytest.approx(0.55)
    assert [linear_decay(k) for k in (75_000, 10**6)] == pytest.approx([0.1, 0.1])
    agent = SDAC(replace(SMALL, rate=partial(linear_decay, first=0, last=4)), 3, 2)
    for _ in fit(agent, source()):
        pass
    rate = agent.learner.optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(3e-5)  # four steps of the policy in nine


def test_presets() -> None:
    assert replace(sdac.OFFICIAL, particles=1, row_weight=standardised_weight) == sdac.PAPER
