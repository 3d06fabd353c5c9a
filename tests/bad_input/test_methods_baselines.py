"""One clear sentence for settings of the baselines that contradict each other or mean nothing."""

from __future__ import annotations

import pytest
import torch

from diffteach import methods
from diffteach.behaviour import BehaviourConfig, VAEConfig
from diffteach.critics import DoubleQConfig
from diffteach.methods import bcq, bear, diffusion_ql, iql, td3bc
from diffteach.nets import DiracPolicy, ImplicitPolicy, imitation_loss
from diffteach.schedule import EDM, VP

X = torch.zeros(3, 2)
OBS = torch.ones(3, 1)
UNKNOWN = (
    "policy must be a DiracPolicy, GaussianPolicy or TanhGaussianPolicy, .* got ImplicitPolicy"
)

CASES = [
    # a likelihood that nobody knows
    (lambda: methods.IQL(iql.IQLConfig(policy=ImplicitPolicy), 1, 2), TypeError, UNKNOWN),
    (lambda: methods.TD3BC(td3bc.TD3BCConfig(policy=ImplicitPolicy), 1, 2), TypeError, UNKNOWN),
    (
        lambda: methods.GaussianBC(methods.GaussianBCConfig(ImplicitPolicy), 1, 2),
        TypeError,
        UNKNOWN,
    ),
    (lambda: imitation_loss(ImplicitPolicy(1, 2), OBS, X), TypeError, UNKNOWN),
    (
        lambda: methods.BEAR(bear.BEARConfig(policy=DiracPolicy), 1, 2),
        TypeError,
        "policy must be a TanhGaussianPolicy, whose noise the MMD needs, got DiracPolicy",
    ),
    # chains
    (
        lambda: diffusion_ql.DiffusionQLConfig(policy=BehaviourConfig(EDM())),
        TypeError,
        "policy must have a schedule of kind Discrete for Diffusion-QL, got EDM",
    ),
    (
        lambda: diffusion_ql.DiffusionQLConfig(policy=BehaviourConfig(VP())),
        TypeError,
        "kind Discrete for Diffusion-QL, got VP",
    ),
    # numbers
    (lambda: iql.IQLConfig(beta=0), ValueError, "beta must be positive, got 0"),
    (lambda: iql.IQLConfig(cap=-1), ValueError, "cap must be positive, got -1"),
    (lambda: td3bc.TD3BCConfig(alpha=0), ValueError, "alpha must be positive, got 0"),
    (lambda: td3bc.TD3BCConfig(delay=0), ValueError, "delay must be at least 1, got 0"),
    (lambda: DoubleQConfig(target_every=0), ValueError, "target_every must be at least 1, got 0"),
    (lambda: VAEConfig(latent_limit=0), ValueError, "latent_limit must be positive, got 0"),
    (lambda: bcq.BCQConfig(candidates=0), ValueError, "candidates must be at least 1, got 0"),
    (lambda: bcq.BCQConfig(backups=0), ValueError, "backups must be at least 1, got 0"),
    (lambda: bear.BEARConfig(width=0), ValueError, "width must be positive, got 0"),
    (lambda: bear.BEARConfig(cut=-0.5), ValueError, "cut must be positive, got -0.5"),
    (lambda: bear.BEARConfig(matches=0), ValueError, "matches must be at least 1, got 0"),
    (
        lambda: diffusion_ql.DiffusionQLConfig(target_every=0),
        ValueError,
        "target_every must be at least",
    ),
    (lambda: diffusion_ql.DiffusionQLConfig(candidates=0), ValueError, "candidates must be at le"),
]


@pytest.mark.parametrize(("call", "error", "words"), CASES, ids=lambda value: None)
def test_refused_with_one_sentence(call, error, words) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
