"""Right answers pass however they are written, and the texts state what is so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diffteach.course import check, dtql, rssm_and_sdac, srpo, task, tasks
from diffteach.course.solutions import SOLUTIONS
from diffteach.explore import lessons
from diffteach.objectives import (
    score_regularization_grad,
    trust_region_loss,
    variance_weight,
    vsd_grad,
)
from diffteach.schedule import EDM, VP, x0_from_eps
from diffteach.toys import GaussianMixture, empirical

IDS = [found.id for found in tasks()]


def test_there_are_three_tasks_of_three_kinds_to_each_lesson() -> None:
    assert set(SOLUTIONS) == set(IDS)
    for lesson in ("01", "02", "03", "04", "05", "06", "07", "08", "09"):
        found = tasks(lesson)
        assert [t.id for t in found] == [f"{lesson}.{n}" for n in (1, 2, 3)]
        assert [t.kind for t in found] == ["compute", "break it", "design"]


@pytest.mark.parametrize("name", IDS)
def test_the_reference_solution_passes(name) -> None:
    result = check(name, SOLUTIONS[name])
    assert result.passed, result.hint
    assert result.hint == task(name).right


def tilted_forward(log_pi, log_target):
    """Self-normalised weights, as in weighted regression."""
    log_ratio = log_target - log_pi
    return (torch.softmax(log_ratio, 0) * log_ratio).sum(0)


def bregman_forward(log_pi, log_target):
    ratio = torch.exp(log_target - log_pi)
    return (ratio * ratio.log() - ratio + 1).mean(0)


def switched_baseline(denoise, schedule, act, t, eps):
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    with_it, without = (
        score_regularization_grad(denoise, schedule, act, t, eps, alpha / sigma, baseline)
        for baseline in (True, False)
    )
    return torch.where((sigma > 0.5 * alpha)[:, None], with_it, without)


def frozen_by_hand(denoise, schedule, act, t, eps):
    noise = denoise(act + t[:, None] * eps, t)
    clean = (act + t[:, None] * (eps - noise)).detach()
    c_out = t * schedule.sigma_data / torch.sqrt(t**2 + schedule.sigma_data**2)
    return (((clean - act) / c_out[:, None]) ** 2).sum(-1) / 2


def rough_base_with_peaks(x):
    return torch.log(torch.exp(-(x**2) / 18) * (1 + 0.9 * torch.cos(math.pi * (x - 1) / 2)))


def summed_by_hand(points, schedule, x_t, t):
    weighed, total = torch.zeros_like(x_t), torch.zeros(len(x_t), 1)
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    for point in points:
        noise = (x_t - alpha * point) / sigma
        weight = torch.exp(-0.5 * noise.double().square().sum(-1, keepdim=True))
        weighed, total = weighed + weight * noise, total + weight
    return weighed / total


def cooled_until_three_count(energy):
    best = torch.softmax(energy, 0)
    for temperature in (1.5, 2, 3, 5, 8):
        few = 1 / best.square().sum(0) < 3
        best = torch.where(few, torch.softmax(energy / temperature, 0), best)
    return best


def by_the_denoised_point(denoise, schedule, act, t, eps):
    x, t = act + t[:, None] * eps, t[:, None]
    return (act - x + t * denoise(x, t[:, 0])) * (1 / t**2 + 1 / schedule.sigma_data**2)


def narrower_part(denoise, schedule, act, t, eps):
    x, t = act + t[:, None] * eps, t[:, None]
    return (denoise(x, t[:, 0]) - t**2 / (t**2 + 0.1) * eps) / t


def by_the_jacobian(q, denoise, schedule, x_t, t, beta):
    """J^T grad Q with J = (I - sigma d eps/dx)/alpha, a column at a time."""
    x = x_t.detach().requires_grad_()
    eps = denoise(x, t)
    clean = x0_from_eps(schedule, x, t, eps).detach().requires_grad_()
    (slope,) = torch.autograd.grad(q(clean).sum(), clean)
    (back,) = torch.autograd.grad(eps, x, slope)
    return beta * (slope - schedule.sigma(t)[:, None] * back) / schedule.alpha(t)[:, None]


def by_autograd_of_the_energy(points, values, schedule, x_t, t, beta):
    x = x_t.detach().requires_grad_()
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    log_w = -(x[:, None] - alpha[:, None] * points).square().sum(-1) / (2 * sigma**2)
    energy = torch.logsumexp(log_w + beta * values, 1) - torch.logsumexp(log_w, 1)
    return torch.autograd.grad(energy.sum(), x)[0]


OTHERS = [
    ("01.1", 0.69),
    ("01.2", lambda a: 7 - torch.distributions.Normal(0.0, 4.125**0.5).log_prob(a).sum(-1)),
    ("01.3", lambda a, points: 100 * torch.cdist(a, points).amin(1) ** 2),
    ("01.3", lambda a, points: -0.1 * torch.logsumexp(-torch.cdist(a, points) ** 2 / 0.02, 1)),
    ("02.1", 0.583),
    ("02.1", torch.tensor([0.5828])),
    ("02.2", lambda s, x_t, t, eps: x_t / s.alpha(t)[:, None] - eps / s.alpha(t)[:, None]),
    ("02.3", lambda t: torch.stack(SOLUTIONS["02.3"](t)).unbind(0)),
    ("02.3", lambda t: [1 / torch.sqrt(1 + torch.exp(12 * t - 6)),
                        1 / torch.sqrt(1 + torch.exp(6 - 12 * t))]),
    ("03.1", 0.0846),
    ("03.1", np.float32(0.0851)),
    ("03.2", lambda points, s, x_t, t: empirical(points, 0).denoiser(s)(x_t, t)),
    ("03.2", summed_by_hand),
    ("03.3", lambda points, s, x_t, t: empirical(points, 0.2).denoiser(s)(x_t, t)),
    ("03.3", lambda points, s, x_t, t: empirical(points, 0.45).denoiser(s)(x_t, t)),
    ("04.1", np.float32(0.433)),
    ("04.2", tilted_forward),
    ("04.2", bregman_forward),
    ("04.3", rough_base_with_peaks),
    ("04.3", lambda x: SOLUTIONS["04.3"](x).double() + 7),
    ("05.1", np.array(1.08)),
    ("05.2", switched_baseline),
    ("05.3", lambda s, t: 20 * s.alpha(t) / s.sigma(t)),
    ("05.3", lambda s, t: 100.0 * (t < 0.1)),
    ("06.1", 0.37),
    ("06.2", frozen_by_hand),
    ("06.3", lambda s: 1 / s),
    ("06.3", lambda s: torch.exp(-2 * s)),
    ("07.1", 0.2164),
    ("07.2", by_the_denoised_point),
    ("07.3", narrower_part),
    ("08.1", 2.6),
    ("08.1", torch.tensor(2.59)),
    ("08.2", by_the_jacobian),
    ("08.3", by_autograd_of_the_energy),
    ("09.1", 2.497),
    ("09.2", lambda energy: torch.full_like(energy, 1 / len(energy))),
    ("09.2", lambda energy: torch.linspace(0, 1, len(energy))[:, None].expand(energy.shape)),
    ("09.3", lambda energy: torch.softmax(energy, 0).clamp(max=len(energy) ** -0.5)),
    ("09.3", cooled_until_three_count),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer"), OTHERS)
def test_other_right_answers_pass_too(name, answer) -> None:
    result = check(name, answer)
    assert result.passed, result.hint


@pytest.mark.parametrize("name", IDS)
def test_an_open_task_is_kindly_said_to_be_open(name) -> None:
    starter = {}
    exec(task(name).starter, starter)
    (left,) = (value for key, value in starter.items() if key != "__builtins__")
    for answer in (None, ..., left):
        result = check(name, answer)
        assert (result.answered, result.passed) == (False, False)
        assert "not answered yet" in repr(result)


def test_texts_and_verdicts_are_shown_in_terminals_and_notebooks() -> None:
    found = task("06.1")
    assert found.text in repr(found)
    assert found.text in found._repr_markdown_()
    assert "outside = ..." in found._repr_markdown_()
    right, wrong = check("06.1", math.exp(-1)), check("06.1", math.exp(-2))
    assert repr(right).startswith("06.1: right.")
    assert repr(wrong).startswith("06.1: not yet.")
    assert right._repr_markdown_().startswith("**✓ 06.1")
    assert wrong.hint in wrong._repr_markdown_()
    assert bool(right) is True
    assert bool(wrong) is False


def test_checks_are_deterministic_and_leave_the_random_state_alone() -> None:
    def noisy(schedule, x_t, t, eps):
        return x_t + torch.randn_like(x_t)

    before = torch.get_rng_state()
    assert check("02.2", noisy) == check("02.2", noisy)
    assert torch.equal(before, torch.get_rng_state())


def test_what_a_function_does_to_its_arguments_is_not_felt() -> None:
    def careless(sigma):
        sigma.mul_(0)
        return sigma + 1

    assert "constant" in check("06.3", careless).hint
    assert check("06.3", SOLUTIONS["06.3"]).passed


def test_checks_work_where_gradients_are_off() -> None:
    with torch.no_grad():
        assert check("06.2", SOLUTIONS["06.2"]).passed


@pytest.mark.parametrize("name", [name for name in IDS if callable(SOLUTIONS[name])])
def test_a_check_asks_for_little_work(name) -> None:
    """Well below two seconds on any machine, since few rows go through an exact denoiser."""
    answer, asked = SOLUTIONS[name], []

    def counted(*args):
        asked.append(sum(a.numel() for a in args if isinstance(a, torch.Tensor)))
        return answer(*args)

    assert check(name, counted).passed
    assert len(asked) <= 2
    assert sum(asked) <= 60_000


@pytest.mark.parametrize(
    ("name", "explorable"),
    [
        ("01.2", lessons.why_regularize),
        ("02.2", lessons.noise_and_scores),
        ("03.2", lessons.noising),
        ("04.2", lessons.mode_seeking),
        ("05.2", lessons.score_regularization),
        ("06.2", lessons.trust_region),
        ("07.2", lessons.one_point),
        ("07.2", lessons.regularizers),
        ("08.2", lessons.guidance),
        ("07.3", lessons.one_point),
        ("09.2", lessons.sampling_without_data),
        ("09.3", lessons.sampling_without_data),
    ],
)
def test_what_is_broken_goes_into_the_lessons_explorable(name, explorable) -> None:
    assert explorable().try_(SOLUTIONS[name]).error == ""


def test_05_2_states_the_variance_with_the_baseline() -> None:
    t = (0.02 + 0.96 * (torch.arange(4000) + 0.5) / 4000).double()
    alpha, sigma = VP().alpha(t), VP().sigma(t)
    spread = (alpha / sigma) ** 2 * (alpha**2 * 0.25 / (alpha**2 * 0.25 + sigma**2)) ** 2
    assert float(spread.mean()) == pytest.approx(2.8, abs=0.05)


def test_05_3_the_default_weight_fails_however_strong() -> None:
    t = srpo._times(64).float()
    for factor in (1.0, 10.0, 100.0):
        weight = factor * variance_weight(VP(), t)
        distance = torch.cdist(srpo._regularised(weight, t)[1], srpo._modes()).min(1).values
        assert int((distance <= 0.71).sum()) < 20


def test_06_1_the_loss_of_one_gaussian_is_the_formula_in_the_text() -> None:
    levels, shares = dtql.fields.noise_levels(EDM(), 400)
    eps, weights = dtql.fields.hermite(6)
    denoise = GaussianMixture(torch.zeros(1, 2), 0.5).denoiser(EDM())
    a = torch.tensor([0.6, -0.4])
    n = (len(levels), len(eps))
    loss = trust_region_loss(
        denoise,
        EDM(),
        a.expand(n[0] * n[1], 2),
        levels.repeat_interleave(n[1]),
        eps.repeat(n[0], 1),
    ).reshape(n)
    mean = float((loss @ weights) @ shares)
    assert mean == pytest.approx(0.5 + float(a.square().sum()), abs=5e-3)


def test_07_1_is_the_share_that_the_librarys_gradients_have() -> None:
    schedule, n = VP(), 200_000
    time = torch.linspace(0.05, 0.95, 2001)
    t = time[(schedule.alpha(time) - 0.6).abs().argmin()].expand(n)
    generator = torch.Generator().manual_seed(0)
    z, eps = (torch.randn(n, 2, generator=generator) for _ in range(2))
    real, fake = (GaussianMixture(torch.zeros(1, 2), w).denoiser(schedule) for w in (0.5, 0.9))
    one = torch.ones(n)
    sds = score_regularization_grad(real, schedule, 0.9 * z, t, eps, one)
    vsd = vsd_grad(real, fake, schedule, 0.9 * z, t, eps, one)
    share = float((vsd * z).mean() / (sds * z).mean())
    assert share == pytest.approx(SOLUTIONS["07.1"], abs=0.01)


def test_06_3_states_both_rankings() -> None:
    points = torch.tensor(dtql._POINTS)
    law = GaussianMixture(torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), torch.tensor([0.2, 1.0]))
    likely, between, beside = law.log_prob(points).tolist()
    assert likely > between + 1 > beside + 2
    levels, shares, residual = dtql._residuals()
    own = 1 + (levels / 0.5).double() ** 2
    loss = (shares * own * residual).sum(-1)
    assert loss[2] < 0.8 * loss[1]


def test_09_1_the_best_of_32_is_that_far_by_simulation() -> None:
    best = torch.rand(200_000, 32, generator=torch.Generator().manual_seed(0)).amax(1).double()
    kl = float((math.log(32) + 31 * best.log()).mean())
    assert kl == pytest.approx(SOLUTIONS["09.1"], abs=0.01)


def test_09_2_what_is_learned_without_weights_is_nothing() -> None:
    drawn = rssm_and_sdac._drawn(1.0)
    flat = torch.full_like(drawn.energy, 1 / 16).double()
    tilted = torch.softmax(drawn.energy.double(), 0)
    assert rssm_and_sdac._error(flat, drawn) > 5 * rssm_and_sdac._error(tilted, drawn)


def test_09_3_no_fixed_temperature_is_enough() -> None:
    for temperature in (1.2, 1.5, 2, 3, 5):
        answer = check("09.3", lambda energy, t=temperature: torch.softmax(energy / t, 0))
        assert not answer.passed
