"""The one training loop: streams of random rows, batch sources, `fit`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffteach.checks import check_kind
from diffteach.schedule import check_count
from diffteach.seeds import named_seed
from diffteach.types import Agent, Batch, Metrics

Draw = Callable[[int, torch.Generator], tuple[Tensor, ...]]
Draws = Callable[[int, torch.Generator], Tensor]
T = TypeVar("T")


class Progress(NamedTuple):
    """One finished step: `step` of `steps` in the stage called `stage`, with its metrics."""

    stage: str
    step: int
    steps: int
    metrics: Metrics


@runtime_checkable
class Source(Protocol):
    """An endless supply of batches."""

    def __call__(self, batch_size: int) -> Iterator[Batch]: ...


def named_generator(name: str, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose numbers depend on name and seed: two names of one seed share nothing."""
    return torch.Generator(device).manual_seed(named_seed(name, seed))


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device)


class Counter:
    """Counts steps for what happens at every n-th only; a checkpoint keeps the count."""

    def __init__(self) -> None:
        self.count = 0

    def tick(self) -> int:
        """One more; returns the count, 1 at the first call."""
        self.count += 1
        return self.count

    def state_dict(self) -> dict[str, Any]:
        """The count."""
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a stored count."""
        self.count = state_dict["count"]


class Stream:
    """An endless table of random rows whose state is a seed and a position.

    `draw(n, generator)` returns tensors of n rows. It is called for a block of rows at a time,
    which is cheaper than for each step, and block k depends on (name, seed, k) alone: a stream
    resumes anywhere without replaying what came before. Streams of one seed need different names:
    rows and noises drawn from the same numbers would depend on each other.
    """

    def __init__(
        self,
        draw: Draw,
        name: str,
        seed: int,
        device: torch.device | str = "cpu",
        rows: int = 1 << 15,
    ) -> None:
        self._draw, self._name, self._seed, self._rows = draw, name, seed, rows
        self._generator = torch.Generator(device)
        self._number, self._offset = -1, 0
        self._block: tuple[Tensor, ...] = ()

    def take(self, n: int) -> tuple[Tensor, ...]:
        """The next n rows of every tensor; rows left over at the end of a block are skipped."""
        check_count("n", n)
        if not self._block or self._offset + n > len(self._block[0]):
            self._fill(self._number + 1, n)
        start, self._offset = self._offset, self._offset + n
        return tuple(column[start : self._offset] for column in self._block)

    def _fill(self, number: int, n: int) -> None:
        self._generator.manual_seed(named_seed(f"{self._name}/{self._seed}", number))
        self._block = self._draw(max(self._rows, n), self._generator)
        self._number, self._offset = number, 0

    def state_dict(self) -> dict[str, Any]:
        """Seed and position."""
        return {"seed": self._seed, "number": self._number, "offset": self._offset}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Becomes the stored stream at its stored position."""
        self._seed, self._number, self._block = state_dict["seed"], state_dict["number"], ()
        if self._number >= 0:
            self._fill(self._number, state_dict["offset"])
            self._offset = state_dict["offset"]


def noise_stream(
    times: Draws,
    act_dim: int,
    name: str,
    seed: int,
    device: torch.device | str = "cpu",
    noises: int = 1,
) -> Stream:
    """A stream of t (n,) and of `noises` tensors of standard normal noise (n, act_dim).

    `times` is a schedule's `sample_time`.
    """

    def rows(n: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        shape = (noises, n, act_dim)
        eps = torch.randn(shape, generator=generator, device=generator.device)
        return times(n, generator), *eps

    return Stream(rows, name, seed, device)


class InMemory:
    """Batches drawn with replacement from transitions that fit in memory; a `Source`.

    TypeError for columns that are not float32 (`done` may be bool); ValueError for an empty set,
    shapes that do not match, and values that are not finite.
    """

    def __init__(self, data: Batch, seed: int = 0) -> None:
        check_batch(data)
        self.data, n = data, len(data.act)

        def rows(k: int, generator: torch.Generator) -> tuple[Tensor, ...]:
            index = torch.randint(n, (k,), generator=generator, device=generator.device)
            return tuple(column[index] for column in data)

        self._rows = Stream(rows, "rows", seed, data.act.device)

    def __call__(self, batch_size: int) -> Iterator[Batch]:
        """Batches of the given size, without end."""
        while True:
            yield Batch(*self._rows.take(batch_size))

    def state_dict(self) -> dict[str, Any]:
        """Position in the stream of rows, and how many rows the set has."""
        return {"rows": len(self.data.act), **self._rows.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a stored position; ValueError for that of a set of another size."""
        stored, mine = state_dict["rows"], len(self.data.act)
        if stored != mine:
            raise ValueError(f"the position belongs to {stored} transitions, got a set of {mine}")
        self._rows.load_state_dict(state_dict)


@runtime_checkable
class ReadsEpisodes(Protocol):
    """An agent whose batches are more than single rows: plans, or returns of whole episodes."""

    def source(self, data: Batch, ends: Bool[Tensor, " n"], seed: int = 0) -> Source: ...


def source_for(agent: Agent, data: Batch, ends: Bool[Tensor, " n"], seed: int = 0) -> Source:
    """The agent's own batches of transitions in order, or single rows of them at random.

    `ends` marks the last row of each episode.
    """
    if isinstance(agent, ReadsEpisodes):
        return agent.source(data, ends, seed)
    return InMemory(data, seed)


def check_finite(name: str, value: Tensor) -> None:
    """ValueError if a tensor holds NaN or infinite values, saying how many."""
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise ValueError(f"{name} must be finite, got {bad} NaN or infinite values")


def check_batch(data: Batch) -> None:
    """TypeError or ValueError unless data is a `Batch` as its annotations say, not empty, finite.

    Networks are float32, so float64 is refused rather than rounded in silence.
    """
    check_kind("data", data, Batch)
    for name, column in zip(data._fields, data, strict=True):
        check_kind(f"data.{name}", column, Tensor)
        if column.dtype != torch.float32 and not (name == "done" and column.dtype == torch.bool):
            wanted = "float32 or bool" if name == "done" else "float32"
            raise TypeError(f"data.{name} must be {wanted}, got {str(column.dtype)[6:]}")
        axes = {"rew": "(n,)", "done": "(n,)", "act": "(n, A)"}.get(name, "(n, S)")
        if column.ndim != len(axes.split()):
            raise ValueError(f"data.{name} must have shape {axes}, got {tuple(column.shape)}")
    n = len(data.act)
    if n == 0:
        raise ValueError("data must hold at least one transition, got none")
    for name, column in zip(data._fields, data, strict=True):
        if len(column) != n:
            raise ValueError(f"data.{name} must have {n} rows like data.act, got {len(column)}")
        check_finite(f"data.{name}", column)
    here, there = data.obs.shape[1], data.next_obs.shape[1]
    if here != there:
        raise ValueError(f"data.next_obs must have {here} columns like data.obs, got {there}")


def one_step(
    act: Float[Tensor, "B A"], rew: Float[Tensor, " B"] | None = None, endless: bool = False
) -> Batch:
    """Transitions of a one-state, one-step problem: obs = 1, done = 1, reward 0 unless given.

    With `endless` the step leads back to the only state (done = 0), as in DTQL's toy code, where
    the critic's target grows to r + discount V.
    """
    ones = torch.ones(len(act), 1, dtype=act.dtype, device=act.device)
    rew = torch.zeros_like(ones[:, 0]) if rew is None else rew
    return Batch(ones, act, rew, ones, torch.full_like(ones[:, 0], 0.0 if endless else 1.0))


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    # Ctrl-C in the middle of an update would leave some networks a step ahead of others.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    # A signal that nobody answers, or that is ignored as in a background job, stays so.
    held = [n for n in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(n))]
    previous = {n: signal.signal(n, lambda number, frame: caught.append(number)) for n in held}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])


def _stop_if_not_finite(recent: list[Progress]) -> None:
    names = [(p, name) for p in recent for name in p.metrics]
    if not names:
        return
    values = torch.stack([p.metrics[name].detach().float() for p, name in names])
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        where, name = names[int(bad[0])]
        raise FloatingPointError(
            f"{name} became {float(values[int(bad[0])])} at step {where.step} of stage "
            f"{where.stage!r}"
        )


def fit(
    agent: Agent,
    batches: Source,
    done: MutableMapping[str, int] | None = None,
    check_every: int = 100,
) -> Iterator[Progress]:
    """Walks the agent's stages and yields `Progress` after each step.

    `done` counts the finished steps of each stage: pass a loaded one to resume, and keep it to
    save, since it is updated in place. Metrics are tensors that nobody reads in the loop; every
    `check_every` steps and at the end of a stage they are inspected together, and a NaN or an
    infinity raises FloatingPointError naming the metric and its step. Ctrl-C takes effect between
    steps only. ValueError for a `done` that names other stages, and for batches that end.
    """
    check_count("check_every", check_every)
    done = {} if done is None else done
    if not callable(batches):
        raise TypeError(
            f"batches must be a Source such as InMemory(data), got {type(batches).__name__}"
        )
    names = [stage.name for stage in agent.stages]
    if unknown := sorted(set(done) - set(names)):
        raise ValueError(f"done must name stages of {', '.join(names)}, got {', '.join(unknown)}")
    for stage in agent.stages:
        check_count(f"steps of stage {stage.name!r}", stage.steps, 0)
        check_count(f"batch_size of stage {stage.name!r}", stage.batch_size)
        supply = iter(batches(stage.batch_size))
        recent: list[Progress] = []
        for step in range(done.get(stage.name, 0) + 1, stage.steps + 1):
            with _interrupts_wait():
                batch = next(supply, None)
                if batch is None:
                    raise ValueError(
                        f"batches must not end, got none for step {step} of {stage.steps} of "
                        f"stage {stage.name!r}"
                    )
                metrics = stage.update(batch)
                done[stage.name] = step
            recent.append(Progress(stage.name, step, stage.steps, metrics))
            if step % check_every == 0 or step == stage.steps:
                _stop_if_not_finite(recent)
                recent = recent[-1:]
            yield recent[-1]


def finish(steps: Generator[Any, None, T]) -> T:
    """Runs a generator to its end and returns what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
