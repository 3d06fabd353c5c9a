"""Drawn densities: points along strokes, the mixture on them, and the file that keeps it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from diffteach import toys
from diffteach.schedule import EDM
from diffteach.toys import GaussianMixture, drawn

LINE = [(-2.0, 1.0), (2.0, 1.0)]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_points_of_a_straight_stroke_are_the_middles_of_equal_pieces() -> None:
    points = drawn.resampled(np.array(LINE), 0.5)
    np.testing.assert_allclose(points[:, 0], -1.75 + 0.5 * np.arange(8), atol=1e-12)
    np.testing.assert_allclose(points[:, 1], 1.0)
    # A spacing that does not divide the length is rounded down, so the pieces stay equal.
    np.testing.assert_allclose(np.diff(drawn.resampled(np.array(LINE), 0.6)[:, 0]), 4 / 7)


def test_points_turn_a_corner_by_arc_length() -> None:
    corner = np.array([(0.0, 0.0), (3.0, 0.0), (3.0, 0.0), (3.0, 1.0)])
    points = drawn.resampled(corner, 1.0)
    np.testing.assert_allclose(points, [(0.5, 0), (1.5, 0), (2.5, 0), (3, 0.5)], atol=1e-12)
    # However finely the hand went along it, the points are those of the line.
    fine = np.concatenate([np.linspace(a, b, 57) for a, b in zip(corner, corner[1:], strict=False)])
    np.testing.assert_allclose(drawn.resampled(fine, 1.0), points, atol=1e-12)


def test_dots_and_the_shortest_strokes() -> None:
    np.testing.assert_allclose(drawn.resampled(np.array([(1.0, 2.0)]), 0.2), [(1, 2)])
    np.testing.assert_allclose(drawn.resampled(np.array([(1.0, 2.0)] * 3), 0.2), [(1, 2)])
    short = drawn.resampled(np.array([(0.0, 0.0), (0.0, 0.04)]), 0.2)
    np.testing.assert_allclose(short, [(0, 0.01), (0, 0.03)])
    assert toys.drawing([[(0, 0)], [(1, 1)], [(1, 1)]]).points == ((0, 0), (1, 1), (1, 1))


def test_strokes_are_brought_to_the_window_of_most_sets() -> None:
    small = toys.drawing([LINE, [(0.0, -4.05), (0.0, 0.0)]])
    large = toys.drawing([np.multiply(LINE, 8 / 3), np.array([(0.0, -10.8), (0.0, 0.0)])], 10.8)
    assert small == large
    assert small.window == toys.window("8gaussians") == 4.5 and small.bandwidth == 0.18
    # 4/0.18 and 4.05/0.18 pieces: a line twice as long holds twice the weight.
    assert len(small.points) == 23 + 23
    assert small.points[22] == (round(2 - 2 / 23, 4), 1.0)
    assert toys.drawing(torch.tensor(LINE)) == toys.drawing(LINE) == toys.drawing([LINE])


def test_a_long_scribble_keeps_its_points_few_and_even() -> None:
    turns = np.linspace(0, 300, 30_000)
    spiral = (turns / 80)[:, None] * np.stack([np.cos(turns), np.sin(turns)], -1)
    points = np.array(toys.drawing(spiral).points)
    assert len(points) <= 1001
    arc = np.linalg.norm(np.diff(spiral, axis=0), axis=1).sum()
    gaps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert gaps.max() <= arc / 1000 + 1e-3


def test_a_drawing_is_the_mixture_on_its_points() -> None:
    drawing = toys.drawing([LINE, [(-1.0, -2.0), (0.0, 0.0), (1.0, -2.0)]])
    name = toys.save_drawn(drawing, "drawn/1.json").as_posix()
    law = toys.density(name)
    ours = GaussianMixture(torch.tensor(drawing.points), 0.18)
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) * 3
    torch.testing.assert_close(law.log_prob(x), ours.log_prob(x))
    t = torch.linspace(0.01, 5, 200)
    torch.testing.assert_close(law.denoiser(EDM())(x, t), ours.denoiser(EDM())(x, t))
    points, reward = toys.load(name, 4000, 3)
    again = toys.load(name, 4000, 3)
    assert points.dtype == reward.dtype == torch.float32
    assert torch.equal(points, again[0]) and torch.equal(reward, again[1])
    # Each coordinate's mean and variance, within four standard errors.
    mean, cov = ours.moments()
    assert ((points.mean(0) - mean).abs() < 4 * (cov.diagonal() / 4000).sqrt()).all()
    assert ((points.var(0) / cov.diagonal() - 1).abs() < 4 * (2 / 4000) ** 0.5).all()


def test_the_reward_runs_from_0_where_the_drawing_begins_to_1_where_it_ends() -> None:
    drawing = toys.drawing(LINE)
    name = toys.save_drawn(drawing, "drawn/1.json").as_posix()
    x = torch.tensor([(-3.0, 1.0), (0.0, 4.0), (3.0, -1.0)])
    torch.testing.assert_close(toys.reward_fn(name)(x), torch.tensor([0.0, 0.5, 1.0]))
    # On the line it is the share of the line, up to the width of a piece.
    along = torch.linspace(-2, 2, 50)
    line = torch.stack([along, torch.ones(50)], -1)
    assert ((toys.reward_fn(name)(line) - (along + 2) / 4).abs() < 1 / 22).all()
    points, reward = toys.load(name, 100, 0)
    torch.testing.assert_close(reward, toys.reward_fn(name)(points))
    assert toys.reward_fn("far")(x)[0] == pytest.approx(10**0.5)


def test_the_window_holds_what_is_drawn_at_the_edge() -> None:
    box = drawn.BOX
    name = toys.save_drawn(toys.drawing([(-box, box), (box, box), (box, -box)]), "edge.json")
    points = toys.load(name.as_posix(), 20_000, 0)[0]
    assert (points.abs() > toys.window(name.as_posix())).any(1).double().mean() < 0.01
    assert toys.default_bandwidth(name.as_posix()) == 0.18


def test_the_file_comes_back_byte_for_byte(tmp_path) -> None:
    drawing = toys.drawing([LINE, [(0.1, 0.2)]])
    first = toys.save_drawn(drawing, tmp_path / "drawn" / "a.json")
    read = toys.load_drawn(first)
    assert read == drawing and hash(read) == hash(drawing)
    second = toys.save_drawn(read, tmp_path / "drawn" / "b.json")
    assert first.read_bytes() == second.read_bytes()
    content = json.loads(first.read_text())
    assert list(content) == ["format", "version", "points", "bandwidth", "window"]
    assert content["version"] == 1 and len(first.read_bytes()) < 1000


def test_new_drawings_get_the_next_number() -> None:
    assert toys.new_name() == "drawn/1.json" and toys.drawn_names() == ()
    for name in ("drawn/2.json", "drawn/10.json", "drawn/heart.json", "other.json"):
        toys.save_drawn(toys.drawing(LINE), name)
    assert toys.new_name() == "drawn/11.json"
    assert toys.drawn_names() == ("drawn/2.json", "drawn/10.json", "drawn/heart.json")
