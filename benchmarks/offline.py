"""`make bench-offline`: the methods on the sets built here, in hours, stopped and resumed at will.

Runs go to build/offline, two at a time with a thread each; finished ones are skipped, so the
command may be repeated until all are done. The table at the end is that of `diffteach report`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from diffteach import report

UMAZE, DETOUR = "diffteach/pointmaze/umaze-v0", "diffteach/pointmaze/detour-v0"
ROBOTS = {name: f"diffteach/{name}/noisy-v0" for name in ("hopper", "walker2d", "halfcheetah")}

# Steps of each stage, and what else is less than the paper's so that a run takes minutes on one
# core: the behaviour's batch of 2,048 rows costs eight times one of 256.
SHORT = {
    "srpo": ("--steps", "20000", "--config.behaviour-batch", "256"),
    "dtql": ("--steps", "20000", "--config.pretrain-steps", "5000"),
    "iql": ("--steps", "60000"),
    "bc": ("--steps", "30000"),
    "gaussian_bc": ("--steps", "60000"),
    "td3bc": ("--steps", "60000"),
    "diffusion_ql": ("--steps", "15000"),
    "idql": ("--steps", "30000"),
    "qgpo": ("--steps", "10000"),
}
THREE_SEEDS = ("bc", "iql", "srpo", "dtql")


class Job(NamedTuple):
    """One run: everything the command line needs."""

    data: str
    method: str
    seed: int

    @property
    def out(self) -> str:
        """Its folder below build/offline."""
        return f"{self.data.replace('/', '-')}/{self.method}-{self.seed}"


def jobs() -> Iterator[Job]:
    """All runs, the seeds of the papers' own methods first."""
    for seed in range(3):
        for data in (DETOUR, UMAZE, ROBOTS["hopper"]):
            yield from (Job(data, method, seed) for method in THREE_SEEDS)
    for data in (UMAZE, ROBOTS["hopper"]):
        yield from (Job(data, method, 0) for method in SHORT if method not in THREE_SEEDS)
    for data in (ROBOTS["walker2d"], ROBOTS["halfcheetah"]):
        yield from (Job(data, method, 0) for method in ("iql", "srpo", "dtql"))


def run(job: Job, folder: Path) -> str:
    """Trains, or goes on; what it said last."""
    out = folder / job.out
    if (out / "done").exists():
        return f"{job.out}: done before"
    command = ["train", job.method, "--data", job.data, "--seed", str(job.seed), *SHORT[job.method]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "diffteach", *command, "--out", str(out), "--resume"],
        env=environment,
        capture_output=True,
        text=True,
    )
    if ended.returncode == 0:
        (out / "done").touch()
    return f"{job.out}: {ended.stderr.splitlines()[-1] if ended.stderr else 'done'}"


def main() -> None:
    """Run all jobs, or those whose folder's name holds a given text."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.offline", description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="part of DATA/METHOD-SEED")
    parser.add_argument("--folder", type=Path, default=Path("build/offline"))
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    args = parser.parse_args()
    chosen = [job for job in jobs() if args.only in job.out]
    with ThreadPoolExecutor(args.workers) as pool:
        for said in pool.map(lambda job: run(job, args.folder), chosen):
            print(said, flush=True)
    results = [report.result(folder) for folder in report.find([args.folder])]
    print(report.table(result for result in results if result is not None))


if __name__ == "__main__":
    main()
