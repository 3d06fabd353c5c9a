"""What the lesson `guidance` ships: where the flow goes under each guidance, and what it misses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffteach.explore import fields
from diffteach.explore.lessons import guidance_moves as moves
from diffteach.explore.lessons import parts
from diffteach.explore.scene import Stack
from diffteach.sampling import draw, heun, time_grid
from diffteach.schedule import VP, eps_from_score, eps_from_x0
from diffteach.toys import GaussianMixture, density
from diffteach.types import Denoise, QFunction

SCHEDULE = VP()
BOUNDS = (-5.0, 5.0, -5.0, 5.0)
BEHAVIOURS = ("8gaussians", "one Gaussian")
# (kind, p, q, c) of guidance_moves, all of them of the order of CEP's energies in [0, 1]
ENERGIES: Mapping[str, tuple[float, float, float, float]] = {
    "linear, b·a": (0.0, 0.36, 0.16, 0.0),
    "quadratic, −|a − c|²/8": (1.0, 1.0, -1.6, 0.25),
    "smooth step": (2.0, -0.8, 2.2, 0.0),
}
GUIDES = ("β∇Q(x_t)", "β∇Q(x̂₀)", "β∇[Q(x̂₀(x_t))]")
LAMS = (0.1, 0.15, 0.25, 0.5, 1.0, 3.0, 10.0)
OWN_LAMS, OWN_FLOWS = (0.1, 0.25, 1.0, 10.0), (0.25, 1.0)
OWN_TIMES = (0.02, 0.1, 0.2, 0.32, 0.46, 0.62, 0.8, 0.98)
TIMES = np.linspace(0.02, 0.98, 49)
SHOWN, LEVELS, OWN_NODES, OWN_LEVELS, SEED = 128, 40, 25, 20, 0
BOTH: Mapping[str, tuple[float, ...]] = {"behaviour": (0.0, 1.0), "energy": (0.0, 1.0, 2.0)}


def behaviour(name: str) -> GaussianMixture:
    """One of `BEHAVIOURS`: the named set, or eight times the same N(0, I)."""
    law = density(name) if name == BEHAVIOURS[0] else GaussianMixture(torch.zeros(8, 2), 1.0)
    assert isinstance(law, GaussianMixture)
    return law


def described(name: str) -> tuple[np.ndarray, float]:
    """Centres (8, 2) and width of a behaviour."""
    law = behaviour(name)
    assert law.stds is not None
    return law.means.double().numpy(), float(law.stds[0])


def reward(name: str) -> QFunction:
    """One of `ENERGIES` as a function of actions, differentiable."""
    kind, p, q, c = ENERGIES[name]

    def value(act: Tensor) -> Tensor:
        aim = act.new_tensor([p, q])
        if kind == 1:
            return -c / 2 * (act - aim).square().sum(-1)
        along = act @ aim
        return along if kind == 0 else torch.sigmoid(along)

    return value


def noise() -> Float[Tensor, "n 2"]:
    """The starts of every flow, N(0, I): spread evenly, so that few do for a mean."""
    share = torch.quasirandom.SobolEngine(2, scramble=True, seed=SEED).draw(SHOWN)
    return torch.special.ndtri(share.double()).float()


def flows(name: str, energy: str, levels: int = LEVELS) -> Float[np.ndarray, "7 4 n 2"]:
    """Ends of the flow from one noise at `LAMS`, guided exactly and by each of `GUIDES`."""
    centres, std = described(name)
    q, beta = np.array(ENERGIES[energy]), np.repeat(1 / np.array(LAMS), SHOWN)

    def moved(x_t: Tensor, t: Tensor, beta: moves.Value) -> Tensor:
        clean = moves.tilted(x_t.numpy(), *_scales(t), centres, std, q, beta)
        return eps_from_x0(SCHEDULE, x_t, t, torch.tensor(clean))

    def exact(x_t: Tensor, t: Tensor) -> Tensor:
        return moved(x_t, t, beta)

    def naive(kind: int) -> Denoise:
        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            push = moves.slopes(x_t.numpy(), *_scales(t), centres, std, q, beta)[kind]
            return moved(x_t, t, 0.0) + eps_from_score(SCHEDULE, t, torch.tensor(push))

        return denoise

    start, denoisers = noise().double().repeat(len(LAMS), 1), (exact, naive(0), naive(1), naive(2))
    ends = [_end(denoise, start, levels).numpy() for denoise in denoisers]
    return np.stack(ends).reshape(4, len(LAMS), SHOWN, 2).swapaxes(0, 1)


def _end(denoise: Denoise, start: Tensor, levels: int) -> Tensor:
    # Even in time: naive guidance does most of its harm where noise is large.
    return draw(heun(denoise, SCHEDULE, start, time_grid(SCHEDULE, levels, 1)))


def _scales(t: Tensor) -> tuple[float, float]:
    return float(SCHEDULE.alpha(t[:1])), float(SCHEDULE.sigma(t[:1]))


def judged(
    name: str, energy: str, points: np.ndarray, lams: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean Q (L, 1 + G): the target's and that of points (L, G, n, 2); and who misses (L, G).

    A point misses if it lies outside the least region that holds 99 % of the target.
    """
    (centres, std), box, size = described(name), np.array((-9.0, 9.0, -9.0, 9.0)), 181
    q = np.array(ENERGIES[energy])
    log_p, worth = moves.landscape(1.0, 0.0, centres, std, size, box), moves.praise(q, size, box)
    earned, missed = [], []
    for lam, row in zip(lams, points, strict=True):
        log_target = log_p + worth / lam
        mass = np.exp(log_target - log_target.max())
        mass /= mass.sum()
        order = np.argsort(mass, axis=None)[::-1]
        inside = int(np.searchsorted(mass.ravel()[order].cumsum(), 0.99))
        floor = log_target.ravel()[order[inside]]
        values = moves.value(row.reshape(-1, 2), q).reshape(row.shape[:2])
        here = np.array([_log_p(p, centres, std) for p in row]) + values / lam
        earned.append([float((mass * worth).sum()), *values.mean(-1)])
        missed.append((here < floor).mean(-1))
    return np.array(earned), np.array(missed)


def _log_p(points: np.ndarray, centres: np.ndarray, std: float) -> np.ndarray:
    gap = np.square(points[:, None] - centres).sum(-1) / (2 * std**2)
    least = gap.min(-1)
    return np.log(np.exp(least[:, None] - gap).sum(-1)) - least


@parts.remembered(1)
def stacks() -> Mapping[str, Stack]:
    """Everything that `guidance` ships, but a student's own."""
    pairs = [[(name, energy) for energy in ENERGIES] for name in BEHAVIOURS]
    ends = np.array([[flows(*pair) for pair in row] for row in pairs])
    seen = [
        [judged(*pair, ends[i, j], LAMS) for j, pair in enumerate(row)]
        for i, row in enumerate(pairs)
    ]
    laws = [described(name) for name in BEHAVIOURS]
    by, moved = {"behaviour": BOTH["behaviour"]}, {**BOTH, "lam": LAMS}
    ends = np.clip(ends, -9.0, 9.0)  # the picture ends at 5
    earned, missed = (np.array([[pair[k] for pair in row] for row in seen]) for k in (0, 1))
    wide = [float(np.square(c).sum(-1).mean() / 2 + s**2) for c, s in laws]
    return {
        "centres": Stack(np.stack([c for c, _ in laws]), by),
        "std": Stack(np.array([s for _, s in laws]), by),
        "wide": Stack(np.array(wide), by),
        "value": Stack(np.array(list(ENERGIES.values())), {"energy": BOTH["energy"]}),
        "exact_ends": Stack(ends[:, :, :, 0], moved, bits=11),
        "other_ends": Stack(ends[:, :, :, 1:], moved | {"other": (0.0, 1.0, 2.0)}, bits=11),
        "earned": Stack(earned, moved),
        "missed": Stack(missed, moved),
        "times": Stack(TIMES),
        "probes": Stack(np.zeros((len(TIMES), 2))),
        "origin": Stack(np.zeros(2)),
        "box": Stack(np.array(BOUNDS)),
    }


def _own(
    mine: Callable[..., Any], name: str, energy: str, lam: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """A student's push at noisy points and times."""
    law, q = behaviour(name).denoiser(SCHEDULE), reward(energy)

    def push(x_t: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            got = mine(q, law, SCHEDULE, x_t, t, 1 / lam)
        return parts.checked(got, x_t.shape, "your guidance").detach()

    return push


def _own_field(push: Callable[[Tensor, Tensor], Tensor]) -> Float[np.ndarray, "T 2 H W"]:
    nodes = fields.grid(BOUNDS, OWN_NODES)
    rows = [push(nodes, torch.full((len(nodes),), t)).T for t in OWN_TIMES]
    return torch.stack(rows).reshape(len(OWN_TIMES), 2, OWN_NODES, OWN_NODES).numpy()


def _own_ends(push: Callable[[Tensor, Tensor], Tensor], name: str) -> Float[np.ndarray, "n 2"]:
    law = behaviour(name).denoiser(SCHEDULE)

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        return law(x_t, t) + eps_from_score(SCHEDULE, t, push(x_t, t))

    return _end(denoise, noise(), OWN_LEVELS).numpy()


def own_stacks(mine: Callable[..., Any]) -> dict[str, Stack]:
    """A student's guidance(q, denoise, schedule, x_t, t, beta): lam times it, and where it leads.

    The slope of beta Q times lam does not depend on lam, so that few knots do.
    """
    found = []
    for name in BEHAVIOURS:
        for energy in ENERGIES:
            push = [lam * _own_field(_own(mine, name, energy, lam)) for lam in OWN_LAMS]
            ends = [_own_ends(_own(mine, name, energy, lam), name) for lam in OWN_FLOWS]
            earned, missed = judged(name, energy, np.stack(ends)[:, None], OWN_FLOWS)
            found.append((np.stack(push), np.clip(ends, -9, 9), missed[:, 0], earned[:, 1]))
    pushes, ends_of, missed_of, earned_of = (
        np.reshape(kind, (2, len(ENERGIES), *kind[0].shape)) for kind in zip(*found, strict=True)
    )
    axes = {**BOTH, "lam": OWN_FLOWS}
    return {
        "own_push": Stack(pushes, {**BOTH, "lam": OWN_LAMS, "t": OWN_TIMES}),
        "own_ends": Stack(ends_of, axes, bits=11),
        "own_missed": Stack(missed_of, axes),
        "own_earned": Stack(earned_of, axes),
    }
