"""What a run leaves on disk: its settings, its newest checkpoint, and two tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from diffteach.files import write_bytes

COLUMNS = {
    "metrics": ("total", "stage", "step", "name", "value"),
    "evaluations": ("total", "episode", "return", "length", "score"),
}


class Folder:
    """A run's folder: run.json, checkpoint.safetensors, metrics.csv and evaluations.csv.

    The tables' first column, `total`, counts the gradient steps of all stages.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint.safetensors"
        self.tensorboard = self.path / "tensorboard"

    @property
    def begun(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "run.json").exists()

    def write_about(self, about: dict[str, Any]) -> None:
        """Stores what the run is, whole or not at all."""
        text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
        write_bytes(text.encode(), self.path / "run.json")

    def about(self) -> dict[str, Any]:
        """What the run is; ValueError for a folder without a run or a damaged file."""
        path = self.path / "run.json"
        if not path.exists():
            raise ValueError(f"{self.path} is not the folder of a run: it has no run.json")
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not readable as JSON ({error})") from None
        if not isinstance(about, dict) or about.get("format") != 1:
            raise ValueError(f"{path} is not a run of this version of diffteach")
        return about

    def append(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Adds rows to a table, which begins with its header."""
        path = self._table(table)
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS[table])
            writer.writerows(rows)

    def read(self, table: str) -> list[dict[str, str]]:
        """A table's rows by column name; a last row that was cut off in the middle is left out."""
        path = self._table(table)
        if not path.exists():
            return []
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        return list(csv.DictReader(io.StringIO(whole)))

    def cut(self, total: int) -> None:
        """Drops what the tables say of steps after `total`: a resumed run writes it anew."""
        for table, columns in COLUMNS.items():
            kept = [row for row in self.read(table) if int(row["total"]) <= total]
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(kept)
            write_bytes(text.getvalue().encode(), self._table(table))

    def _table(self, name: str) -> Path:
        return self.path / f"{name}.csv"
