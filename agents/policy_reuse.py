"""Policy reuse: one expert for each training family; a new task keeps the expert that earns most.

Source: Fernández and Veloso 2006, "Probabilistic policy reuse in a reinforcement learning agent" (AAMAS),
and Rosman, Hawasly and Ramamoorthy 2016 (arXiv 1505.00284), who choose from a library of policies by the
returns of few episodes. Here each expert is a recurrent policy of :mod:`metarl.agents.rl2`, so within an
episode its memory adapts to the goal; between episodes the agent finds out which expert to use. It explores,
then commits (Lattimore and Szepesvári 2020, "Bandit Algorithms", chapter 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar

import gymnasium
import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from metarl.agents.rl2 import RL2, RL2Config
from metarl.config import SamplingConfig
from metarl.errors import MetarlError, Stopped, require
from metarl.learning.recurrent_actor import RecurrentActor
from metarl.learning.reusing_actor import Earned, KeepBy, ReusingActor
from metarl.meta_learner import Actor, MetaLearner, Trial
from metarl.spaces import one_line
from metarl.tasks import TaskDistribution
from metarl.types import Json, Rollout, State, Task

LOG_STD = "log_std"  # name of a policy's logarithms of deviations


@dataclass(frozen=True, kw_only=True)
class PolicyReuseConfig(RL2Config):
    """Policy reuse: experts for the training families, the best of which a new task keeps.

    Trains each expert by RL² on the tasks of its family, in trials of one episode. Adapting plays every
    expert and keeps the one that earns most.
    """

    kind: ClassVar[str] = "policy-reuse"
    source: ClassVar[str] = "Fernández and Veloso 2006; Rosman et al. 2016, arXiv 1505.00284"
    trial: ClassVar[Trial] = "parallel"

    experts_per_family: Annotated[int, Ge(1), Le(100)] = 2
    """Experts of each training family, which share its tasks."""
    spreads: tuple[Annotated[float, Gt(0), Le(1000)], ...] = (1.0,)
    """A new task tries each expert once with each of these factors of its deviation; training has 1."""
    tries: Annotated[int, Ge(0), Le(100_000)] = 0
    """Experts, or experts at a spread, that a new task tries before it keeps one; 0 tries all."""
    keep_by: KeepBy = "return"
    """A new task keeps the expert of the highest mean "return", or "largest-reward" of a single step."""
    hold_at: Annotated[float, Gt(0), Le(1)] | None = None
    """An adapted policy holds still, action 0, while a step earns this share of its largest reward."""
    trial_episodes: Annotated[int, Ge(1), Le(1)] = 1
    """Episodes of an expert's trial, always 1."""
    library: tuple[str, ...] = ()
    """Each expert's family, of a library that is a choice of experts; empty for the same number of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        distinct = len(set(self.spreads)) == len(self.spreads)
        require(
            distinct and 1.0 in self.spreads, "spreads must be different factors, 1 among them", self.spreads
        )

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> MetaLearner:
        """Return an agent with new experts.

        Raises:
            MetarlError: if there would be one expert only.
        """
        families = list(dict.fromkeys(task.family for task in suite.tasks("train")))
        strange = [family for family in self.library if family not in families]
        require(not strange, f"library must name families of {', '.join(families)}", strange)
        number = len(self.library) or len(families) * self.experts_per_family
        if number * len(self.spreads) < 2:
            require(not self.library, "library must name two experts or more", self.library)
            raise MetarlError(
                f"Expected two experts or more, got one, as {suite.name} has one training family; "
                "set --agent.experts-per-family 2, or take rl2."
            )
        if isinstance(suite.action_space, gymnasium.spaces.Discrete) and self.spreads != (1.0,):
            raise MetarlError(f"Choices have no deviation, so spreads must be (1.0,), got {self.spreads}.")
        if self.hold_at is not None and not _can_rest(suite.action_space):
            raise MetarlError(
                "hold_at takes actions of which 0 is one that moves nothing, got "
                f"{one_line(suite.action_space)}."
            )
        seeds = np.random.SeedSequence(seed).generate_state(number, np.uint64)
        experts = [self.recurrent(suite, seed=int(own >> np.uint64(1)), device=device) for own in seeds]
        return PolicyReuse(self, families, experts)


class PolicyReuse:
    """Experts: the first of each family, then the second of each, and so on.

    So a new task that tries a few only tries many families.
    """

    trial: Trial = "parallel"
    adaptation_steps = 0
    """Training plays each task by an expert of its own family."""

    def __init__(self, config: PolicyReuseConfig, families: Sequence[str], experts: Sequence[RL2]) -> None:
        self.config, self.families, self.experts = config, tuple(families), tuple(experts)
        self.owners = config.library or self.families * config.experts_per_family  # each expert's family
        self.device = experts[0].device
        self.factors = sorted(config.spreads, key=lambda factor: factor != 1.0)
        """Of the deviation; all experts are tried with the first, which is 1, before the next."""
        self.order: tuple[int, ...] = ()
        """Experts in the order in which a new task tries them; if empty, any one begins."""

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> ReusingActor:
        """Return the experts, which play a new task's episodes in turn."""
        actor = self._actor(torch.full((num_tasks,), -1, device=self.device), rng)
        experts = torch.arange(len(self.experts))
        if self.order:
            places = torch.tensor(self.order).argsort().expand(num_tasks, -1)
        else:
            # a stream of its own, so that who begins changes no other draw
            first = rng.spawn(1)[0].integers(len(experts), size=(num_tasks, 1))
            places = (experts - torch.from_numpy(first)) % len(experts)
        return replace(actor, turns=self._turns(places))

    def training_actor(self, tasks: Sequence[Task], rng: np.random.Generator) -> ReusingActor:
        """Return an expert of each task's family; see :class:`metarl.meta_learner.KnowsTasks`."""
        return self._actor(torch.tensor(self._own(tasks), device=self.device), rng)

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> ReusingActor:
        """Keep each task's best expert once it has tried enough of them."""
        assert isinstance(actor, ReusingActor), "policy reuse adapts its own actors"
        earned = actor.earned.with_episodes(actor.who_played(rollout), rollout, self.config.keep_by)
        players = len(actor.experts)
        wanted = min(self.config.tries or players, players)
        enough = (earned.episodes > 0).sum(dim=1) >= wanted
        kept = torch.where(enough, earned.best(), -1)
        return replace(actor, earned=earned, kept=kept, rest_at=self._rest_at(earned, kept))

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Update each expert from its own tasks; see :class:`metarl.meta_learner.MetaLearner`."""
        before, own = self.state(), np.array(self._own(tasks))
        said = list[Mapping[str, float]]()
        try:
            for number, expert in enumerate(self.experts):
                places = np.flatnonzero(own == number)
                if not len(places):
                    continue
                index = torch.from_numpy(places).to(self.device)
                part = [rollout.map(partial(torch.index_select, dim=0, index=index)) for rollout in rollouts]
                said.append(
                    expert.update(part, [tasks[place] for place in places.tolist()], rng, should_stop)
                )
        except Stopped:
            # an update that was stopped leaves no trace
            self.load_state(before)
            raise
        metrics = {name: float(np.mean([one[name] for one in said])) for name in said[0]}
        return metrics | _solved(rollouts[-1], tasks)

    def state(self) -> State:
        """Return copies of all experts' states."""
        return self._joined_states([expert.state() for expert in self.experts])

    def weights(self) -> State:
        """Return the state without the optimisers' memory; see :meth:`metarl.agents.rl2.RL2.weights`."""
        return self._joined_states([expert.weights() for expert in self.experts])

    def load_state(self, state: State) -> None:
        """Go on from a state; an unfit one raises ``MetarlError``."""
        updates, parts = state.values.get("updates"), [dict[str, torch.Tensor]() for _ in self.experts]
        if not isinstance(updates, list) or len(updates) != len(parts):
            raise MetarlError(f"Expected the updates of {len(parts)} experts, got {updates!r}.")
        families = state.values.get("families", list(self.families))  # older states do not tell
        if families != list(self.families):
            theirs = ", ".join(map(str, families)) if isinstance(families, list) else families
            raise MetarlError(f"Expected experts of {', '.join(self.families)}, got those of {theirs}.")
        order = _order(state.values.get("order", []), len(parts))
        for name, value in state.tensors.items():
            prefix, _, rest = name.partition(".")
            number = prefix.removeprefix("expert")
            if not number.isdecimal() or int(number) >= len(parts):
                raise MetarlError(f"Expected tensors of {len(parts)} experts, got {name!r}.")
            parts[int(number)][rest] = value
        before = [expert.state() for expert in self.experts]
        try:
            for expert, tensors, count in zip(self.experts, parts, updates, strict=True):
                expert.load_state(State(tensors, {"updates": count}))
        except MetarlError:
            # one that does not fit changes none of them
            for expert, own in zip(self.experts, before, strict=True):
                expert.load_state(own)
            raise
        self.order = order

    def _actor(self, kept: torch.Tensor, rng: np.random.Generator) -> ReusingActor:
        players = tuple(
            _spread(expert.initial_actor(1, rng), factor)
            for factor in self.factors
            for expert in self.experts
        )
        nothing = Earned.nothing(len(kept), len(players), self.device)
        in_order = torch.arange(len(self.experts)).expand(len(kept), -1)
        return ReusingActor(players, nothing, kept, self._turns(in_order))

    def _rest_at(self, earned: Earned, kept: torch.Tensor) -> torch.Tensor | None:
        """Return the reward at which each task's kept expert holds still, ``[M]``, if it ever does."""
        share = self.config.hold_at
        if share is None:
            return None
        largest = earned.largest.gather(1, kept.clamp(min=0).unsqueeze(1)).squeeze(1)
        # a share of a cost is a larger cost
        return (largest - (1 - share) * largest.abs()).masked_fill(kept < 0, torch.inf)

    def _turns(self, places: torch.Tensor) -> torch.Tensor:
        """Return each player's turn from its expert's place, ``[M, experts]``."""
        # a factor of the deviation follows after all experts had their turn with the one before
        rounds = [places + number * len(self.experts) for number in range(len(self.factors))]
        return torch.cat(rounds, dim=1).to(self.device)

    def _joined_states(self, states: Sequence[State]) -> State:
        """Return the states of the experts as one, each tensor with its expert's number."""
        tensors = {
            f"expert{number}.{name}": value
            for number, state in enumerate(states)
            for name, value in state.tensors.items()
        }
        updates, families = [state.values["updates"] for state in states], list[Json](self.families)
        order: dict[str, Json] = {"order": list(self.order)} if self.order else {}
        return State(tensors, {"updates": updates, "families": families, **order})

    def _own(self, tasks: Sequence[Task]) -> list[int]:
        """Return each training task's expert: those of a family take its tasks in turn."""
        seen, numbers = dict.fromkeys(self.owners, 0), list[int]()
        for task in tasks:
            if task.family not in seen:
                known = ", ".join(dict.fromkeys(self.owners))
                raise MetarlError(f"Expected training tasks of {known}, got {task.family!r}.")
            own = [number for number, family in enumerate(self.owners) if family == task.family]
            numbers.append(own[seen[task.family] % len(own)])
            seen[task.family] += 1
        return numbers


def join_libraries(agents: Sequence[PolicyReuse]) -> PolicyReuse:
    """Return an agent with the experts of several of the same families and settings.

    Raises:
        MetarlError: if there are none, or their families or settings differ.
    """
    require(len(agents) > 0, "Expected one library or more to join", "none")
    first = agents[0]
    for agent in agents:
        alike = (agent.config, agent.families) == (first.config, first.families)
        require(alike, "Expected libraries of the same families and settings", (agent.families, agent.config))
    require(not first.config.library, "Expected libraries with all of their experts", first.config.library)
    experts = [expert for agent in agents for expert in agent.experts]
    config = replace(first.config, experts_per_family=first.config.experts_per_family * len(agents))
    return PolicyReuse(config, first.families, experts)


def _order(saved: object, number: int) -> tuple[int, ...]:
    """Return a saved order of experts; empty if they have none."""
    places = [place for place in saved if isinstance(place, int)] if isinstance(saved, list) else []
    if saved != places or (places and sorted(places) != list(range(number))):
        raise MetarlError(f"Expected each of {number} experts once in their order, got {saved!r}.")
    return tuple(places)


def choose_experts(agent: PolicyReuse, experts: Sequence[int]) -> PolicyReuse:
    """Return an agent with some of the experts, which a new task tries in this order."""
    config = replace(agent.config, library=tuple(agent.owners[number] for number in experts))
    chosen = PolicyReuse(config, agent.families, [agent.experts[number] for number in experts])
    chosen.order = tuple(range(len(experts)))
    return chosen


def _can_rest(space: gymnasium.Space[object]) -> bool:
    """Return whether 0 is an action."""
    return isinstance(space, gymnasium.spaces.Box) and bool(np.all((space.low <= 0) & (space.high >= 0)))


def _spread(actor: RecurrentActor, factor: float) -> RecurrentActor:
    """Return a policy with the deviation of its actions multiplied."""
    if factor == 1.0:
        return actor
    return replace(actor, params={**actor.params, LOG_STD: actor.params[LOG_STD] + math.log(factor)})


def _solved(rollout: Rollout, tasks: Sequence[Task]) -> dict[str, float]:
    """Return each family's share of episodes with success, where the suite tells."""
    if rollout.success is None:
        return {}
    families = [task.family for task in tasks]
    rates = rollout.success.double().mean(dim=1).tolist()
    return {
        f"success/{family}": float(
            np.mean([rate for rate, other in zip(rates, families, strict=True) if other == family])
        )
        for family in dict.fromkeys(families)
    }
