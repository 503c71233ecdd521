"""Goals of Meta-World's published benchmarks, which the installed package draws and a cache keeps.

The package simulates a reset for each goal that it draws: 40 s for ML45. No goal depends on the physics,
which is left out here: 0.5 s for ML1, 3 s for ML10, 10 s for ML45. The goals are written as JSON to
:func:`metarl.system.caches.cache_folder`. If a cache is damaged or cannot be written, they are drawn again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import metaworld
import mujoco
import numpy as np
import numpy.typing as npt
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
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
_REACH = np.array([[-0.4, 0.5], [0.4, 0.95]])  # where wider layouts end: x and y on the table, metres
_CONFINED = {"bin-picking-v3": 0, "hand-insert-v3": 1}  # points in a bin or hole, which stands still
_log = logging.getLogger(__name__)


class Goal(NamedTuple):
    """A benchmark's task, as Meta-World draws it."""

    family: str
    parameters: tuple[float, ...]  # Meta-World's rand_vec: the goal, and in most families the object's start


OfFamily = TypeVar("OfFamily", Goal, Task)


class Goals(NamedTuple):
    """All goals of a benchmark, in Meta-World's order."""

    train: tuple[Goal, ...]
    test: tuple[Goal, ...]  # none in the multi-task benchmarks


def published_goals(benchmark: Benchmark, seed: int, family: str = "", *, width: float = 1.0) -> Goals:
    """Return the goals of a benchmark with its own seed, of ML1 for a family, from the cache if it can.

    Objects and goals lie in boxes ``width`` times as long in x and y as Meta-World's.
    """
    path = _cache_path(benchmark, seed, family, width)
    goals = _read(path)
    if goals is None:
        _log.info("Drawing the goals of Meta-World's %s with seed %d once; some seconds.", benchmark, seed)
        goals = draw_goals(benchmark, seed, family, width=width)
        _write(path, goals)
    return goals


def several_goals(
    benchmark: Benchmark, seed: int, family: str, train: int, test: int, *, width: float = 1.0
) -> Goals:
    """Return ``train`` training goals, in boxes of that width, and ``test`` test goals of each family.

    The first 50 are the published ones of ``seed``; the blocks of 50 that follow are those of ``seed + 2``,
    ``seed + 4``, and so on. ML1 draws its test goals with ``seed + 1``, so 2 keeps its splits apart.
    """

    @functools.cache
    def block(index: int, width: float) -> Goals:
        return published_goals(benchmark, seed + 2 * index, family, width=width)

    def drawn(number: int, width: float) -> list[Goals]:
        return [block(index, width) for index in range(-(-number // PUBLISHED_GOALS))]

    return Goals(
        _first_of_each([goal for part in drawn(train, width) for goal in part.train], train),
        _first_of_each([goal for part in drawn(test, 1.0) for goal in part.test], test),
    )


def last_seed(seed: int, number: int) -> int:
    """Return the last seed of which :func:`several_goals` takes a block, for so many goals."""
    return seed + 2 * (-(-number // PUBLISHED_GOALS) - 1)


def _first_of_each(goals: Sequence[Goal], number: int) -> tuple[Goal, ...]:
    return tuple(goal for family in by_family(goals) for goal in family[:number])


def by_family(goals: Sequence[OfFamily]) -> list[list[OfFamily]]:
    """Return the goals of each family, in order of first appearance."""
    families: dict[str, list[OfFamily]] = {}
    for goal in goals:
        families.setdefault(goal.family, []).append(goal)
    return list(families.values())


def draw_goals(benchmark: Benchmark, seed: int, family: str = "", *, width: float = 1.0) -> Goals:
    """Let Meta-World draw the goals of a benchmark; put NumPy's global generator back."""
    state = np.random.get_state()  # noqa: NPY002  # the generator that Meta-World draws from
    published = SawyerXYZEnv._get_state_rand_vec

    def wider(env: SawyerXYZEnv) -> npt.NDArray[np.float64]:
        env._last_rand_vec = wider_layout(env, published(env), width)
        return env._last_rand_vec

    with ExitStack() as patches:
        patches.enter_context(_replaced("_reset_hand", _reset_without_physics))
        if width != 1.0:
            patches.enter_context(_replaced("_get_state_rand_vec", wider))
        try:
            drawn = _BENCHMARKS[benchmark](*([family] if benchmark == "ml1" else []), seed=seed)
        finally:
            np.random.set_state(state)  # noqa: NPY002  # as above
    return Goals(_decode(drawn.train_tasks), _decode(drawn.test_tasks))


def wider_layout(env: SawyerXYZEnv, vector: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.float64]:
    """Return a layout in wider boxes; a point in a bin or hole keeps its own."""
    space = env._random_reset_space
    assert space is not None
    widths = np.full((len(vector) // 3, 1), width)
    for family, point in _CONFINED.items():
        if isinstance(env, ALL_V3_ENVIRONMENTS[family]):
            widths[point] = 1.0
    return widened(vector, space.low.astype(np.float64), space.high.astype(np.float64), widths)


def widened(
    vector: npt.NDArray[np.float64],
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
    width: float | npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return points in boxes ``width`` times as long in x and y, as far as the hand reaches.

    Args:
        vector: points in their boxes, ``[3 * points]``, x, y and z in metres.
        low: lower ends of the boxes, likewise.
        high: upper ends.
        width: 1 or more; of all points, or of each, ``[points, 1]``.
    """
    points, ends, tops = (values.reshape(-1, 3)[:, :2] for values in (vector, low, high))
    centre, half = (ends + tops) / 2, width * (tops - ends) / 2
    # Meta-World's own box is never cut
    start = np.maximum(centre - half, np.minimum(_REACH[0], ends))
    stop = np.minimum(centre + half, np.maximum(_REACH[1], tops))
    length = tops - ends
    share = np.divide(points - ends, length, out=np.zeros_like(points), where=length > 0)
    moved = vector.copy()
    moved.reshape(-1, 3)[:, :2] = start + share * (stop - start)
    return moved


@contextmanager
def _replaced(name: str, method: Callable[..., object]) -> Iterator[None]:
    """Give Meta-World's environments another method meanwhile."""
    published = getattr(SawyerXYZEnv, name)
    setattr(SawyerXYZEnv, name, method)
    try:
        yield
    finally:
        setattr(SawyerXYZEnv, name, published)


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


def _cache_path(benchmark: Benchmark, seed: int, family: str, width: float) -> Path:
    version = importlib.metadata.version("metaworld")
    wider = f"width{float(width)}" if width != 1.0 else ""
    name = "-".join(filter(None, ["metaworld", version, benchmark, family, wider, f"seed{seed}.json"]))
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
