"""One file per method; methods never import each other."""

from diffteach.methods.bc import BCConfig, DiffusionBC

__all__ = ["BCConfig", "DiffusionBC"]
