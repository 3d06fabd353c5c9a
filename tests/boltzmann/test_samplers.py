"""What each sampler learns of a target, what it counts, and that it resumes where it stopped."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

from diffteach import checkpoint
from diffteach.boltzmann import (
    FAB,
    IDEM,
    RSSM,
    DenoiserConfig,
    Direct,
    DirectConfig,
    Energy,
    FABConfig,
    IDEMConfig,
    Langevin,
    LangevinConfig,
    RSSMConfig,
    Sampler,
    energy_w1,
    grid_kl,
    mode_shares,
    mode_weight_error,
    smoothed_density,
    uniform_proposal,
)
from diffteach.boltzmann.idem import reverse_sde
from diffteach.objectives import mean_one_weight, raw_weight, self_weight, standardised_weight
from diffteach.sampling import initial_noise, sample, time_grid
from diffteach.schedule import EDM, perturb
from diffteach.toys import GaussianMixture, density

DENOISER = DenoiserConfig(data_scale=3.2)
SMALL = DenoiserConfig(data_scale=3.2, width=8, batch_size=16)


def sdac() -> GaussianMixture:
    law = density("sdac_mixture")
    assert isinstance(law, GaussianMixture)
    return law


def energy() -> Energy:
    return Energy(sdac().log_prob, grad=sdac().score)


def trained(config: RSSMConfig, steps: int) -> RSSM:
    sampler = RSSM(config, energy())
    for _ in range(steps):
        sampler.step()
    return sampler


def scores(x: Tensor) -> tuple[float, float]:
    law = sdac()
    kl = grid_kl(law.log_prob, x, half=9, bandwidth=0.2, cells=300)
    return kl, mode_weight_error(x, law.means, law.weights)


# --- metrics -------------------------------------------------------------------------------------


def test_metrics_of_exact_points_and_of_wrong_shares() -> None:
    law = sdac()
    x = law.sample(50_000, torch.Generator().manual_seed(0))
    kl, error = scores(x)
    assert 0 <= kl < 0.005 and error < 0.006
    even = GaussianMixture(law.means, 1.0).sample(50_000, torch.Generator().manual_seed(0))
    kl, error = scores(even)
    assert kl == pytest.approx(0.193, abs=0.01)
    assert error == pytest.approx(0.3, abs=0.01)
    # Half the mean energy is lost in two coordinates, and -log .2 against -log .8 on .3 of them.
    assert energy_w1(law.log_prob, x, even) == pytest.approx(0.3 * math.log(4), abs=0.03)


def test_a_missed_mode_costs_a_finite_price_and_lost_points_are_missing_mass() -> None:
    law = sdac()
    one = law.means[0] + torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    kl, error = scores(one)
    assert 1 < kl < 3 and error == pytest.approx(0.2, abs=0.001)
    x = law.sample(20_000, torch.Generator().manual_seed(0))
    lost = torch.cat([x, torch.full((20_000, 2), 100.0)])
    assert scores(lost)[0] - scores(x)[0] == pytest.approx(math.log(2), abs=0.01)
    mass = smoothed_density(lost, 9, 300, 0.2).sum() * (18 / 300) ** 2
    assert float(mass) == pytest.approx(0.5, abs=0.01)


def test_grid_kl_is_the_divergence_of_two_smoothed_gaussians() -> None:
    p = GaussianMixture(torch.zeros(1, 2), 0.8)
    x = 0.5 + torch.randn(400_000, 2, generator=torch.Generator().manual_seed(0))
    a, b = 0.64 + 0.09, 1 + 0.09
    exact = math.log(b / a) + a / b - 1 + 0.25 / b
    assert grid_kl(p.log_prob, x, 7, 0.3, 280) == pytest.approx(exact, abs=0.01)


def test_shares_of_modes() -> None:
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 9.0]])
    x = torch.tensor([[1.0, 0.0], [1.9, 0.0], [2.1, 0.0], [50.0, 0.0]])
    assert mode_shares(x, centres).tolist() == [0.5, 0.5, 0.0]
    assert mode_weight_error(x, centres, torch.tensor([0.5, 0.25, 0.25])) == 0.25


# --- the paper's toy -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned() -> RSSM:
    return trained(RSSMConfig(denoiser=DENOISER), 500)


def test_rssm_finds_both_modes_and_their_weights(learned) -> None:
    kl, error = scores(learned.sample(5000))
    assert kl < 0.06
    assert error < 0.025


def test_the_result_does_not_depend_on_the_proposal(learned) -> None:
    other = trained(RSSMConfig(denoiser=DENOISER, proposal=uniform_proposal), 500)
    kl, error = scores(other.sample(5000))
    assert kl < 0.06 and error < 0.025
    # Where the target is, both answer what the exact denoiser does.
    schedule, law = other.config.schedule, sdac()
    generator = torch.Generator().manual_seed(0)
    t = schedule.sample_time(4000, generator)
    noise = torch.randn(4000, 2, generator=generator)
    x_t = perturb(schedule, law.sample(4000, generator), t, noise)
    exact = law.denoiser(schedule)(x_t, t)
    for sampler in (learned, other):
        assert float((sampler.denoise(x_t, t) - exact).square().sum(-1).mean()) < 0.03


@pytest.mark.slow
def test_mean_one_weights_learn_the_same() -> None:
    sampler = trained(RSSMConfig(denoiser=DENOISER, weight=mean_one_weight), 500)
    kl, error = scores(sampler.sample(10_000))
    assert kl < 0.06 and error < 0.025


def test_the_flow_from_plain_noise_has_wrong_weights(learned) -> None:
    schedule = learned.config.schedule
    noise = initial_noise(schedule, 5000, 2, torch.Generator().manual_seed(0))
    assert scores(sample(learned.denoise, schedule, noise, 20))[1] > 0.1


def test_one_self_weighted_particle_learns_that_there_is_nothing_but_noise() -> None:
    sampler = trained(RSSMConfig(denoiser=DENOISER, weight=self_weight, particles=1), 200)
    generator = torch.Generator().manual_seed(0)
    x_t, _ = uniform_proposal(2000, 2, generator, 2.0)
    t = sampler.config.schedule.sample_time(2000, generator)
    found = sampler.denoise(x_t, t)
    exact = sdac().denoiser(sampler.config.schedule)(x_t, t)
    assert float(found.square().sum(-1).mean()) < 0.1 * float(exact.square().sum(-1).mean())
    assert scores(sampler.sample(2000))[0] > 0.5


def test_langevin_keeps_the_weights_of_its_start() -> None:
    """A spread start halves the plane: the mode of .2 gets .5, and KL is that of wrong weights."""
    sampler = Langevin(LangevinConfig(chains=20_000), energy())
    for _ in range(400):
        sampler.step()
    x, law = sampler.sample(20_000), sdac()
    assert mode_shares(x, law.means)[1] == pytest.approx(0.5, abs=0.05)
    assert scores(x)[0] == pytest.approx(0.193, abs=0.05)


@pytest.mark.slow
def test_direct_denoising_learns_both_modes_of_exact_points() -> None:
    points = sdac().sample(20_000, torch.Generator().manual_seed(1))
    sampler = Direct(DirectConfig(denoiser=DENOISER), points)
    for _ in range(1500):
        sampler.step()
    kl, error = scores(sampler.sample(10_000))
    assert kl < 0.05 and error < 0.03


@pytest.mark.slow
def test_idem_finds_the_weights_with_many_gradients() -> None:
    config = IDEMConfig(EDM(sigma_min=0.03, sigma_max=8), denoiser=DENOISER)
    sampler = IDEM(config, energy())
    for _ in range(400):
        sampler.step()
    kl, error = scores(sampler.sample(10_000))
    assert kl < 0.1 and error < 0.06


@pytest.mark.slow
def test_fab_knows_the_normaliser() -> None:
    """In 400 steps; three seeds end at a KL of 0.23 to 0.36 and 5.9 to 6.9 times the share."""
    law = sdac()
    sampler = FAB(FABConfig(3.2, move=0.3), Energy(lambda x: law.log_prob(x) + 2.5))
    before = sampler.assess(10_000)
    for _ in range(400):
        sampler.step()
    after = sampler.assess(10_000)
    assert float(after["log_z"]) == pytest.approx(2.5, abs=0.05)
    assert float(after["ess"]) > 4 * float(before["ess"])
    kl, error = scores(sampler.sample(10_000))
    assert kl < 0.4 and error < 0.08


# --- what all share ------------------------------------------------------------------------------


def make(name: str) -> Sampler:
    given = energy()
    if name == "langevin":
        return Langevin(LangevinConfig(chains=50), given)
    if name == "rssm":
        return RSSM(RSSMConfig(denoiser=SMALL, particles=3, pool=320), given)
    if name == "idem":
        config = IDEMConfig(particles=3, buffer=40, fresh=10, refresh=2, denoiser=SMALL)
        return IDEM(config, given)
    if name == "fab":
        return FAB(FABConfig(3.2, layers=2, width=8, batch_size=16, levels=2), given)
    return Direct(DirectConfig(denoiser=SMALL), sdac().sample(30, torch.Generator().manual_seed(0)))


NAMES = ("langevin", "rssm", "idem", "fab", "direct")
# Values and gradients asked at construction, and by each step; drawing samples is free.
COSTS = {
    "langevin": ((0, 0), (0, 50)),
    "rssm": ((320, 0), (3 * 16, 0)),
    "idem": ((0, 0), (3 * 16, 3 * 16)),
    "fab": ((0, 0), (3 * 16, 0)),
}


@pytest.mark.parametrize("name", COSTS)
def test_counters_count_every_row(name) -> None:
    sampler, (first, each) = make(name), COSTS[name]
    for steps in range(4):
        asked = (sampler.energy.calls, sampler.energy.gradient_calls)
        assert asked == tuple(a + steps * b for a, b in zip(first, each, strict=True))
        sampler.sample(7)
        sampler.step()


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_steps_and_samples_and_depends_on_its_seed_alone(name) -> None:
    runs = []
    for _ in range(2):
        sampler = make(name)
        assert isinstance(sampler, Sampler)
        metrics = [sampler.step() for _ in range(5)]
        assert all(value.ndim == 0 and not value.requires_grad for value in metrics[-1].values())
        assert all(bool(value.isfinite()) for value in metrics[-1].values())
        runs.append((sampler.sample(20), sampler.sample(1)))
        assert runs[-1][0].shape == (20, 2) and not runs[-1][0].requires_grad
    assert runs[0][0].equal(runs[1][0]) and runs[0][1].equal(runs[1][1])


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_sampler_goes_on_bit_by_bit(name, tmp_path) -> None:
    whole, half = make(name), make(name)
    for _ in range(3):
        half.step()
    checkpoint.save(tmp_path / "half", half)
    resumed = make(name)
    resumed.step()
    checkpoint.load(tmp_path / "half", resumed)
    for _ in range(7):
        whole.step()
    for _ in range(4):
        resumed.step()
    assert resumed.sample(20).equal(whole.sample(20))
    if name != "direct":
        assert resumed.energy.calls == whole.energy.calls


def test_points_of_zero_density_weigh_nothing() -> None:
    """Uniform on a disc: particles outside have weight 0, rows without any are left out."""

    def disc(x: Tensor) -> Tensor:
        return torch.where(x.square().sum(-1) < 1, 0.0, -math.inf)

    for weight in (raw_weight, mean_one_weight, standardised_weight, self_weight):
        config = RSSMConfig(denoiser=DenoiserConfig(0.5, width=16), weight=weight, particles=2)
        sampler = RSSM(config, Energy(disc))
        for _ in range(20):
            loss = sampler.step()["loss"]
        assert bool(loss.isfinite()) and float(disc(sampler.starts.x).amin()) == 0


def test_raw_weights_take_energies_of_any_height() -> None:
    law = sdac()
    found = []
    for shift in (0.0, 4096.0):
        given = Energy(lambda x, shift=shift: law.log_prob(x) + shift)
        sampler = RSSM(RSSMConfig(denoiser=SMALL, particles=3, pool=320), given)
        found.append(torch.stack([sampler.step()["loss"] for _ in range(5)]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=0)


def test_steep_energies_pull_no_harder_than_max_score() -> None:
    """Norms of targets end at max_score sigma/data_scale; these gradients are a million long."""
    steep = Energy(lambda x: x.sum(-1), grad=lambda x: torch.full_like(x, 1e6))
    schedule = EDM(sigma_min=0.5, sigma_max=4.0)
    settings = {"particles": 2, "buffer": 20, "fresh": 10, "denoiser": SMALL}
    loose, tight = (
        IDEM(IDEMConfig(schedule, max_score=limit, **settings), steep).step()["loss"]
        for limit in (3200.0, 32.0)
    )
    # The mean of sigma^2 under evenly spread log sigma, times 1000^2 and 10^2.
    mean = (4**2 - 0.5**2) / (2 * math.log(8))
    assert float(loose) == pytest.approx(1e6 * mean, rel=0.5)
    assert float(tight) == pytest.approx(1e2 * mean, rel=0.5)


def test_the_reverse_sde_of_the_exact_denoiser_draws_the_target() -> None:
    law, schedule = sdac(), EDM(sigma_min=0.03, sigma_max=80.0)
    generator = torch.Generator().manual_seed(0)
    noise = initial_noise(schedule, 10_000, 2, generator)
    times = time_grid(schedule, 80, 1e4)
    ratios = times[1:] / times[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(79), rtol=1e-2, atol=0)
    chain = list(reverse_sde(law.denoiser(schedule), schedule, noise, times, generator))
    assert len(chain) == 80
    kl, error = scores(chain[-1])
    assert kl < 0.02 and error < 0.03


def test_temperature_is_that_of_the_target() -> None:
    config = functools.partial(RSSMConfig, denoiser=SMALL, pool=1 << 16)
    hot = RSSM(config(temperature=2.0), Energy(lambda x: -x.square().sum(-1)))
    cold = RSSM(config(), Energy(lambda x: -x.square().sum(-1)))
    assert float(hot.starts.x.var()) == pytest.approx(1.0, rel=0.1)
    assert float(cold.starts.x.var()) == pytest.approx(0.5, rel=0.1)
