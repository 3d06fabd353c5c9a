"""Operations of lesson 09, as sampling_without_data.js has them: particles, weights, quadrature.

The plane's coordinate is z = x_t/alpha with noise s = sigma/alpha, in which a clean point drawn
backwards is z - s eps.
"""

from __future__ import annotations

import numpy as np

from diffteach.explore.lessons import parts
from diffteach.explore.scene import Operation

Array = np.ndarray
Value = float | int | Array
_SOURCE = parts.source("vectors.js") + parts.source("sampling_without_data.js")
_COARSE, _FINE, _CROWD = 65, 101, 1024


def energies(x: Array, means: Array, stds: Array, logs: Array, moons: Value) -> Array:
    """Log-density (N,) of a mixture at points (N, 2), or, if `moons`, of the two crescents."""
    if moons:
        ring = (np.hypot(x[:, 0], x[:, 1]) - 2) / 0.2
        left, right = (-0.5 * ((x[:, 0] + side) / 0.3) ** 2 for side in (2, -2))
        return np.asarray(logs[0] - ring**2 / 2 + np.logaddexp(left, right))
    gap = ((x[:, None] - means) ** 2).sum(-1)
    terms = logs - gap / (2 * stds**2)
    best = terms.max(1)
    return np.asarray(best + np.log(np.exp(terms - best[:, None]).sum(1)))


def cloud(eps: Array, probe: Array, noise: Value, count: Value) -> Array:
    """The first `count` clean points drawn backwards from the probe."""
    return np.asarray(probe - noise * eps[: int(count)])


def fourfold(eps: Array) -> Array:
    """Noise (4N, 2): each turned by 0, 90, 180 and 270 degrees, so that its mean is zero."""
    x, y = eps.T
    turned = ((x, y), (-y, x), (-x, -y), (y, -x))
    return np.concatenate([np.stack(pair, -1) for pair in turned])


def shares(energy: Array, temperature: Value) -> Array:
    """Weights exp(E/temperature) that sum to 1."""
    w = np.exp((energy - energy.max()) / temperature)
    return np.asarray(w / w.sum())


def weighed(weight: Array, x: Array) -> Array:
    """Weighted mean (2,) of points."""
    return weight @ x


def kept(x: Array, value: Array, low: Value, high: Value) -> Array:
    """Points (N, 2) whose value lies in [low, high), the others as NaN."""
    return np.where(((value >= low) & (value < high))[:, None], x, np.nan)


def ess(weight: Array) -> float:
    """Effective number of weights that sum to 1."""
    return float(1 / (weight**2).sum())


def log_mean(energy: Array, temperature: Value) -> float:
    """Log of the mean of exp(E/temperature): the row's weight."""
    e = energy / temperature
    return float(e.max() + np.log(np.exp(e - e.max()).mean()))


def grouped(x: Array, energy: Array, temperature: Value, count: Value) -> Array:
    """Targets (n, 2) of as many groups of `count` points as there are."""
    k = int(count)
    n = len(x) // k
    e = energy[: n * k].reshape(n, k) / temperature
    w = np.exp(e - e.max(1, keepdims=True))
    points = x[: n * k].reshape(n, k, 2)
    return np.asarray((w[..., None] * points).sum(1) / w.sum(1, keepdims=True))


def centre(x: Array) -> Array:
    """Mean (2,) of points."""
    return np.asarray(x.mean(0))


def segment(start: Array, end: Array) -> Array:
    """The straight line (2, 2) between two points."""
    return np.stack([start, end])


def misses(x: Array, energy: Array, temperature: Value, counts: Array, exact: Array) -> Array:
    """Of targets from each number of points (C,): rms distance and that of their mean, (C, 2)."""
    rows = []
    for count in counts:
        gap = grouped(x, energy, temperature, count) - exact
        rows.append([np.sqrt((gap**2).sum(-1).mean()), np.linalg.norm(gap.mean(0))])
    return np.array(rows)


def ess_over(
    eps: Array,
    probe: Array,
    temperature: Value,
    count: Value,
    levels: Array,
    means: Array,
    stds: Array,
    logs: Array,
    moons: Value,
) -> Array:
    """Mean effective number (L,) of `count` points at each noise level, over 1,024 points."""
    k, rows = int(count), []
    for s in levels:
        e = energies(cloud(eps, probe, s, _CROWD), means, stds, logs, moons).reshape(-1, k)
        w = np.exp((e - e.max(1, keepdims=True)) / temperature)
        rows.append((w.sum(1) ** 2 / (w**2).sum(1)).mean())
    return np.array(rows)


def _pass(
    xs: Array, ys: Array, probe: Array, noise: Value, temperature: Value, law: tuple[Array, ...]
) -> tuple[Array, Array, float]:
    """Mean, spread and log of the sum of exp(E/temperature) N(x; probe, noise^2 I) on a grid."""
    y, x = np.meshgrid(ys, xs, indexing="ij")
    at = np.stack([x, y], -1).reshape(-1, 2)
    log_w = energies(at, *law) / temperature
    log_w = log_w - ((at - probe) ** 2).sum(-1) / (2 * noise**2)
    w = np.exp(log_w - log_w.max())
    mean = w @ at / w.sum()
    return mean, np.sqrt(w @ (at - mean) ** 2 / w.sum()), float(log_w.max() + np.log(w.sum()))


def posterior(
    probe: Array,
    noise: Value,
    temperature: Value,
    half: Value,
    means: Array,
    stds: Array,
    logs: Array,
    moons: Value,
) -> Array:
    """E[x_0 | x_t] (2) of exp(E/temperature) and the log of E_q[exp(E/temperature)], together (3,).

    Quadrature on [-half, half]^2, and again on what the first pass found to matter.
    """
    law = (means, stds, logs, np.asarray(moons))
    axis = np.linspace(-half, half, _COARSE)
    mean, spread, _ = _pass(axis, axis, probe, noise, temperature, law)
    reach = np.maximum(7 * spread, 3 * half / _COARSE)
    xs, ys = (
        np.linspace(max(mean[k] - reach[k], -half), min(mean[k] + reach[k], half), _FINE)
        for k in (0, 1)
    )
    mean, _, log_sum = _pass(xs, ys, probe, noise, temperature, law)
    cell = (xs[1] - xs[0]) * (ys[1] - ys[0])
    return np.array([*mean, log_sum + np.log(cell / (2 * np.pi * noise**2))])


FUNCTIONS = (
    *(
        Operation(function.__name__, function, _SOURCE)
        for function in (
            energies,
            cloud,
            fourfold,
            shares,
            weighed,
            kept,
            ess,
            grouped,
            centre,
            segment,
            misses,
            posterior,
        )
    ),
    Operation("logMean", log_mean, _SOURCE),
    Operation("essOver", ess_over, _SOURCE),
    Operation("vectorsAt", parts.vectors_at, _SOURCE),
    Operation("listed", np.atleast_2d, _SOURCE),
)
