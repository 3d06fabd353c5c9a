"""The command line: `diffteach page trust_region`, `pages FOLDER` and `exercises FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from diffteach.course import export
from diffteach.explore.explorable import Explorable
from diffteach.explore.lessons import LESSONS, open_link
from diffteach.explore.page import index


def write_page(link: str, out: Path | None) -> Path:
    """Write the page of a lesson or of a permalink; by default NAME.html in this folder."""
    lesson = open_link(link)
    if lesson.film is not None:
        lesson.finish()
    return lesson.page(out or Path(f"{lesson.scene.name}.html"))


def write_pages(folder: Path) -> list[Path]:
    """Write every lesson's page and an index.html that links them; the folder is made if missing.

    The index is written last, so it never names a page that is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lessons: list[Explorable] = [lesson() for lesson in LESSONS.values()]
    for lesson in lessons:
        if lesson.film is not None:
            lesson.finish()
    pages = [lesson.page(folder / f"{lesson.scene.name}.html") for lesson in lessons]
    entries = [(page.name, lesson.scene.title) for page, lesson in zip(pages, lessons, strict=True)]
    return [*pages, index(entries, folder / "index.html")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="diffteach", description=__doc__)
    parser.add_argument("--version", action="version", version=version("diffteach"))
    commands = parser.add_subparsers(dest="command", required=True)
    page = commands.add_parser("page", help="write one lesson's picture as one HTML file")
    page.add_argument("link", help=f"a lesson ({', '.join(LESSONS)}) or a permalink")
    page.add_argument("-o", "--out", type=Path, help="the file to write (default: LESSON.html)")
    pages = commands.add_parser("pages", help="write every lesson's page and an index")
    pages.add_argument("folder", type=Path, help="the folder to write to")
    exercises = commands.add_parser("exercises", help="write the tasks as nbgrader assignments")
    exercises.add_argument("folder", type=Path, help="nbgrader's course folder, new or not")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what cannot be done is one sentence on standard error and exit status 1."""
    args = _parser().parse_args(arguments)
    try:
        if args.command == "page":
            written = [write_page(args.link, args.out)]
        elif args.command == "exercises":
            written = export.write(args.folder)
        else:
            written = write_pages(args.folder)
    except (ValueError, TypeError, OSError) as error:
        print(f"diffteach: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(path) for path in written))
    return 0
