"""An explorable as one HTML file that needs no kernel, no network and no second file."""

from __future__ import annotations

import base64
import html as markup
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from diffteach.explore import colors
from diffteach.explore.pack import pack
from diffteach.explore.scene import Operation, Scene
from diffteach.explore.showable import Showable
from diffteach.files import write_bytes

_DRAWING = ("value", "words", "scene", "theme", "contour", "draw", "axes", "panel")
_SHARED = (*_DRAWING, "controls", "share", "player", "question")
_BOOT = {"widget": ("pen", "widget"), "page": ("page",)}
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
_ROOT = Path(str(files("diffteach.explore"))) / "js"


def script(scene: Scene, boot: str) -> str:
    """The JavaScript of a view, with the scene's own functions; `boot` is "widget" or "page"."""
    table = {"light": colors.LIGHT, "dark": colors.DARK, "ramps": colors.RAMPS}
    parts = [f"const COLORS = {json.dumps(table)};", _functions(scene.functions)]
    parts += [
        (_ROOT / f"{name}.js").read_text("utf-8") for name in (*_SHARED, "view", *_BOOT[boot])
    ]
    return "\n".join(parts)


def style() -> str:
    """The style sheet of a view."""
    return (_ROOT / "style.css").read_text("utf-8")


def _functions(functions: Iterable[Operation]) -> str:
    # One closure per source: lessons may use any name without meeting another's or the engine's.
    names: dict[str, list[str]] = {}
    for function in functions:
        names.setdefault(function.javascript, []).append(function.name)
    closures = [
        f"...(() => {{\n{source}\nreturn {{ {', '.join(declared)} }};\n}})()"
        for source, declared in names.items()
    ]
    return "const FUNCTIONS = {" + ",\n".join(closures) + "};"


def html(explorable: Showable) -> str:
    """The page's text: present values and hidden controls are where it starts."""
    scene = explorable.scene
    state = {
        "values": explorable.values,
        "opening": explorable.opened(),
        "hide": list(explorable.hide),
        "fixed": explorable.fixed(),
    }
    body = base64.b64encode(pack(scene, effort=9)).decode()
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{markup.escape(scene.title or scene.name)}</title>
<style>{_paper()}{style()}</style>
</head>
<body>
<main><div id="diffteach"></div></main>
<script type="application/json" id="state">{_json(state)}</script>
<script type="text/plain" id="scene">{body}</script>
<script>"use strict";
{_inside(script(scene, "page"))}
</script>
</body>
</html>
"""


def _paper() -> str:
    light, dark = colors.LIGHT["paper"], colors.DARK["paper"]
    return (
        f"body{{margin:0;background:{light}}}main{{max-width:1280px;margin:0 auto;padding:8px}}"
        f"@media(prefers-color-scheme:dark){{body{{background:{dark}}}}}"
    )


def _json(value: Any) -> str:
    return json.dumps(value).replace("<", "\\u003c")


def _inside(text: str) -> str:
    """Text that cannot end the script element it stands in; in its strings it reads alike."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


def write(explorable: Showable, path: str | Path) -> Path:
    """Write the page; OSError in one sentence, and no half-written file, if that cannot be done."""
    return write_bytes(html(explorable).encode(), Path(path))


def index(entries: Iterable[tuple[str, str]], path: str | Path) -> Path:
    """Write a page of links to pages beside it, given as (file name, title)."""
    rows = "\n".join(
        f'<li><a href="{markup.escape(name)}">{markup.escape(title)}</a></li>'
        for name, title in entries
    )
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>diffteach</title>
<style>{_paper()}
main{{font:1.1rem/1.8 system-ui,sans-serif;padding:3rem 2rem;max-width:40rem}}
body{{color:{colors.LIGHT["ink"]}}}a{{color:{colors.LIGHT["blue"]}}}
@media(prefers-color-scheme:dark){{body{{color:{colors.DARK["ink"]}}}a{{color:{colors.DARK["blue"]}}}}}
</style>
</head>
<body>
<main>
<h1>diffteach</h1>
<p>Living pictures of diffusion policies: each page works on its own, from disk, without a
network.</p>
<ul>
{rows}
</ul>
</main>
</body>
</html>
"""
    return write_bytes(text.encode(), Path(path))
