"""Draw the frozen point sets again: `python toy_data/generate.py`."""

from __future__ import annotations

from pathlib import Path

from diffteach.toys.frozen import write

if __name__ == "__main__":
    for file in write(Path(__file__).parent):
        print(f"{file.name}: {file.stat().st_size / 1e3:.0f} kB")
