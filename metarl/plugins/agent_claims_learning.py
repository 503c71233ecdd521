"""Claims about learning: updates, states and settings."""

from __future__ import annotations

import json
import math

import torch

from metarl.config import construct
from metarl.errors import MetarlError, Stopped
from metarl.meta_learner import MetaLearner
from metarl.plugins import entry_points, registry
from metarl.plugins.agent_files import file_of
from metarl.plugins.agent_probe import (
    TASKS,
    AgentProbe,
    BrokenPromise,
    OpenQuestion,
    apart,
    copy,
    expect,
    same,
    same_state,
    watched_generators,
)
from metarl.plugins.reopening import PLAIN_SETTINGS
from metarl.settings import settings_of
from metarl.types import Params, State


def updating_changes_the_agent(probe: AgentProbe) -> None:
    """An update changes the agent's state."""
    agent = probe.build()
    before = agent.state()
    probe.update(agent)
    expect(not same_state(agent.state(), before), "the state is the same as before")


def updating_gives_the_same_numbers_again(probe: AgentProbe) -> None:
    """The same state, rollouts and generator give the same update; no global generator is drawn from."""
    agent = probe.build()
    before = agent.state()
    with watched_generators() as drawn:
        metrics = probe.update(agent)
    after = agent.state()
    expect(not drawn, f"updating drew from the global generator of {' and '.join(drawn)}")
    agent.load_state(before)
    expect(probe.update(agent) == metrics, "the metrics are others after going back to the state before")
    expect(same_state(agent.state(), after), "the state is another one after going back to the one before")


def updating_reports_finite_numbers(probe: AgentProbe) -> None:
    """An update returns finite metrics by name."""
    metrics = probe.update(probe.build())
    expect(bool(metrics), "it returned no metrics")
    for name, value in metrics.items():
        finite = type(value) is float and math.isfinite(value)
        expect(finite, f"{name!r} is {value!r}")


def updating_leaves_the_rollouts_alone(probe: AgentProbe) -> None:
    """An update does not change the rollouts that it is given."""
    rollouts = [rollout.map(torch.Tensor.clone) for rollout in probe.rollouts]
    probe.update(probe.build(), rollouts)
    for number, (rollout, before) in enumerate(zip(rollouts, probe.rollouts, strict=True)):
        for name, value in rollout.tensors().items():
            expect(torch.equal(value, before.tensors()[name]), f"{name} of rollout {number} was changed")


def a_stopped_update_leaves_the_agent_as_it_was(probe: AgentProbe) -> None:
    """An update that is asked to stop either ends as usual or raises Stopped and changes nothing."""
    agent = probe.build()
    before = agent.state()
    try:
        agent.update(probe.rollouts, probe.tasks, probe.rng(), lambda: True)
    except Stopped:
        expect(same_state(agent.state(), before), "it raised Stopped, but the state is another one")


def state_is_a_copy(probe: AgentProbe) -> None:
    """A saved state does not change with the agent, nor the agent with it."""
    agent = probe.build()
    saved = agent.state()
    copied = copy(saved.tensors)
    probe.update(agent)
    expect(same(saved.tensors, copied), "an update changed a state that was saved before")
    acted = probe.likeliest(agent.initial_actor(TASKS, probe.rng()))
    for value in agent.state().tensors.values():
        value.fill_(7)
    after = probe.likeliest(agent.initial_actor(TASKS, probe.rng()))
    expect(torch.equal(after, acted), "writing to the tensors of a saved state changed the agent")


def loaded_state_is_not_shared(probe: AgentProbe) -> None:
    """An agent does not change with the tensors that its state was loaded from."""
    agent, saved = probe.build(), probe.build(seed=1).state()
    agent.load_state(saved)
    acted = probe.likeliest(agent.initial_actor(TASKS, probe.rng()))
    for value in saved.tensors.values():
        value.fill_(7)
    after = probe.likeliest(agent.initial_actor(TASKS, probe.rng()))
    expect(torch.equal(after, acted), "writing to the tensors that were loaded changed the agent")


def loaded_agent_goes_on_like_the_saved_one(probe: AgentProbe) -> None:
    """Another agent that loads the state in the middle of training acts, adapts and learns the same."""
    saved, loaded = probe.trained(seed=1), probe.build(seed=2)
    state = saved.state()
    try:
        # a checkpoint keeps these values as JSON, so they must survive it
        values = json.loads(json.dumps(state.values))
    except (TypeError, ValueError) as error:
        raise BrokenPromise(f"the values of its state cannot be written as JSON: {error}") from error
    loaded.load_state(state._replace(values=values))
    one, other = (probe.likeliest(agent.initial_actor(TASKS, probe.rng())) for agent in (saved, loaded))
    expect(torch.equal(one, other), f"it acts differently, {apart(one, other)}")
    # two updates: the second also depends on what the first left in the optimiser
    for number in range(2):
        rollouts = probe.meta_batch(saved, seed=10 * number)
        one, other = (probe.adapted(agent, rollouts[0]) for agent in (saved, loaded))
        expect(torch.equal(one, other), f"it adapts differently, {apart(one, other)}")
        metrics = [probe.update(agent, rollouts, seed=number) for agent in (saved, loaded)]
        expect(metrics[0] == metrics[1], f"the metrics of its update {number + 1} are others")
        equal = same_state(saved.state(), loaded.state())
        expect(equal, f"its state is another one after update {number + 1}")


def state_of_another_architecture_is_refused(probe: AgentProbe) -> None:
    """Loading tensors of other names or shapes raises MetarlError and changes nothing."""
    agent = probe.build()
    before = _state_with_tensors(agent)
    name, value = next(iter(before.tensors.items()))
    row = value if value.ndim else value.reshape(1)
    # another shape, a missing tensor, and one too many
    wider = {**before.tensors, name: torch.cat([row, row])}
    fewer = {other: tensor for other, tensor in before.tensors.items() if other != name}
    _expect_refusal(agent, wider, f"{name!r} of another shape")
    _expect_refusal(agent, fewer, f"no {name!r}")
    _expect_refusal(agent, {**before.tensors, "more": value}, "a tensor more")
    expect(same_state(agent.state(), before), "a state that was refused changed the agent")


def state_of_another_precision_is_refused(probe: AgentProbe) -> None:
    """Tensors of another dtype are refused, unloaded."""
    agent = probe.build()
    before = _state_with_tensors(agent)
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        tensors = {name: value.to(dtype) for name, value in before.tensors.items()}
        _expect_refusal(agent, tensors, f"tensors of {dtype}")
    expect(same_state(agent.state(), before), "a state that was refused changed the agent")


def settings_are_the_same_when_read_from_json(probe: AgentProbe) -> None:
    """The settings can be written as JSON and read again, so that a run can be opened again."""
    config = probe.config
    for name, value in settings_of(config).items():
        expect(_is_json(value), f"{name} is a {type(value).__name__}; {PLAIN_SETTINGS}")
    try:
        again = construct(type(config), json.loads(json.dumps(settings_of(config))))
    except (TypeError, ValueError) as error:
        raise BrokenPromise(f"they cannot: {str(error).rstrip('.')}") from error
    expect(again == config, "they are others when they are read")


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def kind_is_that_of_no_other_agent(probe: AgentProbe) -> None:
    """Results name the agent by its kind, which no other agent has."""
    kind = probe.config.kind
    known = entry_points.names(entry_points.AGENTS)
    another = kind in known and (file_of(probe.config) or type(probe.config) is not registry.agent(kind))
    expect(not another, f"{kind!r} is another one's; give it a kind of its own")


def _expect_refusal(agent: MetaLearner, tensors: Params, what: str) -> None:
    try:
        agent.load_state(agent.state()._replace(tensors=tensors))
    except MetarlError:
        return
    except Exception as error:
        raise BrokenPromise(f"{what} raised {type(error).__name__} instead of MetarlError") from error
    raise BrokenPromise(f"it took {what}")


def _state_with_tensors(agent: MetaLearner) -> State:
    state = agent.state()
    if not state.tensors:
        raise OpenQuestion("its state holds no tensors")
    return state
