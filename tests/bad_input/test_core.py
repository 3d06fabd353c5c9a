"""One clear sentence for each thing the core does not accept."""

from __future__ import annotations

import pytest
import torch

from diffteach import checkpoint, nets, objectives, sampling, schedule, train
from diffteach.behaviour import BehaviourConfig
from diffteach.checks import nearest, unknown
from diffteach.methods import BCConfig, DiffusionBC
from diffteach.methods.bc import fit_points
from diffteach.schedule import EDM, VP, Discrete

X = torch.zeros(3, 2)
T = torch.full((3,), 0.5)
NAN = float("nan")


def zero(x, t):
    return torch.zeros_like(x)


def drive(steps):
    for _ in steps:
        pass


def small(**settings) -> DiffusionBC:
    return DiffusionBC(BCConfig(**settings), 1, 2)


CASES = [
    # schedules
    (lambda: EDM().sigma(T * 0), ValueError, "t must lie in"),
    (lambda: EDM().sigma(-T), ValueError, "noise level"),
    (lambda: EDM().sigma(T * NAN), ValueError, "t must lie in"),
    (lambda: VP().alpha(T + 1), ValueError, r"t must lie in \[0, 1\] for VP, got .*1.5"),
    (lambda: VP().sigma(-T), ValueError, "for VP, got"),
    (lambda: Discrete(schedule.vp_betas(5)).alpha(torch.tensor([5])), ValueError, r"\[0, 4\]"),
    (lambda: Discrete(schedule.vp_betas(5)).alpha(torch.tensor([-1])), ValueError, "Discrete"),
    (lambda: Discrete(schedule.vp_betas(5)).alpha(T), TypeError, "integers .* got torch.float32"),
    (lambda: Discrete(torch.tensor([0.1, 1.0])), ValueError, "strictly between 0 and 1"),
    (lambda: Discrete(torch.tensor([])), ValueError, "non-empty vector"),
    (lambda: Discrete(torch.tensor([NAN])), ValueError, "strictly between 0 and 1"),
    (lambda: EDM(sigma_min=0), ValueError, "sigma_min and sigma_max .* got 0"),
    (lambda: EDM(sigma_data=-1), ValueError, "sigma_data must be positive, got -1"),
    (lambda: VP(beta_min=3, beta_max=1), ValueError, "beta_min <= beta_max, got 3 and 1"),
    (lambda: VP(t_min=0), ValueError, "t_min < t_max, got 0"),
    (lambda: VP().sample_time(0), ValueError, "n must be at least 1, got 0"),
    (lambda: schedule.linear_betas(0), ValueError, "at least 1, got 0"),
    (lambda: schedule.relax_betas(5, 1.5), ValueError, r"scale must lie in \(0, 1\], got 1.5"),
    (lambda: schedule.clip_denoised(zero, EDM(), 0.0), ValueError, "limit must be positive"),
    # objectives
    (
        lambda: objectives.trust_region_loss(zero, VP(), X, T, X),
        TypeError,
        "schedule must be EDM for the trust region's weight, got VP; denoising_loss takes any",
    ),
    (
        lambda: objectives.reverse_sampling_target(
            lambda a: a.sum(-1), VP(), X, T, X.expand(4, -1, -1), 0.0
        ),
        ValueError,
        "temperature must be positive, got 0",
    ),
    (
        lambda: objectives.reverse_sampling_target(
            lambda a: a.sum(-1), VP(), X, T, X.expand(4, -1, -1), NAN
        ),
        ValueError,
        "temperature must be positive, got nan",
    ),
    (
        lambda: objectives.reverse_sampling_target(
            lambda a: a.sum(-1), VP(), X, T, X.expand(0, -1, -1), 1.0
        ),
        ValueError,
        "eps must hold at least one particle",
    ),
    (lambda: objectives.expectile_loss(T, 0.0), ValueError, "tau must lie strictly .* got 0"),
    (lambda: objectives.expectile_loss(T, 1.0), ValueError, "tau must lie strictly .* got 1"),
    # samplers
    (lambda: sampling.time_grid(VP(), 0), ValueError, "steps must be at least 1, got 0"),
    (lambda: sampling.time_grid(VP(), 5, -1), ValueError, "rho must be positive, got -1"),
    (lambda: sampling.initial_noise(VP(), 0, 2), ValueError, "n and dim must be at least 1"),
    (lambda: drive(sampling.heun(zero, VP(), X, T)), ValueError, "times must run from noisy"),
    (lambda: drive(sampling.ddim(zero, VP(), X, T[:0])), ValueError, "times must be a non-empty"),
    (
        lambda: drive(sampling.ancestral(zero, Discrete(schedule.vp_betas(5)), X, limit=-1)),
        ValueError,
        "limit must be positive, got -1",
    ),
    (lambda: sampling.draw([]), ValueError, "yield at least once"),
    # networks
    (lambda: nets.mlp((3,)), ValueError, "sizes must hold at least two"),
    (lambda: nets.Critics(1, 2, heads=0), ValueError, "heads must be at least 1, got 0"),
    (lambda: nets.Dropout(1), ValueError, r"p must lie in \[0, 1\), got 1"),
    (
        lambda: nets.ema_update(nets.Value(1), nets.Value(1), 1.5),
        ValueError,
        r"rate must lie in \[0, 1\], got 1.5",
    ),
    # training
    (lambda: train.InMemory(train.one_step(X[:0])), ValueError, "at least one transition"),
    (lambda: train.InMemory(train.one_step(X * NAN)), ValueError, "data.act must be finite, got 6"),
    (
        lambda: train.InMemory(train.one_step(X, torch.tensor([0.0, float("inf"), 1.0]))),
        ValueError,
        "data.rew must be finite, got 1",
    ),
    (
        lambda: train.InMemory(train.one_step(X)._replace(rew=torch.zeros(2))),
        ValueError,
        "data.rew must have 3 rows like data.act, got 2",
    ),
    (
        lambda: train.Stream(lambda n, g: (torch.zeros(n),), "x", 0).take(0),
        ValueError,
        "n must be at least 1, got 0",
    ),
    (
        lambda: drive(train.fit(small(steps=-1), train.InMemory(train.one_step(X)))),
        ValueError,
        "steps must be at least 0, got -1",
    ),
    (
        lambda: drive(train.fit(small(), train.InMemory(train.one_step(X)), check_every=0)),
        ValueError,
        "check_every must be at least 1, got 0",
    ),
    (lambda: small(batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
    (lambda: BehaviourConfig(lr=0), ValueError, "lr must be positive, got 0"),
    (lambda: BehaviourConfig(data_scale=0), ValueError, "data_scale must be positive, got 0"),
    (lambda: small(sample_steps=0), ValueError, "sample_steps must be at least 1, got 0"),
    (lambda: DiffusionBC(BCConfig(), 1, 0), ValueError, "act_dim must be at least 1, got 0"),
    (
        lambda: DiffusionBC(BCConfig(), 1, 2, -1),
        ValueError,
        "act_limit must be positive and finite, got -1",
    ),
    (lambda: next(fit_points(X * NAN, EDM())), ValueError, "points must be finite, got 6 NaN"),
    (
        lambda: next(fit_points(X[:0], EDM())),
        ValueError,
        r"points must hold at least one row .* shape \(0, 2\)",
    ),
    (lambda: next(fit_points(X[:, 0], EDM())), ValueError, r"points must .* shape \(3,\)"),
    (lambda: next(fit_points(X + 1, EDM(), steps=-5)), ValueError, "steps must be at least 0"),
]


@pytest.mark.parametrize(("call", "error", "words"), CASES, ids=lambda value: None)
def test_refused_with_one_sentence(call, error, words) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_equal_points_are_refused_or_fitted_without_nan() -> None:
    """One point repeated is a legitimate set, also at the origin."""
    for points in (X, X + 3, X[:1]):
        denoise = train.finish(fit_points(points, EDM(), steps=3))
        assert bool(torch.isfinite(denoise(X, T)).all())


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "run.safetensors"
    checkpoint.save(path, small(steps=1))
    return path


def test_a_file_that_is_no_checkpoint(tmp_path, saved) -> None:
    other = tmp_path / "other"
    for content in (b"", b"words", saved.read_bytes()[:-40]):
        other.write_bytes(content)
        with pytest.raises(ValueError, match="other is not a complete checkpoint"):
            checkpoint.load(other, small())
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "absent", small())


def test_a_checkpoint_of_another_method_or_size(saved) -> None:
    class Other:
        pass

    with pytest.raises(ValueError, match="holds DiffusionBC in format 1, needed is Other"):
        checkpoint.load(saved, Other())
    wide = DiffusionBC(BCConfig(steps=1), 1, 3)
    before = [p.clone() for p in wide.behaviour.net.parameters()]
    with pytest.raises(ValueError, match="net in .* does not fit this agent: size mismatch") as e:
        checkpoint.load(saved, wide)
    assert "\n" not in str(e.value)
    assert all(p.equal(q) for p, q in zip(wide.behaviour.net.parameters(), before, strict=True))
    with pytest.raises(ValueError, match="made with config.steps = 1, needed is 2000") as e:
        checkpoint.load(saved, small())
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="lacks source"):
        checkpoint.load(saved, small(steps=1), train.InMemory(train.one_step(X)))


def test_an_unknown_name_lists_the_known_and_suggests_the_nearest_whatever_its_case() -> None:
    known = ("D4RL/door", "srpo", "SfBC")
    said = "method must be one of D4RL/door, srpo, SfBC, got {}"
    assert str(unknown("method", " SRPPO", known)) == (
        said.format("' SRPPO'") + "; did you mean 'srpo'?"
    )
    assert str(unknown("method", "sfbc", iter(known))).endswith("; did you mean 'SfBC'?")
    assert str(unknown("method", 7, known)) == said.format(7)
    assert nearest("d4rl/doors", known, 3) == "; did you mean 'D4RL/door'?"
    assert nearest("ab", ("abc", "abd", "abe", "zz"), 2).count("ab") == 2
