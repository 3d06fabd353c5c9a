"""Lesson 01 against closed forms: expectiles, the critic off its data, and where a maximum lies."""

import numpy as np
import pytest
import torch

from diffteach.explore import fields
from diffteach.explore.lessons import extrapolation, open_link, parts, why_regularize
from diffteach.explore.lessons.why_regularize import MARGIN, _stacks
from diffteach.objectives import expectile_loss
from diffteach.toys import density, load


@pytest.fixture(scope="module")
def lesson():
    return why_regularize()


@pytest.fixture(autouse=True)
def opening(lesson):
    lesson.try_(None).reset()


# --- expectiles -----------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.5, 0.7, 0.9, 0.99])
def test_expectile_of_two_equiprobable_values_is_tau(tau) -> None:
    assert extrapolation.expectile(np.array([0.0, 1.0]), tau) == pytest.approx(tau, abs=1e-12)
    seven_to_three = np.repeat([2.0, 5.0], (7, 3))
    share = tau * 3 / (tau * 3 + (1 - tau) * 7)
    assert extrapolation.expectile(seven_to_three, tau) == pytest.approx(2 + 3 * share, abs=1e-12)


@pytest.mark.parametrize("tau", [0.5, 0.7, 0.95])
def test_expectile_minimises_the_librarys_loss(tau) -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(1)).double()
    m = torch.tensor(extrapolation.expectile(values.numpy(), tau), dtype=torch.float64)
    m.requires_grad_()
    (slope,) = torch.autograd.grad(expectile_loss(values - m, tau).mean(), m)
    assert float(slope) == pytest.approx(0, abs=1e-7)  # the loss keeps tau in single precision


def test_expectiles_rise_from_the_mean_to_the_greatest_value() -> None:
    values = np.random.default_rng(2).gamma(2.0, size=300)
    found = [extrapolation.expectile(values, tau) for tau in (0.5, 0.7, 0.9, 0.99, 1 - 1e-9)]
    assert found[0] == pytest.approx(values.mean())
    assert np.all(np.diff(found) > 0)
    assert found[-1] == pytest.approx(values.max(), rel=1e-5)


def test_histogram_and_the_points_above_a_level() -> None:
    values = np.random.default_rng(3).normal(size=500)
    edges = np.linspace(-2, 2, 9)
    outline = extrapolation.histogram(values, edges)
    counts, _ = np.histogram(np.clip(values, -1.999, 1.999), edges)
    assert outline[0] == outline[-1] == 0
    np.testing.assert_allclose(
        outline[1:-1].reshape(-1, 2), np.repeat(counts, 2).reshape(-1, 2) / 500
    )
    points = np.arange(6.0).reshape(3, 2)
    kept = extrapolation.above(points, np.array([1.0, 0.0, 2.0]), 1.0)
    np.testing.assert_array_equal(kept, [[0, 1], [np.nan, np.nan], [4, 5]])


# --- the problem ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["8gaussians", "two_moons", "swissroll"])
def test_no_point_hints_at_the_cliff(name) -> None:
    points, q = load(name, 4096, 0)[0], extrapolation.cliff(name)
    along = torch.tensor([np.cos(0.5), np.sin(0.5)]).float()
    s = points @ along / (points @ along).max()
    across = points @ torch.stack([-along[1], along[0]]) / (points @ along).max()
    torch.testing.assert_close(q(points), s - 0.3 * across.square(), atol=1e-5, rtol=0)
    ahead = along * (points @ along).max()
    assert float(q(ahead)) == pytest.approx(1, abs=1e-5)
    assert float(q(1.3 * ahead)) < -0.6


def test_an_unknown_reward_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="reward must be one of cliff, far, near, own, got 'high'"):
        why_regularize(reward="high")
    with pytest.raises(ValueError, match="density must be one of"):
        why_regularize("gmm40")


# --- what the picture claims ----------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_training_cures_the_error_on_the_data_and_not_off_them(seed) -> None:
    on, off, over = _stacks("8gaussians", "cliff", seed, 73)["errors"].data.transpose(2, 0, 1)
    assert np.all(on[:, -1] < on[:, 0] / 20)
    assert np.all(off[:, -1] > 0.7 * off[:, 0]) and np.all(off[:, -1] > 0.4)
    assert np.all(over > 1.4)  # the least of two as well


def test_the_errors_now_are_those_of_the_chart(lesson) -> None:
    lesson.set(steps=extrapolation.STEPS[3])
    on, off, over = lesson["errors"][3]
    assert lesson["on"] == pytest.approx(on, rel=0.2)  # 500 of 2000 points, read on the grid
    assert lesson["off"] == pytest.approx(off, rel=1e-2)
    assert abs(lesson["over"]) == pytest.approx(over, rel=1e-2)


def test_the_maxima_are_the_best_nodes_of_the_square(lesson) -> None:
    lesson.set(lam=0.05)
    bounds = parts.bounds_of("8gaussians", MARGIN)
    nodes = fields.grid(bounds, 73).numpy()
    allowed = np.abs(nodes).max(-1) <= 4.5 + 1e-6
    assert allowed.sum() == 65**2
    for name, field in (
        ("best", lesson["q"]),
        ("chosen", lesson["q"] + 0.05 * lesson["logp"]),
        ("top", lesson["truth"]),
    ):
        node = nodes[allowed][field.reshape(-1)[allowed].argmax()]
        np.testing.assert_allclose(lesson[name], node, atol=0.6 * 9 / 64)
    assert np.abs(lesson["best"]).max() == pytest.approx(4.5)


def test_regularising_moves_the_choice_into_the_data_and_the_promise_to_the_truth(lesson) -> None:
    assert lesson.of("at(logp, best) < floor") and lesson["over"] > 1.5
    np.testing.assert_allclose(lesson["chosen"], lesson["best"])
    lesson.set(lam=0.05)
    assert lesson.of("at(logp, chosen) >= floor")
    assert abs(lesson["over_chosen"]) < 0.05 and lesson["paying"] > 0.8
    lesson.set(lam=10.0)
    means = density("8gaussians").means.numpy()
    assert np.linalg.norm(means - lesson["chosen"], axis=-1).min() < 0.02
    assert "inside, promises 0.70 and pays 0.70" in lesson.words


def test_where_the_world_goes_on_as_the_data_say_the_critic_is_right_off_them() -> None:
    far = why_regularize(reward="far")
    assert far.of("at(logp, best) < floor")
    assert abs(far["over"]) < 0.02 * far["promise"]


def test_value_weight_and_share_obey_the_expectiles_equation(lesson) -> None:
    lesson.set(tau=0.9)
    values, v = lesson["values"], lesson["v"]
    over, under = np.maximum(values - v, 0).sum(), np.maximum(v - values, 0).sum()
    assert 0.9 * over == pytest.approx(0.1 * under, rel=1e-9)
    weights = np.where(values >= v, 0.9, 0.1)
    assert lesson["weight"] == pytest.approx(weights[values >= v].sum() / weights.sum())
    assert v < values.max() < lesson["promise"]


def test_on_two_moons_labels_the_value_is_tau() -> None:
    moons = why_regularize("two_moons", reward="own").set(tau=0.8)
    good = moons["paid"].mean()
    assert set(np.unique(moons["paid"])) == {0.0, 1.0}
    found = moons.of("expectile(paid, tau)")
    assert found == pytest.approx(0.8 * good / (0.8 * good + 0.2 * (1 - good)))
    assert found == pytest.approx(0.8, abs=0.03)


def test_own_penalty_equal_to_the_librarys_chooses_the_same(lesson) -> None:
    law = density("8gaussians")
    lesson.set(lam=0.1).try_(lambda a: -law.log_prob(a))
    assert lesson.error == ""
    np.testing.assert_allclose(lesson["best_own"], lesson["chosen"], atol=0.02)
    lesson.try_(lambda a: a)
    assert "your penalty must be a tensor of shape (5329,)" in lesson.error


def test_reward_and_seed_are_computed_anew_and_travel_in_the_link() -> None:
    lesson = why_regularize()
    first = lesson["q"]
    lesson.set(seed="1", reward="far", lam=0.2)
    assert not np.allclose(first, lesson["q"])
    again = open_link(lesson.permalink())
    assert again.values == lesson.values
    np.testing.assert_array_equal(again["q"], lesson["q"])


def test_the_same_seed_gives_the_same_bytes() -> None:
    data = extrapolation.problem(seed=3)
    first, again = (
        [extrapolation.values(c, data.points) for _, c in extrapolation.training(data, 3, (5, 30))]
        for _ in range(2)
    )
    assert len(first) == 2
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_the_guess_waits_for_the_critics_picture() -> None:
    asked = why_regularize(guess=True)
    heats = [e for e in asked.scene.layers if e.kind == "heat"]
    assert [asked.frame().shows(e) for e in heats] == [False, True]
    assert asked.predict(4.0, 4.0) == pytest.approx(np.hypot(0.5, 0.5), abs=1e-6)
    assert all(asked.frame().shows(e) for e in heats)
