"""Goals of Meta-World's published benchmarks, which the installed package draws and a cache keeps.

The package simulates a reset for each goal that it draws: 40 s for ML45. No goal depends on the physics,
which is left out here: 0.5 s for ML1, 3 s for ML10, 10 s for ML45. The goals are written as JSON to
:func:`metarl.system.caches.cache_folder`. If a cache is damaged or cannot be written, they are drawn again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import metaworld
import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.types import Task as PublishedTask

from metarl.errors import MetarlError
from metarl.storage.files import WriteError, write_text
from metarl.system.caches import cache_folder
from metarl.types import Task

# MT1's goals are ML1's training goals
Benchmark: TypeAlias = Literal["ml1", "ml10", "ml25", "ml45", "mt10", "mt25", "mt50"]

_BENCHMARKS: dict[Benchmark, Callable[..., metaworld.Benchmark]] = {
    "ml1": metaworld.ML1,
    "ml10": metaworld.ML10,
    "ml25": metaworld.ML25,
    "ml45": metaworld.ML45,
    "mt10": metaworld.MT10,
    "mt25": metaworld.MT25,
    "mt50": metaworld.MT50,
}
PUBLISHED_GOALS = 50  # of each family in each split of a published benchmark
_log = logging.getLogger(__name__)


class Goal(NamedTuple):
    """One task of a benchmark, as Meta-World draws it."""

    family: str
    parameters: tuple[float, ...]  # Meta-World's rand_vec: the goal, and in most families the object's start


OfFamily = TypeVar("OfFamily", Goal, Task)


class Goals(NamedTuple):
    """All goals of a benchmark, in Meta-World's order."""

    train: tuple[Goal, ...]
    test: tuple[Goal, ...]  # none in the multi-task benchmarks


def published_goals(benchmark: Benchmark, seed: int, family: str = "") -> Goals:
    """Return the goals of a benchmark with its own seed, of ML1 for a family, from the cache if it can."""
    path = _cache_path(benchmark, seed, family)
    goals = _read(path)
    if goals is None:
        _log.info("Drawing the goals of Meta-World's %s with seed %d once; some seconds.", benchmark, seed)
        goals = draw_goals(benchmark, seed, family)
        _write(path, goals)
    return goals


def several_goals(benchmark: Benchmark, seed: int, family: str, train: int, test: int) -> Goals:
    """Return ``train`` training goals and ``test`` test goals of each family.

    The first 50 are the published ones of ``seed``; the blocks of 50 that follow are those of ``seed + 2``,
    ``seed + 4``, and so on. ML1 draws its test goals with ``seed + 1``, so 2 keeps its splits apart.
    """
    blocks = [
        published_goals(benchmark, seed + 2 * block, family)
        for block in range(-(-max(train, test) // PUBLISHED_GOALS))
    ]
    return Goals(
        _first_of_each([goal for block in blocks for goal in block.train], train),
        _first_of_each([goal for block in blocks for goal in block.test], test),
    )


def _first_of_each(goals: Sequence[Goal], number: int) -> tuple[Goal, ...]:
    return tuple(goal for family in by_family(goals) for goal in family[:number])


def by_family(goals: Sequence[OfFamily]) -> list[list[OfFamily]]:
    """Return the goals of each family, in order of first appearance."""
    families: dict[str, list[OfFamily]] = {}
    for goal in goals:
        families.setdefault(goal.family, []).append(goal)
    return list(families.values())


def draw_goals(benchmark: Benchmark, seed: int, family: str = "") -> Goals:
    """Let Meta-World draw the goals of a benchmark; put NumPy's global generator back."""
    state = np.random.get_state()  # noqa: NPY002  # the generator that Meta-World draws from
    reset_hand = SawyerXYZEnv._reset_hand
    try:
        setattr(SawyerXYZEnv, "_reset_hand", _reset_without_physics)  # noqa: B010  # a method
        drawn = _BENCHMARKS[benchmark](*([family] if benchmark == "ml1" else []), seed=seed)
    finally:
        setattr(SawyerXYZEnv, "_reset_hand", reset_hand)  # noqa: B010
        np.random.set_state(state)  # noqa: NPY002  # as above
    return Goals(_decode(drawn.train_tasks), _decode(drawn.test_tasks))


def _reset_without_physics(env: SawyerXYZEnv, steps: int = 0) -> None:
    """Leave the hand where it is, which no goal depends on."""
    mujoco.mj_forward(env.model, env.data)
    env.init_tcp = env.tcp_center


def _decode(tasks: Sequence[PublishedTask]) -> tuple[Goal, ...]:
    """Unpack Meta-World's tasks, pickles that the package itself has just made.

    Raise ``MetarlError`` if they hold anything that a :class:`Goal` would lose.
    """
    goals = []
    for task in tasks:
        data = pickle.loads(task.data)
        if set(data) != {"env_cls", "rand_vec", "partially_observable"}:
            raise MetarlError(
                f"This version of Meta-World says more of a task than its goal: {sorted(data)}."
            )
        goals.append(Goal(task.env_name, tuple(data["rand_vec"].tolist())))
    return tuple(goals)


def _cache_path(benchmark: Benchmark, seed: int, family: str) -> Path:
    version = importlib.metadata.version("metaworld")
    name = "-".join(filter(None, ["metaworld", version, benchmark, family, f"seed{seed}.json"]))
    return cache_folder() / name


def _read(path: Path) -> Goals | None:
    """Return a cache file's goals, None if there is none or it is not whole."""
    try:
        data = json.loads(path.read_bytes())
        goals = Goals(*(tuple(Goal(name, tuple(v)) for name, v in data[split]) for split in Goals._fields))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        goals, data = None, {}
    if goals is None or data.get("sha256") != _checksum(goals):
        _log.warning("The cache file %s is damaged; the goals are drawn again.", path)
        return None
    return goals


def _write(path: Path, goals: Goals) -> None:
    text = json.dumps({"sha256": _checksum(goals), **goals._asdict()})
    try:
        write_text(path, text)
    except WriteError as error:
        _log.warning("The goals cannot be kept: %s", error)


def _checksum(goals: Goals) -> str:
    return hashlib.sha256(json.dumps(goals).encode()).hexdigest()
