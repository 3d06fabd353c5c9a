"""Whatever is handed in, a check answers in one sentence; only an unknown id is an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffteach.course import check, task, tasks


@pytest.mark.parametrize("ask", [task, lambda name: check(name, 1.0)])
def test_an_unknown_id_lists_the_ids_and_suggests_the_nearest(ask) -> None:
    with pytest.raises(ValueError, match=r"must be one of 01.1, .*06.3, .*got '6.1'; .* '06.1'"):
        ask("6.1")
    with pytest.raises(ValueError, match=r"got 'xyz'$"):
        ask("xyz")
    with pytest.raises(TypeError, match=r'text such as "06.1", got float 6.1'):
        ask(6.1)


def test_an_unknown_lesson_lists_the_lessons() -> None:
    with pytest.raises(ValueError, match="one of 01, .*07.*, got '99'"):
        tasks("99")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("0.37", "not str"),
        (True, "not bool"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (0.37 + 0j, "complex"),
        ([0.3, 0.4], "shape (2,)"),
        (torch.ones(2, 2), "shape (2, 2)"),
        ({}, "dict"),
        ([], "shape (0,)"),
        (np.array(["a"]), "ndarray"),
        (object(), "object"),
        (lambda: 0.37, "hand in what it returns"),
    ],
)
def test_something_else_than_a_number(answer, hint) -> None:
    result = check("06.1", answer)
    assert not result.passed
    assert result.answered
    assert hint in result.hint


def fails(sigma):
    scale = sigma.mean()
    return scale / undefined


def crashes_below(sigma):
    return torch.ones(3) @ sigma


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (1.0, "wants the function itself, with arguments (sigma), not a float"),
        (torch.ones(96), "not a Tensor"),
        (lambda: 1.0, "called with (sigma), but yours is defined as"),
        (lambda schedule, t: t, "called with (sigma)"),
        (lambda sigma: sigma[:3], "must return shape (96,), got (3,)"),
        (lambda sigma: 1.0, "must return shape (96,), got ()"),
        (lambda sigma: sigma / 0, "NaN or infinity in 96 of 96"),
        (lambda sigma: 0 / (sigma - sigma), "NaN or infinity"),
        (lambda sigma: "1/sigma", "this is a str"),
        (lambda sigma: 1j * sigma, "complex"),
        (lambda sigma: {"w": sigma}, "this is a dict"),
        (lambda sigma: [sigma, sigma], "Numbers are needed"),
        (fails, "line 3 of `fails`, `return scale / undefined`: NameError"),
        (crashes_below, "line 2 of `crashes_below`, `return torch.ones(3) @ sigma`: RuntimeError"),
        (torch.nn.Linear(3, 1), "Your function stops in"),
    ],
)
def test_something_else_than_a_good_function(answer, hint) -> None:
    result = check("06.3", answer)
    assert not result.passed
    assert result.answered
    assert hint in result.hint
    assert "\n" not in result.hint


@pytest.mark.parametrize("answer", [lambda t: t, lambda t: (t, t, t), lambda t: 3, lambda t: {}])
def test_a_pair_is_asked_for_where_a_pair_is_needed(answer) -> None:
    assert "two tensors `alpha, sigma`" in check("02.3", answer).hint


def test_a_half_filled_pair_is_not_answered_yet() -> None:
    assert not check("02.3", lambda t: (t, ...)).answered


HOSTILE = [
    *(0, -1, 1e300, float("nan"), "x", b"x", [], [[1], [2, 3]], {}, object(), int, print),
    *(
        torch.empty(0),
        torch.tensor(float("nan")),
        torch.ones(3, dtype=torch.bool),
        np.zeros((2, 2)),
    ),
    *(lambda *a: a, lambda *a: 0, lambda *a: a[0], lambda *a: a[-1], lambda *a: 1 / 0),
    *(lambda *a: torch.tensor(0.0), lambda *a: np.nan, lambda *a: "no", lambda *a, **k: [None]),
    *(lambda *a: torch.full_like(a[-1], 1e30) if hasattr(a[-1], "shape") else 1,),
]


@pytest.mark.parametrize("name", [found.id for found in tasks()])
@pytest.mark.filterwarnings("ignore")
def test_nothing_that_is_handed_in_raises_or_passes(name, capsys) -> None:
    for answer in HOSTILE:
        result = check(name, answer)
        assert not result.passed
        assert result.hint.endswith((".", "?", ")")) or "Error" in result.hint
