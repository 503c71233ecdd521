"""Environment steps per second of Gymnasium's robots: ours, Gymnasium's vector environments, bare physics.

All step the same worlds from the same states with the same random actions; no episode ends early, so that all
take the same steps. Bare physics is ``mj_step`` alone: a compiled loop on each core over its share of the
worlds, which waits for no other core, without observation, reward, contact forces or reset.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from rich.table import Table

from benchmarks.program import run
from benchmarks.speed.contenders import processor_seconds
from benchmarks.workloads import cores, in_turn, machine, ratios, spread, wide_console
from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName, WorldState
from metarl.envs.engines.threads.worlds import Finish
from metarl.envs.locomotion.robots import ROBOTS
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.envs.locomotion.threads import LocomotionVectorEnv
from metarl.errors import require
from metarl.vector_env import Array

COMPILED, PORTABLE, ASYNC, SYNC, BARE = (
    "compiled",
    "portable",
    "AsyncVectorEnv",
    "SyncVectorEnv",
    "bare mj_step",
)
MOST_PROCESSES = 20

Actions: TypeAlias = npt.NDArray[np.float32]


class Taken(NamedTuple):
    """Seconds of a rollout."""

    clock: float
    processors: float
    """Seconds of all processors together, which another load on the machine changes less."""


Results: TypeAlias = dict[str, list[Taken]]


def main(
    *,
    robots: tuple[str, ...] = tuple(ROBOTS),
    worlds: tuple[int, ...] = (20, 200),
    steps: int = 300,
    repeats: int = 5,
) -> None:
    """Measure how fast the robots are stepped.

    Args:
        robots: Gymnasium's ids.
        worlds: numbers of environments to step at once; AsyncVectorEnv takes part up to 20.
        steps: steps of a rollout, in every world, after a reset that counts too.
        repeats: rollouts of each contender.
    """
    require(1 <= steps <= 1000, "steps must lie in 1..1000", steps)
    require(repeats >= 1, "repeats must be 1 or more", repeats)
    console = wide_console()
    console.print(machine())
    table = empty_table("robot", steps, repeats)
    for robot in robots:
        for count in worlds:
            add_rows(table, robot, count, steps, measure(robot, count, steps, repeats))
    console.print(table)


def measure(robot: str, worlds: int, steps: int, repeats: int) -> Results:
    """Measure all contenders on the same rollouts in turn, after a short warm-up."""
    with ExitStack() as open_ones:
        contenders = build(robot, worlds, open_ones)
        size = ours(robot, 1, "portable", open_ones).single_action_space.shape or ()
        actions = np.random.default_rng(0).uniform(-1.0, 1.0, (steps, worlds, *size)).astype(np.float32)
        for contender in contenders.values():
            contender(actions[:10])
        rolls = {name: functools.partial(timed, roll, actions) for name, roll in contenders.items()}
        return in_turn(rolls, repeats)


def build(robot: str, worlds: int, open_ones: ExitStack) -> dict[str, Callable[[Actions], None]]:
    """Return a function that takes a rollout, for each contender."""
    compiled = ours(robot, worlds, "compiled", open_ones)
    single = functools.partial(gymnasium.make, robot, **lasting(robot))  # type: ignore[arg-type]  # options of many types
    envs: dict[str, VectorEnv[Array, Array, Array]] = {
        COMPILED: compiled,
        PORTABLE: ours(robot, worlds, "portable", open_ones),
        SYNC: SyncVectorEnv([single] * worlds),
    }
    if worlds <= MOST_PROCESSES:
        envs[ASYNC] = AsyncVectorEnv([single] * worlds)
        open_ones.callback(envs[ASYNC].close)
    return {
        **{name: functools.partial(roll, env) for name, env in envs.items()},
        BARE: bare(compiled, worlds, open_ones),
    }


def lasting(robot: str) -> dict[str, object]:
    """Return the options with which no episode terminates."""
    return {} if ROBOTS[robot].is_healthy is None else {"terminate_when_unhealthy": False}


def ours(robot: str, worlds: int, stepper: StepperName, open_ones: ExitStack) -> LocomotionVectorEnv:
    """Return our engine."""
    family = LocomotionFamily(name=robot, robot=robot, options=lasting(robot))
    env = LocomotionVectorEnv(family, num_envs=worlds, stepper=stepper)
    open_ones.callback(env.close)
    return env


def roll(env: VectorEnv[Array, Array, Array], actions: Actions) -> None:
    """Reset, and take all steps."""
    env.reset(seed=0)
    for row in actions:
        env.step(row)


def bare(env: LocomotionVectorEnv, worlds: int, open_ones: ExitStack) -> Callable[[Actions], None]:
    """Return a function that only steps an environment's worlds from their reset states."""
    env.reset(seed=0)
    theirs, skip = env._physics, env._models.frame_skip
    shares = [range(first, worlds, cores()) for first in range(min(cores(), worlds))]
    pools = []
    for share in shares:
        pool = BatchedPhysics(
            theirs.models, [0] * len(share), stepper="compiled", num_threads=1, finish=Finish.NOTHING
        )
        open_ones.callback(pool.close)
        pools.append(pool)
    states = [[state._replace(features=np.zeros(0)) for state in theirs.get_state(share)] for share in shares]
    threads = open_ones.enter_context(ThreadPoolExecutor(len(pools)))

    def take(actions: Actions) -> None:
        controls = [actions[:, share].astype(np.float64) for share in shares]
        running = [threads.submit(advance, *each, skip) for each in zip(pools, states, controls, strict=True)]
        for each in running:
            each.result()

    return take


def advance(pool: BatchedPhysics, states: Sequence[WorldState], controls: Array, skip: int) -> None:
    """Step a share of the worlds."""
    pool.set_state(range(pool.num_worlds), states)
    for row in controls:
        pool.step(skip, ctrl=row)


def timed(take: Callable[[Actions], None], actions: Actions) -> Taken:
    """Take a rollout, and return its seconds."""
    processors, start = processor_seconds(), time.perf_counter()
    take(actions)
    return Taken(time.perf_counter() - start, processor_seconds() - processors)


def empty_table(what: str, steps: int, repeats: int) -> Table:
    """Return a table for :func:`add_rows`; ``what`` heads the first column."""
    table = Table(
        title=f"{steps} steps per rollout: median [least, greatest] of {repeats}",
        caption="ratios are of rollouts side by side, to the first row's",
    )
    for name in (what, "worlds", "", "env steps/s", "first / it", "processor us/step", "it / first"):
        table.add_column(name, justify="left" if name in (what, "") else "right")
    return table


def add_rows(table: Table, robot: str, worlds: int, steps: int, results: Results) -> None:
    """Add a row for each contender; ratios are to the first of them."""
    first = next(iter(results))
    clock = {name: [taken.clock for taken in them] for name, them in results.items()}
    processors = {name: [taken.processors for taken in them] for name, them in results.items()}
    total = worlds * steps
    for name in results:
        table.add_row(
            robot,
            str(worlds),
            name,
            spread([total / seconds for seconds in clock[name]], ",.0f"),
            spread(ratios(clock[name], clock[first]), ".2f"),
            spread([1e6 * seconds / total for seconds in processors[name]], ".1f"),
            spread(ratios(processors[name], processors[first]), ".2f"),
        )
    table.add_section()


if __name__ == "__main__":
    run(main)
