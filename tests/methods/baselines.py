"""What the tests of the baselines share: short runs, and everything that a run leaves behind."""

from __future__ import annotations

from dataclasses import is_dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from diffteach.checkpoint import load, save
from diffteach.nets import seeded
from diffteach.plane import bandit
from diffteach.train import InMemory, fit, one_step
from diffteach.types import Batch

OBS = torch.ones(64, 1)


def run(agent, source, done=None, steps=None):
    """Trains an agent to the end, or for some steps; returns it."""
    for number, _ in enumerate(fit(agent, source, done), 1):
        if number == steps:
            break
    return agent


def transitions(n: int = 256, seed: int = 0) -> Batch:
    """Random transitions of several states, half of which end."""
    g = torch.Generator().manual_seed(seed)
    obs, after = torch.randn(2, n, 3, generator=g)
    act, rew = torch.rand(n, 2, generator=g) * 2 - 1, torch.randn(n, generator=g)
    return Batch(obs, act, rew, after, (torch.arange(n) % 2).float())


def inside(agent) -> list[Tensor]:
    """Every tensor that a checkpoint of the agent holds, in order."""
    found: list[Tensor] = []

    def walk(value) -> None:
        if isinstance(value, Tensor):
            found.append(value.detach())
        elif isinstance(value, torch.Generator):
            found.append(value.get_state())
        elif hasattr(value, "state_dict"):
            walk(value.state_dict())
        elif isinstance(value, dict):
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner)
        elif type(value).__module__.startswith("diffteach.") and not is_dataclass(value):
            walk(vars(value))

    walk(vars(agent))
    return found


def equal(first, second) -> bool:
    pairs = zip(inside(first), inside(second), strict=True)
    return all(a.equal(b) for a, b in pairs)


def apart(agent):
    """The agent with every weight moved by noise of its own: no slow copy is one any more."""
    with seeded(3), torch.no_grad():
        for tensor in inside(agent):
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor))
    return agent


class Affine(nn.Module):
    """Critics Q(s, a) = weight (s, a) + bias; fresh ones lie 6 apart."""

    def __init__(self, obs_dim: int, act_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, obs_dim + act_dim))
        self.bias = nn.Parameter(torch.tensor([3.0, -3.0]))

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        x = torch.cat([obs.expand(*act.shape[:-1], -1), act], -1)
        return torch.einsum("...i,ei->e...", x, self.weight) + self.bias.view(
            -1, *[1] * (x.ndim - 1)
        )


def set_apart(method, config):
    """An agent on the states of `transitions`, all its copies apart, and the list of the losses
    that its policy's optimizer is given instead of taking a step."""
    agent, losses = apart(method(config, 3, 2)), []
    learner = agent.policy if hasattr(getattr(agent, "policy", None), "learner") else agent
    learner.learner = SimpleNamespace(step=losses.append)
    return agent, losses


def check_same_seed_same_bytes(method, config) -> None:
    """Also that the global generators are left alone, and that another seed is another run."""
    data, before = transitions(), torch.get_rng_state()
    runs = [run(method(config, 3, 2, 1.0, seed), InMemory(data, seed)) for seed in (0, 0, 1)]
    assert equal(runs[0], runs[1]) and not equal(runs[0], runs[2])
    assert runs[0].act(data.obs).equal(runs[1].act(data.obs))
    assert torch.get_rng_state().equal(before)


def check_resumes(method, config, path, steps: int) -> None:
    """A run that was broken off after some steps ends like one that was not."""
    data = transitions()
    whole = run(method(config, 3, 2), InMemory(data))
    done: dict[str, int] = {}
    source = InMemory(data)
    first = run(method(config, 3, 2), source, done, steps)
    save(path, first, source, done)
    source = InMemory(data, 9)
    second = method(config, 3, 2, seed=5)
    run(second, source, load(path, second, source))
    assert equal(whole, second)
    assert whole.act(data.obs).equal(second.act(data.obs))


def check_limits(method, config, limit: float = 0.25) -> None:
    """Actions have the right shape and stay within act_limit, whatever the weights."""
    acts = apart(method(config, 1, 2, limit)).act(OBS)
    assert acts.shape == (64, 2)
    assert float(acts.abs().max()) <= limit + 1e-6


def corners(n: int = 2000):
    return bandit("four_corners", n=n)


def tilted_points(law, n: int, seed: int = 0) -> InMemory:
    points = law.sample(n, torch.Generator().manual_seed(seed)).float()
    return InMemory(one_step(points), seed)
