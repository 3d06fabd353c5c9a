"""Maximum likelihood and VAEs as behaviour cloning, against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from methods.baselines import check_limits, check_resumes, check_same_seed_same_bytes, run

from diffteach.behaviour import VAEConfig
from diffteach.methods import CVAEBC, CVAEBCConfig, GaussianBC, GaussianBCConfig
from diffteach.nets import CVAE, DiracPolicy, GaussianPolicy, seeded
from diffteach.objectives import kl_from_normal
from diffteach.train import InMemory, one_step

GAUSSIAN = GaussianBCConfig(steps=12, batch_size=32)
VAE = CVAEBCConfig(VAEConfig(partial(CVAE, width=16)), steps=12, batch_size=32)


def lopsided(n: int = 4000) -> torch.Tensor:
    """Two clumps, a third and two thirds, so that mean and spread are not the clumps' own."""
    g = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(n, 2, generator=g)
    points[: n // 3] += torch.tensor([-0.6, 0.3])
    points[n // 3 :] += torch.tensor([0.3, 0.0])
    return points


def test_likelihood_is_greatest_at_the_moments() -> None:
    """The Gaussian that explains data best has their mean and their standard deviations."""
    points = lopsided()
    config = GaussianBCConfig(partial(GaussianPolicy, width=16), lr=0.02, steps=400)
    agent = run(GaussianBC(config, 1, 2), InMemory(one_step(points)))
    mean, log_std = agent.policy(torch.ones(1, 1))
    torch.testing.assert_close(mean.detach()[0], points.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(log_std.detach().exp(), points.std(0), atol=0.02, rtol=0)
    acts = agent.act(torch.ones(4000, 1))
    torch.testing.assert_close(acts.mean(0), points.mean(0), atol=0.05, rtol=0)


def test_a_dirac_learns_the_mean_action() -> None:
    points = lopsided()
    config = GaussianBCConfig(partial(DiracPolicy, width=16), lr=0.01, steps=300)
    agent = run(GaussianBC(config, 1, 2), InMemory(one_step(points)))
    torch.testing.assert_close(agent.act(torch.ones(1, 1))[0], points.mean(0), atol=0.03, rtol=0)


def test_gaussian_density_is_that_of_a_normal_law() -> None:
    with seeded(0):
        policy = GaussianPolicy(1, 2, act_limit=2.0, width=8)
    policy.log_std.data = torch.tensor([-1.0, 0.5])
    obs, act = torch.ones(5, 1), torch.randn(5, 2)
    mean = policy(obs)[0]
    law = torch.distributions.Normal(mean, torch.tensor([math.exp(-1.0), math.exp(0.5)]))
    torch.testing.assert_close(policy.log_prob(obs, act), law.log_prob(act).sum(-1))
    noise = torch.randn(5, 2)
    by_hand = (mean + torch.tensor([math.exp(-1.0), math.exp(0.5)]) * noise).clamp(-2, 2)
    torch.testing.assert_close(policy.draw(obs, noise), by_hand)


def test_log_std_stays_within_its_bounds() -> None:
    policy = GaussianPolicy(1, 1, width=4, log_std_min=-5.0)
    for value, kept in ((-9.0, -5.0), (-4.0, -4.0), (1.0, 1.0), (7.0, 2.0)):
        policy.log_std.data.fill_(value)
        assert policy(torch.ones(1, 1))[1].tolist() == [kept]


def test_kl_of_a_gaussian_from_the_normal() -> None:
    mean, log_std = torch.randn(6, 3), 0.5 * torch.randn(6, 3)
    laws = torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(*laws)
    torch.testing.assert_close(kl_from_normal(mean, log_std), expected)
    assert float(kl_from_normal(torch.zeros(1, 1), torch.zeros(1, 1))) == 0


def test_vae_loss_is_error_plus_half_the_kl_each_a_mean() -> None:
    """An encoder of no weights: the latent is N(0.5, e^-2), whatever the action."""
    model = VAEConfig(partial(CVAE, width=4), kl_weight=0.5).build(1, 2, 2.0)
    with torch.no_grad():
        for p in model.net.parameters():
            p.zero_()
        model.net.encoder[-1].bias.copy_(torch.tensor([0.5] * 4 + [-1.0] * 4))
        model.net.decoder[-1].bias.fill_(0.3)
    act = torch.tensor([[1.0, -1.0], [0.0, 0.5]])
    metrics = model.step(one_step(act))
    answer = 2 * math.tanh(0.3)
    error = sum((answer - a) ** 2 for a in (1.0, -1.0, 0.0, 0.5)) / 4
    assert float(metrics["vae_error"]) == pytest.approx(error, rel=1e-5)
    kl = 0.5 * (0.25 + math.exp(-2) - 1 + 2)
    assert float(metrics["vae_kl"]) == pytest.approx(kl, rel=1e-5)


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_vae_with_one_active_latent_learns_the_principal_axis(weight) -> None:
    """The linear VAE (Lucas et al. 2019): a direction survives if its variance exceeds the noise.

    In units of the squared error's weight 1/A against kl_weight/L, the noise variance is
    A kl_weight/(2 L): at A = 2, L = 4 it is kl_weight/4, and the error left along a direction of
    variance v > noise is the noise, else v.
    """
    g = torch.Generator().manual_seed(0)
    std = torch.tensor([0.8, 0.1])
    points = std * torch.randn(4000, 2, generator=g)
    linear = partial(CVAE, width=32, depth=0, act_limit=8.0)
    model = VAEConfig(lambda s, a, limit: linear(s, a), kl_weight=weight, lr=0.02).build(1, 2, 8.0)
    batches = InMemory(one_step(points))(512)
    errors = [float(model.step(next(batches))["vae_error"]) for _ in range(800)]
    noise = weight / 4
    expected = sum(min(v, noise) for v in (0.64, 0.01)) / 2
    assert sum(errors[-200:]) / 200 == pytest.approx(expected, rel=0.1)


def test_latents_are_cut_where_actions_are_drawn() -> None:
    model = VAEConfig(partial(CVAE, width=8), latent_limit=0.5).build(1, 2)
    latent = model.latent(4000, torch.Generator().manual_seed(0))
    assert latent.shape == (4000, 4) and float(latent.abs().max()) == 0.5
    # P(|z| > 0.5) = 0.617
    assert float((latent.abs() == 0.5).float().mean()) == pytest.approx(0.617, abs=0.01)
    one, two = (model.draw(torch.ones(9, 1), torch.Generator().manual_seed(k)) for k in (0, 0))
    assert one.equal(two)


@pytest.mark.parametrize(("method", "config"), [(GaussianBC, GAUSSIAN), (CVAEBC, VAE)])
def test_runs(method, config, tmp_path) -> None:
    check_same_seed_same_bytes(method, config)
    check_resumes(method, config, tmp_path / "run", 5)
    check_limits(method, config)


def test_steps_are_the_settings() -> None:
    (stage,) = GaussianBC(replace(GAUSSIAN, steps=7), 1, 2).stages
    assert (stage.name, stage.steps, stage.batch_size) == ("policy", 7, 32)
