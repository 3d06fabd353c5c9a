"""Shapes, types and row-independence of every objective, empty and huge batches included."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from diffteach.objectives import (
    denoising_loss,
    expectile_loss,
    kl_weight,
    reverse_sampling_target,
    rssm_loss,
    score_regularization_grad,
    td_target,
    trust_region_loss,
    unit_weight,
    variance_weight,
    vsd_grad,
)
from diffteach.schedule import EDM, VP, Discrete, linear_betas, perturb

SCHEDULES = {"vp": VP(), "edm": EDM(), "discrete": Discrete(linear_betas(10))}


def denoise(x_t, t):
    return torch.tanh(x_t) + 0.1 * t[:, None].to(x_t.dtype)


def q(act):
    return -act.square().sum(-1)


def rows(schedule, n, dim, dtype):
    generator = torch.Generator().manual_seed(n + dim)
    x, eps = (torch.randn(n, dim, generator=generator, dtype=dtype) for _ in range(2))
    t = schedule.sample_time(max(n, 1), generator)[:n]
    return x, (t if isinstance(schedule, Discrete) else t.to(dtype)), eps


def objectives(schedule, x, t, eps):
    weight = unit_weight(schedule, t).to(x.dtype)
    yield denoising_loss(denoise, schedule, x, t, eps, weight), (len(x),)
    yield rssm_loss(denoise, x, t, eps, weight), (len(x),)
    yield score_regularization_grad(denoise, schedule, x, t, eps, weight), x.shape
    yield vsd_grad(denoise, denoise, schedule, x, t, eps, weight), x.shape
    target, log_weight = reverse_sampling_target(q, schedule, x, t, eps.expand(3, -1, -1), 0.5)
    yield target, x.shape
    yield log_weight, (len(x),)
    for weigh in (variance_weight, kl_weight):
        yield weigh(schedule, t).to(x.dtype), (len(x),)
    if isinstance(schedule, EDM):
        yield trust_region_loss(denoise, schedule, x, t, eps), (len(x),)
    value = x[:, 0]
    yield expectile_loss(value, 0.7), (len(x),)
    yield td_target(value, torch.zeros_like(value), value, 0.99), (len(x),)


@settings(max_examples=40)
@given(
    st.sampled_from(list(SCHEDULES)),
    st.integers(0, 9),
    st.integers(1, 5),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_results_are_per_sample_and_keep_the_type(name, n, dim, dtype) -> None:
    schedule = SCHEDULES[name]
    x, t, eps = rows(schedule, n, dim, dtype)
    whole = list(objectives(schedule, x, t, eps))
    for value, shape in whole:
        assert value.shape == shape and value.dtype == dtype
        assert bool(torch.isfinite(value).all())
    if n >= 2:
        parts = [objectives(schedule, x[s], t[s], eps[s]) for s in (slice(0, 1), slice(1, n))]
        for (value, _), (head, _), (tail, _) in zip(whole, *parts, strict=True):
            torch.testing.assert_close(torch.cat([head, tail]), value)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_million_rows(name) -> None:
    schedule = SCHEDULES[name]
    x, t, eps = rows(schedule, 1_000_000, 2, torch.float32)
    loss = denoising_loss(denoise, schedule, x, t, eps, unit_weight(schedule, t))
    assert loss.shape == (1_000_000,) and bool(torch.isfinite(loss).all())


@settings(max_examples=20)
@given(st.sampled_from(list(SCHEDULES)), st.integers(0, 4), st.integers(0, 4), st.integers(1, 4))
def test_perturbing_particles_shares_the_time_of_a_row(name, m, n, dim) -> None:
    schedule = SCHEDULES[name]
    x, t, eps = rows(schedule, n, dim, torch.float32)
    many = perturb(schedule, x.expand(m, -1, -1), t, eps.expand(m, -1, -1))
    assert many.shape == (m, n, dim)
    if m:
        assert many[-1].equal(perturb(schedule, x, t, eps))
