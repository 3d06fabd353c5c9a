"""The explorables of the course, one a file, and `open_link` for the view a lecturer hands out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from diffteach.checks import unknown
from diffteach.explore import links
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons.guidance import guidance
from diffteach.explore.lessons.mode_seeking import mode_seeking
from diffteach.explore.lessons.noise_and_scores import noise_and_scores
from diffteach.explore.lessons.noising import noising
from diffteach.explore.lessons.one_point import one_point
from diffteach.explore.lessons.regularizers import regularizers
from diffteach.explore.lessons.sampling_without_data import sampling_without_data
from diffteach.explore.lessons.score_regularization import score_regularization
from diffteach.explore.lessons.training import training
from diffteach.explore.lessons.trust_region import trust_region
from diffteach.explore.lessons.why_regularize import why_regularize

LESSONS: Mapping[str, Callable[..., Explorable]] = {
    "why_regularize": why_regularize,
    "noise_and_scores": noise_and_scores,
    "noising": noising,
    "mode_seeking": mode_seeking,
    "score_regularization": score_regularization,
    "trust_region": trust_region,
    "one_point": one_point,
    "regularizers": regularizers,
    "sampling_without_data": sampling_without_data,
    "guidance": guidance,
    "training": training,
}

__all__ = [
    "LESSONS",
    "guidance",
    "mode_seeking",
    "noise_and_scores",
    "noising",
    "one_point",
    "open_link",
    "regularizers",
    "sampling_without_data",
    "score_regularization",
    "training",
    "trust_region",
    "why_regularize",
]


def open_link(link: str) -> Explorable:
    """The explorable of a permalink, in the view that it names.

    ValueError for an unknown lesson, parameter or value.
    """
    name, pairs, _, guess = links.parse(link)
    if name not in LESSONS:
        raise unknown("link", name, LESSONS)
    lesson = LESSONS[name]
    settings = {
        key: links.typed(key, pairs[key], param.default)
        for key, param in inspect.signature(lesson).parameters.items()
        if key in pairs and isinstance(param.default, (str, int, float))
    }
    return lesson(**settings, guess=guess).open(link)
