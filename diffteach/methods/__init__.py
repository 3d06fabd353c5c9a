"""One method a file, alike from the plane to D4RL; none knows another."""

from diffteach.methods.bc import BCConfig, DiffusionBC
from diffteach.methods.bcq import BCQ, BCQConfig
from diffteach.methods.bear import BEAR, BEARConfig
from diffteach.methods.cvae_bc import CVAEBC, CVAEBCConfig
from diffteach.methods.diffuser import Diffuser, DiffuserConfig
from diffteach.methods.diffusion_ql import DiffusionQL, DiffusionQLConfig
from diffteach.methods.dql_kl import DQLKL, DQLKLConfig
from diffteach.methods.dtql import DTQL, DTQLConfig
from diffteach.methods.edp import EDP, EDPConfig
from diffteach.methods.fql import FQL, FQLConfig
from diffteach.methods.gaussian_bc import GaussianBC, GaussianBCConfig
from diffteach.methods.idql import IDQL, IDQLConfig
from diffteach.methods.iql import IQL, IQLConfig
from diffteach.methods.qgpo import QGPO, QGPOConfig
from diffteach.methods.qipo import QIPO, QIPOConfig
from diffteach.methods.sdac import SDAC, SDACConfig
from diffteach.methods.sfbc import SfBC, SfBCConfig
from diffteach.methods.srpo import SRPO, SRPOConfig
from diffteach.methods.td3bc import TD3BC, TD3BCConfig

__all__ = [
    "Diffuser",
    "DiffuserConfig",
    "QIPO",
    "QIPOConfig",
    "FQL",
    "FQLConfig",
    "SfBC",
    "SfBCConfig",
    "SDAC",
    "SDACConfig",
    "QGPO",
    "QGPOConfig",
    "DQLKL",
    "DQLKLConfig",
    "BCQ",
    "BEAR",
    "CVAEBC",
    "DTQL",
    "EDP",
    "EDPConfig",
    "IDQL",
    "IDQLConfig",
    "IQL",
    "SRPO",
    "TD3BC",
    "BCConfig",
    "BCQConfig",
    "BEARConfig",
    "CVAEBCConfig",
    "DTQLConfig",
    "DiffusionBC",
    "DiffusionQL",
    "DiffusionQLConfig",
    "GaussianBC",
    "GaussianBCConfig",
    "IQLConfig",
    "SRPOConfig",
    "TD3BCConfig",
]
