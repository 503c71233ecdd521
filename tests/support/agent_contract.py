"""What every agent promises: claims that each agent's tests run on a config and on the point suite."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from metarl.config import AgentConfig, SamplingConfig
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.meta_learner import Actor, MetaLearner, never
from metarl.rollouts.collect import collect
from metarl.types import Rollout, State, Task
from support import tiny

SUITE = PointTasks(horizon=8, terminate_at_goal=True)
TASKS = SUITE.tasks("test")[:3]
EPISODES = 4
CPU = torch.device("cpu")


def build(config: AgentConfig, seed: int = 0) -> MetaLearner:
    return config.build(SUITE, seed=seed, device=CPU, sampling=SamplingConfig())


def rng() -> np.random.Generator:
    """Return the random numbers of a claim, the same each time."""
    return np.random.default_rng(0)


def update(agent: MetaLearner, rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Let an agent learn from a meta-batch of the tasks."""
    return agent.update(rollouts, TASKS, rng(), never)


def gather(
    actor: Actor, rng: np.random.Generator, tasks: Sequence[Task] = TASKS, after: Rollout | None = None
) -> Rollout:
    """Collect episodes of the point suite."""
    env = SUITE.make_vector_env(len(tasks) * EPISODES)
    return collect(env, tasks, actor, episodes=EPISODES, horizon=SUITE.horizon, rng=rng, after=after)


def meta_batch(agent: MetaLearner, seed: int = 0, tasks: Sequence[Task] = TASKS) -> list[Rollout]:
    """Collect the rollouts of one meta-iteration."""
    draws = np.random.default_rng(seed)
    actor = agent.initial_actor(len(tasks), rng())
    rollouts = [gather(actor, draws, tasks)]
    for _ in range(agent.adaptation_steps):
        actor = agent.adapt(actor, rollouts[-1], rng())
        after = rollouts[-1] if agent.trial == "sequential" else None
        rollouts.append(gather(actor, draws, tasks, after))
    return rollouts


def likeliest(actor: Actor, num_tasks: int = len(TASKS)) -> torch.Tensor:
    """Return what an actor would do, without noise, in a few states of each task."""
    states = torch.linspace(-0.5, 0.5, 10).reshape(1, 5, 2).expand(num_tasks, 5, 2)
    return tiny.act(actor, states, None).actions


def adapted(agent: MetaLearner, rollout: Rollout) -> torch.Tensor:
    num_tasks = rollout.mask.shape[0]
    return likeliest(agent.adapt(agent.initial_actor(num_tasks, rng()), rollout, rng()), num_tasks)


def same_state(one: State, other: State) -> bool:
    tensors = one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(value, other.tensors[name]) for name, value in one.tensors.items()
    )
    return tensors and one.values == other.values


def actions_have_the_shapes_of_the_protocol(config: AgentConfig) -> None:
    actor = build(config).initial_actor(3, rng())
    action = tiny.act(actor, torch.zeros(3, 5, 2), torch.Generator().manual_seed(0))
    assert action.actions.shape == (3, 5, 2)
    assert action.log_probs.shape == (3, 5)
    assert not action.actions.requires_grad
    assert not action.log_probs.requires_grad


def acting_draws_from_the_generator_alone(config: AgentConfig) -> None:
    actor, before = build(config).initial_actor(3, rng()), torch.get_rng_state()
    one, again, other = (
        tiny.act(actor, torch.zeros(3, 5, 2), torch.Generator().manual_seed(seed)).actions
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def acting_without_a_generator_has_no_noise(config: AgentConfig) -> None:
    assert torch.equal(*(likeliest(build(config).initial_actor(3, rng())) for _ in range(2)))


def agent_is_a_function_of_its_seed(config: AgentConfig) -> None:
    one, again, other = (likeliest(build(config, seed).initial_actor(3, rng())) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def adapting_changes_the_policy_and_not_the_agent(config: AgentConfig) -> None:
    agent = build(config)
    before, unadapted = agent.state(), likeliest(agent.initial_actor(3, rng()))
    rollout = meta_batch(agent)[0]
    assert not torch.equal(adapted(agent, rollout), unadapted)
    assert same_state(agent.state(), before)
    assert torch.equal(likeliest(agent.initial_actor(3, rng())), unadapted)


def adapting_leaves_the_actor_it_started_from(config: AgentConfig) -> None:
    agent = build(config)
    actor = agent.initial_actor(3, rng())
    before = likeliest(actor)
    agent.adapt(actor, gather(actor, rng()), rng())
    assert torch.equal(likeliest(actor), before)


def permuting_tasks_permutes_adapted_policies(config: AgentConfig) -> None:
    agent, order = build(config), [2, 0, 1]
    rollout = meta_batch(agent)[0]
    permuted = adapted(agent, tiny.take_tasks(rollout, order))
    torch.testing.assert_close(permuted, adapted(agent, rollout)[order], rtol=1e-4, atol=1e-6)


def a_task_adapts_alone_as_among_others(config: AgentConfig) -> None:
    agent = build(config)
    rollout = meta_batch(agent)[0]
    together = adapted(agent, rollout)
    for task in range(3):
        alone = adapted(agent, tiny.take_tasks(rollout, [task]))
        torch.testing.assert_close(alone[0], together[task], rtol=1e-4, atol=1e-6)


def updating_changes_the_agent(config: AgentConfig) -> None:
    agent = build(config)
    before = agent.state()
    update(agent, meta_batch(agent))
    assert not same_state(agent.state(), before)


def updating_gives_the_same_numbers_again(config: AgentConfig) -> None:
    agent = build(config)
    before, rollouts = agent.state(), meta_batch(agent)
    metrics, after = update(agent, rollouts), agent.state()
    agent.load_state(before)
    assert update(agent, rollouts) == metrics
    assert same_state(agent.state(), after)


def updating_reports_finite_numbers(config: AgentConfig) -> None:
    agent = build(config)
    metrics = update(agent, meta_batch(agent))
    assert metrics
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())


def updating_leaves_the_rollouts_alone(config: AgentConfig) -> None:
    agent = build(config)
    rollouts = meta_batch(agent)
    copies = [{name: value.clone() for name, value in rollout.tensors().items()} for rollout in rollouts]
    update(agent, rollouts)
    for rollout, copied in zip(rollouts, copies, strict=True):
        assert all(torch.equal(value, copied[name]) for name, value in rollout.tensors().items())


def state_is_a_copy(config: AgentConfig) -> None:
    agent = build(config)
    saved = agent.state()
    copied = {name: value.clone() for name, value in saved.tensors.items()}
    update(agent, meta_batch(agent))
    assert all(torch.equal(saved.tensors[name], value) for name, value in copied.items())
    acted = likeliest(agent.initial_actor(3, rng()))
    for value in agent.state().tensors.values():
        value.fill_(7.0)
    assert torch.equal(likeliest(agent.initial_actor(3, rng())), acted)


def loaded_state_is_not_shared(config: AgentConfig) -> None:
    agent, saved = build(config), build(config, seed=1).state()
    agent.load_state(saved)
    acted = likeliest(agent.initial_actor(3, rng()))
    for value in saved.tensors.values():
        value.fill_(7.0)
    assert torch.equal(likeliest(agent.initial_actor(3, rng())), acted)


def loaded_agent_goes_on_like_the_saved_one(config: AgentConfig) -> None:
    saved, loaded = build(config, seed=1), build(config, seed=2)
    update(saved, meta_batch(saved))
    state = saved.state()
    loaded.load_state(state._replace(values=json.loads(json.dumps(state.values))))
    assert torch.equal(likeliest(loaded.initial_actor(3, rng())), likeliest(saved.initial_actor(3, rng())))
    rollouts = meta_batch(saved)
    assert torch.equal(adapted(loaded, rollouts[0]), adapted(saved, rollouts[0]))
    assert update(loaded, rollouts) == update(saved, rollouts)
    assert same_state(loaded.state(), saved.state())


def state_of_another_architecture_is_refused(config: AgentConfig) -> None:
    agent = build(config)
    before = agent.state()
    name, value = next(iter(before.tensors.items()))
    wider = {**before.tensors, name: torch.cat([value, value])}
    fewer = {other: tensor for other, tensor in before.tensors.items() if other != name}
    for tensors in (wider, fewer, {**before.tensors, "more": value}):
        with pytest.raises(MetarlError):
            agent.load_state(before._replace(tensors=tensors))
    assert same_state(agent.state(), before)


def state_of_another_precision_is_refused(config: AgentConfig) -> None:
    agent = build(config)
    before = agent.state()
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        tensors = {name: value.to(dtype) for name, value in before.tensors.items()}
        with pytest.raises(MetarlError, match=rf"must be torch\.float\d\d.*but it is {dtype}\.$"):
            agent.load_state(before._replace(tensors=tensors))
    assert same_state(agent.state(), before)


AGENT_CLAIMS: tuple[Callable[[AgentConfig], None], ...] = (
    actions_have_the_shapes_of_the_protocol,
    acting_draws_from_the_generator_alone,
    acting_without_a_generator_has_no_noise,
    agent_is_a_function_of_its_seed,
    adapting_changes_the_policy_and_not_the_agent,
    adapting_leaves_the_actor_it_started_from,
    permuting_tasks_permutes_adapted_policies,
    a_task_adapts_alone_as_among_others,
    updating_changes_the_agent,
    updating_gives_the_same_numbers_again,
    updating_reports_finite_numbers,
    updating_leaves_the_rollouts_alone,
    state_is_a_copy,
    loaded_state_is_not_shared,
    loaded_agent_goes_on_like_the_saved_one,
    state_of_another_architecture_is_refused,
    state_of_another_precision_is_refused,
)
