"""What formulas, sentences and permalinks mean, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from explore import gallery
from hypothesis import given
from hypothesis import strategies as st

from diffteach.explore import expression
from diffteach.explore.explorable import Explorable
from diffteach.explore.scene import Scene

BOUNDS = (-1.0, 3.0, 0.0, 2.0)


def value(text: str, **names):
    return expression.evaluate(text, names.__getitem__, BOUNDS, {})


def test_arithmetic_never_raises_on_numbers() -> None:
    assert value("2 + 3*4 - 2**3/4") == 12
    assert value("1/z", z=0.0) == np.inf
    assert np.isnan(value("(-8)**(1/3)"))
    assert value("log(z)", z=0.0) == -np.inf
    assert value("10.0**400") == np.inf


def test_logic_is_one_or_zero() -> None:
    assert value("a > 1 and not b", a=2.0, b=0.0) == 1
    assert value("a > 1 or b", a=0.0, b=0.0) == 0
    assert value("3 if a else 4", a=0.0) == 4


def test_shapes_agree_or_the_last_axis_matches() -> None:
    points = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(value("p * q", p=points, q=np.array([1.0, 10.0]))[2], [4, 50])
    with pytest.raises(ValueError):
        value("p + q", p=points, q=np.zeros(3))


def test_reading_a_field_is_exact_for_a_bilinear_one() -> None:
    x, y = np.meshgrid(np.linspace(-1, 3, 9), np.linspace(0, 2, 5))
    field = 1 + 2 * x - y + 0.5 * x * y
    got = value("at(f, p)", f=field, p=np.array([[0.3, 1.1], [3.0, 2.0], [9.0, -5.0]]))
    want = [1 + 0.6 - 1.1 + 0.165, 1 + 6 - 2 + 3, 1 + 6]
    np.testing.assert_allclose(got, want)


def test_the_lowest_point_of_a_parabola_is_found_between_nodes() -> None:
    x, y = np.meshgrid(np.linspace(-1, 3, 40), np.linspace(0, 2, 30))
    field = (x - 0.777) ** 2 + 3 * (y - 1.234) ** 2
    field[0, 0] = np.nan
    np.testing.assert_allclose(value("argmin(f)", f=field), [0.777, 1.234], atol=1e-9)


def test_statistics_pass_over_what_is_unknown() -> None:
    a = np.array([np.nan, 1.0, 5.0, 3.0, 4.0])
    assert value("lowest(a)", a=a) == 1 and value("highest(a)", a=a) == 5
    assert value("median(a)", a=a) == 3.5 and value("mean(a)", a=a) == 3.25
    assert value("total(a)", a=a) == 13
    assert np.isnan(value("lowest(a)", a=a[:1]))


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        (0.5, None, "0.5"), (-1.25, ".1f", "−1.2"), (3.0, "+.2f", "+3.00"), (2.5, "d", "2"),
        (-0.001, ".2f", "0.00"), (np.nan, ".2f", "–"), (-np.inf, None, "−∞"),
        (1e-7, ".1e", "1.0e−07"),
    ],
)  # fmt: skip
def test_numbers_in_words(text: float, form: str | None, said: str) -> None:
    assert expression.number(text, form) == said


def test_the_sentence_follows_the_values() -> None:
    explorable = Explorable(gallery.build)
    assert explorable.words.startswith("In view plain, a is 0.3 and b 0.100;")
    explorable.set(mode="saddle", on=False, a=0.25)
    assert ", without." in explorable.words and "view saddle" in explorable.words


def small(mine=None, tilt: str = "level") -> Scene:
    """The gallery's controls without its pictures, because hypothesis builds it 200 times."""
    return Scene("gallery", "", gallery.BOUNDS, gallery.PARAMS, (), "")


@given(
    st.floats(0, 1),
    st.floats(0.001, 1),
    st.sampled_from(["plain", "mirrored", "saddle"]),
    st.booleans(),
    st.tuples(st.floats(-2, 2), st.floats(-1, 3)),
)
def test_a_permalink_brings_the_view_back(a, b, mode, on, probe) -> None:
    explorable = Explorable(small)
    explorable.set(a=a, b=b, mode=mode, on=on, probe=probe)
    link = explorable.permalink()
    assert len(link) <= 300
    other = Explorable(small).open(link)
    assert other.values["a"] == pytest.approx(a, rel=1e-3)
    assert other.values["b"] == pytest.approx(b, rel=1e-3)
    assert other.values["probe"] == pytest.approx(probe, rel=1e-3)
    assert (other.values["mode"], other.values["on"]) == (mode, on)
    assert other.permalink() == link


def test_a_value_rounded_past_its_end_is_that_end() -> None:
    assert Explorable(gallery.build).open("gallery?b=1.0004").values["b"] == 1.0


def test_guess_and_reveal() -> None:
    explorable = Explorable(gallery.build, guess=True)
    x, y = explorable["best"]
    assert explorable.values["revealed"] == 0
    assert explorable.predict(x, y + 0.5) == pytest.approx(0.5)
    assert explorable.values["revealed"] == 1
