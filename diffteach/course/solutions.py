"""Reference answers, for instructors and tests: every `check(id, SOLUTIONS[id])` passes."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.objectives import kl_weight, score_regularization_grad
from diffteach.schedule import EDM, VP, perturb
from diffteach.types import Denoise, Schedule

Rows = Float[Tensor, " B"]
Points = Float[Tensor, "B 2"]


def denoised_point() -> float:
    """02.1: p(+1|x) - p(-1|x) = tanh(alpha x/sigma^2)."""
    return math.tanh(0.8 * 0.3 / 0.6**2)


def broken_tweedie(schedule: Schedule, x_t: Points, t: Rows, eps: Points) -> Points:
    """02.2: sigma is left out before the noise; it is 1 where the noise is large."""
    return (x_t - eps) / schedule.alpha(t)[:, None]


def scales(t: Rows) -> tuple[Rows, Rows]:
    """02.3: alpha^2 = sigmoid(log-SNR) and sigma^2 = sigmoid(-log-SNR)."""
    log_snr = 6 - 12 * t
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()


def price_of_one_mode() -> float:
    """04.1: -log of the mode's share in the tilted target."""
    good = 0.2 * math.exp(1 / 0.5)
    return -math.log(good / (good + 0.8))


def forward_divergence(
    log_pi: Float[Tensor, "N L"], log_target: Float[Tensor, "N L"]
) -> Float[Tensor, " L"]:
    """04.2: importance weights turn the average over pi into one over the target."""
    log_ratio = log_target - log_pi
    return (log_ratio.exp() * log_ratio).mean(0)


def covering_target(x: Rows) -> Rows:
    """04.3: two unit Gaussians 3.6 apart; the valley is 40 % as high as the humps."""
    return torch.logaddexp(-0.5 * (x - 1.8) ** 2, -0.5 * (x + 1.8) ** 2)


def effective_beta() -> float:
    """05.1: beta/(c s^2), with c on a grid of t."""
    t, s = torch.linspace(0.02, 0.98, 2001), 0.5
    alpha, sigma = VP().alpha(t), VP().sigma(t)
    c = float((sigma**2 * sigma * alpha / (alpha**2 * s**2 + sigma**2)).mean())
    return 0.05 / (c * s**2)


def gradient_without_baseline(
    denoise: Denoise, schedule: Schedule, act: Points, t: Rows, eps: Points
) -> Points:
    """05.2: weight alpha/sigma on the predicted noise alone."""
    weight = kl_weight(schedule, t)
    return score_regularization_grad(denoise, schedule, act, t, eps, weight, baseline=False)


def small_noise_weight(schedule: Schedule, t: Rows) -> Rows:
    """05.3: 3 alpha^2/sigma^2, which grows where the modes are still apart."""
    return 3 * (schedule.alpha(t) / schedule.sigma(t)) ** 2


def share_outside() -> float:
    """06.1: the loss is 1 at squared radius d s^2 = 1/2, and exp(-r^2/(2 s^2)) lies beyond."""
    return math.exp(-0.5 / (2 * 0.5**2))


def frozen_loss(denoise: Denoise, schedule: EDM, act: Points, t: Rows, eps: Points) -> Rows:
    """06.2: DTQL's loss with the denoised point detached."""
    x = perturb(schedule, act, t, eps)
    clean = (x - t[:, None] * denoise(x, t)).detach()
    return (1 / t**2 + 1 / schedule.sigma_data**2) * (clean - act).square().mean(-1)


def likelihood_weight(sigma: Rows) -> Rows:
    """06.3: one over the law's density per d log sigma; the loss is then -log p (I-MMSE)."""
    share = EDM().cdf(sigma)
    return 1 / (share * (1 - share))


SOLUTIONS: dict[str, Any] = {
    "02.1": denoised_point(),
    "02.2": broken_tweedie,
    "02.3": scales,
    "04.1": price_of_one_mode(),
    "04.2": forward_divergence,
    "04.3": covering_target,
    "05.1": effective_beta(),
    "05.2": gradient_without_baseline,
    "05.3": small_noise_weight,
    "06.1": share_outside(),
    "06.2": frozen_loss,
    "06.3": likelihood_weight,
}
