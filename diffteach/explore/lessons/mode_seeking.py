"""Lesson 04: a Gaussian fitted to pi* by forward and by reverse KL (SRPO Fig. 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffteach.checks import unknown
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.lessons.fits import FUNCTIONS as FITS
from diffteach.explore.lessons.fits import STEPS
from diffteach.explore.params import Choice, Handle, Param, Slider
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
from diffteach.toys import GaussianMixture

BOUNDS = (-4.0, 4.0, -4.0, 4.0)
SLOPE = (0.8, 0.5)
TARGETS: Mapping[str, tuple[tuple[tuple[float, float], float], ...]] = {
    "two far modes": (((1.9, 1.1), 0.5), ((-1.9, -1.1), 0.5)),
    "two close modes": (((0.65, 0.4), 0.6), ((-0.65, -0.4), 0.6)),
    "one good, two bad": (((2.0, 0.4), 0.45), ((-1.3, 2.0), 0.45), ((-1.3, -2.0), 0.45)),
}
_OWN_LAM = tuple(float(v) for v in np.geomspace(0.1, 30.0, 9))
_OWN_STEPS, _OWN_SAMPLES = 200, 64
_SOURCE = parts.source("mode_seeking.js")
FUNCTIONS = tuple(Operation(name, python, _SOURCE) for name, python in FITS.items())


def behaviour(target: str, bad: float) -> GaussianMixture:
    """The behaviour mu: the first mode is the good one, the others share the bad data."""
    modes = TARGETS[target]
    weights = [1 - bad] + [bad / (len(modes) - 1)] * (len(modes) - 1)
    means = torch.tensor([m for m, _ in modes])
    return GaussianMixture(means, torch.tensor([s for _, s in modes]), torch.tensor(weights))


def _params(target: str) -> tuple[Param, ...]:
    return (
        Slider(
            "lam",
            "regularisation λ",
            0.1,
            30.0,
            2.0,
            scale="log",
            paper="π* ∝ μ·exp(Q/λ), SRPO's 1/β; right = closer to the data",
        ),
        Slider("bad", "share of bad data", 0.02, 0.98, 0.6, paper="of the low-reward modes in μ"),
        Slider("width", "width of the start", 0.1, 2.5, 0.5),
        Choice("family", "policy", ("Gaussian", "Dirac"), "Gaussian"),
        Choice("target", "behaviour μ", tuple(TARGETS), target, kernel=True),
        Handle("start", "start of both fits", (-0.6, 0.9), BOUNDS, color="ink"),
        Handle("guess", "your guess", (0.0, 0.0), BOUNDS, color="purple"),
    )


LET: Mapping[str, str] = {
    "mu": "mixture",
    "gaussian": "family == 0",
    "pi": "tilted(mu, slope, lam)",
    "logp": "logDensity(pi, box, 96)",
    "rev": "reversePath(pi, start, width, gaussian)",
    "fwd": "forwardPath(pi, start, width, gaussian)",
    "step": "column(clock, 0)",
    "modes_there": "modes(pi)",
    "kept_rev": "kept(rev, pi)",
    "kept_fwd": "kept(fwd, pi)",
    "out_rev": "outside(rev, pi)",
    "out_fwd": "outside(fwd, pi)",
    "end_rev": "lastMean(rev)",
    "end_fwd": "lastMean(fwd)",
    "kl_rev": "column(rev, 5)",
    "kl_fwd": "column(fwd, 6)",
}


def _fit_layers(fit: str, name: str, color: str, shape: str) -> tuple[Layer, ...]:
    own, other = ("π‖π*", "π*‖π") if fit == "rev" else ("π*‖π", "π‖π*")
    own_column, other_column = (5, 6) if fit == "rev" else (6, 5)
    seen, dirac = "gaussian*revealed", "(1 - gaussian)*revealed"
    stand_in = "−log π*(π)" if fit == "rev" else "½E‖a − π‖²"
    return (
        layer("path", xy=f"meanPath({fit})", color=color, width=1.5, when="revealed"),
        layer("path", xy=f"outline({fit}, 2)", color=color, width=2.5, closed=True, when=seen),
        layer("marker", xy=f"end_{fit}", color=color, shape=shape, label=name, when="revealed"),
        layer("line", 1, seen, f"KL({own}) of the {name} fit", **_curve(fit, own_column, color)),
        layer("line", 1, seen, f"its KL({other})", dash=True, **_curve(fit, other_column, color)),
        layer("line", 1, dirac, f"{stand_in} of the {name} fit", **_curve(fit, own_column, color)),
    )


def _curve(fit: str, column: int, color: str) -> dict[str, str]:
    return {"x": "step", "y": f"column({fit}, {column})", "color": color}


LAYERS: tuple[Layer, ...] = (
    layer("heat", field="exp(logp - highest(logp))", colors="density", label="π*"),
    *_fit_layers("fwd", "forward KL", "vermilion", "cross"),
    *_fit_layers("rev", "reverse KL", "green", "star"),
)

WORDS = (
    "π* has {modes_there:d} mode{modes_there > 1 ?s|}. Forward KL reaches {kept_fwd:d} and puts "
    "{100*out_fwd:.0f} % of its mass where π* is below 1 % of its peak; reverse KL reaches "
    "{kept_rev:d} and puts {100*out_rev:.0f} % there. "
    "{kept_rev < 1 ?It is caught by a mode that π* has all but lost.|}"
    "{(kept_rev > 0)*(kept_rev < modes_there) ?Reverse KL seeks: it gave up the rest.|}"
    "{(kept_rev >= modes_there)*(modes_there > 1) ?"
    "Here reverse KL does not seek: it keeps them all.|}"
)

READOUTS = (
    Readout("reverse fit: KL(π‖π*)", "row(kl_rev, 90)", ".3f", "gaussian*revealed"),
    Readout("reverse fit: KL(π*‖π)", "row(column(rev, 6), 90)", ".3f", "gaussian*revealed"),
    Readout("forward fit: KL(π*‖π)", "row(kl_fwd, 90)", ".3f", "gaussian*revealed"),
    Readout("forward fit: KL(π‖π*)", "row(column(fwd, 5), 90)", ".3f", "gaussian*revealed"),
    Readout("−log π* at the reverse fit", "row(kl_rev, 90)", ".3f", "(1 - gaussian)*revealed"),
    Readout("½E‖a − π‖² of the forward fit", "row(kl_fwd, 90)", ".3f", "(1 - gaussian)*revealed"),
    Readout("weight of the good mode in π*", "row(row(pi, 0), 0)", ".3f"),
)


def _batched(target: str) -> Callable[[Tensor], Tensor]:
    laws = [behaviour(target, 0.6).tilted(torch.tensor(SLOPE) / lam) for lam in _OWN_LAM]

    def log_p(x: Tensor) -> Tensor:
        return torch.stack([law.log_prob(x[:, i]) for i, law in enumerate(laws)], 1)

    return log_p


def fit_own(
    mine: Callable[[Tensor, Tensor], Tensor], target: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians fitted by a student's mine(log_q (N, L), log_p (N, L)) -> (L,), at L values of λ.

    Means (L, 2) and Cholesky factors (L, 2, 2) after 200 Adam steps from the default start.
    ValueError unless it returns (L,) finite.
    """
    log_p, n = _batched(target), len(_OWN_LAM)
    z = torch.randn(_OWN_SAMPLES, n, 2, generator=torch.Generator().manual_seed(seed))
    mean = torch.tensor([-0.6, 0.9]).repeat(n, 1).requires_grad_()
    scale = torch.full((n, 2), float(np.log(0.5))).requires_grad_()
    tilt = torch.zeros(n, requires_grad=True)
    optimizer = torch.optim.Adam([mean, scale, tilt], lr=0.05)
    for _ in range(_OWN_STEPS):
        a, c = scale.exp().unbind(1)
        x = mean + torch.stack([a * z[..., 0], tilt * z[..., 0] + c * z[..., 1]], -1)
        log_q = -0.5 * z.square().sum(-1) - scale.sum(1) - float(np.log(2 * np.pi))
        loss = parts.checked(mine(log_q, log_p(x)), tilt.shape, "your objective")
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    a, c = scale.detach().exp().unbind(1)
    zero = torch.zeros_like(a)
    factors = torch.stack([a, zero, tilt.detach(), c], -1).reshape(n, 2, 2)
    return mean.detach().numpy(), factors.numpy()


def scene(
    mine: Callable[..., Any] | None = None, target: str = "two far modes", seed: int = 0
) -> Scene:
    """Forward and reverse KL fits as a scene; `mine` is an objective to fit beside them.

    mine(log_q (N, L), log_p (N, L)) -> (L,): of N reparameterised samples of L fits.
    """
    if target not in TARGETS:
        raise unknown("target", target, TARGETS)
    modes = TARGETS[target]
    shares = np.array([behaviour(target, b).weights.numpy() for b in (0.02, 0.98)])
    rows = [np.column_stack([w, [m for m, _ in modes], [s**2 for _, s in modes]]) for w in shares]
    stacks = {
        "mixture": Stack(np.stack(rows), {"bad": (0.02, 0.98)}),
        "slope": Stack(np.array(SLOPE)),
        "box": Stack(np.array(BOUNDS)),
        "clock": Stack(np.arange(STEPS + 1.0)[:, None]),
    }
    layers = LAYERS
    if mine is not None:
        mean, factor = fit_own(mine, target, seed)
        angle = np.linspace(0, 2 * np.pi, 65)
        ring = 2 * np.stack([np.cos(angle), np.sin(angle)], -1)
        rings = mean[:, None] + np.einsum("lab,nb->lna", factor, ring)
        stacks["own"] = Stack(rings, {"lam": _OWN_LAM})
        layers = (
            *layers,
            layer("path", xy="own", color="purple", width=2.5, closed=True, legend="yours"),
        )
    return Scene(
        name="mode_seeking",
        title="Which modes does a policy keep?",
        bounds=BOUNDS,
        params=_params(target),
        layers=layers,
        words=WORDS,
        stacks=stacks,
        let=LET,
        panels=(
            Panel("π* and both fits, 2σ"),
            Panel("both divergences along the way", "chart", "step", "nats", when="revealed"),
        ),
        readouts=READOUTS,
        prediction=Prediction(
            "Where will the mean of the reverse-KL fit end? Drag your guess there.",
            "end_rev",
            tolerance=0.4,
            right="Well placed.",
            wrong="Not there: a wide fit between two modes may be in balance, a narrow one climbs.",
        ),
        functions=FUNCTIONS,
        note="exact mixtures; 28 × 28 quadrature nodes; natural-gradient steps; a Dirac has no "
        "finite KL, so −log π* and the squared distance stand in its place; yours: 60 % bad data, "
        "default start",
    )


def mode_seeking(
    target: str = "two far modes",
    *,
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """Forward and reverse KL fits to pi* ~ mu exp(Q/λ): slide λ and the share of bad data.

    `hide` names controls to leave out; `guess=True` asks for a prediction first. ValueError for an
    unknown target. Source: SRPO Eq. 1-3, Fig. 2.
    """
    return Explorable(scene, {"target": target, "seed": seed}, hide, guess)
