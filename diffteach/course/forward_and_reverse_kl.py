"""Tasks of lesson 04, against "reverse KL always seeks"."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from diffteach.course.answers import Slip, called, expect_number, expect_rows, rows
from diffteach.course.tasks import Task

_GOOD, _TEMPERATURE = 0.2, 0.5
_STEP, _POINTS = 0.05, 4000


def _judge_price_of_one_mode(answer: Any) -> None:
    def share(gain: float) -> float:
        return _GOOD * gain / (_GOOD * gain + 1 - _GOOD)

    tilted = share(math.exp(1 / _TEMPERATURE))
    forgot = _GOOD * math.exp(1 / _TEMPERATURE)
    slips = (
        (tilted, "That is the share of the good mode in π*; what does it cost to keep only it?"),
        (-math.log(_GOOD), "That is the price under μ: the reward has not tilted it yet."),
        (-math.log(1 - tilted), "That is the price of sitting on the bad mode."),
        (-math.log(forgot), "Normalise: the tilted weights of both modes must sum to 1."),
        (math.log(forgot), "Normalise: the tilted weights of both modes must sum to 1."),
        (-math.log(share(math.exp(_TEMPERATURE))), "The reward is divided by λ, not multiplied."),
        (-math.log(share(math.e)), "You forgot λ: the tilt is exp(Q/λ)."),
        (-math.log(share(math.exp(-1 / _TEMPERATURE))), "The tilt has the wrong sign: exp(+Q/λ)."),
        (-math.log2(tilted), "That is in bits; take the natural logarithm."),
        (-math.log10(tilted), "Take the natural logarithm, not that to base 10."),
        (0.0, "Zero would mean that π is π*, but π* keeps the other mode too."),
        (
            -tilted * math.log(tilted) - (1 - tilted) * math.log(1 - tilted),
            "That is the entropy of the two shares; π sits on one mode only.",
        ),
        (-tilted * math.log(tilted), "The average is over π, and all of π is on the good mode."),
    )
    otherwise = (
        "First the share of the good mode in π*: tilt both weights by exp(Q/λ) and normalise. "
        "On that mode π and π* differ only by this constant factor."
    )
    expect_number(answer, -math.log(tilted), slips, otherwise)


def _normal(x: Tensor, mean: float, std: float) -> Tensor:
    return -0.5 * ((x - mean) / std).square() - math.log(std * math.sqrt(2 * math.pi))


def _mixture(x: Tensor) -> Tensor:
    return torch.logaddexp(
        _normal(x, -1.5, 0.6) + math.log(0.7), _normal(x, 1.5, 0.6) + math.log(0.3)
    )


def _cases() -> tuple[Tensor, Tensor]:
    """log pi and log pi* (N, 4) at evenly likely points of four policies wider than targets."""
    share = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS
    z = torch.special.ndtri(share)
    policies = ((0.0, 2.0), (0.0, 2.0), (0.5, 1.0), (0.0, 1.8))
    x = torch.stack([mean + std * z for mean, std in policies], 1)
    log_pi = torch.stack([_normal(x[:, i], *policies[i]) for i in range(len(policies))], 1)
    log_target = torch.stack(
        [
            _normal(x[:, 0], 1.0, 1.0),
            _mixture(x[:, 1]),
            _normal(x[:, 2], -0.5, 0.7),
            _normal(x[:, 3], 0.5, 1.3),
        ],
        1,
    )
    return log_pi, log_target


def _judge_swapped(answer: Any) -> None:
    log_pi, log_target = _cases()
    value = called(answer, log_pi.float(), log_target.float(), takes="log_pi, log_target")
    if getattr(value, "shape", ()) == log_pi.shape:
        raise Slip("Average over the points, the first axis: the answer has shape (L,).")
    got = rows(value, log_pi.shape[1:]).detach()
    log = log_target - log_pi
    forward, back = (log.exp() * log).mean(0), -log.mean(0)
    slips = (
        (back, "This is still the reverse KL(π‖π*): nothing is swapped yet."),
        (
            -back,
            "Swapping the two logarithms only flips the sign: the points still come from π. "
            "KL(π*‖π) averages over π*; how does one average over π* with points from π?",
        ),
        (-forward, "The weight is right and the sign is not: KL(π*‖π) is never negative."),
        (forward + back, "This is the sum of both directions; keep only KL(π*‖π)."),
        ((log_target.exp() * log).mean(0), "The points come from π already: weigh them by π*/π."),
        (-(log.exp() * log_pi).mean(0), "log π* is missing: this is a cross entropy, not a KL."),
        (
            -((-log).exp() * log).mean(0),
            "The weight is upside down: points that π* likes count more.",
        ),
        (log.square().mean(0), "Squaring the difference of the logarithms gives no KL."),
        (log.abs().mean(0), "The absolute difference of the logarithms gives no KL."),
        (
            torch.ones_like(forward),
            "Only the weight π*/π is there, and it averages to 1 for every π: nothing to learn.",
        ),
        (_POINTS * forward, "You summed over the points; their average is asked."),
    )
    otherwise = (
        f"For π = N(0, 2²) and π* = N(1, 1) you return {float(got[0]):.3g} and KL(π*‖π) is "
        f"{float(forward[0]):.3g}. Write KL(π*‖π) as an integral, then multiply and divide by π."
    )
    expect_rows(got, forward, slips, otherwise, "Your average", 5e-3)


def _humps(x: Tensor, log_p: Tensor) -> tuple[float, float]:
    """Places of the two highest humps with a valley at most half as high between them.

    Slip where there are none, or where one side of the valley holds less than 15 % of the mass.
    """
    inner = (log_p[1:-1] > log_p[:-2]) & (log_p[1:-1] >= log_p[2:])
    peaks = sorted((1 + inner.nonzero()[:, 0]).tolist(), key=lambda i: -float(log_p[i]))
    if len(peaks) < 2:
        raise Slip("Your target has one hump only, so there is nothing to seek: give it two.")
    depth = 0.0
    for peak in peaks[1:]:
        first, last = min(peaks[0], peak), max(peaks[0], peak)
        valley = first + int(log_p[first:last].argmin())
        depth = min(depth, float(log_p[valley] - log_p[peak]))
        if log_p[valley] - log_p[peak] <= math.log(0.5):
            left = float(log_p.softmax(0)[:valley].sum())
            if not 0.15 <= left <= 0.85:
                raise Slip(
                    f"One of your humps holds only {min(left, 1 - left):.0%} of the mass; give "
                    "both at least 15 %."
                )
            return float(x[first]), float(x[last])
    raise Slip(
        f"Your humps run into each other: the valley is {math.exp(depth):.0%} as high as the lower "
        "hump, at most 50 % is asked."
    )


def _best_gaussian(x: Tensor, log_p: Tensor) -> tuple[float, float]:
    """Mean and std of the Gaussian with the least KL(N || p), over a grid of both."""
    mean = torch.linspace(-6, 6, 61, dtype=x.dtype)[:, None, None]
    std = torch.linspace(math.log(0.2), math.log(6), 40, dtype=x.dtype).exp()[:, None]
    log_q = (-0.5 * ((x - mean) / std).square()).log_softmax(-1)
    divergence = (log_q.exp() * (log_q - log_p.log_softmax(0))).sum(-1)
    best = int(divergence.argmin())
    return float(mean[best // 40]), float(std[best % 40])


def _judge_covering_target(answer: Any) -> None:
    x = torch.arange(-10, 10 + _STEP / 2, _STEP)
    value = called(answer, x, takes="x")
    log_p, x = rows(value, tuple(x.shape)).detach(), x.double()
    if max(float(log_p[0]), float(log_p[-1])) > float(log_p.max()) - 6:
        raise Slip(
            "Return the *log* of a density that dies out inside [−10, 10]; yours is still high at "
            "the edge."
        )
    humps = _humps(x, log_p)
    mean, std = _best_gaussian(x, log_p)
    if any(abs(hump - mean) > 2 * std for hump in humps):
        raise Slip(
            f"Here reverse KL seeks: its best Gaussian is N({mean:.2g}, {std:.2g}²) and leaves "
            f"out a hump of yours at {humps[0]:.2g} or {humps[1]:.2g}. What makes the valley so "
            "dear, its depth or its width?"
        )


TASKS = (
    Task(
        id="04.1",
        kind="compute",
        text=(
            "The behaviour μ has two modes that do not overlap: a bad one with 80 % of the data "
            "and Q = 0, a good one with 20 % and Q = 1. The target is π* ∝ μ·exp(Q/λ), λ = 0.5. "
            "A policy π is exactly the good mode and nothing else. How large is KL(π‖π*), in nats? "
            "(One number, right to 1 %.)"
        ),
        starter="price = ...",
        judge=_judge_price_of_one_mode,
        right="Dropping a mode costs −ln of the share that is kept: finite, and small when greedy.",
    ),
    Task(
        id="04.2",
        kind="break it",
        text=(
            "`(log_pi - log_target).mean(0)` over points drawn from π is the reverse KL(π‖π*). "
            "Swap the divergence: from the same points, still drawn from π, return an average "
            "whose expectation is the forward KL(π*‖π). Both arguments are log-densities (N, L) of "
            "N points for each of L policies; return (L,). Hand `explorable.try_` first the "
            "version in which only the two logarithms are swapped, and watch it run away; then "
            "yours, and ask why points from one mode cannot teach a policy about the other."
        ),
        starter="def divergence(log_pi, log_target):\n    ...",
        judge=_judge_swapped,
        right="Exact on average, hopeless from few points: forward KL wants samples of π*: data.",
    ),
    Task(
        id="04.3",
        kind="design",
        text=(
            "Design a target on the line where reverse KL does *not* seek. Return its log-density "
            "(any constant may be missing) at points x (N,) in [−10, 10]. It must have two humps, "
            "each with at least 15 % of the mass, and between them a valley at most half as high "
            "as the lower hump; and the Gaussian with the least KL(π‖π*) must reach both humps "
            "within two of its standard deviations. (`torch.logaddexp` adds two densities.)"
        ),
        starter="def log_target(x):\n    ...",
        judge=_judge_covering_target,
        right="Reverse KL seeks only where the valley is deep and wide; here covering is cheaper.",
    ),
)
