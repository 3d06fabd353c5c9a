"""`train`: the one loop of `diffteach.train.fit`, with a folder, a progress bar and evaluations."""

from __future__ import annotations

import importlib.util
import json
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from diffteach import checkpoint, envs
from diffteach.data import Dataset
from diffteach.data.names import task
from diffteach.data.rewards import TUNINGS
from diffteach.runs.folder import Folder
from diffteach.runs.opened import Opened, built, check_device
from diffteach.runs.settings import PLANE, Setup, base, changes, recipe
from diffteach.schedule import check_count
from diffteach.train import Progress, Source, fit, source_for
from diffteach.types import Batch, Recipe, Stage

PACKAGES = ("diffteach", "torch", "numpy", "gymnasium", "mujoco", "minari")


def _versions() -> dict[str, str]:
    found = [name for name in PACKAGES if importlib.util.find_spec(name)]
    return {"python": platform.python_version(), **{name: version(name) for name in found}}


def _about(setup: Setup, how: Recipe, data: Dataset, device: torch.device) -> dict[str, Any]:
    obs = data.transitions.obs
    mean, std = torch.zeros(obs.shape[1]), torch.ones(obs.shape[1])
    if how.standardise:
        # In double precision, and not below 1e-3, as TD3+BC and IQL's ports do.
        mean, std = obs.double().mean(0).float(), obs.double().std(0).float() + 1e-3
    # What `recipe` adds for this very set travels with the changes: the folder needs no data.
    preset = PLANE if task(data.name).family == PLANE else setup.preset
    whole = replace(setup, preset=preset, changes=changes(base(setup).config, how.config))
    return {
        "format": 1,
        "setup": asdict(whole),
        "reward": how.reward,
        "episodes": how.episodes,
        "digest": data.digest,
        "origin": data.origin,
        "sizes": {"obs": obs.shape[1], "act": data.transitions.act.shape[1], "rows": len(obs)},
        "act_limit": data.act_limit,
        "env": None if data.env is None else data.env._asdict(),
        "scores": data.scores,
        "mean": mean.tolist(),
        "std": std.tolist(),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "versions": _versions(),
    }


# These may differ when a run goes on: they say how it was computed, not what.
_FREE = ("versions", "threads", "origin", "env")


def _check_same(folder: Folder, about: dict[str, Any]) -> None:
    stored = folder.about()
    here, there = ({k: v for k, v in each.items() if k not in _FREE} for each in (about, stored))
    if different := checkpoint.difference(there, json.loads(json.dumps(here)), "run"):
        raise ValueError(f"{folder.path} cannot be resumed: it was made with {different}")


def prepared(data: Dataset, how: Recipe, opened: Opened) -> Batch:
    """The transitions as a method eats them: rewards tuned, observations standardised."""
    device = opened.mean.device
    obs, act, _, next_obs, done = data.transitions
    rew = TUNINGS[how.reward](data)
    if how.standardise:
        mean, std = opened.mean.cpu(), opened.std.cpu()
        obs, next_obs = (obs - mean) / std, (next_obs - mean) / std
    return Batch(*(column.to(device) for column in (obs, act, rew, next_obs, done.float())))


class _Clock:
    """Counts the steps of all stages, and says when losses are looked at and actions tried out."""

    def __init__(self, stages: tuple[Stage, ...], done: dict[str, int], evaluations: int) -> None:
        self.done, self.stages, self.tries = done, stages, evaluations > 0
        every = math.ceil(stages[-1].steps / max(evaluations, 1))
        # What is saved or tried out must have been looked at: hence whole multiples.
        self.check_every = min(100, max(every, 1))
        self.every = math.ceil(every / self.check_every) * self.check_every

    @property
    def total(self) -> int:
        return sum(self.done.values())

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    @property
    def evaluates(self) -> bool:
        last = self.stages[-1]
        step = self.done.get(last.name, 0)
        return self.tries and step > 0 and (step % self.every == 0 or step == last.steps)


@contextmanager
def _tensorboard(folder: Folder, total: int) -> Iterator[Any]:
    if importlib.util.find_spec("tensorboard") is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder.tensorboard), purge_step=total + 1) as writer:
        yield writer


def train(
    setup: Setup,
    data: Dataset,
    out: str | Path,
    resume: bool = False,
    device: str = "cpu",
    evaluations: int = 10,
    log_every: int = 1000,
    save_seconds: float | int = 60,
    progress: bool = True,
) -> Folder:
    """Trains in a folder; with `resume`, goes on where a stopped run of the same setup stands.

    `evaluations` are spread evenly over the last stage, the last of them at its end. A checkpoint
    is written every `save_seconds`, at each evaluation and at the end. ValueError if the folder
    holds a run already, or with `resume` another one; FloatingPointError, and the last good
    checkpoint kept, where a metric or a weight becomes NaN or infinite.
    """
    check_count("log_every", log_every)
    check_count("evaluations", evaluations, 0)
    where, folder = check_device(device), Folder(out)
    how = recipe(setup, data)
    about = _about(setup, how, data, where)
    if data.env is not None and evaluations:
        _check_sizes(data, envs.sizes(data.env))
    if folder.begun and not resume:
        raise ValueError(f"{folder.path} holds a run already: resume it, or name another folder")
    if folder.begun:
        _check_same(folder, about)
    opened = built(about, where)
    ends = data.ends.to(where)
    source = source_for(opened.agent, prepared(data, how, opened), ends, setup.seed)
    done: dict[str, int] = {}
    if folder.begun and folder.checkpoint.exists():
        done = dict(checkpoint.load(folder.checkpoint, opened.agent, source))
    if not folder.begun:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.write_about(about)
    clock = _Clock(opened.agent.stages, done, evaluations if data.env is not None else 0)
    folder.cut(clock.total)
    _Training(folder, opened, source, clock, setup.seed, log_every, save_seconds).run(progress)
    return folder


def _check_sizes(data: Dataset, env: tuple[int, int]) -> None:
    here = data.transitions.obs.shape[1], data.transitions.act.shape[1]
    if here != env:
        spec = "" if data.env is None else data.env.id
        raise ValueError(
            f"data and environment must agree: {data.name} has {here[0]} observation and "
            f"{here[1]} action coordinates, {spec} has {env[0]} and {env[1]}"
        )


class _Training:
    """One run between two starts of the process."""

    def __init__(
        self,
        folder: Folder,
        opened: Opened,
        source: Source,
        clock: _Clock,
        seed: int,
        log_every: int,
        save_seconds: float | int,
    ) -> None:
        self.folder, self.opened, self.source, self.clock = folder, opened, source, clock
        self.seed, self.log_every, self.save_seconds = seed, log_every, save_seconds
        self.saved, self.last_save = clock.total, time.monotonic()

    def run(self, progress: bool) -> None:
        clock = self.clock
        bar = tqdm(
            total=clock.steps,
            initial=clock.total,
            unit="step",
            mininterval=1,
            disable=not progress,
        )
        with bar, _tensorboard(self.folder, clock.total) as board:
            try:
                if clock.evaluates and not self._evaluated():
                    self._evaluate(bar, board)
                for step in fit(self.opened.agent, self.source, clock.done, clock.check_every):
                    self._after(step, bar, board)
            except KeyboardInterrupt:
                # fit holds Ctrl-C back until a step is complete.
                self._save()
                raise
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"{error}; the last good state, of step {self.saved} of {clock.steps}, is in "
                    f"{self.folder.checkpoint}"
                ) from None
            self._save()

    def _after(self, step: Progress, bar: Any, board: Any) -> None:
        bar.set_description(step.stage, refresh=False)
        bar.update()
        if step.step % self.log_every == 0 or step.step == step.steps:
            self._log(step, board)
        if step.step % self.clock.check_every and step.step < step.steps:
            return
        evaluates = self.clock.evaluates
        if evaluates or time.monotonic() - self.last_save > self.save_seconds:
            self._save()
        if evaluates:
            self._evaluate(bar, board)

    def _save(self) -> None:
        checkpoint.save(self.folder.checkpoint, self.opened.agent, self.source, self.clock.done)
        self.saved, self.last_save = self.clock.total, time.monotonic()

    def _log(self, step: Progress, board: Any) -> None:
        total = self.clock.total
        values = {name: float(value) for name, value in step.metrics.items()}
        rows = [(total, step.stage, step.step, name, value) for name, value in values.items()]
        self.folder.append("metrics", rows)
        if board is not None:
            for name, value in values.items():
                board.add_scalar(f"{step.stage}/{name}", value, total)

    def _evaluated(self) -> bool:
        rows = self.folder.read("evaluations")
        return any(int(row["total"]) == self.clock.total for row in rows)

    def _evaluate(self, bar: Any, board: Any) -> None:
        total, opened = self.clock.total, self.opened
        episodes = opened.evaluate(seed=self.seed)
        rows = [
            (total, k, e.total, e.length, opened.score(e.total)) for k, e in enumerate(episodes)
        ]
        self.folder.append("evaluations", rows)
        mean = sum(e.total for e in episodes) / len(episodes)
        score = opened.score(mean)
        mean = mean if score is None else score
        bar.set_postfix(score=f"{mean:.1f}", refresh=False)
        if board is not None:
            board.add_scalar("score", mean, total)
