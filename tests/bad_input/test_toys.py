"""Wrong densities, points and names are answered in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from diffteach.schedule import EDM
from diffteach.toys import (
    Checkerboard,
    GaussianMixture,
    TwoMoonEnergy,
    density,
    empirical,
    frozen,
    load,
    nearest,
    quadratic,
    reward_fn,
    window,
)

MEANS = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
EYE = torch.eye(2).expand(2, 2, 2)
LAWS = [GaussianMixture(MEANS, 1.0), Checkerboard(), TwoMoonEnergy()]


def with_nan(value: float) -> torch.Tensor:
    return torch.tensor([[0.0, 0.0], [1.0, value]])


CASES: list[tuple[str, Callable[[], object], str]] = [
    ("NaN means", lambda: GaussianMixture(with_nan(math.nan), 1.0), "means must be finite"),
    ("infinite means", lambda: GaussianMixture(with_nan(math.inf), 1.0), "means must be finite"),
    ("one point as means", lambda: GaussianMixture(torch.zeros(2), 1.0), "means must be .*(K, A)"),
    ("no components", lambda: GaussianMixture(torch.zeros(0, 2), 1.0), "means must be"),
    ("integer means", lambda: GaussianMixture(torch.zeros(2, 2).long(), 1.0), "means must be a fl"),
    ("std 0", lambda: GaussianMixture(MEANS, 0.0), "stds must be positive"),
    ("std below 0", lambda: GaussianMixture(MEANS, torch.tensor([1.0, -1.0])), "stds must be pos"),
    ("NaN std", lambda: GaussianMixture(MEANS, math.nan), "stds must be positive"),
    ("3 stds", lambda: GaussianMixture(MEANS, torch.ones(3)), r"stds must have shape \(2,\)"),
    ("no spread", lambda: GaussianMixture(MEANS), "exactly one of stds and covariances"),
    ("two spreads", lambda: GaussianMixture(MEANS, 1.0, covariances=EYE), "exactly one of stds"),
    (
        "negative weight",
        lambda: GaussianMixture(MEANS, 1.0, torch.tensor([1.5, -0.5])),
        "weights must not be negative and must sum to 1, got smallest -0.5",
    ),
    ("weights of sum 2", lambda: GaussianMixture(MEANS, 1.0, torch.ones(2)), "sum to 1.* sum 2"),
    ("NaN weights", lambda: GaussianMixture(MEANS, 1.0, with_nan(math.nan)[1]), "weights must not"),
    (
        "3 weights",
        lambda: GaussianMixture(MEANS, 1.0, torch.ones(3) / 3),
        "weights must have shape",
    ),
    (
        "singular covariance",
        lambda: GaussianMixture(MEANS, covariances=torch.ones(2, 2, 2)),
        "covariances must be positive definite",
    ),
    (
        "negative covariance",
        lambda: GaussianMixture(MEANS, covariances=-EYE),
        "covariances must be positive definite",
    ),
    (
        "asymmetric covariance",
        lambda: GaussianMixture(
            MEANS, covariances=torch.tensor([[1.0, 0.5], [0, 1]]).expand(2, 2, 2)
        ),
        "covariances must be symmetric",
    ),
    (
        "NaN covariance",
        lambda: GaussianMixture(MEANS, covariances=math.nan * EYE),
        "covariances must be finite",
    ),
    (
        "covariance of other shape",
        lambda: GaussianMixture(MEANS, covariances=torch.eye(2)[None]),
        r"covariances must have shape \(2, 2, 2\)",
    ),
    ("negative curvature", lambda: LAWS[0].tilted(torch.ones(2), -1.0), "curvature must not"),
    ("NaN points", lambda: empirical(with_nan(math.nan), 0.1), "points must be finite"),
    ("no points", lambda: empirical(torch.zeros(0, 2), 0.1), "points must be"),
    (
        "one point without rows",
        lambda: empirical(torch.zeros(2), 0.1),
        r"points must be .*\(K, A\)",
    ),
    ("negative bandwidth", lambda: empirical(MEANS, -0.1), "bandwidth must be finite and not neg"),
    ("NaN bandwidth", lambda: empirical(MEANS, math.nan), "bandwidth must be finite"),
    ("density at 0", lambda: empirical(MEANS, 0).log_prob(MEANS), "bandwidth must be positive"),
    ("score at 0", lambda: empirical(MEANS, 0).score(MEANS), "bandwidth must be positive"),
    ("point mass", lambda: empirical(MEANS, 0).noised(1.0, 0.0), "sigma must be positive where"),
    ("scale 0", lambda: Checkerboard().noised(0.0, 1.0), "scale must be positive"),
    ("unknown density", lambda: density("8gausians"), "did you mean '8gaussians'"),
    ("density lists names", lambda: density("moons"), "swissroll, two_moons, rings.*'two_moons'"),
    ("unknown to load", lambda: load("Swiss_Roll", 5, 0), "'swissroll'"),
    ("unknown window", lambda: window("gmm"), "'gmm40'"),
    ("unknown frozen", lambda: frozen("../secret"), "name must be one of"),
    ("unknown reward", lambda: reward_fn("fare"), "name must be one of near, far.*'far'"),
    ("load 0", lambda: load("rings", 0, 0), "n must be at least 1, got 0"),
    ("load -1", lambda: load("rings", -1, 0), "n must be at least 1, got -1"),
    ("infinite target", lambda: quadratic(with_nan(math.inf)), "target must be a finite tensor"),
    ("quadratic elsewhere", lambda: quadratic(torch.ones(3))(MEANS), r"shape \(..., 3\)"),
    ("labels of other length", lambda: nearest(MEANS, torch.ones(3)), "points and rewards must"),
]


@pytest.mark.parametrize(("call", "message"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_sentence(call: Callable[[], object], message: str) -> None:
    pattern = message.replace("(K, A)", r"\(K, A\)") if r"\(" not in message else message
    with pytest.raises(ValueError, match=pattern) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_every_density_checks_points_noise_and_n(law: GaussianMixture) -> None:
    for fn in (law.log_prob, law.score, lambda x: law.denoiser(EDM())(x, torch.ones(4))):
        with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 2\), got \(4, 3\)"):
            fn(torch.zeros(4, 3))
        with pytest.raises(TypeError, match="x must hold floating-point numbers"):
            fn(torch.zeros(4, 2).long())
    for n in (0, -3):
        with pytest.raises(ValueError, match=f"n must be at least 1, got {n}"):
            law.sample(n)
    for alpha, sigma, name in [
        (1.0, -0.1, "sigma"),
        (-1.0, 0.1, "alpha"),
        (1.0, math.nan, "sigma"),
    ]:
        with pytest.raises(ValueError, match=f"{name} must be finite and not negative"):
            law.noised(alpha, sigma)


def test_one_point_is_enough() -> None:
    points, reward = load("8gaussians", 1, 0)
    assert points.shape == (1, 2) and reward.shape == (1,)
    assert empirical(points, 0.1).log_prob(points).isfinite().all()
    assert LAWS[0].sample(1).shape == (1, 2)
    assert LAWS[0].log_prob(torch.zeros(2)).shape == ()
