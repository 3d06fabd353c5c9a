"""Tasks of lesson 05, against "β is the temperature" and "the baseline always helps"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffteach import toys
from diffteach.course.answers import Slip, called, expect_number, expect_rows, rows
from diffteach.course.tasks import Task
from diffteach.explore import fields
from diffteach.explore.lessons.pulls import BOUNDS, TARGETS, descend
from diffteach.objectives import kl_weight, unit_weight, variance_weight
from diffteach.schedule import VP

_SCHEDULE = VP()
_BETA, _STD = 0.05, 0.5
_SUPPORT = 0.71  # two standard deviations of a mode of 8gaussians
_ASKED = 45
_LEVELS = 400


def _times(n: int, low: float = 0.02, high: float = 0.98) -> Tensor:
    return low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n


def _curvature(
    t: Tensor, weight: Callable[[Tensor, Tensor], Tensor], var: float = _STD**2, signal: int = 1
) -> float:
    """c = E_t[w sigma alpha/(alpha^2 s^2 + sigma^2)], with alpha to the power `signal`."""
    alpha, sigma = _SCHEDULE.alpha(t), _SCHEDULE.sigma(t)
    return float(
        (weight(alpha, sigma) * sigma * alpha**signal / (alpha**2 * var + sigma**2)).mean()
    )


def _default(alpha: Tensor, sigma: Tensor) -> Tensor:
    return sigma**2


def _wrong_curvatures(t: Tensor) -> tuple[tuple[float, str], ...]:
    alpha, sigma = _SCHEDULE.alpha(t), _SCHEDULE.sigma(t)
    apart = float((sigma**3).mean() * (alpha / (alpha**2 * _STD**2 + sigma**2)).mean())
    return (
        (_curvature(t, lambda a, s: s), "The weight is the variance σ², and you used σ."),
        (_curvature(t, lambda a, s: s**0), "You forgot the weight ω = σ²."),
        (_curvature(t, lambda a, s: a / s), "That is for ω = α/σ; the default is σ²."),
        (_curvature(t, _default, signal=0), "You forgot the factor α."),
        (_curvature(t, _default, var=_STD), "The denominator holds s², not s."),
        (_curvature(t, _default, var=1.0), "You forgot s² in the denominator of c."),
        (apart, "Average the whole product over t, not its factors one by one."),
        (_curvature(_times(4000, 0.0, 1.0), _default), "SRPO draws t from [0.02, 0.98]."),
    )


def _judge_beta(answer: Any) -> None:
    t, var = _times(4000), _STD**2
    c = _curvature(t, _default)
    slips = (
        (_BETA, "That is the β of the table: it is no inverse temperature for this weight."),
        (c, "That is c; now compare the pull it gives, divided by β, with the true score's."),
        (c * var, "That is the ratio of the two pulls; what does it do to β?"),
        (1 / (c * var), "That is the ratio of the two pulls; what does it do to β?"),
        (_BETA * c * var, "Upside down: is the surrogate's pull weaker or stronger than the true?"),
        (_BETA / c, "You forgot the true score's own curvature, 1/s²."),
        (_BETA / (c * _STD), "The true score of N(m, s²) has curvature 1/s², not 1/s."),
        (_BETA * var / c, "The true curvature is 1/s²; you divided where you should multiply."),
        (_BETA / var, "c is missing: the surrogate's pull is an average over all noise levels."),
        (c * var / _BETA, "That is 1/β; give β."),
        *((_BETA / (wrong * var), hint) for wrong, hint in _wrong_curvatures(t)),
    )
    otherwise = (
        "Equate the two stationary conditions, c (a − m) = 0.05 ∇Q and (a − m)/s² = β ∇Q, and "
        "compute c as a mean over a fine grid of t."
    )
    expect_number(answer, _BETA / (c * var), slips, otherwise)


def _sampled(function: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (T, 2) and variance (T,) per dimension of a gradient at each t, and the right mean."""
    eps, shares = fields.hermite(4)
    t, act = _times(_LEVELS).float(), torch.tensor([1.0, -0.5])
    law = toys.GaussianMixture(torch.tensor([[0.2, 0.3]]), _STD)
    n = (len(t), len(eps), 2)
    args = (act.expand(n), t[:, None].expand(n[:2]), eps.expand(n))
    act_rows, times, noise = (a.reshape(-1, 2) if a.ndim == 3 else a.reshape(-1) for a in args)
    value = called(
        function,
        *(law.denoiser(_SCHEDULE), _SCHEDULE, act_rows, times, noise),
        takes="denoise, schedule, act, t, eps",
    )
    grad = rows(value, tuple(act_rows.shape)).detach().reshape(n)
    mean = torch.einsum("e,tea->ta", shares.double(), grad)
    second = torch.einsum("e,tea->ta", shares.double(), grad.square())
    alpha, sigma = _SCHEDULE.alpha(t).double(), _SCHEDULE.sigma(t).double()
    pull = sigma * alpha / (alpha**2 * _STD**2 + sigma**2)
    want = (alpha / sigma * pull)[:, None] * (act - law.means[0]).double()
    return mean, (second - mean.square()).mean(-1), want


def _judge_without_baseline(answer: Any) -> None:
    mean, variance, want = _sampled(answer)
    t = _times(_LEVELS).float()
    scale = (_SCHEDULE.alpha(t) / _SCHEDULE.sigma(t)).double()[:, None]
    slips = (
        (want / scale, "The weight ω = α/σ is missing, so the mean has changed."),
        (want / scale**2, "The weight is upside down: ω = α/σ, not σ/α."),
        (want / scale * _SCHEDULE.sigma(t).double()[:, None] ** 2, "The weight is α/σ, not σ²."),
        (want * _SCHEDULE.sigma(t).double()[:, None], "You forgot the division by σ in ω = α/σ."),
        (want * scale, "The weight α/σ is in it twice."),
        (want / _SCHEDULE.alpha(t).double()[:, None], "You forgot α in ω = α/σ."),
        (0 * want, "On average your gradient is zero: a term with the pull in it was dropped."),
    )
    otherwise = (
        "The mean has changed, so this regularises differently. Only a term that averages to zero "
        "over ε at every t may be added or dropped."
    )
    expect_rows(mean, want, slips, otherwise, "The mean of your gradient")
    spread = float(variance.mean())
    if spread > 0.3:
        raise Slip(
            f"The mean is right, and the variance per dimension is {spread:.3g}; at most 0.3 is "
            "asked. With ω = α/σ nearly all of the variance comes from small t: does subtracting "
            "ε help there?"
        )


def _modes() -> Tensor:
    law = toys.density("8gaussians")
    assert isinstance(law, toys.GaussianMixture)
    return law.means


def _weights(answer: Any, t: Tensor) -> Tensor:
    value = rows(called(answer, _SCHEDULE, t, takes="schedule, t"), tuple(t.shape)).detach()
    if bool((value < 0).any()):
        raise Slip("A negative weight pushes points away from the data: ω must not be negative.")
    if not bool((value > 0).any()):
        raise Slip("Your weight is 0 at every t of the check: nothing regularises.")
    return value.float()


def _regularised(weight: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """SRPO's 49 targets and where the weight takes them at beta = 1 on 8gaussians (its Fig. 3)."""
    denoise = toys.density("8gaussians").denoiser(_SCHEDULE)
    pull = fields.pull(denoise, _SCHEDULE, t, lambda schedule, time: weight, BOUNDS, 101)
    force = pull.force.permute(2, 0, 1).numpy()
    points = descend(TARGETS, force, 1.0, np.array(BOUNDS))
    return torch.from_numpy(TARGETS).float(), torch.from_numpy(points).float()


def _judge_weight(answer: Any) -> None:
    t = _times(64).float()
    weight = _weights(answer, t)
    targets, points = _regularised(weight, t)
    distance = torch.cdist(points, _modes()).min(1).values
    inside = int((distance <= _SUPPORT).sum())
    if inside >= _ASKED:
        return
    known = {"σ²": variance_weight, "1": unit_weight, "α/σ": kl_weight}
    names = [
        name for name, fn in known.items() if _same_shape(weight, fn(_SCHEDULE, t.double()).float())
    ]
    told = f"{inside} of 49 points end in support, {_ASKED} are asked. "
    told += f"Up to a factor this is the library's ω = {names[0]}. " if names else ""
    if float((points - targets).norm(dim=-1).mean()) < 0.8:
        raise Slip(told + "The points hardly leave their targets: the pull is too weak against Q.")
    if float(points.norm(dim=-1).median()) < 2.3:
        raise Slip(
            told + "They move, but toward the empty centre: at large noise the modes blur into one "
            "blob there. Which t should count less?"
        )
    raise Slip(told + "Their direction is right: look at how strong the weight is, and at which t.")


def _same_shape(weight: Tensor, other: Tensor) -> bool:
    ratio = weight / other
    return float(ratio.std()) <= 1e-3 * float(ratio.mean())


TASKS = (
    Task(
        id="05.1",
        kind="compute",
        text=(
            "SRPO's table uses β = 0.05 and its code the weight ω = σ². For a behaviour N(m, s²I) "
            "the surrogate pulls the action a with c·(a − m), where "
            "c = E_t[ω σ α / (α² s² + σ²)] and t is uniform on [0.02, 0.98]; the true score pulls "
            "with (a − m)/s². With s = 0.5: which β, used with the true score, gives the action "
            "that the code finds with 0.05? (`VP()` has `alpha(t)` and `sigma(t)`. One number, "
            "right to 1 %.)"
        ),
        starter="beta = ...",
        judge=_judge_beta,
        right="The same policy, about twenty times the β: β alone says nothing without ω and s.",
    ),
    Task(
        id="05.2",
        kind="break it",
        text=(
            "Break the rule that the baseline lowers the variance. For ω = α/σ write SRPO's "
            "regularisation gradient (B, 2) so that its mean over ε is unchanged at every t and "
            "its variance per dimension, averaged over t in [0.02, 0.98], is at most 0.3 on "
            "N(m, 0.5²I). With the baseline, ω·(ε̂(a_t, t) − ε), it is 2.8. `perturb(schedule, act, "
            "t, eps)` is a_t. Hand your function to `explorable.try_`: the points go where "
            "the library's α/σ takes them."
        ),
        starter="def gradient(denoise, schedule, act, t, eps):\n    ...",
        judge=_judge_without_baseline,
        right="On one cluster the baseline pays only where σ > α s; this weight lives below that.",
    ),
    Task(
        id="05.3",
        kind="design",
        text=(
            "On 8gaussians the default ω = σ² pulls points into the empty centre. Design a weight "
            "ω(t) ≥ 0, shape (B,), with which at β = 1 at least 45 of SRPO's 49 targets end in "
            "support: within 0.71, two standard deviations, of a mode. Its size matters as well as "
            "its shape. `schedule.alpha(t)` and `schedule.sigma(t)` are at hand; the check uses 64 "
            "times, evenly spaced in [0.02, 0.98]. To look at it, hand `explorable.try_` a "
            "gradient with your weight."
        ),
        starter="def weight(schedule, t):\n    ...",
        judge=_judge_weight,
        right="Your weight listens to small noise, where the modes are still apart.",
    ),
)
