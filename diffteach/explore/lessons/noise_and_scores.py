"""Lesson 02: what an optimal denoiser returns, and the score that it is (SRPO Eq. 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffteach import toys
from diffteach.explore import fields
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.params import Handle, Slider, Toggle
from diffteach.explore.scene import (
    Layer,
    Operation,
    Panel,
    Prediction,
    Readout,
    Scene,
    Stack,
    layer,
)
from diffteach.schedule import VP, x0_from_eps

SCHEDULE = VP()
DENSITIES = tuple(n for n in parts.DENSITIES if toys.window(n) == 4.5)
TIMES = tuple(float(t) for t in np.linspace(0.02, 0.98, 17))
BOUNDS = (-5.0, 5.0, -5.0, 5.0)
_SOURCE = parts.source("vectors.js")

LET: Mapping[str, str] = {
    "denoised": "vectorsAt(x0, probe, box)",
    "score": "(alpha*vectorsAt(x0, where_arrows, box) - where_arrows)/sigma**2",
    "score_here": "(alpha*denoised - probe)/sigma**2",
    "far": "row(nearest(denoised, centres), 0)",
    "unsure": "sqrt(max(at(doubt, probe), 0))",
}

LAYERS: tuple[Layer, ...] = (
    layer("heat", field="max(logp, highest(logp) - 12)", colors="density", label="log p_t"),
    layer("points", xy="data", color="muted", size=2.2, when="clean", legend="clean data"),
    layer("arrows", xy="where_arrows", uv="score", color="ink", length=0.06, when="arrows"),
    layer("marker", xy="denoised", shape="star", color="green", label="x̂₀", when="revealed"),
    layer(
        "arrows",
        xy="listed(probe)",
        uv="listed(denoised - probe)",
        color="green",
        when="revealed",
    ),
)

WORDS = (
    "At t = {t:.2f} the noisy point keeps {100*alpha:.0f} % of the signal, and the clean point "
    "is known up to {unsure:.2f}. The denoiser's answer, the average ({x(denoised):.2f}, "
    "{y(denoised):.2f}), lies {far:.2f} from the nearest clean {few ?mode|point}: "
    "{far > 2*spread ?where there is no data.|it looks like a clean point.}"
)

READOUTS: tuple[Readout, ...] = (
    Readout("α_t", "alpha", ".3f"),
    Readout("σ_t", "sigma", ".3f"),
    Readout("distance of x̂₀ to the data", "far", ".3f", when="revealed"),
    Readout("length of the score at x_t", "norm(score_here)", ".3f"),
    Readout("length of ε̂ = −σ_t · score", "sigma*norm(score_here)", ".3f"),
)


def _stacks(
    density: str, denoiser: str, seed: int, size: int, mine: Callable[..., Any] | None
) -> dict[str, Stack]:
    law, denoise = toys.density(density), parts.denoiser_of(density, SCHEDULE, denoiser, seed)
    points = fields.grid(BOUNDS, size)
    knots = {"t": TIMES}
    log_p, x0, own = [], [], []
    for t in TIMES:
        time = torch.tensor([t])
        alpha, sigma = float(SCHEDULE.alpha(time)), float(SCHEDULE.sigma(time))
        rows = time.expand(len(points))
        with torch.no_grad():
            eps = denoise(points, rows)
            log_p.append(law.noised(alpha, sigma).log_prob(points).reshape(size, size))
            x0.append(_plane(x0_from_eps(SCHEDULE, points, rows, eps), size))
            if mine is not None:
                own.append(
                    _plane(
                        parts.checked(
                            mine(SCHEDULE, points, rows, eps), points.shape, "your denoised points"
                        ).detach(),
                        size,
                    )
                )
    doubt = np.stack([_doubt(x, t) for x, t in zip(x0, TIMES, strict=True)])
    means = getattr(law, "means", torch.empty(0, 2))
    few = 0 < len(means) <= 40
    data = toys.load(density, 400, seed)[0]
    times = torch.tensor(TIMES)
    stacks = {
        "logp": Stack(torch.stack(log_p).clamp(min=-60).numpy(), knots, bits=10),
        "x0": Stack(torch.stack(x0).numpy(), knots),
        "doubt": Stack(doubt[:, ::2, ::2], knots, bits=10),
        "data": Stack(data.numpy()),
        "centres": Stack((means if few else data).numpy()),
        "box": Stack(np.array(BOUNDS)),
        "where_arrows": Stack(fields.thin(np.zeros((size, size, 2)), BOUNDS, 15)[0]),
        "alpha": Stack(SCHEDULE.alpha(times).numpy(), knots),
        "sigma": Stack(SCHEDULE.sigma(times).numpy(), knots),
        "few": Stack(np.array(float(few))),
        "spread": Stack(np.array(_spread(law, few))),
    }
    return stacks | ({"own": Stack(torch.stack(own).numpy(), knots)} if mine is not None else {})


def _doubt(x0: Tensor, t: float) -> np.ndarray:
    """Posterior variance of the clean point per dimension, from the slope of its mean.

    Tweedie's second-order identity, Cov[x_0 | x_t] = (sigma^2/alpha) d x0/d x_t.
    """
    time = torch.tensor([t])
    alpha, sigma = float(SCHEDULE.alpha(time)), float(SCHEDULE.sigma(time))
    across, up = (fields.gradient(component.numpy(), BOUNDS) for component in x0)
    return sigma**2 / alpha * (across[..., 0] + up[..., 1]) / 2


def _spread(law: toys.Density, few: bool) -> float:
    stds = getattr(law, "stds", None)
    return float(stds.max()) if few and stds is not None else 0.15


def _plane(vectors: Tensor, size: int) -> Tensor:
    return vectors.T.reshape(2, size, size)


def scene(
    mine: Callable[..., Any] | None = None,
    density: str = "8gaussians",
    denoiser: str = "exact",
    seed: int = 0,
    size: int = 72,
) -> Scene:
    """Noise, denoised points and scores as a scene; `mine` turns eps into a denoised point.

    mine(schedule, x_t (B, 2), t (B,), eps (B, 2)) -> (B, 2), as `schedule.x0_from_eps`.
    """
    choice = parts.density_choice(density, DENSITIES)
    layers, let, readouts = LAYERS, dict(LET), READOUTS
    if mine is not None:
        let["own_x0"] = "vectorsAt(own, probe, box)"
        layers = (
            *layers,
            layer("marker", xy="own_x0", shape="cross", color="purple", label="yours"),
        )
        readouts = (*readouts, Readout("yours to x̂₀", "norm(own_x0 - denoised)", ".3f"))
    return Scene(
        name="noise_and_scores",
        title="What a denoiser returns",
        bounds=BOUNDS,
        params=(
            Slider("t", "noise t", TIMES[0], TIMES[-1], 0.34, paper="VP: x_t = α_t x₀ + σ_t ε"),
            Toggle("clean", "clean data", True),
            Toggle("arrows", "score ∇ log p_t"),
            choice,
            parts.denoiser_choice(denoiser),
            Handle("probe", "noisy point x_t", (0.9, 0.4), BOUNDS, color="orange"),
            Handle("guess", "your guess", (-3.0, -3.0), BOUNDS, color="purple"),
        ),
        layers=layers,
        words=WORDS,
        stacks=_stacks(density, denoiser, seed, size, mine),
        let=let,
        panels=(Panel("noisy density and one noisy point"),),
        readouts=readouts,
        prediction=Prediction(
            "Where does the denoiser send the orange point? Drag your guess there.",
            "denoised",
            tolerance=0.35,
            right="Well placed: it answers with an average.",
            wrong="Not there: it answers with the average over every clean origin, weighted.",
        ),
        functions=(
            Operation("vectorsAt", parts.vectors_at, _SOURCE),
            Operation("listed", lambda p: np.atleast_2d(p), _SOURCE),
        ),
        note=f"{denoiser} denoiser; fields on a {size} × {size} grid at {len(TIMES)} noise levels, "
        "linear in between",
    )


def noise_and_scores(
    density: str = "8gaussians",
    *,
    denoiser: str = "exact",
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """What the denoiser returns for a noisy point that is dragged, at a noise level that slides.

    denoiser "exact" or "trained"; `hide` names controls to leave out; `guess=True` asks for a
    prediction first. ValueError for an unknown density. Source: SRPO Eq. 4 and 5.
    """
    settings = {"density": density, "denoiser": denoiser, "seed": seed}
    return Explorable(scene, settings, hide, guess)
