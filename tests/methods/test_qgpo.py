"""T27 and QGPO: the energy of noisy actions, its contrastive loss, guidance and what it is not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from core.oracles import double, gaussian_denoiser, three_modes

from diffteach import toys
from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checkpoint import load, save
from diffteach.critics import DoubleQConfig, KnownQ
from diffteach.methods.qgpo import QGPO, QGPOConfig, batch_normalised, naive_energy, self_normalised
from diffteach.nets import Critics, NoisyEnergy, ResNetDenoiser
from diffteach.objectives import contrastive_energy_loss
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import VP, guided
from diffteach.train import InMemory, fit, one_step
from diffteach.types import Agent

MEAN, STD, SLOPE, BETA = double(0.7, -0.4), 0.6, double(1.0, -0.5), 2.0
LAW = VP()


def scales(t) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    alpha, sigma = LAW.alpha(t), LAW.sigma(t)
    return alpha, sigma, alpha**2 * STD**2 + sigma**2


def linear_energy(x_t, t) -> torch.Tensor:
    """T27: log E[exp(beta b.a) | a_t] for N(m, s^2 I)."""
    alpha, sigma, total = scales(t)
    pulled = (alpha * STD**2 / total)[:, None] * (x_t - alpha[:, None] * MEAN)
    spread = 0.5 * BETA**2 * SLOPE.square().sum() * STD**2 * sigma**2 / total
    return BETA * (MEAN + pulled) @ SLOPE + spread


def test_the_linear_energy_is_the_log_ratio_of_the_noised_laws() -> None:
    # A second derivation: p*_t/p_t, with p* = N(m + beta s^2 b, s^2 I).
    t = double(0.05, 0.3, 0.7)
    x = double([0.2, 1.0], [-1.0, 0.3], [0.5, 0.5])
    alpha, _, total = scales(t)

    def log_p(mean):
        return -(x - alpha[:, None] * mean).square().sum(-1) / (2 * total)

    log_z = BETA * MEAN @ SLOPE + 0.5 * BETA**2 * STD**2 * SLOPE.square().sum()
    ratio = log_p(MEAN + BETA * STD**2 * SLOPE) - log_p(MEAN) + log_z
    torch.testing.assert_close(linear_energy(x, t), ratio)


def test_the_exact_energy_guides_to_the_tilted_law_at_every_level() -> None:
    t = torch.linspace(0.02, 0.98, 40, dtype=torch.float64)
    x = torch.randn(40, 2, dtype=torch.float64)
    denoise = guided(gaussian_denoiser(MEAN, STD, LAW), LAW, linear_energy)
    tilted = gaussian_denoiser(MEAN + BETA * STD**2 * SLOPE, STD, LAW)
    torch.testing.assert_close(denoise(x, t), tilted(x, t))


def test_guidance_of_a_mixture_by_the_exact_energy_is_the_tilted_mixtures_denoiser() -> None:
    law = three_modes()
    tilted = law.tilted(BETA * SLOPE)
    t, x = double(*[0.3] * 30), torch.randn(30, 2, dtype=torch.float64)
    alpha, sigma = (float(s[0]) for s in (LAW.alpha(t), LAW.sigma(t)))

    def energy(x_t, t):
        return tilted.noised(alpha, sigma).log_prob(x_t) - law.noised(alpha, sigma).log_prob(x_t)

    got = guided(law.denoiser(LAW), LAW, energy)(x, t)
    torch.testing.assert_close(got, tilted.denoiser(LAW)(x, t))
    # The scale multiplies the energy, and 0 leaves the behaviour.
    half = guided(law.denoiser(LAW), LAW, energy, 0.5)(x, t)
    torch.testing.assert_close(half, (got + law.denoiser(LAW)(x, t)) / 2)
    assert guided(law.denoiser(LAW), LAW, energy, 0)(x, t).equal(law.denoiser(LAW)(x, t))


def test_gradient_of_q_at_the_noisy_action_is_wrong_by_a_known_factor() -> None:
    """grad E_t = beta b alpha s^2/D_t, whereas naive guidance takes beta b at every level."""
    t = double(0.02, 0.2, 0.6)
    x = torch.zeros(3, 2, dtype=torch.float64)

    def zero(x_t, t):
        return torch.zeros_like(x_t)

    exact = guided(zero, LAW, linear_energy)(x, t)
    naive = guided(zero, LAW, naive_energy(lambda a: a @ SLOPE, BETA))(x, t)
    alpha, sigma, total = scales(t)
    torch.testing.assert_close(naive, -sigma[:, None] * BETA * SLOPE.expand(3, 2))
    torch.testing.assert_close(exact / naive, (alpha * STD**2 / total)[:, None].expand(3, 2))


CLEAN = double(-1.0, 0.5, 2.0)  # three actions on a line ...
SHARE = double(0.5, 0.3, 0.2)
VALUE = double(0.0, 1.0, 1.5)
KERNEL = double([0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6])  # ... p(noisy | clean), any


def contrasted(m: int, weigh) -> torch.Tensor:
    """The f over three noisy places that minimises the exact expected loss over all M-tuples."""
    # x_0 = CLEAN[c] and x_t = place n with probability SHARE[c] KERNEL[c, n], by enumeration.
    grid = torch.cartesian_prod(*[torch.arange(9)] * m)
    c, n = grid // 3, grid % 3
    chance = (SHARE[c] * KERNEL[c, n]).prod(-1)
    support = CLEAN[c].T[..., None]
    places = n.T

    def loss(f):
        def energy(x_t, t):
            return f[places]

        t = torch.full((len(grid),), 0.5, dtype=torch.float64)
        weight = weigh(VALUE[c].T)
        each = contrastive_energy_loss(energy, LAW, support, t, torch.zeros_like(support), weight)
        return chance @ each

    f = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([f], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-15)

    def closure():
        value = loss(f)
        (f.grad,) = torch.autograd.grad(value, f)
        return value

    solver.step(closure)
    return (f - f[0]).detach()


def true_energy() -> torch.Tensor:
    joint = SHARE[:, None] * KERNEL
    energy = ((joint * VALUE.exp()[:, None]).sum(0) / joint.sum(0)).log()
    return energy - energy[0]


@pytest.mark.parametrize("m", [2, 3])
def test_the_contrastive_optimum_is_the_energy_for_any_number_of_actions(m) -> None:
    torch.testing.assert_close(contrasted(m, torch.exp), true_energy(), rtol=0, atol=1e-6)


def test_weights_that_are_normalised_over_the_actions_bias_the_energy() -> None:
    """The official weights; their bias shrinks with M, so M is more than a matter of variance."""
    errors = [
        float((contrasted(m, self_normalised) - true_energy()).abs().max()) for m in (2, 3, 4)
    ]
    assert errors[0] > 0.05
    assert errors[0] > errors[1] > errors[2]


def test_batch_weights_are_exp_q_over_its_mean() -> None:
    value = torch.randn(5, 7)
    torch.testing.assert_close(batch_normalised(value), value.exp() / (value.exp().sum() / 7))


def test_naive_guidance_overshoots_a_gaussian_and_the_exact_one_does_not() -> None:
    """Same behaviour, same Q: only the exact energy ends at N(m + beta s^2 b, s^2 I)."""
    noise = initial_noise(LAW, 4000, 2, torch.Generator().manual_seed(0)).double()
    behaviour, wanted = gaussian_denoiser(MEAN, STD, LAW), MEAN + BETA * STD**2 * SLOPE
    ends = [
        sample(guided(behaviour, LAW, energy), LAW, noise, 20)
        for energy in (linear_energy, naive_energy(lambda a: a @ SLOPE, BETA))
    ]
    shift = [float((end.mean(0) - MEAN) @ SLOPE / ((wanted - MEAN) @ SLOPE)) for end in ends]
    assert shift[0] == pytest.approx(1, abs=0.05)
    assert shift[1] > 5  # 6.6 times as far; more with finer levels, for it never fades


KNOWN = QGPOConfig(
    beta=BETA,
    weight=self_normalised,
    behaviour=KnownBehaviour(gaussian_denoiser(MEAN.float(), STD, LAW), LAW),
    critic=KnownQ(lambda a: a @ SLOPE.to(a)),
    energy=partial(NoisyEnergy, width=64, depth=2),
    lr=1e-2,
    anneal=True,
    behaviour_steps=0,
    support_steps=1,
    critic_steps=0,
    energy_steps=500,
    behaviour_batch=2048,
    batch_size=32,
)


def trained(config: QGPOConfig, data: InMemory, seed: int = 0) -> QGPO:
    agent = QGPO(config, 1, 2, 6.0, seed)
    for _ in fit(agent, data):
        pass
    return agent


def test_a_trained_energy_has_the_closed_forms_gradient_and_guides_to_the_tilted_law() -> None:
    agent = trained(KNOWN, InMemory(one_step(torch.zeros(1, 2))))
    t = LAW.sample_time(2000)
    alpha, sigma, total = scales(t)
    clean = MEAN.float() + STD * torch.randn(2000, 2)
    x_t = (alpha[:, None] * clean + sigma[:, None] * torch.randn(2000, 2)).requires_grad_()
    (slope,) = torch.autograd.grad(agent.energy(torch.ones(1, 1))(x_t, t).sum(), x_t)
    exact = (BETA * alpha * STD**2 / total)[:, None] * SLOPE.float()
    assert (slope - exact).square().sum() < 0.02 * exact.square().sum()  # 7 % in norm, measured 5
    act = agent.act(torch.ones(4000, 1))
    wanted = (MEAN + BETA * STD**2 * SLOPE).float()
    torch.testing.assert_close(act.mean(0), wanted, rtol=0, atol=0.1)
    torch.testing.assert_close(act.std(0), torch.full((2,), STD), rtol=0, atol=0.12)
    # Without guidance it is the behaviour.
    plain = agent.draw(torch.ones(4000, 1), 0, agent.chance)
    torch.testing.assert_close(plain.mean(0), MEAN.float(), rtol=0, atol=0.05)


SMALL = QGPOConfig(
    behaviour=BehaviourConfig(LAW, network=partial(ResNetDenoiser, width=16, blocks=1)),
    critic=DoubleQConfig(network=partial(Critics, width=16)),
    energy=partial(NoisyEnergy, width=16, depth=1),
    supports=4,
    behaviour_steps=3,
    support_steps=3,
    critic_steps=4,
    energy_steps=5,
    behaviour_batch=16,
    batch_size=8,
)


def source(seed: int = 0) -> InMemory:
    points, reward = toys.load("8gaussians", 500, 0)
    return InMemory(one_step(points, reward), seed)


def weights(agent: QGPO) -> bytes:
    nets = (agent.net, agent.behaviour.net, agent.critic.net, agent.critic.slow)
    return b"".join(p.detach().numpy().tobytes() for net in nets for p in net.parameters())


@pytest.mark.parametrize("stop", [2, 5, 8, 13])
def test_a_resumed_run_is_the_uninterrupted_one_in_every_stage(tmp_path, stop) -> None:
    whole = trained(SMALL, source())
    half, data, done = QGPO(SMALL, 1, 2, 6.0), source(), {}
    steps = fit(half, data, done)
    for _ in range(stop):
        next(steps)
    save(tmp_path / "half", half, data, done)
    rest, data = QGPO(SMALL, 1, 2, 6.0, seed=5), source(3)
    for _ in fit(rest, data, load(tmp_path / "half", rest, data)):
        pass
    assert weights(rest) == weights(whole)
    assert rest.act(torch.ones(9, 1)).equal(whole.act(torch.ones(9, 1)))


def test_seeds_tell_runs_apart_and_touch_nothing_global() -> None:
    before = torch.get_rng_state()
    runs = [trained(SMALL, source(), seed) for seed in (0, 0, 1)]
    assert isinstance(runs[0], Agent)
    assert weights(runs[0]) == weights(runs[1]) != weights(runs[2])
    assert torch.get_rng_state().equal(before)


def test_acting_leaves_training_as_it_was() -> None:
    quiet, looked_at = trained(SMALL, source()), QGPO(SMALL, 1, 2, 6.0)
    for _ in fit(looked_at, source()):
        looked_at.act(torch.ones(2, 1))
    assert weights(looked_at) == weights(quiet)


def test_a_second_run_draws_its_supports_anew() -> None:
    agent = trained(SMALL, source())
    before = [support.clone() for support in agent.bank.columns[5:]]
    for _ in fit(agent, source(1)):
        pass
    assert agent.bank.filled == 48
    for old, new in zip(before, agent.bank.columns[5:], strict=True):
        assert (old != new).flatten(1).any(1).all()


def test_the_bank_keeps_what_was_drawn_beside_its_own_rows() -> None:
    agent = QGPO(SMALL, 1, 2, 6.0)
    batches = [next(source(seed)(16)) for seed in (0, 1)]
    for batch in batches:
        agent.support_step(batch)
    act, support = agent.bank.columns[1], agent.bank.columns[5]
    assert act[:32].equal(torch.cat([batch.act for batch in batches]))
    assert agent.bank.filled == 32
    assert support[:32].any(-1).all() and not support[32:].any()
    rows, here, _ = agent.rows(200)
    same = (rows.act[:, None] == act).all(-1) & (here.transpose(0, 1)[:, None] == support).all(
        (-1, -2)
    )
    assert same[:, :32].any(1).all()
    assert same[:, :32].any(0).all()  # every filled row comes up


def test_in_support_softmax_q_learning_bootstraps_from_the_supports() -> None:
    """V(s') = sum softmax(b Q) Q over the behaviour's actions, with the least slow head."""
    config = replace(SMALL, target_beta=2.0)
    agent, seen = QGPO(config, 1, 2, 6.0), []
    agent.support_step(next(source()(16)))
    agent.critic.step = lambda rows, value: seen.append((rows, value)) or {}
    twin = QGPO(config, 1, 2, 6.0)
    twin.support_step(next(source()(16)))
    agent.critic_step(next(source()(8)))
    rows, _, there = twin.rows(8)
    with torch.no_grad():
        q = twin.critic.slow(rows.next_obs, there).min(0).values
    value = (q * (2 * q).exp()).sum(0) / (2 * q).exp().sum(0)
    torch.testing.assert_close(seen[0][1], value)
    assert seen[0][0].act.equal(rows.act)


def test_actions_stay_within_the_limit() -> None:
    agent = QGPO(replace(SMALL, scale=50.0), 1, 2, 0.7)
    assert agent.act(torch.ones(50, 1)).abs().max() <= 0.7
