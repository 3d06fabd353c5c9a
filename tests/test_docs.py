"""What the README shows runs, and the committed pages are those of the code."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from explore.decoding import unpacked

from diffteach.explore import pack
from diffteach.explore.lessons import LESSONS
from diffteach.explore.page import _inside, script

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ROOT / "docs" / "pages"


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.S))
def test_the_readme_runs(code, capsys) -> None:
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    if "print(" in code:
        loss, log_p = (float(n) for n in re.findall(r"-?\d+\.\d+", printed)[:2])
        assert loss == pytest.approx(3.29, abs=0.6)
        assert log_p == pytest.approx(-2.65, abs=0.01)


def test_the_readme_names_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", LESSONS)
def test_committed_pages_are_the_codes(name) -> None:
    page = (PAGES / f"{name}.html").read_text(encoding="utf-8")
    explorable = LESSONS[name]()
    scene = explorable.scene
    assert _inside(script(scene, "page")) in page, "run make pages"
    body = re.search(r'<script type="text/plain" id="scene">([^<]*)<', page)
    assert body is not None
    shown, arrays = unpacked(base64.b64decode(body[1]))
    ours, fresh = unpacked(pack.pack(scene))
    for found in (shown, ours):
        del found["stacks"]
        found["params"] = [p | {"default": None} for p in found["params"]]
    assert rounded(shown) == rounded(ours), "run make pages"
    assert arrays.keys() == fresh.keys()
    if explorable.film is not None:
        fresh = {}  # shown is how it ended, which another machine would train otherwise
    for array_name, array in fresh.items():
        there = arrays[array_name]
        scale = np.ptp(array[np.isfinite(array)]) if np.isfinite(array).any() else 1.0
        np.testing.assert_allclose(there, array, atol=1e-2 * scale + 1e-9, rtol=1e-2)
    assert len(page.encode()) <= 240_000
    assert name in (PAGES / "index.html").read_text(encoding="utf-8")


def rounded(value):
    """Numbers to four digits: another machine's quadrature differs in the last ones."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, (list, tuple)) else value
