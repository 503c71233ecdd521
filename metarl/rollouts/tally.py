"""Counts over a run, from which :mod:`metarl.training.notices` makes its notices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Protocol, runtime_checkable

import torch

from metarl.learning.running_scale import LEAST_DEVIATION
from metarl.meta_learner import Actor, Inputs, act_at_start, inputs_at_start
from metarl.types import Json, Rollout

COMPARED_STEPS = 8  # steps per episode on which policies are compared


@runtime_checkable
class FitsBaseline(Protocol):
    """Agent with a baseline that is fitted to each task's own transitions."""

    def baseline_features(self, observation_size: int) -> int:
        """Return the number of features of the baseline."""


@dataclass(frozen=True)
class Limits:
    """From where on an agent's iteration counts as one in which something went wrong."""

    baseline_features: int = 0  # features that a task's transitions must fit; 0 without a baseline
    kl: float = math.inf  # nats of an update's divergence


@dataclass(frozen=True)
class Counts:
    """Episodes and adaptations of some rollouts."""

    episodes: int = 0
    reporting: int = 0  # episodes that reported success, true or false
    solved_at_once: int = 0  # episodes with success at their first step
    adaptations: int = 0  # inner steps, each of all tasks
    unchanged: int = 0  # inner steps without effect on any policy

    def __add__(self, other: Counts) -> Counts:
        names = [item.name for item in fields(self)]
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class Streak:
    """How often something happened, and how often in a row until now."""

    times: int = 0
    in_a_row: int = 0

    def after(self, happened: bool) -> Streak:
        """Return the streak after one more iteration."""
        return Streak(self.times + 1, self.in_a_row + 1) if happened else Streak(self.times, 0)


@dataclass(frozen=True)
class Tally:
    """Counts of a run's iterations, saved with progress."""

    iterations: int = 0
    counts: Counts = field(default_factory=Counts)
    equal_rewards: int = 0  # iterations from the first on with equal rewards in all episodes of a task
    streaks: Mapping[str, Streak] = field(default_factory=dict)  # by name, see happenings
    said: tuple[str, ...] = ()  # names of notices that were given while the run went on

    def to_json(self) -> dict[str, Json]:
        """Return the tally as plain JSON, for :func:`tally_from_json`."""
        return {**asdict(self), "said": list(self.said)}


def tally_from_json(data: Json) -> Tally:
    """Rebuild a tally from :meth:`Tally.to_json`; for older checkpoints it is empty."""
    streaks = _object(_object(data).get("streaks"))
    said = _object(data).get("said")
    return Tally(
        iterations=_number(data, "iterations"),
        counts=Counts(
            **{item.name: _number(_object(data).get("counts"), item.name) for item in fields(Counts)}
        ),
        equal_rewards=_number(data, "equal_rewards"),
        streaks={
            name: Streak(_number(streak, "times"), _number(streak, "in_a_row"))
            for name, streak in streaks.items()
        },
        said=tuple(str(name) for name in said) if isinstance(said, list) else (),
    )


def count_iteration(
    tally: Tally,
    rollouts: Sequence[Rollout],
    actors: Sequence[Actor],
    metrics: Mapping[str, float],
    limits: Limits,
) -> Tally:
    """Count one more meta-iteration; ``actors`` collected the ``rollouts``, ``metrics`` are the update's."""
    counts, equal = count_rollouts(rollouts, actors), equal_rewards(rollouts)
    happened = happenings(rollouts, metrics, counts, equal, limits)
    return replace(
        tally,
        iterations=tally.iterations + 1,
        counts=tally.counts + counts,
        # counts only as long as every iteration so far had equal rewards
        equal_rewards=tally.equal_rewards + (equal and tally.equal_rewards == tally.iterations),
        streaks={name: tally.streaks.get(name, Streak()).after(so) for name, so in happened.items()},
    )


def happenings(
    rollouts: Sequence[Rollout],
    metrics: Mapping[str, float],
    counts: Counts,
    equal: bool,
    limits: Limits,
) -> dict[str, bool]:
    """Return which counted things happened in an iteration.

    Equal rewards explain an update or an adaptation that changes nothing, so these do not count then.
    """
    no_gradient = metrics.get("gradient_norm") == 0
    return {
        "zero_gradient": no_gradient and not equal,
        "refused": metrics.get("step_accepted") == 0 and not no_gradient and not equal,
        "unchanged": counts.unchanged > 0 and not equal,
        # of agents that count powers of rewards
        "faint": metrics.get("largest_reward", 1.0) < LEAST_DEVIATION and not equal,
        "baseline": any(r.num_steps < 2 * limits.baseline_features * len(r.mask) for r in rollouts),
        "far": metrics.get("kl", 0.0) > limits.kl,
    }


def count_rollouts(rollouts: Sequence[Rollout], actors: Sequence[Actor]) -> Counts:
    """Count episodes of rollouts, and the adaptations from each policy to the next."""
    episodes = [count_episodes(rollout) for rollout in rollouts]
    steps = zip(actors[:-1], actors[1:], rollouts, strict=False)
    return sum((count_adaptation(*step) for step in steps), sum(episodes, Counts()))


def count_adaptation(before: Actor, after: Actor, rollout: Rollout) -> Counts:
    """Count one inner step, by the policies before and after adapting to a rollout."""
    learned = _remembers(rollout) or not act_alike(before, after, sampled_inputs(rollout))
    return Counts(adaptations=1, unchanged=int(not learned))


def count_episodes(rollout: Rollout) -> Counts:
    """Count episodes and their reports of success."""
    episodes = rollout.mask[..., 0].numel()
    at_once = rollout.success_at_first_step
    return Counts(
        episodes=episodes,
        reporting=0 if rollout.success is None else episodes,
        solved_at_once=0 if at_once is None else int(at_once.sum()),
    )


def equal_rewards(rollouts: Sequence[Rollout]) -> bool:
    """Return whether a task's episodes have equal rewards.

    Of tasks with one episode, all tasks must have the same.
    """
    return all(_equal(rollout.rewards * rollout.mask) for rollout in rollouts)


def act_alike(one: Actor, other: Actor, inputs: Inputs) -> bool:
    """Return whether two policies prefer exactly the same actions and density."""
    actions, others = (act_at_start(actor, inputs, None) for actor in (one, other))
    return torch.equal(actions.actions, others.actions) and torch.equal(actions.log_probs, others.log_probs)


def sampled_inputs(rollout: Rollout) -> Inputs:
    """Return some steps of every episode, as first steps of trials."""
    stride = -(-rollout.observations.shape[2] // COMPARED_STEPS)
    observations = rollout.observations[:, :, ::stride].flatten(1, 2)  # [M, K * steps, O]
    return inputs_at_start(observations, rollout.actions.shape[-1])


def _remembers(rollout: Rollout) -> bool:
    """Return whether the memory changed while acting."""
    before, after = rollout.initial_memory, rollout.final_memory
    return any(not torch.equal(before[name], after[name]) for name in after)


def _equal(rewards: torch.Tensor) -> bool:
    tasks, episodes, _ = rewards.shape
    if tasks == episodes == 1:  # there is nothing to compare with
        return False
    first = rewards[:, :1] if episodes > 1 else rewards[:1]
    return bool((rewards == first).all())


def _object(data: Json) -> dict[str, Json]:
    return data if isinstance(data, dict) else {}


def _number(data: Json, name: str) -> int:
    value = _object(data).get(name)
    return value if isinstance(value, int) else 0
