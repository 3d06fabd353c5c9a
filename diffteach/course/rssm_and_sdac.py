"""Tasks of lesson 09, against "the draws are a posterior" and "one sample is enough"."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffteach import toys
from diffteach.course.answers import Slip, called, expect_number, rows
from diffteach.course.tasks import Task

_CANDIDATES, _PARTICLES, _ROWS = 32, 16, 1500
_LOW, _HIGH = 1.0, 4.0
_KEPT, _WANTED = 1.10, 0.95
_TAKES = "energy"
_LARGEST = 1e20


def _judge_best_of(answer: Any) -> None:
    n = _CANDIDATES
    right = math.log(n) - (n - 1) / n
    slips = (
        (math.log(n), "Nearly: ln N would need the best of N to be the same point every time, "
         "F = 1. On average N F^(N−1) is smaller."),
        (math.log(n) - 1, "Close, and right for N → ∞; at N = 32 the second term is not yet 1."),
        (right / math.log(2), "That is in bits; nats are asked."),
        ((n - 1) / n, "That is only the second term; what does the ln of the density ratio's "
         "factor N add?"),
        (math.log(n) + (n - 1) / n, "Mind the sign: E[ln F] is negative where F < 1."),
        (math.log(n) / n, "The ratio of the densities is N F^(N−1): the factor N stands in its "
         "logarithm, as ln N."),
        (math.log(n + 1) - n / (n + 1), "N is 32, the best one among them."),
        (n - 1 - math.log(n), "That is the divergence the other way round, KL(π‖π_N): the mean "
         "is taken under the law of the best."),
    )  # fmt: skip
    otherwise = (
        "With u = F(Q), uniform under π, the best of N has density N u^(N−1): integrate "
        "N u^(N−1) ln(N u^(N−1)) over u from 0 to 1."
    )
    expect_number(answer, right, slips, otherwise, 0.005)


class _Draws(NamedTuple):
    """Clean points (M, B, 2) drawn backwards, their energies, and the exact answers (B, 2)."""

    x: Tensor
    energy: Tensor
    exact: Tensor


@lru_cache(maxsize=4)
def _drawn(noise: float, n: int = _ROWS, seed: int = 1) -> _Draws:
    """On SDAC's mixture, from noisy points of its own law; in the coordinate x_t/alpha."""
    law, generator = toys.density("sdac_mixture"), torch.Generator().manual_seed(seed)
    z = law.sample(n, generator) + noise * torch.randn(n, 2, generator=generator)
    x = z - noise * torch.randn(_PARTICLES, n, 2, generator=generator)
    exact = z + noise**2 * law.noised(1.0, noise).score(z)
    return _Draws(x, law.log_prob(x), exact)


def _weights(answer: Any, energy: Tensor) -> Tensor:
    """A student's weights, non-negative and with something in every column, summing to 1."""
    got = rows(called(answer, energy, takes=_TAKES), tuple(energy.shape)).detach()
    if float(got.abs().max()) > _LARGEST:
        raise Slip(
            f"A weight of {float(got.abs().max()):.0e} leaves no digits for what it multiplies: "
            "subtract the column's largest energy before exp, or scale the weights down."
        )
    if bool((got < 0).any()):
        raise Slip("Weights must not be negative: a mean of points would leave the points.")
    if bool((got.sum(0) == 0).any()):
        raise Slip(
            "All weights are 0 for some of the noisy points: exp(E) underflows where every "
            "particle is far away. Subtract the column's largest energy first, as softmax does."
        )
    return got / got.sum(0)


def _judge_unweighted(answer: Any) -> None:
    energy = _drawn(_LOW, 200).energy
    got, other = _weights(answer, energy), _weights(answer, -energy.flip(1))
    tilted = torch.softmax(energy.double(), 0)
    if torch.allclose(got, other, atol=1e-6):
        return
    if torch.allclose(got, tilted, atol=1e-4):
        raise Slip(
            "These are the weights that make the draws a posterior, exp(E) over its sum. "
            "What would somebody do who thinks that they are one already?"
        )
    if bool((got.max(0).values > 0.999).all()):
        raise Slip("You keep the best draw alone: that still asks E, and asks it greedily.")
    if torch.allclose(torch.softmax(energy.double(), 1) / torch.softmax(energy.double(), 1).sum(0),
                      got, atol=1e-4):  # fmt: skip
        raise Slip("You normalised over the noisy points (axis 1); the energy is still in it.")
    raise Slip(
        "Your weights change when the energies do. The posterior's own draws would need none: "
        "every draw counts alike."
    )


def _error(weight: Tensor, drawn: _Draws) -> float:
    """Mean squared distance of the weighted means from the exact denoised points."""
    found = torch.einsum("mb,mba->ba", weight, drawn.x.double())
    return float((found - drawn.exact).square().sum(-1).mean())


def _judge_steady(answer: Any) -> None:
    ratio = {}
    for noise in (_LOW, _HIGH):
        drawn = _drawn(noise)
        usual = _error(torch.softmax(drawn.energy.double(), 0), drawn)
        ratio[noise] = _error(_weights(answer, drawn.energy), drawn) / usual
    low, high = ratio[_LOW], ratio[_HIGH]
    said = f"Your squared error is {low:.2f} times that of exp(E) at σ/α = 1, {high:.2f} at 4."
    if abs(low - 1) < 1e-4 and abs(high - 1) < 1e-4:
        raise Slip("These are the weights exp(E) themselves; something has to change at σ/α = 4.")
    if high > 3 and low > 3:
        raise Slip(f"{said} Your weights hardly know the energy, so that you learn noise.")
    if high > 1.2:
        raise Slip(
            f"{said} At σ/α = 4 few particles count already; fewer make the target wilder. Which "
            "rows are in trouble, and what would spread their weights?"
        )
    if high > _WANTED and low <= _KEPT:
        raise Slip(f"{said} Safe, but too timid at σ/α = 4: at most {_WANTED} is wanted there.")
    if high <= _WANTED and low > _KEPT:
        raise Slip(
            f"{said} Warmer weights help where one particle carries everything, and hurt where "
            f"many count: at most {_KEPT:.2f} is wanted at σ/α = 1. Let the energies of a column "
            "say which case it is: their spread, or the effective number of their weights."
        )
    if high > _WANTED:
        raise Slip(f"{said} Wanted are at most {_KEPT:.2f} and {_WANTED}.")


TASKS = (
    Task(
        "09.1",
        "compute",
        "SDAC does not act as its policy π says: it draws 32 actions and takes the one with the "
        "largest Q. How many nats is the law of that action, π₃₂, away from π, "
        "$KL(\\pi_{32}\\|\\pi)$? (Let F be the share of π's actions with a smaller Q, so that F "
        "is uniform on [0, 1] under π. Three decimals.)",
        "nats = ...",
        _judge_best_of,
        "ln N − (N−1)/N, whatever Q and the dimension are. A temperature that asked for entropy "
        "is overruled by that much; hence the noise that SDAC adds afterwards.",
    ),
    Task(
        "09.2",
        "break it",
        "*q̃ is a posterior*, says somebody; *its draws are clean points given x_t, average "
        "them.* Write the weights (M, B) that this amounts to, for M draws at each of B noisy "
        "points, whose energies are given. `try_` draws their target in purple: where does it "
        "lie when K grows?",
        "def unweighted(energy):\n    # energy (M, B) -> weights (M, B)\n    ...",
        _judge_unweighted,
        "Without E the target is the mean of the noise that was drawn: nothing, for many draws. "
        "The denoised point is x_t/α itself, and the reverse process only ever diffuses.",
    ),
    Task(
        "09.3",
        "design",
        "At high noise one particle of 16 carries the target and throws it about. Write weights "
        "that do better there without doing harm at low noise, from the energies alone: on SDAC's "
        "mixture, K = 16, x_t ~ p_t, the squared error of the denoised point must be at most "
        "0.95 times that of exp(E) at σ/α = 4, and at most 1.10 times at σ/α = 1.",
        "def steady(energy):\n    # energy (M, B) -> weights (M, B), not negative\n    ...",
        _judge_steady,
        "A bias that is paid only where it buys variance. Note what it costs: the fixed point is "
        "no longer the denoiser of exp(E), however long you train.",
    ),
)
