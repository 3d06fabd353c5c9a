"""DQL-KL: its gradients against closed forms, its fake score, and what the fake score is for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from core.oracles import double, gaussian_denoiser, normal_grid
from torch import nn

from diffteach import toys
from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checkpoint import load, save
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ
from diffteach.methods import dql_kl
from diffteach.methods.dql_kl import DQLKL, DQLKLConfig, kl_pull, spreadless_pull
from diffteach.nets import (
    Critics,
    DiracPolicy,
    DTQLDenoiser,
    ImplicitPolicy,
    PlaneDenoiser,
    TanhGaussianPolicy,
)
from diffteach.objectives import dmd_grad
from diffteach.schedule import EDM, VP
from diffteach.toys.rewards import quadratic, same
from diffteach.train import InMemory, fit, one_step
from diffteach.types import Agent

MEAN, STD = (0.7, -0.4), 0.5
BIAS, SCALE = (0.9, 0.2), 0.3  # a policy N(BIAS, SCALE^2 I)
NARROW = partial(PlaneDenoiser, width=32, depth=2)
REAL = gaussian_denoiser(torch.tensor(MEAN), STD, EDM())


def expected(pull, schedule, t) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean gradient on the policy's mean and on its standard deviation, at one noise level."""
    z, weight = normal_grid(4, 10)
    act = double(*BIAS) + SCALE * z[:, :2]
    real, fake = (
        gaussian_denoiser(double(*m), s, schedule) for m, s in ((MEAN, STD), (BIAS, SCALE))
    )
    grad = pull(real, fake, schedule, act, double(t).expand(len(z)), z[:, 2:])
    return weight @ grad, weight @ (grad * z[:, :2]).sum(-1)


@pytest.mark.parametrize(("schedule", "t"), [(EDM(), 0.4), (EDM(), 3.0), (VP(), 0.3)])
def test_the_pull_is_the_gradient_of_twice_the_kl(schedule, t) -> None:
    """KL of the noisy Gaussians in closed form, differentiated in the policy's mean and spread."""
    alpha, sigma = (f(double(t)) for f in (schedule.alpha, schedule.sigma))
    theta, tau = double(*BIAS).requires_grad_(), double(SCALE).requires_grad_()
    p, q = (alpha**2 * s**2 + sigma**2 for s in (tau, STD))
    gap = alpha**2 * (theta - double(*MEAN)).square().sum()
    kl = (gap + 2 * (p - q)) / (2 * q) + torch.log(q / p)
    for got, wanted in zip(
        expected(kl_pull, schedule, t), torch.autograd.grad(2 * kl.sum(), [theta, tau]), strict=True
    ):
        torch.testing.assert_close(got, wanted.reshape(got.shape), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("t", [0.05, 0.4, 3.0])
def test_only_a_fake_score_keeps_a_narrow_policy_from_shrinking(t) -> None:
    """SCALE < STD: the KL widens the policy, SRPO's pull narrows it further (T9)."""
    assert expected(kl_pull, EDM(), t)[1] < 0 < expected(spreadless_pull, EDM(), t)[1]


@pytest.mark.parametrize("t", [0.05, 0.4, 3.0])
@pytest.mark.parametrize("pull", [kl_pull, dmd_grad, spreadless_pull])
def test_descent_moves_the_policy_to_the_data(pull, t) -> None:
    """T18: the gradient on the mean has the sign of BIAS - MEAN, also under the official weight."""
    mean = expected(pull, EDM(), t)[0]
    assert mean.sign().equal((double(*BIAS) - double(*MEAN)).sign())


def test_the_official_weight_is_that_of_the_denoised_points() -> None:
    act, eps, t = torch.randn(50, 2), torch.randn(50, 2), EDM().sample_time(50)
    fake = gaussian_denoiser(torch.tensor(BIAS), SCALE, EDM())
    x_t = act + t[:, None] * eps
    real_x0, fake_x0 = (x_t - t[:, None] * d(x_t, t) for d in (REAL, fake))
    wanted = (fake_x0 - real_x0) / (act - real_x0).abs().mean(-1, keepdim=True)
    torch.testing.assert_close(dmd_grad(REAL, fake, EDM(), act, t, eps), wanted)


class Fixed(nn.Module):
    """N(BIAS, SCALE^2 I), whatever is learned."""

    def __init__(self, obs_dim, act_dim, act_limit) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def draw(self, obs, noise):
        return torch.tensor(BIAS) + SCALE * noise + self.unused


KNOWN = DQLKLConfig(
    alpha=1.0,
    behaviour=KnownBehaviour(REAL, EDM()),
    fake=BehaviourConfig(EDM(), lr=1e-2, network=NARROW, anneal=False),
    critic=KnownQ(same),
    lr=2e-2,
    anneal=True,
    pretrain_steps=0,
    steps=800,
    batch_size=256,
    candidates=1,
)


def trained(config: DQLKLConfig, limit: float = 6.0) -> DQLKL:
    agent = DQLKL(config, 1, 2, limit)
    for _ in fit(agent, InMemory(one_step(torch.zeros(1, 2)))):
        pass
    return agent


def test_the_fake_score_becomes_that_of_the_policy() -> None:
    """Against the closed form for N(BIAS, SCALE^2 I), at every level that is trained."""
    agent = trained(
        replace(KNOWN, policy=Fixed, lr=0.0, steps=500, fake=replace(KNOWN.fake, anneal=True))
    )
    act = agent.act(torch.ones(2000, 1))
    t = EDM().sample_time(2000)
    x_t = act + t[:, None] * torch.randn(2000, 2)
    exact = gaussian_denoiser(torch.tensor(BIAS), SCALE, EDM())(x_t, t)
    with torch.no_grad():
        error = agent.fake.denoise(torch.ones(1, 1))(x_t, t) - exact
    assert error.square().mean().sqrt() < 0.06


def test_a_gaussian_policy_recovers_a_gaussian_behaviour() -> None:
    policy = partial(TanhGaussianPolicy, width=32, depth=1)
    kl = trained(replace(KNOWN, policy=policy)).act(torch.ones(4000, 1))
    torch.testing.assert_close(kl.mean(0), torch.tensor(MEAN), rtol=0, atol=0.15)
    torch.testing.assert_close(kl.std(0), torch.full((2,), STD), rtol=0, atol=0.1)


@pytest.mark.slow
def test_without_its_fake_score_a_gaussian_policy_shrinks_to_a_point() -> None:
    policy = partial(TanhGaussianPolicy, width=32, depth=1)
    config = replace(KNOWN, policy=policy, pull=spreadless_pull)
    assert trained(config).act(torch.ones(4000, 1)).std(0).max() < 0.1


def test_one_action_settles_where_the_trust_region_would_let_it() -> None:
    """T15: a* = (2 target + alpha m/(d s^2))/(2 + alpha/(d s^2)) for s = sigma_data."""
    target = torch.tensor([-1.0, 1.0])
    q = KnownQ(quadratic(target))
    config = replace(KNOWN, alpha=1.5, policy=DiracPolicy, critic=q, lr=5e-3, steps=500)
    force = 1.5 / (2 * STD**2)
    wanted = (2 * target + force * torch.tensor(MEAN)) / (2 + force)
    torch.testing.assert_close(trained(config).act(torch.ones(1, 1))[0], wanted, rtol=0, atol=0.04)


WIDE = replace(
    KNOWN,
    behaviour=KnownBehaviour(toys.density("8gaussians").denoiser(EDM()), EDM()),
    fake=BehaviourConfig(
        EDM(), 2.0, lr=3e-3, network=partial(PlaneDenoiser, width=64, depth=2), anneal=False
    ),
    policy=partial(ImplicitPolicy, width=64, depth=2),
    lr=3e-3,
    steps=600,
)


def shares(config: DQLKLConfig) -> torch.Tensor:
    """Share of the policy's actions within three standard deviations of each of the eight modes."""
    act = trained(config, 4.5).act(torch.ones(4000, 1))
    law = toys.density("8gaussians")
    return (torch.cdist(act, law.means) < 3 * law.stds[0]).float().mean(0)


@pytest.mark.parametrize("pull", [kl_pull, pytest.param(dmd_grad, marks=pytest.mark.slow)])
def test_the_kl_spreads_a_generator_over_all_modes(pull) -> None:
    """With the exact behaviour and no Q. One may be missed: a mode pulls only what is near it."""
    found = shares(replace(WIDE, pull=pull))
    assert (found > 0.04).sum() >= 6
    assert found.sum() > 0.9


def test_without_the_fake_score_the_same_generator_collapses_to_one_mode() -> None:
    found = shares(replace(WIDE, pull=spreadless_pull, steps=400))
    assert found.max() > 0.99


SMALL = DQLKLConfig(
    behaviour=BehaviourConfig(EDM(), network=partial(DTQLDenoiser, width=16)),
    fake=BehaviourConfig(EDM(), network=partial(DTQLDenoiser, width=16)),
    critic=ExpectileConfig(q=DoubleQConfig(network=partial(Critics, width=16))),
    policy=partial(ImplicitPolicy, width=16),
    pretrain_steps=5,
    steps=7,
    batch_size=32,
    candidates=4,
)


def source(seed: int = 0) -> InMemory:
    points, reward = toys.load("8gaussians", 500, 0)
    return InMemory(one_step(points, reward), seed)


def weights_of(*nets: nn.Module) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for net in nets for p in net.parameters())


def weights(agent: DQLKL) -> bytes:
    return weights_of(agent.policy, agent.behaviour.net, agent.fake.net, agent.critic.q.net)


def run(agent: DQLKL, data: InMemory, done: dict[str, int], stop: int | None = None) -> None:
    for taken, _ in enumerate(fit(agent, data, done), 1):
        if taken == stop:
            return


@pytest.mark.parametrize("stop", [3, 5, 9])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, stop) -> None:
    whole = DQLKL(SMALL, 1, 2)
    run(whole, source(), {})
    half, data, done = DQLKL(SMALL, 1, 2), source(), {}
    run(half, data, done, stop)
    save(tmp_path / "half", half, data, done)
    rest, data = DQLKL(SMALL, 1, 2, seed=5), source(3)
    run(rest, data, load(tmp_path / "half", rest, data))
    assert weights(rest) == weights(whole)
    assert rest.act(torch.ones(9, 1)).equal(whole.act(torch.ones(9, 1)))


def test_seeds_tell_runs_apart_and_touch_nothing_global() -> None:
    before = torch.get_rng_state()
    runs = [DQLKL(SMALL, 1, 2, seed=seed) for seed in (0, 0, 1)]
    for agent in runs:
        run(agent, source(), {})
    assert isinstance(runs[0], Agent)
    assert weights(runs[0]) == weights(runs[1]) != weights(runs[2])
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("steps", [0, 3])
def test_fake_score_and_generator_start_from_the_pretrained_behaviour(steps) -> None:
    """Once, at the end of pretraining; networks are compared by their shapes, not by identity."""
    agent, other = (DQLKL(replace(SMALL, steps=steps), 1, 2) for _ in range(2))
    run(agent, source(), {}, SMALL.pretrain_steps)
    x_t, t, obs = torch.randn(9, 2), EDM().sample_time(9), torch.ones(9, 1)
    assert agent.fake.denoise(obs)(x_t, t).equal(agent.behaviour.denoise(obs)(x_t, t))
    # The generator is the bare body at its fixed level.
    level = torch.full((9,), 2.5)
    body = agent.behaviour.net.body
    assert agent.policy.draw(obs, x_t).equal(body(2.5 * x_t, obs, level))
    run(other, source(), {}, SMALL.pretrain_steps - 1)
    assert not other.fake.denoise(obs)(x_t, t).equal(other.behaviour.denoise(obs)(x_t, t))


def test_a_second_run_takes_nothing_over_again() -> None:
    agent = DQLKL(SMALL, 1, 2)
    run(agent, source(), {})
    before = weights_of(agent.fake.net)
    run(agent, source(), {}, SMALL.pretrain_steps)
    assert weights_of(agent.fake.net) == before


OTHER = BehaviourConfig(EDM(), network=partial(PlaneDenoiser, width=16))


def test_other_networks_start_afresh_if_told_so() -> None:
    agent = DQLKL(replace(SMALL, fake=OTHER, policy=DiracPolicy, inherit=False), 1, 2)
    run(agent, source(), {})
    assert agent.act(torch.ones(3, 1)).shape == (3, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fake": OTHER}, "fake must be like the behaviour to start from it: .* is None, needed"),
        (
            {"fake": replace(SMALL.fake, data_scale=2.0)},
            r"data_scale is 2\.0, needed is 0\.5; inherit=False starts afresh",
        ),
        (
            {"policy": partial(ImplicitPolicy, width=24)},
            r"policy must be like .*weight is \(24, 19\), needed is \(16, 19\); inherit=False",
        ),
        ({"behaviour": OTHER, "fake": OTHER}, "policy must be like the behaviour"),
    ],
)
def test_networks_that_cannot_take_over_say_so_before_any_training(changes, words) -> None:
    with pytest.raises(ValueError, match=words):
        DQLKL(replace(SMALL, **changes), 1, 2)
    DQLKL(replace(SMALL, **changes, inherit=False), 1, 2)
    DQLKL(replace(SMALL, **changes, pretrain_steps=0), 1, 2)


def test_the_fake_score_learns_from_the_actions_by_which_the_policy_learned() -> None:
    """Critic, behaviour, policy, fake score, in the official order; actions drawn before it all."""
    agent, seen = DQLKL(SMALL, 1, 2), []
    for name in ("critic", "behaviour", "fake"):
        part = getattr(agent, name)

        def step(batch, name=name, part=part):
            seen.append((name, batch.act))
            return type(part).step(part, batch)

        part.step = step
    moved = agent.learner.step
    agent.learner.step = lambda loss: (seen.append(("policy", None)), moved(loss))[1]
    batch, twin = next(source()(32)), DQLKL(SMALL, 1, 2)
    agent.joint_step(batch)
    assert [name for name, _ in seen] == ["critic", "behaviour", "policy", "fake"]
    assert seen[1][1].equal(batch.act)
    latent = twin.noise.take(32)[2]
    assert seen[3][1].equal(twin.policy.draw(batch.obs, latent).detach())
    assert not seen[3][1].requires_grad


@pytest.mark.parametrize("candidates", [1, 4])
def test_actions_stay_within_the_limit_though_the_generator_does_not(candidates) -> None:
    agent = DQLKL(replace(SMALL, candidates=candidates), 1, 2, 0.01)
    obs = torch.ones(200, 1)
    assert agent.policy.draw(obs, torch.randn(200, 2)).abs().max() > 0.01
    assert agent.act(obs).abs().max() <= 0.01


def test_presets_differ_in_the_pull_and_in_what_is_clamped() -> None:
    unclamped = replace(dql_kl.OFFICIAL.behaviour, limit=None)
    assert dql_kl.OFFICIAL.fake == dql_kl.OFFICIAL.behaviour
    assert (dql_kl.OFFICIAL.fake.limit, dql_kl.PAPER.fake.limit) == (1.0, None)
    same_models = replace(dql_kl.OFFICIAL, behaviour=unclamped, fake=unclamped)
    assert replace(same_models, pull=kl_pull) == dql_kl.PAPER
    assert dql_kl.OFFICIAL.pull is dmd_grad
