"""Networks: reproducible, the same as their plain counterparts, and updated as documented."""

from __future__ import annotations

import copy

import pytest
import torch
from core.oracles import double, gaussian_denoiser
from torch import nn
from torch.nn import functional

from diffteach.nets import (
    Critics,
    DiracPolicy,
    Dropout,
    DTQLBody,
    DTQLDenoiser,
    Fourier,
    GaussianPolicy,
    ImplicitPolicy,
    PlaneDenoiser,
    ResNetDenoiser,
    Sinusoidal,
    TanhGaussianPolicy,
    Value,
    descend,
    dtql_critics,
    ema_update,
    mish,
    mlp,
    precondition,
    seeded,
)
from diffteach.schedule import EDM, VP, Discrete, vp_betas, x0_from_eps

SCHEDULES = [VP(), EDM(), Discrete(vp_betas(5))]
DENOISERS = [PlaneDenoiser, ResNetDenoiser, DTQLDenoiser]


@pytest.mark.parametrize("build", DENOISERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_denoisers_serve_every_schedule(build, schedule) -> None:
    with seeded(0):
        net = build(3, 2, schedule)
    x_t, obs, t = torch.randn(7, 2), torch.randn(7, 3), schedule.sample_time(7)
    eps = net(x_t, t, obs)
    assert eps.shape == (7, 2) and bool(torch.isfinite(eps).all())
    for changed in (net(x_t + 1, t, obs), net(x_t, t, obs + 1), net(x_t, t.flip(0), obs)):
        assert not torch.allclose(changed, eps, atol=1e-5)


@pytest.mark.parametrize("build", [PlaneDenoiser, DTQLDenoiser])
def test_denoisers_work_in_double_precision(build) -> None:
    with seeded(0):
        net = build(1, 2, EDM()).double()
    x_t, t = torch.randn(2, 2, dtype=torch.float64), double(0.1, 2.0)
    assert net(x_t, t, torch.ones(2, 1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("build", [*DENOISERS, lambda s, a, _: Critics(s, a)])
def test_seeds_decide_the_weights_and_leave_global_state_alone(build) -> None:
    before = torch.get_rng_state()
    nets = []
    for seed in (0, 0, 1):
        with seeded(seed):
            nets.append(torch.cat([p.flatten() for p in build(1, 2, EDM()).parameters()]))
    assert torch.get_rng_state().equal(before)
    assert nets[0].equal(nets[1]) and not nets[0].equal(nets[2])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_preconditioning_starts_from_the_gaussian_optimum(schedule) -> None:
    """With F = 0 the answer is exact for N(0, data_scale^2 I), and F has unit targets for it."""
    t = schedule.sample_time(20_000, torch.Generator().manual_seed(0))
    x_t = torch.randn(20_000, 2)
    scaled = precondition(schedule, 0.7, x_t, t)
    torch.testing.assert_close(scaled.level.exp(), schedule.sigma(t) / schedule.alpha(t))
    exact = gaussian_denoiser(torch.zeros(2), 0.7, schedule)
    torch.testing.assert_close(scaled.skip, exact(x_t, t), rtol=1e-4, atol=1e-6)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    x0, eps = 0.7 * torch.randn(20_000, 2), torch.randn(20_000, 2)
    scaled = precondition(schedule, 0.7, alpha * x0 + sigma * eps, t)
    assert float(scaled.x.std()) == pytest.approx(1, abs=0.02)
    assert float(((scaled.skip - eps) / scaled.gain).std()) == pytest.approx(1, abs=0.02)


def test_resnet_adds_what_its_blocks_say() -> None:
    """With silent blocks the rest is one affine map, Mish and another."""
    with seeded(0):
        net = ResNetDenoiser(1, 2, VP(), width=16)
    x, obs, t = torch.randn(6, 2), torch.ones(6, 1), VP().sample_time(6)
    with torch.no_grad():
        for block in net.blocks:
            block[-1].weight.zero_()
            block[-1].bias.zero_()
    straight = net.leave(net.enter(torch.cat([x, obs, net.level(net.embedding(t))], -1)))
    torch.testing.assert_close(net(x, t, obs), straight)


def test_dtql_network_is_edm_preconditioned() -> None:
    """D = c_skip x + c_out F(c_in x, log(sigma)/4), written as in Karras et al. 2022."""
    schedule = EDM()
    with seeded(0):
        net = DTQLDenoiser(1, 2, schedule, data_scale=0.5).double()
    # In float32 the little that a new network makes of the level would hide in the rounding.
    x, obs = torch.randn(6, 2).double(), torch.ones(6, 1).double()
    sigma = schedule.sample_time(6).double()
    total = (sigma**2 + 0.25)[:, None]
    f = net.body(x / total.sqrt(), obs, sigma.log() / 4)
    d = 0.25 / total * x + sigma[:, None] * 0.5 / total.sqrt() * f
    torch.testing.assert_close(x0_from_eps(schedule, x, sigma, net(x, sigma, obs)), d)


def test_dtql_body_keeps_the_odd_first_layer() -> None:
    body = DTQLBody(1, 2).body
    kinds = [type(m).__name__ for m in body.modules() if not list(m.children())]
    assert kinds == ["Linear", *["Linear", "Mish"] * 3, "Linear"]


def test_mish_is_torchs_mish() -> None:
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 4e-6)):
        x = torch.linspace(-60, 60, 4001, dtype=dtype).requires_grad_()
        torch.testing.assert_close(mish(x), functional.mish(x), atol=tolerance, rtol=tolerance)
        ours, theirs = (torch.autograd.grad(f(x).sum(), x)[0] for f in (mish, functional.mish))
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mish, x)
    assert torch.autograd.gradgradcheck(mish, x)
    with torch.no_grad():
        torch.testing.assert_close(mish(x), functional.mish(x))
    assert bool(mish(torch.tensor([float("nan")])).isnan())


def test_embeddings() -> None:
    with seeded(0):
        fourier, learnable = Fourier(64), Fourier(64, 0.2, learnable=True)
    assert float(fourier.frequencies.std()) == pytest.approx(30, rel=0.3)
    assert not fourier.frequencies.requires_grad and learnable.frequencies.requires_grad
    assert fourier(torch.rand(3)).shape == (3, 64)
    features = Sinusoidal(16)(torch.tensor([2.0]))[0]
    expected = torch.tensor([1e4 ** (-k / 7) for k in range(8)]) * 2
    torch.testing.assert_close(features, torch.cat([expected.sin(), expected.cos()]))


@pytest.mark.parametrize("build", [Critics, dtql_critics])
def test_stacked_critics_are_independent_networks(build) -> None:
    with seeded(0):
        critics = build(3, 2, heads=4, width=16)
    obs, act = torch.randn(5, 3), torch.randn(5, 2)
    values = critics(obs, act)
    assert values.shape == (4, 5)
    particles = critics(obs, torch.stack([act, act + 1]))
    torch.testing.assert_close(particles[:, 0], values)
    torch.testing.assert_close(particles[:, 1], critics(obs, act + 1))
    # One head by hand, with torch's own layers.
    linears = [m for m in critics.body if hasattr(m, "weight") and m.weight.shape[1] > 1]
    activation = functional.relu if build is Critics else functional.mish
    x = torch.cat([obs, act], -1)
    for layer in linears:
        x = functional.linear(x, layer.weight[2].T, layer.bias[2, 0])
        if layer is not linears[-1]:
            x = activation(x if build is Critics else functional.layer_norm(x, (16,)))
    torch.testing.assert_close(values[2], x[:, 0], atol=1e-5, rtol=1e-4)
    gradients = torch.autograd.grad(values[1].sum(), critics.body[0].weight)[0]
    assert bool((gradients[[0, 2, 3]] == 0).all()) and bool((gradients[1] != 0).any())
    assert critics.body[0].weight[0].abs().max() <= 5**-0.5


def test_policies_and_values_have_their_shapes() -> None:
    with seeded(0):
        dirac, implicit, value = DiracPolicy(3, 2, 1.5), ImplicitPolicy(3, 2), Value(3)
    obs = torch.randn(9, 3)
    assert float(dirac(100 * obs).detach().abs().max()) <= 1.5 and dirac(obs).shape == (9, 2)
    noise = torch.randn(9, 2)
    assert implicit.draw(obs, noise).equal(implicit.body(2.5 * noise, obs, torch.full((9,), 2.5)))
    assert value(obs).shape == (9,)


@pytest.mark.parametrize("build", [DiracPolicy, GaussianPolicy, TanhGaussianPolicy, ImplicitPolicy])
def test_candidates_of_a_state_are_those_of_repeated_rows(build) -> None:
    with seeded(0):
        policy = build(3, 2, 1.5)
    obs, noise = torch.randn(5, 3), torch.randn(4, 5, 2)
    rows = policy.draw(obs.repeat(4, 1), noise.flatten(0, 1))
    torch.testing.assert_close(policy.draw(obs, noise), rows.unflatten(0, (4, 5)))


def test_dropout_has_its_own_resumable_generator() -> None:
    drop, x = Dropout(0.25, seed=3), torch.ones(20_000)
    before = torch.get_rng_state()
    first = drop(x)
    assert torch.get_rng_state().equal(before)
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert float(first.mean()) == pytest.approx(1, abs=0.02)
    state = copy.deepcopy(drop.state_dict())
    second = drop(x)
    drop.load_state_dict(state)
    assert drop(x).equal(second) and not first.equal(second)
    assert drop.eval()(x).equal(x)


def test_dropouts_state_is_the_same_on_every_device() -> None:
    """Seed and number of masks, no generator's bytes, whose number differs between devices."""
    x = torch.ones(50)
    drop, other = Dropout(0.25, seed=3), Dropout(0.25, seed=8)
    masks = [drop(x) for _ in range(4)]
    assert drop.get_extra_state().tolist() == [3, 4]
    other.set_extra_state(torch.tensor([3, 2]))
    assert all(other(x).equal(mask) for mask in masks[2:])
    later = [Dropout(0.25, seed=4)(x), Dropout(0.25, seed=3 + 2**32)(x)]
    assert len({tuple(mask.tolist()) for mask in masks + later}) == 6


def test_ema_moves_by_the_share_of_the_source() -> None:
    target, source = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = 0.75 * target.weight + 0.25 * source.weight
    ema_update(target, source, 0.25)
    torch.testing.assert_close(target.weight, expected)
    ema_update(target, source, 1)
    assert target.bias.equal(source.bias)


def test_descend_takes_the_optimizers_step() -> None:
    with seeded(0):
        net = mlp((2, 8, 1))
    twin, x = copy.deepcopy(net), torch.randn(16, 2)
    ours, theirs = (torch.optim.Adam(m.parameters(), lr=0.01) for m in (net, twin))
    for _ in range(3):
        descend(ours, net(x).square().mean())
        theirs.zero_grad()
        twin(x).square().mean().backward()
        theirs.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)
        assert p.grad is None
