"""Learners, behaviours and critics: the parts that every method is made of."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from core.oracles import double, gaussian_denoiser
from torch import nn

from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checkpoint import load, save
from diffteach.critics import DoubleQConfig, ExpectileConfig, KnownQ
from diffteach.nets import Critics, Learner, ResNetDenoiser, Value, descend
from diffteach.schedule import EDM, VP
from diffteach.train import one_step
from diffteach.types import Batch


def weight(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value, 0.0]))


def test_first_step_of_adam_is_the_rate_and_decay_shrinks() -> None:
    for decay in (0.0, 0.1):
        w = weight()
        Learner([w], lr=0.01, weight_decay=decay).step((3 * w[0] - 5 * w[1]).sum())
        assert w.tolist() == pytest.approx([1 - 0.01 * decay - 0.01, 0.01], abs=1e-6)


def test_cosine_takes_the_rate_to_nothing() -> None:
    w = weight()
    learner = Learner([w], lr=0.1, anneal=8)
    rates = []
    for _ in range(8):
        rates.append(learner.optimizer.param_groups[0]["lr"])
        learner.step(w.sum())
    expected = [0.05 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert rates == pytest.approx(expected)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_long_gradients_are_cut_to_length() -> None:
    moves = []
    for scale in (1.0, 1000.0):
        w = weight()
        descend(torch.optim.SGD([w], lr=1.0), scale * (3 * w[0] + 4 * w[1]), max_norm=2.5)
        moves.append((w - weight()).tolist())
    assert moves[0] == pytest.approx([-1.5, -2.0]) == moves[1]


def test_a_learner_touches_nothing_else() -> None:
    mine, other = weight(), weight(2.0)
    Learner([mine], 0.1).step((mine * other).sum())
    assert other.grad is None and other.tolist() == [2.0, 0.0] and mine.grad is None


def test_dropout_is_on_in_training_only() -> None:
    config = BehaviourConfig(VP(), network=partial(ResNetDenoiser, width=16, blocks=1, dropout=0.5))
    model = config.build(1, 2, steps=10)
    denoise, x, t = model.denoise(torch.ones(1, 1)), torch.randn(6, 2), torch.full((6,), 0.4)
    assert denoise(x, t).equal(denoise(x, t))
    batch = one_step(torch.randn(32, 2))
    losses = []
    for _ in range(2):
        twin = config.build(1, 2, steps=10)
        losses.append(float(twin.step(batch)["behaviour_loss"]))
    assert losses[0] == losses[1]
    twin.net.eval()
    quiet = replace(config, network=partial(ResNetDenoiser, width=16, blocks=1, dropout=0.0))
    assert float(quiet.build(1, 2, steps=10).step(batch)["behaviour_loss"]) != losses[0]
    assert denoise(x, t).equal(denoise(x, t)) and not model.net.training


def test_a_limit_holds_in_training_and_in_use() -> None:
    config = BehaviourConfig(EDM(), limit=0.25)
    model = config.build(1, 2, steps=10)
    x, t = 3 * torch.randn(50, 2), torch.full((50,), 0.7)
    x0 = x - 0.7 * model.denoise(torch.ones(1, 1))(x, t)
    assert float(x0.detach().abs().max()) == pytest.approx(0.25, abs=1e-6)
    free = replace(config, limit=None).build(1, 2, steps=10)
    batch = one_step(torch.randn(64, 2))
    assert free.step(batch)["behaviour_loss"] != model.step(batch)["behaviour_loss"]


def test_known_parts_stand_where_learned_ones_do() -> None:
    exact = gaussian_denoiser(double(1.0, 0.0), 0.5, VP())
    behaviour = KnownBehaviour(exact, VP()).build(3, 2, steps=7)
    assert behaviour.denoise(torch.ones(1, 3)) is exact and behaviour.step(batch_of(4)) == {}
    critic = KnownQ(lambda a: a.sum(-1)).build(3, 2, steps=7)
    act = torch.randn(5, 4, 2)
    assert critic.online(torch.ones(4, 3), act).equal(act.sum(-1)[None])
    assert critic.target(torch.ones(4, 3), act).equal(act.sum(-1)[None])
    assert critic.step(batch_of(4)) == {}


def batch_of(n: int, done: float = 0.0) -> Batch:
    g = torch.Generator().manual_seed(n)
    obs, act = torch.randn(n, 3, generator=g), torch.randn(n, 2, generator=g)
    rew, after = torch.randn(n, generator=g), torch.randn(n, 3, generator=g)
    return Batch(obs, act, rew, after, torch.full((n,), done))


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_critics_regress_on_the_return_and_copies_follow_slowly() -> None:
    config = DoubleQConfig(discount=0.5, lr=0.0, target_rate=0.1)
    critic, batch, ahead = config.build(3, 2, steps=1), batch_of(16), torch.full((16,), 4.0)
    loss = float(critic.step(batch, ahead)["critic_loss"])
    heads = critic.online(batch.obs, batch.act).detach()
    by_hand = sum(float(((h - batch.rew - 2.0) ** 2).mean()) for h in heads)
    assert loss == pytest.approx(by_hand, rel=1e-5)
    assert flat(critic.net).equal(flat(critic.slow))
    with torch.no_grad():
        for p in critic.net.parameters():
            p += 1
    before = flat(critic.slow)
    critic.step(batch, ahead)
    assert torch.allclose(flat(critic.slow), before + 0.1, atol=1e-6)


def test_the_end_of_an_episode_is_worth_its_reward() -> None:
    critic = DoubleQConfig(lr=0.0).build(3, 2, steps=1)
    batch = batch_of(16, done=1.0)
    losses = {float(critic.step(batch, v)["critic_loss"]) for v in torch.randn(3, 16)}
    assert len(losses) == 1


@pytest.mark.parametrize("on_target", [True, False])
def test_values_regress_on_the_heads_that_the_settings_name(on_target) -> None:
    config = ExpectileConfig(0.9, DoubleQConfig(lr=0.0), value_on_target=on_target)
    critic, batch = config.build(3, 2, steps=1), batch_of(16)
    with torch.no_grad():
        critic.q.slow.body[-1].bias += torch.tensor([5.0, -5.0])[:, None, None]
    heads = critic.target if on_target else critic.online
    diff = heads(batch.obs, batch.act).min(0).values - critic.value(batch.obs)
    by_hand = torch.where(diff < 0, 0.1, 0.9) * diff**2
    assert float(critic.step(batch)["value_loss"]) == pytest.approx(
        float(by_hand.detach().mean()), rel=1e-5
    )


def test_q_bootstraps_from_the_value_before_its_step() -> None:
    small = DoubleQConfig(lr=1e-2, network=partial(Critics, width=8))
    critic, batch = ExpectileConfig(q=small, value=Value).build(3, 2, steps=1), batch_of(16)
    y = batch.rew + 0.99 * critic.value(batch.next_obs).detach()
    by_hand = (critic.online(batch.obs, batch.act) - y).square().mean(-1).sum()
    assert float(critic.step(batch)["critic_loss"]) == pytest.approx(
        float(by_hand.detach()), rel=1e-5
    )


def test_parts_inside_parts_are_saved_and_restored(tmp_path) -> None:
    class Agent:
        def __init__(self, seed: int) -> None:
            self.critic = ExpectileConfig().build(3, 2, 10, seed)
            self.behaviour = BehaviourConfig().build(3, 2, 10, seed)

    first, second = Agent(0), Agent(1)
    first.critic.step(batch_of(8))
    save(tmp_path / "a", first)
    load(tmp_path / "a", second)
    for agent in (first, second):
        agent.critic.step(batch_of(9))
        agent.behaviour.step(batch_of(9))
    assert flat(first.critic.q.net).equal(flat(second.critic.q.net))
    assert flat(first.critic.q.slow).equal(flat(second.critic.q.slow))
    assert flat(first.critic.value).equal(flat(second.critic.value))
    assert flat(first.behaviour.net).equal(flat(second.behaviour.net))
