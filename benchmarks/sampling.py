"""Environment steps per second on ML10: our engines, AsyncVectorEnv on the same tasks, and the physics alone.

Every contender gets the same tasks and random actions. AsyncVectorEnv runs the environments of our process
engine, whose resets are a hundred times faster than Meta-World's own. The physics alone is five ``mj_step``
and the ``mj_forward`` that Meta-World takes after them, with the arm following a mocap that moves as the
actions say, on models without what only a camera sees, in a thread a core: no observation, no reward, no
reset.
"""

from __future__ import annotations

import copy
import functools
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import mujoco
import numpy as np
import psutil
import tyro
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from rich.table import Table

from metarl.envs.metaworld import MetaWorldTasks, ML10Config
from metarl.envs.metaworld_env import MetaWorldEnv
from metarl.envs.metaworld_shared import family
from metarl.errors import require
from metarl.tasks import Array
from metarl.types import Task
from workloads import cores, in_turn, machine, ratios, spread, wide_console

THREADS, PROCESSES, ASYNC, PHYSICS = "threads", "processes", "AsyncVectorEnv", "physics alone"
TASKS = 20
FRAME_SKIP = 5
METRES_PER_ACTION = 0.01


class Seconds(NamedTuple):
    """What a rollout took."""

    reset: float
    steps: float
    processors: float
    """Time of all processors together, reset and steps, which another load on the machine hardly changes."""


class Draw(NamedTuple):
    """What a rollout runs."""

    tasks: list[Task]
    """One for each world; the families come in the same order every time."""
    actions: Array
    """``[T, N, 4]``."""


Contender: TypeAlias = Callable[[Draw], Seconds]


def main(
    *, worlds: tuple[int, ...] = (20, 200), horizon: int = 500, repeats: int = 5, all: bool = False
) -> None:
    """Measure how fast environments are stepped.

    Args:
        worlds: numbers of environments to step at once, multiples of 20.
        horizon: steps of an episode; a rollout is one episode in every world.
        repeats: rollouts of each contender.
        all: run AsyncVectorEnv with more than 20 worlds too, with a process of 300 MB for each.
    """
    for count in worlds:
        require(count >= TASKS and count % TASKS == 0, f"worlds must be a multiple of {TASKS}", count)
    console = wide_console()
    console.print(machine())
    table = Table(
        title=f"ML10, {horizon} steps per episode: env steps/s, median [least, greatest] of {repeats}",
        caption="ratios are of rollouts side by side",
    )
    table.add_column("worlds", justify="right")
    table.add_column("")
    for column in ("with resets", "without", "threads / it, with", "without", "processor us/step"):
        table.add_column(column, justify="right")
    suite = ML10Config(horizon=horizon).build()
    verdicts = []
    for count in worlds:
        taken = compare(suite, count, repeats, with_async=all or count <= TASKS)
        add_rows(table, count, count * horizon, taken)
        pairs = [(THREADS, PHYSICS), (THREADS, ASYNC), (PROCESSES, ASYNC)]
        verdicts += [verdict(count, taken, *pair) for pair in pairs if set(pair) <= taken.keys()]
    console.print(table)
    console.print("\n".join(verdicts))


def verdict(worlds: int, taken: dict[str, list[Seconds]], name: str, other: str) -> str:
    """Say how much faster one contender is than another, resets included."""
    by_clock = statistics.median(ratios(totals(taken[other]), totals(taken[name])))
    by_processor = statistics.median(ratios(of_processors(taken[other]), of_processors(taken[name])))
    ratio = f"{by_clock:.2f} by the clock, {by_processor:.2f} by processor time"
    return f"{worlds} worlds: {name} / {other} = {ratio}"


def compare(
    suite: MetaWorldTasks, worlds: int, repeats: int, *, with_async: bool
) -> dict[str, list[Seconds]]:
    """Let all contenders take the same rollouts in turn, the first of them for warming up."""
    first = draw(suite, worlds, np.random.default_rng(0))
    engines = {name: suite.make_vector_env(worlds, engine=name) for name in (THREADS, PROCESSES)}
    envs: list[VectorEnv[Array, Array, Array]] = [*engines.values()]
    contenders: dict[str, Contender] = {
        name: functools.partial(roll, env, env.set_tasks) for name, env in engines.items()
    }
    if with_async:
        one_a_process = async_vector_env(first.tasks, suite.horizon)
        envs.append(one_a_process)
        contenders[ASYNC] = functools.partial(
            roll, one_a_process, functools.partial(one_a_process.set_attr, "task")
        )
    contenders[PHYSICS] = Physics(first.tasks).roll
    try:
        for contender in contenders.values():
            contender(Draw(first.tasks, first.actions[:20]))
        return in_turn(
            {name: rollouts(suite, worlds, contender) for name, contender in contenders.items()}, repeats
        )
    finally:
        for env in envs:
            env.close()


def rollouts(suite: MetaWorldTasks, worlds: int, contender: Contender) -> Callable[[], Seconds]:
    """Return what takes the next rollout when called; it is the same sequence for every contender."""
    rng = np.random.default_rng(1)
    return lambda: contender(draw(suite, worlds, rng))


def draw(suite: MetaWorldTasks, worlds: int, rng: np.random.Generator) -> Draw:
    """Draw 20 tasks, two goals of each family, equally many worlds for each, and actions."""
    drawn = suite.sample(TASKS, rng)
    tasks = [task for task in drawn for _ in range(worlds // TASKS)]
    return Draw(tasks, rng.uniform(-1.0, 1.0, (suite.horizon, len(tasks), 4)))


def roll(env: VectorEnv[Array, Array, Array], set_tasks: Callable[[list[Task]], None], draw: Draw) -> Seconds:
    """Set the tasks, reset, and take all steps."""
    actions = draw.actions.astype(np.float32)
    processors, start = processor_seconds(), time.perf_counter()
    set_tasks(draw.tasks)
    env.reset()
    middle = time.perf_counter()
    for row in actions:
        env.step(row)
    end = time.perf_counter()
    return Seconds(middle - start, end - middle, processor_seconds() - processors)


def processor_seconds() -> float:
    """Return the processor time that this process and its workers have had."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (me, *me.children(recursive=True)))


class Settable(MetaWorldEnv):
    """Ours with the task as an attribute, which is what AsyncVectorEnv can set in each environment."""

    @property
    def task(self) -> Task | None:
        """What the next reset starts."""
        return self._task

    @task.setter
    def task(self, task: Task) -> None:
        self.set_task(task)


def async_vector_env(tasks: Sequence[Task], horizon: int) -> AsyncVectorEnv[Array, Array]:
    """Return Gymnasium's vector environment: the same environments as ours, a process for each."""
    builders = [functools.partial(Settable, task.family, horizon=horizon) for task in tasks]
    return AsyncVectorEnv(builders, autoreset_mode=AutoresetMode.DISABLED)


class Physics:
    """Simulations that threads step, and nothing else."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Build a simulation for each task; those of one task share a model."""
        groups = [(task, len(list(group))) for task, group in itertools.groupby(tasks)]
        envs = [env for task, size in groups for env in [family(task.family).build(None)] * size]
        models = [model for task, size in groups for model in [_model(task)] * size]
        self._simulations = [(model, mujoco.MjData(model)) for model in models]
        self._low = np.array([env.mocap_low for env in envs])
        self._high = np.array([env.mocap_high for env in envs])

    def roll(self, draw: Draw) -> Seconds:
        """Start every simulation where a reset leaves it, and take all steps."""
        for (model, data), task in zip(self._simulations, draw.tasks, strict=True):
            fresh = family(task.family).start(task.parameters)
            fresh.place(model)
            mujoco.mj_setState(model, data, fresh.physics, mujoco.mjtState.mjSTATE_INTEGRATION)
        path, fingers = self._path(draw.actions[..., :3]), draw.actions[..., 3:] * [1.0, -1.0]
        shares = [slice(first, None, cores()) for first in range(cores())]
        processors, start = processor_seconds(), time.perf_counter()
        with ThreadPoolExecutor(len(shares)) as pool:
            threads = [
                pool.submit(_advance, self._simulations[share], path[:, share], fingers[:, share])
                for share in shares
            ]
            for thread in threads:
                thread.result()
        end = time.perf_counter()
        return Seconds(0.0, end - start, processor_seconds() - processors)

    def _path(self, moves: Array) -> Array:
        """Return where the mocaps are at each step, ``[T, N, 3]``."""
        position = np.array([data.mocap_pos[0] for _, data in self._simulations])
        path = np.empty_like(moves)
        for step, move in enumerate(moves):
            path[step] = position = np.clip(position + METRES_PER_ACTION * move, self._low, self._high)
        return path


def _model(task: Task) -> mujoco.MjModel:
    return copy.copy(family(task.family).build(None).model)


def _advance(
    simulations: Sequence[tuple[mujoco.MjModel, mujoco.MjData]], path: Array, fingers: Array
) -> None:
    for positions, controls in zip(path, fingers, strict=True):
        for (model, data), position, control in zip(simulations, positions, controls, strict=True):
            data.mocap_pos[0] = position
            data.ctrl[:] = control
            mujoco.mj_step(model, data, nstep=FRAME_SKIP)
            mujoco.mj_forward(model, data)


def totals(taken: Sequence[Seconds]) -> list[float]:
    """Return the seconds of each rollout, its reset included."""
    return [seconds.reset + seconds.steps for seconds in taken]


def of_processors(taken: Sequence[Seconds]) -> list[float]:
    """Return the processor time of each rollout."""
    return [seconds.processors for seconds in taken]


def without_resets(taken: Sequence[Seconds]) -> list[float]:
    """Return the seconds of each rollout's steps."""
    return [seconds.steps for seconds in taken]


def add_rows(table: Table, worlds: int, steps: int, taken: dict[str, list[Seconds]]) -> None:
    """Add a row for each contender."""
    ours = taken[THREADS]
    for name, other in taken.items():
        whole, stepping = totals(other), without_resets(other)
        table.add_row(
            str(worlds),
            name,
            "" if name == PHYSICS else spread([steps / seconds for seconds in whole], ",.0f"),
            spread([steps / seconds for seconds in stepping], ",.0f"),
            spread(ratios(whole, totals(ours)), ".2f"),
            spread(ratios(stepping, without_resets(ours)), ".2f"),
            spread([1e6 * seconds / steps for seconds in of_processors(other)], ".0f"),
        )
    table.add_section()


if __name__ == "__main__":
    tyro.cli(main)
