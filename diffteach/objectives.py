"""Every loss of the three papers: pure functions of one residual, r = eps_hat(x_t, t) - eps.

`t` and `eps` are arguments, results are per sample, and nothing is averaged over the batch.
`weight` (B,) multiplies the squared eps-residual.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from diffteach.schedule import EDM, perturb, x0_from_eps
from diffteach.types import Denoise, QFunction, Schedule


def denoising_loss(
    denoise: Denoise,
    schedule: Schedule,
    x0: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "B A"],
    weight: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """weight * ||eps_hat - eps||^2, summed over A.

    Behaviour cloning when x0 is data (SRPO Eq. 13), a trust region when x0 is the policy's action:
    then the gradient flows through the denoiser's input (DTQL Eq. 4).
    """
    residual = denoise(perturb(schedule, x0, t, eps), t) - eps
    return weight * residual.square().sum(-1)


def trust_region_loss(
    denoise: Denoise,
    schedule: EDM,
    act: Float[Tensor, "B A"],
    t: Float[Tensor, " B"],
    eps: Float[Tensor, "B A"],
) -> Float[Tensor, " B"]:
    """DTQL's trust region ((D(a + sigma eps) - a)/c_out)^2, mean over A (DTQL Eq. 4).

    In eps-residuals its weight is `edm_weight`. TypeError unless the schedule is EDM.
    """
    weight = edm_weight(schedule, t)
    return denoising_loss(denoise, schedule, act, t, eps, weight) / act.shape[-1]


def score_regularization_grad(
    denoise: Denoise,
    schedule: Schedule,
    act: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "B A"],
    weight: Float[Tensor, " B"],
    baseline: bool = True,
) -> Float[Tensor, "B A"]:
    """Gradient on the action that descends E_t[w sigma/alpha KL(pi_t || mu_t)] (SRPO Eq. 15).

    weight * (eps_hat - eps), or weight * eps_hat without the zero-mean baseline. Nothing flows
    through the denoiser.
    """
    with torch.no_grad():
        eps_hat = denoise(perturb(schedule, act, t, eps), t)
        return weight.unsqueeze(-1) * (eps_hat - eps if baseline else eps_hat)


def vsd_grad(
    denoise_real: Denoise,
    denoise_fake: Denoise,
    schedule: Schedule,
    act: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "B A"],
    weight: Float[Tensor, " B"],
) -> Float[Tensor, "B A"]:
    """weight * (eps_real - eps_fake): the reverse KL with the policy's own score (DTQL Eq. 8)."""
    with torch.no_grad():
        x_t = perturb(schedule, act, t, eps)
        return weight.unsqueeze(-1) * (denoise_real(x_t, t) - denoise_fake(x_t, t))


def dmd_grad(
    denoise_real: Denoise,
    denoise_fake: Denoise,
    schedule: Schedule,
    act: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "B A"],
) -> Float[Tensor, "B A"]:
    """(x0_fake - x0_real)/mean|act - x0_real|: DTQL's official KL, weighted as in DMD.

    The weight depends on the noise, so this is not the gradient of a weighted KL; with a fixed
    weight it would be `vsd_grad`, as x0_fake - x0_real = sigma/alpha (eps_real - eps_fake).
    """
    with torch.no_grad():
        x_t = perturb(schedule, act, t, eps)
        real, fake = (
            x0_from_eps(schedule, x_t, t, d(x_t, t)) for d in (denoise_real, denoise_fake)
        )
        return (fake - real) / (act - real).abs().mean(-1, keepdim=True).clamp_min(1e-12)


def reverse_sampling_target(
    q: QFunction,
    schedule: Schedule,
    x_t: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "M B A"],
    temperature: float | int | Float[Tensor, ""],
) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
    """Denoising target sum(w eps)/sum(w) with w = exp(Q(x_0)/temperature), and log mean w.

    x_0 = (x_t - sigma eps)/alpha is drawn backwards from x_t (SDAC Eqs. 10 and 15). ValueError
    unless the temperature is positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {float(temperature):g}")
    if len(eps) == 0:
        raise ValueError("eps must hold at least one particle, got none")
    with torch.no_grad():
        log_w = q(x0_from_eps(schedule, x_t, t, eps)) / temperature
        target = torch.einsum("mb,mba->ba", torch.softmax(log_w, 0), eps)
        return target, torch.logsumexp(log_w, 0) - math.log(len(eps))


def rssm_loss(
    denoise: Denoise,
    x_t: Float[Tensor, "B A"],
    t: Shaped[Tensor, " B"],
    target: Float[Tensor, "B A"],
    weight: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """weight * ||eps_hat(x_t, t) - target||^2, summed over A (SDAC Eq. 9)."""
    return weight * (denoise(x_t, t) - target).square().sum(-1)


def raw_weight(
    log_weight: Float[Tensor, "*B"], temperature: float | int | Float[Tensor, ""] = 1.0
) -> Float[Tensor, "*B"]:
    """exp(log_weight): the weight of SDAC Eq. 15; a constant against overflow is the caller's."""
    return log_weight.exp()


def mean_one_weight(
    log_weight: Float[Tensor, "*B"], temperature: float | int | Float[Tensor, ""] = 1.0
) -> Float[Tensor, "*B"]:
    """exp(log_weight) over its mean: the same ratios, whatever constant is added to the logs."""
    return torch.softmax(log_weight.flatten(), 0).reshape(log_weight.shape) * log_weight.numel()


def standardised_weight(
    log_weight: Float[Tensor, "*B"], temperature: float | int | Float[Tensor, ""] = 1.0
) -> Float[Tensor, "*B"]:
    """exp(z/temperature) over its mean, z = (Q - mean)/std in the batch within +-3.

    SDAC's "Q normalised within the batch", as its authors told their reviewers; the bounds are
    those of DPMD in their code. Values of states may differ by so much that without z one or two
    rows of a batch count; where all rows are of one state, z is another temperature.
    """
    std, mean = torch.std_mean(log_weight, correction=0)
    z = (log_weight - mean) / std.clamp_min(1e-12)
    return mean_one_weight(z.clamp(-3, 3) / temperature)


def self_weight(
    log_weight: Float[Tensor, "*B"], temperature: float | int | Float[Tensor, ""] = 1.0
) -> Float[Tensor, "*B"]:
    """1 for every row (SDAC's code): with a single particle nothing of the energy is left."""
    return torch.ones_like(log_weight)


def contrastive_energy_loss(
    energy: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    support: Float[Tensor, "M B A"],
    t: Shaped[Tensor, " B"],
    eps: Float[Tensor, "M B A"],
    weight: Float[Tensor, "M B"],
) -> Float[Tensor, " B"]:
    """Cross-entropy -sum_i weight_i log softmax_i f(x_t^i, t) over M actions at one t (CEP Sec. 3).

    energy: x_t (M, B, A), t (B,) -> (M, B). With weight = exp(beta Q(x_0)) the optimum for actions
    of the behaviour is f = log E[exp(beta Q(x_0)) | x_t] up to a function of t; a weight that is
    normalised over the M is biased by O(1/M). ValueError for fewer than two actions.
    """
    if len(support) < 2:
        raise ValueError(
            f"support must hold at least two actions per state to compare, got {len(support)}"
        )
    logits = energy(perturb(schedule, support, t, eps), t)
    return -(weight * torch.log_softmax(logits, 0)).sum(0)


def variance_weight(schedule: Schedule, t: Shaped[Tensor, " B"]) -> Float[Tensor, " B"]:
    """SRPO's default weight on the eps-residual, sigma^2 ("VDS" in the official code)."""
    return schedule.sigma(t).square()


def unit_weight(schedule: Schedule, t: Shaped[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Weight 1 on the eps-residual ("stable" in the official code of SRPO)."""
    return torch.ones_like(t, dtype=t.dtype if t.is_floating_point() else torch.get_default_dtype())


def edm_weight(schedule: Schedule, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Weight (sigma^2 + sigma_data^2)/sigma_data^2 on the eps-residual, 1/c_out^2 on the clean one.

    What DTQL weights both its behaviour and its trust region by (Eqs. 3 and 4; Karras et al. 2022).
    TypeError unless the schedule is EDM.
    """
    if not isinstance(schedule, EDM):
        raise TypeError(
            f"schedule must be EDM for the trust region's weight, got {type(schedule).__name__}; "
            f"denoising_loss takes any schedule and weight"
        )
    return schedule.sigma(t).square() / schedule.sigma_data**2 + 1


def kl_weight(schedule: Schedule, t: Shaped[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Weight alpha/sigma on the eps-residual: every KL_t counts alike ("score" in SRPO's code)."""
    return schedule.alpha(t) / schedule.sigma(t)


def expectile_loss(diff: Float[Tensor, "*B"], tau: float) -> Float[Tensor, "*B"]:
    """|tau - 1(diff < 0)| diff^2 with diff = Q - V (IQL Eq. 5); ValueError unless 0 < tau < 1."""
    if not 0 < tau < 1:
        raise ValueError(f"tau must lie strictly between 0 and 1, got {tau}")
    return torch.where(diff < 0, 1 - tau, tau) * diff.square()


def td_target(
    rew: Float[Tensor, " B"],
    done: Float[Tensor, " B"] | Bool[Tensor, " B"],
    next_value: Float[Tensor, " B"],
    discount: float | int,
) -> Float[Tensor, " B"]:
    """rew + discount (1 - done) next_value; `done` is termination, a truncation bootstraps."""
    return rew + discount * (1 - done.to(rew.dtype)) * next_value


def soft_clipped(heads: Float[Tensor, "E *B"], least: float | int) -> Float[Tensor, "*B"]:
    """least * min + (1 - least) * max over critics; 0.75 in BCQ (Eq. 13) and in BEAR's code."""
    return least * heads.amin(0) + (1 - least) * heads.amax(0)


def advantage_weight(
    advantage: Float[Tensor, " B"], beta: float | int, cap: float | int = 100.0
) -> Float[Tensor, " B"]:
    """min(exp(beta A), cap), the weight of a datum's likelihood (AWR; IQL Eq. 7 and its code)."""
    return (beta * advantage).clamp(max=math.log(cap)).exp()


def kl_from_normal(
    mean: Float[Tensor, "B L"], log_std: Float[Tensor, "B L"]
) -> Float[Tensor, "B L"]:
    """KL(N(mean, std^2) || N(0, 1)) of each coordinate (Kingma & Welling 2014, App. B)."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std


def mmd(
    x: Float[Tensor, "N B A"], y: Float[Tensor, "M B A"], width: float | int
) -> Float[Tensor, " B"]:
    """Maximum mean discrepancy of two sets per row, kernel exp(-|x - y|_1 / (2 width)) (BEAR).

    sqrt(mean k(x, x) + mean k(y, y) - 2 mean k(x, y) + 1e-6): each point also meets itself, and
    the square root keeps a slope at equal sets, as in BEAR's code.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = (a.unsqueeze(0) - b.unsqueeze(1)).abs().sum(-1)
        return torch.exp(-distance / (2 * width)).mean((0, 1))

    return (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y) + 1e-6).sqrt()
