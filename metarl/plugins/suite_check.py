"""Check of the promises that a suite makes, on a few slots.

Lists and samples of tasks are tried (:mod:`metarl.tasks`), then whole episodes with known actions, on the
suite's fastest engine as in training. A fault is a sentence with how to mend it. A doubt is no fault: it says
what the check could not tell, and why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import numpy as np

from metarl.errors import MetarlError
from metarl.plugins.suite_contract import (
    keeps_arrays_apart,
    numbers_are_finite,
    refuses_too_many_tasks,
    resets_by_mask,
    respects_spaces,
    takes_any_action,
    tells_success,
    truncates_at_the_horizon,
)
from metarl.plugins.suite_effects import effects_of_tasks
from metarl.plugins.suite_findings import Doubt, Fault, Finding, Findings, describe_error
from metarl.plugins.suite_plays import Plays, guided_plans, play_plans, siblings
from metarl.plugins.suite_probe import SLOTS, Probe
from metarl.plugins.suite_secrets import told_by_family, told_by_observations
from metarl.rollouts.scripted import play, same
from metarl.spaces import action_size, vectors
from metarl.tasks import TaskDistribution, TestsOnTrainingTasks, check_disjoint

_DRAWN = 100
_FAMILIES = 12  # most families that are searched for leaks
_SECONDS = 15.0  # time after which no further family is searched

Check = Callable[[Probe], Iterator[Finding | str]]  # iterator of faults, doubts and omitted parts
T = TypeVar("T")


def check_suite(suite: TaskDistribution) -> list[Fault]:
    """Try a distribution out; return its faults."""
    return examine(suite).faults


def examine(suite: TaskDistribution, progress: Callable[[str], None] = lambda _: None) -> Findings:
    """Try a distribution out, part by part."""
    found: list[Finding | str] = list(_tried(lists, suite))
    try:
        found += spaces(suite)
        probe = Probe(suite)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is a fault
        return _sorted([*found, _raised("episodes", error)])
    with closing(probe):
        if broken := list(numbers_are_finite(probe)):
            return _sorted([*found, *broken])
        # a comparison of random episodes would find a difference whatever is compared
        for check in CHECKS if probe.is_random else (*COMPARISONS, *CHECKS):
            progress(check.__name__.replace("_", " "))
            found += _tried(check, probe)
    return _sorted(found)


def _sorted(found: list[Finding | str]) -> Findings:
    different = list(dict.fromkeys(found))
    return Findings(
        [each for each in different if isinstance(each, Fault)],
        [each for each in different if isinstance(each, Doubt)],
        [each for each in different if isinstance(each, str)],
    )


def lists(suite: TaskDistribution) -> Iterator[Fault]:
    """Check both splits: apart, fixed, named and drawn from the generator alone."""
    try:
        check_disjoint(suite)
    except MetarlError as error:
        yield Fault(str(error), "Take it out of one of the two lists.")
    listed = [task for split in ("train", "test") for task in suite.tasks(split)]
    if len({task.id for task in listed}) < len(listed):
        yield Fault("Two listed tasks have the same id.", "Give every task an id of its own.")
    if any(list(suite.tasks(split)) != list(suite.tasks(split)) for split in ("train", "test")):
        yield Fault(
            "The list of tasks is another one each time it is asked for.",
            "Draw it once, or from a seed that stays the same.",
        )
    # samples must depend on the generator alone
    one, again = (suite.sample(_DRAWN, np.random.default_rng(1)) for _ in range(2))
    if one != again:
        yield Fault(
            "Sampling from the same generator gives different tasks.",
            "Let sample draw from the generator that it is given, and from nothing else.",
        )
    # a training sample must not be a held-out task
    held_out = {(task.family, task.parameters) for task in suite.tasks("test")}
    few = isinstance(suite, TestsOnTrainingTasks) and suite.tests_on_training_tasks
    if not few and any((task.family, task.parameters) in held_out for task in one):
        yield Fault(
            "Sampling training tasks gives held-out ones.",
            "Draw training tasks from other values than the held-out ones.",
        )


def spaces(suite: TaskDistribution) -> Iterator[Fault]:
    """Check that an agent can use both spaces."""
    for look, space in ((vectors, suite.observation_space), (action_size, suite.action_space)):
        try:
            look(space)
        except MetarlError as error:
            yield Fault(str(error), "Agents take nothing else.")
    if suite.horizon < 1:
        yield Fault(f"The horizon is {suite.horizon}.", "Give the steps of an episode, 1 or more.")


def is_reproducible(probe: Probe) -> Iterator[Fault | str]:
    """Repeat a task, seed and actions at once."""
    if probe.is_random:
        yield Fault(
            "The same task, seed and actions give another episode each time.",
            "Draw all that is random from self.np_random, which reset(seed=seed) seeds, and never from a "
            "global generator; let setting a task set everything absolutely, not on top of what was there.",
        )
        yield "Nothing else that is seen by comparing episodes was looked at, leaks among them."


def repeats(probe: Probe) -> Iterator[Fault]:
    """Repeat a task, seed and actions after others."""
    play(probe.env, probe.tasks[::-1], probe.draw(min(5, probe.length), seed=9), seed=4)
    if not same(play(probe.env, probe.tasks, probe.actions), probe.whole):
        yield Fault(
            "The same task, seed and actions give another episode after other tasks were run.",
            "Draw all that is random from self.np_random, and let setting a task set everything that depends "
            "on it, absolutely and not on top of what was there.",
        )


def replays(probe: Probe) -> Iterator[Fault]:
    """Replay an interrupted episode in a fresh environment and in other slots."""
    # in reverse order, each task keeps its seed and its actions
    with closing(probe.suite.make_vector_env(SLOTS)) as fresh:
        replayed = play(fresh, probe.tasks[::-1], probe.actions[:, ::-1], seed=list(range(SLOTS))[::-1])
    if not all(same(replayed.slot(-1 - slot), probe.whole.slot(slot)) for slot in range(SLOTS)):
        yield Fault(
            "An episode that is replayed from its task, seed and actions in a fresh environment is another "
            "one, so a run that was stopped would not go on as it was.",
            "Let reset set every state, and let nothing depend on the slot, on earlier episodes or on a "
            "global generator.",
        )


def tasks_differ(probe: Probe) -> Iterator[Finding]:
    """Play different tasks with the same seeds and many kinds of actions."""
    yield from effects_of_tasks(probe.suite, probe.wide, probe.first)


def actions_matter(probe: Probe) -> Iterator[Fault]:
    """Play these tasks and seeds with other actions."""
    other = play(probe.env, probe.tasks, probe.draw(probe.length, seed=1))
    if not all(same(other.slot(slot), probe.whole.slot(slot)) for slot in range(SLOTS)):
        return
    plans = [plan for plan in guided_plans(probe.suite.action_space, probe.suite.horizon) if plan.seed == 0]
    if not play_plans(probe.wide, siblings(probe.suite, probe.families[0], 2), plans).answer_actions:
        yield Fault("Actions have no effect.", "Let step use the action that it is given.")


def hides_the_task(probe: Probe) -> Iterator[Finding | str]:
    """Check that observations hide the task and family."""
    begun = time.monotonic()
    looked: list[Plays] = []
    # at least one family, then as many as the time allows
    for family in probe.families[:_FAMILIES]:
        if looked and time.monotonic() - begun > _SECONDS:
            break
        looked.append(probe.compare(family) if looked else probe.first)
        yield from told_by_observations(probe.suite, probe.wide, looked[-1])
    yield from told_by_family(looked)
    if len(looked) < len(probe.families):
        yield f"Leaks were looked for in {len(looked)} of {len(probe.families)} families."
    # plays of slow or wide suites are cut short, which the user must know
    seen = min(plays.rewards.shape[1] for plays in looked)
    if seen < probe.suite.horizon:
        yield f"Leaks were looked for in the first {seen} of {probe.suite.horizon} steps: it is slow or wide."


COMPARISONS: tuple[Check, ...] = (
    repeats,
    replays,
    tasks_differ,
    actions_matter,
    hides_the_task,
    keeps_arrays_apart,
    resets_by_mask,
)
"""Checks that compare episodes, which tell nothing where the same episode is never seen twice."""

CHECKS: tuple[Check, ...] = (
    is_reproducible,
    respects_spaces,
    takes_any_action,
    truncates_at_the_horizon,
    tells_success,
    refuses_too_many_tasks,
)


def _tried(check: Callable[[T], Iterator[Finding | str]], subject: T) -> Iterator[Finding | str]:
    try:
        yield from check(subject)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is a fault
        yield _raised(check.__name__.replace("_", " "), error)


def _raised(what: str, error: BaseException) -> Fault:
    return Fault(f"An exception was raised ({what}): {describe_error(error)}.", "Mend that first.")
