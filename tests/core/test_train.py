"""The loop, its streams and checkpoints, and behaviour cloning from data to samples."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from diffteach import toys
from diffteach.behaviour import BehaviourConfig
from diffteach.checkpoint import load, save
from diffteach.methods import BCConfig, DiffusionBC, srpo
from diffteach.methods.bc import fit_points
from diffteach.methods.srpo import SRPO
from diffteach.nets import ResNetDenoiser
from diffteach.objectives import denoising_loss, variance_weight
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import EDM, VP, Discrete, linear_betas
from diffteach.train import InMemory, Stream, finish, fit, one_step
from diffteach.types import Agent, Stage

SMALL = BCConfig(BehaviourConfig(VP(), 2.0), steps=12, batch_size=32)
# Dropout and a discrete chain: every kind of state that a run can have.
NARROW = partial(ResNetDenoiser, width=16, blocks=1)
STATEFUL = BCConfig(
    BehaviourConfig(Discrete(linear_betas(10)), network=NARROW), steps=12, batch_size=32
)


def changed(config: BCConfig, **settings) -> BCConfig:
    return replace(config, behaviour=replace(config.behaviour, **settings))


def points(n: int = 500) -> torch.Tensor:
    return toys.load("8gaussians", n, 0)[0]


def weights(agent: DiffusionBC) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in agent.behaviour.net.parameters())


def trained(config: BCConfig, seed: int = 0) -> DiffusionBC:
    agent = DiffusionBC(config, 1, 2, None, seed)
    for _ in fit(agent, InMemory(one_step(points()), seed)):
        pass
    return agent


def test_the_method_is_an_agent() -> None:
    assert isinstance(DiffusionBC(SMALL, 1, 2), Agent)


@pytest.mark.parametrize("config", [SMALL, STATEFUL])
def test_same_seed_same_bytes(config) -> None:
    before = torch.get_rng_state()
    runs = [trained(config, seed) for seed in (0, 0, 1)]
    assert weights(runs[0]) == weights(runs[1]) != weights(runs[2])
    obs = torch.ones(20, 1)
    assert runs[0].act(obs).equal(runs[1].act(obs))
    assert torch.get_rng_state().equal(before)


def test_progress_comes_after_each_step() -> None:
    agent = DiffusionBC(SMALL, 1, 2)
    start = weights(agent)
    steps = fit(agent, InMemory(one_step(points())))
    first = next(steps)
    assert (first.stage, first.step, first.steps) == ("behaviour", 1, 12)
    assert weights(agent) != start
    assert [p.step for p in steps] == list(range(2, 13))
    assert first.metrics["behaviour_loss"].ndim == 0


def test_no_steps_is_a_run_too() -> None:
    agent = DiffusionBC(replace(SMALL, steps=0), 1, 2)
    assert list(fit(agent, InMemory(one_step(points())))) == []
    assert agent.act(torch.ones(3, 1)).shape == (3, 2)


class Recorder:
    """An agent of two stages that writes down what it is given."""

    def __init__(self, bad_at: int | None = None) -> None:
        self.seen: list[tuple[str, int]] = []
        self.bad_at = bad_at

    def _update(self, name, batch):
        self.seen.append((name, len(batch.act)))
        bad = len(self.seen) == self.bad_at
        return {"good": torch.tensor(1.0), "loss": torch.tensor(float("nan") if bad else 1.0)}

    @property
    def stages(self):
        return tuple(
            Stage(name, steps, size, partial(self._update, name))
            for name, steps, size in (("critic", 3, 4), ("policy", 2, 8))
        )

    def act(self, obs):
        return obs


def test_stages_run_in_turn_and_resume_anywhere() -> None:
    source = InMemory(one_step(points()))
    whole = Recorder()
    assert len(list(fit(whole, source))) == 5
    assert whole.seen == [("critic", 4)] * 3 + [("policy", 8)] * 2
    done = {"critic": 2}
    rest = Recorder()
    labels = [(p.stage, p.step) for p in fit(rest, source, done)]
    assert labels == [("critic", 3), ("policy", 1), ("policy", 2)]
    assert done == {"critic": 3, "policy": 2}


@pytest.mark.parametrize("check_every", [1, 2, 100])
def test_nan_stops_with_the_step_and_the_loss_named(check_every) -> None:
    agent = Recorder(bad_at=4)
    with pytest.raises(FloatingPointError, match="loss became nan at step 1 of stage 'policy'"):
        for _ in fit(agent, InMemory(one_step(points())), check_every=check_every):
            pass


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """The usual answer to Ctrl-C: nohup and some CI start Python with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_interrupt_waits_for_the_end_of_a_step() -> None:
    agent = Recorder()
    update, done = agent._update, {}

    def interrupted(name, batch):
        if len(agent.seen) == 1:
            signal.raise_signal(signal.SIGINT)
        return update(name, batch)

    agent._update = interrupted
    with pytest.raises(KeyboardInterrupt):
        for _ in fit(agent, InMemory(one_step(points())), done):
            pass
    assert done == {"critic": 2} and len(agent.seen) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_stream_resumes_at_any_row() -> None:
    def rows(n, generator):
        return torch.arange(n), torch.rand(n, generator=generator)

    whole = Stream(rows, "x", 7, rows=10)
    taken = [whole.take(n) for n in (4, 3, 6, 25, 2, 2)]
    for cut in range(6):
        first, second = Stream(rows, "x", 7, rows=10), Stream(rows, "x", 7, rows=10)
        for n in (4, 3, 6, 25, 2, 2)[:cut]:
            first.take(n)
        second.load_state_dict(first.state_dict())
        n = (4, 3, 6, 25, 2, 2)[cut]
        assert all(a.equal(b) for a, b in zip(second.take(n), taken[cut], strict=True))
    assert taken[3][0].equal(torch.arange(25))
    for other in (Stream(rows, "x", 8), Stream(rows, "y", 7)):
        assert not other.take(4)[1].equal(taken[0][1])


def test_rows_and_noises_of_one_seed_are_independent() -> None:
    data = one_step(torch.arange(1000.0)[:, None].expand(-1, 2))
    act = next(InMemory(data, seed=0)(30_000)).act[:, 0]
    t, eps = DiffusionBC(SMALL, 1, 2, seed=0).behaviour.noise.take(30_000)
    table = torch.stack([act, t, eps[:, 0], eps[:, 1]])
    off_diagonal = torch.corrcoef(table) - torch.eye(4)
    assert float(off_diagonal.abs().max()) < 0.03  # five standard deviations


def test_source_draws_rows_together_and_evenly() -> None:
    data = one_step(torch.arange(40.0).reshape(20, 2), torch.arange(20.0))
    batches = InMemory(data, seed=1)(1000)
    batch = next(batches)
    assert batch.act[:, 0].equal(2 * batch.rew) and batch.obs.equal(torch.ones(1000, 1))
    assert bool((batch.done == 1).all())
    counts = torch.bincount(batch.rew.long(), minlength=20)
    assert int(counts.min()) > 20 and int(counts.max()) < 90
    assert not next(batches).rew.equal(batch.rew)


@pytest.mark.parametrize("config", [SMALL, STATEFUL])
def test_resumed_run_equals_the_uninterrupted_one(config, tmp_path) -> None:
    path, obs = tmp_path / "run.safetensors", torch.ones(20, 1)
    whole = trained(config)
    first, source, done = DiffusionBC(config, 1, 2, None), InMemory(one_step(points())), {}
    for progress in fit(first, source, done):
        if progress.step == 5:
            save(path, first, source, done)
            break
    second, source = DiffusionBC(config, 1, 2, None, seed=9), InMemory(one_step(points()))
    done = load(path, second, source)
    assert done == {"behaviour": 5}
    assert [p.step for p in fit(second, source, done)] == list(range(6, 13))
    assert weights(second) == weights(whole)
    assert second.act(obs).equal(whole.act(obs))


def test_reload_gives_the_same_actions(tmp_path) -> None:
    agent = trained(SMALL)
    save(tmp_path / "a", agent)
    again = DiffusionBC(SMALL, 1, 2, None, seed=5)
    assert load(tmp_path / "a", again) == {}
    obs = torch.ones(20, 1)
    assert agent.act(obs).equal(again.act(obs))
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_checkpoint_fits_only_its_own_settings(tmp_path) -> None:
    path = tmp_path / "run"

    def refused(config: BCConfig, words: str) -> None:
        agent = DiffusionBC(config, 1, 2)
        before = weights(agent)
        with pytest.raises(ValueError, match=f"run was made with {words}$"):
            load(path, agent)
        assert weights(agent) == before

    save(path, DiffusionBC(SMALL, 1, 2))
    # The sizes of the network are the same, what its answer means is not.
    refused(
        changed(SMALL, schedule=EDM()),
        "config.behaviour.schedule.class = 'diffteach.schedule.VP', needed is '.*.EDM'",
    )
    refused(
        changed(SMALL, schedule=VP(beta_max=5)),
        "config.behaviour.schedule.beta_max = 20.0, needed is 5",
    )
    refused(changed(SMALL, weight=variance_weight), "config.behaviour.weight = .*unit_weight', .*")
    assert load(path, DiffusionBC(changed(SMALL, data_scale=2), 1, 2)) == {}  # 2 is 2.0
    save(path, DiffusionBC(STATEFUL, 1, 2))
    betas = linear_betas(10)
    assert load(path, DiffusionBC(changed(STATEFUL, schedule=Discrete(betas)), 1, 2)) == {}
    betas[3] = 0.5
    refused(
        changed(STATEFUL, schedule=Discrete(betas)),
        r"config.behaviour.schedule.betas.values\[3\] = .* 0.5",
    )
    wide = partial(ResNetDenoiser, width=32, blocks=1)
    refused(
        changed(STATEFUL, network=wide),
        "config.behaviour.network.keywords.width = 16, needed is 32",
    )


def test_a_checkpoint_fits_only_its_own_act_limit(tmp_path) -> None:
    """The same weights say other actions in another box: here four times as far."""
    settings = replace(srpo.PLANE, critic_steps=0, behaviour_steps=0, policy_steps=0)
    path, narrow, wide = tmp_path / "run", SRPO(settings, 1, 2, 1.0), SRPO(settings, 1, 2, 4.0, 3)
    save(path, narrow)
    before = wide.act(torch.ones(1, 1))
    with pytest.raises(ValueError, match="run was made with act_limit = 1.0, needed is 4.0$"):
        load(path, wide)
    assert wide.act(torch.ones(1, 1)).equal(before)
    assert load(path, SRPO(settings, 1, 2, 1)) == {}  # 1 is 1.0


def test_an_agent_without_an_act_limit_needs_none(tmp_path) -> None:
    save(tmp_path / "run", SimpleNamespace(chance=torch.Generator()))
    assert load(tmp_path / "run", SimpleNamespace(chance=torch.Generator())) == {}


def test_a_checkpoint_of_another_device_loads(tmp_path, monkeypatch) -> None:
    """A CUDA generator's state has 16 bytes and seeds the generator here, each its own."""
    whole, runs = trained(STATEFUL), []
    for first in (0, 0, 1):
        state = torch.arange(first, first + 16, dtype=torch.uint8)

        def cuda_state(part, state=state):
            return state if isinstance(part, torch.Generator) else part.state_dict()

        with monkeypatch.context() as patch:
            patch.setattr("diffteach.checkpoint._state", cuda_state)
            save(tmp_path / "run", whole)
        runs.append(DiffusionBC(STATEFUL, 1, 2, None, seed=7))
        load(tmp_path / "run", runs[-1])
        assert weights(runs[-1]) == weights(whole)
    acts = [run.act(torch.ones(20, 1)) for run in runs]
    assert acts[0].equal(acts[1]) and not acts[0].equal(acts[2])


def test_settings_that_no_file_can_hold_are_refused_when_saving(tmp_path) -> None:
    agent = DiffusionBC(SMALL, 1, 2)
    agent.config = changed(SMALL, network=partial(ResNetDenoiser, dropout=object()))
    with pytest.raises(
        TypeError, match="hold config.behaviour.network.keywords.dropout of type object"
    ):
        save(tmp_path / "run", agent)
    assert list(tmp_path.iterdir()) == []


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    agent, path = DiffusionBC(SMALL, 1, 2), tmp_path / "run"
    save(path, agent)
    good = path.read_bytes()
    broken = DiffusionBC(SMALL, 1, 2)
    with torch.no_grad():
        next(broken.behaviour.net.parameters())[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="net/.* NaN"):
        save(path, broken)

    def full(*args):
        (tmp_path / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr("diffteach.checkpoint.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        save(path, agent)
    assert path.read_bytes() == good
    assert {p.name for p in tmp_path.iterdir()} == {"run", "half"}


@pytest.mark.parametrize("schedule", [VP(), EDM()])
def test_trained_denoiser_approaches_the_exact_one(schedule) -> None:
    density = toys.density("8gaussians").to(torch.float32)
    denoise = finish(fit_points(points(10_000), schedule, steps=600, batch_size=256))
    generator = torch.Generator().manual_seed(1)
    x0, eps = density.sample(4000, generator), torch.randn(4000, 2, generator=generator)
    t = schedule.sample_time(4000, generator)
    ones = torch.ones(4000)
    learned, exact = (
        float(denoising_loss(d, schedule, x0, t, eps, ones).mean())
        for d in (denoise, density.denoiser(schedule))
    )
    assert -0.02 < learned - exact < 0.06
    drawn = sample(denoise, schedule, initial_noise(schedule, 2000, 2, generator), 20)
    nearest = torch.cdist(drawn, density.means).min(1)
    assert float((nearest.values < 1.1).float().mean()) > 0.95  # 3.1 standard deviations
    share = torch.bincount(nearest.indices, minlength=8) / 2000
    assert float(share.min()) > 0.06 and float(share.max()) < 0.19


def test_returned_denoiser_is_frozen_and_differentiable() -> None:
    steps = fit_points(points(), EDM(), steps=3)
    denoise = finish(steps)
    x = torch.randn(6, 2, requires_grad=True)
    eps = denoise(x, torch.full((6,), 0.5))
    (grad,) = torch.autograd.grad(eps.sum(), x)
    assert grad.shape == (6, 2) and bool((grad != 0).any())


def test_actions_stay_inside_the_limit() -> None:
    agent = DiffusionBC(SMALL, 1, 2, act_limit=0.5)
    assert float(agent.act(torch.ones(50, 1)).abs().max()) <= 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu() -> None:
    agent = DiffusionBC(SMALL, 1, 2, None, device="cuda")
    data = one_step(points().cuda())
    assert len(list(fit(agent, InMemory(data)))) == 12
    assert agent.act(torch.ones(5, 1, device="cuda")).is_cuda
