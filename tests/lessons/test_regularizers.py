"""Four regularisers side by side against the closed forms of one Gaussian, and VSD's own draws."""

import numpy as np
import pytest
import torch

from diffteach.explore.lessons import LESSONS, one_point, open_link, parts, regularizers
from diffteach.explore.lessons import one_point_bands as bands
from diffteach.explore.lessons.regularizers import OMEGAS, PRESETS
from diffteach.explore.lessons.regularizers_fields import (
    LEVELS,
    Place,
    few,
    gain_of,
    matched,
    own_score,
    spread_field,
    width_of,
)
from diffteach.explore.lessons.regularizers_moves import (
    STEPS,
    crowd,
    distilled,
    followed,
    pulled,
    reached,
)
from diffteach.explore.page import html
from diffteach.objectives import trust_region_loss, vsd_grad
from diffteach.schedule import EDM
from diffteach.toys import GaussianMixture, density

SCHEDULE = EDM()
MEAN, STD, WINDOW = np.array([0.4, -0.3]), 0.5, 2.5
TARGET, NO_REWARD = np.array([-1.2, 1.0]), 2.0


@pytest.fixture(scope="module")
def lesson():
    return regularizers()


@pytest.fixture(scope="module")
def one():
    """The matched pulls of one Gaussian, whose deviation is DTQL's sigma_data."""
    law = GaussianMixture(torch.tensor(MEAN)[None].float(), torch.tensor([STD]))
    place = Place(STD, WINDOW, MEAN)
    points = law.sample(4000, torch.Generator().manual_seed(0)).numpy()
    levels = bands.levels_of(points, STD, WINDOW)
    denoise = law.denoiser(SCHEDULE)
    kept = {"mean": bands.mean_fields(denoise, levels, SCHEDULE, place.bounds, 41)}
    return matched(denoise, kept, levels, place), np.array(place.bounds)


def grid(count=7, half=2.0):
    line = np.linspace(-half, half, count)
    return np.stack(np.meshgrid(line, line), -1).reshape(-1, 2) + 0.03


def balance(lam):
    """Where 2 (a - target) + lam (a - m)/s^2 vanishes: SRPO's and DTQL's closed form alike."""
    pull = lam / STD**2
    return (2 * TARGET + pull * MEAN) / (2 + pull)


# --- one Gaussian: the ends in closed form ----------------------------------------------------


@pytest.mark.parametrize("lam", [0.05, 0.5, 5.0, 100.0])
def test_at_one_lambda_one_gaussian_tells_no_method_apart(one, lam):
    found, box = one
    forces = [found["bc"], found["tr"], *found["srpo"]]
    for force in forces:
        ends = pulled(grid(), TARGET, 0.0, force, lam, box)[-1]
        np.testing.assert_allclose(ends, np.broadcast_to(balance(lam), ends.shape), atol=0.012)


@pytest.mark.parametrize("k", range(len(OMEGAS)))
def test_vsds_mean_ends_there_too_and_its_spread_where_its_law_says(one, k):
    found, box = one
    law, kernels = few(bands.srpo_laws()[k], np.sqrt(STD * WINDOW)), found["own_score"][k]
    gain, width = gain_of(law, STD), width_of(STD, WINDOW)
    for lam, reward in ((8.0, 0.0), (1.0, NO_REWARD)):
        members = grid()
        for _ in range(8):
            members = distilled(members, TARGET, reward, found["vsd"][k], kernels, lam, box)[-1]
        target = balance(lam) if reward == 0 else MEAN
        np.testing.assert_allclose(members.mean(0), target, atol=0.02)
        # c(tau) = c(s) + 2/(lam gain): without a reward the spread is that of the data.
        bend = bands.curvature(law, STD) + (2 / (lam * gain) if reward == 0 else 0)
        taus = np.linspace(0.1, 1.0, 2001)
        expected = taus[np.argmin(np.abs([bands.curvature(law, t) - bend for t in taus]))]
        assert np.sqrt(members.var(0).mean() + width**2) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("k", range(len(OMEGAS)))
@pytest.mark.parametrize("tau", [0.3, 0.8])
def test_sds_shrinks_every_spread_and_vsd_only_one_that_is_too_wide(one, tau, k):
    # Per level sds goes like s/(std^2 + s^2), vsd like that less s/(tau^2 + s^2).
    found, _ = one
    law, width = few(bands.srpo_laws()[k], np.sqrt(STD * WINDOW)), width_of(STD, WINDOW)
    z = torch.randn(600, 2, generator=torch.Generator().manual_seed(1)).numpy()
    members = MEAN + np.sqrt(tau**2 - width**2) * (z - z.mean(0)) / z.std(0)
    gain = gain_of(law, STD)
    fake = crowd(members, members, found["own_score"][k])
    away = members - MEAN
    slope = (fake * away).sum() / (away**2).sum()
    assert slope == pytest.approx(gain * bands.curvature(law, tau), rel=0.06)
    sds = gain * bands.curvature(law, STD)
    assert sds > 0
    assert np.sign(sds - slope) == np.sign(tau - STD)


def test_every_curvature_at_the_mode_is_the_true_scores(one):
    found, box = one
    h = 0.1
    for force in (found["bc"], found["tr"], *found["srpo"], *found["vsd"]):
        right, left = (parts.vectors_at(force, MEAN + [d, 0], box)[0] for d in (h, -h))
        assert (right - left) / (2 * h) == pytest.approx(1 / STD**2, rel=0.01)


# --- VSD: what is drawn by the library --------------------------------------------------------


@pytest.mark.parametrize("s", [0.0774, 0.6, 2.0])
def test_a_policys_pull_is_the_mean_of_the_librarys_vsd(s):
    law, n = density("8gaussians"), 20_000
    members = law.sample(12, torch.Generator().manual_seed(2))
    width, bounds = 0.2, (-5.0, 5.0, -5.0, 5.0)
    one_level = bands.Law(np.array([s]), np.array([1.0]))
    field = spread_field(law.denoiser(SCHEDULE), one_level, width, bounds, 81)
    ours = parts.vectors_at(field, members.numpy(), np.array(bounds))
    ours = ours - crowd(members.numpy(), members.numpy(), own_score(one_level, width, 1.0))
    fake = GaussianMixture(members, width).denoiser(SCHEDULE)
    drawn = []
    generator = torch.Generator().manual_seed(3)
    for member in members:
        act = member + width * torch.randn(n, 2, generator=generator)
        eps, t = torch.randn(n, 2, generator=generator), torch.full((n,), s)
        drawn.append(
            vsd_grad(law.denoiser(SCHEDULE), fake, SCHEDULE, act, t, eps, torch.ones(n)).mean(0)
        )
    theirs = torch.stack(drawn).numpy()
    assert np.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean()) < 0.15


def test_alone_a_member_feels_nothing_of_itself():
    point = np.array([[1.3, -0.7]])
    kernels = own_score(few(bands.srpo_laws()[1], 1.0), 0.2, 1.0)
    np.testing.assert_allclose(crowd(point, point, kernels), 0, atol=1e-12)


def test_two_members_push_each_other_apart():
    # For two members x - E[member|x] is delta (r - 1/2) by hand, with the same five nodes.
    points, width = np.array([[0.5, 0.0], [-0.5, 0.0]]), 0.4
    found = crowd(points, points, np.array([[width, 1.0]]))
    nodes = width * np.sqrt(3) * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    share = 1 / (1 + np.exp(-2 * (points[0] + nodes)[:, 0] * 0.5 / width**2))
    expected = 0.5 - np.array([2, 1, 1, 1, 1]) / 6 @ (2 * share - 1) * 0.5
    np.testing.assert_allclose(found, [[expected, 0], [-expected, 0]], atol=1e-12)
    assert expected > 0


@pytest.mark.parametrize("k", [1, 2, 3])
def test_few_levels_stand_for_a_law(k):
    law, scale = bands.srpo_laws()[k], 1.2
    some = few(law, scale)
    assert len(some.s) == LEVELS
    assert (some.mass > 0).all()

    def moment(of, power):
        x = of.s**2 / (scale**2 + of.s**2)
        return (of.mass * of.s / (scale**2 + of.s**2) * x**power).sum()

    for power in range(2 * LEVELS):
        assert moment(some, power) == pytest.approx(moment(law, power), rel=1e-6)
    assert moment(some, 2 * LEVELS) != pytest.approx(moment(law, 2 * LEVELS), rel=1e-6)


# --- the picture ------------------------------------------------------------------------------


def test_under_sigma_squared_srpo_leaves_the_data_and_vsd_covers_them(lesson):
    lesson.reset().set(reward="none")
    assert lesson["cover_srpo"] == 0
    assert lesson["away_srpo"] > 1.5
    assert lesson["cover_vsd"] > 0.7
    assert lesson["away_bc"] == pytest.approx(np.sqrt(8), abs=0.05)
    assert lesson["cover_bc"] == 0
    assert "where there is no data; the trust region" in lesson.words


def test_nobody_is_where_no_data_are_while_a_fifth_of_them_is_near(lesson):
    lesson.reset().set(time=0.0)
    assert lesson["cover_srpo"] == lesson["cover_bc"] > 0.1
    assert "no data" not in lesson.words


def test_under_the_true_score_srpo_is_points_and_vsd_has_width(lesson):
    lesson.reset().set(omega="true score", reward="none")
    ends, width = lesson["at_srpo"], width_of(0.3536, 4.5)
    assert lesson["away_srpo"] < 0.03
    assert len(np.unique(ends.round(1), axis=0)) == 8
    assert lesson["cover_vsd"] > 0.75 > 0.5 > lesson["cover_srpo"]
    whole = np.sqrt(lesson["away_vsd"] ** 2 + 2 * width**2)
    assert whole == pytest.approx(np.sqrt(2) * 0.3536, rel=0.15)


def test_one_policy_spreads_over_the_modes_only_with_its_own_score(lesson):
    lesson.reset().set(first="one policy", reward="none", time=0.0)
    assert np.abs(lesson["at_vsd"][1:] - lesson["probe"]).max() < 2
    covered = {name: lesson[f"cover_{name}"] for name in ("srpo", "vsd")}
    lesson.set(time=1.0)
    assert lesson["cover_vsd"] > 4 * covered["vsd"]
    assert lesson["cover_srpo"] < covered["srpo"]


def test_all_begin_alike_and_the_probe_is_one_of_them(lesson):
    lesson.reset().set(probe=(1.0, -2.0), time=0.0)
    for name in ("bc", "tr", "srpo", "vsd"):
        np.testing.assert_array_equal(lesson[f"at_{name}"], lesson["begin"])
        np.testing.assert_array_equal(lesson[f"way_{name}"][0], (1.0, -2.0))
        assert lesson[f"path_{name}"].shape == (STEPS + 1, 50, 2)
    lesson.set(time=0.5)
    np.testing.assert_allclose(lesson["at_tr"], lesson["path_tr"][STEPS // 2])
    path = lesson["path_tr"]
    np.testing.assert_allclose(reached(path, 0.51), 0.6 * path[20] + 0.4 * path[21])


@pytest.mark.parametrize("name", ["bc", "tr", "srpo"])
def test_traces_pass_through_the_end_at_every_lambda(lesson, name):
    lesson.reset()
    for k in (0, 8, 13, 16):
        lesson.set(lam=float(lesson["lams"][k]))
        np.testing.assert_allclose(lesson[f"trace_{name}"][k], lesson[f"at_{name}"][0], atol=1e-9)


def test_the_followed_mean_is_that_of_a_policy_at_each_lambda(one):
    found, box = one
    lams = np.array([0.1, 1.0, 10.0])
    means = followed(grid(), TARGET, 0.0, found["vsd"][0], found["own_score"][0], lams, box)
    np.testing.assert_allclose(means, [balance(lam) for lam in lams], atol=0.03)


def test_all_panels_have_one_scale(lesson):
    lesson.reset()
    by_panel = [[e for e in lesson.scene.layers if e.panel == k] for k in range(4)]
    for k, entries in enumerate(by_panel):
        heats = [e for e in entries if e.kind == "heat"]
        first = [e for e in by_panel[0] if e.kind == "heat"]
        for one_heat, another in zip(heats, first, strict=True):
            for end in ("low", "high"):
                assert one_heat.data.get(end) == another.data.get(end), k
        (arrows,) = (e for e in entries if e.kind == "arrows")
        name = ("bc", "tr", "srpo", "vsd")[k]
        pull = lesson[f"nodes_{name}"]
        size = np.linalg.norm(pull, axis=1, keepdims=True)
        middle = np.median(np.linalg.norm(lesson["nodes_tr"], axis=1))
        drawn = 0.95 * lesson["cell"] * pull / (size + middle)
        np.testing.assert_allclose(lesson.of(arrows.data["uv"]), drawn, atol=1e-9)


@pytest.mark.parametrize("omega", OMEGAS)
def test_pulls_are_those_of_the_lessons_first_picture(lesson, omega):
    other, points = one_point().set(omega=omega), grid(13, 3.5)
    lesson.reset().set(omega=omega)
    for field, known in (("field_srpo", "field_of_srpo"), ("field_tr", "field_of_dtql")):
        ours = parts.vectors_at(lesson[field], points, lesson["box"])
        theirs = parts.vectors_at(other[known], points, other["box"])
        # Two grids, read between their nodes: the scale is the same, single readings nearly.
        assert (ours * theirs).sum() / (theirs**2).sum() == pytest.approx(1, abs=0.004)
        assert ((ours - theirs) ** 2).sum() < 0.01 * (theirs**2).sum()


def test_what_the_table_measures(lesson):
    lesson.reset()
    gaps = np.linalg.norm(lesson["at_vsd"][:, None] - lesson["centres"], axis=-1).min(1)
    assert lesson["away_vsd"] == pytest.approx(np.sqrt((gaps**2).mean()))
    reach = np.linalg.norm(lesson["data"][:, None] - lesson["at_vsd"], axis=-1).min(1)
    assert lesson["cover_vsd"] == pytest.approx((reach < 0.3536).mean(), abs=0.004)


def test_vsds_arrows_are_the_data_less_the_policy(lesson):
    lesson.reset().set(omega="true score", reward="none")
    # At rest nothing pulls its own members, while the data alone still do.
    left = crowd(lesson["at_vsd"], lesson["at_vsd"], lesson["own_score"]) - parts.vectors_at(
        lesson["field_vsd"], lesson["at_vsd"], lesson["box"]
    )
    alone = parts.vectors_at(lesson["field_vsd"], lesson["at_vsd"], lesson["box"])
    assert np.sqrt((left**2).mean()) < 0.15 * np.sqrt((alone**2).mean())


def test_rewards_move_actions_where_they_say(lesson):
    lesson.reset().set(lam=0.01)
    np.testing.assert_allclose(lesson["at_srpo"], np.tile(lesson["target"], (50, 1)), atol=0.1)
    out = np.linalg.norm(lesson.set(reward="far out", lam=0.3)["at_tr"], axis=1)
    kept = np.linalg.norm(lesson.set(reward="none")["at_tr"], axis=1)
    assert out.mean() > kept.mean() + 0.3


# --- what is tried, guessed and handed out ----------------------------------------------------


def test_own_loss_has_its_own_panel(lesson):
    lesson.reset().set(reward="none").try_(trust_region_loss)
    assert lesson.error == ""
    assert [p.title for p in lesson.scene.panels][-1] == "yours"
    near = np.linalg.norm(lesson["at_own"] - lesson["at_tr"], axis=1)
    assert np.median(near) < 0.05
    lesson.try_(lambda denoise, schedule, act, t, eps: act.sum())
    assert "your regulariser must be a tensor of shape" in lesson.error
    lesson.try_(None)
    assert len(lesson.scene.panels) == 4


def test_nothing_of_bc_is_seen_before_the_guess():
    lesson = regularizers(guess=True)
    shown = [e for e in lesson.scene.layers if e.panel == 0 and lesson.frame().shows(e)]
    assert {(e.kind, e.data.get("xy")) for e in shown} == {("heat", None), ("points", "data")}
    lesson.set(shade="size of the pull")
    assert not [
        e
        for e in lesson.scene.layers
        if e.panel == 0 and e.kind == "heat" and lesson.frame().shows(e)
    ]
    assert not any("BC" in r.label for r in lesson.scene.readouts if lesson.frame().shows(r))
    end = lesson["at_bc"][0]
    assert lesson.predict(float(end[0]), float(end[1])) == pytest.approx(0, abs=1e-6)
    assert "BC's 0 %" in lesson.words


@pytest.mark.parametrize("name", PRESETS)
def test_presets_open_and_show_what_they_are_called(name):
    lesson = open_link(PRESETS[name])
    assert open_link(lesson.permalink()).values == lesson.values
    claims = {
        "one λ, four ends": "max(cover_bc, cover_srpo) < cover_tr and cover_tr < cover_vsd",
        "guess where BC takes them": "1 - revealed",
        "no reward: detector or distillation": "cover_srpo == 0 and cover_vsd > 0.7",
        "the true score, no reward": "away_srpo < 0.03 and cover_vsd > 1.5*cover_srpo",
        "one policy covers eight modes": "cover_vsd > 0.5 and cover_srpo < 0.1",
        "the reward wins": "highest(norm(at_srpo - target)) < 1",
    }
    assert lesson.of(claims[name]) != 0


def test_the_page_is_small(lesson):
    lesson.reset()
    assert len(html(lesson)) < 240_000


@pytest.mark.slow
@pytest.mark.parametrize("name", parts.DENSITIES)
def test_every_density_has_a_small_page_and_a_policy_that_covers_more(name):
    lesson = LESSONS["regularizers"](name).set(reward="none")
    assert len(html(lesson)) < 240_000
    assert np.isfinite(lesson["path_vsd"]).all()
    assert lesson["cover_vsd"] > lesson["cover_bc"]
    assert lesson["cover_vsd"] > lesson["cover_srpo"]


@pytest.mark.slow
def test_a_trained_denoiser_tells_the_same_story():
    lesson = regularizers(denoiser="trained").set(reward="none")
    assert lesson["cover_vsd"] > 0.5 > lesson["cover_srpo"]
    assert len(html(lesson)) < 240_000
