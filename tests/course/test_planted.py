"""Wrong answers that students give: each is rejected, and its hint names the slip."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from diffteach import toys
from diffteach.course import check, task, tasks
from diffteach.objectives import (
    kl_weight,
    score_regularization_grad,
    trust_region_loss,
    variance_weight,
)
from diffteach.schedule import EDM, VP, perturb, x0_from_eps
from diffteach.toys import density, empirical


def tweedie(scale_noise, divide=True):
    def broken(schedule, x_t, t, eps):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return (x_t - scale_noise(alpha, sigma) * eps) / (alpha if divide else 1)

    return broken


def scales(log_snr, root=torch.sqrt):
    return lambda t: (root(torch.sigmoid(log_snr(t))), root(torch.sigmoid(-log_snr(t))))


def mixture(*parts):
    """log sum of w N(m, s^2) for (w, m, s) in parts."""
    return lambda x: torch.logsumexp(
        torch.stack([math.log(w / s) - 0.5 * ((x - m) / s) ** 2 for w, m, s in parts]), 0
    )


def beta(weight=lambda a, s: s**2, std=0.5, true=4.0, low=0.02, high=0.98, signal=lambda a: a):
    t = torch.linspace(low, high, 3001, dtype=torch.float64)
    a, s = VP().alpha(t), VP().sigma(t)
    c = (weight(a, s) * s * signal(a) / (a**2 * std**2 + s**2)).mean()
    return float(0.05 * true / c)


def gradient(weight=kl_weight, baseline=False, factor=1.0):
    return lambda denoise, schedule, act, t, eps: (
        factor
        * score_regularization_grad(denoise, schedule, act, t, eps, weight(schedule, t), baseline)
    )


def dtql(freeze="D", reduce=torch.mean, power=2, sign=1.0):
    def loss(denoise, schedule, act, t, eps):
        x_t = perturb(schedule, act, t, eps)
        noise = denoise(x_t, t)
        clean = x0_from_eps(schedule, x_t, t, noise.detach() if freeze == "noise" else noise)
        if freeze == "D":
            clean = clean.detach()
        c_out = 1 / torch.sqrt(1 / t**2 + 1 / schedule.sigma_data**2)
        target = act.detach() if freeze == "action" else act
        return sign * reduce((clean - target) ** 2, -1) / c_out**power

    return loss


def surrogate(denoise, schedule, act, t, eps):
    weight = torch.ones_like(t)
    grad = score_regularization_grad(denoise, schedule, act, t, eps, weight)
    return (grad * act).sum(-1)


def pull(weight, baseline=True):
    return lambda denoise, schedule, act, t, eps: score_regularization_grad(
        denoise, schedule, act, t, eps, weight(t), baseline
    )


def through(denoise, schedule, act, t, eps):
    leaf = act.clone().requires_grad_()
    loss = trust_region_loss(denoise, schedule, leaf, t, eps)
    return torch.autograd.grad(loss.sum(), leaf)[0]


def twice(denoise, schedule, act, t, eps):
    there, back = (denoise(perturb(schedule, act, t, e), t) for e in (eps, -eps))
    return (there + back) / (2 * t[:, None])


def partly(part):
    return lambda denoise, schedule, act, t, eps: (
        (denoise(perturb(schedule, act, t, eps), t) - part(t)[:, None] * eps) / t[:, None]
    )


def recalled(shape=lambda gap, s: gap / (2 * s**2), scaled=True, give=None):
    """A memorising denoiser with a slip in its weights, or with another result."""

    def denoise(points, schedule, x_t, t):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        seen = alpha[:, None] * points if scaled else points
        gap = (x_t[:, None] - seen).square().sum(-1)
        clean = torch.softmax(-shape(gap, sigma), 1) @ points
        eps = (x_t - alpha * clean) / sigma
        return eps if give is None else give(eps, clean, sigma)

    return denoise


def nearest(points, schedule, x_t, t):
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    clean = points[torch.cdist(x_t / alpha, points).argmin(1)]
    return (x_t - alpha * clean) / sigma


def kernel(bandwidth):
    return lambda points, s, x_t, t: empirical(points, bandwidth).denoiser(s)(x_t, t)


def guide(value, power=1, scaled=True, held=False):
    """beta^power times the gradient of value(q, x, clean) with respect to x."""

    def push(q, denoise, schedule, x_t, t, beta):
        x = x_t.detach().requires_grad_()
        eps = denoise(x, t)
        eps = eps.detach() if held else eps
        clean = x0_from_eps(schedule, x, t, eps) if scaled else x - schedule.sigma(t)[:, None] * eps
        return beta**power * torch.autograd.grad(value(q, x, clean).sum(), x)[0]

    return push


def weighed(weight=None, subtract=True, scaled=True, gain=lambda alpha, sigma: alpha / sigma**2):
    """The contrast of two posterior means, with a slip in its weights, its scales or its gain."""

    def push(points, values, schedule, x_t, t, beta):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        seen = alpha[:, None] * points if scaled else points
        log_w = -(x_t[:, None] - seen).square().sum(-1) / (2 * sigma**2)
        plain = torch.softmax(log_w, 1)
        good = torch.softmax(log_w + beta * values, 1)
        if weight is not None:
            good = weight(plain, values, beta, alpha)
        return gain(alpha, sigma) * (good @ points - (plain @ points if subtract else 0))

    return push


good = 0.2 * math.exp(2)
share = good / (good + 0.8)


def likelihood(points, width):
    """-log of a kernel density of the points, up to a constant."""
    return lambda a: -torch.logsumexp(-(torch.cdist(a, points) ** 2) / (2 * width**2), 1)


def ball(variance, sign=1.0):
    return lambda a: sign * a.square().sum(-1) / (2 * variance)


PLANTED = [
    ("01.1", 0.9, "equally frequent"),
    ("01.1", 0.2, "the mean"),
    ("01.1", 1.0, "quantile"),
    ("01.1", 0.02 / 0.74, "weights are swapped"),
    ("01.1", 0.72 / 0.74, "shares are swapped"),
    ("01.1", 0.18, "sum of all weights"),
    ("01.1", 2.25, "ratio of the two"),
    ("01.1", 0.5, None),
    ("01.2", ball(0.125), "as narrow as *one*"),
    ("01.2", ball(4.0), "no points"),
    ("01.2", ball(8.125), "R²/2"),
    ("01.2", ball(4.125**0.5), "standard deviation"),
    ("01.2", ball(4.125, -1.0), "sign is wrong"),
    ("01.2", ball(4.125 / 2), "2 times"),
    ("01.2", lambda a: -density("8gaussians").log_prob(a), "breaks nothing"),
    ("01.2", lambda a: torch.exp(-a.square().sum(-1) / 8.25), "take its log"),
    ("01.2", lambda a: a.norm(dim=-1), None),
    ("01.2", lambda a: 0 * a[:, 0], None),
    ("01.3", lambda a, points: 0 * a[:, 0] + 3, "same everywhere"),
    ("01.3", lambda a, points: (a - points.mean(0)).square().sum(-1), "nearest"),
    ("01.3", lambda a, points: torch.cdist(a, points).mean(1), "nearest"),
    ("01.3", lambda a, points: 0.3 * torch.cdist(a, points).amin(1) ** 2, "rise faster"),
    ("01.3", lambda a, points: -torch.cdist(a, points).amin(1), "rise faster"),
    ("01.3", lambda a, points: likelihood(points, 0.3)(a), "prefers the densest"),
    ("01.3", lambda a, points: 10 * likelihood(points, 0.3)(a), "prefers the densest"),
    ("02.1", 1.0, "one of the clean points"),
    ("02.1", 0.3, "noisy point itself"),
    ("02.1", 0.375, "undoes the scaling"),
    ("02.1", math.tanh(0.3 / 0.36), "forgot α"),
    ("02.1", math.tanh(0.24 / 0.6), "variance"),
    ("02.1", math.tanh(4 / 3), "½"),
    ("02.1", 1 / (1 + math.exp(-4 / 3)), "probability"),
    ("02.1", -math.tanh(2 / 3), "sign"),
    ("02.1", 2 * math.tanh(2 / 3), "factor of 2"),
    ("02.1", 0.0, "before x is seen"),
    ("02.2", tweedie(lambda a, s: s), "unbroken"),
    ("02.2", tweedie(lambda a, s: s, divide=False), "other way round"),
    ("02.2", tweedie(lambda a, s: -s), "sign"),
    ("02.2", tweedie(lambda a, s: 2 * s), "leave out only"),
    ("02.2", tweedie(lambda a, s: 1, divide=False), "division by α"),
    ("02.2", lambda schedule, x_t, t, eps: x_t, None),
    ("02.2", lambda schedule, x_t, t, eps: eps, None),
    ("02.2", lambda schedule, x_t, t, eps: 0 * x_t, None),
    ("02.3", scales(lambda t: 12 * t - 6), "backwards"),
    ("02.3", scales(lambda t: 12 - 24 * t), "squares"),
    ("02.3", scales(lambda t: 3 - 6 * t), "from 3 to −3"),
    ("02.3", scales(lambda t: 6 - 12 * t, root=lambda x: x), "sum to 1"),
    ("02.3", scales(lambda t: 6 - 6 * t), "6 to 0"),
    ("02.3", lambda t: (VP().alpha(t), VP().sigma(t) + 1e-3), "variance-preserving"),
    ("02.3", lambda t: (torch.cos(1.5 * t + 0.05), torch.sin(1.5 * t + 0.05)), "no straight line"),
    ("02.3", lambda t: (0 * t + 0.5**0.5, 0 * t + 0.5**0.5), None),
    ("02.3", lambda t: (1 - t, t), "positive"),
    ("03.1", 0.615, "floor, which no network"),
    ("03.1", 0.70, "Not all of it"),
    ("03.1", 0.0, "above the floor"),
    ("03.1", 0.1209, "difference is asked"),
    ("03.1", 0.70 - 0.16 / 0.52, "d = 2"),
    ("03.1", 0.70 - 0.64 / 0.68, "not s"),
    ("03.1", 0.70 - 0.5 / 0.61, "α²s²"),
    ("03.1", 0.70 - 0.18 / 0.52, "denoised point's error"),
    ("03.1", -0.0846, "sign"),
    ("03.1", 8.46, "percent"),
    ("03.2", recalled(give=lambda eps, clean, s: clean), "denoised point"),
    ("03.2", recalled(give=lambda eps, clean, s: -eps / s), "score"),
    ("03.2", recalled(give=lambda eps, clean, s: -eps), "wrong sign"),
    ("03.2", recalled(scaled=False), "arrives at αa"),
    ("03.2", recalled(lambda gap, s: gap / s**2), "½"),
    ("03.2", recalled(lambda gap, s: gap / (2 * s)), "variance"),
    ("03.2", recalled(lambda gap, s: gap.sqrt() / s), "*squared*"),
    ("03.2", recalled(lambda gap, s: 0 * gap), "count alike"),
    ("03.2", recalled(lambda gap, s: gap / 2), "how large the noise"),
    ("03.2", nearest, "*nearest*"),
    ("03.2", kernel(0.1), None),
    ("03.2", lambda points, s, x_t, t: toys.density("two_moons").denoiser(s)(x_t, t), None),
    ("03.3", kernel(0), "still memorises"),
    ("03.3", kernel(0.05), "still memorises"),
    ("03.3", kernel(1.2), "too little detail"),
    ("03.3", lambda points, s, x_t, t: toys.density("8gaussians").denoiser(s)(x_t, t), "two_moons"),
    ("03.3", lambda points, s, x_t, t: 0 * x_t, "costs 2"),
    ("03.3", lambda points, s, x_t, t: x_t * s.sigma(t)[:, None], None),
    ("03.3", recalled(give=lambda eps, clean, s: clean), "costs 2"),
    ("04.1", -math.log(0.2), "not tilted"),
    ("04.1", share, "share of the good mode"),
    ("04.1", math.log(share), "sign"),
    ("04.1", -math.log(1 - share), "bad mode"),
    ("04.1", -math.log(good), "Normalise"),
    ("04.1", -math.log(0.2 * math.exp(0.5) / (0.2 * math.exp(0.5) + 0.8)), "divided by λ"),
    ("04.1", -math.log(0.2 * math.e / (0.2 * math.e + 0.8)), "forgot λ"),
    ("04.1", -math.log2(share), "bits"),
    ("04.1", 0.0, None),
    ("04.2", lambda p, q: (p - q).mean(0), "nothing is swapped"),
    ("04.2", lambda p, q: (q - p).mean(0), "flips the sign"),
    ("04.2", lambda p, q: (torch.exp(q - p) * (p - q)).mean(0), "sign is not"),
    ("04.2", lambda p, q: (torch.exp(q - p) * (q - p)).sum(0), "summed"),
    ("04.2", lambda p, q: torch.exp(q - p) * (q - p), "Average over the points"),
    ("04.2", lambda p, q: 2 * (torch.exp(q - p) * (q - p)).mean(0), "2 times"),
    ("04.2", lambda p, q: (torch.exp(q) * (q - p)).mean(0), "come from π already"),
    ("04.2", lambda p, q: torch.exp(q - p).mean(0), "nothing to learn"),
    ("04.2", lambda p, q: -(torch.exp(q - p) * p).mean(0), "cross entropy"),
    ("04.2", lambda p, q: (p - q).abs().mean(0), "absolute"),
    ("04.3", mixture((0.5, -3, 1), (0.5, 3, 1)), "reverse KL seeks"),
    ("04.3", mixture((0.7, -3, 0.5), (0.3, 3, 0.5)), "leaves out a hump"),
    ("04.3", mixture((0.5, -1.2, 1), (0.5, 1.2, 1)), "run into each other"),
    ("04.3", mixture((1, 0, 1)), "one hump"),
    ("04.3", mixture((0.97, 0, 1), (0.03, 4, 0.5)), "holds only 3%"),
    ("04.3", lambda x: mixture((0.5, -2, 1), (0.5, 2, 1))(x).exp(), "*log*"),
    ("04.3", lambda x: -mixture((0.5, -2, 1), (0.5, 2, 1))(x), "dies out"),
    ("04.3", lambda x: 0 * x, "dies out"),
    ("05.1", 0.05, "no inverse temperature"),
    ("05.1", beta(true=1.0), "1/s²"),
    ("05.1", beta(true=2.0), "not 1/s"),
    ("05.1", beta(true=0.25), "divided where you should multiply"),
    ("05.1", 0.05**2 / beta(), "Upside down"),
    ("05.1", 1 / beta(), "1/β"),
    ("05.1", beta(weight=lambda a, s: s), "you used σ"),
    ("05.1", beta(weight=lambda a, s: 1), "forgot the weight"),
    ("05.1", beta(weight=lambda a, s: a / s), "default is σ²"),
    ("05.1", beta(signal=lambda a: 1), "factor α"),
    ("05.1", beta(std=0.5**0.5), "holds s², not s"),
    ("05.1", beta(low=0.0, high=1.0), "[0.02, 0.98]"),
    ("05.1", 2 * beta(), "factor of 2"),
    ("05.2", gradient(baseline=True), "variance per dimension is 2.8"),
    ("05.2", gradient(variance_weight), "not σ²"),
    ("05.2", lambda d, s, act, t, eps: kl_weight(s, t)[:, None] * act, "mean has changed"),
    ("05.2", gradient(factor=-1.0), "wrong sign"),
    ("05.2", gradient(factor=2.0), "2 times"),
    ("05.2", gradient(lambda schedule, t: torch.ones_like(t)), "ω = α/σ is missing"),
    ("05.2", gradient(lambda s, t: s.sigma(t) / s.alpha(t)), "upside down"),
    ("05.2", gradient(lambda s, t: s.alpha(t)), "division by σ"),
    ("05.2", gradient(lambda s, t: 1 / s.sigma(t)), "forgot α"),
    ("05.2", lambda denoise, s, act, t, eps: 0 * act, "zero"),
    ("05.2", lambda denoise, s, act, t, eps: kl_weight(s, t)[:, None] * eps, "zero"),
    ("05.3", variance_weight, "σ²"),
    ("05.3", lambda s, t: 100 * variance_weight(s, t), "empty centre"),
    ("05.3", lambda s, t: torch.ones_like(t), "too weak"),
    ("05.3", lambda s, t: 100 * torch.ones_like(t), "ω = 1"),
    ("05.3", kl_weight, "α/σ"),
    ("05.3", lambda s, t: 0 * t, "nothing regularises"),
    ("05.3", lambda s, t: -kl_weight(s, t), "away from the data"),
    ("05.3", lambda s, t: 1 / kl_weight(s, t), None),
    ("05.3", lambda s, t: 50 * t, "empty centre"),
    ("06.1", 1 - math.exp(-1), "inside"),
    ("06.1", math.exp(-2), "floor"),
    ("06.1", 1.0, "summed"),
    ("06.1", math.sqrt(0.5), "radius"),
    ("06.1", math.exp(-0.5), "factors"),
    ("06.1", math.erfc(1.0), "on the line"),
    ("06.1", math.exp(-math.sqrt(2)), "its square"),
    ("06.1", 100 * math.exp(-1), "percent"),
    ("06.2", trust_region_loss, "Jacobian is still there"),
    ("06.2", dtql(freeze="noise"), "predicted noise"),
    ("06.2", dtql(freeze=""), "Jacobian is still there"),
    ("06.2", dtql(freeze="action"), "the gradient is not"),
    ("06.2", dtql(reduce=torch.sum), "mean over the coordinates"),
    ("06.2", dtql(power=0), "c_out² is missing"),
    ("06.2", dtql(power=1), "c_out must be squared"),
    ("06.2", dtql(power=4), None),
    ("06.2", dtql(sign=-1.0), "wrong sign"),
    ("06.2", surrogate, "never the value"),
    ("06.2", lambda denoise, s, act, t, eps: trust_region_loss(denoise, s, act.detach(), t, eps),
     "Nothing in your loss depends"),
    ("06.2", lambda denoise, s, act, t, eps: 0 * t, None),
    ("06.3", lambda s: 1 + s**2 / 0.25, "DTQL's own weight"),
    ("06.3", lambda s: torch.ones_like(s), "constant"),
    ("06.3", lambda s: s, None),
    ("06.3", lambda s: s**2, "C beside the narrow cluster"),
    ("06.3", lambda s: 1 / s**2, "A, the likeliest"),
    ("06.3", lambda s: (s > 2).float(), None),
    ("06.3", lambda s: -1 / s, "negative"),
    ("06.3", lambda s: 0 * s, "zero at every level"),
    ("06.3", lambda s: EDM().cdf(s), None),
    ("07.1", 0.73 / 0.9316, "takes away"),
    ("07.1", 1 - 0.82 / 0.964, "not s and τ"),
    ("07.1", 0.22, "how many digits"),
    ("07.1", 1 - 0.89 / 1.0916, "σ², not σ"),
    ("07.1", 1 - 0.89 / 1.45, "α times their size"),
    ("07.1", 1 - 0.79 / 1.126, "α times their size"),
    ("07.1", 1 - 0.25 / 0.81, "without noise"),
    ("07.1", 1 - 0.9316 / 0.73, "Upside down"),
    ("07.1", 0.9316 / 0.2016, "is asked"),
    ("07.2", pull(lambda s: 1 / s), "weight of the *full*"),
    ("07.2", pull(lambda s: 1 / s, baseline=False), None),
    ("07.2", pull(lambda s: 1 / s + 4 * s, baseline=False), "draw by draw"),
    ("07.2", pull(lambda s: 1 + 4 * s**2), "one more 1/σ"),
    ("07.2", pull(lambda s: 1 + 0 * s), "weight is missing"),
    ("07.2", pull(lambda s: s), "c_out²"),
    ("07.2", pull(lambda s: 1 / s + s), "σ_data is missing"),
    ("07.2", pull(lambda s: 2 / s + 8 * s), "Twice"),
    ("07.2", pull(lambda s: -1 / s - 4 * s), "sign"),
    ("07.2", through, "Jacobian"),
    ("07.2", lambda denoise, s, act, t, eps: t, "shape"),
    ("07.3", pull(lambda s: 1 / s), "ε itself is all you see"),
    ("07.3", pull(lambda s: 1 / s, baseline=False), "1.00 times"),
    ("07.3", pull(lambda s: 1 / s + 4 * s), "held constant"),
    ("07.3", pull(lambda s: 1 + 0 * s), "ω = 1"),
    ("07.3", pull(lambda s: 2 / s, baseline=False), "2 times"),
    ("07.3", pull(lambda s: -1 / s, baseline=False), "wrong sign"),
    ("07.3", lambda denoise, s, act, t, eps: eps, "mean is zero"),
    ("07.3", through, "backwards"),
    ("07.3", twice, "More than one"),
    ("07.3", partly(lambda s: s**2 / (s**2 + 1)), "at most 0.6"),
    ("08.1", 1 / 2.6, "Upside down"),
    ("08.1", 0.52 / 0.25, "forgot its α"),
    ("08.1", 0.52 / 0.16, "not two"),
    ("08.1", 0.68 / 0.4, "you took s"),
    ("08.1", 0.61 / 0.2, "variance is α²s²"),
    ("08.1", 0.56 / 0.2, "variance is α²s²"),
    ("08.1", 1.25, "s = 1"),
    ("08.1", 0.52, "divided by"),
    ("08.1", 1.8, "by its signal"),
    ("08.1", 1.0, "no noise"),
    ("08.1", 5.2, "factor of 2"),
    ("08.2", guide(lambda q, x, clean: q(x)), "denoise it first"),
    ("08.2", guide(lambda q, x, clean: q(clean.detach() + x - x.detach())), "moves with x_t"),
    ("08.2", guide(lambda q, x, clean: q(clean), 0), "β is missing"),
    ("08.2", guide(lambda q, x, clean: q(clean), 2), "enters once"),
    ("08.2", guide(lambda q, x, clean: -q(clean)), "wrong sign"),
    ("08.2", guide(lambda q, x, clean: 2 * q(clean)), "2 times"),
    ("08.2", guide(lambda q, x, clean: q(clean), scaled=False), "divide by α"),
    ("08.2", guide(lambda q, x, clean: q(clean), held=True), "do not detach"),
    ("08.2", lambda q, denoise, s, x_t, t, beta: q(x_t), "shape"),
    ("08.2", lambda q, denoise, s, x_t, t, beta: 0 * x_t, None),
    ("08.3", weighed(lambda plain, q, beta, a: beta * plain * (q - (plain * q).sum(1, True)),
                     subtract=False), "small β only"),
    ("08.3", weighed(gain=lambda alpha, sigma: 1), "multiply by"),
    ("08.3", weighed(subtract=False), "subtract the same"),
    ("08.3", weighed(lambda plain, q, beta, a: torch.softmax(beta * q, 0).expand_as(plain)),
     "could not"),
    ("08.3", weighed(scaled=False), "arrives at αa"),
    ("08.3", weighed(lambda plain, q, beta, a: plain * q / (plain * q).sum(1, True).clamp(1e-9)),
     "not Q"),
    ("08.3", weighed(gain=lambda alpha, sigma: -alpha / sigma**2), "sign"),
    ("08.3", weighed(gain=lambda alpha, sigma: alpha / sigma), "1/σ"),
    ("08.3", lambda points, values, s, x_t, t, beta: 0 * x_t, "100%"),
    ("09.1", math.log(32), "same point every time"),
    ("09.1", math.log(32) - 1, "N → ∞"),
    ("09.1", (math.log(32) - 31 / 32) / math.log(2), "bits"),
    ("09.1", 31 / 32, "second term"),
    ("09.1", math.log(32) + 31 / 32, "sign"),
    ("09.1", 31 - math.log(32), "other way round"),
    ("09.1", math.log(33) - 32 / 33, "N is 32"),
    ("09.1", 1.0, "integrate"),
    ("09.2", lambda energy: torch.softmax(energy, 0), "that make the draws a posterior"),
    ("09.2", lambda energy: torch.exp(energy), "that make the draws a posterior"),
    ("09.2", lambda energy: (energy == energy.amax(0)).float(), "greedily"),
    ("09.2", lambda energy: torch.softmax(energy, 1), "axis 1"),
    ("09.2", lambda energy: torch.softmax(energy / 3, 0), "change when the energies do"),
    ("09.2", lambda energy: energy, "negative"),
    ("09.2", lambda energy: 0 * energy, "underflows"),
    ("09.2", lambda energy: energy.mean(0), "shape"),
    ("09.3", lambda energy: torch.softmax(energy, 0), "themselves"),
    ("09.3", lambda energy: torch.softmax(energy / 3, 0), "hurt where many count"),
    ("09.3", lambda energy: torch.softmax(energy / 1.1, 0), "timid"),
    ("09.3", lambda energy: (energy == energy.amax(0)).float(), "fewer make the target wilder"),
    ("09.3", lambda energy: torch.ones_like(energy), "learn noise"),
    ("09.3", lambda energy: torch.softmax(energy / energy.std(), 0), None),
    ("09.3", lambda energy: torch.exp(energy - 300), "Subtract"),
    ("09.3", lambda energy: torch.log_softmax(energy, 0), "negative"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "hint"), PLANTED)
def test_a_planted_wrong_answer_is_rejected_with_its_hint(name, answer, hint) -> None:
    result = check(name, answer)
    assert result.answered
    assert not result.passed
    assert "cannot be used" not in result.hint
    assert hint is None or hint in result.hint


def test_every_task_has_wrong_answers_planted() -> None:
    planted = Counter(name for name, _, _ in PLANTED)
    assert set(planted) == {found.id for found in tasks()}
    assert min(planted.values()) >= 5


def test_no_hint_gives_the_answer_away() -> None:
    numbers = {
        "01.1": "0.69",
        "02.1": "0.58",
        "03.1": "0.08",
        "04.1": "0.43",
        "05.1": "1.08",
        "06.1": "0.36",
        "07.1": "0.21",
        "08.1": "2.6",
        "09.1": "2.49",
    }
    for name, answer, _ in PLANTED:
        if name in numbers:
            assert numbers[name] not in check(name, answer).hint
            assert numbers[name] not in task(name).text
