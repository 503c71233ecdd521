"""Do tasks differ in effect? Where no episode shows it, the environment's own state is read back.

A sparse reward looks as if all tasks were the same to any agent that does not reach it. So sameness alone is
no fault: it is one if setting a task leaves no trace in the environment either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Protocol, runtime_checkable

import gymnasium
import numpy as np

from metarl.suite_findings import Doubt, Fault, Finding
from metarl.suite_plays import Plays, guided_plans, play_plans, siblings
from metarl.tasks import TaskDistribution, TaskVectorEnv
from metarl.types import Task

_DEPTH = 6
_GUIDED_TASKS = 6
_SECONDS = 10.0
_OWN = ("np_random", "_np_random", "_np_random_seed", "spec", "metadata", "render_mode")
"""Attributes of Gymnasium's that say nothing about a task."""


@runtime_checkable
class BuildsEnvironments(Protocol):
    """A distribution that can build one environment in this process."""

    def env_factory(self, family: str) -> object:
        """Build an environment of a family."""
        ...


def effects_of_tasks(suite: TaskDistribution, env: TaskVectorEnv, plays: Plays) -> Iterator[Finding]:
    """Yield a fault or a doubt if no play shows a difference between tasks.

    Args:
        suite: the distribution.
        env: slots, free to be used.
        plays: of several tasks of one family, under the standard plans.
    """
    if len(plays.tasks) < 2 or plays.effects:
        return
    family = plays.tasks[0].family
    tasks = siblings(suite, family, _GUIDED_TASKS)
    steps = min(suite.horizon, 2000)
    if play_plans(env, tasks, guided_plans(suite.action_space, steps), _SECONDS).effects:
        return
    changed, unchanged = read_back(suite, env, tasks) or (None, ())
    same = "Different tasks give the same episodes"
    if changed is None:
        yield Doubt(
            f"Could not tell whether tasks differ: {_tried(plays)}, and the environment's own state cannot "
            "be read here.",
            "A sparse reward looks like this; see by hand that setting a task changes the environment.",
        )
    elif unchanged:
        name, where = unchanged[0]
        yield Fault(
            f"{same}: setting a task sets {name!r} on {where}, but {name!r} of env.unwrapped stays as it "
            "was.",
            "Let setting a task change the environment itself: what is set on a Gymnasium wrapper does not "
            "reach env.unwrapped.",
        )
    elif not changed:
        yield Fault(
            f"{same}, and setting a task changes nothing in the environment.",
            "Let setting a task change the environment itself, and see that what it sets is not set anew by "
            "reset.",
        )
    else:
        yield Doubt(
            f"Could not tell whether tasks differ: setting one changes {_listed(changed)}, but "
            f"{_tried(plays)}.",
            "A reward that is seldom reached looks like this, and so does a number that no step uses.",
        )


def _tried(plays: Plays) -> str:
    steps = plays.rewards.shape[1]
    return f"episodes of {steps} or more steps under random, held, constant and extreme actions were the same"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (" and more" if len(names) > 3 else "")


def read_back(
    suite: TaskDistribution, env: TaskVectorEnv, tasks: Sequence[Task]
) -> tuple[list[str], list[tuple[str, str]]] | None:
    """Set tasks, reset, and compare the state of the environment.

    Returns:
        Attributes that differ between tasks, and those (with their wrapper's name) that differ on a wrapper
        while the environment inside has one of the same name that does not. None if nothing can be read.
    """
    try:
        states = _states(suite, env, tasks)
    except Exception:  # noqa: BLE001 - whatever cannot be read leaves the question open
        return None
    layers = [layer for layer, _ in states[0]]
    changed: dict[str, None] = {}
    lost = []
    inner = [state[-1][1] for state in states]
    for place, layer in enumerate(layers):
        here = [state[place][1] for state in states]
        for name in here[0]:
            if any(each.get(name) != here[0][name] for each in here[1:]):
                changed[name] = None
                still = name in inner[0] and all(each.get(name) == inner[0][name] for each in inner)
                if place < len(layers) - 1 and still:
                    lost.append((name, layer))
    return list(changed), lost


State = list[tuple[str, dict[str, bytes]]]
"""A name and the digests of all attributes for each layer of wrappers, the outermost first."""


def _states(suite: TaskDistribution, env: TaskVectorEnv, tasks: Sequence[Task]) -> list[State]:
    """Return the state after each task's reset: of an environment built here, or of the slots themselves."""
    states = []
    if not isinstance(suite, BuildsEnvironments):
        for task in tasks:
            env.set_tasks([task] * env.num_envs)
            env.reset(seed=[0] * env.num_envs)  # type: ignore[arg-type]  # one for each slot
            states.append([(type(env).__name__, _digests(env))])
        return states
    built = suite.env_factory(tasks[0].family)
    try:
        for task in tasks:
            built.set_task(task)  # type: ignore[attr-defined]  # a worker's environment has it
            built.reset(seed=0)  # type: ignore[attr-defined]  # as above
            states.append(_layers(built))
    finally:
        built.close()  # type: ignore[attr-defined]  # as above
    return states


def _layers(env: object) -> State:
    layers = []
    inner: object | None = env
    while inner is not None:
        hidden = type(inner).__module__.startswith("metarl.envs.")
        below = getattr(inner, "env", None) if isinstance(inner, gymnasium.Wrapper) else None
        if not hidden or below is None:
            layers.append((type(inner).__name__, _digests(inner)))
        inner = below
    return layers


def _digests(owner: object) -> dict[str, bytes]:
    return {
        name: _digest(value, _DEPTH, frozenset())
        for name, value in vars(owner).items()
        if name not in _OWN and not (name == "env" and isinstance(owner, gymnasium.Wrapper))
    }


def _digest(value: object, depth: int, seen: frozenset[int]) -> bytes:
    """Return bytes that differ where values do: of numbers, arrays, containers, models and plain objects.

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
    if callable(value) and not hasattr(value, "__dict__"):
        return [getattr(value, "__self__", None)]
    if isinstance(value, FunctionType | MethodType):
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
        return [*cells, getattr(value, "__defaults__", None), getattr(value, "__self__", None)]
    module = type(value).__module__
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
    """An object keeps its state where Python cannot see it."""


_SKIPPED = (
    *(Task, gymnasium.Space, np.random.Generator, np.random.RandomState, np.random.SeedSequence),
    *(np.dtype, type, ModuleType),
)
"""Objects that say nothing about which task was set."""


def _attributes(value: object) -> list[str]:
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    own = [name for name in getattr(value, "__dict__", {}) if name not in _OWN]
    return [name for name in (*own, *slots) if isinstance(name, str) and not name.startswith("__")]


def _read(value: object, name: str) -> object:
    try:
        return None if name.startswith("__") else getattr(value, name)
    except Exception:  # noqa: BLE001 - a field that cannot be read tells nothing
        return None
