"""What reviewers asked and no figure shows, answered with numbers on the exact denoisers."""

from __future__ import annotations

import math

import pytest
import torch
from core.oracles import double, gaussian_denoiser

from diffteach import toys
from diffteach.sampling import flow_log_prob, heun, time_grid
from diffteach.schedule import EDM, VP
from diffteach.toys import GaussianMixture


def stretch(denoise, schedule, noise: torch.Tensor, steps: int) -> torch.Tensor:
    """Largest singular value of d a_0/d z along the whole chain, a_T being the scaled noise z."""
    z = noise.clone().requires_grad_()
    scale = schedule.sigma_max if isinstance(schedule, EDM) else 1.0
    *_, a = heun(denoise, schedule, scale * z, time_grid(schedule, steps))
    rows = [torch.autograd.grad(a[:, k].sum(), z, retain_graph=True)[0] for k in range(2)]
    return torch.linalg.matrix_norm(torch.stack(rows, 1), 2)


@pytest.mark.parametrize("schedule", [VP(), EDM()])
def test_chain_of_one_gaussian_stretches_by_its_width_everywhere(schedule) -> None:
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norms = stretch(gaussian_denoiser(double(1.0, 2.0), 0.3, schedule), schedule, noise, 80)
    assert torch.allclose(norms, torch.full_like(norms, 0.3), rtol=0.02)


@pytest.mark.parametrize("schedule", [VP(), EDM()])
def test_gradients_through_the_chain_have_a_heavy_tail(schedule) -> None:
    """DTQL's argument against differentiating the chain, on 25 exact modes of width 0.3.

    Measured with 2,000 noises and 80 steps: median 1.9; 99 % quantile 41 (VP), 52 (EDM); the
    largest in the hundreds or more, at the noises that lie between two modes' basins.
    """
    denoise = toys.density("25gaussians").to(torch.float64).denoiser(schedule)
    noise = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norms = stretch(denoise, schedule, noise, 80)
    assert 1.7 < float(norms.median()) < 2.1
    assert float(norms.quantile(0.99)) > 30
    assert float(norms.max()) > 300


def four_modes(std: float) -> GaussianMixture:
    corners = double((-0.8, 0.8), (-0.8, -0.8), (0.8, 0.8), (0.8, -0.8))
    return GaussianMixture(corners, double(*[std] * 4), double(*[0.25] * 4))


def entropy_by_the_flow(density: GaussianMixture) -> float:
    points = density.sample(2000, torch.Generator().manual_seed(0))
    return -float(flow_log_prob(density.denoiser(VP()), VP(), points, 160).mean())


def test_additive_noise_does_not_tell_the_entropy_of_a_diffusion_policy() -> None:
    """SDAC's rule takes H = (d/2) log(2 pi e (0.1 alpha)^2): the noise alone, blind to the modes.

    Four far modes of width 0.05 act with that noise on top. At the rule's fixed point the formula
    says -1.80 nats whatever the policy; the truth, by the flow and in closed form, is -0.18.
    """
    alpha = 10 * math.exp(-0.9) / math.sqrt(2 * math.pi * math.e)
    formula = math.log(2 * math.pi * math.e * (0.1 * alpha) ** 2)
    assert formula == pytest.approx(-1.8)
    noisy = four_modes(math.hypot(0.05, 0.1 * alpha))
    truth = math.log(4) + math.log(2 * math.pi * math.e * (0.05**2 + (0.1 * alpha) ** 2))
    assert truth == pytest.approx(-0.18, abs=0.005)
    assert entropy_by_the_flow(noisy) == pytest.approx(truth, abs=0.05)
    single = GaussianMixture(double((0.0, 0.0)), double(0.1 * alpha), double(1.0))
    assert entropy_by_the_flow(single) == pytest.approx(formula, abs=0.05)  # right for a Dirac


def best_gaussian_gap(density: GaussianMixture) -> float:
    """min over Gaussians of KL(q || p), from a start on each mode, by sampling with one noise."""
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gaps = []
    for start in density.means:
        mean, log_std = start.clone().requires_grad_(), double(0.0, 0.0).requires_grad_()
        optimizer = torch.optim.Adam([mean, log_std], lr=0.05)
        for _ in range(150):
            log_q = -0.5 * noise.square().sum(-1) - math.log(2 * math.pi) - log_std.sum()
            kl = (log_q - density.log_prob(mean + log_std.exp() * noise)).mean()
            optimizer.zero_grad()
            kl.backward()
            optimizer.step()
        gaps.append(float(kl.detach()))
    return min(gaps)


def test_where_one_gaussian_is_not_enough_and_where_diversity_is_not_needed() -> None:
    """On SDAC's mixture as exp(Q): E[Q] + H falls short of its best by the KL, E[Q] alone does not.

    With entropy in the objective the best Gaussian misses -ln 0.8 = 0.223 nats, two equal modes
    would cost it ln 2. Without, one point on the higher mode earns more than the whole Boltzmann
    policy: its expected log-density is lower by d/2 = 1 nat within its mode
    (equipartition) and by 0.2 ln 4 for the lower mode.
    """
    density = toys.density("sdac_mixture").to(torch.float64)
    assert best_gaussian_gap(density) == pytest.approx(-math.log(0.8), abs=0.02)
    equal = GaussianMixture(density.means, double(1.0, 1.0), double(0.5, 0.5))
    assert best_gaussian_gap(equal) == pytest.approx(math.log(2), abs=0.02)
    points = density.sample(20_000, torch.Generator().manual_seed(1))
    whole = float(density.log_prob(points).mean())
    one = float(density.log_prob(density.means).max())
    assert whole == pytest.approx(-3.338, abs=0.03)
    assert one - whole == pytest.approx(1 + 0.2 * math.log(4), abs=0.05)
