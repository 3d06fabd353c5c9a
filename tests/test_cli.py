"""The command line writes pages whole or not at all, and says in one sentence why not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diffteach.cli import main
from diffteach.explore.lessons import LESSONS


def test_page_of_a_lesson_and_of_a_view(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["page", "mode_seeking"]) == 0
    assert main(["page", "mode_seeking?lam=5&hide=width", "--out", "view.html"]) == 0
    assert capsys.readouterr().out.split() == ["mode_seeking.html", "view.html"]
    plain, view = (tmp_path / n for n in ("mode_seeking.html", "view.html"))
    assert '"lam": 5.0' in view.read_text() and '"lam": 2.0' in plain.read_text()
    assert '"hide": ["width"]' in view.read_text()


def test_pages_write_an_index_of_every_lesson(tmp_path, monkeypatch) -> None:
    for name in set(LESSONS) - {"mode_seeking", "score_regularization"}:
        monkeypatch.delitem(LESSONS, name)  # every lesson's own page is a test of its own
    folder = tmp_path / "deep" / "pages"
    assert main(["pages", str(folder)]) == 0
    names = {p.name for p in folder.iterdir()}
    assert names == {f"{name}.html" for name in LESSONS} | {"index.html"}
    index = (folder / "index.html").read_text()
    assert all(f'href="{name}.html"' in index for name in LESSONS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["page", "trust_regoin"], "did you mean 'trust_region'?"),
        (["page", "mode_seeking?lam=99"], "lam must lie in [0.1, 30], got 99"),
        (["page", "mode_seeking?lan=1"], "there is no parameter 'lan' here"),
        (["page", "mode_seeking?lam=x"], "lam must be a number in a permalink, got 'x'"),
        (["page", "mode_seeking", "-o", "missing/there.html"], "cannot write missing/there.html"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments, sentence, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith("diffteach: ") and sentence in said.err
    assert len(said.err.splitlines()) == 1 and said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_the_command() -> None:
    run = subprocess.run([sys.executable, "-m", "diffteach", "--version"], capture_output=True)
    assert run.returncode == 0 and run.stdout.strip() == b"0.1.0"
