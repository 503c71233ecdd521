"""The protocol of all agents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
import torch

from metarl.errors import AgentFormError
from metarl.text import shown
from metarl.types import Params, Rollout, Segment, State, Task

Trial: TypeAlias = Literal["parallel", "sequential"]
"""How the K episodes of a task relate.

``"parallel"``: they are K samples of one policy, and feed one adaptation together (gradient agents).
``"sequential"``: each slot is a trial of its own, in which episodes follow one another and memory is kept
(Duan et al. 2016, section 2.2); one adaptation is one more episode.
"""

NO_EXTRAS: Mapping[str, torch.Tensor] = MappingProxyType({})


class Inputs(NamedTuple):
    """Policy inputs at one step, M tasks."""

    observations: torch.Tensor
    """``[M, K, O]``."""
    previous_actions: torch.Tensor
    """``[M, K, A]``, zero at a trial's start."""
    previous_rewards: torch.Tensor
    """``[M, K]``, likewise."""
    episode_starts: torch.Tensor
    """``[M, K]`` bool, true before an episode's first step."""
    live: torch.Tensor
    """``[M, K]`` bool, false for ended episodes; what is chosen there is not used."""


def inputs_at_start(observations: torch.Tensor, action_size: int) -> Inputs:
    """Return a trial's first inputs."""
    shape = observations.shape[:2]
    starts = torch.ones(shape, dtype=torch.bool, device=observations.device)
    actions, rewards = observations.new_zeros(*shape, action_size), observations.new_zeros(shape)
    # a copy, as callers may end slots by writing to ``live``
    return Inputs(observations, actions, rewards, episode_starts=starts, live=starts.clone())


class Action(NamedTuple):
    """A policy's choice at one step."""

    actions: torch.Tensor
    """``[M, K, A]``."""
    log_probs: torch.Tensor
    """``[M, K]``, log density of the actions."""
    extras: Mapping[str, torch.Tensor] = NO_EXTRAS
    """``[M, K, ...]`` by name, kept in ``Rollout.extras``: a value, a latent."""


class Actor(Protocol):
    """Policy for each of M tasks."""

    @property
    def device(self) -> torch.device:
        """Where inputs are expected and actions are returned."""

    def initial_memory(self, episodes: int) -> Params:
        """Return first memory, ``[M, K, ...]`` by name; may be empty."""

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Choose actions.

        Args:
            inputs: what is seen before this step.
            memory: as :meth:`initial_memory` or the last call returned it.
            generator: where the noise is drawn from, on :attr:`device`; None takes the most likely action.

        Returns:
            The actions and the new memory. Where ``inputs.live`` is false the caller keeps the old one.
        """


def act_at_start(actor: Actor, inputs: Inputs, generator: torch.Generator | None) -> Action:
    """Choose the actions of a trial's first step."""
    chosen = actor.act(inputs, actor.initial_memory(inputs.observations.shape[1]), generator)
    check_pair(actor, chosen)
    return chosen[0]


def check_pair(actor: Actor, chosen: object) -> None:
    """Check that ``act`` returned an action and a memory, or raise AgentFormError."""
    if not (isinstance(chosen, tuple) and len(chosen) == 2):
        came = {Action: "an Action alone", type(None): "None"}.get(type(chosen), f"a {type(chosen).__name__}")
        where = f"act of {type(actor).__qualname__}"
        raise AgentFormError(f"Expected {where} to return an Action and the new memory, got {came}.")


def never() -> bool:
    """Return False: nobody asked to stop."""
    return False


class MetaLearner(Protocol):
    """Agent that learns to adapt to tasks.

    A meta-iteration: ``actor = initial_actor(M, rng)``, or that of :class:`KnowsTasks`; then
    ``adaptation_steps`` times, collect a rollout with the actor and ``actor = adapt(actor, rollout, rng)``;
    collect a last rollout; ``update``.
    Adapting never changes the agent: only ``update`` and ``load_state`` do.
    """

    @property
    def adaptation_steps(self) -> int:
        """Adaptations in one meta-iteration."""

    @property
    def trial(self) -> Trial:
        """How the episodes of a task relate."""

    @property
    def device(self) -> torch.device:
        """Where the agent computes."""

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> Actor:
        """Return the policy before any experience."""

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> Actor:
        """Return the policy adapted to ``actor``'s rollouts."""

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Learn from one meta-batch.

        Args:
            rollouts: ``adaptation_steps + 1`` of the same tasks, the last by the fully adapted policy.
                None at all in a further update of a :class:`Plan`.
            tasks: the M tasks of the rollouts.
            rng: where minibatches and noise come from.
            should_stop: whether the run was asked to stop. A long update asks every second and raises
                :class:`metarl.errors.Stopped`; :func:`metarl.system.threads.parallel_map` does so by itself.
        """

    def state(self) -> State:
        """Copy everything that later updates depend on."""

    def load_state(self, state: State) -> None:
        """Go on from ``state``; MetarlError if it belongs to another architecture."""


def check_learner(agent: MetaLearner) -> None:
    """Check an agent's kind of trial and number of steps, or raise AgentFormError."""
    kinds, name = get_args(Trial), type(agent).__qualname__
    steps: object = agent.adaptation_steps
    if agent.trial not in kinds:
        said = " or ".join(map(repr, kinds))
        raise AgentFormError(f"Expected trial of {name} to be {said}, got {agent.trial!r}.")
    if not isinstance(steps, int) or steps < 0:
        raise AgentFormError(f"Expected adaptation_steps of {name} to be an int >= 0, got {steps!r}.")
    if hasattr(agent, "plan") and not isinstance(agent, Scheduled):
        raise AgentFormError(f"Expected {name}, which has a plan, to have remember too; see Scheduled.")


def steps_to_adapt(agent: MetaLearner) -> int:
    """Return the adaptation steps on a new task: as many as training has.

    Of an agent that adapts by steps one at least, though training may have none; what a memory does after
    the trial that it was trained on says nothing.
    """
    steps = agent.adaptation_steps
    return steps if agent.trial == "sequential" else max(1, steps)


def check_device(agent: MetaLearner, device: torch.device) -> None:
    """Check that an agent computes where it was built, or raise AgentFormError."""
    said: object = agent.device
    try:
        kind = torch.device(said).type if isinstance(said, str | torch.device) else ""
    except RuntimeError:  # PyTorch knows no such device
        kind = ""
    if kind != device.type:
        raise AgentFormError(
            f"Expected device of {type(agent).__qualname__} to be the one that it was built for, "
            f"{device}, got {said}."
        )


def state_of(agent: MetaLearner) -> State:
    """Return an agent's state; AgentFormError unless a checkpoint can hold and return it."""
    state: object = agent.state()
    where = f"state of {type(agent).__qualname__}"
    if not isinstance(state, State):
        raise AgentFormError(
            f"Expected {where} to return a metarl.types.State, got a {type(state).__name__}."
        )
    wrong = _unsaved_part(*state)
    if wrong:
        raise AgentFormError(f"Expected {where} to return a State that can be saved: {wrong}.")
    return state


def _unsaved_part(tensors: object, values: object, segments: object) -> str:
    """Return what of a state a checkpoint could not hold, as "tensors as ..., got ...", or nothing."""
    if not isinstance(tensors, Mapping):
        return f"tensors as a dict of tensors by name, got {shown(tensors)}"
    for name, value in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":  # a word of the safetensors format
            return f"tensors as a dict of tensors by name, got the name {shown(name)}"
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            kind = value.layout if isinstance(value, torch.Tensor) else type(value).__name__
            return f"the tensor {shown(name)} as a dense torch.Tensor, got {kind}"
    if not isinstance(values, dict):
        return f"values as a dict that JSON can hold, got {shown(values)}"
    if not isinstance(segments, tuple) or not all(isinstance(each, Segment) for each in segments):
        return f"segments as a tuple of metarl.types.Segment, got {shown(segments)}"
    return _outside_json(values, "values")


def _outside_json(value: object, place: str) -> str:
    """Return which part of a value JSON would refuse or change, or nothing."""
    if isinstance(value, dict):
        odd = next((name for name in value if not isinstance(name, str)), None)
        if odd is not None:
            return f"{place} with names that are strings, got the name {shown(odd)}"
        parts = [_outside_json(part, f"{place}[{shown(name)}]") for name, part in value.items()]
        return next(filter(None, parts), "")
    if isinstance(value, list | tuple):
        parts = [_outside_json(part, f"{place}[{number}]") for number, part in enumerate(value)]
        return next(filter(None, parts), "")
    if isinstance(value, float) and not math.isfinite(value):
        return f"{place} as a finite number, got {value}"
    if value is None or isinstance(value, str | bool | int | float):
        return ""
    return f"{place} as JSON can hold it, got {shown(value)}"


@runtime_checkable
class KnowsTasks(Protocol):
    """A :class:`MetaLearner` that gets the tasks it trains on, as experts for one family each do.

    It never gets held-out tasks: there, all begin with :meth:`MetaLearner.initial_actor`.
    """

    def training_actor(self, tasks: Sequence[Task], rng: np.random.Generator) -> Actor:
        """Return the policy that trains on these tasks, before any experience."""


def actor_in_training(agent: MetaLearner, tasks: Sequence[Task], rng: np.random.Generator) -> Actor:
    """Return the first policy of a meta-iteration."""
    if isinstance(agent, KnowsTasks):
        return agent.training_actor(tasks, rng)
    return agent.initial_actor(len(tasks), rng)


Collects: TypeAlias = Literal["meta-batch", "all tasks", "nothing"]


class Plan(NamedTuple):
    """Steps of one meta-iteration; by default one meta-batch and one update."""

    collects: Collects = "meta-batch"
    """Tasks that episodes are collected on; "all tasks" are those of ``--sampling.training-tasks``."""
    adaptation_steps: int | None = None
    """Adaptations, each followed by a rollout; None for as many as the agent has."""
    learns: bool = True
    """Whether the episodes are for ``update``; they are for ``remember`` otherwise."""
    further_updates: int = 0
    """Calls of ``update`` without rollouts that follow."""

    @property
    def updates(self) -> int:
        """Calls of ``update`` in all."""
        return int(self.learns and self.collects != "nothing") + self.further_updates


@runtime_checkable
class Scheduled(Protocol):
    """A :class:`MetaLearner` with meta-iterations that differ.

    Off-policy agents first fill a buffer, or learn several times from what they have.
    """

    def plan(self, iteration: int) -> Plan:
        """Return the plan of a meta-iteration, a function of its number from 0."""

    def remember(self, rollouts: Sequence[Rollout], tasks: Sequence[Task]) -> None:
        """Keep episodes to learn from later; see :meth:`MetaLearner.update`."""


def plan_of(agent: MetaLearner, iteration: int) -> Plan:
    """Return an agent's plan, or the default; AgentFormError if it is none that can be followed."""
    if not isinstance(agent, Scheduled):
        return Plan()
    plan: object = agent.plan(iteration)
    where = f"plan of {type(agent).__qualname__}"
    if not isinstance(plan, Plan):
        raise AgentFormError(f"Expected {where} to return a metarl.meta_learner.Plan, got {shown(plan)}.")
    if plan.collects not in get_args(Collects):
        said = ", ".join(map(repr, get_args(Collects)))
        raise AgentFormError(f"Expected {where} to say collects as one of {said}, got {plan.collects!r}.")
    steps: object = 0 if plan.adaptation_steps is None else plan.adaptation_steps
    updates: object = plan.further_updates
    for name, number in (("adaptation_steps", steps), ("further_updates", updates)):
        if not isinstance(number, int) or number < 0:
            raise AgentFormError(f"Expected {where} to say {name} as an int >= 0, got {number!r}.")
    if plan.collects == "nothing" and plan.updates == 0:
        raise AgentFormError(
            f"Expected {where} to collect episodes or to update in each iteration, got neither in "
            f"{iteration}: collects='nothing' needs further_updates."
        )
    return plan
