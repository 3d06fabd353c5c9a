"""The exercises of the course and their offline checks: `task("06.1")`, `check("06.1", answer)`."""

from __future__ import annotations

from typing import Any

from diffteach.checks import unknown
from diffteach.course import (
    dtql,
    energies_and_guidance,
    forward_and_reverse_kl,
    learned_and_exact,
    noise_and_scores,
    one_point,
    rssm_and_sdac,
    srpo,
    why_regularize,
)
from diffteach.course.tasks import Result, Task

__all__ = ["Result", "Task", "check", "task", "tasks"]

_LESSONS = (
    why_regularize,
    noise_and_scores,
    learned_and_exact,
    forward_and_reverse_kl,
    srpo,
    dtql,
    one_point,
    energies_and_guidance,
    rssm_and_sdac,
)
_TASKS = {found.id: found for lesson in _LESSONS for found in lesson.TASKS}


def tasks(lesson: str = "") -> tuple[Task, ...]:
    """All tasks in order, or those of one lesson such as "06"; ValueError for an unknown lesson."""
    found = tuple(t for t in _TASKS.values() if t.id.startswith(f"{lesson}." if lesson else ""))
    if not found:
        lessons = sorted({name.partition(".")[0] for name in _TASKS})
        raise ValueError(f"lesson must be one of {', '.join(lessons)}, got {lesson!r}")
    return found


def task(id: str) -> Task:
    """The task with this id, for example "06.1"; shows its text.

    ValueError that lists the ids and suggests the nearest, TypeError unless the id is text.
    """
    if not isinstance(id, str):
        raise TypeError(f'a task\'s id is text such as "06.1", got {type(id).__name__} {id!r}')
    if id in _TASKS:
        return _TASKS[id]
    raise unknown("a task's id", id, _TASKS)


def check(id: str, answer: Any) -> Result:
    """The verdict on an answer, with a hint; None and `...` count as not answered yet.

    Deterministic and offline. Whatever the answer is, nothing is raised; ValueError or TypeError
    for an id that no task has.
    """
    return task(id).check(answer)
