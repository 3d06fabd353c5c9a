"""`diffteach page`, `pages` and `exercises`: the course as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from diffteach.course import export
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import LESSONS, open_link
from diffteach.explore.page import index


def page(
    link: Positional[str], out: Annotated[Path | None, arg(aliases=["-o"])] = None
) -> list[Path]:
    """Write one lesson's picture as one HTML file.

    Args:
        link: a lesson's name, or a permalink
        out: the file to write; LESSON.html by default
    """
    lesson = open_link(link)
    if lesson.film is not None:
        lesson.finish()
    return [lesson.page(out or Path(f"{lesson.scene.name}.html"))]


def pages(folder: Positional[Path]) -> list[Path]:
    """Write every lesson's page, and an index.html that links them.

    The index is written last, so it never names a page that is not there.

    Args:
        folder: the folder to write to, made if missing
    """
    folder.mkdir(parents=True, exist_ok=True)
    lessons: list[Explorable] = [lesson() for lesson in LESSONS.values()]
    for lesson in lessons:
        if lesson.film is not None:
            lesson.finish()
    written = [lesson.page(folder / f"{lesson.scene.name}.html") for lesson in lessons]
    entries = [(path.name, each.scene.title) for path, each in zip(written, lessons, strict=True)]
    return [*written, index(entries, folder / "index.html")]


def exercises(folder: Positional[Path]) -> list[Path]:
    """Write the course's tasks as nbgrader assignments.

    Args:
        folder: nbgrader's course folder, new or not
    """
    return export.write(folder)
