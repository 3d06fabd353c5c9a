"""However a run is stopped, it goes on to the very weights of an undisturbed one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs.plane_runs import SETUP, toy

from diffteach import methods, plane, runs
from diffteach.types import Batch, Metrics, Stage

PROGRAM = [sys.executable, str(Path(__file__).with_name("plane_runs.py"))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> runs.Folder:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    subprocess.run([*PROGRAM, str(out)], check=True, capture_output=True, timeout=120)
    return runs.Folder(out)


def stopped(out: Path, how: signal.Signals, rows: int) -> int:
    """Starts a run, sends a signal once metrics.csv has so many rows; returns the exit status."""
    # A test that is itself started in the background ignores Ctrl-C, and so would its child.
    process = subprocess.Popen(
        [*PROGRAM, str(out)],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder, end = runs.Folder(out), time.monotonic() + 120
    while len(folder.read("metrics")) < rows and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(how)
    process.communicate(timeout=30)
    return process.returncode


@pytest.mark.parametrize(
    "rows", [1, pytest.param(9, marks=pytest.mark.slow), pytest.param(15, marks=pytest.mark.slow)]
)
def test_killed_and_resumed_is_undisturbed(rows, undisturbed, tmp_path) -> None:
    out = tmp_path / "run"
    assert stopped(out, signal.SIGKILL, rows) == -signal.SIGKILL
    subprocess.run([*PROGRAM, str(out), "--resume"], check=True, capture_output=True, timeout=120)
    again = runs.Folder(out)
    assert again.checkpoint.read_bytes() == undisturbed.checkpoint.read_bytes()
    for table in ("metrics", "evaluations"):
        assert again.read(table) == undisturbed.read(table) != []


def test_ctrl_c_saves_and_the_rest_is_undisturbed(undisturbed, tmp_path) -> None:
    out = tmp_path / "run"
    assert stopped(out, signal.SIGINT, 12) != 0
    assert runs.Folder(out).checkpoint.exists()
    subprocess.run([*PROGRAM, str(out), "--resume"], check=True, capture_output=True, timeout=120)
    assert runs.Folder(out).checkpoint.read_bytes() == undisturbed.checkpoint.read_bytes()


def test_a_table_cut_in_the_middle_of_a_row_is_read_and_cut(tmp_path) -> None:
    folder = runs.Folder(tmp_path)
    folder.append("metrics", [(k, "critic", k, "loss", k / 10) for k in (10, 20, 30)])
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-4])
    assert [row["total"] for row in folder.read("metrics")] == ["10", "20"]
    folder.cut(10)
    assert path.read_text() == "total,stage,step,name,value\n10,critic,10,loss,1.0\n"


class Poisoned:
    """Gaussian cloning whose weights and loss are spoilt in step 250."""

    def __init__(self, *settings) -> None:
        self.clone, self.count = methods.GaussianBC(*settings), 0

    @property
    def stages(self) -> tuple[Stage, ...]:
        (stage,) = self.clone.stages
        return (replace(stage, update=self.step),)

    def step(self, batch: Batch) -> Metrics:
        self.count += 1
        if self.count == 250:
            for weight in self.clone.policy.parameters():
                weight.data.fill_(torch.nan)
        return self.clone.stages[0].update(batch)

    def act(self, obs: torch.Tensor) -> torch.Tensor:
        return self.clone.act(obs)


def test_divergence_names_the_loss_and_keeps_the_last_good_state(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(plane.METHODS, "poisoned", (Poisoned, methods.GaussianBCConfig()))
    setup = replace(SETUP, method="poisoned", changes={"steps": 1000})
    said = r"loss became nan at step 250 of stage .*; the last good state, of step 200 of 1000,"
    with pytest.raises(FloatingPointError, match=said):
        runs.train(setup, toy(), tmp_path / "run", save_seconds=0, evaluations=0, progress=False)
    opened = runs.open_run(tmp_path / "run")
    assert torch.isfinite(opened.act(torch.ones(5, 1))).all()
    assert opened.agent.clone.learner.optimizer.state  # and it can go on


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"seed": 4}, "run.setup.seed = 3, needed is 4"),
        ({"changes": {**SETUP.changes, "beta": 2.0}}, r"run.setup.changes.beta = None"),
        ({"method": "dtql", "changes": {}}, "run.setup.method = 'srpo'"),
    ],
)
def test_resuming_with_other_settings_names_the_first(changed, sentence, tmp_path) -> None:
    quick = {"evaluations": 0, "progress": False}
    short = replace(SETUP, changes=dict.fromkeys(SETUP.changes, 2))
    runs.train(short, toy(), tmp_path, **quick)
    other = replace(short, **changed)
    with pytest.raises(ValueError, match=f"cannot be resumed: it was made with .*{sentence}"):
        runs.train(other, toy(), tmp_path, resume=True, **quick)
    with pytest.raises(ValueError, match="holds a run already"):
        runs.train(short, toy(), tmp_path, **quick)


def test_resuming_on_other_data_is_refused(tmp_path) -> None:
    quick = {"evaluations": 0, "progress": False}
    short = replace(SETUP, changes=dict.fromkeys(SETUP.changes, 2))
    runs.train(short, toy(), tmp_path, **quick)
    with pytest.raises(ValueError, match="run.(digest|setup.changes.behaviour.data_scale)"):
        runs.train(short, toy(n=2001), tmp_path, resume=True, **quick)
