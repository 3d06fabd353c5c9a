"""Networks: denoisers, critics, values and policies, and the two ways their weights change."""

from diffteach.nets.denoisers import (
    DTQLBody,
    DTQLDenoiser,
    MLPDenoiser,
    PlaneDenoiser,
    ResNetDenoiser,
    at,
    precondition,
)
from diffteach.nets.flows import StepPolicy, Velocity
from diffteach.nets.layers import (
    Activation,
    Dropout,
    Fourier,
    Mish,
    Sinusoidal,
    ema_update,
    mish,
    mlp,
    seeded,
)
from diffteach.nets.learner import Learner, descend
from diffteach.nets.policies import (
    DiracPolicy,
    GaussianPolicy,
    ImplicitPolicy,
    Perturbation,
    Policy,
    TanhGaussianPolicy,
    check_imitates,
    imitation_loss,
    tanh_gaussian_log_prob,
)
from diffteach.nets.temporal import (
    FlatValue,
    TemporalDenoiser,
    TemporalValue,
    flat_denoiser,
    plan_size,
    trajectory,
)
from diffteach.nets.vae import CVAE
from diffteach.nets.values import (
    Critics,
    NoisyEnergy,
    Value,
    dtql_critics,
)

__all__ = [
    "FlatValue",
    "TemporalDenoiser",
    "TemporalValue",
    "flat_denoiser",
    "plan_size",
    "trajectory",
    "CVAE",
    "Activation",
    "Critics",
    "DTQLBody",
    "DTQLDenoiser",
    "DiracPolicy",
    "Dropout",
    "Fourier",
    "GaussianPolicy",
    "ImplicitPolicy",
    "Learner",
    "MLPDenoiser",
    "Mish",
    "NoisyEnergy",
    "Perturbation",
    "PlaneDenoiser",
    "Policy",
    "ResNetDenoiser",
    "Sinusoidal",
    "StepPolicy",
    "TanhGaussianPolicy",
    "Value",
    "Velocity",
    "at",
    "check_imitates",
    "descend",
    "dtql_critics",
    "ema_update",
    "imitation_loss",
    "mish",
    "mlp",
    "precondition",
    "seeded",
    "tanh_gaussian_log_prob",
]
