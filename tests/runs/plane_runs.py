"""A toy's points as a data set, and a program that trains on it: to be killed and resumed."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from diffteach import plane, runs
from diffteach.data import Dataset, EnvSpec
from diffteach.data.dataset import digest
from diffteach.runs import Setup

BANDIT = "diffteach.envs:diffteach/Bandit2D-v0"


def toy(name: str = "four_corners", n: int = 2000) -> Dataset:
    problem = plane.bandit(name, n=n)
    transitions, ends = problem.source().data, torch.ones(n, dtype=torch.bool)
    return Dataset(
        f"diffteach/{name}-v0",
        transitions,
        ends,
        EnvSpec(BANDIT, {"density": name}),
        (0.0, 5.0),
        "drawn from the exact law",
        digest(transitions, ends),
        problem.limit,
    )


SETUP = Setup(
    "srpo",
    "diffteach/four_corners-v0",
    changes={"critic_steps": 40, "behaviour_steps": 60, "policy_steps": 50},
    seed=3,
)


def main() -> None:
    torch.set_num_threads(1)
    out, resume = Path(sys.argv[1]), "--resume" in sys.argv
    # Every step is saved, so that a kill meets a file being written.
    runs.train(SETUP, toy(), out, resume, evaluations=2, log_every=10, save_seconds=0)


if __name__ == "__main__":
    main()
