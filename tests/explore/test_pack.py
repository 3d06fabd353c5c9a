"""Stacks between knots, and their packed form."""

from __future__ import annotations

import numpy as np
import pytest
from explore import gallery
from explore.decoding import unpacked
from hypothesis import given
from hypothesis import strategies as st

from diffteach.explore.pack import pack, quantise
from diffteach.explore.params import Slider
from diffteach.explore.scene import Scene, Stack


def scene(stacks: dict[str, Stack]) -> Scene:
    params = tuple(Slider(n, n, 0.0, 1.0, 0.5) for n in ("s", "t"))
    return Scene("one", "", (0.0, 1.0, 0.0, 1.0), params, (), "", stacks)


@given(st.floats(-1, 2), st.floats(-1, 2))
def test_a_blend_is_exact_for_what_is_linear_in_each_parameter(s: float, t: float) -> None:
    knots = (0.0, 0.3, 1.0), (0.0, 0.7, 0.8, 1.0)
    plane = np.array([[[2 * p - q + p * q, 5.0] for q in knots[1]] for p in knots[0]])
    stack = Stack(plane, {"s": knots[0], "t": knots[1]})
    p, q = np.clip([s, t], 0, 1)
    assert stack.at({"s": s, "t": t}) == pytest.approx([2 * p - q + p * q, 5.0], abs=1e-12)


def test_a_knot_is_taken_whole_and_a_scalar_item_is_a_number() -> None:
    stack = Stack(np.array([1.0, np.nan, 3.0]), {"s": (0.0, 0.5, 1.0)})
    assert stack.at({"s": 0.0}) == 1.0
    assert stack.at({"s": 1.0}) == 3.0
    assert np.isnan(stack.at({"s": 0.6}))


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
@pytest.mark.parametrize("shape", [(50, 60), (3, 40, 40), (2, 900, 2), (5000,), (2, 3, 30, 40)])
def test_packing_loses_less_than_a_step(bits: int, shape: tuple[int, ...]) -> None:
    data = np.cumsum(np.random.default_rng(1).normal(size=shape), axis=-1)
    _, arrays = unpacked(pack(scene({"a": Stack(data, bits=bits)})))
    assert arrays["a"].shape == shape
    assert np.abs(arrays["a"] - data).max() <= np.ptp(data) / 2**bits


def test_each_slice_keeps_its_own_precision() -> None:
    ramp = np.linspace(-1, 1, 2500).reshape(50, 50)
    data = np.array([[ramp * scale + shift for scale in (0.1, 800.0)] for shift in (0.0, 1e3)])
    stack = Stack(data, {"s": (0.0, 1.0), "t": (0.0, 1.0)}, bits=10)
    _, arrays = unpacked(pack(scene({"a": stack})))
    worst = np.abs(arrays["a"] - data).max(axis=(2, 3))
    assert (worst <= np.ptp(data, axis=(2, 3)) / 2**10).all()


def test_what_is_not_finite_survives() -> None:
    data = np.linspace(0, 1, 4000).reshape(40, 100)
    data[3, 4], data[5, 6], data[7, 8] = np.nan, np.inf, -np.inf
    _, arrays = unpacked(pack(scene({"a": Stack(data, bits=16)})))
    np.testing.assert_allclose(arrays["a"], data, atol=2**-16)
    _, none = unpacked(pack(scene({"a": Stack(np.full((50, 50), np.nan))})))
    assert np.isnan(none["a"]).all()


def test_small_arrays_keep_single_precision() -> None:
    data = np.random.default_rng(0).normal(size=(20, 100))
    _, arrays = unpacked(pack(scene({"a": Stack(data, bits=2)})))
    np.testing.assert_array_equal(arrays["a"], data.astype(np.float32))


def test_a_constant_field_is_that_constant() -> None:
    codes, low, high, _ = quantise(np.full((3, 3), 7.0), 12)
    assert (low, high) == (7.0, 7.0) and not codes.any()


def test_twenty_smooth_fields_are_small() -> None:
    x, y = np.meshgrid(*[np.linspace(-4, 4, 128)] * 2)
    fields = [np.exp(-((x - k / 5) ** 2 + y**2) / (1 + k)) * np.cos(x * k / 9) for k in range(20)]
    assert len(pack(scene({f"f{k}": Stack(f) for k, f in enumerate(fields)}))) < 200_000


def test_the_header_says_everything_but_numbers() -> None:
    built = gallery.build()
    header, _ = unpacked(pack(built))
    assert [p["name"] for p in header["params"]] == [p.name for p in built.params]
    assert header["let"]["sum"] == ["-", ["+", "wave", ["*", 0.5, "quadrant"]], ["/", "bump", 2.0]]
    assert len(header["layers"]) == len(built.layers)
    assert "javascript" not in str(header)
