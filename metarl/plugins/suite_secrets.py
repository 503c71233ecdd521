"""Trace leaks to task parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metarl.plugins.suite_findings import Doubt, Fault, Finding
from metarl.plugins.suite_leaks import Kind, Leak, find_leaks, shows_which_task
from metarl.plugins.suite_plays import Plays, play_plans, rounding
from metarl.tasks import DescribesParameters, Parameter, TaskDistribution
from metarl.text import listed
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv

MEND = "Leave it out: an agent is to find out by acting."
_NAMED = 3  # most entries and parameters that a sentence names; it counts the others
_ALONG = 0.9  # least correlation of a parameter's entry
_TRIES = 3  # number of other values tried for each parameter


class Traced(NamedTuple):
    """Leak, and the parameters that it depends on."""

    leak: Leak
    parameters: tuple[int, ...]


def told_by_observations(suite: TaskDistribution, env: TaskVectorEnv, plays: Plays) -> Iterator[Finding]:
    """Yield findings on what a family's observations reveal; needs two slots."""
    leaks = find_leaks(plays)
    if not leaks:
        return
    # parameters that differ, and those that the suite allows agents to see
    described = describe(suite, plays.tasks[0])
    differ = set(np.flatnonzero((plays.parameters != plays.parameters[:1]).any(axis=0)).tolist())
    allowed = {number for number, each in enumerate(described) if each.observed}
    # which leak depends on which parameter
    dependence = trace(env, plays, leaks, sorted(differ))
    traced = [_traced(leak, plays, row) for leak, row in zip(leaks, dependence, strict=True)]
    traced = [each for each in traced if each.leak.certain or each.parameters]
    # a leak of allowed parameters alone is none
    traced = [each for each in traced if not each.parameters or not set(each.parameters) <= allowed]
    certain = [each for each in traced if each.leak.certain]
    values = _values(plays, [each.leak for each in certain if each.leak.kind == "constant"])
    if shows_which_task(values):
        seen = f"which task it is, as a number or one-hot, in {_entries(certain)}"
        yield Fault(f"Observations show {seen}.", MEND)
        return
    # observations that leave some parameters hidden may be a robot's legitimate view
    shown = {number for each in certain for number in each.parameters}
    hidden = differ - allowed - shown
    if certain and not hidden:
        yield Fault(f"Observations show the task's parameters: {_sentence(certain, described, plays)}.", MEND)
        return
    rest = sorted(described[number].name for number in hidden)
    if certain:
        yield Doubt(
            f"Could not tell whether a robot may see this: {_sentence(certain, described, plays)}, "
            f"while {_listed(rest)} cannot be read off.",
            "It is a leak if an agent should infer it; if it is a thing in sight, such as where an object "
            "is, declare it with observed=[...] (describe_parameters in a distribution of your own).",
        )
    unclear = [each for each in traced if not each.leak.certain]
    if unclear and not certain:
        yield Doubt(
            f"Could not tell whether observations show the task: {_sentence(unclear, described, plays)}; "
            f"{_reason(unclear[0].leak)}.",
            "It is a leak if the entry is computed from the task's parameters; leave it out then.",
        )


def told_by_family(looked: Sequence[Plays]) -> Iterator[Finding]:
    """Yield findings on entries that number the family."""
    if len(looked) < 2:
        return
    seen = [plays.observations for plays in looked]
    # entries that are constant within each family
    still = np.array([(each == each[:1, :1, :1]).all(axis=(0, 1, 2)) for each in seen]).all(axis=0)
    values = np.array([each[0, 0, 0, still] for each in seen])
    apart = (values != values[0]).any(axis=0)
    entries = np.flatnonzero(still)[apart]
    if shows_which_task(values):
        told = f"which family a task is of, as a number or one-hot, from entry {entries[0]} on"
        yield Fault(f"Observations show {told}.", MEND)
    elif len(looked) == 2 and len(entries) and np.isin(values[:, apart], (0.0, 1.0)).all():
        yield Doubt(
            "Could not tell whether observations show which of two families a task is of: entry "
            f"{entries[0]} is 0 in one and 1 in the other, and never changes.",
            "It is a leak if it names the family; a thing that only one family has would look the same.",
        )


def describe(suite: TaskDistribution, task: Task) -> Sequence[Parameter]:
    """Return the names of a task's parameters."""
    count = len(task.parameters)
    own = suite.describe_parameters(task.family) if isinstance(suite, DescribesParameters) else ()
    if len(own) == count:
        return own
    return [Parameter(f"parameter {number}", observed=False) for number in range(count)]


def trace(env: TaskVectorEnv, plays: Plays, leaks: Sequence[Leak], numbers: Sequence[int]) -> Array:
    """Change single parameters; return the leaks that follow.

    Returns:
        ``[leaks, parameters]``: 1 where a leak changes, 0 where it does not, NaN where the suite takes no
        task with that one parameter changed.
    """
    base = plays.tasks[0]
    found = np.full((len(leaks), len(base.parameters)), np.nan)
    changed = [(number, task) for number in numbers for task in _neighbours(base, plays.tasks[1:], number)]
    width = env.num_envs - 1
    for start in range(0, len(changed), width):
        some = changed[start : start + width]
        together = _changes(env, plays, leaks, [task for _, task in some])
        for slot, (number, task) in enumerate(some):
            # where one of them is refused, only trying each can tell which
            alone = _changes(env, plays, leaks, [task]) if together is None else together[slot : slot + 1]
            if alone is not None:
                found[:, number] = np.fmax(found[:, number], alone[0])
    return found


def _changes(env: TaskVectorEnv, plays: Plays, leaks: Sequence[Leak], tasks: Sequence[Task]) -> Array | None:
    """Return which leaks change ``[tasks, leaks]``, or None if a task is refused."""
    # no longer than it takes to see the last leak
    last = max(leak.since for leak in leaks) + 1
    plans = [plan._replace(actions=plan.actions[:last]) for plan in plays.plans[:3]]
    try:
        played = play_plans(env, [plays.tasks[0], *tasks], plans)
    except (Exception, SystemExit):  # noqa: BLE001 - a task that was put together may fail in any way
        return None
    smallest = rounding(plays.observations)
    changes = np.zeros((len(tasks), len(leaks)))
    for place, leak in enumerate(leaks):
        seen = played.observations[:, leak.since : leak.since + 1, :, leak.entry]
        running = played.valid[:, leak.since : leak.since + 1]
        apart = np.abs(seen[..., 1:] - seen[..., :1]) > smallest[leak.entry]
        changes[:, place] = (apart & running[..., 1:] & running[..., :1]).any(axis=(0, 1))
    return changes


def _neighbours(base: Task, others: Sequence[Task], number: int) -> list[Task]:
    """Return the base task with one parameter set as in other tasks."""
    before, own, after = base.parameters[:number], base.parameters[number], base.parameters[number + 1 :]
    values = dict.fromkeys(task.parameters[number] for task in others if task.parameters[number] != own)
    return [
        Task(base.family, (*before, value, *after), f"{base.id}/{number}={value!r}")
        for value in list(values)[:_TRIES]
    ]


def _traced(leak: Leak, plays: Plays, changes: Array) -> Traced:
    """Return a leak's parameters, of untraceable ones those that it follows."""
    differs = (plays.parameters != plays.parameters[:1]).any(axis=0)
    refused = np.flatnonzero(np.isnan(changes) & differs).tolist()
    follows = [number for number in refused if abs(_correlation(leak, plays, number)) > _ALONG]
    known = np.flatnonzero(changes == 1).tolist()
    if not known and not follows:
        follows = refused
    return Traced(leak, tuple(sorted({*known, *follows})))


def _values(plays: Plays, leaks: Sequence[Leak]) -> Array:
    """Return entries' first values by task, ``[M, entries]``."""
    columns = [plays.observations[0, leak.since, :, leak.entry] for leak in leaks]
    return np.array(columns).reshape(len(columns), len(plays.tasks)).T


def _correlation(leak: Leak, plays: Plays, number: int) -> float:
    """Return how an entry correlates with a parameter."""
    shown = plays.observations[0, leak.since, :, leak.entry]
    given = plays.parameters[:, number]
    if shown.std() == 0 or given.std() == 0:
        return 0.0
    return float(np.corrcoef(shown, given)[0, 1])


def _sentence(traced: Sequence[Traced], described: Sequence[Parameter], plays: Plays) -> str:
    """Describe which entries depend on which parameters, since when and how closely."""
    groups: dict[tuple[Kind, int], list[Traced]] = {}
    for each in traced:
        groups.setdefault((each.leak.kind, each.leak.since), []).append(each)
    said = [_clause(group, described, plays) for group in groups.values()]
    more = sum(len(group) for group in list(groups.values())[_NAMED:])
    return "; ".join(said[:_NAMED]) + (f"; and {more} more" if more else "")


def _clause(group: Sequence[Traced], described: Sequence[Parameter], plays: Plays) -> str:
    """Describe entries of one kind and first step."""
    kind, since = group[0].leak.kind, group[0].leak.since
    numbers = sorted({number for each in group for number in each.parameters})
    names = _listed([described[number].name for number in numbers]) or "no parameter alone"
    several = "entry" if len(group) == 1 else "entries"
    entries = f"{several} {_listed([str(each.leak.entry) for each in group])}"
    # each entry's strongest correlation with one of its parameters
    closest = min(
        max((abs(_correlation(each.leak, plays, number)) for number in each.parameters), default=0.0)
        for each in group
    )
    close = f" (correlation {closest:.2f})" if closest >= _ALONG else ""
    verb = "depends" if len(group) == 1 else "depend"
    when = "from the reset on" if since == 0 else f"from step {since} on"
    return f"{entries} {verb} on {names}{close} {when}, {_HOW[kind]}"


def _reason(leak: Leak) -> str:
    return {
        "relative": "a motor or sensor that is off by a fixed number would look the same",
        "alone": "a thing that moves by itself, and in every task at its own pace, would look the same",
        "function": "a sensor of what the task does to the robot would look the same",
        "start": "a task that changes where an episode starts, or what happens within reset, would look the "
        "same",
    }.get(leak.kind, "other entries differ as well")


_HOW = {
    "constant": "whatever the seed and the actions",
    "relative": "beside a linear function of the state",
    "reward": "as minus the reward does",
    "function": "at equal states",
    "alone": "in the same way whatever the seed and the actions",
    "start": "at equal seeds",
}


def _entries(traced: Sequence[Traced]) -> str:
    numbers = sorted(each.leak.entry for each in traced)
    return f"entry {numbers[0]}" + (f" and {len(numbers) - 1} more" if len(numbers) > 1 else "")


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return listed([*names[:_NAMED], *more])
