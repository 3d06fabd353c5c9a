"""Reference answers, for instructors and tests: every `check(id, SOLUTIONS[id])` passes."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.objectives import kl_weight, score_regularization_grad
from diffteach.schedule import EDM, VP, perturb, x0_from_eps
from diffteach.types import Denoise, QFunction, Schedule

Rows = Float[Tensor, " B"]
Points = Float[Tensor, "B 2"]


def expected_value() -> float:
    """01.1: the mean of 0 and 1 with weights (1 - tau) 0.8 and tau 0.2."""
    return 0.9 * 0.2 / (0.9 * 0.2 + 0.1 * 0.8)


def one_gaussian(a: Points) -> Rows:
    """01.2: mean 0, variance R^2/2 + 1/8 per coordinate."""
    return a.square().sum(-1) / (2 * (8 / 2 + 1 / 8))


def stay(a: Points, points: Float[Tensor, "n 2"]) -> Rows:
    """01.3: three times the distance to the nearest point of the data."""
    return 3 * torch.cdist(a, points).amin(1)


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


def reducible_loss() -> float:
    """03.1: the loss less its floor, d alpha^2 s^2/(alpha^2 s^2 + sigma^2)."""
    signal = 0.8**2 * 0.5**2
    return 0.70 - 2 * signal / (signal + 0.6**2)


def memory(points: Float[Tensor, "N 2"], schedule: Schedule, x_t: Points, t: Rows) -> Points:
    """03.2: the posterior mean if the points were all there is, turned into noise."""
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    gap = (x_t[:, None] - alpha[:, None] * points).square().sum(-1)
    clean = torch.softmax(-gap / (2 * sigma**2), 1) @ points
    return (x_t - alpha * clean) / sigma


def smooth(points: Float[Tensor, "N 2"], schedule: Schedule, x_t: Points, t: Rows) -> Points:
    """03.3: -sigma times the score when every point stands for a Gaussian of width 0.3."""
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    spread = (0.3 * alpha) ** 2 + sigma**2
    gap = (x_t[:, None] - alpha[:, None] * points).square().sum(-1)
    centre = torch.softmax(-gap / (2 * spread), 1) @ points
    return sigma * (x_t - alpha * centre) / spread


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


def too_long() -> float:
    """08.1: the naive slope beta b over the exact one, beta b alpha s^2/D."""
    return (0.8**2 * 0.5**2 + 0.6**2) / (0.8 * 0.5**2)


def through(
    q: QFunction, denoise: Denoise, schedule: Schedule, x_t: Points, t: Rows, beta: float | int
) -> Points:
    """08.2: the gradient of Q at the denoised point with respect to the noisy one."""
    x = x_t.detach().requires_grad_()
    clean = x0_from_eps(schedule, x, t, denoise(x, t))
    return beta * torch.autograd.grad(q(clean).sum(), x)[0]


def contrast(
    points: Float[Tensor, "N 2"],
    values: Float[Tensor, " N"],
    schedule: Schedule,
    x_t: Points,
    t: Rows,
    beta: float | int,
) -> Points:
    """08.3: two posterior means of the known points, one with exp(beta Q) as a further weight."""
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    gap = (x_t[:, None] - alpha[:, None] * points).square().sum(-1)
    plain, good = (torch.softmax(b * values - gap / (2 * sigma**2), 1) @ points for b in (0, beta))
    return alpha / sigma**2 * (good - plain)


def best_of_nats() -> float:
    """09.1: the integral of N u^(N-1) ln(N u^(N-1)) over u."""
    return math.log(32) - 31 / 32


def unweighted(energy: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
    """09.2: every draw counts alike."""
    return torch.ones_like(energy)


def steady(energy: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
    """09.3: the temperature rises with the spread of a column's energies."""
    return torch.softmax(energy / (1 + energy.std(0) / 10), 0)


def kept_push() -> float:
    """07.1: one less the ratio of the data's noised variance to the policy's."""
    return 1 - (0.36 * 0.25 + 0.64) / (0.36 * 0.81 + 0.64)


def held_gradient(denoise: Denoise, schedule: EDM, act: Points, t: Rows, eps: Points) -> Points:
    """07.2: (a - D)/c_out^2 with a - D = sigma (eps_hat - eps)."""
    weight = 1 / t + t / schedule.sigma_data**2
    return score_regularization_grad(denoise, schedule, act, t, eps, weight)


def quiet_gradient(denoise: Denoise, schedule: EDM, act: Points, t: Rows, eps: Points) -> Points:
    """07.3: 2/(d sigma) times eps_hat, less the part of eps that one Gaussian's eps_hat holds."""
    part = t**2 / (t**2 + schedule.sigma_data**2)
    eps_hat = denoise(perturb(schedule, act, t, eps), t)
    return (eps_hat - part[:, None] * eps) / t[:, None]


SOLUTIONS: dict[str, Any] = {
    "01.1": expected_value(),
    "01.2": one_gaussian,
    "01.3": stay,
    "02.1": denoised_point(),
    "02.2": broken_tweedie,
    "02.3": scales,
    "03.1": reducible_loss(),
    "03.2": memory,
    "03.3": smooth,
    "04.1": price_of_one_mode(),
    "04.2": forward_divergence,
    "04.3": covering_target,
    "05.1": effective_beta(),
    "05.2": gradient_without_baseline,
    "05.3": small_noise_weight,
    "06.1": share_outside(),
    "06.2": frozen_loss,
    "06.3": likelihood_weight,
    "07.1": kept_push(),
    "07.2": held_gradient,
    "07.3": quiet_gradient,
    "08.1": too_long(),
    "08.2": through,
    "08.3": contrast,
    "09.1": best_of_nats(),
    "09.2": unweighted,
    "09.3": steady,
}
