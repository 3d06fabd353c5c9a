"""T27 and QGPO: the energy of noisy actions, its contrastive loss, guidance and what it is not."""

from __future__ import annotations

import pytest
import torch
from core.oracles import double, gaussian_denoiser, three_modes

from diffteach.objectives import contrastive_energy_loss
from diffteach.schedule import VP, guided

MEAN, STD, SLOPE, BETA = double(0.7, -0.4), 0.6, double(1.0, -0.5), 2.0
LAW = VP()


def scales(t) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    alpha, sigma = LAW.alpha(t), LAW.sigma(t)
    return alpha, sigma, alpha**2 * STD**2 + sigma**2


def linear_energy(x_t, t) -> torch.Tensor:
    """T27: log E[exp(beta b.a) | a_t] for N(m, s^2 I), without a slip of the textbook's Gaussian."""
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
    zero = lambda x_t, t: torch.zeros_like(x_t)  # noqa: E731
    exact = guided(zero, LAW, linear_energy)(x, t)
    naive = guided(zero, LAW, lambda x_t, t: BETA * x_t @ SLOPE)(x, t)
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
        float((contrasted(m, lambda v: torch.softmax(v, 0)) - true_energy()).abs().max())
        for m in (2, 3, 4)
    ]
    assert errors[0] > 0.05
    assert errors[0] > errors[1] > errors[2]
