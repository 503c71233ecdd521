"""Check that tasks differ, in episodes or state.

A sparse reward looks as if all tasks were the same to any agent that does not reach it. So sameness alone is
no fault: it is one if setting a task leaves no trace in the environment either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from types import FunctionType, MethodType, ModuleType
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import gymnasium
import numpy as np

from metarl.plugins.suite_findings import Doubt, Fault, Finding
from metarl.plugins.suite_plays import Plays, guided_plans, play_plans, siblings, standard_plans
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv

State: TypeAlias = list[dict[str, bytes]]  # digests of attributes by wrapper layer, outermost first

_DEPTH = 6
_READ_STEPS = 100
_GUIDED_TASKS = 6
_SECONDS = 10.0
_OWN = ("np_random", "_np_random", "_np_random_seed", "spec", "metadata", "render_mode")
"""Gymnasium's attributes that are independent of the task."""


@runtime_checkable
class BuildsEnvironments(Protocol):
    """Distribution that builds single environments in this process."""

    def env_factory(self, family: str) -> object:
        """Build an environment of a family."""


def effects_of_tasks(suite: TaskDistribution, env: TaskVectorEnv, plays: Plays) -> Iterator[Finding]:
    """Yield a fault or doubt if no play shows a family's tasks differ."""
    if len(plays.tasks) < 2 or plays.effects:
        return
    family = plays.tasks[0].family
    # standard plays show nothing, so try actions that carry far
    tasks = siblings(suite, family, _GUIDED_TASKS)
    steps = min(suite.horizon, 2000)
    if play_plans(env, tasks, guided_plans(suite.action_space, steps), _SECONDS).effects:
        return
    # still the same: look whether setting a task changes the environment's state
    yield _finding(read_back(suite, env, tasks), _tried(plays))


def _finding(trace: Trace | None, tried: str) -> Finding:
    """Judge what setting a task leaves behind, where all plays were the same."""
    same = "Different tasks give the same episodes"
    if trace is None:
        return Doubt(
            f"Could not tell whether tasks differ: {tried}, and the environment's own state cannot be read "
            "here.",
            "A sparse reward looks like this; see by hand that setting a task changes the environment.",
        )
    if trace.lost:
        return Fault(
            f"{same}: setting a task sets {trace.lost[0]!r} on a wrapper of Gymnasium's, but "
            f"{trace.lost[0]!r} of env.unwrapped stays as it was.",
            "Let setting a task change the environment itself: what is set on a Gymnasium wrapper does not "
            "reach env.unwrapped.",
        )
    if not trace.changed:
        return Fault(
            f"{same}, and setting a task changes nothing in the environment.",
            "Let setting a task change the environment itself, and see that what it sets is not set anew by "
            "reset.",
        )
    could_not_tell = f"Could not tell whether tasks differ: setting one changes {_listed(trace.changed)}, but"
    if trace.unread:
        return Doubt(
            f"{could_not_tell} no step that was tried reads it, and {tried}.",
            "Look whether the name is right; an environment that reads it only where a rare reward is near "
            "would look the same.",
        )
    return Doubt(
        f"{could_not_tell} {tried}.",
        "A reward that is seldom reached looks like this: if it is one, all is well.",
    )


def _tried(plays: Plays) -> str:
    steps = plays.rewards.shape[1]
    return f"episodes of {steps} or more steps under random, held, constant and extreme actions were the same"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (" and more" if len(names) > 3 else "")


class Trace(NamedTuple):
    """Differences that a set task leaves behind."""

    changed: list[str]  # attributes that differ between tasks
    # differences on a wrapper of Gymnasium's, where the environment's own attribute is unchanged
    lost: list[str]
    unread: bool  # whether a few steps seem to read none


def read_back(suite: TaskDistribution, env: TaskVectorEnv, tasks: Sequence[Task]) -> Trace | None:
    """Compare the environment's readable state after each task."""
    try:
        if not isinstance(suite, BuildsEnvironments):
            return _compared([_slots_after(env, task) for task in (tasks[0], *tasks)], [])
        with closing(suite.env_factory(tasks[0].family)) as built:  # type: ignore[type-var]  # it can be closed
            states = [_state_after(built, task) for task in (tasks[0], *tasks)]
            trace = _compared(states, _own_names(built))
            actions = standard_plans(suite.action_space, min(suite.horizon, _READ_STEPS))[2].actions
            return trace._replace(unread=bool(trace.changed) and _unread(built, trace.changed, actions))
    except (Exception, SystemExit):  # noqa: BLE001 - whatever cannot be read leaves the question open
        return None


def _compared(states: Sequence[State], wrapped: Sequence[str]) -> Trace:
    """Compare states after each task, the first of which comes twice.

    Differences between those two are clocks or counts. ``wrapped`` are the attributes that only wrappers
    have.
    """
    again, *others = states
    volatile = {(place, name) for place, name in _differing([again, others[0]])}
    found = [each for each in _differing(others) if each not in volatile]
    inner = len(again) - 1
    reached = {name for place, name in found if place == inner}
    lost = [name for place, name in found if place < inner and name in wrapped and name not in reached]
    return Trace(list(dict.fromkeys(name for _, name in found)), lost, unread=False)


def _differing(states: Sequence[State]) -> list[tuple[int, str]]:
    """Return layers and attributes that differ among states."""
    first = states[0]
    return [
        (place, name)
        for place, layer in enumerate(first)
        for name in layer
        if any(state[place].get(name) != layer[name] for state in states[1:])
    ]


def _own_names(env: object) -> list[str]:
    """Return attributes of Gymnasium's wrappers that the inner environment has too."""
    names: list[str] = []
    inner: object = env
    while isinstance(inner, gymnasium.Wrapper):
        if type(inner).__module__.startswith("gymnasium."):
            names += [name for name in vars(inner) if hasattr(env.unwrapped, name)]  # type: ignore[attr-defined]  # a wrapper
        inner = inner.env
    return names


def _unread(env: object, names: Sequence[str], actions: Array) -> bool:
    """Return whether an episode reads no attribute.

    For the time of the episode, the environment gets a class that notes every name that is looked up.
    """
    target = env.unwrapped  # type: ignore[attr-defined]  # a Gymnasium environment
    kind, looked_up = type(target), set()

    def note(self: object, name: str) -> object:
        looked_up.add(name)
        return object.__getattribute__(self, name)

    traceable = all("__getattribute__" not in vars(base) for base in kind.__mro__[:-1])
    if not traceable or not all(name in vars(target) for name in names):
        return False
    target.__class__ = type(kind.__name__, (kind,), {"__getattribute__": note})
    try:
        env.reset(seed=0)  # type: ignore[attr-defined]  # as above
        for action in actions:
            ended, cut = env.step(action)[2:4]  # type: ignore[attr-defined]  # as above
            if ended or cut:
                break
    finally:
        target.__class__ = kind
    return not looked_up & set(names)


def _slots_after(env: TaskVectorEnv, task: Task) -> State:
    env.set_tasks([task] * env.num_envs)
    env.reset(seed=[0] * env.num_envs)  # type: ignore[arg-type]  # one for each slot
    return [_digests(env)]


def _state_after(env: object, task: Task) -> State:
    """Return each layer's state after a task begins, without metarl's wrappers."""
    env.set_task(task)  # type: ignore[attr-defined]  # a worker's environment has it
    env.reset(seed=0)  # type: ignore[attr-defined]  # as above
    layers = []
    inner: object | None = env
    while inner is not None:
        below = inner.env if isinstance(inner, gymnasium.Wrapper) else None
        if below is None or not type(inner).__module__.startswith("metarl.envs."):
            layers.append(_digests(inner))
        inner = below
    return layers


def _digests(owner: object) -> dict[str, bytes]:
    return {
        name: _digest(value, _DEPTH, frozenset())
        for name, value in vars(owner).items()
        if name not in _OWN and not (name == "env" and isinstance(owner, gymnasium.Wrapper))
    }


def _digest(value: object, depth: int, seen: frozenset[int]) -> bytes:
    """Return bytes that differ where plain values, models or objects do.

    Raises:
        UnreadableError: on an object that keeps its state where Python cannot see it.
    """
    if isinstance(value, bool | int | float | complex | str | bytes | np.generic | type(None)):
        return repr(value).encode()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return repr((value.shape, value.dtype)).encode() + value.tobytes()
    if depth == 0 or id(value) in seen or isinstance(value, _SKIPPED):
        return b"?"
    parts = _parts(value)
    inner = seen | {id(value)}
    return repr(type(value)).encode() + b"|".join(_digest(part, depth - 1, inner) for part in parts)


def _parts(value: object) -> list[object]:
    """Return what an object consists of."""
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, list | tuple | set | frozenset | np.ndarray | deque):
        return list(value)
    # a built-in method: its state is the object it is bound to
    if callable(value) and not hasattr(value, "__dict__"):
        return [getattr(value, "__self__", None)]
    # a closure keeps state in its cells and defaults
    if isinstance(value, FunctionType | MethodType):
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        return [*cells, getattr(value, "__defaults__", None), getattr(value, "__self__", None)]
    module = type(value).__module__
    # MuJoCo's objects have arrays as attributes, without a ``__dict__``
    if module.startswith("mujoco"):
        read = [_read(value, name) for name in dir(value)]
        return [part for part in read if isinstance(part, np.ndarray | float | int)]
    if hasattr(value, "__array__"):
        return [np.asarray(value)]
    attributes = _attributes(value)
    if module.startswith("multiprocessing") or not (attributes or hasattr(value, "__dict__")):
        raise UnreadableError(type(value).__name__)
    return [_read(value, name) for name in attributes]


class UnreadableError(Exception):
    """An object's state that Python cannot see."""


_SKIPPED = (
    *(Task, gymnasium.Space, np.random.Generator, np.random.RandomState, np.random.SeedSequence),
    *(np.dtype, type, ModuleType),
)
"""Objects that are independent of the task."""


def _attributes(value: object) -> list[str]:
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    own = [name for name in getattr(value, "__dict__", {}) if name not in _OWN]
    return [name for name in (*own, *slots) if isinstance(name, str) and not name.startswith("__")]


def _read(value: object, name: str) -> object:
    try:
        return None if name.startswith("__") else getattr(value, name)
    except Exception:  # noqa: BLE001 - a field that cannot be read is no evidence
        return None
