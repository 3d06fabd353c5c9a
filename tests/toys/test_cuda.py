"""The same numbers on a GPU, where there is one."""

from __future__ import annotations

import pytest
import torch

from diffteach.schedule import EDM
from diffteach.toys import density, names, reward_fn, window

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("name", names())
def test_gpu_agrees_with_cpu(name: str) -> None:
    law = density(name)
    x, t = window(name) * (2 * torch.rand(500, 2) - 1), torch.logspace(-1, 1, 500)
    on_gpu = law.to("cuda")
    found = on_gpu.denoiser(EDM())(x.cuda(), t.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), law.denoiser(EDM())(x, t), rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(
        on_gpu.log_prob(x.cuda()).cpu(), law.log_prob(x), rtol=1e-3, atol=1e-3
    )
    reward = reward_fn(name)(x.cuda())
    torch.testing.assert_close(reward.cpu(), reward_fn(name)(x), rtol=1e-4, atol=1e-3)
    sample = on_gpu.sample(9, torch.Generator("cuda").manual_seed(0))
    assert sample.is_cuda and sample.shape == (9, 2)
