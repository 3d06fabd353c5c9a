"""Which weights draw the samples, what a step draws and with which seed, what it is told."""

from __future__ import annotations

import math

import pytest
import torch
from core.oracles import gaussian_denoiser
from torch import Tensor

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
    particle_ess,
)
from diffteach.boltzmann import direct as direct_file
from diffteach.boltzmann import fab as fab_file
from diffteach.boltzmann import idem as idem_file
from diffteach.boltzmann import rssm as rssm_file
from diffteach.objectives import mean_one_weight, raw_weight
from diffteach.schedule import EDM, VP
from diffteach.toys import GaussianMixture

SMALL = DenoiserConfig(width=8, batch_size=256, average=0.25)
POINTS = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
CENTRE, STD = torch.tensor([1.5, -0.5]), 0.7


def hill(height: float = 0.0) -> Energy:
    law = GaussianMixture(CENTRE[None], torch.tensor([STD]), torch.ones(1))
    return Energy(lambda x: law.log_prob(x) + height, grad=law.score)


def rssm(seed: int = 0, **settings) -> RSSM:
    given = {"denoiser": SMALL, "particles": 3, "pool": 4096}
    return RSSM(RSSMConfig(**(given | settings)), hill(), seed)


def idem(seed: int = 0, **settings) -> IDEM:
    given = {"particles": 3, "buffer": 40, "fresh": 10, "denoiser": SMALL, "sample_steps": 9}
    return IDEM(IDEMConfig(**(given | settings)), hill(), seed)


def fab(seed: int = 0, **settings) -> FAB:
    given = {"layers": 2, "width": 8, "batch_size": 256, "average": 0.25}
    return FAB(FABConfig(**(given | settings)), hill(), seed)


def direct(seed: int = 0, **settings) -> Direct:
    return Direct(DirectConfig(**({"denoiser": SMALL} | settings)), POINTS, seed)


def trained(sampler):
    return sampler.flow if isinstance(sampler, FAB) else sampler.model.net


def average(sampler):
    return sampler.average if isinstance(sampler, FAB) else sampler.model.average


def flat(net: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


LEARNING = [rssm, idem, fab, direct]


@pytest.mark.parametrize("make", LEARNING)
def test_the_average_takes_its_share_of_every_step_and_draws_the_samples(make) -> None:
    sampler = make()
    start = flat(average(sampler))
    assert start.equal(flat(trained(sampler)))
    for _ in range(2):
        sampler.step()
        wanted = start + 0.25 * (flat(trained(sampler)) - start)
        torch.testing.assert_close(flat(average(sampler)), wanted)
        start = flat(average(sampler))
    with torch.no_grad():
        for value in trained(sampler).parameters():
            value.fill_(math.nan)
    assert bool(sampler.sample(50).isfinite().all())


@pytest.mark.parametrize("make", LEARNING)
def test_adams_first_step_is_as_long_as_the_rate(make) -> None:
    rate = {"lr": 0.02} if make is fab else {"denoiser": DenoiserConfig(width=8, lr=0.02)}
    sampler = make(**rate)
    before = flat(trained(sampler))
    sampler.step()
    moves = (flat(trained(sampler)) - before).abs()
    assert float(moves.max()) == pytest.approx(0.02, rel=1e-3)
    assert float((moves > 0.0199).float().mean()) > 0.1  # a fresh flow's inner layers stay


@pytest.mark.parametrize("make", [rssm, idem, direct])
def test_networks_have_the_width_and_the_scale_that_they_are_told(make) -> None:
    """With weights of 0 what is left is the optimum for N(0, data_scale^2 I)."""
    for width, scale in ((8, 0.5), (24, 3.0)):
        sampler = make(denoiser=DenoiserConfig(scale, width=width, batch_size=16))
        assert width in {p.shape[0] for p in trained(sampler).parameters()}
        with torch.no_grad():
            for value in average(sampler).parameters():
                value.zero_()
        x_t, t = scale * torch.randn(64, 2), torch.full((64,), 0.2)
        exact = gaussian_denoiser(torch.zeros(2), scale, sampler.config.schedule)
        torch.testing.assert_close(sampler.denoise(x_t, t), exact(x_t, t))


@pytest.mark.parametrize("make", LEARNING)
def test_weights_noises_and_samples_depend_on_the_seed(make) -> None:
    one, other = make(0), make(1)
    assert not flat(trained(one)).equal(flat(trained(other)))
    assert one.chance.initial_seed() != other.chance.initial_seed()
    if make is not fab:
        for mine, theirs in zip(one.noise.take(20), other.noise.take(20), strict=True):
            assert not mine.equal(theirs)


def test_chains_depend_on_the_seed_and_samples_stay_as_they_were() -> None:
    one, other = (Langevin(LangevinConfig(chains=50), hill(), seed) for seed in (0, 1))
    first = one.sample(50)
    assert not first.equal(other.sample(50)) and float(first.min()) < -4 < 4 < float(first.max())
    kept = first.clone()
    one.step()
    assert first.equal(kept) and not one.sample(50).equal(kept)


# What a step draws


def assert_fair(share: Tensor) -> None:
    """Mean and variance of n uniform numbers, within five standard errors."""
    n = len(share)
    assert float(share.mean()) == pytest.approx(0.5, abs=5 * (1 / 12 / n) ** 0.5)
    assert float(share.var()) == pytest.approx(1 / 12, abs=5 * (1 / 180 / n) ** 0.5)


def assert_normal_and_apart(*noises: Tensor) -> None:
    """Columns of n normal numbers, each as wide as it should be, and none a copy of another."""
    columns = torch.cat([noise.flatten(1) for noise in noises], 1)
    exact = torch.eye(columns.shape[1])
    error = 5 * (2 / len(columns)) ** 0.5
    torch.testing.assert_close(columns.T @ columns / len(columns), exact, rtol=0, atol=error)


def test_rssm_draws_points_levels_and_particles_apart() -> None:
    schedule = RSSMConfig().schedule
    x_t, t, eps = rssm().noise.take(4000)
    assert_normal_and_apart(x_t / 2, eps)
    assert_fair((t - schedule.t_min) / (schedule.t_max - schedule.t_min))


def test_idem_draws_rows_levels_noises_and_particles_apart() -> None:
    rows, t, noise, eps = idem(buffer=4000).noise.take(4000)
    schedule = IDEMConfig().schedule
    assert_normal_and_apart(noise, eps)
    assert_fair((t / schedule.sigma_min).log() / math.log(schedule.sigma_max / schedule.sigma_min))
    assert_fair((rows + 0.5) / 4000)


def test_direct_draws_points_levels_and_noises_apart() -> None:
    x0, t, eps = direct().noise.take(4000)
    assert_normal_and_apart(eps)
    assert_fair((t - VP().t_min) / (VP().t_max - VP().t_min))
    found = (x0[:, None] == POINTS).all(-1)
    assert bool(found.any(1).all())
    assert_fair((found.float().argmax(1) + 0.5) / len(POINTS))


# What a step is told


def recorded(monkeypatch, module, name):
    calls, original = [], getattr(module, name)

    def spy(*args):
        result = original(*args)
        calls.append((args, result))
        return result

    monkeypatch.setattr(module, name, spy)
    return calls


@pytest.mark.parametrize("weight", [raw_weight, mean_one_weight])
def test_rssms_rows_weigh_as_their_particles_do(monkeypatch, weight) -> None:
    """All by mean exp(E/temperature): up to one constant for all batches, or to a mean of 1."""
    targets = recorded(monkeypatch, rssm_file, "reverse_sampling_target")
    losses = recorded(monkeypatch, rssm_file, "rssm_loss")
    sampler, highest = rssm(temperature=2.5, weight=weight), -math.inf
    for _ in range(6):
        rows = sampler.step()["rows"]
        log_weight, used = targets[-1][1][1], losses[-1][0][4]
        highest = max(highest, float(log_weight.max()))
        w = log_weight.exp()
        wanted = w / w.mean() if weight is mean_one_weight else w / math.exp(highest)
        torch.testing.assert_close(used, wanted, rtol=1e-3, atol=1e-30)
        torch.testing.assert_close(rows, w.sum() ** 2 / w.square().sum(), rtol=1e-4, atol=0)
        assert losses[-1][0][3].equal(targets[-1][1][0])


def test_particles_count_at_their_temperature() -> None:
    schedule, x_t, t = VP(), torch.zeros(8, 2), torch.full((8,), 0.4)
    eps, energy = torch.randn(16, 8, 2), hill()
    x0 = (x_t - schedule.sigma(t)[:, None] * eps) / schedule.alpha(t)[:, None]
    w = (energy(x0) / 3).exp()
    wanted = w.sum(0) ** 2 / w.square().sum(0)
    torch.testing.assert_close(particle_ess(energy, schedule, x_t, t, eps, 3.0), wanted)


def test_rssms_flow_starts_at_the_noised_law_with_as_many_levels_as_asked(monkeypatch) -> None:
    """At the noisiest level a Gaussian is N(alpha m, alpha^2 s^2 + sigma^2), to five errors."""
    flows = recorded(monkeypatch, rssm_file, "sample")
    schedule, n = VP(t_max=0.25), 20_000
    sampler = rssm(schedule=schedule, sample_steps=7, pool=1 << 19)
    sampler.sample(n)
    _, used, x_t, steps = flows[0][0]
    alpha, sigma = (float(f(torch.tensor([0.25]))) for f in (schedule.alpha, schedule.sigma))
    variance = alpha**2 * STD**2 + sigma**2
    assert used == schedule and steps == 7
    # What the pool adds: effectively some thousands of points.
    torch.testing.assert_close(x_t.mean(0), alpha * CENTRE, rtol=0, atol=0.03)
    torch.testing.assert_close(x_t.T.cov(), variance * torch.eye(2), rtol=0, atol=0.03)
    assert len(x_t.unique(dim=0)) == n


def test_a_sampler_of_exact_points_clones_them_with_equal_levels(monkeypatch) -> None:
    losses, flows = (recorded(monkeypatch, direct_file, f) for f in ("denoising_loss", "sample"))
    sampler = direct(sample_steps=7)
    loss = sampler.step()["loss"]
    (((denoise, schedule, x0, t, eps, weight), _),) = losses
    assert weight.equal(torch.ones(256)) and schedule == VP()
    fresh = direct()  # the weights of before the step
    alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
    error = fresh.denoise(alpha * x0 + sigma * eps, t) - eps
    torch.testing.assert_close(loss, error.square().sum(-1).mean())
    sampler.sample(5)
    assert flows[0][0][3] == 7


def test_idem_cuts_each_rows_score_to_length_and_counts_levels_alike(monkeypatch) -> None:
    targets = recorded(monkeypatch, idem_file, "energy_gradient_target")
    losses = recorded(monkeypatch, idem_file, "rssm_loss")
    sampler = idem(max_score=2.4, denoiser=DenoiserConfig(0.8, width=8, batch_size=256))
    sampler.step()
    ((_, _, x_t, t, _), target), ((_, x, level, cut, weight), _) = targets[0], losses[0]
    assert x.equal(x_t) and level.equal(t) and weight.equal(torch.ones(256))
    rows = idem(denoiser=DenoiserConfig(0.8, width=8, batch_size=256)).noise.take(256)
    assert x_t.equal(sampler.buffer.x[rows[0]] + t[:, None] * rows[2])
    score = -target / t[:, None]
    length = score.norm(dim=-1)
    assert 0.2 < float((length > 3).float().mean()) < 0.8  # 2.4/0.8
    wanted = torch.where((length > 3)[:, None], 3 * score / length[:, None], score)
    torch.testing.assert_close(-cut / t[:, None], wanted, rtol=1e-4, atol=1e-5)


def test_idem_refreshes_after_as_many_steps_as_asked() -> None:
    sampler = idem(refresh=3)
    changed = []
    for _ in range(10):
        before = sampler.buffer.x
        sampler.step()
        changed.append(not sampler.buffer.x.equal(before))
    assert [k + 1 for k in range(10) if changed[k]] == [4, 7, 10]


def test_idems_noisy_points_come_from_the_whole_buffer_as_often() -> None:
    rows = idem(buffer=40).noise.take(4000)[0]
    assert sorted(set(rows.tolist())) == list(range(40))


def test_fab_anneals_its_own_flow_at_the_scale_of_the_data(monkeypatch) -> None:
    calls = recorded(monkeypatch, fab_file, "annealed")
    sampler = fab(data_scale=2.0, move=0.3, levels=4)
    with torch.no_grad():
        for value in sampler.average.parameters():
            value.fill_(math.nan)
    assert bool(sampler.step()["loss"].isfinite())
    (_, log_q, x, levels, size, _), (_, log_weight, _) = calls[0]
    assert (levels, size) == (4, 0.6)
    # A fresh flow is N(0, 2^2 I).
    torch.testing.assert_close(x.square().mean(), torch.tensor(4.0), rtol=0.3, atol=0)


def flat_law(x: Tensor) -> Tensor:
    return torch.zeros_like(x[:, 0])


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_between_equal_densities_every_move_is_accepted(levels) -> None:
    x, generator = torch.zeros(4000, 2), torch.Generator().manual_seed(0)
    moved, log_weight, accepted = fab_file.annealed(flat_law, flat_law, x, levels, 0.5, generator)
    assert float(accepted) == pytest.approx(1, abs=1e-6)
    assert log_weight.equal(torch.zeros(4000))
    # A sum of so many normal numbers of size 0.5.
    assert float(moved.square().mean()) == pytest.approx(0.25 * levels, rel=0.1)


def test_the_share_of_accepted_moves_is_that_of_changed_points() -> None:
    x, generator = torch.randn(4000, 2), torch.Generator().manual_seed(0)
    moved, _, accepted = fab_file.annealed(
        lambda x: -x.square().sum(-1), flat_law, x, 1, 0.5, generator
    )
    share = (moved != x).any(-1).float().mean()
    assert 0.1 < float(share) < 0.9
    torch.testing.assert_close(accepted, share)


def test_a_fresh_flow_that_is_the_target_knows_the_normaliser_exactly() -> None:
    """E = log N(0, 1.5^2 I) + 2.5: every weight is exp(2.5), so the effective share is 1."""
    law = GaussianMixture(torch.zeros(1, 2), torch.tensor([1.5]), torch.ones(1))
    sampler = FAB(FABConfig(1.5, layers=2, width=8), Energy(lambda x: law.log_prob(x) + 2.5))
    found = sampler.assess(500)
    assert float(found["log_z"]) == pytest.approx(2.5, abs=1e-4)
    assert float(found["ess"]) == pytest.approx(1, abs=1e-4)


def test_what_is_assessed_is_the_averaged_flow() -> None:
    sampler = fab()
    with torch.no_grad():
        for value in sampler.flow.parameters():
            value.fill_(math.nan)
    assert all(bool(value.isfinite()) for value in sampler.assess(50).values())


def test_levels_of_idem_are_even_per_decade(monkeypatch) -> None:
    sampler = idem(schedule=EDM(sigma_min=0.01, sigma_max=10.0), sample_steps=4)
    chains = recorded(monkeypatch, idem_file, "reverse_sde")
    sampler.sample(3)
    times = chains[0][0][3]
    torch.testing.assert_close(times, torch.tensor([10.0, 1.0, 0.1, 0.01]), rtol=0.02, atol=0)
