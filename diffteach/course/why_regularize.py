"""Tasks of lesson 01, against "just maximise Q" and "a likelihood keeps you in the data"."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffteach import toys
from diffteach.course.answers import Slip, called, expect_number, expect_rows, rows
from diffteach.course.tasks import Task
from diffteach.explore import fields

_SHARE, _TAU = 0.2, 0.9
_BETWEEN, _WITHIN = 4.0, 0.125
_PAYS = 0.7


def _value(share: float, tau: float) -> float:
    return tau * share / (tau * share + (1 - tau) * (1 - share))


def _judge_expectile(answer: Any) -> None:
    slips = (
        (_TAU, "V = τ holds when both values are equally frequent; here one is rarer."),
        (_SHARE, "That is the mean, the expectile at τ = ½: a loss from above must weigh more."),
        (1.0, "That is the largest value, or the 90 % quantile; an expectile squares the errors."),
        (_value(_SHARE, 1 - _TAU), "The weights are swapped: τ goes to the values *above* V."),
        (_value(1 - _SHARE, _TAU), "The shares are swapped: the value 1 is the rare one."),
        (_TAU * _SHARE, "That is τ times the share: divide by the sum of all weights."),
        (
            math.sqrt(_TAU * _SHARE) / (math.sqrt(_TAU * _SHARE) + math.sqrt(0.08)),
            "The weights enter as they are, without a root.",
        ),
        (
            _TAU * _SHARE / ((1 - _TAU) * (1 - _SHARE)),
            "That is the ratio of the two weights; V is the share of one in their sum.",
        ),
    )
    otherwise = (
        "Set the derivative of 0.2·τ·(1 − V)² + 0.8·(1 − τ)·(0 − V)² to zero and solve for V: a "
        "weighted mean of the two values."
    )
    expect_number(answer, _value(_SHARE, _TAU), slips, otherwise)


def _judge_one_gaussian(answer: Any) -> None:
    act = 2.5 * torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    got = rows(called(answer, act, takes="a"), (64,)).detach()
    squared = act.double().square().sum(-1)
    exact = -toys.density("8gaussians").log_prob(act).double()

    def centred(value: Tensor) -> Tensor:
        return value - value.mean()

    def gaussian(variance: float) -> Tensor:
        return centred(squared / (2 * variance))

    total = _BETWEEN + _WITHIN
    slips = (
        (gaussian(_WITHIN), "That Gaussian is as narrow as *one* cluster; fit one to all eight."),
        (gaussian(_BETWEEN), "The clusters are no points: add their own variance, 1/8."),
        (
            gaussian(2 * _BETWEEN + _WITHIN),
            "On a circle of radius R the mean of x² is R²/2, not R²: the other half is y's.",
        ),
        (gaussian(2 * total), "On a circle of radius R the mean of x² is R²/2, not R²."),
        (
            gaussian(math.sqrt(total)),
            "The exponent of a Gaussian holds the variance, and yours a standard deviation.",
        ),
        (
            -gaussian(total),
            "The sign is wrong: that is log p, and a penalty grows where it falls.",
        ),
        (centred(exact), "That is the exact −log p of the eight: it breaks nothing."),
        (-centred(exact), "That is log p of the eight: one Gaussian is asked, and a minus."),
        (
            centred(torch.exp(-squared / (2 * total))),
            "That is the density: take its log, and a minus.",
        ),
    )
    otherwise = (
        "A Gaussian fitted by moments has the mean and the variance of *all* the data: here the "
        "mean is 0, and per coordinate the variance of the centres plus that within a cluster. "
        "Return the squared distance over twice that."
    )
    expect_rows(centred(got), gaussian(total), slips, otherwise, "Your penalty")


class _Case(NamedTuple):
    name: str
    points: Tensor
    inside: Tensor
    q: Tensor


@lru_cache(maxsize=1)
def _cases() -> tuple[Tensor, tuple[_Case, ...]]:
    """The grid (N, 2), and for both sets 400 points, who is inside (N,) and eight slopes (N, 8)."""
    grid = fields.grid((-4.5, 4.5, -4.5, 4.5), 61)
    angle = torch.arange(8) * math.pi / 4 + 0.3
    ahead = torch.stack([angle.cos(), angle.sin()])
    found = []
    for name in ("8gaussians", "two_moons"):
        points, law = toys.load(name, 400, 1)[0], toys.density(name)
        floor = law.log_prob(toys.load(name, 2000, 0)[0]).quantile(0.001)
        slopes = (grid @ ahead) / (points @ ahead).amax(0)
        found.append(_Case(name, points, law.log_prob(grid) >= floor, slopes.double()))
    return grid, tuple(found)


def _judge_penalty(answer: Any) -> None:
    grid, cases = _cases()
    for name, points, inside, q in cases:
        penalty = rows(called(answer, grid, points, takes="a, points"), (len(grid),)).detach()
        if float(penalty.max() - penalty.min()) < 1e-9:
            raise Slip("Your penalty is the same everywhere: it moves no maximum.")
        best = (q - penalty[:, None]).argmax(0)
        promised, kept = q.gather(0, best[None])[0], inside[best]
        if not bool(kept.all()):
            lost = int((~kept).sum())
            said = f"On {name} {lost} of the 8 best actions lie outside the data. "
            if bool((promised[~kept] < _PAYS).any()):
                raise Slip(
                    said + "Some are not too far out but in a gap: your penalty is lowest where no "
                    "points are. Ask how far the *nearest* point is, not where their middle is."
                )
            raise Slip(
                said + "They promise more than any action of the data: within a step off the data "
                "your penalty must rise faster than Q does."
            )
        if float(promised.min()) < _PAYS:
            raise Slip(
                f"On {name} all eight stay in the data, and one pays only "
                f"{float(promised.min()):.2f}: your penalty prefers the densest of the data to "
                "good ones. Inside the data it should hardly differ."
            )


TASKS = (
    Task(
        id="01.1",
        kind="compute",
        text=(
            "At some state 80 % of the data's actions have value 0 and 20 % have value 1. IQL's V "
            "minimises E[|τ − 1(u < 0)| u²] with u = Q − V over these actions (Eq. 5). Which V "
            "does τ = 0.9 give? (One number, right to 1 %.)"
        ),
        starter="value = ...",
        judge=_judge_expectile,
        right="Between the mean and the best of the data, and no other action was asked.",
    ),
    Task(
        id="01.2",
        kind="break it",
        text=(
            "A regulariser from a model that is too simple. The data are eight clusters "
            "N(m_k, I/8), equally heavy, the m_k evenly on a circle of radius √8 around the "
            "origin. Fit *one* Gaussian to them by moments and return its −log density at actions "
            "a (B, 2), up to a constant: (B,). Then look at the picture at λ = 1: where does this "
            "perfectly honest likelihood send the best action?"
        ),
        starter="def penalty(a):\n    ...",
        judge=_judge_one_gaussian,
        right="At λ = 1 it sends the action into the hole: a regulariser is as good as its model.",
    ),
    Task(
        id="01.3",
        kind="design",
        text=(
            "Design a penalty(a, points) -> (N,) for actions a (N, 2) from 400 points (400, 2) of "
            "the data alone; their density is not given. Eight critics rise steadily in eight "
            "directions, Q_k(a) = u_k·a/reach_k: right as far as the data go, where the best pays "
            "1, and wrong beyond. In all eight directions, on eight Gaussians and on two moons, "
            "the maximum of Q_k − penalty over the square must lie in the data (likelier than "
            "their rarest 0.1 %) and pay at least 0.7."
        ),
        starter="def stay(a, points):\n    ...",
        judge=_judge_penalty,
        right="Flat where the data are, steep where they end: no density was needed.",
    ),
)
