"""Noising and denoising against closed forms of one Gaussian, the exact mixture and Bayes' rule."""

import math

import numpy as np
import pytest
import torch

from diffteach.explore import fields
from diffteach.explore.lessons import noising, parts, processes
from diffteach.explore.lessons.film import BOUNDS, COPIES, LEVELS, SHOWN, losses
from diffteach.explore.lessons.processes import LOW, SCHEDULE, SCHEDULES, TIMES
from diffteach.explore.page import html
from diffteach.sampling import ancestral
from diffteach.schedule import Discrete, vp_betas, x0_from_eps
from diffteach.toys import GaussianMixture, density, empirical

MEAN, STD, DIM = torch.tensor([1.5, -0.7]), 0.5, 2
ALPHA, SIGMA = SCHEDULE.alpha(TIMES), SCHEDULE.sigma(TIMES)
D_T = ALPHA**2 * STD**2 + SIGMA**2


@pytest.fixture(scope="module")
def film():
    return noising()


@pytest.fixture
def one():
    return GaussianMixture(MEAN[None], torch.tensor([STD]))


def noise(n, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def standardised(path, alpha=ALPHA, spread=D_T):
    return (path - (alpha[:, None] * MEAN)[:, None]) / spread.sqrt()[:, None, None]


# --- processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_flow_keeps_the_standardised_point_of_a_gaussian(one, schedule):
    path = processes.ode(one.denoiser(schedule), schedule, noise(50)).flip(0)
    there = standardised(path)
    torch.testing.assert_close(there, there[-1:].expand_as(there), atol=4e-3, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_reverse_sde_of_a_gaussian_has_its_moments_at_every_time_and_forgets(one, schedule):
    n = 20_000
    start = ALPHA[-1] * MEAN + D_T[-1].sqrt() * noise(n)
    generator = torch.Generator().manual_seed(1)
    path = processes.sde(one.denoiser(schedule), schedule, start, generator).flip(0)
    there = standardised(path)
    assert float(there.mean(1).abs().max()) < 4 / math.sqrt(n)
    # Steps of finite length lose a little variance.
    assert float((there.var(1) - 1).abs().max()) < 0.05
    kept = (there[0] * there[-1]).mean()
    assert float(kept) == pytest.approx(float(ALPHA[-1]) * STD, abs=4 / math.sqrt(2 * n))


def test_noising_has_the_noisy_laws_moments_and_remembers_by_the_signal(one):
    n = 20_000
    path = processes.noised(one.sample(n, torch.Generator().manual_seed(2)), torch.Generator())
    there = standardised(path)
    assert float(there.mean(1).abs().max()) < 4.5 / math.sqrt(n)
    assert float((there.var(1) - 1).abs().max()) < 5 * math.sqrt(2 / n)
    # Cov(x_s, x_t) = Var(x_s) alpha_t/alpha_s for s < t.
    found = (there[10] * there[20]).mean(0)
    expected = ALPHA[20] / ALPHA[10] * (D_T[10] / D_T[20]).sqrt()
    torch.testing.assert_close(found, expected.expand(2), atol=0.03, rtol=0)


@pytest.mark.parametrize("k", range(4))
def test_trajectories_end_in_the_law(k):
    law, n = density("8gaussians"), 6000
    both = tuple(law.denoiser(s) for s in SCHEDULES)
    start = processes.noised(law.sample(n, torch.Generator().manual_seed(3)), torch.Generator())[-1]
    if k in (0, 2):
        ends = processes.ode(both[k // 2], SCHEDULES[k // 2], start)[-1]
    else:
        generator = torch.Generator().manual_seed(4)
        ends = processes.sde(both[k // 2], SCHEDULES[k // 2], start, generator)[-1]
    mean, cov = law.noised(float(ALPHA[0]), float(SIGMA[0])).moments()
    assert float((ends.mean(0) - mean).abs().max()) < 4 * math.sqrt(float(cov[0, 0]) / n)
    torch.testing.assert_close(torch.cov(ends.T), cov, atol=0.25, rtol=0)
    share = torch.cdist(ends, law.means).argmin(1).bincount(minlength=8) / n
    assert float((share - 1 / 8).abs().max()) < 4 * math.sqrt(7 / 64 / n)
    gap = ends - law.means[torch.cdist(ends, law.means).argmin(1)]
    assert float(gap.square().mean().sqrt()) == pytest.approx(float(law.stds[0]), rel=0.05)


def test_vp_and_edm_are_one_process_in_two_scales():
    law = density("two_moons")
    both = tuple(law.denoiser(s) for s in SCHEDULES)
    vp_ode, vp_sde, edm_ode, edm_sde = processes.four(both, noise(64), 0)
    torch.testing.assert_close(vp_ode, edm_ode, atol=1e-3, rtol=0)
    torch.testing.assert_close(vp_sde, edm_sde, atol=1e-3, rtol=0)


def test_a_step_of_the_sde_is_the_ancestral_chains():
    schedule, law = Discrete(vp_betas(8)), density("8gaussians")
    denoise, x = law.denoiser(schedule), noise(30)
    chain = ancestral(denoise, schedule, x, torch.Generator().manual_seed(5))
    drawn = torch.Generator().manual_seed(5)
    for k in range(7, 0, -1):
        t, before = (torch.full((30,), j) for j in (k, k - 1))
        eps = torch.randn(x.shape, generator=drawn)
        x = processes.ancestral_step(denoise, schedule, x, t, before, eps)
        torch.testing.assert_close(x, next(chain), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_misses_are_the_closed_forms_of_a_gaussian(one, schedule):
    n, denoise = 20_000, one.denoiser(schedule)
    clean = one.sample(n, torch.Generator().manual_seed(6))
    there = processes.noised(clean, torch.Generator().manual_seed(7))
    found = processes.miss(denoise, schedule, there, TIMES, clean)
    floor = (DIM * STD**2 * SIGMA**2 / D_T).sqrt()  # of x0, the irreducible error
    torch.testing.assert_close(found, floor, atol=0, rtol=0.02)
    back = processes.ode(denoise, schedule, there[-1]).flip(0)
    ends = MEAN + STD * standardised(back)[-1]  # where the flow would end at t = 0
    found = processes.miss(denoise, schedule, back, TIMES, ends)
    expected = math.sqrt(DIM) * STD * (1 - ALPHA * STD / D_T.sqrt())
    torch.testing.assert_close(found, expected, atol=8e-3, rtol=0.02)


def test_score_errors_are_those_of_a_shifted_gaussian(one):
    shift = torch.tensor([0.3, 0.4])
    wrong = GaussianMixture(MEAN[None] + shift, torch.tensor([STD]))
    clean = one.sample(20_000, torch.Generator().manual_seed(8))
    both = (wrong.denoiser(SCHEDULE), wrong.denoiser(SCHEDULES[1]))
    vp, edm, size = processes.score_errors(both, one.denoiser(SCHEDULE), clean, 0)
    torch.testing.assert_close(vp, 0.5 * ALPHA / D_T, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(edm, 0.5 * ALPHA / D_T, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(size, (DIM / D_T).sqrt(), atol=0, rtol=0.02)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_optimal_loss_is_the_floor(one, schedule):
    n = 1 << 15
    fresh = one.sample(n, torch.Generator().manual_seed(9))
    found = losses(one.denoiser(schedule), schedule, fresh, fresh, 0)
    t = 1e-3 + (1 - 1e-3) * (torch.arange(4000) + 0.5) / 4000
    signal = SCHEDULE.alpha(t) ** 2 * STD**2
    floor = float((DIM * signal / (signal + SCHEDULE.sigma(t) ** 2)).mean())
    assert found.tolist() == [pytest.approx(floor, rel=0.02)] * 2


def test_who_memorises_pays_less_on_training_points_and_returns_them():
    train = processes.training_points("8gaussians", 0)
    exact, memory = density("8gaussians").denoiser(SCHEDULE), empirical(train, 0).denoiser(SCHEDULE)
    fresh = density("8gaussians").sample(8192, torch.Generator().manual_seed(10))
    low, high = losses(memory, SCHEDULE, train, fresh, 0)
    floor, also = losses(exact, SCHEDULE, train, fresh, 0)
    assert low < floor - 0.05
    assert high > 2 * also
    for path in processes.four((memory, empirical(train, 0).denoiser(SCHEDULES[1])), noise(200), 0):
        distance = torch.cdist(path[-1] / ALPHA[0], train).min(1).values
        assert float(distance.median()) < 0.06
        assert float(distance.max()) < 0.25


# --- what the views compute -----------------------------------------------------------------


def test_the_film_passes_through_the_shipped_arrays(film):
    there, back = (film.scene.stacks[n].data for n in ("there", "here"))
    for k in (0, 9, -1):
        film.set(time=max(LOW, float(TIMES[k])), left="VP SDE")
        np.testing.assert_allclose(film["now_left"], there[k, :SHOWN], atol=1e-5)
        film.set(time=min(2 - LOW, 2 - float(TIMES[k])) if k != -1 else 1.0000001)
        expected = back[1, -1 - k if k >= 0 else 0, :SHOWN]
        np.testing.assert_allclose(film["now_left"], expected, atol=1e-5)
    film.set(time=1.5, left="EDM ODE")
    scale = float(SCHEDULE.alpha(torch.tensor([0.5])))
    edm = film["now_left"]
    film.set(left="VP ODE")
    np.testing.assert_allclose(edm * scale, film["now_left"], atol=1e-4)


@pytest.mark.parametrize("time", [0.3, 1.0, 1.4, 2 - LOW])
@pytest.mark.parametrize("left", processes.NAMES)
def test_a_trail_ends_at_its_point_and_knows_nothing_of_later(film, time, left):
    film.set(time=time, left=left, paths=f"{COPIES} points")
    trail = film["trail_left"]
    clock = TIMES.double() if time <= 1 else 2 - TIMES.double().flip(0)
    past = int((clock <= time).sum())
    assert np.isnan(trail[:, past + 1 :]).all()
    assert np.isfinite(trail[:, : past + 1]).all()
    np.testing.assert_allclose(trail[:, past], film["now_left"][:COPIES], atol=1e-9)


def test_from_one_start_the_flow_ends_in_one_point_and_the_sde_does_not(film):
    film.set(time=2 - LOW, paths=f"one start, {COPIES} times", left="VP ODE", right="VP SDE")
    np.testing.assert_allclose(np.nanmax(np.ptp(film["trail_left"], axis=0)), 0, atol=1e-4)
    begin, end = film["trail_right"][:, 0], film["trail_right"][:, -2]
    np.testing.assert_allclose(begin - begin[0], 0, atol=1e-6)
    spread = np.sqrt(((end - end.mean(0)) ** 2).sum(-1).mean())
    assert spread == pytest.approx(film["spread_right"], rel=1e-3)
    assert film["spread_right"] > 1
    assert "VP ODE always ends in one point, the VP SDE somewhere else" in film.words


def test_heat_behind_edm_is_the_log_density_of_its_own_law(film):
    t = float(LEVELS[5])
    film.set(time=t, left="EDM ODE")
    level = float(SCHEDULE.sigma(LEVELS[5:6]) / SCHEDULE.alpha(LEVELS[5:6]))
    law = density("8gaussians").noised(1.0, level)
    expected = fields.on_grid(law.log_prob, BOUNDS, 64)
    expected = np.maximum(expected - expected.max(), -6)
    np.testing.assert_allclose(np.maximum(film["heat_left"], -6), expected, atol=0.06)


@pytest.mark.parametrize("left", ["VP ODE", "EDM ODE"])
def test_the_probes_answer_is_the_posterior_mean(film, left):
    t = LEVELS[5:6]
    film.set(time=2 - float(t), left=left, probe=(0.9, 0.4))
    schedule = SCHEDULES[left == "EDM ODE"]
    level = processes.level(t) if left == "EDM ODE" else t
    x = torch.tensor([[0.9, 0.4]])
    eps = density("8gaussians").denoiser(schedule)(x, level)
    right = x0_from_eps(schedule, x, level, eps)[0]
    np.testing.assert_allclose(film["denoised"], right, atol=0.03)


def test_lines_meet_what_the_sentence_says(film):
    film.set(time=1.55)
    found = film["missed"]
    for k in range(3):
        expected = np.interp(0.45, film["knots"], film["misses"][:, k])
        assert found[k] == pytest.approx(expected)
    assert f"origin by {found[0]:.2f}, the ODE's end by {found[1]:.2f}" in film.words
    # Backwards in time the SDE is the forward process: it has as much left to decide.
    np.testing.assert_allclose(film["misses"][6:, 0], film["misses"][6:, 2], rtol=0.1)


def test_own_denoiser_equal_to_the_exact_one_gives_its_flow(film):
    exact = density("8gaussians")
    film.reset().try_(lambda points, schedule, x_t, t: exact.denoiser(schedule)(x_t, t))
    assert film.error == ""
    np.testing.assert_allclose(
        film.scene.stacks["own"].data[0], film.scene.stacks["here"].data[0, :, :SHOWN], atol=1e-4
    )
    np.testing.assert_allclose(film["own_losses"], film["losses"][1], atol=1e-6)
    film.try_(lambda points, schedule, x_t, t: x_t[:, 0])
    assert "your predicted noise" in film.error
    film.try_(None)


@pytest.mark.parametrize("denoiser", ["exact", "memorised"])
def test_the_page_is_small(denoiser):
    assert len(html(noising(denoiser=denoiser, guess=True))) < 240_000


@pytest.mark.slow
@pytest.mark.parametrize("name", parts.DENSITIES)
def test_every_density_has_a_small_page(name):
    if name in noising().scene.param("density").options:
        assert len(html(noising(name))) < 240_000


@pytest.mark.slow
def test_a_trained_network_is_wrong_where_the_noise_is_small():
    film = noising(denoiser="trained")
    vp, edm, size = film["wrong"].T
    large = TIMES.numpy() > 0.2
    for error in (vp, edm):
        assert (error[large] < 0.15 * size[large]).all()
        assert error[0] > 0.2 * size[0]
    assert not np.allclose(vp, edm, rtol=0.02)  # two networks, not one shown twice
