"""Check of the promises that a suite makes, on a few slots.

Lists and samples of tasks are tried (:mod:`metarl.tasks`), then whole episodes with known actions, on the
suite's fastest engine as in training. A fault is a sentence with how to mend it. A doubt is no fault: it says
what the check could not tell, and why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from metarl.errors import MetarlError
from metarl.plugins.suite_effects import effects_of_tasks
from metarl.plugins.suite_findings import Doubt, Fault, Finding, Findings
from metarl.plugins.suite_plays import TASKS, Plays, guided_plans, play_plans, siblings, standard_plans
from metarl.plugins.suite_secrets import told_by_family, told_by_observations
from metarl.rollouts.scripted import draw_actions, play, same, steps
from metarl.spaces import action_size, vectors
from metarl.tasks import TaskDistribution, TestsOnTrainingTasks, check_disjoint
from metarl.vector_env import Array, TaskVectorEnv

SLOTS = 4
STEPS = 100
"""Most steps of an episode in the checks; longer ones are run once, to see that they end."""
_DRAWN = 100
_FAMILIES = 12
"""Most families that are searched for leaks."""
_SECONDS = 15.0
"""Time after which no further family is searched."""


class Probe:
    """Distribution, environment and plays that the checks share."""

    def __init__(self, suite: TaskDistribution) -> None:
        self.suite = suite
        self.env: TaskVectorEnv = suite.make_vector_env(SLOTS)
        self.tasks = suite.sample(SLOTS, np.random.default_rng(5))
        self.length = min(suite.horizon, STEPS)
        self.actions = self.draw(self.length)
        self.whole = play(self.env, self.tasks, self.actions)
        """An episode of each task, or its beginning."""

    @cached_property
    def is_random(self) -> bool:
        """Whether two plays in a row differ, of the same tasks, seeds and actions."""
        again = play(self.env, self.tasks, self.actions)
        # what is left of the tasks before may change the first play of all
        return not same(again, self.whole) and not same(play(self.env, self.tasks, self.actions), again)

    def draw(self, num_steps: int, seed: int = 0) -> Array:
        """Draw actions for all slots."""
        return draw_actions(self.suite.action_space, num_steps, SLOTS, seed)

    @cached_property
    def wide(self) -> TaskVectorEnv:
        """Vector environment with a slot per compared task."""
        return self.suite.make_vector_env(TASKS)

    @cached_property
    def families(self) -> list[str]:
        """All families to train on."""
        return list(dict.fromkeys(task.family for task in self.suite.tasks("train")))

    @cached_property
    def first(self) -> Plays:
        """Plays of the first family."""
        return self.compare(self.families[0])

    def compare(self, family: str) -> Plays:
        """Play a family's tasks alike, as time allows."""
        plans = standard_plans(self.suite.action_space, self.suite.horizon)
        return play_plans(self.wide, siblings(self.suite, family), plans)

    def close(self) -> None:
        """Close all environments."""
        self.env.close()
        if "wide" in self.__dict__:
            self.wide.close()


Check = Callable[[Probe], Iterator[Finding | str]]
"""Iterator of faults, doubts and omitted parts."""
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
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
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


def numbers_are_finite(probe: Probe) -> Iterator[Fault]:
    """Check for numbers that float32 cannot hold; they spoil every other comparison."""
    observations, rewards = probe.whole.observations, probe.whole.rewards
    for name, part in (("an observation", observations), ("a reward", rewards)):
        # what overflows float32 becomes infinite
        with np.errstate(over="ignore"):
            finite = np.isfinite(part.astype(np.float32))
        if finite.all():
            continue
        step, slot, *_ = first = tuple(np.argwhere(~finite)[0])
        large = np.isfinite(part[first])
        yield Fault(
            f"In task {probe.tasks[slot].id!r}, step {step + (part is rewards)}, {name} is "
            + ("too large for float32, in which agents compute." if large else "not finite."),
            "Scale it down in the environment."
            if large
            else "Find the division or the overflow in step, or end the episode before it comes to that.",
        )


def respects_spaces(probe: Probe) -> Iterator[Fault]:
    """Check that the environment keeps its spaces."""
    env, space, observations = probe.env, probe.suite.observation_space, probe.whole.observations
    if env.single_observation_space != space or env.single_action_space != probe.suite.action_space:
        yield Fault(
            "The vector environment has other spaces than the distribution.",
            "Give both the same observation_space and action_space.",
        )
    outside = (observations < space.low) | (observations > space.high)
    if outside.any():
        entry = int(np.argwhere(outside)[0][-1])
        yield Fault(
            f"An observation leaves its space: entry {entry} is not within "
            f"{space.low[entry]:g}..{space.high[entry]:g}.",
            "Widen the bounds of observation_space, or clip.",
        )
    if observations.dtype != space.dtype:
        yield Fault(
            f"Observations are {observations.dtype}, their space says {space.dtype}.",
            "Give the Box the dtype of what reset and step return.",
        )


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


def takes_any_action(probe: Probe) -> Iterator[Fault]:
    """Check actions as a policy draws them, beyond the bounds too."""
    if not isinstance(probe.suite.action_space, Box):
        return
    count, size = min(20, probe.length), probe.suite.action_space.shape
    drawn = 2.0 * np.random.default_rng(2).standard_normal((count, SLOTS, *size))
    try:
        play(probe.env, probe.tasks, drawn.astype(probe.suite.action_space.dtype))
    except Exception as error:  # noqa: BLE001 - whatever it is, training would meet it
        yield Fault(
            f"An action beyond the action space raises an exception: {describe_error(error)}.",
            "Clip actions in step, since a policy draws them from a normal distribution; from_gymnasium and "
            'from_vector_env do so unless actions="raw" is given.',
        )


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


def truncates_at_the_horizon(probe: Probe) -> Iterator[Fault]:
    """Check the end of episodes, and afterwards."""
    horizon = probe.suite.horizon
    trajectory = play(probe.env, probe.tasks, probe.draw(horizon + 2))
    if (trajectory.terminated & trajectory.truncated).any():
        yield Fault(
            "A step says both terminated and truncated.",
            "Say terminated alone where the task has ended the episode.",
        )
    # true after steps at which the episode still runs
    running = ~np.logical_or.accumulate(trajectory.terminated | trajectory.truncated)
    lengths = 1 + running.sum(axis=0)
    cut = trajectory.truncated.any(axis=0)
    if running[-1].any() or (lengths > horizon).any():
        yield Fault(
            f"Episodes should be truncated after {horizon} steps, their horizon, but are later or never.",
            "Give the horizon that the environment keeps, or let it keep the one that is given.",
        )
        return
    if (cut & (lengths < horizon)).any():
        yield from _early_cuts(probe, lengths[cut])
    # steps past each episode's end
    after = np.arange(1, horizon + 3)[:, None] > lengths
    flags = (trajectory.terminated | trajectory.truncated | trajectory.success)[after]
    if trajectory.rewards[after].any() or flags.any():
        yield Fault(
            "A slot whose episode is over goes on giving rewards or flags.",
            "Disable autoreset: such a slot stays idle, with zero rewards, until a reset names it.",
        )


def _early_cuts(probe: Probe, lengths: npt.NDArray[np.intp]) -> Iterator[Fault]:
    """Check for episodes of one early length."""
    horizon = probe.suite.horizon
    truncated = (probe.first.ends & 2).astype(np.bool_)
    others = 1 + truncated.argmax(axis=1)[truncated.any(axis=1)]
    found = {*lengths.tolist(), *others.tolist()}
    if len(found) == 1 and max(found) < horizon:
        yield Fault(
            f"Episodes should be cut after {horizon} steps, their horizon, but are at step {max(found)}.",
            f"Give horizon={max(found)}; where tasks have limits of their own, the horizon is the longest.",
        )


def keeps_arrays_apart(probe: Probe) -> Iterator[Fault]:
    """Keep what was returned, and write to it."""
    probe.env.set_tasks(probe.tasks)
    kept = [probe.env.reset(seed=0)[0]]
    copies = [kept[0].copy()]
    for action in probe.actions[:3]:
        kept.append(probe.env.step(action)[0])
        copies.append(kept[-1].copy())
    if not np.array_equal(kept, copies):
        yield Fault(
            "An observation changes after it was returned.",
            "Return a copy, not the array that the environment goes on writing to.",
        )
    probe.env.set_tasks(probe.tasks)
    seen = probe.env.reset(seed=0)[0]
    if not seen.flags.writeable:
        return
    # spoil every entry of the returned array, then see whether the episode minds
    seen[...] = seen == 0
    again = steps(probe.env, probe.actions[:3], seen)
    if not np.array_equal(again.observations[1:], copies[1:]):
        yield Fault(
            "Writing to a returned observation changes the environment.",
            "Return a copy, not the environment's own state.",
        )


def resets_by_mask(probe: Probe) -> Iterator[Fault]:
    """Reset some slots in the middle."""
    # after one step, reset every second slot
    half = np.arange(SLOTS) % 2 == 0
    begun = play(probe.env, probe.tasks, probe.actions[:1])
    seen, _ = probe.env.reset(seed=0, options={"reset_mask": half})
    if not np.array_equal(seen[~half], begun.observations[-1][~half]):
        yield Fault(
            'A reset with options["reset_mask"] changes slots that it does not name.',
            "Let it start episodes in the named slots and leave the others alone.",
        )
    if not np.array_equal(seen[half], begun.observations[0][half]):
        yield Fault(
            'A reset with options["reset_mask"] does not start the slots that it names.',
            "Let it start them just as a reset of all slots would.",
        )


def tells_success(probe: Probe) -> Iterator[Fault]:
    """Listen to what the infos say of success."""
    if not probe.suite.reports_success:
        return
    play(probe.env, probe.tasks, probe.actions[:-1])
    infos = probe.env.step(probe.actions[-1])[-1]
    success = infos.get("success")
    if not isinstance(success, np.ndarray) or success.shape != (SLOTS,) or success.dtype != np.bool_:
        yield Fault(
            "The distribution reports success, but no step says so.",
            'Give the right success_key, or fill infos["success"] with a truth value for each slot.',
        )


def refuses_too_many_tasks(probe: Probe) -> Iterator[Fault]:
    """Set more tasks than there are slots."""
    try:
        probe.env.set_tasks([probe.tasks[0]] * (SLOTS + 1))
    except MetarlError:
        return
    yield Fault(
        "set_tasks takes more tasks than there are slots.",
        "Call metarl.vector_env.check_fits in it, which refuses them.",
    )


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
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
        yield _raised(check.__name__.replace("_", " "), error)


def _raised(what: str, error: Exception) -> Fault:
    return Fault(f"An exception was raised ({what}): {describe_error(error)}.", "Mend that first.")


def describe_error(error: Exception) -> str:
    """Return an exception's text, without its full stop."""
    text = str(error) if isinstance(error, MetarlError) else f"{type(error).__name__}: {error}"
    return text.rstrip(".")
