"""Lesson 08 against closed forms: tilted mixtures, one Gaussian, quadrature, and autograd."""

import math

import numpy as np
import pytest
import torch

from diffteach.explore import fields
from diffteach.explore.lessons import guidance, open_link
from diffteach.explore.lessons import guidance_flows as flows
from diffteach.explore.lessons import guidance_moves as moves
from diffteach.schedule import x0_from_eps

LINEAR, QUADRATIC, STEP = flows.ENERGIES
LAW = flows.SCHEDULE
PLACES = 3 * torch.randn(12, 2, generator=torch.Generator().manual_seed(4)).double()


@pytest.fixture(scope="module")
def lesson():
    return guidance()


@pytest.fixture(autouse=True)
def opening(lesson):
    lesson.try_(None).reset()


def scales(t: float) -> tuple[float, float]:
    time = torch.tensor([t], dtype=torch.float64)
    return float(LAW.alpha(time)), float(LAW.sigma(time))


def guides(name: str, energy: str, t: float, beta: float) -> np.ndarray:
    centres, std = flows.described(name)
    value = np.array(flows.ENERGIES[energy])
    return moves.guides(PLACES.numpy(), *scales(t), centres, std, value, beta)


def target(name: str, energy: str, beta: float):
    """mu exp(beta Q) by the library's closed form."""
    _, p, q, c = flows.ENERGIES[energy]
    aim = torch.tensor([p, q], dtype=torch.float64)
    law = flows.behaviour(name).to(torch.float64)
    if energy == LINEAR:
        return law.tilted(beta * aim)
    return law.tilted(beta * c * aim, beta * c)


# --- the arrows -----------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("energy", [LINEAR, QUADRATIC])
@pytest.mark.parametrize("name", flows.BEHAVIOURS)
def test_exact_guidance_is_the_tilted_laws_score_minus_the_behaviours(name, energy, t) -> None:
    beta = 7.0
    noised = [
        law.noised(*scales(t)).score(PLACES)
        for law in (target(name, energy, beta), flows.behaviour(name).to(torch.float64))
    ]
    wanted = (noised[0] - noised[1]).numpy()
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(
        guides(name, energy, t, beta)[0], wanted, atol=1e-5 * scale, rtol=1e-4
    )


@pytest.mark.parametrize("beta", [1.0, 10.0])
@pytest.mark.parametrize(("name", "t"), [("8gaussians", 0.3), ("one Gaussian", 0.7)])
def test_the_steps_guidance_is_that_of_a_quadrature_over_clean_actions(name, t, beta) -> None:
    alpha, sigma = scales(t)
    clean = fields.grid((-8.0, 8.0, -8.0, 8.0), 241).double()
    log_p = flows.behaviour(name).to(torch.float64).log_prob(clean)
    likelihood = -(PLACES[:, None] - alpha * clean).square().sum(-1) / (2 * sigma**2)
    means = [
        torch.softmax(log_p + b * flows.reward(STEP)(clean) + likelihood, 1) @ clean
        for b in (beta, 0.0)
    ]
    wanted = (alpha / sigma**2 * (means[0] - means[1])).numpy()
    np.testing.assert_allclose(guides(name, STEP, t, beta)[0], wanted, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_on_one_gaussian_naive_guidance_is_off_by_a_known_factor(t) -> None:
    """grad E_t = beta b alpha s^2/D, so that beta b is D/(alpha s^2) times too long; s = 1, D = 1.

    Through the denoiser it is exact: E_t is linear in x0_hat.
    """
    alpha, _ = scales(t)
    exact, naive, at_clean, through = guides("one Gaussian", LINEAR, t, 3.0)
    np.testing.assert_allclose(naive, exact / alpha, rtol=1e-9)
    np.testing.assert_allclose(at_clean, naive, rtol=1e-12)
    np.testing.assert_allclose(through, exact, rtol=1e-6)


@pytest.mark.parametrize("energy", flows.ENERGIES)
@pytest.mark.parametrize("name", flows.BEHAVIOURS)
def test_the_three_slopes_are_autograds(name, energy) -> None:
    t, beta = 0.37, 2.5
    denoise, q = flows.behaviour(name).denoiser(LAW), flows.reward(energy)
    x, rows = PLACES.float().requires_grad_(), torch.full((len(PLACES),), t)
    clean = x0_from_eps(LAW, x, rows, denoise(x, rows))
    here, through = (torch.autograd.grad(q(v).sum(), x, retain_graph=True)[0] for v in (x, clean))
    fixed = clean.detach().requires_grad_()
    (at_clean,) = torch.autograd.grad(q(fixed).sum(), fixed)
    wanted = beta * torch.stack([here, at_clean, through]).numpy()
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(guides(name, energy, t, beta)[1:], wanted, atol=1e-4 * scale)


def test_a_weak_energy_is_its_mean_so_that_only_the_slope_through_the_denoiser_is_right() -> None:
    """E_t = beta E[Q(x_0) | x_t] + O(beta^2), and E[Q] = Q(x0_hat) where Q is linear."""
    exact, naive, _, through = guides("8gaussians", LINEAR, 0.3, 1e-4)
    scale = np.linalg.norm(exact, axis=-1).max()
    np.testing.assert_allclose(through, exact, atol=2e-4 * scale)
    assert np.linalg.norm(naive - exact, axis=-1).max() > 0.3 * scale


# --- the flows ------------------------------------------------------------------------------


def test_the_flow_of_one_gaussian_moves_five_times_too_far_under_naive_guidance() -> None:
    """From N(0, I) its map is the identity: the exact shift is beta b, the naive one
    beta b times half the integral of beta(t), which is -log alpha(1) = 5.02.
    """
    ends = flows.flows("one Gaussian", LINEAR)
    b, start = np.array(flows.ENERGIES[LINEAR][1:3]), flows.noise().numpy()
    far = -math.log(float(LAW.alpha(torch.ones(1))))
    assert far == pytest.approx(5.025, abs=1e-3)
    for lam, row in zip(flows.LAMS, ends, strict=True):
        np.testing.assert_allclose(row[0], start + b / lam, atol=0.02 / lam + 0.01)
        np.testing.assert_allclose((row[1] - start).mean(0), far * b / lam, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("energy", [LINEAR, QUADRATIC])
@pytest.mark.parametrize("name", flows.BEHAVIOURS)
def test_of_the_targets_own_points_one_in_a_hundred_misses(name, energy) -> None:
    points = target(name, energy, 4.0).sample(20_000, torch.Generator().manual_seed(0)).numpy()
    earned, missed = flows.judged(name, energy, points[None, None], (0.25,))
    assert missed.item() == pytest.approx(0.01, abs=0.003)
    assert earned[0, 0] == pytest.approx(earned[0, 1], abs=0.01)


def test_the_exact_flow_ends_on_every_target(lesson) -> None:
    earned, missed = (lesson.scene.stacks[key].data for key in ("earned", "missed"))
    assert missed[..., 0].max() < 0.03
    np.testing.assert_allclose(earned[..., 1], earned[..., 0], atol=0.02)


def test_what_each_slope_makes_of_the_eight(lesson) -> None:
    """At beta = 4 by a linear Q: off the data; by the step: fewer miss than are misplaced."""
    lesson.set(lam=0.25)
    assert list(lesson["missed"][1:3]) == [1.0, 1.0]
    assert lesson["missed"][3] < 0.1 and lesson["earned"][4] > lesson["earned"][0] + 0.15
    lesson.set(energy=STEP)
    assert lesson["missed"][2] > 0.5 > 0.1 > lesson["missed"][3]


# --- the picture ----------------------------------------------------------------------------


def test_the_chart_now_is_the_arrows_and_the_sentence_names_them(lesson) -> None:
    t = flows.TIMES[20]
    lesson.set(t=float(t), probe=(-2.0, 1.0), energy=QUADRATIC, other=flows.GUIDES[2])
    pushes = np.linalg.norm(lesson["pushes"][:, 0], axis=-1)
    np.testing.assert_allclose(lesson["lengths"][:, 20], pushes, rtol=1e-9)
    assert f"through the denoiser {pushes[3] / pushes[0]:.2g} times" in lesson.words
    assert f"and {100 * lesson['missed'][3]:.0f} % miss." in lesson.words


def test_the_laws_of_one_gaussian_are_the_naive_line(lesson) -> None:
    lesson.set(behaviour="one Gaussian")
    ratio = lesson["lengths"][1] / lesson["lengths"][0]
    np.testing.assert_allclose(ratio, lesson["narrow_law"], rtol=1e-6)
    np.testing.assert_allclose(ratio, lesson["wide_law"], rtol=1e-6)
    assert lesson["ratio3"] == pytest.approx(1, abs=1e-6) and lesson["off3"] == 1e-3


def test_heat_is_the_log_density_up_to_a_constant(lesson) -> None:
    nodes = fields.grid(flows.BOUNDS, 56).double()
    law = flows.behaviour("8gaussians").to(torch.float64)
    wanted = law.noised(lesson["alpha"], lesson["sigma"]).log_prob(nodes).reshape(56, 56).numpy()
    np.testing.assert_allclose(lesson["logp"] - lesson["logp"].max(), wanted - wanted.max(),
                               atol=1e-4)  # fmt: skip
    nodes = fields.grid(flows.BOUNDS, 72).double()
    wanted = target("8gaussians", LINEAR, 4.0).log_prob(nodes).reshape(72, 72).numpy()
    np.testing.assert_allclose(lesson["target"] - lesson["target"].max(), wanted - wanted.max(),
                               atol=1e-3)  # fmt: skip


def through(q, denoise, schedule, x_t, t, beta):
    x = x_t.detach().requires_grad_()
    clean = x0_from_eps(schedule, x, t, denoise(x, t))
    return beta * torch.autograd.grad(q(clean).sum(), x)[0]


def test_own_guidance_equal_to_a_shown_one_lies_on_it(lesson) -> None:
    lesson.set(t=flows.OWN_TIMES[3], probe=(0.4, 1.6), lam=0.25).try_(through)
    assert lesson.error == ""
    np.testing.assert_allclose(lesson["g_own"], lesson["g3"], atol=0.1)
    assert lesson["own_missed"] == pytest.approx(lesson["missed"][3], abs=0.03)
    assert lesson["own_earned"] == pytest.approx(lesson["earned"][4], abs=0.03)
    lesson.try_(lambda q, denoise, schedule, x_t, t, beta: q(x_t))
    assert "your guidance must be a tensor of shape (625, 2)" in lesson.error


def test_the_guess_waits_for_the_guided_point() -> None:
    asked = guidance(guess=True)
    green = [e for e in asked.scene.layers if e.style.get("color") == "green" and e.panel < 2]
    assert len(green) == 4 and not any(asked.frame().shows(e) for e in green)
    before = asked["longest"]
    assert before == pytest.approx(max(np.linalg.norm(asked[f"g{k}"]) for k in (1, 2, 3)))
    x, y = asked["aim"]
    assert asked.predict(x, y + 0.5) == pytest.approx(0.5)
    assert all(asked.frame().shows(e) for e in green)


def test_a_view_travels_in_its_link() -> None:
    view = guidance().set(energy=STEP, behaviour="one Gaussian", lam=1.0, other=flows.GUIDES[1])
    assert open_link(view.permalink()).values == view.values
