"""T5 and T6: loss floors, and samplers against the exact probability-flow map of a Gaussian."""

from __future__ import annotations

import math

import pytest
import torch
from core.oracles import double, gaussian_denoiser, normal_grid, three_modes

from diffteach.objectives import denoising_loss
from diffteach.sampling import (
    ancestral,
    best_of,
    ddim,
    draw,
    flow_log_prob,
    heun,
    initial_noise,
    sample,
    softmax_of,
    time_grid,
)
from diffteach.schedule import EDM, VP, Discrete, linear_betas, relax_betas, vp_betas

MEAN, STD = double(0.7, -0.4), 0.6
LEVELS = [
    (VP(), double(0.03)),
    (VP(), double(0.4)),
    (EDM(), double(0.2)),
    (EDM(), double(3.0)),
    (Discrete(vp_betas(5)), torch.tensor([1])),
]


def level(schedule, t) -> tuple[float, float, float]:
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    return alpha, sigma, alpha**2 * STD**2 + sigma**2


@pytest.mark.parametrize(("schedule", "t"), LEVELS)
def test_exact_denoiser_reaches_the_floor_of_the_loss(schedule, t) -> None:
    alpha, sigma, total = level(schedule, t)
    z, weight = normal_grid(4, 3)
    x0, eps = MEAN + STD * z[:, :2], z[:, 2:]
    time, ones = t.expand(len(z)), torch.ones(len(z), dtype=torch.float64)
    denoise = gaussian_denoiser(MEAN, STD, schedule)
    floor = weight @ denoising_loss(denoise, schedule, x0, time, eps, ones)
    assert float(floor) == pytest.approx(2 * alpha**2 * STD**2 / total, rel=1e-6)
    # A weight of (sigma/alpha)^2 turns eps-residuals into residuals of the denoised point.
    clean = weight @ denoising_loss(denoise, schedule, x0, time, eps, ones * (sigma / alpha) ** 2)
    assert float(clean) == pytest.approx(2 * STD**2 * sigma**2 / total, rel=1e-6)


@pytest.mark.parametrize(("schedule", "t"), LEVELS)
def test_loss_at_one_point_has_its_closed_form(schedule, t) -> None:
    alpha, sigma, total = level(schedule, t)
    eps, weight = normal_grid(2, 3)
    delta = double(0.5, 1.1)
    act, time = (MEAN + delta).expand(len(eps), -1), t.expand(len(eps))
    denoise = gaussian_denoiser(MEAN, STD, schedule)
    value = weight @ denoising_loss(denoise, schedule, act, time, eps, 3 * torch.ones_like(weight))
    square = float(delta.square().sum())
    expected = (sigma**2 * alpha**2 * square + 2 * alpha**4 * STD**4) / total**2
    assert float(value) == pytest.approx(3 * expected, rel=1e-6)


def flow_error(sampler, schedule, times) -> float:
    """Distance from the exact map (x - alpha m)/sqrt(D_t) = constant at the last level."""
    x = 2 * torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start, end = (level(schedule, t) for t in (times[:1], times[-1:]))
    x_t = start[0] * MEAN + start[2] ** 0.5 * x
    states = list(sampler(gaussian_denoiser(MEAN, STD, schedule), schedule, x_t, times))
    assert len(states) == len(times)
    return float((states[-2] - end[0] * MEAN - end[2] ** 0.5 * x).abs().max())


@pytest.mark.parametrize(("sampler", "order"), [(heun, 2), (ddim, 1)])
@pytest.mark.parametrize("schedule", [VP(), EDM()])
def test_samplers_follow_the_exact_flow_at_their_order(sampler, order, schedule) -> None:
    coarse, fine = (
        flow_error(sampler, schedule, time_grid(schedule, n).double()) for n in (64, 128)
    )
    assert fine < (0.005 if order == 2 else 0.1)
    assert 0.8 * 2**order < coarse / fine < 1.25 * 2**order


@pytest.mark.parametrize("rho", [1, 2, 5.0])
def test_any_grid_converges_to_the_same_flow(rho) -> None:
    assert flow_error(heun, VP(), time_grid(VP(), 400, rho).double()) < 0.01


def test_flow_on_discrete_levels() -> None:
    schedule = Discrete(linear_betas(1000).double())
    assert flow_error(heun, schedule, time_grid(schedule, 200)) < 0.01


def test_last_yield_is_the_denoised_point() -> None:
    schedule, times = VP(), double(0.5, 0.2)
    x_t = torch.randn(5, 2, dtype=torch.float64)
    denoise = gaussian_denoiser(MEAN, STD, schedule)
    before, last = list(heun(denoise, schedule, x_t, times))
    alpha, sigma, total = level(schedule, times[1:])
    # Tweedie for one Gaussian: the posterior mean.
    expected = MEAN + alpha * STD**2 / total * (before - alpha * MEAN)
    torch.testing.assert_close(last, expected)


@pytest.mark.parametrize(
    ("schedule", "tolerance"),
    [(VP(), 0.03), (EDM(), 0.03), (Discrete(linear_betas(300, 1e-4, 0.06)), 0.03)],
)
def test_samples_have_the_moments_of_the_law(schedule, tolerance) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = initial_noise(schedule, 20_000, 2, generator)
    denoise = gaussian_denoiser(MEAN.float(), STD, schedule)
    x = sample(denoise, schedule, noise, 30, generator)
    torch.testing.assert_close(x.mean(0), MEAN.float(), atol=tolerance, rtol=0)
    torch.testing.assert_close(x.std(0), torch.full((2,), STD), atol=tolerance, rtol=0)


# At the last of 20 levels the posterior's variance is beta itself, after the sixth half of it.
@pytest.mark.parametrize("levels", [20, 6, 2])
def test_ancestral_step_is_the_posterior(levels) -> None:
    """One level: x_0 given x_t and the denoised point, in the conjugate form of its precision."""
    schedule = Discrete(relax_betas(20).double()[:levels])
    x_t = torch.randn(4000, 2, dtype=torch.float64)
    guess = double(0.3, -0.2)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return (x - alpha * guess) / sigma

    step = next(ancestral(denoise, schedule, x_t, torch.Generator().manual_seed(0)))
    bar_before, beta = schedule.alpha_bar[-2], schedule.betas[-1]
    precision = 1 / (1 - bar_before) + (1 - beta) / beta
    mean = (bar_before**0.5 * guess / (1 - bar_before) + (1 - beta) ** 0.5 * x_t / beta) / precision
    noise = (step - mean) * precision**0.5
    assert float(noise.mean()) == pytest.approx(0, abs=0.04)
    assert float(noise.std()) == pytest.approx(1, abs=0.04)


def test_ancestral_limit_holds_the_denoised_point() -> None:
    schedule = Discrete(vp_betas(5))
    far = gaussian_denoiser(torch.tensor([30.0, 0.0]), 0.1, schedule)
    x = draw(ancestral(far, schedule, torch.randn(50, 2), limit=1.0))
    assert float(x.abs().max()) <= 1 + 1e-6
    assert float(x[:, 0].min()) == pytest.approx(1)


def test_samplers_repeat_with_their_generator() -> None:
    schedule = Discrete(vp_betas(5))
    denoise = gaussian_denoiser(MEAN.float(), STD, schedule)
    runs = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        noise = initial_noise(schedule, 10, 2, generator)
        runs.append(sample(denoise, schedule, noise, generator=generator))
    assert runs[0].equal(runs[1]) and not runs[0].equal(runs[2])


def test_grids_run_from_the_noisiest_level_to_the_cleanest() -> None:
    assert time_grid(EDM(), 18)[[0, -1]].tolist() == pytest.approx([80, 0.002])
    assert time_grid(VP(), 18)[[0, -1]].tolist() == pytest.approx([1, 1e-3])
    assert time_grid(Discrete(vp_betas(5)), 99).tolist() == [4, 3, 2, 1, 0]
    assert time_grid(VP(), 3, 1).tolist() == pytest.approx([1, 0.5005, 0.001])
    # Karras et al. 2022, Eq. 5, in the middle of three.
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    assert float(time_grid(EDM(), 3)[1]) == pytest.approx(middle, rel=1e-5)


def test_best_of_takes_the_best_candidate_of_each_row() -> None:
    candidates = torch.arange(12.0).reshape(3, 2, 2)
    values = torch.tensor([[0.0, 5.0], [2.0, 1.0], [1.0, 3.0]])
    assert best_of(candidates, values).equal(torch.tensor([[4.0, 5.0], [2.0, 3.0]]))


@pytest.mark.parametrize("schedule", [VP(), EDM()])
def test_density_of_the_flow_is_the_mixtures_own(schedule) -> None:
    density = three_modes()
    x = torch.cat([density.sample(200, torch.Generator().manual_seed(0)), double((2.0, 2.0))])
    exact = density.log_prob(x)
    gaps = [
        float((flow_log_prob(density.denoiser(schedule), schedule, x, n) - exact).abs().max())
        for n in (40, 80, 160)
    ]
    assert gaps[2] < 0.05 and gaps[1] < 0.45 * gaps[0] and gaps[2] < 0.45 * gaps[1]


def test_choice_by_softmax_has_its_odds() -> None:
    candidates = torch.arange(3.0).reshape(3, 1, 1).expand(3, 40_000, 1)
    values = torch.tensor([0.0, math.log(2.0), math.log(5.0)])[:, None].expand(3, 40_000)
    drawn = softmax_of(candidates, values, torch.Generator().manual_seed(0)).long().squeeze(-1)
    share = torch.bincount(drawn) / len(drawn)
    assert share.tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.01)
