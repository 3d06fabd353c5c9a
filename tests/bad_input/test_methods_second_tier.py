"""One clear sentence for what IDQL, EDP, SfBC, QIPO, FQL and Diffuser do not accept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from diffteach import methods
from diffteach.behaviour import BehaviourConfig, VAEConfig
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ
from diffteach.methods import diffuser, edp, fql, idql, qipo, sfbc
from diffteach.nets import TemporalDenoiser
from diffteach.schedule import VP, Discrete, cosine_betas
from diffteach.train import InMemory, fit, one_step

ROWS = one_step(torch.zeros(5, 2))
AGENTS = {
    methods.IDQL: idql.PLANE,
    methods.EDP: edp.PLANE,
    methods.SfBC: sfbc.PLANE,
    methods.QIPO: qipo.PLANE,
    methods.FQL: fql.PLANE,
    methods.Diffuser: diffuser.PLANE,
}
PARTS = {  # the fields that take settings of one kind only, with what they do not take
    (idql.IDQLConfig, "critic", "ExpectileConfig"): DoubleQConfig(),
    (idql.IDQLConfig, "behaviour", "BehaviourConfig"): VAEConfig(),
    (edp.EDPConfig, "critic", "DoubleQConfig or KnownQ"): ExpectileConfig(),
    (edp.EDPConfig, "policy", "BehaviourConfig"): VAEConfig(),
    (sfbc.SfBCConfig, "behaviour", "BehaviourConfig or KnownBehaviour"): VAEConfig(),
    (qipo.QIPOConfig, "critic", "DoubleQConfig or KnownQ"): ExpectileConfig(),
    (qipo.QIPOConfig, "policy", "BehaviourConfig"): VAEConfig(),
    (fql.FQLConfig, "critic", "DoubleQConfig or KnownQ"): ExpectileConfig(),
    (diffuser.DiffuserConfig, "schedule", "Discrete"): VP(),
}


def idle() -> None:
    config = replace(qipo.PLANE, behaviour_steps=0, support_steps=0)
    for _ in fit(methods.QIPO(config, 1, 2), InMemory(ROWS)):
        pass


def source(method, **columns):
    agent = method(AGENTS[method], 1, 2)
    return agent.source(ROWS._replace(**columns), torch.ones(4).bool())


SETTINGS = [
    (lambda: idql.IDQLConfig(candidates=0), "candidates must be at least 1, got 0"),
    (lambda: idql.IDQLConfig(target_rate=2), r"target_rate must lie in \[0, 1\], got 2"),
    (lambda: idql.IDQLConfig(sample_steps=0), "sample_steps must be at least 1, got 0"),
    (lambda: edp.EDPConfig(eta=-1), "eta must be finite and not negative, got -1"),
    (lambda: edp.EDPConfig(sample_steps=0), "sample_steps must be at least 1, got 0"),
    (lambda: edp.EDPConfig(target_start=-1), "target_start must be at least 0, got -1"),
    (lambda: sfbc.SfBCConfig(rounds=0), "rounds must be at least 1, got 0"),
    (lambda: sfbc.SfBCConfig(alpha=-1), "alpha must be finite and not negative, got -1"),
    (
        lambda: sfbc.SfBCConfig(selected=5, candidates=4),
        "selected must be at most candidates = 4, got 5",
    ),
    (lambda: qipo.QIPOConfig(beta=0), "beta must be positive, got 0"),
    (lambda: qipo.QIPOConfig(supports=1), "supports must be at least 2, got 1"),
    (lambda: qipo.QIPOConfig(rounds=0), "rounds must be at least 1, got 0"),
    (idle, "support_steps must be at least 1 for the stages after it, got 0"),
    (lambda: fql.FQLConfig(alpha=math.nan), "alpha must be finite and not negative, got nan"),
    (lambda: fql.FQLConfig(flow_steps=0), "flow_steps must be at least 1, got 0"),
    (lambda: diffuser.DiffuserConfig(horizon=0), "horizon must be at least 1, got 0"),
    (lambda: diffuser.DiffuserConfig(first_weight=0), "first_weight must be positive, got 0"),
    (lambda: diffuser.DiffuserConfig(scale=-1), "scale must be finite and not negative, got -1"),
    (
        lambda: TemporalDenoiser(3, 2, 6, Discrete(cosine_betas(4))),
        "horizon must be a multiple of 8, which 4 widths halve to 1 and back, got 6",
    ),
    *(
        (lambda m=m: source(m), r"ends must have shape \(5,\) like data.rew, got \(4,\)")
        for m in (methods.SfBC, methods.Diffuser)
    ),
    (
        lambda: source(methods.Diffuser, rew=torch.full((5,), math.nan)),
        "data.rew must be finite, got 5 NaN or infinite values",
    ),
]


def refused(call, error, words) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("call", "sentence"), SETTINGS, ids=range(len(SETTINGS)))
def test_one_sentence_says_what_is_wrong(call, sentence) -> None:
    refused(call, ValueError, sentence)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part[0].__name__}.{part[1]}")
def test_parts_of_another_kind_are_refused(part) -> None:
    config, name, wanted = part
    words = f"{name} must be of kind {wanted}, got {type(PARTS[part]).__name__}"
    refused(lambda: config(**{name: PARTS[part]}), TypeError, words)


def test_the_official_chain_needs_levels() -> None:
    config = replace(idql.PAPER, behaviour=BehaviourConfig(VP()), candidates=2)
    agent = methods.IDQL(config, 1, 2)
    words = "schedule must be Discrete for clipped_sample, got VP"
    refused(lambda: agent.act(torch.ones(3, 1)), TypeError, words)


@pytest.mark.parametrize("method", AGENTS, ids=lambda method: method.__name__)
def test_spaces_and_observations_are_checked_by_every_method(method) -> None:
    def build(obs_dim=3, act_dim=2, limit=1.0):
        return method(AGENTS[method], obs_dim, act_dim, limit)

    for limit in (0, -1.0, math.nan, math.inf, None):
        words = f"act_limit must be positive and finite, got {limit}"
        refused(lambda limit=limit: build(limit=limit), ValueError, words)
    refused(lambda: build(obs_dim=0), ValueError, "obs_dim must be at least 1, got 0")
    refused(lambda: build(act_dim=0), ValueError, "act_dim must be at least 1, got 0")
    agent = build()
    for shape in ((3,), (5, 2), (1, 5, 3)):
        words = r"obs must have shape \(B, 3\), one row per state, got \(" + str(shape[0])
        refused(lambda shape=shape: agent.act(torch.zeros(shape)), ValueError, words)
    assert agent.act(torch.zeros(4, 3)).shape == (4, 2)


def test_a_q_of_nothing_but_zeros_leaves_no_nan() -> None:
    zero = KnownQ(lambda act: 0 * act.sum(-1))
    agent = methods.EDP(replace(edp.PLANE, critic=zero), 1, 2)
    metrics = agent.joint_step(one_step(torch.rand(64, 2)))
    assert metrics["policy_loss"].isfinite()
