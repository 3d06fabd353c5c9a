"""From names to settings: a method, a data set, a preset and what is changed of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

from diffteach import plane, toys
from diffteach.checks import unknown
from diffteach.data import Dataset
from diffteach.data.names import task
from diffteach.types import Agent, Recipe

PLANE = "plane"


@dataclass(frozen=True)
class Setup:
    """All that decides what a run learns: its folder keeps this, and nothing else is needed."""

    method: str
    """a name of `methods.METHODS`"""
    data: str
    """the name of a data set"""
    preset: str = "paper"
    """whose settings: paper or official; a toy's data have their own, plane"""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """dotted names of fields that differ from the preset's, with their values"""
    seed: int = 0
    """seed of weights, noises and batches"""


class Method(NamedTuple):
    """A method's class, its settings on the plane, and its recipes by preset."""

    build: Callable[..., Agent]
    plane: Any
    recipes: Mapping[str, Callable[[str], Recipe]]


def method(name: str) -> Method:
    """The named method; ValueError that lists the names there are."""
    if name not in plane.METHODS:
        raise unknown("method", name, plane.METHODS)
    build, settings = plane.METHODS[name]
    return Method(build, settings, getattr(sys.modules[build.__module__], "RECIPES", {}))


def problem(data: Dataset) -> plane.Bandit:
    """A toy's data set as the problem on the plane that it was drawn from."""
    name, kwargs = task(data.name).env, {} if data.env is None else data.env.kwargs
    q = toys.reward_fn(kwargs.get("reward") or name)
    act, rew = data.transitions.act, data.transitions.rew
    return plane.Bandit(name, act, rew, q, toys.density(name), float(data.act_limit))


def base(setup: Setup) -> Recipe:
    """The preset as it stands, which names alone decide; ValueError for an unknown preset."""
    chosen = method(setup.method)
    if task(setup.data).family == PLANE:
        return Recipe(chosen.plane, episodes=1000)
    if setup.preset not in chosen.recipes:
        raise unknown("preset", setup.preset, chosen.recipes)
    return chosen.recipes[setup.preset](setup.data)


def recipe(setup: Setup, data: Dataset) -> Recipe:
    """The preset with the changes made; a toy's models are told the size of its points."""
    found = base(setup)
    config = found.config
    if task(data.name).family == PLANE:
        config = plane.fitted(config, problem(data))
    return replace(found, config=with_changes(config, setup.changes))


def leaves(config: Any, path: str = "") -> dict[str, Any]:
    """Dotted names and values of the plain fields of nested settings."""
    found: dict[str, Any] = {}
    for each in fields(config):
        value, name = getattr(config, each.name), path + each.name
        if is_dataclass(value) and not isinstance(value, type):
            found |= leaves(value, f"{name}.")
        elif value is None or isinstance(value, bool | int | float | str | tuple):
            found[name] = value
    return found


def changes(base: Any, config: Any) -> dict[str, Any]:
    """Those leaves of `config` that differ from those of `base`."""
    before = leaves(base)
    return {name: value for name, value in leaves(config).items() if before[name] != value}


def with_changes(config: Any, new: Mapping[str, Any]) -> Any:
    """Settings with some leaves replaced; ValueError for a name that is no leaf."""
    known = leaves(config)
    for name, value in new.items():
        if name not in known:
            raise unknown("a changed setting", name, known)
        config = _replaced(
            config, name.split("."), tuple(value) if isinstance(value, list) else value
        )
    return config


def _replaced(config: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    if rest:
        value = _replaced(getattr(config, first), rest, value)
    return replace(config, **{first: value})


def with_steps(config: Any, steps: int) -> Any:
    """Settings whose every stage takes `steps` gradient steps, but for those that are left out.

    They are the fields that end in "steps"; one that is 0 stays so.
    """
    names = [f.name for f in fields(config) if f.name.endswith("steps")]
    told = {name: steps for name in names if getattr(config, name)}
    return replace(config, **told)
