"""What a setting or a seed must reach: rates that end, sizes, levels, candidates, parts that draw.

Nothing here trains for long: a fault in any of these leaves most runs looking well.
"""

from __future__ import annotations

import math
from dataclasses import is_dataclass, replace
from functools import partial

import pytest
import torch
from methods.baselines import Affine, set_apart, transitions
from torch import Tensor

from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ
from diffteach.methods import diffusion_ql, dql_kl, dtql, qgpo, sdac, srpo
from diffteach.methods.diffusion_ql import DiffusionQL
from diffteach.methods.dql_kl import DQLKL
from diffteach.methods.dtql import DTQL
from diffteach.methods.qgpo import QGPO
from diffteach.methods.sdac import SDAC
from diffteach.methods.srpo import SRPO
from diffteach.nets import DiracPolicy, ImplicitPolicy, PlaneDenoiser
from diffteach.plane import METHODS
from diffteach.schedule import EDM, VP, Discrete, cosine_betas
from diffteach.train import InMemory, Stream, fit

DATA = transitions(64)
OBS = DATA.obs
HEADS = DoubleQConfig(lr=0.1, anneal=True, network=Affine)
VALUES = ExpectileConfig(q=HEADS)
TINY = partial(PlaneDenoiser, width=8, depth=1)


def same(got, want) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def recorded(monkeypatch, owner, name) -> list[tuple[tuple, object]]:
    calls, original = [], getattr(owner, name)

    def spy(*args, **kwargs):
        result = original(*args, **kwargs)
        calls.append((args, result))
        return result

    monkeypatch.setattr(owner, name, spy)
    return calls


# Rates that a cosine takes to nothing, each over the steps of its own part


def rate(learner) -> float:
    return learner.optimizer.param_groups[0]["lr"]


def model(schedule, anneal: bool = True) -> BehaviourConfig:
    return BehaviourConfig(schedule, network=TINY, lr=0.02, anneal=anneal)


def annealing(name: str):
    """An agent with cosines wherever there can be one; its stages' steps are all different."""
    joint = {"critic": VALUES, "lr": 0.03, "batch_size": 16}
    dirac = partial(DiracPolicy, width=8)
    if name == "dtql":
        config = dtql.DTQLConfig(
            behaviour=model(EDM()),
            policy=dirac,
            anneal=True,
            pretrain_steps=3,
            steps=5,
            **joint,
        )
        agent = DTQL(config, 3, 2)
        return agent, [agent.behaviour.learner, agent.critic.q.learner, agent.learner]
    if name == "dql_kl":
        config = dql_kl.DQLKLConfig(
            behaviour=model(EDM()),
            fake=model(EDM()),
            policy=partial(ImplicitPolicy, width=8),
            anneal=True,
            inherit=False,
            pretrain_steps=3,
            steps=5,
            **joint,
        )
        agent = DQLKL(config, 3, 2)
        parts = [agent.behaviour.learner, agent.critic.q.learner, agent.learner]
        return agent, [*parts, agent.fake.learner]
    if name == "srpo":
        config = srpo.SRPOConfig(
            behaviour=model(VP()),
            policy=dirac,
            critic_steps=3,
            behaviour_steps=4,
            policy_steps=5,
            behaviour_batch=16,
            **joint,
        )
        agent = SRPO(config, 3, 2)
        return agent, [agent.behaviour.learner, agent.critic.q.learner, agent.learner]
    config = qgpo.QGPOConfig(
        behaviour=model(VP()),
        critic=HEADS,
        anneal=True,
        lr=0.03,
        supports=2,
        behaviour_steps=3,
        support_steps=1,
        critic_steps=4,
        energy_steps=5,
        behaviour_batch=16,
        batch_size=8,
        sample_steps=1,
    )
    agent = QGPO(config, 3, 2)
    return agent, [agent.behaviour.learner, agent.critic.learner, agent.learner]


@pytest.mark.parametrize("name", ["dtql", "dql_kl", "srpo", "qgpo"])
def test_every_cosine_ends_with_the_steps_of_its_part(name) -> None:
    """Positive one step before its end, and nothing at it: neither sooner nor later."""
    agent, learners = annealing(name)
    assert all(rate(learner) > 0 for learner in learners)
    paths = [[] for _ in learners]
    for _ in fit(agent, InMemory(DATA)):
        for path, learner in zip(paths, learners, strict=True):
            path.append(rate(learner))
    for path in paths:
        assert path[-1] == pytest.approx(0, abs=1e-9)
        changes = [value for k, value in enumerate(path) if k == 0 or value != path[k - 1]]
        assert all(value > 1e-4 for value in changes[:-1]) and len(changes) > 2


@pytest.mark.parametrize("anneal", [True, False])
def test_a_behaviours_rate_falls_if_it_is_told_so(anneal) -> None:
    part = model(EDM(), anneal).build(3, 2, 4)
    rates = []
    for _ in range(4):
        part.step(DATA)
        rates.append(rate(part.learner))
    fall = [0.01 * (1 + math.cos(math.pi * k / 4)) for k in (1, 2, 3, 4)]
    assert rates == pytest.approx(fall if anneal else [0.02] * 4, abs=1e-9)


# Sizes and levels


def test_a_network_is_told_the_size_of_the_points() -> None:
    """A behaviour's own; QGPO's energy takes that of its behaviour, else its settings'."""
    for schedule in (EDM(), VP()):
        assert BehaviourConfig(schedule, data_scale=3.0).build(3, 2, 1).net.data_scale == 3.0
    learned = replace(qgpo.PLANE, behaviour=BehaviourConfig(VP(), data_scale=3.0), data_scale=7.0)
    known = KnownBehaviour(lambda x, t: torch.zeros_like(x), VP())
    for config, size in ((learned, 3.0), (replace(learned, behaviour=known), 7.0)):
        seen = []

        def energy(obs_dim, act_dim, schedule, data_scale, seen=seen):
            seen.append(data_scale)
            return torch.nn.Linear(1, 1)

        QGPO(replace(config, energy=energy), 3, 2)
        assert seen == [size]


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_qgpo_acts_at_its_scale_with_its_levels(monkeypatch, scale) -> None:
    config = replace(qgpo.PLANE, scale=scale, sample_steps=3, behaviour_batch=8, support_steps=1)
    agent, _ = set_apart(QGPO, config)
    flows = recorded(monkeypatch, qgpo, "sample")
    agent.act(OBS)
    ((denoise, schedule, x, steps, *_), _) = flows[0]
    t = torch.full((64,), 0.4)
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(agent.energy(OBS)(x, t).sum(), x)
    wanted = agent.behaviour.denoise(OBS)(x, t) - scale * schedule.sigma(t)[:, None] * slope
    same(denoise(x, t), wanted)
    assert steps == 3


def test_qgpos_stages_take_rows_of_their_own_number() -> None:
    config = replace(qgpo.PLANE, behaviour_batch=24, batch_size=8)
    stages = QGPO(config, 3, 2).stages
    assert [stage.batch_size for stage in stages] == [24, 24, 8, 8]


def test_qgpos_supports_have_noises_of_their_own(monkeypatch) -> None:
    agent, _ = set_apart(QGPO, replace(qgpo.PLANE, behaviour_batch=64, support_steps=1))
    agent.bank.put(*DATA, *torch.rand(2, 64, 16, 2))
    calls = recorded(monkeypatch, qgpo, "contrastive_energy_loss")
    agent.energy_step(DATA)
    (_, _, support, t, noise, _), _ = calls[0]
    assert noise.shape == support.shape == (16, 64, 2) and len(t.unique()) > 60
    assert len(noise.flatten().unique()) > 0.99 * noise.numel()


# SDAC


def online(**settings) -> SDAC:
    config = replace(sdac.PLANE, critic=replace(HEADS, anneal=False), **settings)
    return set_apart(SDAC, config)[0]


@pytest.mark.parametrize("schedule", [VP(), Discrete(cosine_betas(20))])
def test_sdac_draws_a_level_for_each_row_and_noises_for_each_particle(
    monkeypatch, schedule
) -> None:
    agent = online(schedule=schedule, particles=8, sample_steps=2)
    calls = recorded(monkeypatch, sdac, "reverse_sampling_target")
    agent.policy_step(OBS.repeat(8, 1))
    (_, _, x_t, t, eps, _), _ = calls[0]
    assert eps.shape == (8, 512, 2) and len(eps.flatten().unique()) > 0.99 * eps.numel()
    assert len(x_t.unique(dim=0)) == 512
    share = (t + 0.5) / 20 if isinstance(schedule, Discrete) else t
    assert float(share.mean()) == pytest.approx(0.5, abs=5 / (12 * 512) ** 0.5)
    assert float(share.var()) == pytest.approx(1 / 12, abs=5 / (180 * 512) ** 0.5)


def test_sdac_weighs_its_rows_as_told_at_the_temperature_of_the_moment(monkeypatch) -> None:
    asked = []

    def rows(log_weight: Tensor, temperature: Tensor) -> Tensor:
        asked.append((log_weight, temperature))
        return 3 + torch.arange(len(log_weight)).float()

    agent = online(particles=4, row_weight=rows, temperature=2.0, alpha_start=5.0, schedule=VP())
    agent.heat["log_alpha"].data.fill_(math.log(0.5))
    agent.draw = lambda net, obs, generator: torch.zeros(len(obs), 2)
    losses = recorded(monkeypatch, sdac, "rssm_loss")
    targets = recorded(monkeypatch, sdac, "reverse_sampling_target")
    metrics = agent.policy_step(OBS)
    ((log_weight, temperature),) = asked
    same(temperature, torch.tensor(0.2))  # 2 (0.5/5)
    assert log_weight is targets[0][1][1]
    assert losses[0][0][4].equal(3 + torch.arange(64).float())
    same(metrics["policy_loss"], losses[0][1].mean())


def test_sdac_reports_q_itself_not_over_the_temperature() -> None:
    agent = online(temperature=0.25, particles=4, schedule=VP())
    agent.draw = lambda net, obs, generator: torch.zeros(len(obs), 2)
    agent.critic = KnownQ(lambda act: 3 + 0 * act.sum(-1))
    same(agent.policy_step(OBS)["q"], torch.tensor(3.0))


def test_alphas_slope_is_the_entropy_of_the_noise_above_the_wanted() -> None:
    """d log(0.1 alpha sqrt(2 pi e)) + 0.9 d in d dimensions, the first by torch's own Normal."""
    for d, alpha in ((1, 5.0), (6, 0.3)):
        noise = torch.distributions.Normal(0.0, 0.1 * alpha).entropy()
        same(sdac.entropy_excess(torch.tensor(alpha).log(), d), d * (noise + 0.9))


def test_sdacs_noise_has_the_size_of_the_box() -> None:
    agent = online(noise_scale=0.2, alpha_start=0.5)
    agent.heat["log_alpha"].data.fill_(math.log(0.5))
    for limit in (1.0, 7.0):
        agent.act_limit = limit
        noise = agent.noisy(torch.zeros(20_000, 2), agent.chance)
        assert float(noise.std()) == pytest.approx(0.2 * 0.5 * limit, rel=0.02)


class Told(torch.nn.Module):
    """A denoiser that says at which state it was asked: eps_hat = -s, whatever the point."""

    def forward(self, x, t, obs):
        return -obs.expand(len(x), -1)[:, : x.shape[1]]


def test_sdacs_candidates_are_flows_at_their_own_state(monkeypatch) -> None:
    """With eps_hat = -s the last level leaves x0 = (x + sigma s)/alpha: it grows with s."""
    agent = online(candidates=3, schedule=VP(t_max=0.3), sample_steps=4, start_std=0.0)
    agent.slow, agent.act_limit = Told(), 1e6
    found = recorded(monkeypatch, sdac, "best_of")
    flows = recorded(monkeypatch, sdac, "sample")
    act = agent.act(OBS)
    candidates = found[0][0][0]
    end = torch.tensor([0.3])
    gain = float(agent.schedule.sigma(end) / agent.schedule.alpha(end))
    torch.testing.assert_close(candidates, (gain * OBS[:, :2]).expand(3, 64, 2), rtol=1e-3, atol=0)
    assert act.shape == (64, 2) and flows[0][0][3] == 4


# Diffusion-QL, DQL-KL, critics


def test_diffusion_qls_candidates_are_chains_at_their_own_state(monkeypatch) -> None:
    agent, _ = set_apart(
        DiffusionQL, replace(diffusion_ql.PLANE, critic=HEADS, candidates=3, eta=1.0)
    )
    with torch.no_grad():
        agent.critic.slow.weight.zero_()
    agent.policy.net, agent.act_limit = Told(), 1e6
    monkeypatch.setattr(diffusion_ql, "initial_noise", lambda s, n, d, g: torch.zeros(n, d))
    monkeypatch.setattr(torch, "randn", lambda *shape, **kwargs: torch.zeros(shape[0]))
    act = agent.act(OBS)
    slope = act / OBS[:, :2]
    torch.testing.assert_close(slope, slope[:1, :1].expand(64, 2), rtol=1e-3, atol=0)
    assert float(slope[0, 0]) > 0.1


def test_diffusion_qls_scale_of_q_has_no_slope(monkeypatch) -> None:
    """Against a twin without greed, the policy feels Q of one head over a mere number."""
    config, slopes, acts = replace(diffusion_ql.PLANE, critic=HEADS), [], []
    for eta in (0.0, 1.0):
        agent, losses = set_apart(DiffusionQL, replace(config, eta=eta))
        chain = agent.chain
        monkeypatch.setattr(agent, "chain", lambda *a, c=chain: acts.append(c(*a)) or acts[-1])
        metrics, weights = agent.policy_step(DATA), list(agent.policy.net.parameters())
        slopes.append(torch.autograd.grad(losses[0], weights, retain_graph=True))
    heads = agent.critic.net(OBS, acts[1])
    (first,) = (k for k in (0, 1) if torch.isclose(metrics["q"], heads[k].mean()))
    size = heads[1 - first].abs().mean()
    climb = torch.autograd.grad(heads[first].mean() / size.detach(), weights, retain_graph=True)
    wrong = torch.autograd.grad(heads[first].mean() / size, weights)
    for plain, greedy, right in zip(*slopes, climb, strict=True):
        scale = float(greedy.abs().max())
        torch.testing.assert_close(plain - greedy, right, rtol=1e-3, atol=1e-5 * scale)
    assert any(float((a - b).abs().max()) > 0.01 for a, b in zip(climb, wrong, strict=True))


@pytest.mark.parametrize("start", [0, 3, 4])
def test_diffusion_qls_slow_policy_waits_for_as_many_steps_as_told(start) -> None:
    config = replace(
        diffusion_ql.PLANE,
        critic=DoubleQConfig(network=Affine),
        policy=BehaviourConfig(Discrete(cosine_betas(2)), network=TINY, lr=0.01),
        target_start=start,
        target_every=2,
        target_rate=0.5,
    )
    agent, moved = DiffusionQL(config, 3, 2), []
    for step in range(1, 9):
        before = [p.clone() for p in agent.slow.parameters()]
        agent.joint_step(DATA)
        if any(not a.equal(b) for a, b in zip(agent.slow.parameters(), before, strict=True)):
            moved.append(step)
    assert moved == [step for step in (2, 4, 6, 8) if step > start]


def test_the_pull_without_the_fake_score_is_srpos_with_its_baseline() -> None:
    """2 alpha/sigma (eps_hat - eps) at every row, on either schedule."""
    act, eps = torch.randn(2, 50, 2)
    for schedule in (EDM(), VP()):
        t = schedule.sample_time(50)
        x_t = schedule.alpha(t)[:, None] * act + schedule.sigma(t)[:, None] * eps
        weight = 2 * schedule.alpha(t) / schedule.sigma(t)

        def real(x, level):
            return x.sin()

        def fake(x, level):
            return x.cos()

        same(
            dql_kl.spreadless_pull(real, fake, schedule, act, t, eps),
            weight[:, None] * (x_t.sin() - eps),
        )
        same(
            dql_kl.kl_pull(real, fake, schedule, act, t, eps),
            weight[:, None] * (x_t.sin() - x_t.cos()),
        )


# Seeds


def random_parts(owner, path: str = "") -> dict[str, object]:
    """Every network, generator and stream among an object's attributes and those of its parts."""
    found: dict[str, object] = {}
    for name, value in vars(owner).items():
        if isinstance(value, torch.nn.Module | torch.Generator | Stream):
            found[path + name] = value
        elif type(value).__module__.startswith("diffteach.") and not is_dataclass(value):
            found |= random_parts(value, f"{path}{name}.") if hasattr(value, "__dict__") else {}
    return found


def numbers(part) -> Tensor:
    """What a part drew or would draw first."""
    if isinstance(part, torch.Generator):
        return torch.tensor([part.initial_seed()])
    if isinstance(part, Stream):
        return torch.cat([column.flatten() for column in part.take(8)])
    drawn = [p.detach().flatten() for p in part.parameters() if p.numel() > 1 and p.std() > 0]
    return torch.cat(drawn) if drawn else torch.zeros(0)


@pytest.mark.parametrize("name", METHODS)
def test_every_part_that_draws_depends_on_the_seed(name) -> None:
    """A part whose seed is fixed would hide behind the others: runs differ all the same."""
    method, settings = METHODS[name]
    one, same_again, other = (random_parts(method(settings, 3, 2, 1.0, s)) for s in (0, 0, 1))
    assert one.keys() == other.keys() and len(one) > 1
    for key in one:
        mine, twin, theirs = (numbers(parts[key]) for parts in (one, same_again, other))
        assert mine.equal(twin), key
        assert mine.numel() == 0 or not mine.equal(theirs), key
