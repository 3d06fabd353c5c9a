"""Wrong arguments of the toy environment are answered in one sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffteach.envs import Bandit2D


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="did you mean '25gaussians'"):
        Bandit2D("25gaussian")
    with pytest.raises(ValueError, match="name must be one of near, far.*did you mean 'hard'"):
        Bandit2D("8gaussians", "hardd")


@pytest.mark.parametrize(
    "action", [np.zeros(3), np.zeros((1, 2)), np.array([0.0, math.nan]), np.array([math.inf, 0.0])]
)
def test_wrong_actions(action: np.ndarray) -> None:
    env = Bandit2D()
    env.reset()
    with pytest.raises(ValueError, match="action must be 2 finite numbers"):
        env.step(action)
