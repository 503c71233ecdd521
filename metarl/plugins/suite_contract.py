"""Checks of a suite's vector environment: spaces, ends of episodes, resets, success, and its own memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from metarl.errors import MetarlError
from metarl.plugins.suite_findings import Fault, describe_error
from metarl.plugins.suite_probe import SLOTS, Probe
from metarl.rollouts.scripted import play, steps


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


def takes_any_action(probe: Probe) -> Iterator[Fault]:
    """Check actions as a policy draws them, beyond the bounds too."""
    if not isinstance(probe.suite.action_space, Box):
        return
    count, size = min(20, probe.length), probe.suite.action_space.shape
    drawn = 2.0 * np.random.default_rng(2).standard_normal((count, SLOTS, *size))
    try:
        play(probe.env, probe.tasks, drawn.astype(probe.suite.action_space.dtype))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, training would meet it
        yield Fault(
            f"An action beyond the action space raises an exception: {describe_error(error)}.",
            "Clip actions in step, since a policy draws them from a normal distribution; from_gymnasium and "
            'from_vector_env do so unless actions="raw" is given.',
        )


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
