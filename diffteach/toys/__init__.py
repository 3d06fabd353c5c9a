"""Two-dimensional densities, point sets and rewards with exact answers."""

from diffteach.toys.catalog import (
    check_name,
    default_bandwidth,
    density,
    load,
    names,
    reward_fn,
    reward_names,
    window,
)
from diffteach.toys.checkerboard import Checkerboard
from diffteach.toys.densities import GaussianMixture, empirical
from diffteach.toys.drawn import (
    Drawing,
    drawing,
    drawn_names,
    is_drawn,
    load_drawn,
    new_name,
    save_drawn,
)
from diffteach.toys.energies import TwoMoonEnergy
from diffteach.toys.frozen import frozen
from diffteach.toys.interface import Density
from diffteach.toys.rewards import far, hard, near, nearest, quadratic, same

__all__ = [
    "Checkerboard",
    "Density",
    "Drawing",
    "GaussianMixture",
    "TwoMoonEnergy",
    "check_name",
    "default_bandwidth",
    "density",
    "drawing",
    "drawn_names",
    "empirical",
    "far",
    "frozen",
    "hard",
    "is_drawn",
    "load",
    "load_drawn",
    "names",
    "near",
    "nearest",
    "new_name",
    "quadratic",
    "reward_fn",
    "reward_names",
    "same",
    "save_drawn",
    "window",
]
