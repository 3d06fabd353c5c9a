"""`diffteach data list`, `info`, `check`, `fetch`, `build` and `convert`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional
from tyro.extras import SubcommandApp

from diffteach import data
from diffteach.data import build as mazes
from diffteach.data import convert as conversion
from diffteach.data import d4rl, hosted, minari
from diffteach.data import fetch as files
from diffteach.data.pointmaze import LAYOUTS
from diffteach.data.rollouts import rollouts

STEPS = {"pointmaze/detour": 500_000, "pointmaze": 1_000_000, "policy": 200_000}


def sets(root: Path | None = None) -> list[str]:
    """List the sets on this machine, those to fetch and those to build.

    Args:
        root: folder of Minari sets; Minari's own by default
    """
    kept = files.folder()
    here = [
        *minari.local(root),
        *(n for n, f in files.FILES.items() if (kept / f.name).is_file()),
    ]
    away = [name for name in files.FILES if name not in here]
    return [
        *here,
        f"to fetch: {', '.join(away)}; Minari's ids, as in D4RL/pointmaze/umaze-v2",
        f"to build: {', '.join(f'pointmaze/{maze}' for maze in LAYOUTS)}; "
        "hopper, walker2d, halfcheetah with --policy FILE.npz",
    ]


def info(
    name: Positional[str], file: Path | None = None, root: Path | None = None, clip: bool = False
) -> list[str]:
    """Say what a set holds.

    Args:
        name: a D4RL name, or a Minari id
        file: a D4RL file at hand
        root: folder of the files or Minari sets; the usual one by default
        clip: clip recorded actions to the box instead of refusing them
    """
    found = data.load(name, file=file, root=root, clip=clip)
    batch, env = found.transitions, found.env
    returns = batch.rew.double().cumsum(0)[found.ends].diff(prepend=batch.rew.new_zeros(1).double())
    low, high = float(batch.rew.min()), float(batch.rew.max())
    return [
        f"{found.name}: {found.origin}",
        f"{len(batch.rew):,} transitions in {int(found.ends.sum()):,} episodes, "
        f"{int(batch.done.sum()):,} of which terminate",
        f"observations {batch.obs.shape[1]}, actions {batch.act.shape[1]} in +-{found.act_limit:g}",
        f"rewards {low:.4g} to {high:.4g}, mean return {float(returns.mean()):.1f}",
        f"scores: {found.scores[0]:g} is 0 and {found.scores[1]:g} 100 percent"
        if found.scores
        else "scores: none known",
        f"environment: {env.id}" if env else "environment: none known",
        f"sha256 of the columns: {found.digest}",
    ]


def check(name: Positional[str], file: Path | None = None, root: Path | None = None) -> list[str]:
    """Compare a set with what is known of it; what does not fit is said, and the status is 1.

    Args:
        name: a D4RL name, or a Minari id
        file: a D4RL file at hand
        root: folder of the files or Minari sets; the usual one by default
    """
    if file is None and "/" in name:
        found = minari.faults(name, root)
    else:
        found = d4rl.check(files.fetch(name, root=root) if file is None else file, name)
    data.load(name, file=file, root=root, clip=True)
    if found:
        raise ValueError("; ".join(found))
    return [f"{name} can be loaded, and nothing known of it is missing"]


def fetch(name: Positional[str], root: Path | None = None) -> list[Path]:
    """Download a set, unless it is there.

    Args:
        name: a D4RL name, or a Minari id
        root: folder to keep it in; the usual one by default
    """
    return [hosted.download(name, root) if "/" in name else files.fetch(name, root=root)]


def _noises(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"noise must be numbers like 0,0.3,0.5, got {text!r}") from None


def build(
    name: Positional[str],
    steps: int | None = None,
    policy: Path | None = None,
    noise: str = "0,0.3,0.5",
    seed: int = 0,
    root: Path | None = None,
) -> list[Path]:
    """Make a set here, as a Minari set.

    Args:
        name: pointmaze/ open, umaze, medium, large or detour; or hopper, walker2d, halfcheetah
        steps: transitions; 1,000,000 in a maze, 500,000 of the detour, 200,000 of a policy
        policy: .npz file of the network that acts, for the robots
        noise: standard deviations of action noise, in equal shares, for the robots
        seed: seed of environment and noise
        root: folder of Minari sets; Minari's own by default
    """
    place = minari.default_root() if root is None else root
    kind, _, maze = name.partition("/")
    if kind == "pointmaze" and maze:
        if steps is None:
            steps = STEPS.get(name, STEPS["pointmaze"])
        if maze == "detour":
            return [mazes.detour(steps, seed, place)]
        return [mazes.pointmaze(maze, steps, seed, place)]
    if policy is None:
        raise ValueError(
            f"name must be pointmaze/ and a maze, or a robot with --policy FILE.npz, got {name!r}"
        )
    steps = STEPS["policy"] if steps is None else steps
    return [rollouts(name, policy, _noises(noise), steps, seed, place)]


def convert(
    source: Positional[str],
    name: str | None = None,
    out: Path | None = None,
    root: Path | None = None,
) -> list[str | Path]:
    """Turn a D4RL file into a Minari set, or a Minari set into a D4RL file.

    Args:
        source: FILE.hdf5, or the id of a Minari set
        name: id of the new Minari set; converted/SET by default
        out: the new D4RL file; the set's name with .hdf5 in this folder by default
        root: folder of Minari sets; Minari's own by default
    """
    if source.endswith((".hdf5", ".h5")):
        folder = conversion.to_minari(Path(source), name, root)
        missing = minari.REPEATED in minari.metadata(folder)
        return [folder, *([conversion.MISSING] if missing else [])]
    file = out or Path(f"{source.rpartition('/')[2]}.hdf5")
    return [conversion.to_hdf5(source, file, root)]


def main(arguments: Sequence[str]) -> list[str | Path]:
    """Run one of the commands; what it made or found, a line each."""
    app = SubcommandApp()
    app.command(name="list")(sets)
    for command in (info, check, fetch, build, convert):
        app.command(command)
    return app.cli(prog="diffteach data", description=__doc__, args=arguments)
