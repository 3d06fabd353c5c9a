"""Recorded episodes: D4RL files, Minari sets and sets built here, as transitions."""

from diffteach.data.dataset import Dataset, EnvSpec

__all__ = ["Dataset", "EnvSpec"]
