"""One clear sentence for each thing the Boltzmann samplers do not accept."""

from __future__ import annotations

import math

import pytest
import torch

from diffteach.boltzmann import (
    IDEM,
    RSSM,
    DenoiserConfig,
    Direct,
    DirectConfig,
    Energy,
    FABConfig,
    IDEMConfig,
    Langevin,
    LangevinConfig,
    RealNVP,
    RSSMConfig,
    energy_w1,
    grid_kl,
    smoothed_density,
)

X = torch.zeros(3, 2)
NAN, INF = math.nan, math.inf


def constant(value: float) -> Energy:
    return Energy(lambda x: torch.full(x.shape[:-1], value))


def bowl(x):
    return -x.square().sum(-1)


CASES = [
    # energies
    (lambda: Energy(bowl, 0), "dim must be at least 1, got 0"),
    (lambda: Energy(bowl, 3)(X), r"points must have shape \(..., 3\), got \(3, 2\)"),
    (lambda: Energy(bowl)(X[0, 0]), r"points must have shape \(..., 2\), got \(\)"),
    (lambda: Energy(lambda x: x)(X), r"log_p_hat must return shape \(3,\) .* got \(3, 2\)"),
    (lambda: Energy(lambda x: bowl(x).sum())(X), r"must return shape \(3,\) .* got \(\)"),
    (lambda: constant(NAN)(X), r"finite or -inf, got 3 NaN and 0 \+inf"),
    (lambda: constant(INF)(X), r"finite or -inf, got 0 NaN and 3 \+inf"),
    (lambda: Energy(bowl, grad=bowl).gradient(X), r"grad must return shape \(3, 2\), got \(3,\)"),
    (
        lambda: Energy(lambda x: -x.square().sum(-1).sqrt()).gradient(X),
        "gradient of log_p_hat must be finite, got 3 rows",
    ),
    # a density that is zero wherever anybody looks
    (lambda: RSSM(RSSMConfig(pool=64), constant(-INF)), "proposal must reach .* in the pool"),
    (
        lambda: IDEM(IDEMConfig(particles=2, buffer=9, fresh=9), constant(-INF)).step(),
        "energy must be above -inf .* got none in 512 of 512 rows",
    ),
    # settings
    (lambda: DenoiserConfig(data_scale=0), "data_scale must be positive, got 0"),
    (lambda: DenoiserConfig(average=0), r"average must lie in \(0, 1\], got 0"),
    (lambda: DenoiserConfig(lr=NAN), "lr must be positive, got nan"),
    (lambda: RSSMConfig(particles=0), "particles must be at least 1, got 0"),
    (lambda: RSSMConfig(temperature=0), "temperature must be positive, got 0"),
    (lambda: RSSMConfig(pool=0), "pool must be at least 1, got 0"),
    (lambda: IDEMConfig(buffer=10, fresh=20), "buffer must be at least 20, got 10"),
    (lambda: IDEMConfig(max_score=-1), "max_score must be positive, got -1"),
    (lambda: FABConfig(levels=-1), "levels must be at least 0, got -1"),
    (lambda: FABConfig(average=2), r"average must lie in \(0, 1\], got 2"),
    (lambda: RealNVP(1), "dim of a flow must be at least 2, got 1"),
    (lambda: LangevinConfig(chains=0), "chains must be at least 1, got 0"),
    (lambda: LangevinConfig(size=-0.1), "size must be positive, got -0.1"),
    (
        lambda: Langevin(LangevinConfig(chains=5), Energy(bowl)).sample(6),
        "between 1 and the number of chains, 5, got 6",
    ),
    (lambda: Direct(DirectConfig(), X[:0]), r"points must be a non-empty .* got shape \(0, 2\)"),
    (lambda: Direct(DirectConfig(), X * NAN), "points must be finite, got 6"),
    # metrics
    (lambda: grid_kl(bowl, X, 4, 0.1), "log_p must be normalised .* got mass 3.14"),
    (lambda: grid_kl(bowl, X, 4, 0), "bandwidth must be positive, got 0"),
    (lambda: smoothed_density(X * NAN, 4, 10, 0.1), "without NaN"),
    (lambda: energy_w1(bowl, X, X[:2]), "equally many points, got 3 and 2"),
]


@pytest.mark.parametrize(("call", "sentence"), CASES)
def test_bad_input_is_one_sentence(call, sentence) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
