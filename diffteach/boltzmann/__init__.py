"""Samplers that know an energy and have no data, and how to tell how good they are."""

from diffteach.boltzmann.direct import Direct, DirectConfig
from diffteach.boltzmann.energy import Energy, Sampler
from diffteach.boltzmann.fab import FAB, FABConfig, RealNVP, annealed
from diffteach.boltzmann.idem import IDEM, IDEMConfig, energy_gradient_target
from diffteach.boltzmann.langevin import Langevin, LangevinConfig
from diffteach.boltzmann.learning import DenoiserConfig
from diffteach.boltzmann.metrics import (
    effective_sample_size,
    energy_w1,
    grid_kl,
    mode_shares,
    mode_weight_error,
    smoothed_density,
)
from diffteach.boltzmann.rssm import (
    RSSM,
    RSSMConfig,
    gaussian_proposal,
    particle_ess,
    uniform_proposal,
)

__all__ = [
    "FAB",
    "IDEM",
    "RSSM",
    "DenoiserConfig",
    "Direct",
    "DirectConfig",
    "Energy",
    "FABConfig",
    "IDEMConfig",
    "Langevin",
    "LangevinConfig",
    "RSSMConfig",
    "RealNVP",
    "Sampler",
    "annealed",
    "effective_sample_size",
    "energy_gradient_target",
    "energy_w1",
    "gaussian_proposal",
    "grid_kl",
    "mode_shares",
    "mode_weight_error",
    "particle_ess",
    "smoothed_density",
    "uniform_proposal",
]
