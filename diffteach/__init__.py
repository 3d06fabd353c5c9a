"""Diffusion policies and offline RL on the plane, exact, and at full scale with the same code."""

from diffteach import objectives, schedule, toys, types
from diffteach.schedule import EDM, VP, Discrete, perturb

__version__ = "0.1.0"
__all__ = ["EDM", "VP", "Discrete", "objectives", "perturb", "schedule", "toys", "types"]
