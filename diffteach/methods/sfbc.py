"""SfBC: actions of a diffusion behaviour, selected by Q of planned returns (ICLR 2023)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from diffteach.behaviour import BehaviourConfig, KnownBehaviour
from diffteach.checks import check_between, check_kind, check_not_negative, check_obs, check_space
from diffteach.data.names import task
from diffteach.nets import Critics, Learner, Mish, ResNetDenoiser, seeded
from diffteach.sampling import initial_noise, sample
from diffteach.schedule import VP, Discrete, check_count, cosine_betas
from diffteach.seeds import named_seed
from diffteach.train import Counter, Stream, check_batch, named_generator
from diffteach.types import Batch, Metrics, Recipe, Stage

CHUNK = 256


def best_ahead(
    rew: Float[Tensor, " n"],
    last: Bool[Tensor, " n"],
    value: Float[Tensor, " n"],
    discount: float | int,
) -> Float[Tensor, " n"]:
    """R_n = r_n + discount max(R_{n+1}, V(s_{n+1})) along each episode: the paper's planning.

    Swept backwards over rows in order; nothing counts beyond an episode's `last` row. Values of
    -inf leave the discounted sum of rewards.
    """
    found, ahead = [], 0.0
    for r, end, v in zip(*(each.flip(0).tolist() for each in (rew, last, value)), strict=True):
        found.append(r + (0.0 if end else discount * ahead))
        ahead = max(found[-1], v)
    return rew.new_tensor(found).flip(0)


def best_here(
    rew: Float[Tensor, " n"],
    last: Bool[Tensor, " n"],
    value: Float[Tensor, " n"],
    discount: float | int,
) -> Float[Tensor, " n"]:
    """R_n = max(r_n + discount R_{n+1}, V(s_n)): the official planning.

    It credits a poor action with what better ones earn in the same state. On problems of one step
    Q then forgets all rewards below V.
    """
    return torch.maximum(best_ahead(rew, last, value, discount), value)


def gumbel_top(
    logits: Float[Tensor, "K B"], count: int, generator: torch.Generator
) -> Int[Tensor, "count B"]:
    """Indices of `count` draws by softmax(logits) over K without putting back, in that order."""
    u = torch.rand(logits.shape, generator=generator, device=logits.device)
    tiny = torch.finfo(u.dtype).tiny
    return (logits - (-u.clamp_min(tiny).log()).log()).topk(count, 0).indices


@dataclass(frozen=True)
class SfBCConfig:
    """Settings of `SfBC`; the defaults are the official ones on locomotion."""

    alpha: float | int = 20.0
    """V is the mean of Q under softmax(alpha Q), Q in standard deviations of the returns"""
    act_alpha: float | int = 100.0
    """the same where actions are selected: nearly the best"""
    supports: int = 16
    """actions of the behaviour per state for V"""
    candidates: int = 32
    """actions of the behaviour per state of which `act` selects"""
    selected: int = 4
    """actions selected, without putting back, of which the mean is taken; 1 beyond locomotion"""
    rounds: int = 2
    """fits of Q: to the returns of the data, then to planned ones (K)"""
    plan: Callable[..., Tensor] = best_ahead
    """called as plan(rew, last, value, discount): best_ahead (paper), best_here (official code)"""
    discount: float | int = 0.99
    """of the next reward"""
    sample_steps: int = 8
    """noise levels of the reverse flow, of two evaluations each but the last (15 in all)"""
    behaviour: BehaviourConfig | KnownBehaviour = BehaviourConfig(
        VP(), network=ResNetDenoiser, lr=1e-4, anneal=False
    )
    """the diffusion model; the official network is a residual one with a narrow waist"""
    network: Callable[..., nn.Module] = partial(Critics, heads=1, activation=nn.SiLU)
    """called as network(obs_dim, act_dim): one critic; the code's is larger on antmaze-large"""
    lr: float | int = 1e-3
    """Adam's learning rate of the critic"""
    behaviour_steps: int = 600_000
    """steps of the first stage"""
    critic_steps: int = 24_400
    """steps of each round, which begins with fresh weights (100 passes over a million rows)"""
    batch_size: int = 4096
    """rows per step"""

    def __post_init__(self) -> None:
        for name in ("supports", "candidates", "selected", "rounds", "sample_steps"):
            check_count(name, getattr(self, name))
        check_not_negative("alpha", self.alpha)
        check_not_negative("act_alpha", self.act_alpha)
        check_between("discount", self.discount)
        check_kind("behaviour", self.behaviour, BehaviourConfig, KnownBehaviour)
        if self.selected > self.candidates:
            raise ValueError(
                f"selected must be at most candidates = {self.candidates}, got {self.selected}"
            )


PAPER = SfBCConfig()
OFFICIAL = replace(PAPER, plan=best_here)
PLANE = SfBCConfig(
    selected=1,
    rounds=1,
    behaviour=BehaviourConfig(Discrete(cosine_betas(10))),
    network=partial(Critics, heads=1, width=128, activation=Mish, norm=True),
    lr=3e-3,
    behaviour_steps=1000,
    critic_steps=300,
    batch_size=256,
)


def recipe(config: SfBCConfig, name: str) -> Recipe:
    """Settings for a data set: beyond locomotion one action is selected, AntMaze trains longer."""
    family = task(name).family
    if family != "locomotion":
        config = replace(config, selected=1)
    if family == "antmaze":
        config = replace(config, critic_steps=2 * config.critic_steps)
    return Recipe(config)


RECIPES: Mapping[str, Callable[[str], Recipe]] = {
    "paper": partial(recipe, PAPER),
    "official": partial(recipe, OFFICIAL),
}


class SfBC:
    """Q is regressed on returns, so a batch's `rew` is a return; acts by selecting proposals.

    Second tier here: for the plane and short runs. Where episodes have more than one step, `source`
    makes the batches; on one-step problems rewards are returns.
    """

    def __init__(
        self,
        config: SfBCConfig,
        obs_dim: int,
        act_dim: int,
        act_limit: float | int = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_space(obs_dim, act_dim, act_limit)
        self.config, self.act_dim, self.act_limit = config, act_dim, act_limit
        self.obs_dim, self.device = obs_dim, device
        self.root = named_generator("root", seed)
        size = obs_dim, act_dim, config.behaviour_steps, seed, device
        self.behaviour = config.behaviour.build(*size)
        self.net = self.fresh()
        self.slow = copy.deepcopy(self.net).requires_grad_(False)
        self.learner = Learner(self.net.parameters(), config.lr)
        self.counter = Counter()
        self.chance = named_generator("act", seed, device)

    @property
    def seed(self) -> int:
        """A seed of the agent's own, always the same, that a checkpoint keeps."""
        root = torch.Generator()
        root.set_state(self.root.get_state())
        return int(torch.randint(2**31, (), generator=root))

    def fresh(self) -> nn.Module:
        """A critic with the weights of the beginning, as the official code starts every round."""
        with seeded(named_seed("critic", self.seed)):
            return self.config.network(self.obs_dim, self.act_dim).to(self.device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """ "behaviour", then "critic 1" and so on, a stage for each round."""
        config, size = self.config, self.config.batch_size
        rounds = [
            Stage(f"critic {k + 1}", config.critic_steps, size, self.critic_step)
            for k in range(config.rounds)
        ]
        return (Stage("behaviour", config.behaviour_steps, size, self.behaviour.step), *rounds)

    @property
    def finished(self) -> int:
        """Rounds that have ended."""
        return self.counter.count // max(self.config.critic_steps, 1)

    def critic_step(self, batch: Batch) -> Metrics:
        """One step of Q towards the batch's returns; the last of a round is copied."""
        if self.counter.count and self.counter.count % self.config.critic_steps == 0:
            self.net.load_state_dict(self.fresh().state_dict())
            self.learner = Learner(self.net.parameters(), self.config.lr)
        loss = (self.net(batch.obs, batch.act)[0] - batch.rew).square().mean()
        self.learner.step(loss)
        if self.counter.tick() % self.config.critic_steps == 0:
            self.slow.load_state_dict(self.net.state_dict())
        return {"critic_loss": loss.detach()}

    def draw(
        self, obs: Float[Tensor, "B S"], count: int, generator: torch.Generator
    ) -> Float[Tensor, "K B A"]:
        """Actions of the behaviour at each state."""
        rows, schedule = obs.repeat(count, 1), self.behaviour.schedule
        noise = initial_noise(schedule, len(rows), self.act_dim, generator)
        more = self.config.sample_steps, generator, self.act_limit
        acts = sample(self.behaviour.denoise(rows), schedule, noise, *more)
        return acts.unflatten(0, (count, len(obs)))

    def values(self, obs: Float[Tensor, "n S"]) -> Float[Tensor, " n"]:
        """V of the slow critic, the copy from the end of the last round, in its own units.

        The same at each call: supports are drawn from a seed of their own.
        """
        generator, found = named_generator("support", self.seed, self.device), []
        with torch.no_grad():
            for rows in obs.split(CHUNK):
                acts = self.draw(rows, self.config.supports, generator)
                q = self.slow(rows, acts)[0]
                found.append((torch.softmax(self.config.alpha * q, 0) * q).sum(0))
        return torch.cat(found)

    def source(self, data: Batch, ends: Bool[Tensor, " n"], seed: int = 0) -> Planned:
        """Batches of transitions in order whose `rew` are returns, planned anew for each round."""
        return Planned(self, data, ends, seed)

    def act(self, obs: Float[Tensor, "B S"]) -> Float[Tensor, "B A"]:
        """Mean of `selected` of the `candidates` actions, drawn by softmax(act_alpha Q)."""
        check_obs(obs, self.obs_dim)
        acts = self.draw(obs, self.config.candidates, self.chance)
        with torch.no_grad():
            logits = self.config.act_alpha * self.net(obs, acts)[0]
        chosen = gumbel_top(logits, self.config.selected, self.chance)
        return acts.gather(0, chosen.unsqueeze(-1).expand(-1, -1, self.act_dim)).mean(0)

    explore = act


class Planned:
    """Random transitions with standardised returns as rewards; a `Source` for `SfBC`.

    A stage begins with a plan by the values of the slow critic, which stands still until its end: a
    resumed stage plans the same.
    """

    def __init__(self, agent: SfBC, data: Batch, ends: Bool[Tensor, " n"], seed: int = 0) -> None:
        check_batch(data)
        if ends.shape != data.rew.shape:
            raise ValueError(
                f"ends must have shape {tuple(data.rew.shape)} like data.rew, "
                f"got {tuple(ends.shape)}"
            )
        self._agent, self.data, self.last = agent, data, ends | data.done.bool()
        n, device = len(data.rew), data.rew.device

        def rows(k: int, generator: torch.Generator) -> tuple[Tensor, ...]:
            return (torch.randint(n, (k,), generator=generator, device=device),)

        self._rows = Stream(rows, "rows", seed, device)
        self.units = torch.tensor([[0.0, 1.0]]).repeat(agent.config.rounds, 1)

    def returns(self) -> Float[Tensor, " n"]:
        """Returns for the round that begins, in rewards."""
        agent, config = self._agent, self._agent.config
        value = torch.full_like(self.data.rew, -torch.inf)
        if agent.finished:
            mean, std = self.units[min(agent.finished, len(self.units)) - 1].tolist()
            value = mean + std * agent.values(self.data.obs)
        return config.plan(self.data.rew, self.last, value, config.discount)

    def __call__(self, batch_size: int) -> Iterator[Batch]:
        """Batches of the given size, without end."""
        returns = self.returns()
        mean, std = returns.mean(), returns.std(correction=0).clamp_min(0.1)
        self.units[min(self._agent.finished, len(self.units) - 1)] = torch.stack([mean, std]).cpu()
        data = self.data._replace(rew=(returns - mean) / std)
        while True:
            (row,) = self._rows.take(batch_size)
            yield Batch(*(column[row] for column in data))

    def state_dict(self) -> dict[str, Any]:
        """Position in the stream of rows, and the units of each round's returns."""
        return {"rows": self._rows.state_dict(), "units": self.units}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a stored position."""
        self._rows.load_state_dict(state_dict["rows"])
        self.units = state_dict["units"].clone()
