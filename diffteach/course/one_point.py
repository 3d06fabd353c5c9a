"""Tasks of lesson 07, against "three papers, three regularisers" and "the baseline helps"."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from diffteach.course.answers import Slip, called, expect_number, expect_rows, rows
from diffteach.course.tasks import Task
from diffteach.explore import fields
from diffteach.objectives import trust_region_loss
from diffteach.schedule import EDM, perturb
from diffteach.toys import GaussianMixture
from diffteach.types import Denoise

_SCHEDULE = EDM()
_TAKES = "denoise, schedule, act, t, eps"
_STD, _TAU, _ALPHA, _SIGMA = 0.5, 0.9, 0.6, 0.8
_ACTIONS = ((0.3, 0.2), (1.2, 0.1), (0.2, -1.0), (-0.9, 0.4))
_SHARE = 0.6  # of the variance without a baseline


def _kept(
    s: float = _STD**2,
    tau: float = _TAU**2,
    signal: float = _ALPHA**2,
    noise: float = _SIGMA**2,
) -> float:
    """What is left of SDS's force: 1 - (alpha^2 s^2 + sigma^2)/(alpha^2 tau^2 + sigma^2)."""
    return 1 - (signal * s + noise) / (signal * tau + noise)


def _judge_share(answer: Any) -> None:
    right = _kept()
    slips = (
        (1 - right, "That is the share that its own score takes away; what is left?"),
        (_kept(s=_STD, tau=_TAU), "The variances are s² and τ², not s and τ."),
        (_kept(noise=_SIGMA), "The noise adds its variance, σ², not σ."),
        (_kept(signal=1.0), "Clean actions arrive at α times their size: variances get α²."),
        (_kept(signal=_ALPHA), "Clean actions arrive at α times their size: variances get α²."),
        (1 - _STD**2 / _TAU**2, "That is without noise; the noise adds σ² to both variances."),
        (_kept(s=_TAU**2, tau=_STD**2), "Upside down: which of the two spreads is wider?"),
        (1 / (1 - right), "Upside down: which of the two spreads is wider?"),
        (1 / right, "That is SDS's force over VSD's; the share of VSD's is asked."),
    )
    otherwise = (
        "Both noise predictors are linear here: σx/(α²s² + σ²) from the data, σx/(α²τ² + σ²) from "
        "the policy. SDS pushes τ by the first, VSD by their difference."
    )
    expect_number(answer, right, slips, otherwise)


def _clusters() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.2, -1.2]]),
        torch.tensor([0.3, 0.2, 0.4]),
        torch.tensor([0.5, 0.3, 0.2]),
    )


def _judge_held(answer: Any) -> None:
    generator = torch.Generator().manual_seed(7)
    denoise = _clusters().denoiser(_SCHEDULE)
    act, eps = (torch.randn(64, 2, generator=generator) for _ in range(2))
    t = torch.linspace(0.1, 2.0, 64)
    got = rows(called(answer, denoise, _SCHEDULE, act, t, eps, takes=_TAKES), (64, 2)).detach()
    eps_hat, level = denoise(perturb(_SCHEDULE, act, t, eps), t).double(), t.double()[:, None]
    residual, wide = eps_hat - eps, (level / _SCHEDULE.sigma_data) ** 2
    leaf = act.clone().requires_grad_()
    loss = trust_region_loss(denoise, _SCHEDULE, leaf, t, eps)
    (full,) = torch.autograd.grad(loss.sum(), leaf)
    right = (1 + wide) / level * residual
    slips = (
        (full.double(), "The Jacobian is still there: this is the library's own gradient."),
        (residual / level, "That is the weight of the *full* gradient, 2/(dσ): with D held, large "
         "noise weighs more."),
        (residual, "The weight is missing: how does the squared difference depend on the action?"),
        (2 * right, "Twice too much: the loss is a mean over d = 2 coordinates, and the square "
         "brings the 2 back."),
        ((1 + wide) * residual, "That weight multiplies the *squared* residual; one more 1/σ comes "
         "from a − D = σ(ε̂ − ε)."),
        ((1 + wide) / level * eps_hat, "The mean is right, but a − D holds −ε too: draw by draw "
         "the gradient is a multiple of ε̂ − ε."),
        (level * residual, "That is a − D: divide by c_out² = σ²σ_d²/(σ² + σ_d²)."),
        ((1 / level + level) * residual, "σ_data is missing: 1/c_out² = 1/σ² + 1/σ_data²."),
        (-right, "The sign is wrong: a gradient is returned, and descent goes against it."),
    )  # fmt: skip
    otherwise = (
        "With D constant the gradient of ((D − a)/c_out)², averaged over d = 2 coordinates, is "
        "(a − D)/c_out². Write a − D with σ and ε̂ − ε."
    )
    expect_rows(got, right, slips, otherwise, "Your gradient")


class _Counted:
    """A denoiser that counts the rows it is asked for, and how many carry a graph."""

    def __init__(self, denoise: Denoise) -> None:
        self.denoise, self.asked, self.tracked = denoise, 0, False

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.asked += len(x_t)
        self.tracked = self.tracked or x_t.requires_grad
        return self.denoise(x_t, t)


Moments = tuple[Tensor, Tensor]


@lru_cache(maxsize=1)
def _draws() -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Moments]]:
    """Rows of actions, levels and noises, and what takes (B, 2) to mean (4, 2), variance (4,)."""
    levels, shares = fields.noise_levels(_SCHEDULE, 28)
    eps, weights = fields.hermite(6)
    shape = (len(_ACTIONS), len(levels), len(eps))
    act = torch.tensor(_ACTIONS)[:, None, None].expand(*shape, 2).reshape(-1, 2)
    t = levels[None, :, None].expand(shape).reshape(-1)
    noise = eps.expand(*shape, 2).reshape(-1, 2)

    def moments(grad: Tensor) -> Moments:
        grad = grad.reshape(*shape, 2).double()
        mean = torch.einsum("e,plea->pla", weights.double(), grad)
        second = torch.einsum("e,plea->pla", weights.double(), grad.square())
        spread = (second - mean.square()).mean(-1)
        return torch.einsum("l,pla->pa", shares.double(), mean), spread @ shares.double()

    return act, t, noise, moments


def _judge_quiet(answer: Any) -> None:
    act, t, eps, moments = _draws()
    denoise = _Counted(_clusters().denoiser(_SCHEDULE))
    value = called(answer, denoise, _SCHEDULE, act, t, eps, takes=_TAKES)
    mean, spread = moments(rows(value, tuple(act.shape)).detach())
    if denoise.tracked:
        raise Slip("Your gradient runs backwards through the denoiser: forward passes only.")
    if denoise.asked > len(act):
        raise Slip("More than one evaluation of the denoiser per row: one is allowed.")
    level = t[:, None]
    eps_hat = denoise.denoise(perturb(_SCHEDULE, act, t, eps), t)
    want, without = moments(eps_hat / level)
    held, _ = moments(eps_hat * (1 / level + level / _SCHEDULE.sigma_data**2))
    plain, _ = moments(eps_hat)
    slips = (
        (held, "That is DTQL's gradient with D held constant; the full one weighs large noise "
         "less."),
        (plain, "ω = 1 is not the weight under which the two meet: slide SRPO's weight to its "
         "right end."),
        (torch.zeros_like(want), "The mean is zero: the predicted noise must stay in it."),
    )  # fmt: skip
    otherwise = (
        "The mean is not DTQL's gradient: that is E[2/(dσ) · ε̂], with d = 2. Whatever multiple of "
        "ε you subtract must not depend on ε."
    )
    expect_rows(mean, want, slips, otherwise, "The mean of your gradient", 0.02)
    ratio = float(spread.mean() / without.mean())
    if ratio > 10:
        raise Slip(
            f"The mean is DTQL's, but at small noise ε itself is all you see: the variance is "
            f"{ratio:.0f} times that *without* a baseline. At which noise is ε̂ close to ε?"
        )
    if ratio > _SHARE:
        raise Slip(
            f"The mean is DTQL's, the variance {ratio:.2f} times that without a baseline; at most "
            f"{_SHARE:g} is asked. What part of ε does ε̂ hold at large noise, and what at small?"
        )


TASKS = (
    Task(
        id="07.1",
        kind="compute",
        text=(
            "The data are N(m, s²I) with s = 0.5, the policy is a = m + τz with τ = 0.9, and the "
            "noise has α = 0.6, σ = 0.8. SDS, which is SRPO's gradient on such a policy, pushes τ "
            "down with E[ε̂·z]; VSD subtracts the policy's own noise predictor first. Which share "
            "of SDS's push on τ does VSD keep? (One number, right to 1 %.)"
        ),
        starter="kept = ...",
        judge=_judge_share,
        right="VSD stops where the policy is as wide as the data; SDS never does.",
    ),
    Task(
        id="07.2",
        kind="break it",
        text=(
            "Break the coincidence. Return the gradient (B, 2) on the action that DTQL's loss has "
            "when its denoised point D is held constant, *without a backward pass*: as a weight "
            "of yours times ε̂ − ε, right for every single draw. At noise σ = t: x = act + σ·eps, "
            "ε̂ = denoise(x, t), D = x − σε̂, 1/c_out² = 1/σ² + 1/σ_data² "
            "(`schedule.sigma_data`), d = 2. Hand it to `explorable.try_`: which arrow does it "
            "fall on?"
        ),
        starter="def held(denoise, schedule, act, t, eps):\n    ...",
        judge=_judge_held,
        right="A weight on SRPO's residual, but not the one that makes it DTQL.",
    ),
    Task(
        id="07.3",
        kind="design",
        text=(
            "Design a gradient (B, 2) that is DTQL's in the mean over t and eps, t drawn from "
            "DTQL's law, with *one forward pass* of the denoiser per row and none backwards; and "
            "make it quiet: its variance at one noise level, averaged over the levels and four "
            "actions, must be at most 0.6 of that of the weighted ε̂ alone, without a baseline. "
            "SRPO subtracts ε: is that a good idea here? (The data are three clusters, 0.2 to 0.4 "
            "wide; your function does not know them.)"
        ),
        starter="def quiet(denoise, schedule, act, t, eps):\n    ...",
        judge=_judge_quiet,
        right="DTQL's gradient without its Jacobian, and with a baseline that knows the noise.",
    ),
)
