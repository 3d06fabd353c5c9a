"""The table says what the evaluations say, and averages only what belongs together."""

from __future__ import annotations

import pytest

from diffteach import report
from diffteach.cli import main
from diffteach.runs import Folder


def folder(path, seed=0, method="srpo", evaluations=((100, (1.0, 3.0)),), scored=True, **changes):
    path.mkdir(parents=True)
    made = Folder(path)
    setup = {"method": method, "data": "hopper", "preset": "paper", "changes": changes}
    made.write_about({"format": 1, "setup": {**setup, "seed": seed}})
    for total, values in evaluations:
        rows = [(total, k, v / 10, 5, v if scored else None) for k, v in enumerate(values)]
        made.append("evaluations", rows)
    return made


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()][2:]


def test_seeds_of_one_setup_are_one_row_with_their_standard_error(tmp_path, capsys) -> None:
    folder(tmp_path / "a", 0, evaluations=[(50, (9.0, 9.0)), (100, (1.0, 3.0))])
    folder(tmp_path / "b", 1, evaluations=[(50, (2.0, 2.0)), (100, (4.0, 6.0))])
    folder(tmp_path / "deep" / "c", 2, evaluations=[(100, (7.0, 9.0))])
    assert main(["report", str(tmp_path)]) == 0
    (row,) = rows(capsys.readouterr().out)
    # last: 2, 5, 8: mean 5, standard deviation 3, over the root of 3; best: 9, 5, 8
    assert row[:4] == ["hopper", "srpo", "paper", ""] and row[4:7] == ["100", "3", "2"]
    assert row[7] == "5.0 ± 1.7" and row[8] == "7.3 ± 1.2" and row[9] == "%"


def test_what_differs_is_never_averaged(tmp_path) -> None:
    folder(tmp_path / "a")
    folder(tmp_path / "b", method="dtql")
    folder(tmp_path / "c", beta=2.0)
    folder(tmp_path / "d", evaluations=[(200, (1.0, 3.0))])
    folder(tmp_path / "e", evaluations=[(100, (1.0, 3.0, 5.0))])
    folder(tmp_path / "f", scored=False)
    found = [report.result(each) for each in report.find([tmp_path])]
    table = rows(report.table(found))
    assert len(table) == 6 and {row[5] for row in table} == {"1"}
    assert sorted(row[7] for row in table if row[9] == "return") == ["0.2"]
    assert [row[3] for row in table if row[3]] == ["beta=2.0"]


def test_runs_without_evaluations_are_named_and_no_runs_are_an_error(tmp_path, capsys) -> None:
    made = folder(tmp_path / "a", evaluations=[])
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == f"not evaluated yet: {made.path}"
    assert main(["report", str(tmp_path / "none")]) == 1
    assert "no run was found in" in capsys.readouterr().err


def test_a_damaged_or_foreign_folder_says_so(tmp_path) -> None:
    made = folder(tmp_path / "a")
    (made.path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json is not readable as JSON"):
        made.about()
    (made.path / "run.json").write_text('{"format": 7}')
    with pytest.raises(ValueError, match="not a run of this version"):
        made.about()
    with pytest.raises(ValueError, match="is not the folder of a run"):
        Folder(tmp_path).about()
