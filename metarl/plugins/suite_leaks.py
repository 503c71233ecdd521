"""Search for observed entries that reveal the task.

An agent should infer the task by acting. Tasks are compared under equal seeds and actions. An entry that
differs between them from the reset on, or later on in a way that no state explains, is a leak; effects of a
task's dynamics differ as well, but they depend on the actions and carry over from step to step. The
comparison works on plays alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from metarl.plugins.suite_plays import Flags, Plays, task_spread
from metarl.vector_env import Array

Kind: TypeAlias = Literal["constant", "relative", "reward", "function", "alone", "start"]

EXACT = 1e-5  # relative error of an exact relation; float32 observations reach 1e-7
LASTING = 3  # steps for which a value must stay
_ROWS = 500  # samples of a regression
_PLANS = 3  # plans that must agree on an entry; among any three are at least two seeds
_WIDE = 64  # entries beyond which comparing an entry with all others takes too long
_RIDGES = (1e-6, 1e-3, 0.1)
"""Smoothing of a regression, the best counts: little for smooth relations, more for rounded ones."""
_WIDTHS = (0.5, 2.0)  # kernel widths in standard deviations of the inputs, the best counts


class Leak(NamedTuple):
    """An entry that depends on the task."""

    entry: int
    since: int
    """Steps from reset to the tasks' first difference."""
    kind: Kind
    """``constant``: a task's own value, whatever the seed and the actions; ``relative``: such a value plus a
    linear function of the state; ``reward``: minus the reward, as a distance is; ``function``: some other
    function of task and state; ``alone``: it moves with no action; ``start``: the task changes the reset."""
    certain: bool
    """Whether it can only be a leak, if its task parameter is to be inferred."""


def find_leaks(plays: Plays) -> list[Leak]:
    """Return entries, in order, that depend on the task unlike a state."""
    if not np.isfinite(plays.observations).all() or len(plays.tasks) < 2:
        return []
    evidence = Evidence(plays)
    looked = [_look(evidence, int(entry)) for entry in np.flatnonzero(evidence.differs)]
    return [leak for leak in looked if leak is not None]


def _look(evidence: Evidence, entry: int) -> Leak | None:
    """Classify an entry that differs; None if it may be a state."""
    since = int(evidence.onset[entry])
    at_reset = since == 0
    slope = evidence.reward_slope(entry)
    if slope > 0 and not at_reset:
        return None  # the last reward, which every agent gets anyway
    if evidence.is_constant(entry):
        return Leak(entry, since, "constant", certain=True)
    if evidence.is_relative(entry, evidence.clean):
        return Leak(entry, since, "relative", certain=True)
    if slope < 0:
        return Leak(entry, since, "reward", certain=True)
    if evidence.is_alone(entry):
        return Leak(entry, since, "alone", certain=at_reset)
    if at_reset:
        return _look_at_reset(evidence, entry)
    wide = evidence.differs.sum() > _WIDE
    if not wide and evidence.is_relative(entry, ~evidence.suspects):
        return Leak(entry, since, "relative", certain=True)
    if evidence.is_shifted(entry):
        return Leak(entry, since, "relative", certain=False)
    if not wide and evidence.is_function_of_clean_state(entry):
        return Leak(entry, since, "function", certain=False)
    return None


def _look_at_reset(evidence: Evidence, entry: int) -> Leak:
    """Classify an entry that differs from the reset on and moves afterwards."""
    shared = evidence.reward_is_shared
    if evidence.is_shifted(entry):
        return Leak(entry, 0, "relative", certain=shared or not evidence.moved[entry])
    if evidence.is_relative(entry, ~evidence.suspects):
        return Leak(entry, 0, "relative", certain=True)
    equal_dynamics = evidence.moving.any() and bool((evidence.onset[evidence.differs] == 0).all())
    if equal_dynamics:
        certain = shared or evidence.is_function_of_clean_state(entry)
        return Leak(entry, 0, "function", certain)
    return Leak(entry, 0, "start", certain=False)


@dataclass(frozen=True)
class Evidence:
    """Shared statistics of the plays, ``O`` entries each."""

    plays: Plays

    @cached_property
    def spread(self) -> Array:
        """Spread over tasks at equal seed, actions and step, ``[V, T + 1, O]``."""
        return task_spread(self.plays.observations, self.plays.valid)

    @cached_property
    def differs(self) -> Flags:
        """Entries that ever differ between tasks."""
        return _any(self.spread > 0, (0, 1))

    @cached_property
    def onset(self) -> npt.NDArray[np.intp]:
        """First step at which each entry differs."""
        return np.asarray((self.spread > 0).any(axis=0).argmax(axis=0))

    @cached_property
    def moved(self) -> Flags:
        """Entries that actions move: plans of one seed differ in them."""
        seeds = [plan.seed for plan in self.plays.plans]
        alike = [index for index, seed in enumerate(seeds) if seed == seeds[0]]
        both = np.expand_dims(self.plays.valid[alike].all(axis=0), -1)
        seen = self.plays.observations[alike]
        return _any((seen != seen[:1]).any(axis=0) & both, (0, 1))

    @cached_property
    def clean(self) -> Flags:
        """Entries that change, but never differ between tasks."""
        seen = self.plays.observations
        return ~self.differs & _any(seen != seen[:1, :1], (0, 1, 2))

    @cached_property
    def moving(self) -> Flags:
        """Clean entries that actions move; they show no effect of the task on the dynamics."""
        return self.clean & self.moved

    @cached_property
    def suspects(self) -> Flags:
        """Entries that must not explain others, as each may itself be a leak."""
        entries = enumerate(self.differs)
        return np.array([differs and (self.onset[i] == 0 or self.is_constant(i)) for i, differs in entries])

    @cached_property
    def own(self) -> tuple[Array, Flags, Flags]:
        """Values on which all plans agree, so that they depend on the task alone.

        Returns the values ``[T + 1, M, O]``, where enough plans show them ``[T + 1, M]``, and the steps at
        which entries have such a value for each task and not the same for all ``[T + 1, O]``.
        """
        mask = self.plays.valid[..., None]
        high = np.where(mask, self.plays.observations, -np.inf).max(axis=0)
        low = np.where(mask, self.plays.observations, np.inf).min(axis=0)
        known = self.plays.valid.sum(axis=0) >= _PLANS
        pure = ((high == low) | ~known[..., None]).all(axis=1) & (known.sum(axis=1) >= 2)[:, None]
        apart = task_spread(np.where(known[..., None], low, 0.0)[None], known[None])[0] > 0
        return low, known, np.asarray(pure & apart)

    def is_constant(self, entry: int) -> bool:
        """Return whether each task shows its own value, if only briefly."""
        values, known, steps = self.own
        at = np.flatnonzero(steps[:, entry])
        if not len(at):
            return False
        # longest run of consecutive steps at which no task's value changes
        run = longest = 1
        for before, after in pairwise(at):
            both = known[before] & known[after]
            equal = np.array_equal(values[before, both, entry], values[after, both, entry])
            run = run + 1 if after == before + 1 and equal else 1
            longest = max(longest, run)
        if longest >= LASTING:
            return True
        # a flash counts only if tasks agree at all other steps
        elsewhere = np.delete(self.spread[:, :, entry], at, axis=1)
        return bool(at[0] > 1 or self.onset[entry] == 0) and not elsewhere.any()

    def is_alone(self, entry: int) -> bool:
        """Return whether its movement, under any seed and action, separates tasks."""
        _, known, steps = self.own
        since = self.onset[entry]
        counted = known[since:].any(axis=1).sum()
        return bool(steps[since:, entry].sum() >= max(LASTING, 0.5 * counted))

    def is_shifted(self, entry: int) -> bool:
        """Return whether tasks differ by one number everywhere."""
        since = int(self.onset[entry])
        seen = self.plays.observations[:, since:, :, entry]
        both = self.plays.valid[:, since:] & self.plays.valid[:, since:, :1]
        offsets = np.where(both, seen - seen[:, :, :1], np.nan)
        counts = both.sum(axis=(0, 1)), both.any(axis=1).sum(axis=0)
        enough = (counts[0] >= 2 * LASTING) & (counts[1] >= _PLANS)
        enough[0] = False  # the task that the others are compared to
        if not enough.any():
            return False
        known = offsets[..., enough]
        width = np.nanmax(known, axis=(0, 1)) - np.nanmin(known, axis=(0, 1))
        return bool(width.max() <= 0.01 * np.nanmax(np.abs(known)))

    def is_relative(self, entry: int, explaining: Flags) -> bool:
        """Return whether it is linear in other entries plus a task's number.

        A regression with common slopes and one intercept a task: exact, and only with different intercepts.
        """
        # entries that may explain this one, but not itself
        columns = np.flatnonzero(explaining & (np.arange(len(explaining)) != entry))
        valid = self.plays.valid.copy()
        valid[:, : self.onset[entry]] = False
        plan, step, task = np.nonzero(valid)
        if not len(columns) or len(task) < 5 * (len(columns) + len(self.plays.tasks)):
            return False
        chosen = _subset(len(task), max(_ROWS, 10 * len(columns)))
        rows = self.plays.observations[plan[chosen], step[chosen], task[chosen]]
        task = task[chosen]
        target, inputs = rows[:, entry], rows[:, columns]
        # centring by task removes the intercepts, which leaves common slopes
        inner_target, inner = _centred(target[:, None], task)[:, 0], _centred(inputs, task)
        scale = inner.std(axis=0)
        inner, inputs = inner[:, scale > 0] / scale[scale > 0], inputs[:, scale > 0] / scale[scale > 0]
        size = inner_target.std()
        if size <= EXACT * np.abs(target).max() or not inner.shape[1]:
            return False
        slopes = np.linalg.lstsq(inner, inner_target, rcond=1e-9)[0]
        error = (inner_target - inner @ slopes).std()
        # each task's intercept is the mean of what the slopes leave
        rest = target - inputs @ slopes
        intercepts = np.array([rest[task == one].mean() for one in np.unique(task)])
        return bool(error <= EXACT * size and np.ptp(intercepts) > 100 * EXACT * size)

    def reward_slope(self, entry: int) -> float:
        """Return the slope over the previous reward, 0 unless that explains it."""
        valid = self.plays.valid[:, 1:]
        shown, paid = self.plays.observations[:, 1:, :, entry][valid], self.plays.rewards[valid]
        if paid.std() == 0 or shown.std() == 0:
            return 0.0
        slope, intercept = np.polyfit(paid, shown, 1)
        error = (shown - slope * paid - intercept).std()
        return float(slope) if error <= EXACT * shown.std() else 0.0

    @cached_property
    def reward_is_shared(self) -> bool:
        """Whether one function of observation and action gives all tasks' rewards.

        Fitted on some tasks, it must predict those of the others. If it does, nothing is left to be inferred.
        """
        every = np.ones(len(self.differs), np.bool_)
        paid, valid = self.plays.rewards, self.plays.valid[:, 1:]
        states = [self._states(every, actions=actions) for actions in (False, True)]
        return max(_predicts(each, paid, valid, by_task=True) for each in states) > 0.9

    def is_function_of_clean_state(self, entry: int) -> bool:
        """Return whether the task and entries that it leaves alone predict it.

        The prediction has no memory; fitted on some plans, it must predict the others.
        """
        onsets = (self.spread[:, :, entry] > 0).argmax(axis=1)
        if not self.moving.any() or len(set(onsets.tolist())) > 1:
            return False
        states = self._states(self.moving, actions=False)
        known = np.broadcast_to(self.plays.parameters, (*states.shape[:3], self.plays.parameters.shape[1]))
        shown = self.plays.observations[:, 1:, :, entry]
        valid = self.plays.valid[:, 1:].copy()
        valid[:, : max(0, int(self.onset[entry]) - 1)] = False
        with_task = _predicts(np.concatenate([states, known], axis=-1), shown, valid, by_task=False)
        return with_task > 0.8 and _predicts(states, shown, valid, by_task=False) < with_task - 0.3

    def _states(self, entries: Flags, *, actions: bool) -> Array:
        """Return states after each step, ``[V, T, M, ...]``, actions too if wanted."""
        states = self.plays.observations[:, 1:, :, entries]
        if not actions:
            return states
        steps, tasks = states.shape[1:3]
        taken = np.array([np.reshape(plan.actions[:steps], (steps, -1)) for plan in self.plays.plans])
        wide = np.broadcast_to(taken[:, :, None], (*taken.shape[:2], tasks, taken.shape[-1]))
        return np.concatenate([states, wide], axis=-1)


def shows_which_task(values: Array) -> bool:
    """Return whether values ``[tasks, entries]`` number the tasks, or are one-hot."""
    tasks = len(values)
    if tasks < 3 or not values.size:
        return False
    whole = (values == np.round(values)).all(axis=0)
    steps = np.diff(np.sort(values, axis=0), axis=0)
    if (whole & (steps > 0).all(axis=0) & (np.ptp(steps, axis=0) == 0)).any():
        return True
    hot = values[:, np.isin(values, (0.0, 1.0)).all(axis=0)]
    hot = hot[:, hot.sum(axis=0) == 1]
    return bool(np.array_equal(hot.sum(axis=1), np.ones(tasks)))


def _any(flags: Flags, axes: tuple[int, ...]) -> Flags:
    return np.asarray(flags.any(axis=axes), np.bool_)


def _subset(count: int, most: int) -> npt.NDArray[np.intp]:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _centred(values: Array, group: npt.NDArray[np.intp]) -> Array:
    """Return values less the mean of their group."""
    centred = values.copy()
    for one in np.unique(group):
        centred[group == one] -= values[group == one].mean(axis=0)
    return centred


def _predicts(inputs: Array, target: Array, valid: Flags, *, by_task: bool) -> float:
    """Return held-out R² of a kernel regression, ``[V, T, M, I]`` to ``[V, T, M]``.

    Plans are held out, and tasks too with ``by_task``: all tasks take the same actions, so without other
    plans the state would reveal the step.
    """
    plan, step, task = np.nonzero(valid)
    other_plan, other_task = plan % 3 == 1, (task % 3 == 1) if by_task else np.ones(len(task), np.bool_)
    fitted = np.flatnonzero(~other_plan & ~(by_task & other_task))
    tested = np.flatnonzero(other_plan & other_task)
    if min(len(fitted), len(tested)) < 10:
        return 0.0
    fitted, tested = fitted[_subset(len(fitted), _ROWS)], tested[_subset(len(tested), _ROWS)]
    x, y = inputs[plan, step, task], target[plan, step, task]
    scale = x[fitted].std(axis=0)
    x = x[:, scale > 0] / scale[scale > 0]
    mean, spread = y[fitted].mean(), y[tested].std()
    if spread == 0 or not x.shape[1]:
        return 0.0
    # ridge regression in the eigenbasis of the kernel: one decomposition serves all ridges
    errors = []
    for width in _WIDTHS:
        values, vectors = np.linalg.eigh(_kernel(x[fitted], x[fitted], width))
        turned, guess = vectors.T @ (y[fitted] - mean), _kernel(x[tested], x[fitted], width) @ vectors
        guesses = [mean + guess @ (turned / (values + ridge)) for ridge in _RIDGES]
        errors += [float(((each - y[tested]) ** 2).mean()) for each in guesses]
    return float(1.0 - min(errors) / spread**2)


def _kernel(one: Array, other: Array, width: float) -> Array:
    """Return a Gaussian kernel, ``[rows, rows]``, wider for more input dimensions."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2.0 * one @ other.T
    kernel: Array = np.exp(-np.maximum(squares, 0.0) / (2.0 * width**2 * one.shape[1]))
    return kernel
