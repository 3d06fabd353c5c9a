"""What single steps of the samplers do: signs, temperatures, and whose turn it is to go."""

from __future__ import annotations

import math

import torch

from diffteach.boltzmann import (
    FAB,
    IDEM,
    RSSM,
    DenoiserConfig,
    Energy,
    FABConfig,
    IDEMConfig,
    RSSMConfig,
)
from diffteach.boltzmann import fab as fab_file
from diffteach.boltzmann import rssm as rssm_file
from diffteach.toys import GaussianMixture

TINY = DenoiserConfig(width=8, batch_size=64)


def hill() -> Energy:
    law = GaussianMixture(torch.tensor([[1.5, -0.5]]), torch.tensor([0.7]), torch.ones(1))
    return Energy(law.log_prob, grad=law.score)


def test_fab_raises_the_flow_where_annealed_points_weigh(monkeypatch) -> None:
    found, original = [], fab_file.annealed
    monkeypatch.setattr(
        fab_file, "annealed", lambda *args: found.append(original(*args)) or found[-1]
    )
    sampler = FAB(FABConfig(layers=4, width=16, lr=1e-3), hill())
    for _ in range(3):
        loss = sampler.step()["loss"]
        x, log_weight, _ = found[-1]
        weight = log_weight.exp() / log_weight.exp().sum()
        with torch.no_grad():
            after = float((weight * sampler.flow.log_prob(x)).sum())
        assert after > -float(loss)


def test_idem_drops_the_oldest_of_its_buffer() -> None:
    sampler = IDEM(IDEMConfig(buffer=12, fresh=4, refresh=1, denoiser=TINY, sample_steps=3), hill())
    sampler.step()
    before = sampler.buffer.x.clone()
    sampler.step()
    after = sampler.buffer.x
    assert after.shape == before.shape
    assert after[:8].equal(before[4:]) and not after[8:].equal(before[:4])


def test_rssm_learns_at_its_temperature(monkeypatch) -> None:
    found, original = [], rssm_file.reverse_sampling_target
    monkeypatch.setattr(
        rssm_file,
        "reverse_sampling_target",
        lambda *args: found.append((args, original(*args))) or found[-1][1],
    )
    energy = hill()
    sampler = RSSM(RSSMConfig(temperature=2.5, denoiser=TINY, pool=256), energy)
    sampler.step()
    (((_, schedule, x_t, t, eps, *_), (target, log_weight)),) = found
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    x0 = (x_t - sigma[:, None] * eps) / alpha[:, None]
    w = (energy(x0) / 2.5).exp()
    torch.testing.assert_close(target, (w[..., None] * eps).sum(0) / w.sum(0)[:, None])
    torch.testing.assert_close(log_weight, w.sum(0).log() - math.log(len(eps)))
