"""A run's agent, built anew from the run's folder, and its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffteach import checkpoint, envs
from diffteach.data import EnvSpec
from diffteach.data.names import normalized
from diffteach.runs.folder import Folder
from diffteach.runs.settings import Setup, base, method, with_changes
from diffteach.types import Agent


class Opened(NamedTuple):
    """An agent, and what it needs to act in its environment."""

    agent: Agent
    mean: Float[Tensor, " S"]
    """subtracted from observations"""
    std: Float[Tensor, " S"]
    """divides observations after that"""
    env: EnvSpec | None
    scores: tuple[float, float] | None
    act_limit: float | int
    episodes: int
    """episodes of an evaluation in the recipe"""

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Actions for observations as the environment gives them."""
        return self.agent.act((obs.to(self.mean.device) - self.mean) / self.std)

    def evaluate(self, episodes: int | None = None, seed: int = 0) -> list[envs.Episode]:
        """Plays episodes; ValueError if the data did not say where."""
        if self.env is None:
            raise ValueError("this run's data name no environment to evaluate in: pass one")
        count = self.episodes if episodes is None else episodes
        return envs.evaluate(self.act, self.env, count, seed, self.act_limit)

    def score(self, total: float) -> float | None:
        """A return in percent of the data set's reference scores."""
        if self.scores is None:
            return None
        return float(normalized(torch.tensor(total, dtype=torch.float64), self.scores))


def check_device(name: str) -> torch.device:
    """The device; ValueError for one that does not exist here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device must be cpu, cuda or mps, got {name!r} ({error})") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must exist here, got {name!r}, but torch sees no GPU")
    return device


def setup_of(about: dict[str, Any]) -> Setup:
    """The setup that a folder keeps."""
    return Setup(**about["setup"])


def built(about: dict[str, Any], device: torch.device) -> Opened:
    """An untrained agent as a folder describes it."""
    setup, sizes = setup_of(about), about["sizes"]
    config = with_changes(base(setup).config, setup.changes)
    agent = method(setup.method).build(
        config, sizes["obs"], sizes["act"], about["act_limit"], setup.seed, device
    )
    mean, std = (torch.tensor(about[name], device=device) for name in ("mean", "std"))
    env = about["env"] and EnvSpec(**{**about["env"], "keys": tuple(about["env"]["keys"])})
    scores = None if about["scores"] is None else tuple(about["scores"])
    return Opened(agent, mean, std, env, scores, about["act_limit"], about["episodes"])


def open_run(path: str | Path, device: str = "cpu") -> Opened:
    """The newest agent of a run; ValueError for a folder without one, saying what is missing."""
    folder = Folder(path)
    opened = built(folder.about(), check_device(device))
    if not folder.checkpoint.exists():
        raise ValueError(f"{folder.path} has no checkpoint yet")
    checkpoint.load(folder.checkpoint, opened.agent)
    return opened
