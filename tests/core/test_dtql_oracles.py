"""T11 to T18: the trust region against likelihoods, and who receives its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from core.oracles import (
    double,
    evenly,
    expect,
    gaussian_denoiser,
    midpoints,
    normal_grid,
    normal_lattice,
    three_modes,
    training_levels,
)

from diffteach import toys
from diffteach.nets import DiracPolicy, DTQLDenoiser, descend, seeded
from diffteach.objectives import (
    denoising_loss,
    score_regularization_grad,
    trust_region_loss,
    vsd_grad,
)
from diffteach.schedule import EDM, VP, clip_denoised, eps_from_x0, x0_from_eps

SCHEDULE = EDM()
LEVELS = training_levels(SCHEDULE)
MEAN = double(0.4, -0.2)


def trust_region(denoise, act, levels=LEVELS, nodes=24, schedule=SCHEDULE) -> torch.Tensor:
    return expect(lambda *row: trust_region_loss(denoise, schedule, *row), act, levels, nodes)


def integrals(b: float, c: float) -> tuple[float, float]:
    """I0 and I1 of T11 for sigma_data^2 = b and data variance c."""
    i0 = 1 / (2 * c**2) if b == c else math.log(c / b) / (c - b) ** 2 + 1 / (c * (b - c))
    return i0, 1 / c - b * i0


@pytest.mark.parametrize(
    ("std", "delta", "printed"),
    [
        (0.5, (1.0, 0.0), 1.5),
        (0.5, (0.0, 0.0), 0.5),
        (0.3, (1.0, 0.5), 2.5687),
        (1.0, (2.0, -1.0), 2.9242),
    ],
)
def test_trust_region_of_a_gaussian(std, delta, printed) -> None:
    """T11; the closed form integrates over all noise levels, DTQL stops at 0.002 and 80."""
    i0, i1 = integrals(0.25, std**2)
    square = sum(x**2 for x in delta)
    closed = (square * i1 + 2 * std**4 * i0) / 2
    assert closed == pytest.approx(printed, abs=1e-4)
    denoise = gaussian_denoiser(MEAN, std, SCHEDULE)
    value = trust_region(denoise, MEAN + double(*delta), nodes=3)
    assert float(value) == pytest.approx(closed, abs=5e-3)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 4.0])
def test_trust_region_at_one_level(sigma) -> None:
    """T11, pointwise: E|D* - a|^2 = (sigma^4 |delta|^2 + d s^4 sigma^2)/(s^2 + sigma^2)^2."""
    std, delta = 0.3, double(0.7, 0.2)
    value = trust_region(
        gaussian_denoiser(MEAN, std, SCHEDULE), MEAN + delta, evenly(double(sigma)), 3
    )
    numerator = sigma**4 * float(delta.square().sum()) + 2 * std**4 * sigma**2
    c_out = sigma**2 * 0.25 / (sigma**2 + 0.25)
    expected = numerator / (std**2 + sigma**2) ** 2 / c_out / 2
    assert float(value) == pytest.approx(expected, rel=1e-9)


def test_trust_region_is_the_likelihood_when_scales_agree() -> None:
    """For s = sigma_data: L_TR(a) = -log N(a; m, s^2 I)/d + const, an ellipsoid exactly."""
    denoise = gaussian_denoiser(MEAN, 0.5, SCHEDULE)
    acts = MEAN + double((0.0, 0.0), (1.0, 0.5), (-2.0, 1.0))
    values = torch.stack([trust_region(denoise, a, nodes=3) for a in acts])
    log_p = torch.distributions.Normal(MEAN, 0.5).log_prob(acts).sum(-1)
    assert float((values + log_p / 2).std()) < 5e-3


@pytest.mark.parametrize(("act", "printed"), [((1, 0), 0.717), ((0, 0), 1.769), ((2, 2), 10.17)])
def test_trust_region_is_a_reverse_kl(act, printed) -> None:
    """T12: L_TR(a) = (2/d) E_F KL(N(a, sigma^2 I) || p_sigma), d = 2, p_sigma from log_prob."""
    mixture, act = three_modes(), double(*act)
    value = float(trust_region(mixture.denoiser(SCHEDULE), act, nodes=32))

    def kl(a, t, eps):
        entropy = 1 + torch.log(2 * math.pi * t**2)
        return -entropy - mixture.log_prob_at(a + t[:, None] * eps, torch.ones_like(t), t)

    assert value == pytest.approx(float(expect(kl, act, LEVELS, 32)), rel=2e-3, abs=2e-3)
    assert value == pytest.approx(printed, rel=5e-3)


@pytest.mark.parametrize(
    ("act", "log_p"), [((1, 0), -0.1227), ((0, 0), -5.2272), ((2, 2), -27.9009)]
)
def test_denoising_errors_integrate_to_the_exact_likelihood(act, log_p) -> None:
    """T13, I-MMSE: every level weighted by 1/sigma^2 instead of DTQL's weight."""
    mixture, act = three_modes(), double(*act)
    assert float(mixture.log_prob(act)) == pytest.approx(log_p, abs=1e-4)
    denoise = mixture.denoiser(SCHEDULE)
    log_g = midpoints(-18, 18, 600)

    def integrand(a, t, eps):
        error = denoising_loss(denoise, SCHEDULE, a, t, eps, t**2)
        g = t**-2
        return g * (2 / (1 + g) - error)

    integral = 36 * expect(integrand, act, evenly((-log_g / 2).exp()), 32)
    value = -math.log(2 * math.pi * math.e) + float(integral) / 2
    assert value == pytest.approx(log_p, abs=0.01)


HEAT = {
    (0, 0): 3.292,
    (5, 0): 3.295,
    (10, 0): 3.329,
    (10, 10): 3.366,
    (2.5, 0): 12.41,
    (2.5, 2.5): 21.54,
    (12.5, 12.5): 26.72,
}


def test_heat_map_of_25_gaussians() -> None:
    """T14, DTQL Fig. 1 with the exact denoiser."""
    denoise = toys.density("25gaussians").to(torch.float64).denoiser(SCHEDULE)
    levels = training_levels(SCHEDULE, 60)

    def loss(*row):
        return trust_region_loss(denoise, SCHEDULE, *row)

    values = {a: float(expect(loss, double(*a), levels, 61, normal_lattice)) for a in HEAT}
    assert values == pytest.approx(HEAT, rel=5e-3)
    ring = [
        sum(
            float(trust_region(denoise, r * double(math.cos(k), math.sin(k)), nodes=20))
            for k in (0.1, 0.9, 2.2, 4.0)
        )
        / 4
        for r in (0.3, 0.6, 1.0)
    ]
    assert ring == pytest.approx([3.457, 3.950, 5.113], abs=0.03)


def test_policy_optimum_between_target_and_mean() -> None:
    """T15: alpha L_TR + |a - target|^2 for s = sigma_data, gradient by autograd."""
    alpha, std, target = 1.5, 0.5, double(-1.0, 1.5)
    denoise = gaussian_denoiser(MEAN, std, SCHEDULE)
    act = target.clone()
    for _ in range(80):
        act.requires_grad_()
        loss = alpha * trust_region(denoise, act, nodes=3) + (act - target).square().sum()
        (grad,) = torch.autograd.grad(loss, act)
        act = (act - 0.15 * grad).detach()
    ratio = alpha / (2 * std**2)
    torch.testing.assert_close(act, (2 * target + ratio * MEAN) / (2 + ratio), atol=1e-2, rtol=0)


def test_trust_region_shrinks_the_spread_of_a_policy() -> None:
    """T15: slope alpha/(2 s^2) in tau^2; a log-likelihood term on data stops it at 0.732 s^2."""
    std = 0.5
    denoise = gaussian_denoiser(MEAN, std, SCHEDULE)
    z, weight = normal_grid(2, 3)

    def spread_loss(tau: float) -> float:
        values = [trust_region(denoise, MEAN + tau * p, nodes=3) for p in z]
        return float(weight @ torch.stack(values))

    low, high = spread_loss(0.0), spread_loss(0.5)
    assert (high - low) / 0.25 == pytest.approx(1 / (2 * std**2), rel=0.02)
    slope = (high - low) / 0.25
    # NLL of N(m, s^2 I) data under N(m, v I): log v + s^2/v for d = 2.
    v = torch.linspace(0.01, 1, 9901, dtype=torch.float64)
    best = v[(slope * v + v.log() + std**2 / v).argmin()]
    assert float(best) / std**2 == pytest.approx(math.sqrt(3) - 1, abs=0.01)


EXACT = {(0.3, 0.2): (-1.61, 0.79), (1.2, 0.1): (0.89, 0.45)}
FROZEN = {(0.3, 0.2): (-1.95, 1.39), (1.2, 0.1): (2.04, 0.89)}


@pytest.mark.parametrize("act", list(EXACT))
def test_gradient_carries_the_jacobian(act) -> None:
    """T16: autograd through D, the Jacobian-free form it equals, and what freezing D gives."""
    denoise = three_modes().denoiser(SCHEDULE)
    point = double(*act).requires_grad_()
    (grad,) = torch.autograd.grad(trust_region(denoise, point, nodes=32), point)
    torch.testing.assert_close(grad, double(*EXACT[act]), atol=0.02, rtol=0)

    free = expect(
        lambda a, t, eps: score_regularization_grad(denoise, SCHEDULE, a, t, eps, 1 / t),
        point.detach(),
        LEVELS,
        32,
    )
    torch.testing.assert_close(grad, free, atol=0.02, rtol=0)  # 2/d = 1

    frozen = expect(
        lambda a, t, eps: score_regularization_grad(
            denoise, SCHEDULE, a, t, eps, t**2 / (t**2 * 0.25 / (t**2 + 0.25)) / t
        ),
        point.detach(),
        LEVELS,
        32,
    )
    torch.testing.assert_close(frozen, double(*FROZEN[act]), atol=0.02, rtol=0)


def test_frozen_denoised_point_doubles_the_force_of_a_gaussian() -> None:
    denoise = gaussian_denoiser(MEAN, 0.5, SCHEDULE)

    def constant_d(x_t, t):
        # D is a constant, so eps_hat = (x_t - D)/sigma keeps only the action's own share.
        x0 = x0_from_eps(SCHEDULE, x_t, t, denoise(x_t, t)).detach()
        return (x_t - x0) / t[:, None]

    grads = []
    for d in (denoise, constant_d):
        act = (MEAN + double(1.0, 0.5)).requires_grad_()
        grads += torch.autograd.grad(trust_region(d, act, nodes=3), act)
    torch.testing.assert_close(grads[0], 2 * double(1.0, 0.5), rtol=5e-3, atol=0)
    torch.testing.assert_close(grads[1], 4 * double(1.0, 0.5), rtol=5e-3, atol=0)


def test_frozen_eps_gives_no_gradient_at_all() -> None:
    """A classic slip: with eps_hat held constant the loss does not depend on the action."""
    denoise = three_modes().denoiser(SCHEDULE)
    act = double((0.3, 0.2), (1.2, 0.1)).requires_grad_()
    eps, t = torch.randn(2, 2, dtype=torch.float64), double(0.4, 1.0)
    frozen = denoise((act + t[:, None] * eps).detach(), t)
    anchor = 0 * act.sum()  # keeps the graph alive, so that a zero is found and not an error
    loss = trust_region_loss(lambda x, t: frozen + anchor, SCHEDULE, act, t, eps)
    (grad,) = torch.autograd.grad(loss.sum(), act)
    assert grad.equal(torch.zeros_like(act))


def test_policy_step_moves_the_policy_only() -> None:
    """The gradient flows through the denoiser and never reaches its parameters."""
    with seeded(0):
        net, policy = DTQLDenoiser(1, 2, SCHEDULE, width=32), DiracPolicy(1, 2, width=32)
    before = [p.clone() for p in net.parameters()]
    moved = [p.clone() for p in policy.parameters()]
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    obs, eps, t = torch.ones(8, 1), torch.randn(8, 2), SCHEDULE.sample_time(8)
    loss = trust_region_loss(lambda x, t: net(x, t, obs), SCHEDULE, policy(obs), t, eps).mean()
    descend(optimizer, loss)
    assert all(p.grad is None and p.equal(q) for p, q in zip(net.parameters(), before, strict=True))
    assert any(not p.equal(q) for p, q in zip(policy.parameters(), moved, strict=True))
    assert all(p.grad is None for p in policy.parameters())


def test_score_regularisation_does_not_flow_through_the_denoiser() -> None:
    with seeded(0):
        net, policy = DTQLDenoiser(1, 2, SCHEDULE, width=32), DiracPolicy(1, 2, width=32)
    obs, eps, t = torch.ones(8, 1), torch.randn(8, 2), SCHEDULE.sample_time(8)
    recorded = []

    def denoise(x_t, t):
        recorded.append(torch.is_grad_enabled())
        return net(x_t, t, obs)

    act = policy(obs)
    grad = score_regularization_grad(denoise, SCHEDULE, act, t, eps, torch.ones(8))
    twin = vsd_grad(denoise, denoise, SCHEDULE, act, t, eps, torch.ones(8))
    assert not grad.requires_grad and not twin.requires_grad
    assert recorded == [False] * 3
    assert twin.equal(torch.zeros_like(twin))
    # The direction reaches the policy through the action alone.
    (through_loss,) = torch.autograd.grad((grad * act).sum(), act)
    assert through_loss.equal(grad)


def test_clipping_only_lowers_the_loss_inside_the_box() -> None:
    """T17."""
    generator = torch.Generator().manual_seed(0)
    exact = toys.density("four_corners").to(torch.float64).denoiser(SCHEDULE)

    def plain(x, t):  # overshoots the box, as trained networks do and exact denoisers never
        return eps_from_x0(SCHEDULE, x, t, 1.5 * x0_from_eps(SCHEDULE, x, t, exact(x, t)))

    act = 2 * torch.rand(4000, 2, generator=generator, dtype=torch.float64) - 1
    eps = torch.randn(4000, 2, generator=generator, dtype=torch.float64)
    t = SCHEDULE.sample_time(4000, generator).double()
    clipped = clip_denoised(plain, SCHEDULE, 1.0)
    losses = [trust_region_loss(d, SCHEDULE, act, t, eps) for d in (plain, clipped)]
    assert bool((losses[1] <= losses[0] + 1e-9).all())
    assert float((losses[1] < losses[0] - 1e-3).double().mean()) > 0.1


def test_clipping_stops_the_gradient_through_the_denoiser() -> None:
    """T17: where |D| = limit only the action's own share of the residual is left."""
    far = gaussian_denoiser(double(5.0, -5.0), 0.2, SCHEDULE)
    act = double((0.3, 0.2)).requires_grad_()
    eps, t = double((0.5, -1.0)), double(2.0)
    loss = trust_region_loss(clip_denoised(far, SCHEDULE, 1.0), SCHEDULE, act, t, eps)
    (grad,) = torch.autograd.grad(loss.sum(), act)
    c_out_square = 4 * 0.25 / 4.25
    expected = (act.detach() - double((1.0, -1.0))) / c_out_square  # mean over A halves the 2
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("schedule", [VP(), EDM()])
def test_distillation_moves_the_generator_to_the_behaviour(schedule) -> None:
    """T18: E[g] = w sigma alpha (theta - m)/D has the sign of theta - m."""
    tau, std, weight = 0.7, 0.5, 1.5
    z, share = normal_grid(2, 4)
    t = double(0.3).expand(len(z))
    alpha, sigma = float(schedule.alpha(t[:1])), float(schedule.sigma(t[:1]))
    theta = double(2.0)
    for _ in range(200):
        act = theta + tau * z[:, :1]
        real = gaussian_denoiser(double(-1.0), std, schedule)
        fake = gaussian_denoiser(theta, tau, schedule)
        grad = vsd_grad(real, fake, schedule, act, t, z[:, 1:], torch.full_like(t, weight))
        mean = float(share @ grad[:, 0])
        expected = weight * sigma * alpha * float(theta + 1) / (alpha**2 * std**2 + sigma**2)
        assert mean == pytest.approx(expected, rel=1e-6, abs=1e-12)
        theta = theta - 0.1 * mean
    assert float(theta) == pytest.approx(-1, abs=0.01)
