"""Guidance of a noisy point in closed form, as guidance.js has it: exact, naive, and two between.

The behaviour is K equally heavy Gaussians of one width. An energy Q is four numbers (kind, p, q,
c): kind 0 is px + qy, kind 1 is -c/2 |a - (p, q)|^2, kind 2 is 1/(1 + exp(-px - qy)).
"""

from __future__ import annotations

import numpy as np

from diffteach.explore.lessons import parts
from diffteach.explore.lessons.one_point_moves import turn
from diffteach.explore.scene import Operation

Array = np.ndarray
Number = float | int
Value = float | int | np.ndarray
_SOURCE = parts.source("vectors.js") + parts.source("one_point.js") + parts.source("guidance.js")
_Z = np.linspace(-6.0, 6.0, 33)  # quadrature of a standard normal; the browser has the same


def value(points: Array, energy: Array) -> Array:
    """Q (N,) of points (N, 2)."""
    kind, *aim, curvature = energy
    if kind == 1:
        return -curvature / 2 * np.square(points - np.array(aim)).sum(-1)
    along = points @ np.array(aim)
    return along if kind == 0 else 1 / (1 + np.exp(-along))


def slope(points: Array, energy: Array) -> Array:
    """Gradient of Q (N, 2)."""
    kind, *aim, curvature = energy
    if kind == 1:
        return -curvature * (points - np.array(aim))
    rise = np.ones(points.shape[:1])
    if kind == 2:
        q = value(points, energy)
        rise = q * (1 - q)
    return rise[:, None] * np.array(aim)


def _column(number: Value) -> Array:
    return np.reshape(number, (-1, 1))


def _posterior(
    points: Array, alpha: Value, sigma: Value, centres: Array, std: Value
) -> tuple[Array, Array, Array]:
    """Of the clean point: log shares (N, K), means (N, K, 2) and variance of its components."""
    a, s = _column(alpha), _column(sigma)
    total = a**2 * std**2 + s**2
    gap = points[:, None] - a[..., None] * centres
    middle = centres + (a * std**2 / total)[..., None] * gap
    return -np.square(gap).sum(-1) / (2 * total), middle, std**2 * s**2 / total


def _shifted(middle: Array, var: Array, energy: Array, beta: Value) -> tuple[Array, Array]:
    """log E[exp(beta Q)] (N, K) of N(middle, var I), and its mean after that tilt (N, K, 2)."""
    if np.ndim(beta) == 0 and beta == 0:
        return np.zeros(middle.shape[:2]), middle
    kind, *aim, curvature = energy
    b, toward = _column(beta), np.array(aim)
    if kind == 0:
        gain = b * (middle @ toward) + b**2 * var * (toward @ toward) / 2
        return gain, middle + (b * var)[..., None] * toward
    if kind == 1:
        stiff = b * curvature
        shrink = 1 + stiff * var
        gain = -stiff / (2 * shrink) * np.square(middle - toward).sum(-1)
        return gain, (middle + (stiff * var)[..., None] * toward) / shrink[..., None]
    # Q depends on one direction only: one quadrature along it.
    length = np.sqrt(toward @ toward)
    along = (middle @ toward)[..., None] + (length * np.sqrt(var))[..., None] * _Z
    log_w = b[..., None] / (1 + np.exp(-along)) - _Z**2 / 2
    top = log_w.max(-1)
    w = np.exp(log_w - top[..., None])
    mean = (w @ _Z) / w.sum(-1) * np.sqrt(var)
    return top + np.log(w.sum(-1)), middle + mean[..., None] * toward / length


def tilted(
    points: Array,
    alpha: Value,
    sigma: Value,
    centres: Array,
    std: Value,
    energy: Array,
    beta: Value,
) -> Array:
    """Denoised points (N, 2) of p exp(beta Q): the posterior mean; at beta 0 the behaviour's."""
    log_share, middle, var = _posterior(points, alpha, sigma, centres, std)
    gain, mean = _shifted(middle, var, energy, beta)
    weight = np.exp(log_share + gain - (log_share + gain).max(-1, keepdims=True))
    return np.einsum("nk,nkd->nd", weight / weight.sum(-1, keepdims=True), mean)


def slopes(
    points: Array,
    alpha: Value,
    sigma: Value,
    centres: Array,
    std: Value,
    energy: Array,
    beta: Value,
) -> Array:
    """Slopes (3, N, 2) of beta Q: at x_t, at the denoised point, there as a function of x_t.

    The slope of the denoised point is alpha/sigma^2 Cov[x_0 | x_t].
    """
    a, s, b = _column(alpha), _column(sigma), _column(beta)
    log_share, middle, var = _posterior(points, alpha, sigma, centres, std)
    share = np.exp(log_share - log_share.max(-1, keepdims=True))
    share /= share.sum(-1, keepdims=True)
    clean = np.einsum("nk,nkd->nd", share, middle)
    there, gap = slope(clean, energy), middle - clean[:, None]
    across = np.einsum("nkd,nd->nk", gap, there)
    spread = var * there + np.einsum("nk,nkd->nd", share * across, gap)
    return np.stack([b * slope(points, energy), b * there, b * a / s**2 * spread])


def guides(
    points: Array,
    alpha: Value,
    sigma: Value,
    centres: Array,
    std: Value,
    energy: Array,
    beta: Value,
) -> Array:
    """What is added to the score (4, N, 2): the gradient of log E[exp(beta Q(x_0)) | x_t], slopes.

    alpha, sigma and beta are numbers or one per row. The first is alpha/sigma^2 times the move of
    the denoised point (CEP Sec. 3).
    """
    settings = (points, alpha, sigma, centres, std, energy)
    move = tilted(*settings, beta) - tilted(*settings, 0.0)
    exact = _column(alpha) / _column(sigma) ** 2 * move
    return np.concatenate([exact[None], slopes(*settings, beta)])


def landscape(
    alpha: Number, sigma: Number, centres: Array, std: Value, size: Number, box: Array
) -> Array:
    """log p_t (H, W) of the noised behaviour, up to a constant."""
    total = alpha**2 * std**2 + sigma**2
    gap = np.square(_nodes(size, box)[:, None] - alpha * centres).sum(-1)
    top = gap.min(-1)
    log_p = np.log(np.exp((top[:, None] - gap) / (2 * total)).sum(-1)) - top / (2 * total)
    return np.asarray(log_p.reshape(int(size), int(size)))


def praise(energy: Array, size: Number, box: Array) -> Array:
    """Q on the grid (H, W)."""
    return value(_nodes(size, box), energy).reshape(int(size), int(size))


def _nodes(size: Number, box: Array) -> Array:
    x0, x1, y0, y1 = box
    x, y = np.linspace(x0, x1, int(size)), np.linspace(y0, y1, int(size))
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


FUNCTIONS = (
    *(
        Operation(function.__name__, function, _SOURCE)
        for function in (tilted, guides, landscape, praise, turn)
    ),
    Operation("vectorsAt", parts.vectors_at, _SOURCE),
    Operation("listed", np.atleast_2d, _SOURCE),
)
