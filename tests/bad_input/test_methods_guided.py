"""One clear sentence for what DQL-KL, QGPO and SDAC do not accept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diffteach.behaviour import BehaviourConfig
from diffteach.critics import DoubleQConfig
from diffteach.methods.dql_kl import DQLKLConfig
from diffteach.methods.qgpo import PLANE, QGPO, QGPOConfig
from diffteach.methods.sdac import OFFICIAL, SDAC, SDACConfig
from diffteach.objectives import contrastive_energy_loss, self_weight
from diffteach.schedule import EDM, VP
from diffteach.train import InMemory, fit, one_step

ONE = torch.zeros(1, 3, 2)


def unsupported() -> None:
    config = replace(PLANE, behaviour_steps=0, support_steps=0)
    for _ in fit(QGPO(config, 1, 2), InMemory(one_step(ONE[0]))):
        pass


CASES = [
    (lambda: SDACConfig(temperature=0), "temperature must be positive, got 0"),
    (lambda: SDACConfig(particles=0), "particles must be at least 1, got 0"),
    (lambda: SDACConfig(candidates=0), "candidates must be at least 1, got 0"),
    (lambda: SDACConfig(delay=0), "delay must be at least 1, got 0"),
    (lambda: SDACConfig(alpha_start=-1), "alpha_start must be positive, got -1"),
    (lambda: replace(OFFICIAL, particles=1), "two particles: .* the policy learns pure noise"),
    (lambda: SDACConfig(row_weight=self_weight), "row_weight self_weight needs at least two"),
    (lambda: SDAC(SDACConfig(), 1, 2, 0.0), "act_limit must be positive and finite, got 0"),
    (lambda: QGPOConfig(beta=0), "beta must be positive, got 0"),
    (lambda: QGPOConfig(target_beta=-1), "target_beta must be positive, got -1"),
    (lambda: QGPOConfig(supports=1), "supports must be at least 2, got 1"),
    (lambda: QGPOConfig(scale=-0.5), "scale must be finite and not negative, got -0.5"),
    (unsupported, "support_steps must be at least 1 for the stages after it, got 0"),
    (lambda: DQLKLConfig(candidates=0), "candidates must be at least 1, got 0"),
    (
        lambda: DQLKLConfig(fake=BehaviourConfig(VP())),
        r"fake must have the behaviour's schedule EDM\(.*\), got VP\(",
    ),
    (
        lambda: contrastive_energy_loss(
            lambda x, t: x.sum(-1), EDM(), ONE, torch.ones(3), ONE, torch.ones(1, 3)
        ),
        "support must hold at least two actions per state to compare, got 1",
    ),
    (lambda: DoubleQConfig(target_every=0), "target_every must be at least 1, got 0"),
]


@pytest.mark.parametrize(("call", "sentence"), CASES, ids=range(len(CASES)))
def test_one_sentence_says_what_is_wrong(call, sentence) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)
