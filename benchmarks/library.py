"""Figures of the library itself, each measured in a process of its own or as a ratio in one run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Row = tuple[str, float, str, str]


def _python(code: str) -> list[str]:
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return out.stdout.split()


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def import_time(repeats: int = 7) -> Iterator[Row]:
    """What `import diffteach` adds to `import torch`, the median of interleaved processes."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    extra = []
    for _ in range(repeats):
        alone = float(_python(code.format("torch"))[0])
        both = float(_python(code.format("torch, diffteach"))[0])
        extra.append(both - alone)
    yield "import diffteach, more than import torch", statistics.median(extra), "s", "<= 0.3"


_FIRST_FRAME = """
import time
import torch, matplotlib, ipywidgets, anywidget
from diffteach.explore import lessons
start = time.perf_counter()
lessons.{}()._repr_mimebundle_()
print(time.perf_counter() - start)
"""


def first_frame(repeats: int = 3) -> Iterator[Row]:
    """From construction to the message that a front end draws from, in a fresh process."""
    from diffteach.explore.lessons import LESSONS
    from diffteach.explore.page import html

    for name, lesson in LESSONS.items():
        runs = [float(_python(_FIRST_FRAME.format(name))[0]) for _ in range(repeats)]
        yield f"first frame of {name}", statistics.median(runs), "s", "<= 1.5"
        yield f"page of {name}", len(html(lesson()).encode()) / 1000, "kB", "<= 300"


_FIELD = """
import resource, time
from diffteach.explore import fields
from diffteach.schedule import EDM
from diffteach.toys import density
schedule, bounds = EDM(), (-13.5, 13.5, -13.5, 13.5)
denoise = density("25gaussians").denoiser(schedule)
fields.trust_region_field(denoise, schedule, bounds, 8, 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
fields.trust_region_field(denoise, schedule, bounds, 128, 64)
seconds = time.perf_counter() - start
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def trust_region_field(repeats: int = 5) -> Iterator[Row]:
    """25 exact Gaussians, 128 x 128 grid, 64 noise levels; and its error against 4,096 noises."""
    runs = [[float(v) for v in _python(_FIELD)] for _ in range(repeats)]
    name = "trust-region field, 25 Gaussians, 128², 64 levels"
    yield name, statistics.median(r[0] for r in runs), "s", "<= 1"
    yield f"{name}: memory on top", max(r[1] for r in runs), "MiB", "<= 300"
    yield f"{name}: error against 4,096 noises", 100 * field_error(), "% of range", "<= 2"


def field_error(noises: int = 4096, size: int = 32) -> float:
    """Largest error of the field on a coarse grid, as a share of its range.

    The reference draws 4,096 noises a point from stratified levels, itself noisy by about 0.5 %.
    """
    import torch

    from diffteach.explore import fields
    from diffteach.objectives import trust_region_loss
    from diffteach.schedule import EDM
    from diffteach.toys import density

    schedule, bounds = EDM(), (-13.5, 13.5, -13.5, 13.5)
    denoise = density("25gaussians").denoiser(schedule)
    field = fields.trust_region_field(denoise, schedule, bounds, size)
    act, generator = fields.grid(bounds, size), torch.Generator().manual_seed(0)
    total = torch.zeros(len(act), dtype=torch.float64)
    levels = schedule.quantile((torch.arange(noises, dtype=torch.float64) + 0.5) / noises).float()
    with torch.no_grad():
        for level in levels:
            eps = torch.randn(len(act), 2, generator=generator)
            total += trust_region_loss(denoise, schedule, act, level.expand(len(act)), eps)
    reference = (total / noises).reshape(size, size)
    spread = reference.max() - reference.min()
    return float((field - reference).abs().max() / spread)


def training(repeats: int = 5, steps: int = 500) -> Iterator[Row]:
    """2,000 steps of the 128-wide Mish denoiser at batch 512 against a plain torch loop.

    The two take turns, `steps` at a time; the figure is the median ratio of neighbours.
    """
    import torch

    from diffteach.methods.bc import fit_points
    from diffteach.schedule import EDM
    from diffteach.toys import load
    from diffteach.train import finish

    torch.set_num_threads(2)
    points, _ = load("8gaussians", 10_000, 0)

    def ours() -> None:
        finish(fit_points(points, EDM(), steps=steps))

    def plain() -> None:
        _plain_loop(points, steps)

    ours()
    plain()
    pairs = [(_seconds(ours), _seconds(plain)) for _ in range(repeats)]
    ratio = statistics.median(a / b for a, b in pairs)
    whole = statistics.median(a for a, _ in pairs) * 2000 / steps
    yield "training step, 128-wide Mish at batch 512, against a plain loop", ratio, "x", "<= 0.85"
    yield "2,000 such steps", whole, "s", ""


def _plain_loop(points: Any, steps: int) -> None:
    """What a lecture's first notebook would write: the same network, nothing prepared."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(2 + 1, 128), nn.Mish(), nn.Linear(128, 128), nn.Mish(),
        nn.Linear(128, 128), nn.Mish(), nn.Linear(128, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(steps):
        x0 = points[torch.randint(len(points), (512,))]
        sigma = 0.5 * torch.exp(torch.randn(512, 1))
        eps = torch.randn_like(x0)
        scale = (sigma**2 + 0.25).rsqrt()
        x_t = x0 + sigma * eps
        out = net(torch.cat([scale * x_t, sigma.log() / 4], 1))
        denoised = 0.25 * scale**2 * x_t + sigma * 0.5 * scale * out
        loss = (((denoised - x0) / (sigma * 0.5 * scale)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()


def notebooks() -> Iterator[Row]:
    """Every notebook executed once, top to bottom, in kernels with one thread."""
    import os
    from pathlib import Path

    import nbformat
    from nbclient import NotebookClient

    os.environ["OMP_NUM_THREADS"] = "1"
    total = 0.0
    for path in sorted(Path("notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(notebook, timeout=300, kernel_name="python3")
        seconds = _seconds(client.execute)
        total += seconds
        yield f"notebook {path.stem}", seconds, "s", ""
    yield "the notebooks together", total, "s", "<= 180"
