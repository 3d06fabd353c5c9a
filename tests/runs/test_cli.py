"""`diffteach train`, `eval` and `report` from the first argument to the last file."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from dataclasses import fields, is_dataclass

import pytest
import torch

from diffteach import data, plane, runs
from diffteach.cli import main
from diffteach.runs.settings import method

FOUR = "diffteach/four_corners-v0"


def kinds(config: object) -> set[type]:
    """The classes of nested settings."""
    inside = (getattr(config, f.name) for f in fields(config))
    nested = (kinds(v) for v in inside if is_dataclass(v) and not isinstance(v, type))
    return {type(config)}.union(*nested)


SETTINGS = sorted(
    set().union(*(kinds(method(name).plane) for name in plane.METHODS)), key=lambda c: c.__name__
)


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_every_setting_says_what_it_is(kind) -> None:
    """`--help` shows these texts."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body
    pairs = zip(body, [*body[1:], None], strict=True)
    silent = [
        line.target.id
        for line, following in pairs
        if isinstance(line, ast.AnnAssign)
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
    assert silent == []


def test_help_lists_a_methods_settings_with_the_sets_values(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", "dtql", "--data", FOUR, "--help"])
    said = capsys.readouterr().out
    assert "--config.alpha" in said and "--config.critic.expectile" in said
    assert f"(default: {method('dtql').plane.steps})" in said
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "--resume" in capsys.readouterr().out


def test_a_toy_from_the_command_line_to_its_best_corner(tmp_path, capsys) -> None:
    out = str(tmp_path / "run")
    arguments = ["train", "gaussian_bc", "--data", FOUR, "--steps", "20", "--out", out]
    assert main([*arguments, "--config.lr", "0.01", "--evaluations", "1"]) == 0
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["setup"]["changes"] == {"steps": 20, "lr": 0.01}
    assert about["digest"] == data.load(FOUR).digest
    assert main(["eval", out, "--episodes", "7"]) == 0
    assert "over 7 episodes" in capsys.readouterr().out
    assert main([*arguments, "--config.lr", "0.01"]) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 1
    assert "run.setup.changes.lr = 0.01" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 0
    assert "| gaussian_bc | plane | lr=0.01, steps=20 |" in capsys.readouterr().out


@pytest.mark.trains
@pytest.mark.parametrize("name", ["srpo", "dtql"])
def test_the_papers_methods_find_the_best_corner(name, tmp_path) -> None:
    """Right bottom pays most; 98 % of the data's law is nearer than these bounds say."""
    assert main(["train", name, "--data", FOUR, "--out", str(tmp_path), "--evaluations", "1"]) == 0
    opened, problem = runs.open_run(tmp_path), plane.bandit("four_corners")
    result = plane.outcome(problem, opened.act(torch.ones(1000, 1)))
    best = problem.q(problem.density.means).argmax()
    assert result.modes[best] >= 0.95 and result.outside <= 0.02


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "srp", "--data", FOUR], "method must be one of .* did you mean 'srpo'"),
        (["train", "srpo", "--data", "diffteach/four_corner-v0"], "four_corners-v0"),
        (["train", "srpo", "--data", FOUR, "--device", "cuda"], "device must exist here"),
        (["train", "srpo", "--data", FOUR, "--device", "tpu"], "device must be cpu, cuda or mps"),
        (["train", "srpo", "--data", FOUR, "--log-every", "0"], "log_every must be"),
        (["eval", "nowhere"], "nowhere is not the folder of a run"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments, sentence, tmp_path, capsys, monkeypatch
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("diffteach: ") and len(said.splitlines()) == 1
    assert re.search(sentence, said), said
    assert list(tmp_path.iterdir()) == []


def test_a_stages_own_steps_go_before_those_of_all(tmp_path) -> None:
    arguments = ["train", "srpo", "--data", FOUR, "--steps", "3", "--out", str(tmp_path / "run")]
    assert main([*arguments, "--config.policy-steps", "5", "--evaluations", "0"]) == 0
    (*_, last) = runs.Folder(tmp_path / "run").read("metrics")
    assert (last["total"], last["step"]) == ("11", "5")


def test_a_value_that_a_setting_refuses_is_said(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["train", "srpo", "--data", FOUR, "--config.beta", "-1"])
    assert "beta must be positive, got -1" in capsys.readouterr().err


def test_a_plugin_adds_a_method(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plane, "METHODS", dict(plane.METHODS))
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from diffteach import plane\n"
        "from diffteach.methods import GaussianBC, GaussianBCConfig\n"
        "plane.METHODS['mine'] = (GaussianBC, GaussianBCConfig(steps=3))\n"
    )
    arguments = ["train", "mine", "--data", FOUR, "--out", str(tmp_path / "run")]
    assert main([*arguments, "--plugin", str(plugin), "--evaluations", "0"]) == 0
    assert "mine" in plane.METHODS and "mine" not in sys.modules
    assert runs.open_run(tmp_path / "run").act(torch.ones(3, 1)).shape == (3, 2)
