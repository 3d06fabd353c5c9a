"""SRPO, the whole method: where its policy ends against T9, its three stages, its settings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from core.oracles import double, evenly, expect, gaussian_denoiser, midpoints

from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checkpoint import load, save
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ
from diffteach.methods import srpo
from diffteach.methods.srpo import SRPO, SRPOConfig
from diffteach.nets import Critics, DiracPolicy, ResNetDenoiser
from diffteach.objectives import kl_weight, score_regularization_grad, unit_weight, variance_weight
from diffteach.schedule import VP
from diffteach.toys.rewards import quadratic
from diffteach.train import InMemory, fit, one_step
from diffteach.types import Agent, Batch

MEAN, TARGET, STD = (0.8, -0.3), (-1.0, 1.0), 0.5
LIMIT = 4.0


def gaussian_points(n: int = 4000) -> torch.Tensor:
    eps = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return torch.tensor(MEAN) + STD * eps


def batch(points: torch.Tensor) -> Batch:
    return one_step(points, quadratic(torch.tensor(TARGET))(points))


KNOWN = SRPOConfig(
    beta=0.4,
    behaviour=KnownBehaviour(gaussian_denoiser(torch.tensor(MEAN), STD, VP()), VP()),
    critic=KnownQ(quadratic(torch.tensor(TARGET))),
    policy=partial(DiracPolicy, width=32),
    lr=2e-2,
    critic_steps=0,
    behaviour_steps=0,
    policy_steps=400,
)
# Every kind of state that a run can have: dropout, slow critics, cosines, three streams.
SMALL = SRPOConfig(
    behaviour=BehaviourConfig(VP(), network=partial(ResNetDenoiser, width=16, blocks=1)),
    critic=ExpectileConfig(q=DoubleQConfig(network=partial(Critics, width=16))),
    policy=partial(DiracPolicy, width=16),
    critic_steps=6,
    behaviour_steps=7,
    policy_steps=8,
    batch_size=32,
    behaviour_batch=64,
)


def trained(config: SRPOConfig, seed: int = 0) -> SRPO:
    agent = SRPO(config, 1, 2, LIMIT, seed)
    for _ in fit(agent, InMemory(batch(gaussian_points()), seed)):
        pass
    return agent


def end(agent: SRPO) -> torch.Tensor:
    return agent.act(torch.ones(1, 1))[0]


def between(stiffness: float, beta: float) -> torch.Tensor:
    """Where 2 beta (a - target) + stiffness (a - mean) = 0."""
    share = stiffness / (2 * beta + stiffness)
    return (1 - share) * torch.tensor(TARGET) + share * torch.tensor(MEAN)


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize(
    ("weight", "stiffness"),
    [(variance_weight, 0.1849), (unit_weight, 0.3879), (kl_weight, 0.6396)],
)
def test_the_policy_ends_at_the_surrogates_optimum(weight, stiffness, baseline) -> None:
    """T9, with the printed stiffness of each weight; the baseline leaves the end where it is."""
    agent = trained(replace(KNOWN, weight=weight, baseline=baseline))
    torch.testing.assert_close(end(agent), between(stiffness, 0.4), atol=0.05, rtol=0)


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_little_noise_gives_the_optimum_of_the_objective_itself(beta) -> None:
    """T9 for t -> 0: the mean of alpha/sigma eps_hat is (a - m) alpha^2/D, nearly (a - m)/s^2.

    Below sigma = alpha s the baseline only adds noise (Remark 2), so it is left out.
    """
    config = replace(KNOWN, beta=beta, weight=kl_weight, times=(1e-3, 1.1e-3), baseline=False)
    torch.testing.assert_close(end(trained(config)), between(1 / STD**2, beta), atol=0.01, rtol=0)


def test_learned_parts_end_where_known_parts_do() -> None:
    known = replace(KNOWN, beta=0.05)  # an end that lies where the data does
    learned = replace(
        known,
        behaviour=BehaviourConfig(VP()),
        critic=srpo.PLANE.critic,
        critic_steps=200,
        behaviour_batch=256,
        behaviour_steps=200,
    )
    gap = end(trained(learned)) - end(trained(known))
    assert float(gap.norm()) < 0.15


def test_beta_moves_the_end_from_the_data_to_the_reward() -> None:
    ends = [end(trained(replace(KNOWN, beta=b, policy_steps=200))) for b in (0.01, 0.1, 1.0)]
    distances = [float((e - torch.tensor(TARGET)).norm()) for e in ends]
    assert distances[0] > distances[1] > distances[2]


def test_normalised_q_gradients_have_root_mean_square_one() -> None:
    obs, act = torch.ones(5, 1), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    plain, normal = (
        SRPO(replace(KNOWN, normalize_q_grad=n), 1, 2, LIMIT).q_slope(obs, act.clone())[1]
        for n in (False, True)
    )
    torch.testing.assert_close(plain, -2 * (act - torch.tensor(TARGET)))
    torch.testing.assert_close(normal.square().mean(-1), torch.ones(5))
    torch.testing.assert_close(normal / normal[:, :1], plain / plain[:, :1])


def test_a_reward_without_slope_gives_no_nan_when_normalised() -> None:
    flat = replace(KNOWN, critic=KnownQ(lambda a: 0 * a.sum(-1)), normalize_q_grad=True)
    agent = trained(flat)
    torch.testing.assert_close(end(agent), torch.tensor(MEAN), atol=0.05, rtol=0)


def test_one_step_follows_the_mean_of_the_librarys_gradient() -> None:
    """The first step moves the action down Eq. 15 computed by quadrature, times beta."""
    agent = SRPO(replace(KNOWN, batch_size=20_000), 1, 2, LIMIT)
    levels = evenly(midpoints(0.02, 0.98, 400))
    act = end(agent).double()
    denoise = gaussian_denoiser(double(*MEAN), STD, VP())
    pull = expect(
        lambda a, t, eps: score_regularization_grad(
            denoise, VP(), a, t, eps, variance_weight(VP(), t)
        ),
        act,
        levels,
        8,
    )
    expected = pull + 0.4 * 2 * (act - double(*TARGET))
    rows = batch(gaussian_points(20_000))
    seen: list[torch.Tensor] = []
    agent.learner.step = seen.append
    agent.policy_step(rows)
    (grad,) = torch.autograd.grad(seen[0], agent.policy.body[-1].bias)
    squash = LIMIT * (1 - (act / LIMIT).square())
    torch.testing.assert_close(grad.double() / squash, expected, atol=5e-3, rtol=0)


def test_stages_train_one_network_each() -> None:
    agent = SRPO(SMALL, 1, 2, LIMIT)
    assert isinstance(agent, Agent)
    assert [(s.name, s.steps, s.batch_size) for s in agent.stages] == [
        ("critic", 6, 32),
        ("behaviour", 7, 64),
        ("policy", 8, 32),
    ]
    nets = {"critic": agent.critic.q.net, "behaviour": agent.behaviour.net, "policy": agent.policy}

    def copy():
        return {name: [p.clone() for p in net.parameters()] for name, net in nets.items()}

    for stage in agent.stages:
        before = copy()
        stage.update(batch(gaussian_points(stage.batch_size)))
        moved = {
            name
            for name, after in copy().items()
            if any(not a.equal(b) for a, b in zip(after, before[name], strict=True))
        }
        assert moved == {stage.name}


def test_the_behaviours_dropout_is_off_while_the_policy_is_drawn_out() -> None:
    agent = SRPO(SMALL, 1, 2, LIMIT)
    agent.behaviour.step(batch(gaussian_points(64)))
    denoise = agent.behaviour.denoise(torch.ones(1, 1))
    x, t = torch.randn(8, 2), torch.full((8,), 0.5)
    assert denoise(x, t).equal(denoise(x, t))


def test_same_seed_same_bytes() -> None:
    before = torch.get_rng_state()
    runs = [trained(SMALL, seed) for seed in (0, 0, 1)]
    assert end(runs[0]).equal(end(runs[1])) and not end(runs[0]).equal(end(runs[2]))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("stage", ["critic", "behaviour", "policy"])
def test_each_stage_resumes_where_it_was(stage, tmp_path) -> None:
    path, whole = tmp_path / "run", trained(SMALL)
    first, source, done = SRPO(SMALL, 1, 2, LIMIT), InMemory(batch(gaussian_points())), {}
    for progress in fit(first, source, done):
        if (progress.stage, progress.step) == (stage, 4):
            save(path, first, source, done)
            break
    second, source = SRPO(SMALL, 1, 2, LIMIT, seed=9), InMemory(batch(gaussian_points()), 9)
    done = load(path, second, source)
    assert done[stage] == 4
    labels = [(p.stage, p.step) for p in fit(second, source, done)]
    assert labels[0] == (stage, 5) and labels[-1] == ("policy", 8)
    for net in ("critic.q.net", "critic.q.slow", "critic.value", "behaviour.net", "policy"):
        weights = zip(_get(second, net).parameters(), _get(whole, net).parameters(), strict=True)
        assert all(a.equal(b) for a, b in weights), net
    assert end(second).equal(end(whole))


def _get(agent: object, path: str) -> torch.nn.Module:
    for name in path.split("."):
        agent = getattr(agent, name)
    assert isinstance(agent, torch.nn.Module)
    return agent


def test_paper_and_official_code_differ_in_the_baseline_alone() -> None:
    assert replace(srpo.OFFICIAL, baseline=True) == srpo.PAPER
    assert srpo.PAPER.baseline and not srpo.OFFICIAL.baseline
