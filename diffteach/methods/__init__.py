"""One method a file, alike from the plane to D4RL; none knows another."""

from diffteach.methods.bc import BCConfig, DiffusionBC
from diffteach.methods.dtql import DTQL, DTQLConfig
from diffteach.methods.srpo import SRPO, SRPOConfig

__all__ = [
    "DTQL",
    "SRPO",
    "BCConfig",
    "DTQLConfig",
    "DiffusionBC",
    "SRPOConfig",
]
