"""Every registered agent: the contract, and worlds so small that the right answer is known."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.agents.gradient_based import GradientBasedConfig
from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.config import AgentConfig, SamplingConfig, construct
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.meta_learner import Actor, MetaLearner
from metarl.plugins import registry
from metarl.plugins.entry_points import AGENTS, names
from metarl.presets.agent_settings import agent_config_for
from metarl.rollouts.collect import collect
from metarl.settings import Settings
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Rollout
from support import agent_contract, tiny
from support.agents import GRADIENT_BASED
from support.probes import Probe
from support.programs import POINT, Trap, errors, outcome, resume, run

EVERY_AGENT = pytest.mark.parametrize("name", GRADIENT_BASED)
BY_INHERITANCE = {"anil", "boil", "cavia", "lvc", "meta-lstm", "meta-sgd", "multi-task"}
"""Agents that learn what states and actions are worth by the code of MAML-TRPO or MAML-VPG, and adapt by
their own."""
EVERY_LEARNER = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in BY_INHERITANCE else ()) for name in GRADIENT_BASED],
)
CPU = torch.device("cpu")


def agent_config(name: str, **settings: object) -> AgentConfig:
    """Return an agent's config with those of the settings that it has."""
    config = registry.agent(name)
    known = {field.name for field in dataclasses.fields(config)}
    return construct(config, {key: value for key, value in settings.items() if key in known})


@EVERY_AGENT
@pytest.mark.parametrize("claim", agent_contract.AGENT_CLAIMS, ids=lambda claim: claim.__name__)
def test_agent_contract(name: str, claim: Callable[[AgentConfig], None]) -> None:
    claim(agent_config(name, hidden_sizes=(8,)))


def takes(name: str, **settings: object) -> bool:
    """Return whether an agent can be configured so."""
    try:
        agent_config(name, **settings)
    except MetarlError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name in GRADIENT_BASED if takes(name, adaptation_steps=2)])
@pytest.mark.parametrize(
    "claim",
    agent_contract.named(
        "adapting_leaves_the_actor_it_started_from",
        "a_trial_equals_replaying_the_same_steps",
        "loaded_agent_goes_on_like_the_saved_one",
        "updating_gives_the_same_numbers_again",
        "updating_reports_finite_numbers",
    ),
    ids=lambda claim: claim.__name__,
)
def test_contract_holds_with_two_first_order_steps_on_scaled_observations(
    name: str, claim: Callable[[AgentConfig], None]
) -> None:
    more = {"first_order": True, "observation_scale": True}
    claim(agent_config(name, hidden_sizes=(8,), adaptation_steps=2, **more))


@pytest.mark.parametrize("name", names(AGENTS))
def test_no_check_of_settings_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    monkeypatch.setattr(Settings, "__post_init__", lambda self: ends.append(type(self)))
    config = registry.agent(name)
    config()
    # the chain of super() calls has come through every class with checks of its own, once
    assert ends.count(config) == 1


def test_settings_without_an_agent_cannot_build_one() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Orphan(GradientBasedConfig):
        kind = "orphan"

    with pytest.raises(MetarlError, match="Orphan needs an agent built_from it, but it is none"):
        Orphan().build(agent_contract.SUITE, seed=0, device=CPU, sampling=SamplingConfig())


def test_every_agent_says_where_it_was_published() -> None:
    for name in GRADIENT_BASED:
        assert registry.agent(name).kind == name
        assert registry.agent(name).source


TASKS, EPISODES, ITERATIONS = 6, 20, 30
PROBE_SETTINGS = {
    "hidden_sizes": (16,),
    "initial_std": 0.5,
    "min_std": 0.5,
    "inner_lr": 0.05,
    "discount": 1.0,
    "advantage_norm": "none",
    "outer_lr": 0.01,
    "curvature_stride": 1,
    "max_kl": 0.03,
}
PROBE_SETTINGS_OF = {"reptile": {"outer_lr": 0.3}, "anil": {"cg_damping": 0.1}}
"""Reptile's step is a share of the way; so few transitions make ANIL's Fisher matrix nearly singular."""


def train(name: str, probe: Probe) -> MetaLearner:
    """Meta-train an agent on a probe for some seconds."""
    config = agent_config(name, **{**PROBE_SETTINGS, **PROBE_SETTINGS_OF.get(name, {})})
    agent, rng = config.build(probe, seed=0, device=CPU, sampling=SamplingConfig()), np.random.default_rng(0)
    env = probe.make_vector_env(TASKS * EPISODES)
    for _ in range(ITERATIONS):
        tasks = probe.sample(TASKS, rng)
        meta_iteration(agent, env, tasks, episodes=EPISODES, horizon=probe.horizon, rng=rng)
    return agent


def adapted(agent: MetaLearner, probe: Probe, episodes: int = 40) -> Actor:
    """Return the policies of the two tasks after one adaptation."""
    env, before = probe.make_vector_env(2 * episodes), agent.initial_actor(2)
    rng = np.random.default_rng(1)
    rollout = collect(env, probe.tasks("test"), before, episodes=episodes, horizon=probe.horizon, rng=rng)
    return agent.adapt(before, rollout)


def choices(actor: Actor) -> torch.Tensor:
    """Return what each of two tasks would do where it sees -1 and where it sees 1, ``[2, 2]``."""
    seen = torch.tensor([[-1.0], [1.0]]).expand(2, 2, 1)
    return tiny.act(actor, seen, None).actions.squeeze(-1)


@EVERY_LEARNER
def test_probe_of_state_and_action_values(name: str) -> None:
    probe = Probe("state")
    after = adapted(train(name, probe), probe)
    error = (choices(after) - torch.tensor([-0.5, 0.5])).square().mean()
    assert error < 0.1  # who does not look at the state has 0.25


@EVERY_LEARNER
def test_probe_of_credit_over_time(name: str) -> None:
    probe = Probe("delay")
    after = adapted(train(name, probe), probe)
    assert (choices(after) - 1.0).square().mean() < 0.3  # who gives no credit stays near 0, and has 1


@EVERY_AGENT
def test_probe_of_the_direction_of_adaptation(name: str) -> None:
    probe = Probe("hidden")
    after = adapted(train(name, probe), probe)
    towards_one, towards_minus_one = choices(after).mean(dim=1)
    assert towards_one - towards_minus_one > 0.3  # before adapting both tasks do the same


TRUST_REGION = [name for name in GRADIENT_BASED if issubclass(registry.agent(name), MAMLTRPOConfig)]


@pytest.mark.parametrize("name", TRUST_REGION)
def test_steps_from_episodes_as_long_as_the_curvature_stride_are_accepted(name: str) -> None:
    suite = PointTasks(horizon=10)
    config = agent_config_for("point", name)
    assert isinstance(config, MAMLTRPOConfig)
    assert config.curvature_stride == suite.horizon
    agent = config.build(suite, seed=1, device=CPU, sampling=SamplingConfig())
    env, rng = suite.make_vector_env(8 * 20), np.random.default_rng(1)
    accepted = [
        meta_iteration(agent, env, suite.sample(8, rng), episodes=20, horizon=suite.horizon, rng=rng).metrics[
            "step_accepted"
        ]
        for _ in range(3)
    ]
    assert accepted == [1.0, 1.0, 1.0]


def rewarded_for_noise(agent: MetaLearner) -> list[Rollout]:
    """Return the rollouts of a meta-iteration in which an action is worth its distance from the likeliest."""
    rng, rollouts = np.random.default_rng(0), list[Rollout]()
    actor = agent.initial_actor(3)
    for step in range(agent.adaptation_steps + 1):
        actor = agent.adapt(actor, rollouts[-1]) if step else actor
        rollout = agent_contract.gather(actor, rng)
        likeliest = tiny.act(actor, rollout.observations.flatten(1, 2), None).actions.view_as(rollout.actions)
        worth = (rollout.actions - likeliest).square().sum(dim=-1) * rollout.mask
        rollouts.append(dataclasses.replace(rollout, rewards=worth))
    return rollouts


@EVERY_AGENT
def test_deviation_below_its_floor_comes_back(name: str) -> None:
    config = agent_config(name, hidden_sizes=(8,), min_std=1.0, initial_std=1.0, discount=0.0)
    agent = config.build(agent_contract.SUITE, seed=0, device=CPU, sampling=SamplingConfig())
    state = agent.state()
    fallen = {"log_std": torch.full_like(state.tensors["log_std"], -0.5)}
    agent.load_state(state._replace(tensors={**state.tensors, **fallen}))
    for _ in range(3):
        agent.update(rewarded_for_noise(agent))
    assert (agent.state().tensors["log_std"] > 0).all()


STATES_TO_SAVE = {"maml-vpg": "maml_vpg:MAMLVPG", "promp": "promp:ProMP"}
"""An agent of each kind of state: what Adam remembers; that, and an adaptive penalty."""


@pytest.mark.parametrize("name", list(STATES_TO_SAVE))
def test_run_killed_during_an_update_equals_the_unbroken_one(name: str, tmp_path: Path) -> None:
    penalty = ["--agent.target-inner-kl", "1e-3"] if name == "promp" else []
    arguments = [*POINT, "--iterations", "5", "--evaluation.every", "0", "--agent", name, *penalty]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    unbroken.mkdir()
    broken.mkdir()
    assert run(unbroken, arguments) == 0, errors(unbroken)
    killed = run(broken, arguments, Trap(f"metarl.agents.{STATES_TO_SAVE[name]}.update", 4))
    assert killed == -signal.SIGKILL
    resume(broken)
    assert outcome(broken) == outcome(unbroken)


@pytest.mark.gpu
@EVERY_AGENT
def test_agent_computes_on_a_gpu_what_it_computes_here(name: str) -> None:
    config = agent_config(name, hidden_sizes=(8,))
    here, there = (
        config.build(agent_contract.SUITE, seed=0, device=torch.device(d), sampling=SamplingConfig())
        for d in ("cpu", "cuda")
    )
    rollouts = agent_contract.meta_batch(here)
    moved = [rollout.to("cuda") for rollout in rollouts]
    one, other = here.update(rollouts), there.update(moved)
    assert one.keys() == other.keys()
    actor = there.adapt(there.initial_actor(3), moved[0])
    assert actor.device.type == "cuda"
    for key, value in here.state().tensors.items():
        assert there.state().tensors[key].device.type == "cuda"
        torch.testing.assert_close(there.state().tensors[key].cpu(), value, rtol=1e-2, atol=1e-3)
