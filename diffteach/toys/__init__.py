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
from diffteach.toys.energies import TwoMoonEnergy
from diffteach.toys.frozen import frozen
from diffteach.toys.interface import Density
from diffteach.toys.rewards import far, hard, near, nearest, quadratic, same

__all__ = [
    "Checkerboard",
    "Density",
    "GaussianMixture",
    "TwoMoonEnergy",
    "check_name",
    "default_bandwidth",
    "density",
    "empirical",
    "far",
    "frozen",
    "hard",
    "load",
    "names",
    "near",
    "nearest",
    "quadratic",
    "reward_fn",
    "reward_names",
    "same",
    "window",
]
