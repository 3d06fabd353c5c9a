"""One clear sentence for data, settings, spaces and observations that the methods cannot use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from diffteach import methods, plane
from diffteach.behaviour import BehaviourConfig, VAEConfig
from diffteach.boltzmann import FAB, Energy, FABConfig
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ
from diffteach.methods import (
    bc,
    bcq,
    bear,
    diffusion_ql,
    dql_kl,
    dtql,
    iql,
    qgpo,
    sdac,
    srpo,
    td3bc,
)
from diffteach.train import InMemory, fit, one_step
from diffteach.types import Batch

NAN = math.nan
KNOWN = KnownQ(lambda act: act.sum(-1))
ROWS = one_step(torch.zeros(5, 2))
AGENTS = dict(plane.METHODS.values())


def data(**columns) -> InMemory:
    return InMemory(ROWS._replace(**columns))


def stored(rows: int) -> dict:
    return InMemory(one_step(torch.zeros(rows, 2))).state_dict()


def few(batch_size: int) -> Iterator[Batch]:
    yield ROWS
    yield ROWS


def trained(source=None, done=None) -> None:
    source = InMemory(ROWS) if source is None else source
    agent = methods.GaussianBC(methods.GaussianBCConfig(steps=3), 1, 2)
    for _ in fit(agent, source, done):
        pass


def nowhere() -> None:
    FAB(FABConfig(batch_size=16), Energy(lambda x: torch.full(x.shape[:-1], -math.inf))).step()


DATA = [
    (lambda: InMemory(tuple(ROWS)), TypeError, "data must be of kind Batch, got tuple"),
    (lambda: InMemory(torch.zeros(3, 2)), TypeError, "data must be of kind Batch, got Tensor"),
    (lambda: data(act=ROWS.act.numpy()), TypeError, "data.act must be of kind Tensor, got ndarray"),
    (lambda: data(obs=ROWS.obs.double()), TypeError, "data.obs must be float32, got float64"),
    (lambda: data(act=ROWS.act.half()), TypeError, "data.act must be float32, got float16"),
    (
        lambda: data(done=ROWS.done.long()),
        TypeError,
        "data.done must be float32 or bool, got int64",
    ),
    (
        lambda: data(rew=torch.zeros(5, 1)),
        ValueError,
        r"data.rew must have shape \(n,\), got \(5, 1\)",
    ),
    (
        lambda: data(done=torch.zeros(5, 1)),
        ValueError,
        r"data.done must have shape \(n,\), got \(5, 1\)",
    ),
    (
        lambda: data(obs=torch.zeros(5)),
        ValueError,
        r"data.obs must have shape \(n, S\), got \(5,\)",
    ),
    (
        lambda: data(act=torch.zeros(5, 1, 2)),
        ValueError,
        r"data.act must have shape \(n, A\), got \(5, 1, 2\)",
    ),
    (
        lambda: data(next_obs=torch.zeros(5, 2)),
        ValueError,
        "data.next_obs must have 1 columns like data.obs, got 2",
    ),
    (lambda: data(obs=torch.zeros(4, 1)), ValueError, "data.obs must have 5 rows like data.act"),
    (
        lambda: InMemory(ROWS).load_state_dict(stored(7)),
        ValueError,
        "the position belongs to 7 transitions, got a set of 5",
    ),
]
TRAINING = [
    (lambda: trained(ROWS), TypeError, r"batches must be a Source such as InMemory.*, got Batch"),
    (
        lambda: trained(few),
        ValueError,
        "batches must not end, got none for step 3 of 3 of stage 'policy'",
    ),
    (
        lambda: trained(done={"polcy": 2}),
        ValueError,
        "done must name stages of policy, got polcy",
    ),
    (nowhere, ValueError, "energy must be above -inf at some of the flow's points, got none of 16"),
]
SETTINGS = [
    (lambda: srpo.SRPOConfig(times=(0.5, 0.1)), "times must be two rising numbers above 0"),
    (lambda: srpo.SRPOConfig(times=(0.0, 0.5)), r"above 0, got \(0.0, 0.5\)"),
    (lambda: dtql.DTQLConfig(alpha=-1), "alpha must be finite and not negative, got -1"),
    (lambda: dtql.DTQLConfig(gamma=NAN), "gamma must be finite and not negative, got nan"),
    (lambda: dql_kl.DQLKLConfig(alpha=-1), "alpha must be finite and not negative, got -1"),
    (lambda: qgpo.QGPOConfig(scale=NAN), "scale must be finite and not negative, got nan"),
    (lambda: sdac.SDACConfig(noise_scale=-1), "noise_scale must be finite and not negative"),
    (lambda: sdac.SDACConfig(alpha_lr=-1), "alpha_lr must be finite and not negative, got -1"),
    (lambda: sdac.SDACConfig(target_rate=2), r"target_rate must lie in \[0, 1\], got 2"),
    (
        lambda: KnownQ(lambda act: act).online(ROWS.obs, ROWS.act),
        r"q must answer actions \(5, 2\) with values \(5,\), got \(5, 2\)",
    ),
    (
        lambda: KnownQ(lambda act: act.sum()).target(ROWS.obs, ROWS.act),
        r"q must answer actions \(5, 2\) with values \(5,\), got \(\)",
    ),
    (lambda: DoubleQConfig(discount=1.5), r"discount must lie in \[0, 1\], got 1.5"),
    (lambda: DoubleQConfig(discount=NAN), r"discount must lie in \[0, 1\], got nan"),
    (lambda: DoubleQConfig(target_rate=5), r"target_rate must lie in \[0, 1\], got 5"),
    (lambda: DoubleQConfig(max_norm=-1), "max_norm must be positive and finite, got -1"),
    (lambda: ExpectileConfig(expectile=1.5), "expectile must lie strictly between 0 and 1, got 1"),
    (lambda: ExpectileConfig(expectile=NAN), "expectile must lie strictly between .* got nan"),
    (lambda: BehaviourConfig(limit=-1), "limit must be positive and finite, got -1"),
    (lambda: BehaviourConfig(weight_decay=-1), "weight_decay must be finite and not negative"),
    (lambda: BehaviourConfig(max_norm=0), "max_norm must be positive and finite, got 0"),
    (lambda: VAEConfig(kl_weight=-1), "kl_weight must be finite and not negative, got -1"),
    (lambda: iql.IQLConfig(act_noise=-1), "act_noise must be finite and not negative, got -1"),
    (lambda: td3bc.TD3BCConfig(target_rate=-1), r"target_rate must lie in \[0, 1\], got -1"),
    (lambda: td3bc.TD3BCConfig(smoothing=NAN), "smoothing must be finite and not negative, got n"),
    (lambda: td3bc.TD3BCConfig(smoothing_cut=-1), "smoothing_cut must be finite and not negative"),
    (lambda: bcq.BCQConfig(least=7), r"least must lie in \[0, 1\], got 7"),
    (lambda: bcq.BCQConfig(target_rate=2), r"target_rate must lie in \[0, 1\], got 2"),
    (lambda: bear.BEARConfig(least=-1), r"least must lie in \[0, 1\], got -1"),
    (lambda: bear.BEARConfig(target_rate=2), r"target_rate must lie in \[0, 1\], got 2"),
    (lambda: bear.BEARConfig(threshold=-1), "threshold must be finite and not negative, got -1"),
    (lambda: diffusion_ql.DiffusionQLConfig(eta=-1), "eta must be finite and not negative, got -1"),
    (
        lambda: diffusion_ql.DiffusionQLConfig(target_rate=2),
        r"target_rate must lie in \[0, 1\], got 2",
    ),
    (
        lambda: diffusion_ql.DiffusionQLConfig(target_start=-1),
        "target_start must be at least 0, got -1",
    ),
]
KINDS = [
    (lambda: iql.IQLConfig(critic=KNOWN), "critic must be of kind ExpectileConfig, got KnownQ"),
    (lambda: iql.IQLConfig(critic=DoubleQConfig()), "ExpectileConfig, got DoubleQConfig"),
    (lambda: ExpectileConfig(q=KNOWN), "q must be of kind DoubleQConfig, got KnownQ"),
    *(
        (
            lambda kind=kind: kind(critic=ExpectileConfig()),
            "critic must be of kind DoubleQConfig or KnownQ, got ExpectileConfig",
        )
        for kind in (
            td3bc.TD3BCConfig,
            bcq.BCQConfig,
            bear.BEARConfig,
            diffusion_ql.DiffusionQLConfig,
            qgpo.QGPOConfig,
            sdac.SDACConfig,
        )
    ),
    (lambda: bcq.BCQConfig(BehaviourConfig()), "behaviour must be of kind VAEConfig, got Behav"),
    (lambda: bear.BEARConfig(BehaviourConfig()), "behaviour must be of kind VAEConfig, got Behav"),
    (lambda: bc.BCConfig(VAEConfig()), "behaviour must be of kind BehaviourConfig, got VAEConfig"),
    *(
        (
            lambda kind=kind: kind(critic=DoubleQConfig()),
            "critic must be of kind ExpectileConfig or KnownQ, got DoubleQConfig",
        )
        for kind in (srpo.SRPOConfig, dtql.DTQLConfig, dql_kl.DQLKLConfig)
    ),
    *(
        (
            lambda kind=kind: kind(behaviour=VAEConfig()),
            "behaviour must be of kind BehaviourConfig or KnownBehaviour, got VAEConfig",
        )
        for kind in (srpo.SRPOConfig, dtql.DTQLConfig, dql_kl.DQLKLConfig, qgpo.QGPOConfig)
    ),
    (
        lambda: dql_kl.DQLKLConfig(fake=VAEConfig()),
        "fake must be of kind BehaviourConfig or KnownBehaviour, got VAEConfig",
    ),
    (
        lambda: diffusion_ql.DiffusionQLConfig(policy=VAEConfig()),
        "policy must be of kind BehaviourConfig, got VAEConfig",
    ),
]
CASES = [
    *DATA,
    *TRAINING,
    *((call, ValueError, words) for call, words in SETTINGS),
    *((call, TypeError, words) for call, words in KINDS),
]


def refused(call, error, words) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("call", "error", "words"), CASES, ids=range(len(CASES)))
def test_one_sentence_says_what_is_wrong(call, error, words) -> None:
    refused(call, error, words)


@pytest.mark.parametrize("method", AGENTS, ids=lambda method: method.__name__)
def test_spaces_and_observations_are_checked_by_every_method(method) -> None:
    def build(obs_dim=3, act_dim=2, limit=1.0):
        return method(AGENTS[method], obs_dim, act_dim, limit)

    only_if_asked = (methods.DiffusionBC, methods.QGPO)  # clamp actions
    boundless = () if method in only_if_asked else (None,)
    for limit in (0, -1.0, NAN, math.inf, *boundless):
        words = f"act_limit must be positive and finite, got {limit}"
        refused(lambda limit=limit: build(limit=limit), ValueError, words)
    refused(lambda: build(obs_dim=0), ValueError, "obs_dim must be at least 1, got 0")
    refused(lambda: build(act_dim=0), ValueError, "act_dim must be at least 1, got 0")
    agent = build()
    for shape in ((3,), (5, 2), (1, 5, 3)):
        words = r"obs must have shape \(B, 3\), one row per state, got \(" + str(shape[0])
        refused(lambda shape=shape: agent.act(torch.zeros(shape)), ValueError, words)
    refused(
        lambda: agent.act(torch.zeros(4, 3).numpy()),
        TypeError,
        "obs must be of kind Tensor, got ndarray",
    )
    assert agent.act(torch.zeros(4, 3)).shape == (4, 2)


@pytest.mark.parametrize("method", [methods.TD3BC, methods.DiffusionQL])
def test_a_q_of_nothing_but_zeros_leaves_no_nan(method) -> None:
    zero = KnownQ(lambda act: 0 * act.sum(-1))
    agent, points = method(replace(AGENTS[method], critic=zero), 1, 2), one_step(torch.rand(64, 2))
    for _ in range(2):
        metrics = agent.joint_step(points)
    assert metrics["policy_loss"].isfinite()
    assert agent.act(torch.ones(3, 1)).isfinite().all()
