"""Tasks of lesson 06, against "low loss means data" and "the Jacobian is a detail"."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from diffteach.course.answers import Slip, called, expect_number, expect_rows, rows, same
from diffteach.course.tasks import Task
from diffteach.explore import fields
from diffteach.objectives import trust_region_loss
from diffteach.schedule import EDM, perturb, x0_from_eps
from diffteach.toys import GaussianMixture
from diffteach.types import Denoise

_SCHEDULE = EDM()
_LEVELS = 96
# The likely point, the one between the clusters, and the one beside the narrow cluster.
_POINTS = ((-3.0, 0.6), (0.0, 0.0), (-2.1, 0.0))


def _judge_share_outside(answer: Any) -> None:
    slips = (
        (1 - math.exp(-1), "That is the share inside; outside is asked."),
        (math.exp(-2), "Even at the mode the loss is ½, not 0: the floor is missing."),
        (math.exp(-0.5), "The exponent of a Gaussian in the plane is r²/(2s²): check its factors."),
        (math.exp(-4), "The exponent of a Gaussian in the plane is r²/(2s²): check its factors."),
        (math.exp(-0.25), "That uses s where s² belongs, or a radius where its square does."),
        (math.exp(-math.sqrt(2)), "That uses the radius where its square belongs."),
        (math.exp(-math.sqrt(0.5)), "That uses s where s² belongs, or the radius for its square."),
        (
            math.erfc(1.0),
            "That is a Gaussian on the line; in the plane the radius has another law.",
        ),
        (
            math.sqrt(0.5),
            "That is the radius of the trust region; which share of the data is beyond?",
        ),
        (0.5, "That is the squared radius or the floor; which share of the data lies beyond?"),
        (
            1.0,
            "The loss is a *mean* over both coordinates: you summed, and nothing is left inside.",
        ),
        (0.0, "Points of a Gaussian lie at any distance: some are outside."),
    )
    otherwise = (
        "Solve ½ + ‖a − m‖²/(2ds²) = 1 for the radius, with d = 2; then the share of a Gaussian in "
        "the plane beyond a radius r is exp(−r²/(2s²))."
    )
    expect_number(answer, math.exp(-1), slips, otherwise)


def _batch() -> tuple[Denoise, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    mixture = GaussianMixture(
        torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.2, -1.2]]),
        torch.tensor([0.3, 0.2, 0.4]),
        torch.tensor([0.5, 0.3, 0.2]),
    )
    act, eps = (torch.randn(64, 2, generator=generator) for _ in range(2))
    t = torch.linspace(0.1, 2.0, 64)
    return mixture.denoiser(_SCHEDULE), act, t, eps


def _losses(
    denoise: Denoise, act: Tensor, t: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The library's loss and gradient, the gradient with D frozen, and 1/c_out^2."""
    x_t = perturb(_SCHEDULE, act, t, eps)
    loss = trust_region_loss(denoise, _SCHEDULE, act, t, eps)
    (full,) = torch.autograd.grad(loss.sum(), act)
    scale = (1 / t**2 + 1 / _SCHEDULE.sigma_data**2).detach()
    clean = x0_from_eps(_SCHEDULE, x_t, t, denoise(x_t, t))
    frozen = scale[:, None] * (act - clean)  # mean over A = 2 of the square: the 2s cancel
    return loss.detach(), full, frozen.detach(), scale


def _judge_frozen(answer: Any) -> None:
    denoise, act, t, eps = _batch()
    act.requires_grad_()
    loss, full, frozen, scale = _losses(denoise, act, t, eps)
    value = called(answer, denoise, _SCHEDULE, act, t, eps, takes="denoise, schedule, act, t, eps")
    got = rows(value, tuple(t.shape))
    slips = (
        (
            2 * loss,
            "The loss is twice the library's: it is a mean over the coordinates, not a sum.",
        ),
        (
            loss / scale,
            "The factor 1/c_out² is missing: the loss divides by c_out before squaring.",
        ),
        (2 * loss / scale, "The factor 1/c_out² is missing, and the mean over coordinates."),
        (loss * scale.sqrt(), "c_out enters squared once, not more: check its powers."),
        (loss / scale.sqrt(), "c_out must be squared, since it divides inside the square."),
        (
            loss / (scale * t**2),
            "This weighs the noise alike at all levels: DTQL's weight is missing.",
        ),
        (2 * loss / (scale * t**2), "DTQL's weight is missing, and the mean over coordinates."),
    )
    otherwise = (
        "Freezing changes the gradient and never the value: yours must equal "
        "`objectives.trust_region_loss`, ((D − a)/c_out)² with mean over coordinates."
    )
    expect_rows(got.detach(), loss.double(), slips, otherwise, "Your loss")
    if not got.requires_grad:
        raise Slip("Nothing in your loss depends on the action any more: freeze D, and only D.")
    (slope,) = torch.autograd.grad(got.sum(), act, allow_unused=True, materialize_grads=True)
    if float(slope.abs().max()) < 1e-4 * float(frozen.abs().max()):
        raise Slip(
            "The gradient is zero everywhere: you froze the predicted noise, and in "
            "a + σε − σε̂ − a the action cancels. Freeze the denoised point instead."
        )
    expect_rows(
        slope.double(),
        frozen.double(),
        ((full.double(), "The Jacobian is still there: the gradient is the library's own."),),
        "The value is right and the gradient is not that of a frozen D: let it flow through the "
        "action that D is compared with, and through nothing else.",
        "The gradient",
    )


@lru_cache(maxsize=1)
def _residuals() -> tuple[Tensor, Tensor, Tensor]:
    """Noise levels (L,), their shares (L,), and E|r|^2 at each point and level (3, L)."""
    levels, shares = fields.noise_levels(_SCHEDULE, _LEVELS)
    eps, weights = fields.hermite(18)
    mixture = GaussianMixture(torch.tensor([[-3.0, 0.0], [3.0, 0.0]]), torch.tensor([0.2, 1.0]))
    points, denoise = torch.tensor(_POINTS), mixture.denoiser(_SCHEDULE)
    t = levels[:, None].expand(-1, len(eps)).reshape(-1)
    noise = eps.repeat(len(levels), 1)
    residual = (
        torch.stack([denoise(p + t[:, None] * noise, t) - noise for p in points]).square().sum(-1)
    )
    mean = (residual.reshape(len(points), len(levels), -1) * weights).sum(-1)
    return levels, shares.double(), mean.double()


def _judge_ranking(answer: Any) -> None:
    levels, shares, residual = _residuals()
    weight = rows(called(answer, levels, takes="sigma"), tuple(levels.shape)).detach()
    if bool((weight < 0).any()):
        raise Slip("Your weight is negative somewhere: there a bad prediction would be rewarded.")
    if not bool((weight > 0).any()):
        raise Slip("Your weight is zero at every level, and so is the loss.")
    likely, between, beside = (shares * weight * residual).sum(-1).tolist()
    margin = 0.01 * max(likely, between, beside)
    told = "Low loss is not high density yet: "
    ratio = weight / weight.mean()
    if same(ratio, torch.ones_like(ratio)):
        told = (
            "A constant weight is not enough: the levels are drawn by a law that already weighs. "
        )
    own = levels.double().square() / _SCHEDULE.sigma_data**2 + 1
    if same(ratio, own / own.mean()):
        told = "That is DTQL's own weight. "
    if between + margin > beside:
        raise Slip(
            told + "C beside the narrow cluster still has less loss than B. At which noise do they "
            "differ: below or above the cluster's width of 0.2?"
        )
    if likely + margin > between:
        raise Slip(
            told + "A, the likeliest, now has more loss than B. At tiny noise every point has the "
            "same loss, and just above it A's narrow cluster dominates: let some large noise speak."
        )


TASKS = (
    Task(
        id="06.1",
        kind="compute",
        text=(
            "The data are N(m, s²I) in the plane with s = σ_data = 0.5. With the exact denoiser "
            "DTQL's loss is then L_TR(a) = ½ + ‖a − m‖²/(2ds²) with d = 2. Which share of the "
            "*data themselves* lies outside the trust region {a : L_TR(a) ≤ 1}? (One number, right "
            "to 1 %.)"
        ),
        starter="outside = ...",
        judge=_judge_share_outside,
        right="More than a third: a trust region is a level set of the loss, not the data.",
    ),
    Task(
        id="06.2",
        kind="break it",
        text=(
            "Drop the Jacobian. First write DTQL's loss, ((D − a)/c_out)² averaged over the "
            "coordinates, with the *predicted noise* detached, hand it to `explorable.try_` and "
            "see its arrows vanish beside the library's −∇L_TR. Then detach the *denoised point* "
            "D instead: the loss (B,) keeps its value, and its gradient on the action loses the "
            "part through the denoiser. Check that second function. At noise σ = t: "
            "x = act + σ·eps, D = x − σ·denoise(x, t), and 1/c_out² = 1/σ² + 1/σ_data²; "
            "`schedule.sigma_data` is σ_data."
        ),
        starter="def frozen(denoise, schedule, act, t, eps):\n    ...",
        judge=_judge_frozen,
        right="The same loss with other arrows: without the Jacobian it is another regulariser.",
    ),
    Task(
        id="06.3",
        kind="design",
        text=(
            "Half of the data are N((−3, 0), 0.2²I), half N((3, 0), 1²I). At A = (−3, 0.6), "
            "B = (0, 0) and C = (−2.1, 0) log p falls from A to B to C, but DTQL's loss says that "
            "C is likelier than B. Design a weight w(σ) ≥ 0, shape (L,), so that "
            "E_σ[w(σ) E‖ε̂ − ε‖²] ranks all three like log p: least at A, most at C. σ is drawn "
            "from DTQL's law with σ_data = 0.5, whose own weight is w = 1 + σ²/σ_data²."
        ),
        starter="def weight(sigma):\n    ...",
        judge=_judge_ranking,
        right="Likelihood needs small noise too; DTQL's weight hears mostly the large.",
    ),
)
