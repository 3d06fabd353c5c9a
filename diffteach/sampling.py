"""Reverse processes as generators that yield after each step, and selection among candidates.

Every sampler takes a `Denoise`, so exact and learned denoisers run in the same code. The
deterministic ones work in the coordinates z = x/alpha and s = sigma/alpha, in which the
probability-flow ODE of every schedule is dz/ds = eps_hat.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from diffteach.schedule import EDM, VP, Discrete, check_count, check_positive, x0_from_eps
from diffteach.types import Denoise, Schedule


def time_grid(
    schedule: VP | EDM | Discrete, steps: int, rho: float | int | None = None
) -> Shaped[Tensor, " steps"]:
    """Times from the noisiest level to the cleanest, evenly spaced in time^(1/rho).

    Discrete levels are spaced evenly and at most as many as there are; the default rho is 7 on EDM
    (Karras et al. 2022, Eq. 5) and 2 on VP. ValueError for steps < 1 or rho <= 0.
    """
    check_count("steps", steps)
    if isinstance(schedule, Discrete):
        last = len(schedule) - 1
        even = torch.linspace(last, 0, min(steps, last + 1), dtype=torch.float64)
        return even.round().long().to(schedule.betas.device)
    if isinstance(schedule, EDM):
        low, high, default = schedule.sigma_min, schedule.sigma_max, 7.0
    else:
        low, high, default = schedule.t_min, schedule.t_max, 2.0
    rho = default if rho is None else rho
    check_positive("rho", rho)
    power = 1 / rho
    return torch.linspace(high**power, low**power, steps).pow(1 / power).clamp(low, high)


def initial_noise(
    schedule: VP | EDM | Discrete, n: int, dim: int, generator: torch.Generator | None = None
) -> Float[Tensor, "n dim"]:
    """Starting points of the reverse process: N(0, I), times sigma_max on EDM."""
    if n < 1 or dim < 1:
        raise ValueError(f"n and dim must be at least 1, got {n} and {dim}")
    device = None if generator is None else generator.device
    noise = torch.randn(n, dim, generator=generator, device=device)
    return noise * schedule.sigma_max if isinstance(schedule, EDM) else noise


def heun(
    denoise: Denoise,
    schedule: Schedule,
    x_t: Float[Tensor, "B A"],
    times: Shaped[Tensor, " steps"],
) -> Iterator[Float[Tensor, "B A"]]:
    """Probability flow by Heun's second-order rule (Karras et al. 2022, Algorithm 1).

    Starts at times[0] and yields the points at times[1:], then the denoised points.
    """
    return _flow(denoise, schedule, x_t, times, second_order=True)


def ddim(
    denoise: Denoise,
    schedule: Schedule,
    x_t: Float[Tensor, "B A"],
    times: Shaped[Tensor, " steps"],
) -> Iterator[Float[Tensor, "B A"]]:
    """Deterministic DDIM (Song et al. 2021, Eq. 12 with sigma = 0): Euler's rule of the same flow.

    Starts at times[0] and yields the points at times[1:], then the denoised points.
    """
    return _flow(denoise, schedule, x_t, times, second_order=False)


def _flow(
    denoise: Denoise, schedule: Schedule, x_t: Tensor, times: Tensor, second_order: bool
) -> Iterator[Tensor]:
    if times.ndim != 1 or len(times) == 0:
        raise ValueError(f"times must be a non-empty vector, got shape {tuple(times.shape)}")
    times = times.to(x_t.device)
    alpha = schedule.alpha(times).to(x_t.dtype)
    s = schedule.sigma(times).to(x_t.dtype) / alpha
    if bool((s[1:] >= s[:-1]).any()):
        raise ValueError(f"times must run from noisy to clean, got {times.tolist()}")

    def slope(z: Tensor, level: int) -> Tensor:
        return denoise(alpha[level] * z, times[level].expand(len(z)))

    z = x_t / alpha[0]
    for level in range(len(times) - 1):
        step = s[level + 1] - s[level]
        here = slope(z, level)
        if second_order:
            here = (here + slope(z + step * here, level + 1)) / 2
        z = z + step * here
        yield alpha[level + 1] * z
    # The denoiser says nothing about sigma = 0, so the last stretch is Euler's in both rules.
    yield z - s[-1] * slope(z, len(times) - 1)


def ancestral(
    denoise: Denoise,
    schedule: Discrete,
    x_t: Float[Tensor, "B A"],
    generator: torch.Generator | None = None,
    limit: float | int | None = None,
) -> Iterator[Float[Tensor, "B A"]]:
    """DDPM's reverse chain from level T-1 to clean points (Ho et al. 2020, Eqs. 6-7).

    The posterior's own variance is used; with `limit` the denoised point is clamped to
    [-limit, limit] at each level. Yields after each of the T steps.
    """
    if limit is not None:
        check_positive("limit", limit)
    for k in reversed(range(len(schedule))):
        t = torch.full((len(x_t),), k, device=x_t.device)
        x0 = x0_from_eps(schedule, x_t, t, denoise(x_t, t))
        x0 = x0 if limit is None else x0.clamp(-limit, limit)
        beta, noise_bar = float(schedule.betas[k]), float(schedule.noise_bar[k])
        signal_before = float(schedule.alpha_bar[k - 1]) if k else 1.0
        noise_before = float(schedule.noise_bar[k - 1]) if k else 0.0
        pull, stay = beta * signal_before**0.5, noise_before * (1 - beta) ** 0.5
        mean = (pull * x0 + stay * x_t) / noise_bar
        x_t = mean
        if k:
            noise = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
            x_t = mean + (beta * noise_before / noise_bar) ** 0.5 * noise
        yield x_t


def draw(steps: Iterable[Tensor]) -> Tensor:
    """The last value of a sampler, computed without a graph; ValueError if it yields nothing."""
    with torch.no_grad():
        points = list(steps)
    if not points:
        raise ValueError("steps must yield at least once, got an exhausted sampler")
    return points[-1]


def sample(
    denoise: Denoise,
    schedule: VP | EDM | Discrete,
    noise: Float[Tensor, "B A"],
    steps: int = 20,
    generator: torch.Generator | None = None,
    limit: float | int | None = None,
) -> Float[Tensor, "B A"]:
    """Clean points from `initial_noise`: ancestral on Discrete, `steps` levels of Heun otherwise.

    `generator` and `limit` serve the ancestral chain; elsewhere the result is a function of `noise`
    that is clamped to [-limit, limit] once, at the end.
    """
    if isinstance(schedule, Discrete):
        return draw(ancestral(denoise, schedule, noise, generator, limit))
    points = draw(heun(denoise, schedule, noise, time_grid(schedule, steps).to(noise.device)))
    if limit is None:
        return points
    check_positive("limit", limit)
    return points.clamp(-limit, limit)


def best_of(
    candidates: Float[Tensor, "K B A"], values: Float[Tensor, "K B"]
) -> Float[Tensor, "B A"]:
    """For each row the candidate of the greatest value."""
    best = values.argmax(0)
    return candidates[best, torch.arange(len(best), device=best.device)]


def softmax_of(
    candidates: Float[Tensor, "K B A"],
    values: Float[Tensor, "K B"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B A"]:
    """For each row one candidate, drawn with probability softmax(values) over K."""
    chosen = torch.multinomial(torch.softmax(values, 0).T, 1, generator=generator).squeeze(-1)
    return candidates[chosen, torch.arange(len(chosen), device=chosen.device)]


def flow_log_prob(
    denoise: Denoise,
    schedule: VP | EDM,
    x: Float[Tensor, "B A"],
    steps: int = 80,
) -> Float[Tensor, " B"]:
    """Log density of what the probability flow makes of `initial_noise`, at given points.

    The instantaneous change of variables (Song et al. 2021, Eq. 39): with z = x/alpha and
    s = sigma/alpha, d log p(z)/ds = -div eps_hat. Heun's rule upwards on `time_grid`, the exact
    divergence by A backward passes; the error falls with the square of `steps`.
    """
    times = time_grid(schedule, steps).flip(0).to(x.device)
    alpha = schedule.alpha(times).to(x.dtype)
    s = schedule.sigma(times).to(x.dtype) / alpha

    def slope(z: Tensor, level: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            eps = denoise(alpha[level] * z, times[level].expand(len(z)))
            axes = range(z.shape[-1])
            rows = [torch.autograd.grad(eps[:, k].sum(), z, retain_graph=True)[0] for k in axes]
        return eps.detach(), torch.stack([row[:, k] for k, row in enumerate(rows)]).sum(0)

    z, change = x / alpha[0], torch.zeros(len(x), dtype=x.dtype, device=x.device)
    here, spread = slope(z, 0)
    for level in range(len(times) - 1):
        step = s[level + 1] - s[level]
        ahead, spread_ahead = slope(z + step * here, level + 1)
        z = z + step * (here + ahead) / 2
        change = change + step * (spread + spread_ahead) / 2
        here, spread = slope(z, level + 1)
    scale = schedule.sigma_max if isinstance(schedule, EDM) else float(1 / alpha[-1])
    start = -0.5 * (z / scale).square().sum(-1)
    normaliser = z.shape[-1] * (math.log(scale) + 0.5 * math.log(2 * math.pi) + alpha[0].log())
    return start - normaliser + change
