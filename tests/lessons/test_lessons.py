"""What the explorables claim, held against closed forms and second derivations."""

import inspect
import math

import numpy as np
import pytest
import torch

from diffteach.explore import fields
from diffteach.explore.expression import argmin, at
from diffteach.explore.lessons import (
    LESSONS,
    fits,
    mode_seeking,
    noise_and_scores,
    open_link,
    parts,
    score_regularization,
    trust_region,
)
from diffteach.explore.lessons.mode_seeking import SLOPE, TARGETS, behaviour
from diffteach.explore.lessons.pulls import BOUNDS, descend, mode_of, precision
from diffteach.explore.lessons.score_regularization import _crossing
from diffteach.explore.pack import pack
from diffteach.explore.page import html
from diffteach.objectives import (
    kl_weight,
    score_regularization_grad,
    trust_region_loss,
    unit_weight,
    variance_weight,
)
from diffteach.schedule import EDM, VP, perturb, x0_from_eps
from diffteach.toys import GaussianMixture, density


@pytest.fixture(scope="module")
def region():
    return trust_region()


@pytest.fixture(scope="module")
def scores():
    return score_regularization()


@pytest.fixture
def modes():
    return mode_seeking()


# --- trust region ---------------------------------------------------------------------------


def test_optimum_follows_the_reward(region):
    region.reset().set(lam=3.0, reward="hard")
    np.testing.assert_allclose(region["optimum"], (-10.1, 10.1), atol=0.1)
    region.set(reward="near")
    np.testing.assert_allclose(region["optimum"], (0, 0), atol=0.1)
    region.set(reward="far")
    assert np.linalg.norm(region["optimum"]) == pytest.approx(14.3, abs=0.4)


def test_small_lambda_leaves_the_trust_region_and_large_keeps_it(region):
    region.reset().set(lam=0.01, reward="far")
    assert region.of("at(trust, optimum) > c")
    assert "outside the trust region" in region.words
    region.set(lam=10.0)
    assert not region.of("at(trust, optimum) > c")


def test_objective_is_linear_in_lambda_and_needs_no_kernel(region):
    region.reset().set(lam=7.0)
    np.testing.assert_allclose(region["objective"], 7 * region["trust"] - region["q"], rtol=1e-9)


def test_optimum_of_one_gaussian_is_the_closed_form():
    # With s = sigma_data, alpha L_TR + |a - a_tar|^2 has its optimum in closed form.
    s, lam, target, size = 0.5, 3.0, np.array([1.0, 0.4]), 161
    bounds = (-2.0, 2.0, -2.0, 2.0)
    law = GaussianMixture(torch.tensor([[-0.5, 0.0]]), torch.tensor([s]))
    field = fields.trust_region_field(law.denoiser(EDM()), EDM(), bounds, size).numpy()
    where = fields.grid(bounds, size).numpy().reshape(size, size, 2)
    found = argmin(lam * field + ((where - target) ** 2).sum(-1), bounds)
    pull = lam / (2 * s**2)
    np.testing.assert_allclose(
        found, (2 * target + pull * np.array([-0.5, 0.0])) / (2 + pull), atol=4e-3
    )


def test_own_loss_equal_to_the_library_gives_the_library_picture():
    # A wider mode keeps the coarser noise rule of try_ accurate.
    region = trust_region("8gaussians").try_(trust_region_loss)
    assert region.error == ""
    own, bounds = region["own"], region.scene.bounds
    where = fields.grid(bounds, 48).numpy().reshape(48, 48, 2)
    library = at(region["trust"], where, bounds)
    spread = library.max() - library.min()
    assert np.abs(own - library).max() < 0.03 * spread


def test_dropping_the_jacobian_turns_the_arrows_and_freezing_eps_kills_them():
    def frozen_point(denoise, schedule, act, t, eps):
        x_t = perturb(schedule, act, t, eps)
        x0 = x0_from_eps(schedule, x_t, t, denoise(x_t, t)).detach()
        c_out = t * schedule.sigma_data / (t**2 + schedule.sigma_data**2).sqrt()
        return (((x0 - act) / c_out[:, None]) ** 2).mean(-1)

    def frozen_eps(denoise, schedule, act, t, eps):
        eps_hat = denoise(perturb(schedule, act, t, eps), t).detach()
        return (eps_hat - eps).square().sum(-1)

    region = trust_region("8gaussians").try_(trust_region_loss)
    full = region["own_descent"]
    turned = region.try_(frozen_point)["own_descent"]
    assert region.error == ""
    cosine = (
        (full * turned).sum(-1) / np.linalg.norm(full, axis=-1) / np.linalg.norm(turned, axis=-1)
    )
    assert cosine.min() < 0.9
    assert np.abs(region.try_(frozen_eps)["own_descent"]).max() == 0


def test_error_of_a_students_function_is_shown_with_its_line():
    region = trust_region("8gaussians")
    before = region.scene

    def broken(denoise, schedule, act, t, eps):
        x = act + 1
        return x / undefined

    region.try_(broken)
    assert "NameError in broken, line 3" in region.error
    assert region.scene is before
    region.try_(lambda denoise, schedule, act, t, eps: act)
    assert "shape" in region.error
    region.set(lam=2.0)
    assert "shape" in region.error
    region.request(lam=3.0)
    assert region.error == ""


# --- score regularisation -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "std", "value"),
    [
        (variance_weight, 0.3, 0.2076),
        (variance_weight, 0.5, 0.1849),
        (variance_weight, 1.0, 0.1411),
        (unit_weight, 0.3, 0.5198),
        (unit_weight, 1.0, 0.2356),
        (kl_weight, 0.3, 1.1113),
        (kl_weight, 1.0, 0.2667),
    ],
)
def test_precision_of_a_weight(weight, std, value):
    assert precision(weight, std) == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0, 3000.0])
def test_descend_reaches_the_stationary_point_of_one_gaussian(strength):
    mean, c = np.array([0.7, -0.4]), 2.5
    where = fields.grid(BOUNDS, 65).numpy().reshape(65, 65, 2)
    force = np.moveaxis(c * (where - mean), -1, 0)
    targets = np.array([[-3.0, 2.0], [4.0, 4.0], [0.0, 0.0]])
    found = descend(targets, force, strength, np.array(BOUNDS))
    expected = (2 * targets + strength * c * mean) / (2 + strength * c)
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize(("weight", "radial"), [("σ²", -0.234), ("1", -0.289), ("α/σ", -0.138)])
def test_default_weights_pull_inward_at_a_mode(scores, weight, radial):
    scores.reset().set(weight=weight)
    angles = np.arange(8) * np.pi / 4
    modes = 4 / 1.414 * np.stack([np.cos(angles), np.sin(angles)], -1)
    force = -parts.vectors_at(scores["force"], modes, np.array(BOUNDS))
    found = (force * modes).sum(-1).mean() / np.linalg.norm(modes[0])
    assert found == pytest.approx(radial, abs=0.006)


def test_true_score_pulls_to_the_data_and_the_default_weight_into_the_hole(scores):
    scores.reset()
    assert scores["before"] == pytest.approx(1.67, abs=0.01)
    assert scores["after"] == pytest.approx(0.34, abs=0.02)
    assert "pulls them to the data" in scores.words
    scores.set(weight="σ²", lam=200.0)
    assert scores["after"] == pytest.approx(1.65, abs=0.03)
    assert scores["hollow"] > 40
    assert "empty centre" in scores.words


def test_matched_curvature_equals_the_true_pull_near_an_isolated_mode():
    law = GaussianMixture(torch.tensor([[1.0, 1.0]]), torch.tensor([0.4]))
    mode, std = mode_of(law)
    np.testing.assert_allclose(mode, (1, 1), atol=0.03)
    assert std == pytest.approx(0.4, rel=0.02)
    schedule = VP()
    times = 0.02 + 0.96 * (torch.arange(48) + 0.5) / 48
    for weight in (variance_weight, unit_weight, kl_weight):
        pull = fields.pull(law.denoiser(schedule), schedule, times, weight, (1.0, 1.2, 0.9, 1.1), 3)
        gain = 1 / (std**2 * precision(weight, std))
        assert gain * float(pull.force[1, 1, 0]) == pytest.approx(0.1 / 0.4**2, rel=0.03)


def test_own_gradient_equal_to_the_library_gives_the_library_points(scores):
    def mine(denoise, schedule, act, t, eps):
        return score_regularization_grad(denoise, schedule, act, t, eps, unit_weight(schedule, t))

    scores.reset().set(weight="1", lam=2.0)
    scores.try_(mine)
    assert scores.error == ""
    gap = np.linalg.norm(scores["own_reg"] - scores["reg"], axis=-1)
    assert np.median(gap) < 0.03
    scores.try_(None)


def test_measured_variances_meet_the_law_where_modes_do_not_overlap(scores):
    scores.reset().set(weight="1")
    t, measured = scores["seen_with"].T
    law = np.interp(t, scores["times"], scores["law_on"])
    early = t < 0.12
    assert early.any()
    np.testing.assert_allclose(measured[early], law[early], rtol=0.2)


# --- mode seeking ---------------------------------------------------------------------------


def rows_of(law):
    return np.column_stack([law.weights, law.means, law.stds**2]).astype(float)


@pytest.mark.parametrize("target", TARGETS)
def test_tilted_and_log_target_are_the_library_mixture(target):
    law, lam = behaviour(target, 0.6), 1.7
    exact = law.tilted(torch.tensor(SLOPE) / lam).to(torch.float64)
    rows = fits.tilted(rows_of(law), np.array(SLOPE), lam)
    np.testing.assert_allclose(rows, rows_of(exact), rtol=1e-5)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_p, score = fits.log_target(rows, x.numpy())
    np.testing.assert_allclose(log_p, exact.log_prob(x), atol=1e-5)
    np.testing.assert_allclose(score, exact.score(x), atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("start", [(-0.6, 0.9), (2.0, 1.0)])
def test_reverse_path_ends_where_the_exact_gradient_vanishes(target, start):
    law = behaviour(target, 0.6).tilted(torch.tensor(SLOPE) / 2.0).to(torch.float64)
    path = fits.reverse_path(rows_of(law), np.array(start), 0.5, 1.0)
    nodes = torch.linspace(-5, 5, 121, dtype=torch.float64)
    z = torch.cartesian_prod(nodes, nodes)
    w = torch.exp(-0.5 * z.square().sum(-1))
    w = w / w.sum()
    x, y, a, b, c = (torch.tensor(v, requires_grad=True) for v in path[-1, :5])
    points = torch.stack([x + a * z[:, 0], y + b * z[:, 0] + c * z[:, 1]], -1)
    entropy = torch.log(2 * math.pi * math.e * a * c)
    divergence = -entropy - w @ law.log_prob(points)
    grads = torch.autograd.grad(divergence, (x, y, a, b, c))
    assert max(abs(float(g)) for g in grads) < 0.02
    assert path[-1, 5] == pytest.approx(float(divergence.detach()), abs=0.01)
    assert path[-1, 5] <= path[0, 5]


def test_reverse_kl_at_an_isolated_mode_is_minus_log_its_weight(modes):
    modes.set(lam=2.0, start=(1.9, 1.1))
    weight = float(modes["pi"][0, 0])
    assert modes["rev"][-1, 5] == pytest.approx(-math.log(weight), abs=0.01)


def test_forward_path_ends_at_the_moments(modes):
    law = behaviour("two far modes", 0.6).tilted(torch.tensor(SLOPE) / 2.0)
    mean, cov = law.moments()
    path = fits.forward_path(rows_of(law), np.array([-0.6, 0.9]), 0.5, 1.0)
    factor = np.array([[path[-1, 2], 0], [path[-1, 3], path[-1, 4]]])
    np.testing.assert_allclose(path[-1, :2], mean, atol=2e-3)
    np.testing.assert_allclose(factor @ factor.T, cov, rtol=5e-3, atol=2e-3)
    assert np.all(np.diff(path[:, 6]) < 1e-6)


def test_forward_kl_is_that_of_a_grid(modes):
    modes.set(lam=2.0)
    row, law = modes["fwd"][-1], behaviour("two far modes", 0.6).tilted(torch.tensor(SLOPE) / 2.0)
    box, size = (-9.0, 9.0, -9.0, 9.0), 401
    x = fields.grid(box, size).double()
    factor = torch.tensor([[row[2], 0.0], [row[3], row[4]]])
    q = torch.distributions.MultivariateNormal(torch.tensor(row[:2]), scale_tril=factor)
    log_p, log_q = law.to(torch.float64).log_prob(x), q.log_prob(x)
    cell = (18 / (size - 1)) ** 2
    assert row[6] == pytest.approx(float((log_p.exp() * (log_p - log_q)).sum()) * cell, abs=0.01)
    assert row[5] == pytest.approx(float((log_q.exp() * (log_q - log_p)).sum()) * cell, abs=0.03)


def test_close_modes_and_a_middle_start_are_not_sought(modes):
    modes.set(target="two close modes", lam=2.0)
    assert modes["kept_rev"] == modes["modes_there"] == 2
    assert "does not seek" in modes.words
    modes.set(target="two far modes", lam=10.0, start=(0.0, 0.0))
    assert modes["kept_rev"] == 2
    assert modes["rev"][-1, 5] > 1.5
    modes.set(start=(1.9, 1.1))
    assert modes["kept_rev"] == 1
    assert "Reverse KL seeks" in modes.words


def test_share_of_bad_data_moves_forward_but_not_reverse(modes):
    modes.set(lam=4.0, start=(1.9, 1.1), bad=0.3)
    forward, reverse = modes["end_fwd"], modes["end_rev"]
    modes.set(bad=0.7)
    assert np.linalg.norm(modes["end_fwd"] - forward) > 0.8
    assert np.linalg.norm(modes["end_rev"] - reverse) < 0.05


def test_own_reverse_kl_keeps_one_mode(modes):
    modes.try_(lambda log_q, log_p: (log_q - log_p).mean(0))
    assert modes.error == ""
    assert modes["own"].shape == (65, 2)


# --- noise and scores -----------------------------------------------------------------------


def test_denoised_point_is_the_posterior_mean():
    lesson = noise_and_scores().set(probe=(0.9, 0.4), t=0.5)
    law, schedule = density("8gaussians"), VP()
    alpha, sigma = (float(f(torch.tensor([0.5]))) for f in (schedule.alpha, schedule.sigma))
    clean = law.sample(400_000, torch.Generator().manual_seed(0))
    gap = torch.tensor([0.9, 0.4]) - alpha * clean
    weights = torch.softmax(-0.5 * gap.square().sum(-1) / sigma**2, 0)
    np.testing.assert_allclose(lesson["denoised"], weights @ clean, atol=0.02)


def test_denoiser_answers_with_an_average_where_there_is_no_data():
    lesson = noise_and_scores().set(probe=(0.0, 0.0), t=0.9)
    assert np.linalg.norm(lesson["denoised"]) < 0.01
    assert "where there is no data" in lesson.words
    lesson.set(probe=(2.0, 2.0), t=0.02)
    assert "looks like a clean point" in lesson.words


@pytest.mark.parametrize(
    ("probe", "t"), [((0.9, 0.4), 0.32), ((2.0, 2.0), 0.08), ((0.1, 0.2), 0.5)]
)
def test_doubt_is_the_posterior_deviation(probe, t):
    lesson = noise_and_scores().set(probe=probe, t=t)
    law, schedule = density("8gaussians"), VP()
    alpha, sigma = (float(f(torch.tensor([t]))) for f in (schedule.alpha, schedule.sigma))
    clean = law.sample(400_000, torch.Generator().manual_seed(0))
    weights = torch.softmax(
        -0.5 * (torch.tensor(probe) - alpha * clean).square().sum(-1) / sigma**2, 0
    )
    spread = weights @ (clean - weights @ clean).square().sum(-1) / 2
    assert lesson["unsure"] == pytest.approx(float(spread.sqrt()), rel=0.06)


def test_own_tweedie_is_laid_beside(capsys):
    lesson = noise_and_scores().try_(lambda schedule, x_t, t, eps: x_t - eps)
    assert lesson.error == ""
    assert float(lesson.of("norm(own_x0 - denoised)")) > 0.05
    lesson.try_(x0_from_eps)
    assert float(lesson.of("norm(own_x0 - denoised)")) < 1e-6


# --- all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_has_a_short_link_a_small_page_and_documented_parts(name):
    lesson = LESSONS[name](guess=True)
    assert lesson.scene.name == name
    assert len(html(lesson)) < 300_000
    assert len(pack(lesson.scene)) < 200_000
    sliders = [p for p in lesson.scene.params if p.kind == "slider"]
    lesson.set(**{p.name: p.low + 0.37 * (p.high - p.low) for p in sliders})
    lesson.hide = tuple(p.name for p in lesson.scene.params[:3])
    link = lesson.permalink()
    assert len(link) <= 300
    again = open_link(link)
    for slider in sliders:
        assert again.values[slider.name] == pytest.approx(lesson.values[slider.name], rel=1e-3)
    assert again.hide == lesson.hide
    assert inspect.getdoc(LESSONS[name])


@pytest.mark.parametrize("name", LESSONS)
def test_a_prediction_is_scored_by_its_distance(name):
    lesson = LESSONS[name](guess=True)
    answer = lesson.of(lesson.scene.prediction.answer)
    assert lesson["revealed"] == 0
    x, y = answer + np.array([0.03, -0.04])
    assert lesson.predict(float(x), float(y)) == pytest.approx(0.05, abs=1e-6)
    assert lesson["revealed"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", parts.DENSITIES)
def test_every_density_has_a_small_page(name):
    for lesson in (trust_region, score_regularization, noise_and_scores):
        if name in lesson().scene.param("density").options:
            assert len(html(lesson(name))) < 300_000


@pytest.mark.slow
@pytest.mark.parametrize("lesson", [trust_region, score_regularization])
def test_trained_denoiser_draws_nearly_the_exact_picture(lesson):
    exact, trained = lesson("8gaussians"), lesson("8gaussians", denoiser="trained")
    formula = "trust" if lesson is trust_region else "strength*force"
    if lesson is score_regularization:  # the true score off the data is what is hardest to learn
        exact.set(weight="σ²")
        trained.set(weight="σ²")
    a, b = (x.set(lam=1.0).of(formula) for x in (exact, trained))
    inner = (Ellipsis, slice(30, -30), slice(30, -30))
    assert np.corrcoef(a[inner].ravel(), b[inner].ravel())[0, 1] > 0.95


# --- the state of an explorable ---------------------------------------------------------------


def test_values_are_checked_against_the_scene_that_a_kernel_choice_brings():
    region = trust_region("25gaussians")
    with pytest.raises(ValueError, match="reward must be one of"):
        region.set(density="8gaussians", reward="hard")
    with pytest.raises(ValueError, match="probe must lie in"):
        region.set(density="four_corners", probe=(10.0, 10.0))
    assert region["density"] == region.scene.param("density").options.index("25gaussians")
    region.set(density="8gaussians", reward="8gaussians", c=4.0)
    assert region.values["reward"] == "8gaussians"
    assert "trust region" in region.words


def test_a_link_brings_its_whole_view_and_nothing_of_the_present_one():
    region = trust_region("25gaussians").set(lam=50.0, reward="hard")
    region.open("trust_region?density=8gaussians")
    fresh = trust_region("8gaussians")
    assert region.values == fresh.values
    region.open("anything.html#trust_region?lam=2&guess=1")
    assert region.guess
    assert region["revealed"] == 0
    assert region.settings["density"] == "25gaussians"
    with pytest.raises(ValueError, match="lam must lie in"):
        region.open("trust_region?lam=1e9")
    assert region.guess
    assert region.values["lam"] == 2


def test_every_link_the_library_writes_can_be_opened():
    lesson = trust_region("8gaussians", sigma_data=1, seed=3, guess=True)
    lesson.set(lam=2.5, guess=(1.0, 1.0))
    link = lesson.permalink()
    assert "guess=1&" in link + "&"
    again = open_link(link)
    assert again.guess
    assert again.settings == lesson.settings
    assert again.permalink() == link
    assert again.values["guess"] == (0.0, 0.0)
    with pytest.raises(ValueError, match="needs sigma_data=1"):
        trust_region("8gaussians").open(link)


def test_score_is_that_of_the_moment_of_revealing(modes):
    lesson = mode_seeking(guess=True)
    assert lesson.score is None
    gap = lesson.predict(0.0, 0.0)
    lesson.set(lam=20.0)
    assert lesson.score == gap
    lesson.set(revealed=0)
    assert lesson.score is None
    with pytest.raises(ValueError, match="revealed must be 0 or 1"):
        lesson.set(revealed=7)
    with pytest.raises(ValueError, match="needs a prediction"):
        modes.set(revealed=0)


def test_reset_returns_to_the_view_first_shown():
    lesson = mode_seeking(guess=True).set(lam=10.0)
    lesson.opened()
    lesson.set(lam=3.0, start=(1.0, 1.0), revealed=1).reset()
    assert lesson.values["lam"] == 10.0
    assert lesson.values["start"] == (-0.6, 0.9)
    assert lesson["revealed"] == 0


def test_an_error_names_the_students_own_line_and_takes_the_old_picture_away():
    def helper(x):
        y = x
        return y / 0

    def mine(log_q, log_p):
        if log_q is None:
            return 0
        return helper((log_q - log_p).mean(0).tolist()[0])

    lesson = mode_seeking().try_(lambda log_q, log_p: (log_q - log_p).mean(0))
    assert "own" in lesson.scene.stacks
    lesson.try_(mine)
    assert "ZeroDivisionError in mine, line 4" in lesson.error
    assert "own" not in lesson.scene.stacks
    lesson.set(lam=3.0)
    assert "ZeroDivisionError" in lesson.error


def test_a_kernel_choice_keeps_the_students_function_and_blames_it():
    seen = []

    def mine(log_q, log_p):
        if len(seen) > 450:
            raise RuntimeError("enough")
        seen.append(1)
        return (log_q - log_p).mean(0)

    lesson = mode_seeking().try_(mine)
    lesson.set(target="two close modes", bad=0.3)
    assert "own" in lesson.scene.stacks
    assert lesson.values["bad"] == 0.3
    lesson.request(target="one good, two bad")
    assert "RuntimeError in mine, line 3" in lesson.error
    assert lesson.values["target"] == "two close modes"


# --- arrows and numbers beside the pictures ---------------------------------------------------


def test_arrows_descend_the_objective_and_the_sentence_measures_from_the_mode(region):
    region.reset().set(lam=2.0, reward="near", probe=(6.0, 3.0))
    bounds, where = region.scene.bounds, region["where_slope"]
    slope = np.moveaxis(fields.gradient(region["objective"], bounds), -1, 0)
    expected = -parts.vectors_at(slope, where, np.array(bounds))
    np.testing.assert_allclose(region["descent"], expected, atol=1e-3 * np.abs(expected).max())
    mode, probe = region["mode"], np.array([6.0, 3.0])
    rise = at(region["trust"], probe, bounds) - at(region["trust"], mode, bounds)
    fall = at(region["logp"], mode, bounds) - at(region["logp"], probe, bounds)
    assert region["loss_rise"] == pytest.approx(float(rise))
    assert region["logp_fall"] == pytest.approx(float(fall) / 2)


def test_total_arrows_follow_the_reward_or_the_pull(scores):
    scores.reset().set(weight="1", lam=0.01, probe=(4.0, 4.0))
    outward = np.array([4.0, 4.0]) - scores["arrows_at"]
    assert np.all((scores["total_here"] * outward).sum(-1) > 0)
    scores.set(lam=300.0)
    pulled = (scores["total_here"] * scores["pull_here"]).sum(-1)
    assert np.mean(pulled > 0) > 0.9


@pytest.mark.parametrize(("std", "t"), [(0.3, 0.088), (0.5, 0.145), (1.0, 0.259)])
def test_the_baseline_pays_from_where_noise_outweighs_the_data(std, t):
    assert _crossing(std) == pytest.approx(t, abs=1e-3)


@pytest.mark.parametrize("t0", [0.02, 0.5])
def test_matched_gain_of_one_time_restores_the_true_curvature(scores, t0):
    scores.reset().set(t0=t0)
    std = float(scores["std"])
    law = GaussianMixture(torch.zeros(1, 2), torch.tensor([std]))
    box = (0.1, 0.3, -0.1, 0.1)
    pull = fields.pull(law.denoiser(VP()), VP(), torch.tensor([t0]), kl_weight, box, 3)
    assert scores["gain_single"] * float(pull.force[1, 1, 0]) == pytest.approx(
        0.2 / std**2, rel=0.02
    )
