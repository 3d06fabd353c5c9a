"""Networks: denoisers, critics, values and policies, and the two ways their weights change."""

from diffteach.nets.denoisers import (
    DTQLBody,
    DTQLDenoiser,
    PlaneDenoiser,
    ResNetDenoiser,
    precondition,
)
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
    ImplicitPolicy,
    Policy,
    TanhGaussianPolicy,
    tanh_gaussian_log_prob,
)
from diffteach.nets.values import (
    Critics,
    Value,
    dtql_critics,
)

__all__ = [
    "Activation",
    "Critics",
    "DTQLBody",
    "DTQLDenoiser",
    "DiracPolicy",
    "Dropout",
    "Fourier",
    "ImplicitPolicy",
    "Learner",
    "Mish",
    "PlaneDenoiser",
    "Policy",
    "ResNetDenoiser",
    "Sinusoidal",
    "TanhGaussianPolicy",
    "Value",
    "descend",
    "dtql_critics",
    "ema_update",
    "mish",
    "mlp",
    "precondition",
    "seeded",
    "tanh_gaussian_log_prob",
]
