"""What the papers set by task and more than one method here takes over, by `data.names.task`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

IQL_REWARDS: Mapping[str, str] = {"locomotion": "iql_locomotion", "antmaze": "iql_antmaze"}
"""Rewards by family of IQL, and of SRPO, IDQL and QGPO after it; raw elsewhere."""

IQL_EXPECTILES: Mapping[str, float] = {"antmaze": 0.9}
"""tau by family of the same; 0.7 elsewhere."""


class DTQLTask(NamedTuple):
    """A row of DTQL's table of settings, which its KL baseline shares."""

    lr: float
    """rate of behaviour and policy; the critic's stays 3e-4"""
    alpha: float
    """weight of staying with the data"""
    gamma: float = 0.0
    """weight of the data's likelihood"""
    anneal: bool = False
    """all rates follow a cosine"""
    epochs: int = 1000
    """of 1,000 steps, after pretraining"""
    batch_size: int = 256
    expectile: float = 0.7


DTQL_TASKS: Mapping[tuple[str, str, str], DTQLTask] = {
    ("locomotion", "halfcheetah", "medium"): DTQLTask(3e-4, 1),
    ("locomotion", "halfcheetah", "medium-replay"): DTQLTask(3e-4, 5),
    ("locomotion", "halfcheetah", "medium-expert"): DTQLTask(3e-4, 50),
    ("locomotion", "hopper", "medium"): DTQLTask(1e-4, 5, anneal=True),
    ("locomotion", "hopper", "medium-replay"): DTQLTask(3e-4, 5),
    ("locomotion", "hopper", "medium-expert"): DTQLTask(3e-4, 20),
    ("locomotion", "walker2d", "medium"): DTQLTask(3e-4, 5, anneal=True),
    ("locomotion", "walker2d", "medium-replay"): DTQLTask(3e-4, 5, anneal=True),
    ("locomotion", "walker2d", "medium-expert"): DTQLTask(3e-4, 5, anneal=True),
    ("antmaze", "umaze", ""): DTQLTask(3e-4, 1, 1, False, 500, 2048, 0.9),
    ("antmaze", "umaze", "diverse"): DTQLTask(3e-5, 1, 1, True, 500, 2048, 0.9),
    ("antmaze", "medium", "play"): DTQLTask(3e-4, 1, 1, False, 400, 2048, 0.9),
    ("antmaze", "medium", "diverse"): DTQLTask(3e-4, 1, 1, False, 400, 2048, 0.9),
    ("antmaze", "large", "play"): DTQLTask(3e-4, 1, 1, False, 350, 2048, 0.9),
    ("antmaze", "large", "diverse"): DTQLTask(3e-4, 0.5, 1, False, 300, 2048, 0.9),
    ("adroit", "pen", "human"): DTQLTask(3e-5, 1500, anneal=True, epochs=300, expectile=0.9),
    ("adroit", "pen", "cloned"): DTQLTask(1e-5, 1500, epochs=200),
    ("kitchen", "kitchen", "complete"): DTQLTask(1e-4, 200, anneal=True, epochs=500),
    ("kitchen", "kitchen", "partial"): DTQLTask(1e-4, 100, anneal=True),
    ("kitchen", "kitchen", "mixed"): DTQLTask(3e-4, 200, anneal=True, epochs=500),
}
"""Official code of DTQL; v0 and v2 of AntMaze have the same values."""


def at_task(config: Any, row: DTQLTask, models: tuple[str, ...]) -> Any:
    """DTQL's or DQL-KL's settings with those of a row; `models` names its diffusion models."""
    critic = config.critic
    q = replace(critic.q, anneal=row.anneal)
    learned = {
        name: replace(getattr(config, name), lr=row.lr, anneal=row.anneal) for name in models
    }
    return replace(
        config,
        **learned,
        alpha=row.alpha,
        critic=replace(critic, q=q, expectile=row.expectile),
        lr=row.lr,
        anneal=row.anneal,
        steps=1000 * row.epochs,
        batch_size=row.batch_size,
    )


def episodes(family: str) -> int:
    """Episodes of an evaluation in Diffusion-QL, DTQL and IQL."""
    return 10 if family == "locomotion" else 100
