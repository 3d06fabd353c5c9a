"""The named sets: their points follow their density, seeds decide everything, files are frozen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_circles, make_moons, make_swiss_roll
from torch import Tensor

from diffteach.schedule import EDM
from diffteach.toys import (
    Density,
    GaussianMixture,
    default_bandwidth,
    density,
    frozen,
    load,
    names,
    window,
)
from diffteach.toys.frozen import directory, write

each_set = pytest.mark.parametrize("name", names())
SETS_OF_THE_PAPERS = {
    *("8gaussians", "swissroll", "two_moons", "rings", "checkerboard", "2spirals", "pinwheel"),
    *("circles", "25gaussians", "dtql_swissroll", "four_corners", "sdac_mixture"),
    *("two_moon_energy", "gmm40"),
}


def log_likelihood_gap(law: Density, x: Tensor, y: Tensor) -> float:
    """How many standard errors the mean log-densities of two samples lie apart."""
    a, b = law.log_prob(x), law.log_prob(y)
    return float((a.mean() - b.mean()).abs() / (a.var() / len(a) + b.var() / len(b)).sqrt())


def energy_distance(x: Tensor, y: Tensor) -> float:
    n = len(x)
    within = (torch.cdist(x, x).sum() + torch.cdist(y, y).sum()) / (n * (n - 1))
    return float(2 * torch.cdist(x, y).mean() - within)


def test_every_set_of_the_papers_is_there() -> None:
    assert set(names()) >= SETS_OF_THE_PAPERS


@each_set
def test_points_follow_the_density(name: str) -> None:
    law, g = density(name), torch.Generator().manual_seed(3)
    points, _ = load(name, 6_000, 1)
    own = law.sample(6_000, g)
    if name != "checkerboard":  # constant on its support
        assert log_likelihood_gap(law, points, own) < 4
    x, y = points[:1500], own[:1500]
    scale = float(points.std())
    assert abs(energy_distance(x, y)) < 0.012 * scale
    # The same statistic sees a shift by a fifth of the spread.
    assert energy_distance(x, y + 0.2 * scale) > 0.012 * scale


@each_set
def test_window_holds_the_points_and_is_not_too_wide(name: str) -> None:
    points, _ = load(name, 4_000, 0)
    reach = float(points.abs().max())
    assert reach <= window(name) < 2.2 * reach


@each_set
def test_density_integrates_to_one(name: str) -> None:
    # The noise makes the density smooth on the scale of the grid.
    half, n = 1.15 * window(name), 151
    axis = torch.linspace(-half, half, n)
    law = density(name).noised(1.0, 0.02 * window(name))
    total = float(law.log_prob(torch.cartesian_prod(axis, axis)).double().exp().sum())
    assert total * (2 * half / (n - 1)) ** 2 == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("swissroll", lambda: make_swiss_roll(6_000, noise=1.0, random_state=0)[0][:, [0, 2]] / 5),
        ("dtql_swissroll", lambda: make_swiss_roll(6_000, noise=0.1, random_state=0)[0][:, [0, 2]]),
        (
            "two_moons",
            lambda: make_moons(6_000, noise=0.1, random_state=0)[0] * 2 + np.array([-1, -0.2]),
        ),
        ("circles", lambda: make_circles(6_000, factor=0.5, noise=0.08, random_state=0)[0] * 3),
    ],
)
def test_curves_are_those_of_scikit_learn(name: str, points: object) -> None:
    theirs = torch.from_numpy(points()).float()  # type: ignore[operator]
    law = density(name)
    ours = law.sample(6_000, torch.Generator().manual_seed(0))
    assert log_likelihood_gap(law, theirs, ours) < 4
    assert abs(energy_distance(theirs[:1500], ours[:1500])) < 0.012 * float(ours.std())


def test_moon_labels_are_those_of_scikit_learn() -> None:
    clean, label = make_moons(400, noise=None, random_state=0)
    points, reward = load("two_moons", 4_000, 0)
    centres = torch.from_numpy(clean * 2 + np.array([-1, -0.2])).float()
    nearest = torch.from_numpy(label)[torch.cdist(points, centres).argmin(1)]
    assert float((nearest == reward).float().mean()) > 0.99


def test_rings_lie_on_their_radii() -> None:
    points, reward = load("rings", 4_000, 0)
    for radius, value in [(3.0, 2 / 3), (2.25, 1 / 3), (1.5, 1.0), (0.75, 0.0)]:
        here = (reward - value).abs() < 1e-3
        assert int(here.sum()) == 1_000
        assert float(points[here].norm(dim=1).mean()) == pytest.approx(radius, abs=0.02)


def test_spirals_turn_one_and_a_half_times() -> None:
    points, reward = load("2spirals", 4_000, 0)
    s = 10 * (1 - reward)
    assert float(s.max()) == pytest.approx(3 * math.pi, abs=0.02)
    assert float(points.norm(dim=1)[s > 9].mean()) == pytest.approx(9.2 / 3, abs=0.15)
    # Uniform in the square of the angle: E[s^2] = (3 pi)^2 / 2.
    assert float(s.square().mean()) == pytest.approx((3 * math.pi) ** 2 / 2, rel=0.03)


def test_pinwheel_has_five_fold_symmetry() -> None:
    law, x = density("pinwheel").to(torch.float64), torch.randn(50, 2, dtype=torch.float64)
    angle = 2 * math.pi / 5
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    ).double()
    torch.testing.assert_close(law.log_prob(x @ turn.T), law.log_prob(x), rtol=1e-5, atol=1e-5)


@each_set
def test_a_seed_decides_the_points(name: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    points, reward = load(name, 300, 7)
    again, _ = load(name, 300, 7)
    other, _ = load(name, 300, 8)
    sample = density(name).sample(20, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert points.numpy().tobytes() == again.numpy().tobytes()
    assert not torch.equal(points, other)
    assert torch.equal(sample, density(name).sample(20, torch.Generator().manual_seed(1)))
    assert points.dtype == reward.dtype == sample.dtype == torch.float32
    assert points.shape == (300, 2) and reward.shape == (300,)


@each_set
def test_densities_follow_the_points_they_are_asked_at(name: str) -> None:
    law = density(name)
    points = load(name, 64, 0)[0]
    x = torch.cat([points, 1.2 * window(name) * (torch.rand(64, 2) - 0.5)])
    t = torch.logspace(-1, 1, 128)
    single, double = (law.denoiser(EDM())(x.to(d), t.to(d)) for d in (torch.float32, torch.float64))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=2e-3, atol=2e-3)
    assert isinstance(law, Density) and isinstance(law.noised(0.5, 0.5), Density)
    assert law.log_prob(x[:0]).shape == (0,)


def test_bandwidth_gives_the_mixture_on_the_points() -> None:
    law, points = density("two_moons", bandwidth=0.05, n=200, seed=4), load("two_moons", 200, 4)[0]
    assert isinstance(law, GaussianMixture)
    assert torch.equal(law.means, points)
    assert law.stds is not None and float(law.stds[0]) == pytest.approx(0.05)
    assert default_bandwidth("two_moons") == 0.2 and default_bandwidth("25gaussians") == 0


@each_set
def test_frozen_points_are_what_the_generator_draws(name: str) -> None:
    points, reward = frozen(name)
    again, reward_again = load(name, 2_000, 0)
    assert points.dtype == reward.dtype == torch.float32
    torch.testing.assert_close(points, again, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(reward, reward_again, rtol=1e-4, atol=1e-4)


def test_frozen_files_are_small_and_complete(tmp_path: object) -> None:
    files = sorted(directory().glob("*.npz"))
    assert [f.stem for f in files] == sorted(names())
    assert all(f.stat().st_size < 100_000 for f in files)
    readme = (directory() / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in names())
    assert len(write(tmp_path)) == len(files)  # type: ignore[arg-type]
