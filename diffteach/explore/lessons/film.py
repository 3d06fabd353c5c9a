"""What the lesson `noising` ships: the film of its points, fields behind it, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.lessons import parts
from diffteach.explore.lessons.processes import (
    LOW,
    SCHEDULE,
    SCHEDULES,
    TIMES,
    answer,
    denoiser_of,
    four,
    level,
    miss,
    noised,
    score_errors,
    training_points,
)
from diffteach.explore.scene import Stack
from diffteach.objectives import denoising_loss, unit_weight
from diffteach.schedule import EDM, VP
from diffteach.types import Denoise

BOUNDS = (-5.0, 5.0, -5.0, 5.0)
LEVELS = torch.tensor([LOW, 0.05, 0.1, 0.16, 0.22, 0.29, 0.37, 0.46, 0.56, 0.68, 0.82, 1.0])
SHOWN, COPIES, CROWD = 112, 8, 1024


def losses(
    denoise: Denoise, schedule: EDM | VP, train: Tensor, fresh: Tensor, seed: int
) -> Float[Tensor, " 2"]:
    """Mean loss ||eps_hat - eps||^2 on training points and on fresh ones, t evenly in VP's range.

    Every denoiser meets the same times and noises, so that small differences count.
    """
    rows = len(fresh)
    t = SCHEDULE.t_min + (SCHEDULE.t_max - SCHEDULE.t_min) * (torch.arange(rows) + 0.5) / rows
    generator = torch.Generator().manual_seed(seed)
    t, eps = (
        t[torch.randperm(rows, generator=generator)],
        torch.randn(fresh.shape, generator=generator),
    )
    t = level(t) if isinstance(schedule, EDM) else t
    with torch.no_grad():
        return torch.stack(
            [
                denoising_loss(denoise, schedule, x0, t, eps, unit_weight(schedule, t)).mean()
                for x0 in (train.repeat(rows // len(train), 1), fresh)
            ]
        )


@parts.remembered(6)
def stacks_of(density: str, denoiser: str, seed: int, size: int) -> Mapping[str, Stack]:
    """Everything that `noising` ships of a density and a denoiser, but a student's own."""
    law = toys.density(density)
    exact = law.denoiser(SCHEDULE)
    both = tuple(denoiser_of(density, s, denoiser, seed) for s in SCHEDULES)
    clean, fresh = toys.load(density, CROWD, seed + 1)[0], toys.load(density, 8192, seed + 2)[0]
    there = noised(clean, torch.Generator().manual_seed(seed))
    start = torch.cat([there[-1], there[-1, :1].expand(COPIES, 2)])
    back = four((both[0], both[1]), start, seed)
    ends = back[:, -1]
    copies = ends[:, CROWD:]
    spreads = (copies - copies.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    misses = torch.stack(
        [
            torch.stack(
                [
                    miss(d, s, there, TIMES, clean),
                    *(
                        miss(d, s, back[k, :, :CROWD].flip(0), TIMES, ends[k, :CROWD])
                        for k in (2 * j, 2 * j + 1)
                    ),
                ],
                -1,
            )
            for j, (d, s) in enumerate(zip(both, SCHEDULES, strict=True))
        ]
    )
    shown = [*range(SHOWN), *range(CROWD, CROWD + COPIES)]
    first = [*range(SHOWN), *[0] * COPIES]
    train = training_points(density, seed)
    stacks = {
        "there": Stack(there[:, first].numpy(), bits=11),
        "here": Stack(back[:, :, shown].numpy(), bits=11),
        "knots": Stack(TIMES.numpy()),
        "alphas": Stack(SCHEDULE.alpha(TIMES).numpy()),
        "levels": Stack(LEVELS.numpy()),
        "logp": Stack(_log_densities(law, 64), bits=8),
        "x0": Stack(_answers(both[0], size), bits=10),
        "box": Stack(np.array(BOUNDS)),
        "data": Stack(fresh[:300].numpy()),
        "fates": Stack(ends[:, 0].numpy()),
        "spreads": Stack(spreads.numpy()),
        "miss": Stack(misses.numpy()),
        "train": Stack(train.numpy()),
        "losses": Stack(
            torch.stack([losses(d, SCHEDULE, train, fresh, seed) for d in (both[0], exact)]).numpy()
        ),
    }
    if denoiser != "exact":
        errors = score_errors((both[0], both[1]), exact, fresh[:CROWD], seed)
        stacks["wrong"] = Stack(errors.T.numpy())
    return stacks


def _log_densities(law: toys.Density, size: int) -> np.ndarray:
    """log p_t below its peak, at least -8, on VP's scale at `LEVELS`."""
    found = []
    for t in LEVELS:
        alpha, sigma = (float(f(t[None])) for f in (SCHEDULE.alpha, SCHEDULE.sigma))
        log_p = fields.on_grid(law.noised(alpha, sigma).log_prob, BOUNDS, size)
        found.append(np.maximum(log_p - log_p.max(), -8))
    return np.stack(found)


def _answers(denoise: Denoise, size: int) -> np.ndarray:
    points = fields.grid(BOUNDS, size)
    return np.stack(
        [answer(denoise, SCHEDULE, points, float(t)).T.reshape(2, size, size) for t in LEVELS]
    )
