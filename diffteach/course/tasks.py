"""What a task and a verdict are, and how they look in a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from diffteach.course.answers import Slip, Unanswered, is_missing
from diffteach.nets import seeded

Kind = Literal["compute", "break it", "design"]


@dataclass(frozen=True)
class Result:
    """Verdict on one answer: `passed`, and a `hint` that names the likely slip or what was learnt.

    True in a condition where it passed. `answered` is False for a task that was left open.
    """

    task: str
    passed: bool
    hint: str
    answered: bool = True

    def __bool__(self) -> bool:
        return self.passed

    @property
    def verdict(self) -> str:
        """One of: right, not yet, not answered yet."""
        if not self.answered:
            return "not answered yet"
        return "right" if self.passed else "not yet"

    def __repr__(self) -> str:
        return textwrap.fill(f"{self.task}: {self.verdict}. {self.hint}", 88)

    def _repr_markdown_(self) -> str:
        mark = "✓ " if self.passed else ""
        return f"**{mark}{self.task} · {self.verdict}.** {self.hint}"


@dataclass(frozen=True, repr=False)
class Task:
    """One exercise: its text, a cell to start from, and the judge of an answer.

    `text` is Markdown and `starter` Python, both for verbatim use in a notebook. `judge` raises
    Slip for a wrong answer and returns for a right one; `right` is what a right answer shows.
    """

    id: str
    kind: Kind
    text: str
    starter: str
    judge: Callable[[Any], None] = field(compare=False)
    right: str

    def check(self, answer: Any) -> Result:
        """The verdict on an answer; never raises, and leaves torch's random state as it was."""
        try:
            if is_missing(answer):
                raise Unanswered
            with seeded(0), torch.enable_grad():
                self.judge(answer)
        except Unanswered:
            hint = "Fill in the dots above and run this cell again."
            return Result(self.id, False, hint, answered=False)
        except Slip as slip:
            return Result(self.id, False, str(slip))
        except Exception as error:
            # A check meets whatever people hand in; a traceback would teach nobody anything.
            kind = type(error).__name__
            return Result(self.id, False, f"Your answer cannot be used in this task ({kind}).")
        return Result(self.id, True, self.right)

    def __repr__(self) -> str:
        return f"{self.id} ({self.kind})\n\n{self.text}\n\n{textwrap.indent(self.starter, '    ')}"

    def _repr_markdown_(self) -> str:
        return f"**{self.id} · {self.kind}**\n\n{self.text}\n\n```python\n{self.starter}\n```"
