"""What it takes to train the panels of DTQL's Fig. 3, and where their policies end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

Row = tuple[str, float, str, str]


def panels(seed: int = 0) -> Iterator[Row]:
    """Every panel on two threads: seconds, then the share of 1,000 actions off the data."""
    import torch

    from diffteach import plane
    from diffteach.train import fit

    torch.set_num_threads(2)
    for row in plane.ROWS:
        for column in plane.COLUMNS:
            problem, agent = plane.panel(row, column, seed)
            start = time.perf_counter()
            deque(fit(agent, problem.source(seed)), maxlen=0)
            seconds = time.perf_counter() - start
            found = plane.outcome(problem, agent.act(torch.ones(1000, 1)))
            yield f"panel {row} / {column}", seconds, "s", "<= 15"
            yield f"panel {row} / {column}: off the data", 100 * found.outside, "%", ""
