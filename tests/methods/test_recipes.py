"""The papers' settings by task, typed from their tables, against what the recipes give."""

from __future__ import annotations

from functools import partial

import pytest

from diffteach.data.rewards import TUNINGS
from diffteach.methods import (
    bc,
    bcq,
    bear,
    diffusion_ql,
    dql_kl,
    dtql,
    iql,
    qgpo,
    sdac,
    srpo,
    td3bc,
)
from diffteach.nets import DiracPolicy
from diffteach.plane import METHODS

# beta of SRPO (Table 2): medium, medium-replay, medium-expert
SRPO_BETAS = {
    "halfcheetah": (0.2, 0.2, 0.01),
    "hopper": (0.05, 0.2, 0.01),
    "walker2d": (0.05, 0.5, 0.1),
}
SRPO_MAZES = {
    "umaze": 0.02,
    "umaze-diverse": 0.04,
    "medium-play": 0.08,
    "medium-diverse": 0.05,
    "large-play": 0.06,
    "large-diverse": 0.05,
}
LEVELS = ("medium", "medium-replay", "medium-expert")
# lr, alpha, gamma, cosine, epochs, rows, expectile
DTQL_ROWS = """
halfcheetah-medium-v2         3e-4  1    0 no  1000 256  .7
halfcheetah-medium-replay-v2  3e-4  5    0 no  1000 256  .7
halfcheetah-medium-expert-v2  3e-4  50   0 no  1000 256  .7
hopper-medium-v2              1e-4  5    0 yes 1000 256  .7
hopper-medium-replay-v2       3e-4  5    0 no  1000 256  .7
hopper-medium-expert-v2       3e-4  20   0 no  1000 256  .7
walker2d-medium-v2            3e-4  5    0 yes 1000 256  .7
walker2d-medium-replay-v2     3e-4  5    0 yes 1000 256  .7
walker2d-medium-expert-v2     3e-4  5    0 yes 1000 256  .7
antmaze-umaze-v0              3e-4  1    1 no  500  2048 .9
antmaze-umaze-diverse-v2      3e-5  1    1 yes 500  2048 .9
antmaze-medium-play-v2        3e-4  1    1 no  400  2048 .9
antmaze-medium-diverse-v0     3e-4  1    1 no  400  2048 .9
antmaze-large-play-v2         3e-4  1    1 no  350  2048 .9
antmaze-large-diverse-v2      3e-4  .5   1 no  300  2048 .9
pen-human-v1                  3e-5  1500 0 yes 300  256  .9
pen-cloned-v1                 1e-5  1500 0 no  200  256  .7
kitchen-complete-v0           1e-4  200  0 yes 500  256  .7
kitchen-partial-v0            1e-4  100  0 yes 1000 256  .7
kitchen-mixed-v0              3e-4  200  0 yes 500  256  .7
"""
# lr, eta, max_q_backup, rewards, epochs, gn
DIFFUSION_QL_ROWS = """
halfcheetah-medium-v2         3e-4 1    no  raw          2000 9
halfcheetah-medium-replay-v2  3e-4 1    no  raw          2000 2
halfcheetah-medium-expert-v2  3e-4 1    no  raw          2000 7
hopper-medium-v2              3e-4 1    no  raw          2000 9
hopper-medium-replay-v2       3e-4 1    no  raw          2000 4
hopper-medium-expert-v2       3e-4 1    no  raw          2000 5
walker2d-medium-v2            3e-4 1    no  raw          2000 1
walker2d-medium-replay-v2     3e-4 1    no  raw          2000 4
walker2d-medium-expert-v2     3e-4 1    no  raw          2000 5
antmaze-umaze-v0              3e-4 .5   no  cql_antmaze  1000 2
antmaze-umaze-diverse-v0      3e-4 2    yes cql_antmaze  1000 3
antmaze-medium-play-v0        1e-3 2    yes cql_antmaze  1000 2
antmaze-medium-diverse-v0     3e-4 3    yes cql_antmaze  1000 1
antmaze-large-play-v0         3e-4 4.5  yes cql_antmaze  1000 10
antmaze-large-diverse-v0      3e-4 3.5  yes cql_antmaze  1000 7
pen-human-v1                  3e-5 .15  no  standardised 1000 7
pen-cloned-v1                 3e-5 .1   no  standardised 1000 8
kitchen-complete-v0           3e-4 .005 no  raw          250  9
kitchen-partial-v0            3e-4 .005 no  raw          1000 10
kitchen-mixed-v0              3e-4 .005 no  raw          1000 10
"""


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_srpo_has_a_beta_for_every_task(preset) -> None:
    recipe = srpo.RECIPES[preset]
    for robot, betas in SRPO_BETAS.items():
        for level, beta in zip(LEVELS, betas, strict=True):
            found = recipe(f"{robot}-{level}-v2")
            assert (found.config.beta, found.reward, found.episodes) == (beta, "iql_locomotion", 20)
            assert found.config.critic.expectile == 0.7 and not found.config.normalize_q_grad
            assert found.config.policy is DiracPolicy
    for maze, beta in SRPO_MAZES.items():
        found = recipe(f"antmaze-{maze}-v2")
        assert (found.config.beta, found.reward, found.episodes) == (beta, "iql_antmaze", 20)
        assert found.config.critic.expectile == 0.9 and found.config.normalize_q_grad
        assert isinstance(found.config.policy, partial)
        assert found.config.policy.keywords == {"depth": 4}
    assert recipe("hopper-medium-v2").config.baseline == (preset == "paper")


@pytest.mark.parametrize("module", [dtql, dql_kl])
@pytest.mark.parametrize("preset", ["paper", "official"])
def test_dtql_and_its_kl_baseline_share_the_official_table(module, preset) -> None:
    for name, lr, alpha, gamma, cosine, epochs, batch, expectile in rows(DTQL_ROWS):
        found = module.RECIPES[preset](name)
        config, maze = found.config, name.startswith("antmaze")
        assert (config.lr, config.alpha) == (float(lr), float(alpha))
        assert config.batch_size == int(batch) and config.steps == 1000 * int(epochs)
        models = [config.behaviour] + ([config.fake] if module is dql_kl else [])
        assert {model.lr for model in models} == {float(lr)} and config.critic.q.lr == 3e-4
        annealed = {config.anneal, config.critic.q.anneal, *(model.anneal for model in models)}
        assert annealed == {cosine == "yes"}
        assert {model.limit for model in models} == {1.0 if preset == "official" else None}
        assert config.critic.expectile == float(expectile)
        assert config.pretrain_steps == 50_000
        assert module is dql_kl or config.gamma == float(gamma)
        assert found.reward == ("iql_antmaze" if maze else "raw")
        assert found.episodes == (10 if name.endswith("v2") and not maze else 100)


def test_diffusion_ql_follows_the_official_table() -> None:
    for name, lr, eta, max_q, reward, epochs, norm in rows(DIFFUSION_QL_ROWS):
        found = diffusion_ql.RECIPES["paper"](name)
        config = found.config
        assert (config.policy.lr, config.critic.lr, config.eta) == (float(lr), 3e-4, float(eta))
        assert config.policy.max_norm == config.critic.max_norm == float(norm)
        assert config.backups == (10 if max_q == "yes" else 1)
        assert (found.reward, config.steps) == (reward, 1000 * int(epochs))
        assert found.episodes == (10 if name.endswith("v2") else 100)
    assert diffusion_ql.RECIPES["paper"]("walker2d-medium-v2").config == diffusion_ql.PAPER


@pytest.mark.parametrize(
    ("name", "expectile", "beta", "reward", "episodes"),
    [
        ("walker2d-medium-replay-v2", 0.7, 3.0, "iql_locomotion", 10),
        ("antmaze-large-play-v2", 0.9, 10.0, "iql_antmaze", 100),
        ("pen-human-v1", 0.7, 0.5, "raw", 100),
        ("kitchen-mixed-v0", 0.7, 0.5, "raw", 100),
    ],
)
def test_iql_by_family(name, expectile, beta, reward, episodes) -> None:
    for preset in ("paper", "official", "corl"):
        found = iql.RECIPES[preset](name)
        assert (found.config.critic.expectile, found.config.beta) == (expectile, beta)
        assert found.episodes == episodes and found.standardise == (preset == "corl")
        changed = preset != "corl" or reward == "iql_antmaze"
        assert found.reward == (reward if changed else "raw")


def test_td3bc_standardises_observations() -> None:
    for name in ("hopper-medium-v2", "antmaze-umaze-v2", "elsewhere/unknown-v0"):
        found = td3bc.RECIPES["paper"](name)
        assert found.standardise and found.reward == "raw" and found.config == td3bc.PAPER


def test_qgpo_takes_twice_as_many_supports_on_antmaze() -> None:
    hopper, maze = (
        qgpo.RECIPES["official"](name) for name in ("hopper-medium-v2", "antmaze-umaze-v2")
    )
    assert (hopper.config.supports, maze.config.supports) == (16, 32)
    assert (hopper.reward, maze.reward) == ("iql_locomotion", "iql_antmaze")
    assert hopper.config.beta == maze.config.beta == 3


def test_an_unknown_data_set_gets_the_defaults() -> None:
    name = "elsewhere/unknown-v0"
    for module in (srpo, dtql, dql_kl, diffusion_ql, iql, qgpo, sdac, bcq, bear, td3bc):
        found = module.RECIPES["paper"](name)
        assert found.config == module.PAPER and found.reward == "raw"
    assert bc.RECIPES["paper"](name).config == bc.D4RL


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_recipe_everywhere(method) -> None:
    build, _ = METHODS[method]
    recipes = __import__(build.__module__, fromlist=["RECIPES"]).RECIPES
    for preset, name in ((p, n) for p in recipes for n in ("antmaze-umaze-v2", "pen-human-v1")):
        found = recipes[preset](name)
        assert found.reward in TUNINGS and found.episodes >= 1
    assert "paper" in recipes
