"""One clear sentence for what SRPO, DTQL and the problems on the plane do not accept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffteach import plane
from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.methods.dtql import DTQL, DTQLConfig
from diffteach.methods.srpo import SRPOConfig
from diffteach.nets import DiracPolicy, ImplicitPolicy
from diffteach.schedule import EDM, VP, Discrete, vp_betas

NAN = float("nan")


def zero(x, t):
    return torch.zeros_like(x)


CASES = [
    (
        lambda: DTQLConfig(behaviour=BehaviourConfig(VP())),
        TypeError,
        "behaviour must have a schedule of kind EDM for DTQL, got VP",
    ),
    (
        lambda: DTQLConfig(behaviour=KnownBehaviour(zero, VP())),
        TypeError,
        "behaviour must have a schedule of kind EDM for DTQL, got VP",
    ),
    (
        lambda: SRPOConfig(behaviour=BehaviourConfig(EDM())),
        TypeError,
        "behaviour must have a schedule of kind VP for SRPO, got EDM",
    ),
    (
        lambda: SRPOConfig(behaviour=KnownBehaviour(zero, Discrete(vp_betas(5)))),
        TypeError,
        "behaviour must have a schedule of kind VP for SRPO, got Discrete",
    ),
    (lambda: SRPOConfig(beta=0), ValueError, "beta must be positive, got 0"),
    (lambda: SRPOConfig(beta=NAN), ValueError, "beta must be positive.* got nan"),
    (lambda: DTQLConfig(candidates=0), ValueError, "candidates must be at least 1, got 0"),
    (
        lambda: DTQL(DTQLConfig(gamma=1.0, policy=DiracPolicy), 1, 2),
        TypeError,
        "gamma needs a .*whose density is known, got DiracPolicy",
    ),
    (
        lambda: DTQL(DTQLConfig(gamma=1.0, policy=ImplicitPolicy), 1, 2),
        TypeError,
        "gamma needs a .*whose density is known, got ImplicitPolicy",
    ),
    # problems on the plane
    (lambda: plane.bandit("25gausians"), ValueError, "did you mean '25gaussians'"),
    (lambda: plane.bandit("8gaussians", "fair"), ValueError, "did you mean 'far'"),
    (lambda: plane.bandit("8gaussians", n=0), ValueError, "n must be at least 1, got 0"),
    (
        lambda: plane.bandit("8gaussians", "rings", n=1),
        ValueError,
        "reward must differ between points, got .* at each of 1 points",
    ),
    (lambda: plane.panel("KLL", "25 far"), ValueError, "row must be one of trust region, .*'KLL'"),
    (lambda: plane.panel("trust region", "far"), ValueError, "column must be one of 25 far, .*"),
    (
        lambda: plane.panel("trust region", "25 far", policy="dirac"),
        ValueError,
        "policy must be one of Gaussian, implicit, Dirac, got 'dirac'; did you mean 'Dirac'",
    ),
    (
        lambda: plane.agent("dtlq", plane.bandit(n=10)),
        ValueError,
        "method must be one of bc, .* got 'dtlq'; did you mean 'dtql'",
    ),
    (lambda: plane.agent("dtql", plane.bandit(n=10), -1), ValueError, "lam must be positive"),
    (
        lambda: plane.outcome(plane.bandit(n=10), np.zeros((5, 2))),
        TypeError,
        "actions must be of kind Tensor, got ndarray",
    ),
    (
        lambda: plane.outcome(plane.bandit(n=10), torch.zeros(2)),
        ValueError,
        r"actions must have shape \(B, 2\), one row per action, got \(2,\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), CASES)
def test_bad_input_is_answered_in_words(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call()
