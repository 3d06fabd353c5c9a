"""Tasks of lesson 02, against "the denoiser returns the clean point"."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from diffteach import toys
from diffteach.course.answers import Slip, Unanswered, called, expect_number, rows, same
from diffteach.course.tasks import Task
from diffteach.schedule import VP, perturb, x0_from_eps

_ALPHA, _SIGMA, _X = 0.8, 0.6, 0.3
_AVERAGE = "The optimal denoiser returns the average of the clean points that fit, E[a | x]. "


def _judge_two_points(answer: Any) -> None:
    ratio = _ALPHA * _X / _SIGMA**2
    right = math.tanh(ratio)
    slips = (
        (1.0, "That is one of the clean points. " + _AVERAGE + "Both points fit a little."),
        (0.0, "That is the average before x is seen; weigh the two points by how well they fit x."),
        (_X, "That is the noisy point itself. " + _AVERAGE),
        (_X / _ALPHA, "That only undoes the scaling by α. " + _AVERAGE),
        (math.tanh(_X / _SIGMA**2), "You forgot α: the clean point a arrives at αa, not at a."),
        (math.tanh(_ALPHA * _X / _SIGMA), "A Gaussian's exponent holds the variance σ², not σ."),
        (math.tanh(2 * ratio), "Twice too much in the exponent: a Gaussian's has a ½."),
        (math.tanh(ratio / 2), "Half too little in the exponent: the cross term appears twice."),
        (
            1 / (1 + math.exp(-2 * ratio)),
            "That is the probability of +1; the average of ±1 is asked.",
        ),
        (
            1 / (1 + math.exp(2 * ratio)),
            "That is the probability of −1; the average of ±1 is asked.",
        ),
        (_ALPHA * right, "That is α times the denoised point; undo the scaling."),
        (
            (_X - _ALPHA * right) / _SIGMA,
            "That is the predicted noise; the denoised point is asked.",
        ),
    )
    otherwise = (
        "Weigh the clean points +1 and −1 by the Gaussian density of x around α and −α, "
        "normalise the two weights, and average."
    )
    expect_number(answer, right, slips, otherwise)


def _off_origin() -> toys.GaussianMixture:
    # Centred data would forgive a lost α: at large noise the denoised point is then near 0 anyway.
    return toys.GaussianMixture(torch.tensor([[2.0, 1.0], [-1.0, 2.0]]), torch.tensor([0.3, 0.5]))


def _noisy(schedule: VP, times: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    t = torch.tensor(times).repeat_interleave(40)
    clean = _off_origin().sample(len(t), generator)
    eps = torch.randn(len(t), 2, generator=generator)
    return perturb(schedule, clean, t, eps), t


def _error(function: Any, times: tuple[float, ...]) -> tuple[float, bool]:
    """Root mean square distance from the right denoised points, and whether all are equal."""
    schedule = VP()
    denoise = _off_origin().denoiser(schedule)
    x_t, t = _noisy(schedule, times)
    eps = denoise(x_t, t)
    right = x0_from_eps(schedule, x_t, t, eps)
    value = called(function, schedule, x_t, t, eps, takes="schedule, x_t, t, eps")
    got = rows(value, tuple(x_t.shape)).detach()
    return float((got - right).square().sum(-1).mean().sqrt()), same(got, right, 1e-4)


def _judge_broken_tweedie(answer: Any) -> None:
    small, unbroken = _error(answer, (0.02, 0.05, 0.1))
    large, _ = _error(answer, (0.85, 0.92, 0.98))
    if unbroken and large < 0.1:
        raise Slip("This is Tweedie's formula, unbroken: leave one factor out of it.")
    if small < 0.1 <= large:
        raise Slip(
            "It is the other way round: right at small noise and wrong at large. Which of the two "
            "factors goes to 1 when the noise grows?"
        )
    if large >= 0.1:
        raise Slip(
            f"At large noise your points are {large:.2g} away from the right ones. Keep the sign "
            "and the division by α, and leave out only what is 1 there."
        )
    if small < 0.3:
        raise Slip(
            f"At small noise your points are off by only {small:.2g}: this hardly breaks anything."
        )


def _pair(answer: Any, t: Tensor) -> tuple[Tensor, Tensor]:
    value = called(answer, t, takes="t")
    if isinstance(value, (tuple, list)) and any(part is None or part is ... for part in value):
        raise Unanswered
    if isinstance(value, Tensor) or not hasattr(value, "__len__") or len(value) != 2:
        raise Slip("Return the two tensors `alpha, sigma`, each with the shape of t.")
    alpha, sigma = (rows(part, tuple(t.shape)).detach() for part in value)
    if not bool(((alpha > 0) & (sigma > 0)).all()):
        raise Slip("α and σ must both be positive for every t in [0, 1].")
    return alpha, sigma


def _judge_log_snr(answer: Any) -> None:
    t = torch.linspace(0, 1, 21)
    alpha, sigma = _pair(answer, t)
    total = alpha.square() + sigma.square()
    log_snr = 2 * (alpha.log() - sigma.log())
    want = 6 - 12 * t.double()
    if not same(total, torch.ones_like(total)):
        if same(alpha + sigma, torch.ones_like(total)):
            raise Slip("Your α and σ sum to 1; variance-preserving means that their squares do.")
        raise Slip("Not variance-preserving: α² + σ² must be 1 for every t.")
    if same(log_snr, want, 5e-3):
        return
    if same(log_snr, -want, 5e-3):
        raise Slip("Time runs backwards: t = 0 is the clean end, where α is close to 1.")
    if same(log_snr, 2 * want, 5e-3):
        raise Slip("Your log(α/σ) falls from 6 to −6; the signal-to-noise ratio compares squares.")
    if same(log_snr, want / 2, 5e-3):
        raise Slip("Your log-SNR falls from 3 to −3: a square or a square root is one too many.")
    steps = log_snr.diff()
    if float(steps.std()) < 1e-2 * max(float(steps.abs().mean()), 1e-3):
        ends = f"{float(log_snr[0]):.3g} to {float(log_snr[-1]):.3g}"
        raise Slip(f"A straight line, but from {ends}; wanted is 6 to −6.")
    raise Slip(
        f"Your log-SNR is no straight line from 6 to −6: it starts at {float(log_snr[0]):.3g}, "
        f"passes {float(log_snr[10]):.3g} half way and ends at {float(log_snr[-1]):.3g}. Write α² "
        "and σ² = 1 − α² in terms of their ratio."
    )


TASKS = (
    Task(
        id="02.1",
        kind="compute",
        text=(
            "Half of the data sit at a = +1 and half at a = −1, on a line. With α = 0.8 and "
            "σ = 0.6 you see the noisy point x = αa + σε = 0.3. Which point does the optimal "
            "denoiser return? (One number, right to 1 %.)"
        ),
        starter="denoised = ...",
        judge=_judge_two_points,
        right="No data point is there: the optimal denoiser returns an average, not a clean point.",
    ),
    Task(
        id="02.2",
        kind="break it",
        text=(
            "Tweedie's formula turns the predicted noise ε̂ into the denoised point: "
            "â = (x_t − σ ε̂)/α. Break it by leaving out **one** factor, so that the result is "
            "still right where the noise is large (t ≥ 0.85) and wrong where it is small "
            "(t ≤ 0.1). `x_t` and `eps` = ε̂ have shape (B, 2); `schedule.alpha(t)` and "
            "`schedule.sigma(t)` have shape (B,), so give them a last axis with `[:, None]`. "
            "Return points (B, 2). (The check's data are not centred.) "
            "Hand it to `explorable.try_` and slide t; then lose each of the "
            "other factors, and say before you look where that hurts."
        ),
        starter="def broken(schedule, x_t, t, eps):\n    ...",
        judge=_judge_broken_tweedie,
        right="Where σ ≈ 1 nobody sees that it is gone: a test at large noise alone finds nothing.",
    ),
    Task(
        id="02.3",
        kind="design",
        text=(
            "Design a variance-preserving schedule (α² + σ² = 1) that spends equal time on every "
            "level of ignorance: its log signal-to-noise ratio log(α²/σ²) falls in a straight line "
            "from 6 at t = 0 to −6 at t = 1. `t` is a tensor (B,); return `alpha, sigma`, both "
            "(B,). (`torch.sigmoid` helps.)"
        ),
        starter="def scales(t):\n    ...",
        judge=_judge_log_snr,
        right="Signal and noise are equal half way, and every stretch of time counts alike.",
    ),
)
