"""Lesson 07 against the closed forms, the papers' frozen values, and derivations of its own."""

import math

import numpy as np
import pytest
import torch

from diffteach.explore import fields
from diffteach.explore.lessons import LESSONS, one_point, open_link, parts
from diffteach.explore.lessons import one_point_bands as bands
from diffteach.explore.lessons.one_point import PRESETS
from diffteach.explore.lessons.one_point_moves import slide
from diffteach.explore.lessons.pulls import TIMES, WEIGHTS, precision
from diffteach.explore.page import html
from diffteach.objectives import (
    kl_weight,
    score_regularization_grad,
    trust_region_loss,
    unit_weight,
    vsd_grad,
)
from diffteach.schedule import EDM, VP
from diffteach.toys import GaussianMixture, density

SCHEDULE = EDM()
MODES = (
    4 / 1.414 * np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], -1)
)
POINTS = [(2.25, 1.26), (-1.5, 0.4), (0.2, -3.5), (3.0, 2.9)]


@pytest.fixture(scope="module")
def lesson():
    return one_point()


def three_modes():
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.2, -1.2]])
    return GaussianMixture(means, torch.tensor([0.3, 0.2, 0.4]), torch.tensor([0.5, 0.3, 0.2]))


def around(point, h=0.04):
    return (point[0] - h, point[0] + h, point[1] - h, point[1] + h)


def levels_for(law, std, window=4.5):
    return bands.levels_of(law.sample(4000, torch.Generator().manual_seed(0)).numpy(), std, window)


def kept_at(law, levels, point):
    field = bands.mean_fields(law.denoiser(SCHEDULE), levels, SCHEDULE, around(point), 3)
    return field[:, :, 1, 1]


# --- the laws of noise ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "full", "frozen"),
    [((0.3, 0.2), (-1.61, 0.79), (-1.95, 1.39)), ((1.2, 0.1), (0.89, 0.45), (2.04, 0.89))],
)
def test_frozen_values_of_the_papers_mixture(point, full, frozen):
    # Drawn by Monte Carlo, so good to about a hundredth.
    law = three_modes()
    levels = levels_for(law, 0.2)
    kept = kept_at(law, levels, point)
    for rows in (
        bands.rows(bands.matched_law(SCHEDULE), levels),
        bands.rows_full(SCHEDULE, levels),
    ):
        np.testing.assert_allclose((rows @ kept).sum(0), full, atol=0.01)
    rows = bands.rows(bands.frozen_law(SCHEDULE), levels)
    np.testing.assert_allclose((rows @ kept).sum(0), frozen, atol=0.02)


@pytest.mark.parametrize("point", [(0.3, 0.2), (1.2, 0.1)])
def test_dtqls_bars_are_the_gradient_of_its_loss_level_by_level(point):
    # Kept fields by parts in log s, against central differences of E||eps_hat - eps||^2.
    law = three_modes()
    levels = levels_for(law, 0.2)
    full = bands.rows_full(SCHEDULE, levels) @ kept_at(law, levels, point)
    slopes = bands.slope_fields(law.denoiser(SCHEDULE), levels, SCHEDULE, around(point), 3)
    direct = bands.rows_slope(SCHEDULE, levels) @ slopes[:, :, 1, 1]
    np.testing.assert_allclose(full, direct, atol=0.015)
    np.testing.assert_allclose(full.sum(0), direct.sum(0), atol=3e-3)
    # The shares differ from those of the KLs although the sums agree.
    matched = bands.rows(bands.matched_law(SCHEDULE), levels) @ kept_at(law, levels, point)
    assert np.abs(full - matched).max() > 0.05
    np.testing.assert_allclose(full.sum(0), matched.sum(0), rtol=1e-3)


@pytest.mark.parametrize("point", [(0.3, 0.2), (1.2, 0.1)])
def test_dtqls_sum_is_the_slope_of_the_trust_region(point):
    law = three_modes()
    levels = levels_for(law, 0.2)
    field = fields.trust_region_field(law.denoiser(SCHEDULE), SCHEDULE, around(point, 0.03), 5, 96)
    slope = fields.gradient(field.numpy(), around(point, 0.03))[2, 2]
    rows = bands.rows_full(SCHEDULE, levels)
    np.testing.assert_allclose((rows @ kept_at(law, levels, point)).sum(0), slope, atol=5e-3)


@pytest.mark.parametrize("std", [0.3, 0.5, 1.0])
def test_one_gaussian_has_the_closed_forms(std):
    mean, point = torch.tensor([0.4, -0.2]), (1.3, 0.5)
    law = GaussianMixture(mean[None], torch.tensor([std]))
    levels = levels_for(law, std)
    kept, delta = kept_at(law, levels, point), np.array(point) - mean.numpy()
    b, c = 0.25, std**2
    i0 = 1 / (2 * c**2) if b == c else math.log(c / b) / (c - b) ** 2 + 1 / (c * (b - c))
    slope = 1 / c - b * i0
    matched = (bands.rows(bands.matched_law(SCHEDULE), levels) @ kept).sum(0)
    np.testing.assert_allclose(matched, slope * delta, rtol=3e-3)
    assert bands.curvature(bands.matched_law(SCHEDULE), std) == pytest.approx(slope, rel=2e-3)
    if std == SCHEDULE.sigma_data:
        frozen = (bands.rows(bands.frozen_law(SCHEDULE), levels) @ kept).sum(0)
        np.testing.assert_allclose(frozen, 2 * matched, rtol=2e-3)


@pytest.mark.parametrize("name", WEIGHTS)
def test_srpo_in_dtqls_coordinate_is_srpo(name):
    law, point = density("8gaussians"), (2.25, 1.26)
    levels = levels_for(law, 0.354)
    ours = (bands.rows(bands.srpo_law(WEIGHTS[name]), levels) @ kept_at(law, levels, point)).sum(0)
    schedule = VP()
    pull = fields.pull(
        law.denoiser(schedule), schedule, TIMES, WEIGHTS[name], around(point), 3
    ).force[1, 1]
    np.testing.assert_allclose(ours, pull, rtol=5e-3, atol=2e-3)
    for std in (0.3, 1.0):
        law_of = bands.srpo_law(WEIGHTS[name])
        assert bands.curvature(law_of, std) == pytest.approx(
            precision(WEIGHTS[name], std), rel=1e-3
        )


# --- the picture ------------------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS)
def test_at_dtqls_weight_the_two_methods_coincide_and_before_they_do_not(lesson, point):
    lesson.reset().set(probe=point, morph=1.0)
    for units in ("paper's own", "matched curvature"):
        lesson.set(units=units)
        gap = np.linalg.norm(lesson["pull_srpo"] - lesson["pull_dtql"])
        assert gap < 1e-3 * np.linalg.norm(lesson["pull_dtql"])
        assert "they coincide" in lesson.words
        np.testing.assert_allclose(lesson["exact_dtql"], lesson["pull_dtql"], rtol=2e-3, atol=2e-3)
    lesson.set(morph=0.0)
    assert lesson["off"] > 0.1
    assert "coincide" not in lesson.words


def test_bars_sum_to_the_arrows_and_their_heights_to_its_length(lesson):
    lesson.reset().set(probe=(1.1, -2.0), morph=0.3)
    for name in ("srpo", "dtql", "hold"):
        pull = lesson[f"pull_{name}"]
        np.testing.assert_allclose(lesson[f"bars_{name}"].sum(0), pull, rtol=1e-6, atol=1e-9)
        assert lesson[f"along_{name}"].sum() == pytest.approx(np.linalg.norm(pull))
    assert lesson.of("stairs(along_srpo)").shape == lesson["edges"].shape


@pytest.mark.parametrize(("omega", "radial"), [("σ²", -0.234), ("1", -0.289), ("α/σ", -0.138)])
def test_pull_at_a_mode_points_inward(lesson, omega, radial):
    lesson.reset().set(omega=omega, units="paper's own")
    force = -parts.vectors_at(lesson["field_of_srpo"], MODES, np.array(lesson.scene.bounds))
    inward = (force * MODES).sum(-1).mean() / np.linalg.norm(MODES[0])
    assert inward == pytest.approx(radial, abs=0.006)


@pytest.mark.parametrize(
    ("omega", "low", "high"),
    [("true score", 2.8, 2.85), ("σ²", 0.5, 1.0), ("1", 1.9, 2.2), ("α/σ", 2.6, 2.75)],
)
def test_where_each_weight_leaves_an_action_that_started_on_a_mode(lesson, omega, low, high):
    lesson.reset().set(omega=omega, lam=300.0)
    for mode in MODES:
        lesson.set(probe=tuple(mode), target=tuple(mode))
        assert low < np.linalg.norm(lesson["end_srpo"]) < high
        assert np.linalg.norm(lesson["end_dtql"]) > 2.7
        assert ("where there is no data" in lesson.words) == (omega == "σ²")


def test_slide_ends_where_a_quadratic_balances():
    mean, target, bounds = np.array([0.7, -0.4]), np.array([-2.0, 1.5]), (-5.0, 5.0, -5.0, 5.0)
    where = fields.grid(bounds, 41).numpy().reshape(41, 41, 2)
    force = np.moveaxis(2.5 * (where - mean), -1, 0)
    for lam in (0.1, 3.0, 300.0):
        path = slide(np.array([3.0, 3.0]), target, force, lam, np.array(bounds))
        assert path.shape == (101, 2)
        expected = (2 * target + 2.5 * lam * mean) / (2 + 2.5 * lam)
        np.testing.assert_allclose(path[-1], expected, atol=1e-4)


def test_matched_units_give_every_method_the_true_scores_curvature():
    std = 0.75  # of sdac_mixture's modes as mode_of caps it
    lesson = one_point("sdac_mixture")
    for omega in ("true score", *WEIGHTS):
        lesson.set(omega=omega)
        gain = lesson["gain_omega"]
        law = bands.srpo_laws()[("true score", *WEIGHTS).index(omega)]
        assert gain * bands.curvature(law, std) == pytest.approx(1 / std**2)
    assert lesson["gain_hold"] < lesson["gain_match"]


def test_units_scale_each_method_by_its_own_gain(lesson):
    lesson.reset().set(units="paper's own")
    own = {name: lesson[f"pull_{name}"] for name in ("srpo", "dtql", "hold")}
    lesson.set(units="matched curvature")
    gains = {"srpo": "gain_omega", "dtql": "gain_match", "hold": "gain_hold"}
    for name, gain in gains.items():
        np.testing.assert_allclose(lesson[f"pull_{name}"], lesson[gain] * own[name])
    std = 0.125**0.5
    matched = 1 / (std**2 * bands.curvature(bands.matched_law(SCHEDULE), std))
    frozen = 1 / (std**2 * bands.curvature(bands.frozen_law(SCHEDULE), std))
    np.testing.assert_allclose(
        [lesson["gain_match"], lesson["gain_hold"]], [matched, frozen], rtol=0.02
    )


def test_the_slider_goes_straight_from_one_pull_to_the_other(lesson):
    lesson.reset()
    ends = []
    for morph in (0.0, 1.0):
        ends.append(lesson.set(morph=morph)["pull_srpo"])
    for morph in (0.25, 0.5):
        expected = (1 - morph) * ends[0] + morph * ends[1]
        np.testing.assert_allclose(lesson.set(morph=morph)["pull_srpo"], expected, rtol=1e-6)


def test_what_the_sentence_measures(lesson):
    lesson.reset().set(probe=(1.1, 2.4))
    pull, held = lesson["pull_dtql"], lesson["pull_hold"]
    cosine = pull @ held / np.linalg.norm(pull) / np.linalg.norm(held)
    assert lesson["held_turned"] == pytest.approx(np.degrees(np.arccos(cosine)))
    assert lesson["held_ratio"] == pytest.approx(np.linalg.norm(held) / np.linalg.norm(pull))
    for name in ("srpo", "dtql"):
        path = lesson[f"path_{name}"]
        np.testing.assert_allclose(path[0], (1.1, 2.4))
        np.testing.assert_array_equal(lesson[f"end_{name}"], path[-1])
        gap = np.linalg.norm(MODES - path[-1], axis=1).min()
        assert lesson[f"far_{name}"] == pytest.approx(gap, abs=2e-3)
        # The action rests there: lambda times the pull and the slope of Q balance.
        lesson.set(probe=tuple(path[-1]))
        left = lesson["to_q"] + lesson["lam"] * lesson[f"pull_{name}"]
        assert np.linalg.norm(left) < 0.05 * np.linalg.norm(lesson["to_q"])
        lesson.set(probe=(1.1, 2.4))


def test_arrows_have_one_scale_and_end_where_their_counterparts_do(lesson):
    lesson.reset().set(lam=2.0, probe=(1.5, 0.2))
    forces = {"∇Q": lesson["to_q"]}
    forces |= {"SRPO": 2 * lesson["pull_srpo"], "DTQL": 2 * lesson["pull_dtql"]}
    forces["DTQL, D frozen"] = 2 * lesson["pull_hold"]
    longest = max(np.linalg.norm(f) for f in forces.values())
    for panel, reach in ((0, 0.36 * lesson["half"]), (1, 1.0)):
        drawn = {
            entry.legend: lesson.of(entry.data["uv"])[0]
            for entry in lesson.scene.layers
            if entry.panel == panel and entry.kind == "arrows"
        }
        assert drawn.keys() == forces.keys()
        for legend, uv in drawn.items():
            np.testing.assert_allclose(uv, reach * forces[legend] / longest, err_msg=legend)
    tips = [e for e in lesson.scene.layers if e.panel == 1 and e.kind in ("points", "path")]
    vsd = next(e for e in tips if e.kind == "points")
    np.testing.assert_allclose(lesson.of(vsd.data["xy"])[0], forces["SRPO"] / longest)
    for entry, legend in zip(
        (e for e in tips if e.kind == "path"), ("SRPO", "DTQL", "DTQL, D frozen"), strict=True
    ):
        line = lesson.of(entry.data["xy"])
        np.testing.assert_array_equal(line[0], 0)
        np.testing.assert_allclose(line[1], forces[legend] / longest, atol=2e-3)


def test_vsd_of_a_dirac_is_srpo(lesson):
    lesson.reset().set(omega="1", units="paper's own", probe=(1.8, 0.9))
    schedule, n = VP(), 200_000
    generator = torch.Generator().manual_seed(0)
    act = torch.tensor([1.8, 0.9]).expand(n, 2)
    t = 0.02 + 0.96 * torch.rand(n, generator=generator)
    eps = torch.randn(n, 2, generator=generator)

    def dirac(x_t, t):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return (x_t - alpha * act) / sigma

    real, weight = density("8gaussians").denoiser(schedule), unit_weight(schedule, t)
    vsd = vsd_grad(real, dirac, schedule, act, t, eps, weight)
    srpo = score_regularization_grad(real, schedule, act, t, eps, weight)
    np.testing.assert_allclose(vsd, srpo, atol=2e-4)
    np.testing.assert_allclose(-vsd.mean(0), lesson["pull_srpo"], atol=0.006)


# --- what is tried, guessed and handed out ----------------------------------------------------


def test_own_loss_in_dtqls_place_gives_dtqls_arrow(lesson):
    lesson.reset().try_(trust_region_loss)
    assert lesson.error == ""
    for point in POINTS:
        lesson.set(probe=point)
        gap = np.linalg.norm(lesson["pull_own"] - lesson["pull_dtql"])
        assert gap < 0.05 * np.linalg.norm(lesson["pull_dtql"])
    lesson.try_(None)


def test_own_gradient_at_the_matched_weight_gives_the_same_arrow(lesson):
    def mine(denoise, schedule, act, t, eps):
        return score_regularization_grad(denoise, schedule, act, t, eps, 2 / (2 * t))

    lesson.reset().try_(mine)
    assert lesson.error == ""
    for point in POINTS:
        lesson.set(probe=point)
        gap = np.linalg.norm(lesson["pull_own"] - lesson["pull_dtql"])
        assert gap < 0.05 * np.linalg.norm(lesson["pull_dtql"])
    lesson.try_(lambda denoise, schedule, act, t, eps: act.sum())
    assert "your regulariser must be a tensor of shape" in lesson.error
    lesson.try_(lambda denoise, schedule, act, t, eps: t)
    assert np.abs(lesson["pull_own"]).max() == 0
    lesson.try_(None)


def test_srpos_arrow_waits_for_the_guess():
    lesson = one_point(guess=True)
    shown = {entry.legend for entry in lesson.scene.layers if lesson.frame().shows(entry)}
    assert "SRPO" not in shown
    assert "DTQL" in shown
    others = [lesson["to_q"], 3 * lesson["pull_dtql"], 3 * lesson["pull_hold"]]
    assert lesson["longest"] == pytest.approx(max(np.linalg.norm(v) for v in others))
    end = lesson["end_srpo"]
    assert lesson.predict(float(end[0]), float(end[1])) == pytest.approx(0, abs=1e-6)
    assert "where there is no data" in lesson.words


@pytest.mark.parametrize("name", [n for n, link in PRESETS.items() if "trained" not in link])
def test_presets_open_and_show_what_they_are_called(name):
    assert len(PRESETS[name]) <= 300
    lesson = open_link(PRESETS[name])
    assert open_link(lesson.permalink()).values == lesson.values
    claims = {
        "σ² leaves the mode for the hole": "far_srpo > far and far_dtql < far",
        "guess where σ² leaves it": "1 - revealed",
        "2/(dσ) coincides with DTQL": "off < 0.002",
        "the true score stays": "far_srpo < 0.2",
        "the reward pulls": "norm(end_dtql - target) < norm(end_dtql - probe)",
        "freezing D pulls harder": "held_ratio > 1.4",
    }
    assert lesson.of(claims[name]) != 0


@pytest.mark.slow
def test_a_trained_denoiser_coincides_only_nearly():
    link = next(link for name, link in PRESETS.items() if "trained" in name)
    lesson = open_link(link)
    assert 0.01 < lesson["off"] < 0.2
    assert 0.01 < lesson["off_exact"] < 0.4
    assert "coincide" not in lesson.words
    assert len(html(lesson)) < 240_000


@pytest.mark.slow
@pytest.mark.parametrize("name", parts.DENSITIES)
def test_every_density_coincides_and_has_a_small_page(name):
    lesson = LESSONS["one_point"](name)
    assert len(html(lesson)) < 240_000
    assert lesson.set(morph=1.0)["off"] < 2e-3


def test_the_true_score_is_the_score_of_slightly_noised_data():
    law, point, s = density("8gaussians"), torch.tensor([2.25, 1.26]), 0.0774463
    levels = levels_for(law, 0.354)
    one = bands.srpo_law(kl_weight, np.array([0.02]))
    assert one.s[0] == pytest.approx(s, rel=1e-5)
    ours = (bands.rows(one, levels) @ kept_at(law, levels, (2.25, 1.26))).sum(0)
    eps, shares = fields.hermite(8)
    score = shares @ law.noised(1.0, s).score(point + s * eps)
    np.testing.assert_allclose(-ours, score, rtol=3e-3)
