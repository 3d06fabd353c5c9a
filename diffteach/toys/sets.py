"""The two-dimensional sets of the papers: how to draw them, their exact densities, their rewards.

A noisy curve (swiss roll, moons, rings ...) *is* a Gaussian mixture along its clean curve, so its
density is a mixture on quadrature nodes whose bandwidth is the set's own noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffteach.toys import rewards
from diffteach.toys.checkerboard import Checkerboard
from diffteach.toys.densities import GaussianMixture, empirical
from diffteach.toys.energies import TwoMoonEnergy
from diffteach.toys.interface import Density
from diffteach.types import QFunction

Labelled = tuple[Tensor, Tensor]  # points (n, 2) and reward (n,), float64


@dataclass(frozen=True)
class ToySet:
    """One named set: how to draw points with rewards, its density, its reward off the points.

    The square [-window, window]^2 holds the set. `bandwidth` is that of the density where it is a
    mixture on quadrature nodes, and 0 where it needs none.
    """

    draw: Callable[[int, torch.Generator], Labelled]
    density: Callable[[], Density]
    reward: Callable[[], QFunction]
    window: float
    bandwidth: float = 0.0


def _uniform(n: int, g: torch.Generator) -> Tensor:
    return torch.rand(n, generator=g, dtype=torch.float64)


def _normal(n: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, 2, generator=g, dtype=torch.float64)


def _midpoints(n: int) -> Tensor:
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def _spread_evenly(n: int, g: torch.Generator) -> Tensor:
    return _midpoints(n)[torch.randperm(n, generator=g)]


def _curve_set(
    clean: Callable[[Tensor], Labelled],
    noise: float,
    nodes: int,
    window: float,
    reward: QFunction | None = None,
) -> ToySet:
    """clean(u) + noise eps, u uniform on [0, 1): the reward of the noisy point, or the clean label.

    Labelled curves are drawn at evenly spaced u, as the originals do.
    """

    def draw(n: int, g: torch.Generator) -> Labelled:
        points, label = clean(_spread_evenly(n, g) if reward is None else _uniform(n, g))
        points = points + noise * _normal(n, g)
        return points, label if reward is None else reward(points)

    return ToySet(
        draw,
        density=lambda: empirical(clean(_midpoints(nodes))[0], noise),
        reward=lambda: reward or rewards.nearest(*clean(_midpoints(nodes))),
        window=window,
        bandwidth=noise,
    )


def _circle(radius: Tensor, angle: Tensor) -> Tensor:
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], -1)


def _swiss_roll(scale: float) -> Callable[[Tensor], Labelled]:
    def clean(u: Tensor) -> Labelled:
        angle = 1.5 * math.pi * (1 + 2 * u)
        return _circle(angle * scale, angle), u

    return clean


def _two_moons(u: Tensor) -> Labelled:
    lower = u >= 0.5
    angle = math.pi * (2 * u - lower.double())
    upper_moon = torch.stack([angle.cos(), angle.sin()], -1)
    lower_moon = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], -1)
    points = torch.where(lower[:, None], lower_moon, upper_moon)
    return 2 * points + torch.tensor([-1.0, -0.2], dtype=u.dtype), lower.double()


def _concentric(
    radii: tuple[float, ...], values: tuple[float, ...]
) -> Callable[[Tensor], Labelled]:
    def clean(u: Tensor) -> Labelled:
        ring = (len(radii) * u).long().clamp(max=len(radii) - 1)
        angle = 2 * math.pi * (len(radii) * u - ring)
        return _circle(u.new_tensor(radii)[ring], angle), u.new_tensor(values)[ring]

    return clean


_SPIRAL_JITTER = 0.5 / 3


def _two_spirals(u: Tensor) -> Labelled:
    second = u >= 0.5
    n = torch.sqrt(2 * u - second.double()) * 3 * math.pi
    arm = n[:, None] * torch.stack([-n.cos(), n.sin()], -1) / 3 + _SPIRAL_JITTER / 2
    return torch.where(second[:, None], -arm, arm), (1 - n / 10).clamp(0, 1)


def _spirals() -> ToySet:
    def draw(n: int, g: torch.Generator) -> Labelled:
        points, reward = _two_spirals(_uniform(n, g))
        jitter = torch.rand(n, 2, generator=g, dtype=torch.float64) - 0.5
        return points + _SPIRAL_JITTER * jitter + 0.1 * _normal(n, g), reward

    # The uniform jitter enters the bandwidth through its variance: within 0.5 % of the density.
    bandwidth = math.hypot(0.1, _SPIRAL_JITTER / math.sqrt(12))
    return ToySet(
        draw,
        density=lambda: empirical(_two_spirals(_midpoints(480))[0], bandwidth),
        reward=lambda: rewards.nearest(*_two_spirals(_midpoints(1920))),
        window=4.5,
        bandwidth=bandwidth,
    )


_ARMS, _ALONG, _ACROSS, _NODE = 5, 0.3, 0.1, 0.03


def _pinwheel_frame(along: Tensor, arm: Tensor) -> Tensor:
    """Twice the rotation (n, 2, 2) that carries features to an arm, by 2 pi k/5 + exp(f)/4."""
    angle = 2 * math.pi * arm / _ARMS + 0.25 * along.exp()
    cos, sin = angle.cos(), angle.sin()
    return 2 * torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def _pinwheel_points(n: int, g: torch.Generator) -> Labelled:
    arm = (_ARMS * _uniform(n, g)).long().clamp(max=_ARMS - 1)
    feature = torch.tensor([_ALONG, _ACROSS], dtype=torch.float64) * _normal(n, g)
    feature[:, 0] += 1
    points = (_pinwheel_frame(feature[:, 0], arm) @ feature[:, :, None])[..., 0]
    return points, arm.double() / (_ARMS - 1)


def _pinwheel_nodes() -> tuple[Tensor, Tensor, Tensor]:
    """Position along the arm, arm and weight; the node's own width is taken off the spread."""
    std = math.sqrt(_ALONG**2 - _NODE**2)
    z = torch.arange(-5.0, 5.0, _NODE / std, dtype=torch.float64)
    along, arm = torch.meshgrid(1 + std * z, torch.arange(_ARMS).double(), indexing="ij")
    weight = torch.softmax(-0.5 * z.square(), 0)[:, None].expand_as(arm) / _ARMS
    return along.flatten(), arm.flatten(), weight.flatten()


def _pinwheel_density() -> GaussianMixture:
    along, arm, weight = _pinwheel_nodes()
    frame = _pinwheel_frame(along, arm)
    # A node is wide along the tangent of its bent arm: d(angle)/d(along) = exp(along)/4.
    bend = (0.25 * along * along.exp())[:, None]
    tangent = frame[..., 0] + bend * frame[..., 1]
    columns = torch.stack([_NODE * tangent, _ACROSS * frame[..., 1]], -1)
    means = frame[..., 0] * along[:, None]
    return GaussianMixture(means, weights=weight, covariances=columns @ columns.mT)


def _pinwheel_reward() -> QFunction:
    along, arm, _ = _pinwheel_nodes()
    points = _pinwheel_frame(along, arm)[..., 0] * along[:, None]
    return rewards.nearest(points, arm / (_ARMS - 1))


def _mixture_points(
    law: GaussianMixture, n: int, g: torch.Generator, balanced: bool
) -> tuple[Tensor, Tensor]:
    # DTQL and Diffusion-QL put equally many points into every mode.
    u = _spread_evenly(n, g) if balanced else _uniform(n, g)
    pick = torch.searchsorted(law.weights.cumsum(0), u).clamp(max=len(law.means) - 1)
    assert law.stds is not None
    return law.means[pick] + law.stds[pick, None] * _normal(n, g), pick


def _mixture_set(
    mixture: Callable[[], GaussianMixture],
    reward: Callable[[], QFunction],
    window: float,
    balanced: bool = False,
) -> ToySet:
    """A Gaussian mixture whose reward is a function of the point."""

    def draw(n: int, g: torch.Generator) -> Labelled:
        points, _ = _mixture_points(mixture(), n, g, balanced)
        return points, reward()(points)

    return ToySet(draw, mixture, reward, window)


def _eight_gaussians() -> GaussianMixture:
    angle = math.pi / 2 + math.pi / 4 * torch.arange(8, dtype=torch.float64)
    return GaussianMixture(_circle(torch.full_like(angle, 4 / 1.414), angle), 0.5 / 1.414)


def _eight_points(n: int, g: torch.Generator) -> Labelled:
    points, pick = _mixture_points(_eight_gaussians(), n, g, balanced=False)
    return points, pick.double() / 7


def _twenty_five_gaussians() -> GaussianMixture:
    axis = torch.linspace(-10, 10, 5, dtype=torch.float64)
    return GaussianMixture(torch.cartesian_prod(axis, axis), 0.3)


# Left-bottom, left-top, right-bottom, right-top.
_CORNER_REWARDS = torch.tensor([0.0, 3.0, 5.0, 1.5], dtype=torch.float64)


def _four_corners() -> GaussianMixture:
    axis = torch.tensor([-0.8, 0.8], dtype=torch.float64)
    return GaussianMixture(torch.cartesian_prod(axis, axis), 0.05)


def _corner_points(n: int, g: torch.Generator) -> Labelled:
    points, pick = _mixture_points(_four_corners(), n, g, balanced=True)
    noise = torch.randn(n, generator=g, dtype=torch.float64)
    return points.clamp(-1, 1), _CORNER_REWARDS[pick] + 0.5 * noise


def _sdac_mixture() -> GaussianMixture:
    means = torch.tensor([[3.0, 3.0], [-3.0, -3.0]], dtype=torch.float64)
    return GaussianMixture(means, 1.0, torch.tensor([0.8, 0.2], dtype=torch.float64))


def _gmm40() -> GaussianMixture:
    # FAB seeds the global generator with 0; a private one gives the same means.
    u = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    return GaussianMixture(((u - 0.5) * 80).double(), math.log1p(math.e))


def _checkerboard_points(n: int, g: torch.Generator) -> Labelled:
    points = Checkerboard().sample(n, g).double()
    return points, rewards.stripes(points)


def _two_moon_points(n: int, g: torch.Generator) -> Labelled:
    points = TwoMoonEnergy().sample(n, g).double()
    return points, TwoMoonEnergy().log_prob_unnormalised(points)


SETS = {
    "8gaussians": ToySet(
        _eight_points,
        _eight_gaussians,
        lambda: rewards.nearest(_eight_gaussians().means, torch.arange(8, dtype=torch.float64) / 7),
        window=4.5,
    ),
    "swissroll": _curve_set(_swiss_roll(1 / 5), 1 / 5, 256, 4.5, rewards.squared_radius),
    "two_moons": _curve_set(_two_moons, 0.2, 200, 4.5),
    "rings": _curve_set(
        _concentric((3.0, 2.25, 1.5, 0.75), (0.667, 0.333, 1.0, 0.0)), 0.08, 960, 4.5
    ),
    "checkerboard": ToySet(_checkerboard_points, Checkerboard, lambda: rewards.stripes, window=4.5),
    "2spirals": _spirals(),
    "pinwheel": ToySet(_pinwheel_points, _pinwheel_density, _pinwheel_reward, 4.5, 2 * _NODE),
    "circles": _curve_set(_concentric((3.0, 1.5), (0.0, 1.0)), 0.24, 200, 4.5),
    "25gaussians": _mixture_set(_twenty_five_gaussians, lambda: rewards.far, 12.0, True),
    "dtql_swissroll": _curve_set(_swiss_roll(1.0), 0.1, 1200, 15.0, rewards.far),
    "four_corners": ToySet(
        _corner_points,
        _four_corners,
        lambda: rewards.nearest(_four_corners().means, _CORNER_REWARDS),
        window=1.0,
    ),
    "sdac_mixture": _mixture_set(_sdac_mixture, lambda: _sdac_mixture().log_prob, 9.0),
    "two_moon_energy": ToySet(
        _two_moon_points,
        TwoMoonEnergy,
        lambda: TwoMoonEnergy().log_prob_unnormalised,
        window=4.0,
    ),
    "gmm40": _mixture_set(_gmm40, lambda: _gmm40().log_prob, 56.0),
}
