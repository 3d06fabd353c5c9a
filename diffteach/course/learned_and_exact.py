"""Tasks of lesson 03, against "the lower loss is the better model"."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffteach import toys
from diffteach.course.answers import Slip, called, expect_number, expect_rows, rows
from diffteach.course.tasks import Task
from diffteach.schedule import VP, perturb
from diffteach.types import Denoise

_SCHEDULE = VP()
_ALPHA, _SIGMA, _STD, _LOSS = 0.8, 0.6, 0.5, 0.70
_TAKES = "points, schedule, x_t, t"
_SETS, _SEED, _FEW, _FRESH = ("8gaussians", "two_moons"), 7, 64, 2048
_ALLOWED = 1.10


def _floor(var: float = _STD**2, dim: int = 2, signal: float = _ALPHA**2) -> float:
    """E||eps* - eps||^2 = d alpha^2 s^2/(alpha^2 s^2 + sigma^2) of one Gaussian."""
    return dim * signal * var / (signal * var + _SIGMA**2)


def _judge_reducible(answer: Any) -> None:
    floor = _floor()
    of_x0 = 2 * _STD**2 * _SIGMA**2 / (_ALPHA**2 * _STD**2 + _SIGMA**2)
    slips = (
        (floor, "That is the floor, which no network can go below; what is left above it?"),
        (_LOSS, "Not all of it: the best denoiser of all has a loss too."),
        (0.0, "This network is not the best: its loss lies above the floor."),
        (1 - floor / _LOSS, "That is the share of the loss; the difference is asked."),
        (floor / _LOSS, "That is the share that stays; the difference that goes is asked."),
        (_LOSS - _floor(dim=1), "The loss sums over both coordinates of the plane: d = 2."),
        (_LOSS - _floor(var=_STD), "The floor holds the variance s², not s."),
        (_LOSS - _floor(signal=1.0), "The signal reaches x_t as αa: its variance is α²s²."),
        (_LOSS - _floor(signal=_ALPHA), "The signal reaches x_t as αa: its variance is α²s²."),
        (_LOSS - of_x0, "That is the floor of the denoised point's error; the noise's is asked."),
        (_LOSS - (2 - floor), "That is how much the best denoiser explains; what does it leave?"),
    )
    otherwise = (
        "For one Gaussian the best denoiser is linear: the variance of ε given x_t is "
        "α²s²/(α²s² + σ²) per coordinate. Sum over two, and subtract from 0.70."
    )
    expect_number(answer, _LOSS - floor, slips, otherwise)


def _noisy(points: Tensor, seed: int, low: float) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy points x_t (B, 2), times spread evenly over [low, 1] and the noise."""
    generator = torch.Generator().manual_seed(seed)
    share = (torch.randperm(len(points), generator=generator) + 0.5) / len(points)
    t, eps = low + (1 - low) * share, torch.randn(points.shape, generator=generator)
    return perturb(_SCHEDULE, points, t, eps), t, eps


def _judge_memory(answer: Any) -> None:
    # Off the origin, for centred points would forgive a lost alpha at large noise.
    points = toys.load("two_moons", 20, 3)[0] + torch.tensor([1.0, 0.5])
    x_t, t, _ = _noisy(points.repeat(30, 1), 3, 0.05)
    value = called(answer, points, _SCHEDULE, x_t, t, takes=_TAKES)
    got = rows(value, tuple(x_t.shape)).detach()
    alpha, sigma = (f(t)[:, None] for f in (_SCHEDULE.alpha, _SCHEDULE.sigma))
    gap = (x_t[:, None] - alpha[:, None] * points).square().sum(-1)

    def eps(clean: Tensor) -> Tensor:
        return ((x_t - alpha * clean) / sigma).double()

    def mean(exponent: Tensor) -> Tensor:
        return eps(torch.softmax(-exponent, 1) @ points)

    unscaled = (x_t[:, None] - points).square().sum(-1)
    right = mean(gap / (2 * sigma**2))
    slips = (
        (
            torch.softmax(-gap / (2 * sigma**2), 1) @ points.double().float(),
            "That is the denoised point; return the noise, (x_t − α â)/σ.",
        ),
        (-right / sigma, "That is the score; the predicted noise is −σ times it."),
        (eps(points[gap.argmin(1)]), "That is the *nearest* point; the loss is squared, so its "
         "minimum is an average, weighted by how well each point explains x_t."),
        (eps(points.mean(0)), "All points count alike here: weigh each by how well it explains "
         "x_t."),
        (mean(unscaled / (2 * sigma**2)), "A clean point a arrives at αa, not at a."),
        (mean(gap / sigma**2), "Twice too much in the exponent: a Gaussian's has a ½."),
        (mean(gap / (2 * sigma)), "A Gaussian's exponent holds the variance σ², not σ."),
        (mean(gap.sqrt() / sigma), "A Gaussian's exponent holds the *squared* distance."),
        (mean(gap / 2), "The weights must know how large the noise is: divide by σ²."),
    )  # fmt: skip
    otherwise = (
        "Weigh each of the points by the Gaussian density of x_t around α times it, normalise the "
        "weights over the points (`torch.softmax` of the logs), average, and turn the average â "
        "into noise, (x_t − α â)/σ."
    )
    expect_rows(got, right.double(), slips, otherwise, "Your predicted noise", 2e-3)


def _losses(answer: Any, name: str) -> tuple[float, float, float]:
    """Loss on the 64 points and on fresh ones, and the exact denoiser's on the fresh ones."""
    train, fresh = toys.load(name, _FEW, _SEED)[0], toys.load(name, _FRESH, _SEED + 1)[0]
    copies = train.repeat(_FRESH // _FEW, 1)
    both = (_noisy(points, _SEED, float(_SCHEDULE.t_min)) for points in (copies, fresh))
    x_t, t, eps = (torch.cat(parts) for parts in zip(*both, strict=True))
    value = called(answer, train, _SCHEDULE, x_t, t, takes=_TAKES)
    exact: Denoise = toys.density(name).denoiser(_SCHEDULE)
    got, best = (
        (found - eps).square().sum(-1).double()
        for found in (rows(value, tuple(x_t.shape)).detach(), exact(x_t, t))
    )
    seen, unseen = got.reshape(2, -1).mean(1).tolist()
    return seen, unseen, float(best[_FRESH:].mean())


def _judge_smooth(answer: Any) -> None:
    for name in _SETS:
        seen, unseen, best = _losses(answer, name)
        if unseen <= _ALLOWED * best:
            continue
        told = (
            f"On {name} your loss is {seen:.3f} on the points you were given and {unseen:.3f} on "
            f"fresh ones; at most {_ALLOWED * best:.3f} is asked. "
        )
        if unseen > 1.15 * seen:
            raise Slip(
                told + "Lower than any fair denoiser on what it knows, higher on what it does not: "
                "it still memorises. Let every point stand for its neighbourhood."
            )
        if unseen > 1.9:
            raise Slip(
                told + "Predicting no noise at all costs 2: is this the noise, (x_t − αâ)/σ?"
            )
        raise Slip(
            told + "It pays about as much on what it knows: too little detail is left. Look closer "
            "at the points."
        )


TASKS = (
    Task(
        id="03.1",
        kind="compute",
        text=(
            "The data are one Gaussian in the plane, N(m, s²I) with s = 0.5. At the noise level "
            "α = 0.8, σ = 0.6 your network's loss E‖ε̂ − ε‖², summed over both coordinates, is "
            "0.70. By how much can *any* network, trained for ever on endless data, still lower it "
            "there? (One number, right to 1 %.)"
        ),
        starter="gain = ...",
        judge=_judge_reducible,
        right="Nearly nine tenths of the loss are nobody's fault: the rest tells models apart.",
    ),
    Task(
        id="03.2",
        kind="break it",
        text=(
            "Break the rule that the lower loss is the better model. Write the denoiser whose loss "
            "on given training `points` (N, 2) no other can beat, the exact one of the true "
            "density included: it predicts the noise (B, 2) in `x_t` (B, 2) at `t` (B,) as if "
            "those points were all there is. (`schedule.alpha(t)` and `schedule.sigma(t)` are "
            "(B,).) Hand it to `explorable.try_` and play: which points does it generate, and what "
            "does it pay on fresh ones?"
        ),
        starter="def memory(points, schedule, x_t, t):\n    ...",
        judge=_judge_memory,
        right="No loss on these points is lower, and all that it generates are these points.",
    ),
    Task(
        id="03.3",
        kind="design",
        text=(
            "Design a denoiser from the same 64 `points` that has learned rather than memorised: "
            "on *fresh* points its loss, t uniform on [0.001, 1] as in training, must come within "
            "10 % of the exact denoiser's, for 64 points of 8gaussians and again for 64 of "
            "two_moons. Arguments and result are those of 03.2. Then look at it with "
            "`explorable.try_`."
        ),
        starter="def smooth(points, schedule, x_t, t):\n    ...",
        judge=_judge_smooth,
        right="A worse loss on the training points, and a far better one on all others.",
    ),
)
