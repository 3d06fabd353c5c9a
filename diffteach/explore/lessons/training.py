"""Any method on any toy, trained while it is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffteach import plane
from diffteach.checks import unknown
from diffteach.explore import fields
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import parts
from diffteach.explore.params import Choice, Handle, Param, Slider, Toggle
from diffteach.explore.scene import Layer, Panel, Prediction, Readout, Scene, Stack, layer
from diffteach.train import fit
from diffteach.types import Agent, Stage

SHOWN = 256
SCENES = 60
REWARDS = ("its own", "far", "near")
STRENGTHS = ("0.1", "0.3", "1", "3", "10")


class Shot(NamedTuple):
    """The policy after so many steps."""

    step: int
    actions: Tensor
    reward: float
    outside: float


def _problem(density: str, reward: str, mine: Callable[[Tensor], Tensor] | None) -> plane.Bandit:
    problem = plane.bandit(density, None if reward == REWARDS[0] else reward)
    if mine is None:
        return problem
    own = parts.checked(mine(problem.points), problem.points.shape[:1], "your reward")
    plane.check_varied("your reward", own)
    return replace(problem, reward=own.detach(), q=mine)


def _shot(problem: plane.Bandit, agent: Agent, step: int) -> Shot:
    actions = agent.act(torch.ones(SHOWN, 1)).detach()
    seen = plane.outcome(problem, actions)
    return Shot(step, actions, seen.reward, seen.outside)


def _params(
    method: str, density: str, reward: str, lam: str, steps: int, at: int, limit: float
) -> tuple[Param, ...]:
    return (
        Slider("step", "gradient step", 0.0, float(steps), float(at)),
        Choice("method", "method", tuple(plane.METHODS), method, kernel=True),
        parts.density_choice(density),
        Choice("reward", "reward Q", REWARDS, reward, kernel=True),
        Choice(
            "lam",
            "regularisation λ",
            STRENGTHS,
            lam,
            kernel=True,
            paper="multiplies the method's own weight on the data: right = closer to the data"
            if method in plane.REGULARISATION
            else f"λ is not wired for {method}: it changes nothing here",
        ),
        Choice("behind", "behind", ("reward", "log density"), "reward"),
        Toggle("dots", "data", True),
        Handle("guess", "your guess", (0.0, 0.0), (-limit, limit, -limit, limit), color="purple"),
    )


LAYERS: tuple[Layer, ...] = (
    layer("heat", field="q", colors="pale", when="behind == 0", label="Q"),
    layer(
        "heat",
        field="max(logp, highest(logp) - 30)",
        colors="pale",
        when="behind == 1",
        label="log p",
    ),
    layer("points", xy="data", color="muted", size=2.5, when="dots", legend="data"),
    layer("points", xy="policy", color="vermilion", size=5, legend="policy"),
    layer(
        "line",
        1,
        x="clock",
        y="earned",
        color="vermilion",
        width=2.5,
        legend="reward of the policy",
    ),
    layer("rule", 1, y="best", color="green", dash=True, label="best of the data"),
    layer("rule", 1, y="usual", color="muted", dash=True, label="mean of the data"),
    layer("rule", 1, x="step", color="ink"),
)


def _words(stages: tuple[Stage, ...]) -> str:
    ends = np.cumsum([stage.steps for stage in stages])
    pieces = [
        f"{{(step > {end - stage.steps})*(step <= {end}) ?Stage {stage.name}.|}}"
        for stage, end in zip(stages, ends, strict=True)
    ]
    return (
        "{step < 1 ?Untrained.|}" + "".join(pieces) + " After {step:.0f} of "
        f"{ends[-1]} steps"
        + " the policy earns {earns:.2f}; the data earns {usual:.2f} on average "
        "and {best:.2f} at best. {100*off:.0f} % of the policy's actions lie where there is "
        "hardly any data."
    )


def _scene(
    problem: plane.Bandit, stages: tuple[Stage, ...], shots: list[Shot], size: int, **chosen: str
) -> Scene:
    bounds = parts.bounds_of(problem.name, 1.12)
    clock = tuple(float(shot.step) for shot in shots)
    track = {"step": clock}
    earned = np.array([shot.reward for shot in shots])
    paid = problem.q(problem.points)  # as the policy is: without the noise of labels
    stacks: Mapping[str, Stack] = {
        "q": Stack(fields.on_grid(problem.q, bounds, size)),
        "logp": Stack(fields.on_grid(problem.density.log_prob, bounds, size)),
        "data": Stack(problem.points[:600].numpy()),
        "policy": Stack(np.stack([shot.actions.numpy() for shot in shots]), track),
        "middle": Stack(np.stack([shot.actions.mean(0).numpy() for shot in shots]), track),
        "clock": Stack(np.array(clock)),
        "earned": Stack(earned),
        "earns": Stack(earned, track),
        "off": Stack(np.array([shot.outside for shot in shots]), track),
        "best": Stack(np.array(float(paid.max()))),
        "usual": Stack(np.array(float(paid.mean()))),
    }
    steps = sum(stage.steps for stage in stages)
    return Scene(
        name="training",
        title="Training, live",
        bounds=bounds,
        params=_params(**chosen, steps=steps, at=shots[-1].step, limit=problem.limit),
        layers=LAYERS,
        words=_words(stages),
        stacks=stacks,
        panels=(
            Panel(f"{chosen['method']} on {problem.name}"),
            Panel("reward", "chart", "gradient step", "mean reward", xlim=(0.0, 1.03 * steps)),
        ),
        readouts=(
            Readout("reward of the policy", "earns", ".3f"),
            Readout("share outside the data", "off", ".3f"),
        ),
        prediction=Prediction(
            "Where will the policy's actions gather? Place your guess, train, then reveal.",
            "middle",
            tolerance=0.15 * problem.limit,
            right="Well placed.",
            wrong="Not there: their mean is marked.",
        ),
        note=f"{SHOWN} actions of the policy, {len(problem.points):,} points of data; the same "
        "class and settings run from a cell",
    )


def _begin(
    mine: Callable[[Tensor], Tensor] | None,
    method: str,
    density: str,
    reward: str,
    lam: str,
    seed: int,
) -> tuple[plane.Bandit, Agent]:
    if method not in plane.METHODS:
        raise unknown("method", method, plane.METHODS)
    problem = _problem(density, reward, mine)
    return problem, plane.agent(method, problem, float(lam), seed)


def scene(
    mine: Callable[[Tensor], Tensor] | None = None,
    method: str = "dtql",
    density: str = "25gaussians",
    reward: str = "far",
    lam: str = "1",
    seed: int = 0,
    size: int = 96,
) -> Scene:
    """A method before its first step; `mine` is a reward, (B, 2) -> (B,), instead of the named."""
    problem, agent = _begin(mine, method, density, reward, lam, seed)
    chosen = {"method": method, "density": density, "reward": reward, "lam": lam}
    return _scene(problem, agent.stages, [_shot(problem, agent, 0)], size, **chosen)


def film(
    mine: Callable[[Tensor], Tensor] | None = None,
    method: str = "dtql",
    density: str = "25gaussians",
    reward: str = "far",
    lam: str = "1",
    seed: int = 0,
    size: int = 96,
) -> Iterator[Scene]:
    """The same method as it is trained: a scene after every sixtieth of its steps.

    FloatingPointError, naming metric, step and stage, if training diverges.
    """
    problem, agent = _begin(mine, method, density, reward, lam, seed)
    chosen = {"method": method, "density": density, "reward": reward, "lam": lam}
    shots, steps = [_shot(problem, agent, 0)], sum(stage.steps for stage in agent.stages)
    every = -(-steps // SCENES)
    for step, at in enumerate(fit(agent, problem.source(seed), check_every=every), 1):
        if step % every == 0 or step == steps:
            shot = _shot(problem, agent, step)
            if not bool(shot.actions.isfinite().all()):
                # The metrics of this step were computed before it.
                raise FloatingPointError(
                    f"the policy's actions are not finite after step {at.step} of stage "
                    f"{at.stage!r}"
                )
            shots.append(shot)
            yield _scene(problem, agent.stages, shots, size, **chosen)


def training(
    density: str = "25gaussians",
    method: str = "dtql",
    reward: str = "far",
    *,
    lam: str = "1",
    seed: int = 0,
    hide: tuple[str, ...] = (),
    guess: bool = False,
) -> Explorable:
    """Any method of the course on any toy: press Train, or `advance()` from a cell.

    `lam`, one of 0.1, 0.3, 1, 3, 10, multiplies the method's own weight on staying with the data.
    ValueError for unknown names.
    """
    settings = {"method": method, "density": density, "reward": reward, "lam": lam, "seed": seed}
    return Explorable(scene, settings, hide, guess, film)
