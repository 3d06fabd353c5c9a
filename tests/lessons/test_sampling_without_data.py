"""Lesson 09 against exact denoisers, the library's own functions and frozen values."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from diffteach.boltzmann import Energy, particle_ess
from diffteach.explore.lessons import LESSONS, open_link, sampling_without_data
from diffteach.explore.lessons import sampling_without_data_arrays as arrays
from diffteach.explore.lessons import sampling_without_data_moves as moves
from diffteach.explore.lessons import sampling_without_data_race as course
from diffteach.explore.lessons.sampling_without_data import PRESETS, TARGETS
from diffteach.explore.pack import header
from diffteach.explore.page import html
from diffteach.objectives import reverse_sampling_target
from diffteach.schedule import EDM, x0_from_eps
from diffteach.toys import GaussianMixture, density

SCHEDULE = EDM(sigma_min=0.01, sigma_max=80.0)  # x_t/alpha and sigma/alpha are its coordinates
PROBES = {
    "sdac_mixture": [((-2.0, -2.0), 4.0), ((2.5, 0.0), 0.7), ((-6.0, 5.0), 12.0)],
    "two_moon_energy": [((0.4, 1.1), 1.3), ((-3.0, 0.2), 0.4), ((2.0, -3.0), 6.0)],
    "8gaussians": [((0.3, 0.1), 1.0), ((-3.0, 2.0), 0.2), ((4.0, 4.0), 9.0)],
}
CASES = [(name, probe, noise) for name, pairs in PROBES.items() for probe, noise in pairs]


@pytest.fixture(scope="module", params=TARGETS)
def lesson(request):
    return sampling_without_data(request.param)


@pytest.fixture(scope="module")
def usual():
    return sampling_without_data()


def three_modes():
    """The papers' sheet of tests has its numbers for this mixture."""
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.2, -1.2]]).double()
    stds, weights = torch.tensor([0.3, 0.2, 0.4]).double(), torch.tensor([0.5, 0.3, 0.2]).double()
    logs = weights.log() - 2 * stds.log() - math.log(2 * math.pi)
    law = (means.numpy(), stds.numpy(), logs.numpy(), 0.0)
    return GaussianMixture(means, stds, weights), law


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 2))


# --- the exact answers --------------------------------------------------------------------------


def test_energies_are_the_toys(lesson) -> None:
    target = lesson.values["target"]
    points = torch.tensor(5 * normal(500)).float()
    law = [lesson[name] for name in ("means", "stds", "logs", "moons")]
    ours = moves.energies(points.double().numpy(), *law)
    np.testing.assert_allclose(ours, density(target).log_prob(points), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("target", "probe", "noise"), CASES)
def test_the_star_is_the_exact_denoisers_point(target, probe, noise) -> None:
    lesson = sampling_without_data(target).set(probe=probe, noise=noise)
    x, t = torch.tensor([probe]), torch.tensor([noise])
    exact = x0_from_eps(SCHEDULE, x, t, density(target).denoiser(SCHEDULE)(x, t))[0]
    # The crescents' denoiser is that of a mixture on a grid.
    atol = 0.02 if target == "two_moon_energy" else 1e-3
    np.testing.assert_allclose(lesson["exact"], exact, atol=atol)
    log_p = density(target).noised(1.0, noise).log_prob(x)[0]
    assert lesson.of("row(solved, 2)") == pytest.approx(float(log_p), abs=5 * atol)


@pytest.mark.parametrize(("target", "probe", "noise"), CASES)
@pytest.mark.parametrize("temperature", [0.1, 5.0])
def test_the_star_is_right_at_every_temperature(target, probe, noise, temperature) -> None:
    lesson = sampling_without_data(target).set(probe=probe, noise=noise, temperature=temperature)
    axis = torch.linspace(-14, 14, 701).double()
    nodes = torch.cartesian_prod(axis, axis)
    far = (nodes - torch.tensor(probe)).square().sum(-1) / (2 * noise**2)
    share = torch.softmax(density(target).to(torch.float64).log_prob(nodes) / temperature - far, 0)
    np.testing.assert_allclose(lesson["exact"], share @ nodes, atol=2e-3)


def test_frozen_values_of_the_papers_mixture() -> None:
    """T20 and T21: targets by number of particles at abar = 0.5, and the normaliser."""
    mixture, law = three_modes()
    probe = np.array([0.4, -0.3]) / math.sqrt(0.5)
    solved = moves.posterior(probe, 1.0, 1.0, 6.0, *law)
    star = probe - solved[:2]
    np.testing.assert_allclose(star, (-0.0457, -0.2083), atol=2e-4)
    # log p_t of x_t itself has abar^(-d/2) more than that of x_t/alpha.
    assert solved[2] - math.log(0.5) == pytest.approx(-1.7037, abs=1e-3)
    x = moves.cloud(normal(1 << 18), probe, 1.0, 1 << 18)
    energy = moves.energies(x, *law)
    expected = {1: (0, 0), 4: (0.032, -0.014), 16: (-0.032, -0.144), 64: (-0.040, -0.195)}
    for count, bar in expected.items():
        found = probe - moves.grouped(x, energy, 1.0, count).mean(0)
        np.testing.assert_allclose(found, bar, atol=0.008)
    assert moves.log_mean(energy, 1.0) == pytest.approx(solved[2], abs=0.01)
    raw = probe - moves.weighed(moves.shares(energy, 1.0), x)
    np.testing.assert_allclose(raw, star, atol=0.01)
    exact = mixture.noised(1.0, 1.0).log_prob(torch.tensor(probe[None]))
    assert solved[2] == pytest.approx(float(exact), abs=1e-4)


def test_one_gaussian_has_the_closed_form() -> None:
    law = (np.array([[1.0, -0.5]]), np.array([0.7]), np.array([0.0]), 0.0)
    probe, noise, temperature = np.array([2.0, 1.0]), 1.5, 0.5
    variance = temperature * 0.7**2
    mean = (probe * variance + law[0][0] * noise**2) / (variance + noise**2)
    found = moves.posterior(probe, noise, temperature, 8.0, *law)
    np.testing.assert_allclose(found[:2], mean, atol=1e-6)


# --- the particles ------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", ["1", "4", "16", "64"])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_target_and_row_weight_are_the_librarys(lesson, particles, temperature) -> None:
    target = lesson.values["target"]
    lesson.reset().set(particles=particles, temperature=temperature)
    eps = torch.tensor(lesson["eps"][: int(particles), None])
    x, t = torch.tensor(lesson["probe"])[None], torch.tensor([lesson["noise"]]).double()
    q = density(target).to(torch.float64).log_prob
    bar, log_weight = reverse_sampling_target(q, SCHEDULE, x, t, eps, temperature)
    np.testing.assert_allclose(lesson["bar"], bar[0], atol=2e-5)
    assert lesson["row_weight"] == pytest.approx(float(log_weight), abs=2e-5)
    count = float(particle_ess(Energy(q), SCHEDULE, x, t, eps, temperature))
    assert lesson["effective"] == pytest.approx(count, rel=1e-4)


def test_one_particle_learns_pure_noise_whatever_the_energy(lesson) -> None:
    lesson.reset().set(particles="1", noise=0.5)
    np.testing.assert_allclose(lesson["self_x"], lesson["probe"], atol=1e-9)
    assert lesson["bias"] == pytest.approx(
        np.linalg.norm(lesson["exact"] - np.array(lesson["probe"]))
    )
    assert "learns pure noise" in lesson.words
    assert lesson["raw_miss"] < 0.2 * lesson["bias"]
    lesson.set(particles="64")
    assert "pure noise" not in lesson.words


def test_bias_falls_with_particles_and_raw_weights_have_none(usual) -> None:
    usual.reset()
    rms, bias = usual["missed"].T
    assert (np.diff(rms) < 0).all() and (np.diff(bias) < 0).all()
    assert bias[2] == pytest.approx(usual["bias"])
    assert usual["bias"] > 1 > 0.15 > usual["raw_miss"]


def test_high_noise_leaves_one_particle(lesson) -> None:
    lesson.reset().set(noise=20.0, particles="64")
    here = lesson["here"]
    assert here[-1] < 1.8 and here.max() > 5
    assert lesson["typical"][0] > 50 and lesson["typical"][-1] < 1.1
    for k in (3, 10, 17):
        eps = torch.tensor(lesson["eps"][:1024]).reshape(16, 64, 2).transpose(0, 1)
        x = torch.tensor(lesson["probe"]).expand(16, 2)
        t = torch.full((16,), lesson["levels"][k]).double()
        q = density(lesson.values["target"]).to(torch.float64).log_prob
        ours = particle_ess(Energy(q), SCHEDULE, x, t, eps).mean()
        assert here[k] == pytest.approx(float(ours), rel=1e-4)


def test_typical_numbers_are_those_of_the_sdac_schedule() -> None:
    """Medians of 64 particles at x_t ~ p_t: 22.8, 5.2 and 2.2 at abar = .376, .0634 and .0169."""
    found = arrays.typical("sdac_mixture", 3, 800)[0, 3, 2]
    for abar, count in ((0.376, 22.8), (0.0634, 5.2), (0.0169, 2.2), (0.0031, 1.0)):
        level = math.sqrt(1 / abar - 1)
        assert np.interp(math.log(level), np.log(arrays.LEVELS), found) == pytest.approx(
            count, rel=0.12
        )


def test_far_proposals_have_fewer_that_count() -> None:
    found = arrays.typical("sdac_mixture", 0)[:, 3, 2]
    middle = (arrays.LEVELS > 1) & (arrays.LEVELS < 4)
    assert (found[1:, middle] < found[0, middle]).all()


def test_clean_points_follow_the_temperature() -> None:
    """Far modes keep their shares to the power 1/λ, and variance λ."""
    for temperature in (0.5, 1.0):
        points = arrays.noisy_points("sdac_mixture", temperature, 20_000, 1)[0]
        upper = points[points.sum(-1) > 0]
        share = 1 / (1 + 0.25 ** (1 / temperature))
        assert len(upper) / len(points) == pytest.approx(share, abs=0.01)
        assert float(upper.var(0).mean()) == pytest.approx(temperature, rel=0.05)


# --- a student's weights, links, pages ------------------------------------------------------------


def test_own_weights_equal_to_ours_give_our_target() -> None:
    lesson = sampling_without_data().try_(lambda energy: torch.softmax(energy / 2, 0))
    assert lesson.error == ""
    node = np.linspace(-9, 9, arrays.OWN_SIZE)[12]
    for particles in ("4", "64"):
        lesson.set(
            probe=(node, -node), noise=arrays.OWN_LEVELS[6], temperature=2.0, particles=particles
        )
        np.testing.assert_allclose(lesson["own_x"], lesson["target_x"], atol=1e-3)


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        (lambda energy: energy, "must not be negative"),
        (lambda energy: energy.exp().sum(0), "your weights must be a tensor of shape"),
        (lambda energy: energy / 0, "must be finite"),
    ],
)
def test_weights_that_are_none_are_refused(mine, words) -> None:
    lesson = sampling_without_data().try_(mine)
    assert words in lesson.error
    assert lesson.try_(None).error == ""


def test_points_that_a_student_gives_no_weight_have_no_target() -> None:
    lesson = sampling_without_data().try_(lambda energy: (energy > -20).float())
    assert lesson.error == ""
    own = lesson.scene.stacks["own"].data
    assert np.isnan(own).any() and np.isfinite(own).any()
    assert len(html(lesson)) < 300_000


def test_views_open_and_ask() -> None:
    for link in PRESETS.values():
        assert open_link(link).scene.name == "sampling_without_data"
    lesson = open_link(PRESETS["guess the denoised point"])
    assert lesson["revealed"] == 0 and (lesson["tall"] == 0).all()
    assert lesson.predict(*lesson["exact"]) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="target must be one of"):
        sampling_without_data("moons")
    assert LESSONS["sampling_without_data"] is sampling_without_data


def test_same_seed_same_arrays_and_another_seed_others() -> None:
    one, two, other = (sampling_without_data(seed=s)["eps"] for s in (0, 0, 1))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


# --- the race -----------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch) -> None:
    monkeypatch.setattr(course, "STOPS", (0.033, 0.034))
    monkeypatch.setattr(course, "JUDGED", 256)


def test_a_race_is_a_film_that_asks_equally_often(short, monkeypatch) -> None:
    asked = []
    counted = course.Energy

    def energy(*args, **named):
        asked.append(counted(*args, **named))
        return asked[-1]

    monkeypatch.setattr(course, "Energy", energy)
    lesson = sampling_without_data()
    assert lesson.set(look="the race").words == "The race has not run: press Train."
    lesson.finish()
    assert lesson.error == "" and lesson["look"] == 1 and lesson["ran"] == 1
    assert lesson["clock"].tolist() == [0, 0.033, 0.034]
    for name, used in zip(course.NAMES, asked, strict=True):
        most = max(used.calls, used.gradient_calls)
        assert most == 0 if name.startswith("direct") else 34_000 <= most < 39_200
    kl = lesson["kl"]
    assert kl.shape == (3, len(course.NAMES)) and np.isfinite(kl).all()
    assert (kl[0] == kl[0, 0]).all()
    assert "asks the energy equally often" in lesson.words and "backwards" not in lesson.words
    first = lesson.set(sampler="Langevin", calls=0.0)["racers"]
    assert not np.array_equal(first, lesson.set(calls=0.034)["racers"])
    assert lesson["kl_now"] == kl[2, course.NAMES.index("Langevin")]
    # The page of a finished race has the header of a fresh lesson.
    headers = [header(sampling_without_data().scene), header(lesson.scene)]
    for found in headers:
        found["params"] = [p | {"default": None} for p in found["params"]]
    assert headers[0] == headers[1]


@pytest.mark.parametrize("target", TARGETS)
def test_pages_are_small_with_a_whole_race(target) -> None:
    start = course.before(target)
    generator = torch.Generator().manual_seed(0)
    shots = [start] + [
        start._replace(calls=stop, points=start.points + torch.randn(
            start.points.shape, generator=generator)) for stop in course.STOPS
    ]  # fmt: skip
    lesson = sampling_without_data(target)
    module = sys.modules["diffteach.explore.lessons.sampling_without_data"]
    lesson._show(module._scene(None, target, 0, 61, shots), {})
    assert len(html(lesson)) < 240_000


@pytest.mark.slow
def test_rssm_overtakes_langevin_whose_shares_stay_wrong() -> None:
    *_, last = course.race("sdac_mixture")
    kl = dict(zip(course.NAMES, last.kl.tolist(), strict=True))
    assert kl["RSSM, raw weights"] < 0.5 * kl["Langevin"]
    assert kl["RSSM, raw weights"] < kl["RSSM, self weights"]
    assert kl["Langevin"] > 0.15
