"""Claims about memory: what it holds, that nothing else remembers, and that slots are apart."""

from __future__ import annotations

import torch

from metarl.meta_learner import Actor, check_pair
from metarl.plugins.agent_probe import (
    EPISODES,
    TASKS,
    AgentProbe,
    actors_of,
    apart,
    copy,
    expect,
    is_close,
    same,
    steps_of,
)
from metarl.rollouts.collect import keep_idle
from metarl.types import Params

NUMBERS = ("observations", "previous_actions", "previous_rewards")  # inputs that are numbers, not flags


def memory_keeps_its_names_and_shapes(probe: AgentProbe) -> None:
    """Memory has the axes [M, K, ...], and acting returns it with the names, shapes and dtypes it had."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    memory = actor.initial_memory(EPISODES)
    for name, value in memory.items():
        expect(value.shape[:2] == (TASKS, EPISODES), f"{name!r} is {list(value.shape)}")
    chosen = actor.act(probe.random_inputs(0), copy(memory), None)
    check_pair(actor, chosen)
    after = chosen[1]
    expect(after.keys() == memory.keys(), f"{sorted(memory)} became {sorted(after)}")
    for name, value in after.items():
        was, now = (f"{each.dtype} {list(each.shape)}" for each in (memory[name], value))
        expect(was == now, f"{name!r} was {was}, is {now}")
        expect(not value.requires_grad, f"{name!r} requires a gradient; act under torch.no_grad()")


def a_trial_equals_replaying_the_same_steps(probe: AgentProbe) -> None:
    """A policy that is given the inputs of a trial again does again what it did, and remembers the same."""
    agent, before = probe.build(), None
    actors = actors_of(agent, probe)
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
            close = is_close(replayed, recorded)
            expect(close, f"step {step} of rollout {number} gave other actions, {apart(replayed, recorded)}")
            for name, value in action.extras.items():
                recorded = rollout.extras[name][:, :, step][inputs.live]
                close = is_close(value[inputs.live], recorded)
                expect(close, f"step {step} of rollout {number} gave another {name!r}")
        for name, value in memory.items():
            close = is_close(value, rollout.final_memory[name])
            expect(close, f"rollout {number} ended with another memory {name!r}")
        before = rollout if agent.trial == "sequential" else None


def dead_slots_leave_all_others_alone(probe: AgentProbe) -> None:
    """Inputs of slots that are over change neither actions nor memories of the others."""
    actor = _remembering_actor(probe)
    memory, inputs = actor.initial_memory(EPISODES), probe.random_inputs(1)
    # every second slot is over, with blank and then with absurd contents
    inputs.live[:, 1::2] = False
    outcomes = []
    for size in (0.0, 1e3):
        numbers = _spoiled({name: getattr(inputs, name) for name in NUMBERS}, inputs.live, size)
        there = _spoiled(memory, inputs.live, size)
        outcomes.append(actor.act(inputs._replace(**numbers), there, torch.Generator().manual_seed(0)))
    (one, kept), (other, others_kept) = outcomes
    first, second = one.actions[inputs.live], other.actions[inputs.live]
    expect(is_close(first, second), f"actions differ, {apart(first, second)}")
    for name in kept:
        first, second = kept[name][inputs.live], others_kept[name][inputs.live]
        expect(is_close(first, second), f"the memory {name!r} differs, {apart(first, second)}")


def two_rollouts_of_one_actor_are_independent(probe: AgentProbe) -> None:
    """An actor keeps nothing of a rollout: the next one is what it would be without it."""
    actor = probe.build().initial_actor(TASKS, probe.rng())
    first, second = (probe.gather(actor, seed=3) for _ in range(2))
    for name, value in first.tensors().items():
        equal = torch.equal(value, second.tensors()[name])
        expect(equal, f"a second rollout with the same seed has other {name}")


def acting_leaves_the_memory_that_it_is_given(probe: AgentProbe) -> None:
    """Acting returns a new memory and does not change the old one, nor its inputs."""
    actor = _remembering_actor(probe)
    memory, inputs = actor.initial_memory(EPISODES), probe.random_inputs(2)
    before = copy(memory | inputs._asdict())
    actor.act(inputs, memory, torch.Generator().manual_seed(0))
    for name, value in (memory | inputs._asdict()).items():
        expect(torch.equal(value, before[name]), f"{name!r} was changed in place")


def _spoiled(tensors: Params, live: torch.Tensor, size: float) -> Params:
    """Shift floats ``[M, K, ...]`` by ``size`` in slots that are not live, ``[M, K]``."""
    spoiled = dict(tensors)
    for name, value in tensors.items():
        if value.is_floating_point():
            spoiled[name] = torch.where(live.view(*live.shape, *[1] * (value.ndim - 2)), value, value + size)
    return spoiled


def _remembering_actor(probe: AgentProbe) -> Actor:
    """Return the policy after the first adaptation, or before it if there is none."""
    return actors_of(probe.build(), probe)[-1]
