"""Problems on the plane: a named set and a reward, as batches for the methods of D4RL.

`panel` makes those of DTQL's Fig. 3, with the row of SRPO's pull that its reviewers asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach import toys
from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checks import check_rows, unknown
from diffteach.methods import (
    bc,
    bcq,
    bear,
    cvae_bc,
    diffuser,
    diffusion_ql,
    dql_kl,
    dtql,
    edp,
    fql,
    gaussian_bc,
    idql,
    iql,
    qgpo,
    qipo,
    sdac,
    sfbc,
    srpo,
    td3bc,
)
from diffteach.nets import DiracPolicy, ImplicitPolicy, PlaneDenoiser, TanhGaussianPolicy
from diffteach.objectives import kl_weight, unit_weight, variance_weight
from diffteach.schedule import EDM, check_positive
from diffteach.toys import Density, GaussianMixture
from diffteach.train import InMemory, one_step
from diffteach.types import Agent, QFunction

T = TypeVar("T")

# (class, settings for the plane); called as Method(config, obs_dim, act_dim, act_limit, seed)
METHODS: Mapping[str, tuple[Callable[..., Agent], Any]] = {
    "bc": (bc.DiffusionBC, bc.BCConfig()),
    "bcq": (bcq.BCQ, bcq.PLANE),
    "bear": (bear.BEAR, bear.PLANE),
    "cvae_bc": (cvae_bc.CVAEBC, cvae_bc.CVAEBCConfig()),
    "diffuser": (diffuser.Diffuser, diffuser.PLANE),
    "diffusion_ql": (diffusion_ql.DiffusionQL, diffusion_ql.PLANE),
    "dql_kl": (dql_kl.DQLKL, dql_kl.PLANE),
    "dtql": (dtql.DTQL, dtql.PLANE),
    "edp": (edp.EDP, edp.PLANE),
    "fql": (fql.FQL, fql.PLANE),
    "gaussian_bc": (gaussian_bc.GaussianBC, gaussian_bc.GaussianBCConfig()),
    "idql": (idql.IDQL, idql.PLANE),
    "iql": (iql.IQL, iql.PLANE),
    "qgpo": (qgpo.QGPO, qgpo.PLANE),
    "qipo": (qipo.QIPO, qipo.PLANE),
    "sdac": (sdac.SDAC, sdac.PLANE),
    "sfbc": (sfbc.SfBC, sfbc.PLANE),
    "srpo": (srpo.SRPO, srpo.PLANE),
    "td3bc": (td3bc.TD3BC, td3bc.PLANE),
}


@dataclass(frozen=True)
class Bandit:
    """Points of a named set with their rewards: one state, one step."""

    name: str
    points: Float[Tensor, "n 2"]
    reward: Float[Tensor, " n"]
    q: QFunction
    """the reward, defined everywhere"""
    density: Density
    """the exact law of the points"""
    limit: float
    """half the side of the square that holds the set: the methods' act_limit"""

    @property
    def scale(self) -> float:
        """Root mean square of the points' coordinates, 1 if all are 0."""
        return float(self.points.square().mean().sqrt()) or 1.0

    def source(
        self, seed: int = 0, endless: bool = False, device: torch.device | str = "cpu"
    ) -> InMemory:
        """Batches; `endless` bootstraps as DTQL's toy code does."""
        points, reward = self.points.to(device), self.reward.to(device)
        return InMemory(one_step(points, reward, endless), seed)


def fitted(settings: Any, problem: Bandit) -> Any:
    """A method's settings with every diffusion model told the size of the problem's points.

    A method whose policy or energy is one itself, SDAC and QGPO, has a `data_scale` of its own.

    Then the networks start as the denoiser of one Gaussian as wide as the data.
    """
    models = {field.name: getattr(settings, field.name) for field in fields(settings)}
    told = {
        name: replace(model, data_scale=problem.scale)
        for name, model in models.items()
        if isinstance(model, BehaviourConfig)
    }
    own = {"data_scale": problem.scale} if "data_scale" in models else {}
    return replace(settings, **told, **own)


def with_exact_behaviour(settings: Any, problem: Bandit) -> Any:
    """A method's settings with the exact denoiser of the problem's law instead of a learned one."""
    schedule = settings.behaviour.schedule
    known = KnownBehaviour(problem.density.denoiser(schedule), schedule)
    return replace(settings, behaviour=known)


# The field that says how far a policy may leave the data, and whether more of it means nearer (1)
# or farther (-1). SDAC is not named: its temperature spreads actions over the whole box, not to the
# data.
REGULARISATION: Mapping[str, tuple[str, int]] = {
    "bear": ("threshold", -1),
    "diffuser": ("scale", -1),
    "diffusion_ql": ("eta", -1),
    "dql_kl": ("alpha", 1),
    "dtql": ("alpha", 1),
    "edp": ("eta", -1),
    "fql": ("alpha", 1),
    "iql": ("beta", -1),
    "qgpo": ("beta", -1),
    "qipo": ("beta", -1),
    "sfbc": ("act_alpha", -1),
    "srpo": ("beta", -1),
    "td3bc": ("alpha", -1),
}


def agent(
    method: str,
    problem: Bandit,
    lam: float | int = 1,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Agent:
    """An untrained agent with its settings for the plane; train it by `train.fit`.

    `lam` multiplies the method's own weight on staying with the data. ValueError for an unknown
    method or lam <= 0.
    """
    build, settings = _named("method", method, METHODS)
    check_positive("lam", lam)
    if method in REGULARISATION:
        name, sign = REGULARISATION[method]
        settings = replace(settings, **{name: getattr(settings, name) * float(lam) ** sign})
    return build(fitted(settings, problem), 1, 2, problem.limit, seed, device)


def check_varied(name: str, reward: Float[Tensor, " n"]) -> None:
    """ValueError if a reward is the same at all points: nothing could be preferred."""
    if float(reward.min()) == float(reward.max()):
        raise ValueError(
            f"{name} must differ between points, got {float(reward[0]):g} at each of "
            f"{len(reward)} points"
        )


def bandit(
    name: str = "8gaussians", reward: str | None = None, n: int = 10_000, seed: int = 0
) -> Bandit:
    """n points of a named set; `reward` names a function of the point, None is the set's own.

    ValueError for unknown names, and for a reward that is the same at all points: nothing could be
    preferred, ask for "same" by name if that is meant.
    """
    points, own = toys.load(name, n, seed)
    q = toys.reward_fn(name if reward is None else reward)
    values = own if reward is None else q(points)
    if reward != "same":
        check_varied("reward", values)
    return Bandit(name, points, values, q, toys.density(name), toys.window(name))


class Outcome(NamedTuple):
    """What became of a policy."""

    reward: float
    """mean reward of its actions"""
    outside: float
    """share of its actions less likely under the data's law than all but 0.1 % of the data"""
    spread: float
    """root mean square distance of its actions from their mean"""
    modes: Float[Tensor, " K"]
    """share of its actions nearest to each mode of a mixture, those outside left out; else empty"""


def outcome(problem: Bandit, actions: Float[Tensor, "B 2"]) -> Outcome:
    """Rewards, support and modes of a policy's actions, wherever they were computed."""
    check_rows("actions", actions, 2, "action")
    actions = actions.to(problem.points.device)
    density = problem.density
    floor = density.log_prob(problem.points).quantile(0.001)
    inside = density.log_prob(actions) >= floor
    modes = actions.new_zeros(0)
    curve = toys.default_bandwidth(problem.name) > 0
    if isinstance(density, GaussianMixture) and not curve:
        nearest = torch.cdist(actions[inside], density.means).argmin(-1)
        modes = torch.bincount(nearest, minlength=len(density.means)) / len(actions)
    return Outcome(
        float(problem.q(actions).mean()),
        1 - float(inside.float().mean()),
        float((actions - actions.mean(0)).square().sum(-1).mean().sqrt()),
        modes,
    )


POLICIES: Mapping[str, Callable[..., Any]] = {
    "Gaussian": partial(TanhGaussianPolicy, width=64, depth=2),
    "implicit": partial(ImplicitPolicy, width=128),
    "Dirac": partial(DiracPolicy, width=64),
}
COLUMNS: Mapping[str, tuple[str, str]] = {
    "25 far": ("25gaussians", "far"),
    "25 hard": ("25gaussians", "hard"),
    "25 near": ("25gaussians", "near"),
    "roll far": ("dtql_swissroll", "far"),
    "roll near": ("dtql_swissroll", "near"),
}
_KL: Mapping[str, Any] = {
    "behaviour": dtql.PLANE.behaviour,
    "fake": BehaviourConfig(EDM(), network=partial(PlaneDenoiser, width=96), lr=3e-3, anneal=False),
    "critic": dtql.PLANE.critic,
    "steps": 1200,
}
# Method, policy, and what differs from the method's settings for the plane. SRPO's weights need
# strengths of their own: a slope of beta along the diagonal crosses the ridges between the 25
# modes, where the pulls are at most .23, .62 and 1.67 along an axis.
ROWS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "trust region": ("dtql", "Gaussian", {}),
    "KL": ("dql_kl", "implicit", _KL),
    "reverse KL, σ²": ("srpo", "Dirac", {"weight": variance_weight, "beta": 0.4}),
    "reverse KL, 1": ("srpo", "Dirac", {"weight": unit_weight, "beta": 0.9}),
    "reverse KL, α/σ": ("srpo", "Dirac", {"weight": kl_weight, "beta": 2.4}),
}
# The official eta, which multiplies Q, is 5 at the far tip of the roll and 1 at the near one.
_LOOSER = {("trust region", "roll far"): {"alpha": dtql.PLANE.alpha / 5}}


def _named(what: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise unknown(what, name, known)
    return known[name]


def panel(
    row: str,
    column: str,
    seed: int = 0,
    policy: str | None = None,
    exact: bool = False,
    device: torch.device | str = "cpu",
) -> tuple[Bandit, Agent]:
    """The problem and the untrained agent of one panel of DTQL's Fig. 3 and its added rows.

    `policy` is one of `POLICIES`, None the row's own; with `exact` the behaviour is known. Train it
    by `fit(agent, problem.source(seed))`. ValueError for unknown names.
    """
    method, usual, changes = _named("row", row, ROWS)
    problem = bandit(*_named("column", column, COLUMNS))
    network = _named("policy", usual if policy is None else policy, POLICIES)
    build, settings = METHODS[method]
    changes = {**changes, **_LOOSER.get((row, column), {}), "policy": network}
    settings = fitted(replace(settings, **changes), problem)
    if exact:
        settings = with_exact_behaviour(settings, problem)
    return problem, build(settings, 1, 2, problem.limit, seed, device)
