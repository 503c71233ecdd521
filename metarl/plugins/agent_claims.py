"""What every agent promises, as claims that are tried out on a small probe.

Each claim is a function of an :class:`metarl.plugins.agent_probe.AgentProbe`; the first line of its docstring
is the promise. It raises :class:`BrokenPromise` with what was seen instead, or
:class:`OpenQuestion` where the agent does nothing that the claim is about.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import TypeAlias

import torch

from metarl.config import construct
from metarl.errors import MetarlError, Stopped
from metarl.meta_learner import Actor, Inputs, MetaLearner
from metarl.plugins.agent_probe import (
    EPISODES,
    TASKS,
    AgentProbe,
    copy,
    likely,
    same,
    same_state,
    steps_of,
    take_tasks,
    watched_generators,
)
from metarl.rollouts.collect import keep_idle
from metarl.types import Params

DRAWS = 16384
"""Actions that likelihoods are compared with."""


class BrokenPromise(Exception):
    """An agent does not do what it promises; says what was seen, without a full stop."""


class OpenQuestion(Exception):
    """A claim does not apply, or cannot be judged; says why, without a full stop."""


def expect(condition: bool, seen: str) -> None:
    """Raise :class:`BrokenPromise` with what was seen unless a condition holds."""
    if not condition:
        raise BrokenPromise(seen)


# Acting.


def actions_have_the_shapes_of_the_protocol(probe: AgentProbe) -> None:
    """Actions are [M, K, A] and their log densities [M, K], of finite numbers and without a graph."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    action = probe.act(actor, torch.Generator().manual_seed(0), probe.random_inputs(0))
    for name, value, shape in (
        ("actions", action.actions, (TASKS, EPISODES, probe.action_size)),
        ("log_probs", action.log_probs, (TASKS, EPISODES)),
    ):
        expect(tuple(value.shape) == shape, f"{name} are {list(value.shape)} instead of {list(shape)}")
        expect(not value.requires_grad, f"{name} require a gradient; act under torch.no_grad()")
        expect(bool(value.isfinite().all()), f"{name} are not all finite")
    for name, extra in action.extras.items():
        expect(extra.shape[:2] == (TASKS, EPISODES), f"the extra {name!r} is {list(extra.shape)}")


def acting_draws_from_the_generator_alone(probe: AgentProbe) -> None:
    """Actions are the same for the same generator, others for another, and no global one is drawn from."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    with watched_generators() as drawn:
        one, again, other = (
            probe.act(actor, torch.Generator().manual_seed(seed)).actions for seed in (1, 1, 2)
        )
    expect(not drawn, f"acting drew from the global generator of {' and '.join(drawn)}")
    expect(torch.equal(one, again), f"the same generator gave other actions, {_apart(one, again)}")
    expect(not torch.equal(one, other), "another generator gave the same actions, so nothing is explored")


def acting_without_a_generator_has_no_noise(probe: AgentProbe) -> None:
    """Without a generator, the same inputs give the same actions each time."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    one, again = (probe.likeliest(actor) for _ in range(2))
    expect(torch.equal(one, again), f"they differ, {_apart(one, again)}")


def likelihoods_are_those_of_the_actions(probe: AgentProbe) -> None:
    """The log densities are those of the very actions that they come with.

    For any density q, the mean of q(a) / p(a) over actions drawn from p is 1. Of several choices, this holds
    for each one, with q(a) = 1 for it and 0 for the others.
    """
    actor = probe.build().initial_actor(1, probe.rng())
    state = Inputs(*(part[:, :1].expand(1, DRAWS, *part.shape[2:]) for part in probe.random_inputs(3, 1)))
    action = probe.act(actor, torch.Generator().manual_seed(5), state)
    drawn, density = action.actions[0].double(), action.log_probs[0].double().exp()
    if bool((drawn == drawn[:1]).all()):
        raise OpenQuestion("all actions that were drawn in one state are the same")
    for ratios in _chosen_ratios(drawn, density) if _one_hot(drawn) else [_density_ratios(drawn, density)]:
        mean, error = float(ratios.mean()), float(ratios.std()) / math.sqrt(DRAWS)
        expect(
            abs(mean - 1) <= 0.02 + 5 * error,
            f"their densities add up to {1 / mean:.3g} instead of 1, in one state and {DRAWS} draws",
        )


def agent_is_a_function_of_its_seed(probe: AgentProbe) -> None:
    """The same seed builds the same agent, and another seed another one."""
    with watched_generators() as drawn:
        one, again, other = (
            probe.likeliest(probe.build(seed).initial_actor(TASKS, probe.rng())) for seed in (1, 1, 2)
        )
    expect(not drawn, f"building drew from the global generator of {' and '.join(drawn)}")
    expect(torch.equal(one, again), f"two agents of one seed act differently, {_apart(one, again)}")
    expect(not torch.equal(one, other), "agents of different seeds act alike")


# Adapting.


def experience_changes_the_policy(probe: AgentProbe) -> None:
    """What was seen of a task changes what is done in it: by adapting, or by memory."""
    agent = probe.build()
    actor, rollout = agent.initial_actor(TASKS, probe.rng()), probe.rollouts[0]
    before = probe.likeliest(actor)
    if not torch.equal(probe.adapted(agent, rollout), before):
        return
    expect(agent.trial == "sequential", "the adapted policy acts as it did before")
    # the first update may be what makes memory count
    actor, inputs = probe.trained().initial_actor(TASKS, probe.rng()), probe.random_inputs(0)
    blank, _ = actor.act(inputs, actor.initial_memory(EPISODES), None)
    remembering, _ = actor.act(inputs, rollout.final_memory, None)
    unchanged = torch.equal(likely(blank), likely(remembering))
    expect(not unchanged, "neither adapting nor the memory of an episode changes what is done")


def adapting_never_changes_the_agent(probe: AgentProbe) -> None:
    """Adapting leaves the agent's state, and what its new actors do, as they were."""
    agent = probe.build()
    before, unadapted = agent.state(), probe.likeliest(agent.initial_actor(TASKS, probe.rng()))
    probe.adapted(agent, probe.rollouts[0])
    expect(same_state(agent.state(), before), "its state is another one afterwards")
    after = probe.likeliest(agent.initial_actor(TASKS, probe.rng()))
    expect(torch.equal(after, unadapted), f"new actors act differently, {_apart(after, unadapted)}")


def adapting_leaves_the_actor_it_started_from(probe: AgentProbe) -> None:
    """Adapting returns another policy and does not change the one that it is given."""
    agent = probe.build()
    actor = agent.initial_actor(TASKS, probe.rng())
    before = probe.likeliest(actor)
    agent.adapt(actor, probe.rollouts[0], probe.rng())
    after = probe.likeliest(actor)
    expect(torch.equal(after, before), f"that one acts differently afterwards, {_apart(after, before)}")


def adapting_draws_from_the_generator_alone(probe: AgentProbe) -> None:
    """Adapting gives the same policies for the same generator, and draws from no global one."""
    agent, rollout = probe.build(), probe.rollouts[0]
    with watched_generators() as drawn:
        one, again = (probe.adapted(agent, rollout) for _ in range(2))
    expect(not drawn, f"adapting drew from the global generator of {' and '.join(drawn)}")
    expect(torch.equal(one, again), f"the same experience gave other policies, {_apart(one, again)}")


def permuting_tasks_permutes_adapted_policies(probe: AgentProbe) -> None:
    """Tasks in another order give the same policies in that order."""
    agent, order = _adapts_without_noise(probe), [2, 0, 1]
    rollout = probe.rollouts[0]
    permuted, expected = (
        probe.adapted(agent, take_tasks(rollout, order)),
        probe.adapted(agent, rollout)[order],
    )
    expect(_close(permuted, expected), f"they differ, {_apart(permuted, expected)}")


def a_task_adapts_alone_as_among_others(probe: AgentProbe) -> None:
    """A task's adapted policy depends on that task's episodes alone."""
    agent, rollout = _adapts_without_noise(probe), probe.rollouts[0]
    together = probe.adapted(agent, rollout)
    for task in range(TASKS):
        alone = probe.adapted(agent, take_tasks(rollout, [task]))[0]
        close = _close(alone, together[task])
        expect(close, f"task {task} alone adapts differently, {_apart(alone, together[task])}")


# Memory.


def memory_keeps_its_names_and_shapes(probe: AgentProbe) -> None:
    """Memory has the axes [M, K, ...], and acting returns it with the names, shapes and dtypes it had."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    memory = actor.initial_memory(EPISODES)
    for name, value in memory.items():
        expect(value.shape[:2] == (TASKS, EPISODES), f"{name!r} is {list(value.shape)}")
    _, after = actor.act(probe.random_inputs(0), copy(memory), None)
    expect(after.keys() == memory.keys(), f"{sorted(memory)} became {sorted(after)}")
    for name, value in after.items():
        before = memory[name]
        kept = value.shape == before.shape and value.dtype == before.dtype
        expect(
            kept, f"{name!r} was {before.dtype} {list(before.shape)}, is {value.dtype} {list(value.shape)}"
        )
        expect(not value.requires_grad, f"{name!r} requires a gradient; act under torch.no_grad()")


def a_trial_equals_replaying_the_same_steps(probe: AgentProbe) -> None:
    """A policy that is given the inputs of a trial again does again what it did, and remembers the same."""
    agent, before = probe.build(), None
    actors = _actors(agent, probe)
    for number, (actor, rollout) in enumerate(zip(actors, probe.rollouts, strict=True)):
        # whatever an actor was asked before must not matter
        actor.act(probe.random_inputs(9), actor.initial_memory(EPISODES), torch.Generator().manual_seed(9))
        memory = actor.initial_memory(EPISODES) if before is None else before.final_memory
        expect(same(memory, rollout.initial_memory), f"rollout {number} began with another memory")
        # the first number of a rollout's generator seeds the noise of its actions
        generator = torch.Generator().manual_seed(int(probe.rng(number).integers(2**63)))
        for inputs, step in steps_of(rollout, before):
            action, new = actor.act(inputs, memory, generator)
            memory = keep_idle(memory, new, inputs.live)
            replayed, recorded = action.actions[inputs.live], rollout.actions[:, :, step][inputs.live]
            close = _close(replayed, recorded)
            expect(close, f"step {step} of rollout {number} gave other actions, {_apart(replayed, recorded)}")
            for name, value in action.extras.items():
                told = rollout.extras[name][:, :, step][inputs.live]
                close = _close(value[inputs.live], told)
                expect(close, f"step {step} of rollout {number} gave another {name!r}")
        for name, value in memory.items():
            close = _close(value, rollout.final_memory[name])
            expect(close, f"rollout {number} ended with another memory {name!r}")
        before = rollout if agent.trial == "sequential" else None


def dead_slots_leave_all_others_alone(probe: AgentProbe) -> None:
    """What is seen in slots that are over changes neither actions nor memories of the others."""
    actor = _remembering_actor(probe)
    memory, inputs = actor.initial_memory(EPISODES), probe.random_inputs(1)
    inputs.live[:, 1::2] = False
    outcomes = []
    for size in (0.0, 1e3):
        there = {name: _where(inputs.live, value, _shifted(value, size)) for name, value in memory.items()}
        seen = inputs._replace(
            **{
                name: _where(inputs.live, value, _shifted(value, size))
                for name, value in _read(inputs).items()
            }
        )
        outcomes.append(actor.act(seen, there, torch.Generator().manual_seed(0)))
    (one, kept), (other, others_kept) = outcomes
    first, second = one.actions[inputs.live], other.actions[inputs.live]
    expect(_close(first, second), f"actions differ, {_apart(first, second)}")
    for name in kept:
        first, second = kept[name][inputs.live], others_kept[name][inputs.live]
        expect(_close(first, second), f"the memory {name!r} differs, {_apart(first, second)}")


def two_rollouts_of_one_actor_are_independent(probe: AgentProbe) -> None:
    """An actor keeps nothing of a rollout: the next one is what it would be without it."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    first, second = (probe.gather(actor, seed=3) for _ in range(2))
    for name, value in first.tensors().items():
        expect(
            torch.equal(value, second.tensors()[name]),
            f"a second rollout with the same seed has other {name}",
        )


def acting_leaves_the_memory_that_it_is_given(probe: AgentProbe) -> None:
    """Acting returns a new memory and does not change the old one, nor its inputs."""
    actor = _remembering_actor(probe)
    memory, inputs = actor.initial_memory(EPISODES), probe.random_inputs(2)
    before = copy(memory | inputs._asdict())
    actor.act(inputs, memory, torch.Generator().manual_seed(0))
    for name, value in (memory | inputs._asdict()).items():
        expect(torch.equal(value, before[name]), f"{name!r} was changed in place")


# Updating.


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
    """An update returns metrics by name, each a finite float."""
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


# State.


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
        values = json.loads(json.dumps(state.values))
    except (TypeError, ValueError) as error:
        raise BrokenPromise(f"the values of its state cannot be written as JSON: {error}") from error
    loaded.load_state(state._replace(values=values))
    one, other = (probe.likeliest(agent.initial_actor(TASKS, probe.rng())) for agent in (saved, loaded))
    expect(torch.equal(one, other), f"it acts differently, {_apart(one, other)}")
    for number in range(2):
        rollouts = probe.meta_batch(saved, seed=10 * number)
        one, other = (probe.adapted(agent, rollouts[0]) for agent in (saved, loaded))
        expect(torch.equal(one, other), f"it adapts differently, {_apart(one, other)}")
        metrics = [probe.update(agent, rollouts, seed=number) for agent in (saved, loaded)]
        expect(metrics[0] == metrics[1], f"the metrics of its update {number + 1} are others")
        expect(
            same_state(saved.state(), loaded.state()), f"its state is another one after update {number + 1}"
        )


def state_of_another_architecture_is_refused(probe: AgentProbe) -> None:
    """Loading tensors of other names or shapes raises MetarlError and changes nothing."""
    agent = probe.build()
    before = agent.state()
    name, value = next(iter(before.tensors.items()))
    row = value if value.ndim else value.reshape(1)
    wider = {**before.tensors, name: torch.cat([row, row])}
    fewer = {other: tensor for other, tensor in before.tensors.items() if other != name}
    for what, tensors in (
        (f"{name!r} of another shape", wider),
        (f"no {name!r}", fewer),
        ("a tensor more", {**before.tensors, "more": value}),
    ):
        _expect_refusal(agent, tensors, what)
    expect(same_state(agent.state(), before), "a state that was refused changed the agent")


def state_of_another_precision_is_refused(probe: AgentProbe) -> None:
    """Loading tensors of another dtype raises MetarlError and changes nothing."""
    agent = probe.build()
    before = agent.state()
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        tensors = {name: value.to(dtype) for name, value in before.tensors.items()}
        _expect_refusal(agent, tensors, f"tensors of {dtype}")
    expect(same_state(agent.state(), before), "a state that was refused changed the agent")


# Settings.


def settings_are_the_same_when_read_from_json(probe: AgentProbe) -> None:
    """The settings can be written as JSON and read again, so that a run can be opened again."""
    config = probe.config
    plain = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    try:
        again = construct(type(config), json.loads(json.dumps(plain)))
    except (TypeError, ValueError) as error:
        raise BrokenPromise(f"they cannot: {str(error).rstrip('.')}") from error
    expect(again == config, "they are others when they are read")


Claim: TypeAlias = Callable[[AgentProbe], None]

CLAIMS: tuple[Claim, ...] = (
    actions_have_the_shapes_of_the_protocol,
    acting_draws_from_the_generator_alone,
    acting_without_a_generator_has_no_noise,
    likelihoods_are_those_of_the_actions,
    agent_is_a_function_of_its_seed,
    experience_changes_the_policy,
    adapting_never_changes_the_agent,
    adapting_leaves_the_actor_it_started_from,
    adapting_draws_from_the_generator_alone,
    permuting_tasks_permutes_adapted_policies,
    a_task_adapts_alone_as_among_others,
    memory_keeps_its_names_and_shapes,
    a_trial_equals_replaying_the_same_steps,
    dead_slots_leave_all_others_alone,
    two_rollouts_of_one_actor_are_independent,
    acting_leaves_the_memory_that_it_is_given,
    updating_changes_the_agent,
    updating_gives_the_same_numbers_again,
    updating_reports_finite_numbers,
    updating_leaves_the_rollouts_alone,
    a_stopped_update_leaves_the_agent_as_it_was,
    state_is_a_copy,
    loaded_state_is_not_shared,
    loaded_agent_goes_on_like_the_saved_one,
    state_of_another_architecture_is_refused,
    state_of_another_precision_is_refused,
    settings_are_the_same_when_read_from_json,
)


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether numbers are the same but for the order in which they were summed."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def _apart(one: torch.Tensor, other: torch.Tensor) -> str:
    """Say by how much two tensors differ."""
    if one.shape != other.shape:
        return f"{list(one.shape)} and {list(other.shape)}"
    return f"by up to {float((one.double() - other.double()).abs().max()):.2g}"


def _read(inputs: Inputs) -> Params:
    """Return the inputs that are numbers."""
    return {
        "observations": inputs.observations,
        "previous_actions": inputs.previous_actions,
        "previous_rewards": inputs.previous_rewards,
    }


def _shifted(value: torch.Tensor, size: float) -> torch.Tensor:
    """Return other numbers, and flags as they are."""
    return value + size if value.is_floating_point() else value


def _where(live: torch.Tensor, there: torch.Tensor, elsewhere: torch.Tensor) -> torch.Tensor:
    """Choose by slot, ``[M, K]``, between tensors ``[M, K, ...]``."""
    return torch.where(live.view(*live.shape, *[1] * (there.ndim - 2)), there, elsewhere)


def _one_hot(drawn: torch.Tensor) -> bool:
    return bool(((drawn == 0) | (drawn == 1)).all() and (drawn.sum(dim=-1) == 1).all())


def _chosen_ratios(drawn: torch.Tensor, density: torch.Tensor) -> list[torch.Tensor]:
    """Return 1 / p(a) where a choice was made and 0 elsewhere, ``[N]`` for each choice that was made."""
    return [choice / density for choice in drawn.T if choice.any()]


def _density_ratios(drawn: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """Return q(a) / p(a), ``[N]``, for a narrower Gaussian q that is cut off where no action was drawn."""
    mean, std = drawn.mean(dim=0), 0.7 * drawn.std(dim=0)
    gaussian = torch.distributions.Normal(mean, std.clamp(min=1e-12))
    inside = gaussian.cdf(drawn.amax(dim=0)) - gaussian.cdf(drawn.amin(dim=0))
    log_q = gaussian.log_prob(drawn) - inside.log()
    ratios: torch.Tensor = log_q.sum(dim=-1).exp() / density
    return ratios


def _actors(agent: MetaLearner, probe: AgentProbe) -> list[Actor]:
    """Return the policies that collect a meta-batch, as :meth:`AgentProbe.meta_batch` makes them."""
    actors = [agent.initial_actor(TASKS, probe.rng())]
    for rollout in probe.rollouts[:-1]:
        actors.append(agent.adapt(actors[-1], rollout, probe.rng()))
    return actors


def _remembering_actor(probe: AgentProbe) -> Actor:
    """Return the policy after the first adaptation, or before it if there is none."""
    agent = probe.build()
    return _actors(agent, probe)[-1]


def _adapts_without_noise(probe: AgentProbe) -> MetaLearner:
    agent, rollout = probe.build(), probe.rollouts[0]
    if not torch.equal(*(probe.adapted(agent, rollout, seed) for seed in (0, 1))):
        raise OpenQuestion("adapting draws random numbers, which other tasks change")
    return agent


def _expect_refusal(agent: MetaLearner, tensors: Params, what: str) -> None:
    """Expect a state with these tensors to be refused."""
    try:
        agent.load_state(agent.state()._replace(tensors=tensors))
    except MetarlError:
        return
    except Exception as error:
        raise BrokenPromise(f"{what} raised {type(error).__name__} instead of MetarlError") from error
    raise BrokenPromise(f"{what} was taken")
