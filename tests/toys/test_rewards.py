"""Rewards: values where the papers state them, and defined everywhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffteach.toys import density, load, names, nearest, quadratic, reward_fn, reward_names
from diffteach.types import QFunction

each_reward = pytest.mark.parametrize("name", reward_names())


def at(name: str, *points: tuple[float, float]) -> list[float]:
    values: Tensor = reward_fn(name)(torch.tensor(points, dtype=torch.float64))
    return [float(v) for v in values]


def test_dtql_rewards() -> None:
    corners = [(-10.0, 10.0), (10.0, 10.0), (3.0, 4.0), (0.0, 0.0)]
    edge = math.sqrt(200)
    assert at("far", *corners) == pytest.approx([edge, edge, 5, 0])
    # Only the top-left mode is doubled: 28.3 against 14.1.
    assert at("hard", *corners) == pytest.approx([28.2843, 14.1421, 5, 0], abs=1e-4)
    assert at("same", *corners) == [0, 0, 0, 0]
    near = at("near", *corners)
    assert near[3] - near[2] == pytest.approx(5) and near[3] > near[2] > near[0] == near[1]


def test_cep_energies() -> None:
    r = 4 / 1.414
    s = r / math.sqrt(2)
    assert at("8gaussians", (0, r), (-s, s), (-r, 0), (s, s), (9, 9)) == pytest.approx(
        [0, 1 / 7, 2 / 7, 1, 1]
    )
    assert at("swissroll", (3, 0), (0, -1.5)) == pytest.approx([1, 0.25])
    assert at("two_moons", (-1, 1.8), (1, -1.2)) == [0, 1]
    assert at("rings", (3.2, 0), (0, 2.3), (-1.5, 0), (0.1, 0.1)) == pytest.approx(
        [0.667, 0.333, 1, 0]
    )
    assert at("checkerboard", (1, 9), (2, 0), (-1, 0), (3, 0), (-2, 1), (-3, 1), (0, 0)) == [
        1, 1, 0, 0, 1, 1, 0
    ]  # fmt: skip
    assert at("2spirals", (0.08, 0.08))[0] > 0.95


def test_four_corners() -> None:
    assert at("four_corners", (-0.8, 0.8), (-1, -1), (0.3, 0.2), (0.8, -0.8)) == [3, 0, 1.5, 5]


def test_spiral_energy_falls_along_the_arm() -> None:
    s = torch.linspace(0.5, 9.4, 40, dtype=torch.float64)
    mean_jitter = 0.25
    arm = torch.stack([-s * s.cos() + mean_jitter, s * s.sin() + mean_jitter], -1) / 3
    for points in (arm, -arm):
        torch.testing.assert_close(reward_fn("2spirals")(points), 1 - s / 10, rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", ["sdac_mixture", "gmm40"])
def test_boltzmann_rewards_are_log_densities(name: str) -> None:
    x = torch.randn(9, 2)
    torch.testing.assert_close(reward_fn(name)(x), density(name).log_prob(x))


@pytest.mark.parametrize("name", names())
def test_rewards_agree_with_the_rewards_of_the_points(name: str) -> None:
    points, reward = load(name, 3_000, 0)
    noise = 0.5 if name == "four_corners" else 0.0
    gap = (reward_fn(name)(points) - reward).abs()
    # Labels of overlapping parts differ for a few points.
    assert float((gap > 0.12).float().mean()) < 0.04 or noise
    assert float(gap.square().mean().sqrt()) < (1.1 * noise or 0.15)


@each_reward
def test_every_reward_is_defined_everywhere(name: str) -> None:
    fn = reward_fn(name)
    assert isinstance(fn, QFunction)
    for dtype in (torch.float32, torch.float64):
        a = (20 * torch.randn(3, 4, 2, dtype=dtype)).requires_grad_()
        value = fn(a)
        assert value.shape == (3, 4) and value.dtype == dtype
        assert bool(value.isfinite().all())
        (grad,) = torch.autograd.grad(value.sum(), a)
        assert bool(grad.isfinite().all())
    assert fn(torch.zeros(0, 2)).shape == (0,)
    assert torch.equal(fn(torch.ones(2)), fn(torch.ones(1, 2))[0])


@pytest.mark.parametrize("name", ["far", "near", "hard", "swissroll", "25gaussians", "gmm40"])
def test_smooth_rewards_have_their_gradient(name: str) -> None:
    a = torch.tensor([[1.0, 2.0], [-3.0, 0.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(reward_fn(name), (a,))
    (grad,) = torch.autograd.grad(reward_fn(name)(a).sum(), a)
    assert float(grad.abs().min()) > 0


def test_quadratic_peaks_at_its_target() -> None:
    target = torch.tensor([1.0, -2.0])
    a = torch.tensor([[1.0, -2.0], [4.0, 2.0]], requires_grad=True)
    value = quadratic(target)(a)
    assert value.tolist() == [0.0, -25.0]
    (grad,) = torch.autograd.grad(value.sum(), a)
    assert grad.tolist() == [[0.0, 0.0], [-6.0, -8.0]]
    many = torch.randn(49, 2)
    assert torch.equal(quadratic(many)(many), torch.zeros(49))
    assert quadratic(many)(torch.zeros(5, 49, 2)).shape == (5, 49)


def test_nearest_on_many_points_and_rows() -> None:
    points = torch.randn(3_000, 2)
    label = torch.arange(3_000).float()
    x = points + 1e-4
    assert float((nearest(points, label)(x) == label).float().mean()) > 0.95
