"""One seed, many parts: no network of an agent begins as another does, but copies of it."""

from __future__ import annotations

import itertools
from dataclasses import is_dataclass

import pytest
import torch

from diffteach.plane import METHODS
from diffteach.seeds import named_seed


def networks(owner, path: str = "") -> dict[str, torch.nn.Module]:
    """Every network among an object's attributes and those of its parts, slow copies left out."""
    found: dict[str, torch.nn.Module] = {}
    for name, value in vars(owner).items():
        if isinstance(value, torch.nn.Module) and name != "slow":
            found[path + name] = value
        elif type(value).__module__.startswith("diffteach.") and not is_dataclass(value):
            found |= networks(value, f"{path}{name}.") if hasattr(value, "__dict__") else {}
    return found


def first_numbers(net: torch.nn.Module) -> torch.Tensor | None:
    """The first numbers that a network drew, less their mean and at the size of 1."""
    drawn = [p.detach().flatten()[:12] for p in net.parameters() if p.numel() >= 12 and p.std() > 0]
    return torch.nn.functional.normalize(drawn[0] - drawn[0].mean(), dim=0) if drawn else None


@pytest.mark.parametrize("name", METHODS)
def test_networks_of_one_agent_have_random_numbers_of_their_own(name) -> None:
    """Also those of different shapes: from one seed their weights would be the same, rescaled."""
    method, settings = METHODS[name]
    found = networks(method(settings, 1, 2, 1.0, 3))
    assert found
    for one, other in itertools.combinations(found, 2):
        a, b = (first_numbers(found[key]) for key in (one, other))
        assert a is None or b is None or abs(float(a @ b)) < 0.98, (one, other)


def test_seeds_depend_on_name_and_seed() -> None:
    seeds = [named_seed(name, seed) for name in ("policy", "critic") for seed in range(100)]
    assert len(set(seeds)) == 200
    assert named_seed("policy", 0) == named_seed("policy", 0)
