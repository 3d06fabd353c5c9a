"""Mazes for a point mass: their layouts, a controller that walks them, reference scores.

Rows run along -y and columns along x, one unit per cell, the origin in the middle: the coordinates
of gymnasium-robotics.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

Cell = tuple[int, int]
Point = tuple[float, float]

# Farama's maps; `g` is the one goal of the evaluation, `r` the one start where there is one.
_MAPS = {
    "open": "#######\n#     #\n#  g  #\n#     #\n#######",
    "umaze": "#####\n#g  #\n### #\n#   #\n#####",
    "medium": """
########
#  ##  #
#  #   #
##   ###
#  #   #
# #  # #
#   # g#
########""",
    "large": """
############
#    #     #
# ## # # # #
#      #   #
# #### ### #
#  # #     #
## # # # ###
#  #   # g #
############""",
    # Ours: whoever walks straight on after the first cells meets the island.
    "detour": """
#########
##     ##
#r ### g#
##     ##
#########""",
}
_LIMITS = {"open": 300, "umaze": 300, "medium": 600, "large": 800, "detour": 400}


class Layout(NamedTuple):
    """A maze: its rows of `#` (wall), ` ` (free), `g` (goal) and `r` (start)."""

    name: str
    rows: tuple[str, ...]
    limit: int
    """steps of an evaluation's episode"""

    def maze_map(self, marks: bool = True) -> list[list[int | str]]:
        """What gymnasium-robotics calls `maze_map`; without marks, every free cell is both."""
        free: dict[str, int | str] = {"#": 1, " ": 0}
        return [[free.get(c, c if marks else 0) for c in row] for row in self.rows]

    def centre(self, cell: Cell) -> Point:
        """The middle of a cell (row, column)."""
        return cell[1] + 0.5 - len(self.rows[0]) / 2, len(self.rows) / 2 - cell[0] - 0.5

    def cell(self, point: Point) -> Cell:
        """The cell (row, column) that holds a point."""
        return (
            math.floor(len(self.rows) / 2 - point[1]),
            math.floor(point[0] + len(self.rows[0]) / 2),
        )

    def neighbours(self, cell: Cell) -> list[Cell]:
        """The free cells that share a side with a cell."""
        i, j = cell
        around = ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1))
        return [(k, m) for k, m in around if self.rows[k][m] != "#"]


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        name: Layout(name, tuple(text.strip("\n").split("\n")), _LIMITS[name])
        for name, text in _MAPS.items()
    }
)

SCORES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "open": (2.96, 250.18),
        "umaze": (9.78, 208.33),
        "medium": (8.76, 433.8),
        "large": (2.07, 555.69),
        "detour": (0.16, 180.75),
    }
)
"""Mean returns of uniform actions and of the noiseless controller: 0 and 100 percent.

Measured by `diffteach.data.build.reference(name)`, 100 episodes each, mujoco 3.3.7.
"""


def layout(name: str) -> Layout:
    """The named maze; ValueError with the names there are."""
    if name not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]


@functools.cache
def distances(maze: Layout, goal: Cell) -> Mapping[Cell, int]:
    """Steps from every cell to a goal's, by breadth-first search."""
    found, front = {goal: 0}, [goal]
    while front:
        reached = {near: found[cell] + 1 for cell in front for near in maze.neighbours(cell)}
        front = [cell for cell in reached if cell not in found]
        found.update((cell, reached[cell]) for cell in front)
    return MappingProxyType(found)


class Controller:
    """The force of a pilot who knows the maze: a spring to the next cell of a shortest path.

    After Farama's protocol: 10 (target - position) - velocity, the next target within 0.1 of the
    last, targets on the way pulled towards -x and -y by up to 0.2. Of several shortest paths the
    generator chooses one, cell by cell.
    """

    def __init__(self, maze: Layout, generator: np.random.Generator) -> None:
        self._maze, self._generator = maze, generator
        self._goal: Point | None = None
        self._next: Cell = (0, 0)
        self._target: Point = (0.0, 0.0)

    def _advance(self, cell: Cell, goal: Point) -> None:
        """Aims at the cell after `cell`, or at the goal in its own cell."""
        left = distances(self._maze, self._maze.cell(goal))
        ahead = [near for near in self._maze.neighbours(cell) if left[near] < left[cell]]
        self._next = ahead[self._generator.integers(len(ahead))] if ahead else cell
        if left[self._next] == 0:
            self._target = goal
        else:
            x, y = self._maze.centre(self._next)
            pull = self._generator.uniform(0, 0.2, 2)
            self._target = (x - float(pull[0]), y - float(pull[1]))

    def __call__(self, position: Point, velocity: Point, goal: Point) -> Point:
        """Force along x and y, not clipped."""
        if goal != self._goal:
            self._goal = goal
            self._advance(self._maze.cell(position), goal)
        elif self._target != goal and math.dist(self._target, position) <= 0.1:
            self._advance(self._next, goal)
        return (
            10 * (self._target[0] - position[0]) - velocity[0],
            10 * (self._target[1] - position[1]) - velocity[1],
        )
