"""`diffteach train`, `eval` and `report`."""

from __future__ import annotations

import inspect
import runpy
import signal
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import AvoidSubcommands, Positional, arg

from diffteach import data, report, runs
from diffteach.runs import Setup
from diffteach.runs.settings import base


@dataclass(frozen=True)
class Options:
    """What every method is trained with."""

    method: Positional[str]
    """the method: srpo, dtql, iql, ..."""
    data: str
    """the data set: hopper-medium-v2, D4RL/pointmaze/umaze-v2, diffteach/four_corners-v0, ..."""
    preset: str = "paper"
    """whose settings: paper or official; the toys have their own"""
    seed: int = 0
    """seed of weights, noises and batches"""
    steps: int | None = None
    """gradient steps of each stage; the preset's own by default"""
    out: Path | None = None
    """the run's folder; runs/DATA/METHOD-PRESET-SEED by default"""
    resume: bool = False
    """go on where a stopped run of the same settings stands; start if there is none"""
    device: str = "cpu"
    """cpu, cuda or mps"""
    file: Path | None = None
    """a D4RL file at hand, instead of the one in the data folder"""
    clip: bool = False
    """clip recorded actions to the box instead of refusing them"""
    evaluations: int = 10
    """evaluations, spread evenly over the last stage"""
    log_every: int = 1000
    """steps from one line of metrics.csv to the next"""
    plugin: Path | None = None
    """a Python file that is run first: it may add methods to diffteach.methods.METHODS"""


def _parsed(arguments: Sequence[str]) -> tuple[Options, Setup, Any]:
    """Options, the setup without changes, and the config as the arguments change it.

    Twice, since which settings there are, and their values, depend on method, data and preset.
    """
    prog, named = "diffteach train", bool(arguments) and not arguments[0].startswith("-")
    if not named:
        tyro.cli(Options, prog=prog, args=arguments, description=inspect.getdoc(train))
    plain = [a for a in arguments if a not in ("-h", "--help")]
    if len(plain) < len(arguments) and not any(a.startswith("--data") for a in plain):
        plain = [*plain, "--data", "unknown"]
    options, _ = tyro.cli(Options, prog=prog, args=plain, return_unknown_args=True)
    if options.plugin is not None:
        runpy.run_path(str(options.plugin))
    setup = Setup(options.method, options.data, options.preset, seed=options.seed)
    config = base(setup).config
    if options.steps is not None:
        config = runs.with_steps(config, options.steps)
    # Settings have a prefix, since some are called as an option is: --config.steps is one stage's.
    plain_options = Annotated[Options, arg(name="")]
    kind = make_dataclass("Whole", [("options", plain_options), ("config", type(config))])
    whole: Any = tyro.cli(
        kind,
        prog=prog,
        args=arguments,
        description=inspect.getdoc(train),
        default=kind(options, config),
        config=(AvoidSubcommands,),
    )
    return whole.options, setup, whole.config


def _folder(options: Options) -> Path:
    name = f"{options.method}-{options.preset}-seed{options.seed}"
    return Path("runs", options.data.replace("/", "-"), name)


def train(arguments: Sequence[str]) -> list[Path]:
    """Train a method on a data set.

    `diffteach train METHOD --data SET --help` lists all settings of the method, with the values
    that they have for this set.
    """
    options, setup, config = _parsed(arguments)
    setup = replace(setup, changes=runs.changes(base(setup).config, config))
    episodes = data.load(options.data, file=options.file, clip=options.clip)
    out = options.out or _folder(options)
    # A scheduler's polite end is handled as Ctrl-C is: after a whole step, with a checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        runs.train(
            setup,
            episodes,
            out,
            options.resume,
            options.device,
            options.evaluations,
            options.log_every,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped with a checkpoint in {out}: --resume goes on") from None
    return [out]


def evaluate(
    run: Positional[Path], episodes: int | None = None, seed: int = 0, device: str = "cpu"
) -> list[Path]:
    """Play episodes with the newest checkpoint of a run.

    Args:
        run: the run's folder
        episodes: how many; the paper's number by default
        seed: decides where the episodes start
        device: cpu, cuda or mps
    """
    opened = runs.open_run(run, device)
    played = opened.evaluate(episodes, seed)
    totals = [episode.total for episode in played]
    print(f"return {_mean_and_error(totals)} over {len(totals)} episodes")
    if opened.scores is not None:
        scores = [float(opened.score(total) or 0) for total in totals]
        print(f"score  {_mean_and_error(scores)} percent of the reference")
    return []


def _mean_and_error(values: Sequence[float]) -> str:
    n = len(values)
    mean = sum(values) / n
    error = (sum((v - mean) ** 2 for v in values) / max(n - 1, 1) / n) ** 0.5
    return f"{mean:.2f} ± {error:.2f} (standard error)" if n > 1 else f"{mean:.2f}"


def table(runs: Positional[tuple[Path, ...]]) -> list[Path]:
    """Print what runs have reached, as a Markdown table: mean and standard error over seeds.

    Args:
        runs: folders of runs, or folders that hold them
    """
    folders = report.find(runs)
    results = [(folder, report.result(folder)) for folder in folders]
    if found := [result for _, result in results if result is not None]:
        print(report.table(found))
    for folder in (folder for folder, result in results if result is None):
        print(f"not evaluated yet: {folder.path}")
    return []
