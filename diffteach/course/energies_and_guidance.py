"""Tasks of lesson 08, against "the slope of Q at the noisy action is the guidance"."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from diffteach import toys
from diffteach.course.answers import Slip, called, expect_number, expect_rows, rows
from diffteach.course.tasks import Task
from diffteach.schedule import VP, perturb, x0_from_eps
from diffteach.toys import GaussianMixture
from diffteach.types import Denoise, QFunction, Schedule

_SCHEDULE = VP()
_ALPHA, _SIGMA, _STD = 0.8, 0.6, 0.5
_SLOPES = "q, denoise, schedule, x_t, t, beta"
_POINTS = "points, values, schedule, x_t, t, beta"
_SETS, _BETAS, _KNOWN, _FRESH = ("8gaussians", "two_moons"), (3.0, 10.0), 2000, 400
_ALLOWED = 0.15


def _factor(var: float = _STD**2, gain: float = _ALPHA, signal: float = _ALPHA**2) -> float:
    """D_t/(alpha s^2): how much too long beta b is on one Gaussian."""
    return (signal * var + _SIGMA**2) / (gain * var)


def _judge_factor(answer: Any) -> None:
    right = _factor()
    slips = (
        (1 / right, "Upside down: that is how long the exact one is if the naive one is 1."),
        (_factor(gain=1.0), "The denoised point's slope is α s²/D_t: you forgot its α."),
        (_factor(gain=_ALPHA**2), "The denoised point's slope has one factor α, not two."),
        (_factor(var=_STD), "The law holds the variance s², and you took s."),
        (_factor(signal=1.0), "The signal arrives as αa: its variance is α²s²."),
        (_factor(signal=_ALPHA), "The signal arrives as αa: its variance is α²s²."),
        (1 / _ALPHA, "That is so for s = 1, where D_t = 1; here s is smaller."),
        (right * _ALPHA * _STD**2, "That is D_t, the variance of x_t; what is it divided by?"),
        (1.0, "Then naive guidance would be exact: that is so only where there is no noise."),
        (_SIGMA**2 / (_ALPHA * _STD**2), "x_t varies by its noise *and* by its signal."),
        (math.sqrt(right), "No root: both are lengths already."),
    )
    otherwise = (
        "The energy is E_t = βb·E[a|x_t] + a number, and E[a|x_t] of one Gaussian is linear in "
        "x_t. Divide the slope βb by that of E_t."
    )
    expect_number(answer, right, slips, otherwise)


def _slope(value: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), at, retain_graph=True)[0].double()


def _judge_through(answer: Any) -> None:
    law = toys.density("8gaussians")
    assert isinstance(law, GaussianMixture)
    generator = torch.Generator().manual_seed(2)
    x_t = 2.5 * torch.randn(64, 2, generator=generator)
    t = 0.1 + 0.8 * torch.rand(64, generator=generator)
    aim, beta = torch.tensor([1.0, -1.6]), 3.0
    denoise: Denoise = law.denoiser(_SCHEDULE)

    def q(act: Tensor) -> Tensor:
        return -(act - aim).square().sum(-1) / 8

    value = called(answer, q, denoise, _SCHEDULE, x_t, t, beta, takes=_SLOPES)
    got = rows(value, tuple(x_t.shape)).detach()
    forms = _forms(q, denoise, _SCHEDULE, x_t, t)
    exact = _tilted_score(law, 2 * aim * beta / 8, 2 * beta / 8, x_t, t)
    right = beta * forms["through"]
    slips = (
        (beta * forms["noisy"], "That is the slope at the noisy point; denoise it first."),
        (
            beta * forms["clean"],
            "That is the slope of Q *at* the denoised point. The denoised point moves with x_t: "
            "differentiate with respect to x_t, through the denoiser.",
        ),
        (forms["through"], "β is missing."),
        (beta**2 * forms["through"], "β enters once."),
        (beta * forms["unscaled"], "x_t − σε̂ is α times the clean point: divide by α."),
        (beta * forms["held"], "The predicted noise depends on x_t as well: do not detach it."),
        (exact, "That is the exact guidance: it breaks nothing."),
    )
    otherwise = (
        "Let gradients flow into x_t (`x = x_t.detach().requires_grad_()`), denoise "
        "(`x0_from_eps(schedule, x, t, denoise(x, t))`), ask q there, and return β times the "
        "gradient of the sum with respect to x."
    )
    expect_rows(got, right, slips, otherwise, "Your guidance", 2e-3)


def _forms(
    q: QFunction, denoise: Denoise, schedule: Schedule, x_t: Tensor, t: Tensor
) -> dict[str, Tensor]:
    """Gradients of Q at x_t, at the denoised point, through it, and two slips on the way."""
    x = x_t.clone().requires_grad_()
    eps = denoise(x, t)
    clean = x0_from_eps(schedule, x, t, eps)
    fixed = clean.detach().requires_grad_()
    return {
        "noisy": _slope(q(x), x),
        "clean": _slope(q(fixed), fixed),
        "through": _slope(q(clean), x),
        "unscaled": _slope(q(x - schedule.sigma(t)[:, None] * eps), x),
        "held": _slope(q(x0_from_eps(schedule, x, t, eps.detach())), x),
    }


def _tilted_score(
    law: GaussianMixture, slope: Tensor, curvature: float, x_t: Tensor, t: Tensor
) -> Tensor:
    scales = _SCHEDULE.alpha(t), _SCHEDULE.sigma(t)
    target = law.tilted(slope, curvature)
    return (target.score_at(x_t, *scales) - law.score_at(x_t, *scales)).double()


@lru_cache(maxsize=4)
def _case(name: str, beta: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Points, labels, and noisy points with their times and exact guidance."""
    points, values = toys.load(name, _KNOWN, 5)
    law = toys.density(name)
    assert isinstance(law, GaussianMixture)
    worth = beta * toys.reward_fn(name)(law.means)
    target = GaussianMixture(law.means, law.stds, (law.log_weights + worth).softmax(0))
    generator = torch.Generator().manual_seed(6)
    t = 0.1 + 0.8 * (torch.randperm(_FRESH, generator=generator) + 0.5) / _FRESH
    eps = torch.randn(_FRESH, 2, generator=generator)
    x_t = perturb(_SCHEDULE, toys.load(name, _FRESH, 7)[0], t, eps)
    scales = _SCHEDULE.alpha(t), _SCHEDULE.sigma(t)
    exact = (target.score_at(x_t, *scales) - law.score_at(x_t, *scales)).double()
    return points, values, x_t, t, exact


def _judge_contrast(answer: Any) -> None:
    for name, beta in zip(_SETS, _BETAS, strict=True):
        points, values, x_t, t, exact = _case(name, beta)
        value = called(answer, points, values, _SCHEDULE, x_t, t, beta, takes=_POINTS)
        got = rows(value, tuple(x_t.shape)).detach()
        sigma = _SCHEDULE.sigma(t)[:, None].double()

        def size(push: Tensor, sigma: Tensor = sigma) -> float:
            return float((sigma * push).square().sum(-1).mean().sqrt())

        error = size(got - exact) / size(exact)
        if error > _ALLOWED:
            told = f"On {name} at β = {beta:g} you miss the exact guidance by {error:.0%} of it; "
            told += f"at most {_ALLOWED:.0%} is asked. "
            wrong = _slips_of(points, values, x_t, t, beta)
            hints = (hint for push, hint in wrong if size(got - push) < 0.02 * size(push))
            raise Slip(told + next(hints, _GENERAL))


_GENERAL = (
    "Compare two denoised points: the average of the points, each weighted by how well it explains "
    "x_t, and the same with exp(βQ) as a further weight. The guidance is α/σ² times the difference."
)


def _slips_of(
    points: Tensor, values: Tensor, x_t: Tensor, t: Tensor, beta: float
) -> tuple[tuple[Tensor, str], ...]:
    alpha, sigma = (f(t)[:, None].double() for f in (_SCHEDULE.alpha, _SCHEDULE.sigma))
    clean, q = points.double(), values.double()
    gap = (x_t.double()[:, None] - alpha[:, None] * clean).square().sum(-1)
    seen = -gap / (2 * sigma**2)
    plain = torch.softmax(seen, 1)
    mean, worth = plain @ clean, plain @ q[:, None]
    tilted = torch.softmax(seen + beta * q, 1) @ clean
    gain = alpha / sigma**2
    first = beta * gain * ((plain * q) @ clean - worth * mean)
    overall = torch.softmax(beta * q, 0) @ clean
    unscaled = -(x_t.double()[:, None] - clean).square().sum(-1) / (2 * sigma**2)
    two = [torch.softmax(unscaled + b * q, 1) @ clean for b in (beta, 0.0)]
    linear = plain * q / worth.clamp(min=1e-9)
    return (
        (first, "That is the gradient of βE[Q|x_t], right for a small β only: the energy is the "
         "log of the mean of exp(βQ), not the mean of βQ."),
        (tilted - mean, "That is how far the denoised point moves; for the guidance multiply by "
         "α/σ²."),
        (gain * tilted, "That is the tilted part alone: subtract the same without Q."),
        (gain * (overall - mean), "You weigh every point by exp(βQ) alone: those that could not "
         "have become this x_t must not count."),
        (gain * (two[0] - two[1]), "A clean point a arrives at αa, not at a."),
        (gain * (linear @ clean - mean), "The further weight is exp(βQ), not Q."),
        (-gain * (tilted - mean), "The sign is wrong: guidance pushes *towards* the tilted mean."),
        (sigma * gain * (tilted - mean), "That is the change of the predicted noise; the score's "
         "is 1/σ of it."),
    )  # fmt: skip


TASKS = (
    Task(
        id="08.1",
        kind="compute",
        text=(
            "The behaviour is one Gaussian N(m, s²I) with s = 0.5, and Q(a) = b·a. At the noise "
            "level α = 0.8, σ = 0.6 a sampler adds β∇Q(x_t) = βb to the score instead of the exact "
            "∇E_t. By what factor is that too long? (One number, right to 1 %.)"
        ),
        starter="factor = ...",
        judge=_judge_factor,
        right="It grows without bound as the signal fades: where x_t knows nothing of the action.",
    ),
    Task(
        id="08.2",
        kind="break it",
        text=(
            "The popular repair. Guide by β times the gradient of Q at the *denoised* point, taken "
            "with respect to x_t, through the denoiser: (B, 2) from noisy points x_t (B, 2), times "
            "t (B,) and a number `beta`; `q` maps (B, 2) to (B,), and `denoise(x, t)` is the exact "
            "predicted noise, of which `x0_from_eps(schedule, x, t, eps)` makes a clean point. "
            "Hand it to `explorable.try_`: on one Gaussian with the linear Q it is exact. What "
            "does it do on eight, and with the step?"
        ),
        starter="def through(q, denoise, schedule, x_t, t, beta):\n    ...",
        judge=_judge_through,
        right="Exact for a linear Q on one Gaussian; elsewhere the first order in β, at best.",
    ),
    Task(
        id="08.3",
        kind="design",
        text=(
            "CEP's energies are labels: Q is known at 2,000 `points` (2000, 2) of the behaviour "
            "only, as `values` (2000,), and has no slope anywhere. Design the guidance (B, 2) from "
            "these alone. On noisy points with t in [0.1, 0.9] it must come within 15 % (RMS, of "
            "σ times it) of the exact one, on eight Gaussians at β = 3 and on two moons at β = 10."
        ),
        starter="def contrast(points, values, schedule, x_t, t, beta):\n    ...",
        judge=_judge_contrast,
        right="No slope of Q was asked: that is what the contrastive loss teaches a network.",
    ),
)
