"""Environment steps per second on Meta-World: our engine, other engines, and physics alone.

In one run, side by side, on the same tasks with the same actions:

* our engine with the compiled and with the portable stepper, by ``env.step``, which gives observations and
  rewards at every step; and the compiled one through ``collect`` with a 64 x 64 policy for each task;
* the process engine, and Gymnasium's AsyncVectorEnv on the environments of that engine, which are
  Meta-World's own. With a process of up to 300 MB for each world it runs 20 worlds
  unless ``--all`` is given; beside more worlds of ours those same 20 are its figure;
* EnvPool, where it is installed: its goals cannot be fixed, so its rollouts are like ours but not the same.
  ``pip install envpool`` into this environment or into another one that ``--envpool-python`` names;
* the limit, which is the physics alone: see ``bare_physics.py``.

A rollout is one episode in every world, reset included. ML45 and the single tasks run shorter episodes, so
that all of it takes less than ten minutes on two quiet cores; ``--repeats 1 --horizon 50`` shows in two
whether everything works. The last table has the engine's targets, and whether it reached them.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

from benchmarks.program import run
from benchmarks.speed.bare_physics import PoolPhysics, ThreadPhysics, learn_resets
from benchmarks.speed.contenders import (
    Bare,
    Collecting,
    Contender,
    Draw,
    EnvPool,
    Stepping,
    Taken,
    draws,
    envpool_version,
    one_a_process,
    sawyer,
)
from benchmarks.workloads import Bar, bars_table, in_turn, machine, ratios, spread, wide_console
from metarl.envs.engines.threads.compiled import load
from metarl.envs.metaworld.suite import MetaWorldTasks, ML1Config, ML10Config, ML45Config
from metarl.errors import require

COMPILED, POLICY, PORTABLE = "compiled", "compiled, collect + policy", "portable"
PROCESSES, ASYNC, ENVPOOL = "processes", "AsyncVectorEnv", "EnvPool"
LIMITS = ("physics: Python threads", "physics: compiled", "physics: compiled, free")
ML10_TASKS, ML45_TASKS = 20, 45
WORLDS_OF_PROCESSES = 20
WARM_UP = 20

Results: TypeAlias = dict[str, list[Taken]]


@dataclass(frozen=True)
class Case:
    """A suite's tasks in a number of worlds."""

    suite: MetaWorldTasks
    num_tasks: int
    worlds: int
    with_processes: bool

    def __post_init__(self) -> None:
        """Check that every task gets as many worlds as any other."""
        fits = self.worlds >= self.num_tasks and self.worlds % self.num_tasks == 0
        require(fits, f"worlds of {self.suite.name} must be a multiple of {self.num_tasks}", self.worlds)

    @property
    def title(self) -> str:
        """Tasks and worlds in words."""
        return f"{self.suite.name} x {self.worlds}, {self.suite.horizon} steps"


def main(
    *,
    ml10: tuple[int, ...] = (20, 200),
    ml45: tuple[int, ...] = (450,),
    tasks: tuple[str, ...] = ("reach-v3", "push-v3", "pick-place-v3", "door-open-v3", "peg-insert-side-v3"),
    task_worlds: tuple[int, ...] = (20, 200),
    horizon: int = 500,
    short_horizon: int = 100,
    repeats: int = 5,
    all: bool = False,
    envpool_python: Path = Path(sys.executable),
) -> None:
    """Measure how fast environments are stepped.

    Args:
        ml10: numbers of worlds on ML10, multiples of 20; none leaves it out.
        ml45: numbers of worlds on ML45, multiples of 45.
        tasks: families that are measured alone.
        task_worlds: numbers of worlds for each of these, multiples of 20.
        horizon: steps of an episode of ML10.
        short_horizon: the most steps of an episode of ML45 and of single tasks.
        repeats: rollouts of each contender.
        all: run process engine and AsyncVectorEnv everywhere and with all worlds.
        envpool_python: the Python interpreter that has EnvPool.
    """
    require(repeats >= 1, "repeats must be 1 or more", repeats)
    short = min(horizon, short_horizon)
    cases = [Case(ML10Config(horizon=horizon).build(), ML10_TASKS, worlds, True) for worlds in ml10]
    cases += [Case(ML45Config(horizon=short).build(), ML45_TASKS, worlds, all) for worlds in ml45]
    for task in tasks:
        suite = ML1Config(task=task, horizon=short).build()
        cases += [Case(suite, ML10_TASKS, worlds, all) for worlds in task_worlds]
    console = wide_console()
    console.print(machine())
    version = envpool_version(envpool_python)
    console.print(f"EnvPool {version or 'is not installed'} ({envpool_python})")
    with_envpool = envpool_python if version else None
    found: dict[int, Results] = {}
    for case in cases:
        results = measure(case, repeats, with_envpool, console, all_worlds=all)
        console.print(table(case, results, repeats))
        if case.suite.name == "ml10":
            found[case.worlds] = results
    console.print(bars_table(bars(found)))


# ------------------------------------------------------------------------------ measuring


def measure(
    case: Case, repeats: int, envpool_python: Path | None, console: Console, *, all_worlds: bool
) -> Results:
    """Measure all contenders on the same rollouts in turn, after a short warm-up."""
    few = case.worlds if all_worlds else min(case.worlds, WORLDS_OF_PROCESSES)
    rollouts = {
        worlds: draws(case.suite, case.num_tasks, worlds, case.suite.horizon, repeats + 1)
        for worlds in {few, case.worlds}
    }
    learn_resets(task for draw in rollouts[case.worlds] for task in draw.tasks)
    with ExitStack() as open_ones, console.status(case.title):
        contenders = build(case, few, envpool_python, open_ones)
        turns: dict[str, Callable[[], Taken]] = {}
        for name, contender in contenders.items():
            first, *rest = rollouts[few if name in (PROCESSES, ASYNC) else case.worlds]
            contender.roll(first._replace(actions=first.actions[:WARM_UP]))
            turns[name] = rolls(contender, iter(rest))
        return in_turn(turns, repeats)


def rolls(contender: Contender, rest: Iterator[Draw]) -> Callable[[], Taken]:
    """Return a function that takes the next rollout."""
    return lambda: contender.roll(next(rest))


def build(case: Case, few: int, envpool_python: Path | None, open_ones: ExitStack) -> dict[str, Contender]:
    """Return all engines that can run here; the stack closes each of them."""
    contenders: dict[str, Contender] = {}

    def add(name: str, contender: Contender) -> None:
        open_ones.callback(contender.close)
        contenders[name] = contender

    suite, worlds = case.suite, case.worlds
    slots = draws(suite, case.num_tasks, worlds, 1, 1)[0].slots
    families = [task.family for task in slots]
    if case.with_processes:
        add(ASYNC, one_a_process(families[:: worlds // few], suite.horizon))
        processes = suite.make_vector_env(few, engine="processes")
        add(PROCESSES, Stepping(processes, processes.set_tasks))
    if envpool_python is not None:
        add(ENVPOOL, EnvPool(envpool_python, families))
    portable = sawyer(suite, worlds, "portable")
    add(PORTABLE, Stepping(portable, portable.set_tasks))
    if load() is not None:
        compiled = sawyer(suite, worlds, "compiled")
        add(COMPILED, Stepping(compiled, compiled.set_tasks))
        add(POLICY, Collecting(suite, compiled))
        add(LIMITS[1], Bare(PoolPhysics(families, free=False)))
        add(LIMITS[2], Bare(PoolPhysics(families, free=True)))
    add(LIMITS[0], Bare(ThreadPhysics(families)))
    return contenders


# ------------------------------------------------------------------------------ what came out


def fastest(results: Results) -> str:
    """Return the name of the limit: the fastest way of doing the physics alone."""
    known = [name for name in LIMITS if name in results]
    return max(known, key=lambda name: statistics.median(taken.rate for taken in results[name]))


def against(results: Results, name: str, other: str, *, steps_alone: bool = False) -> list[float]:
    """Divide two contenders' rates, repeat by repeat; with resets in both, or in neither."""
    rates = [
        [taken.rate_of_steps if steps_alone else taken.rate for taken in results[which]]
        for which in (name, other)
    ]
    return ratios(*rates)


def resets_share(taken: list[Taken]) -> list[float]:
    """Return the percentage of each rollout's time that its resets took."""
    return [100 * one.resets / one.seconds for one in taken]


def table(case: Case, results: Results, repeats: int) -> Table:
    """Return a row for each contender."""
    limit = fastest(results)
    shown = Table(
        title=f"{case.title}: median [least, greatest] of {repeats}",
        caption=f"the limit is {limit}; ratios: of rollouts side by side, resets included, by the median",
    )
    shown.add_column("", no_wrap=True)
    for column in ("env steps/s", "without resets", "of the limit", "x Async", "resets, %", "CPU us/step"):
        shown.add_column(column, justify="right", no_wrap=True)
    for name, taken in results.items():
        worlds = taken[0].env_steps // case.suite.horizon
        resets = not math.isnan(taken[0].resets) and name not in LIMITS
        shown.add_row(
            name if worlds == case.worlds else f"{name}, {worlds} worlds",
            spread([one.rate for one in taken], ",.0f"),
            spread([one.rate_of_steps for one in taken], ",.0f") if resets else "",
            spread(against(results, name, limit), ".2f"),
            f"{statistics.median(against(results, name, ASYNC)):.2f}" if ASYNC in results else "",
            f"{statistics.median(resets_share(taken)):.2f}" if resets else "",
            f"{statistics.median(1e6 * one.processors / one.env_steps for one in taken):.0f}",
        )
    return shown


def bars(found: dict[int, Results]) -> list[Bar]:
    """Compare ML10 at 20 and 200 worlds with the targets."""

    def ratio(worlds: int, name: str, other: str, *, steps_alone: bool = False) -> float | None:
        results = found.get(worlds, {})
        if other == "limit" and results:
            other = fastest(results)
        if not {name, other} <= results.keys():
            return None
        return statistics.median(against(results, name, other, steps_alone=steps_alone))

    def resets(worlds: int) -> float | None:
        taken = found.get(worlds, {}).get(COMPILED)
        return statistics.median(resets_share(taken)) if taken else None

    return [
        Bar("200 worlds: compiled, collect with policy / limit", 0.85, ratio(200, POLICY, "limit")),
        Bar("200 worlds: compiled, rewards at every step / limit", 0.8, ratio(200, COMPILED, "limit")),
        Bar("20 worlds: compiled, rewards at every step / limit", 0.6, ratio(20, COMPILED, "limit")),
        Bar("200 worlds: compiled / AsyncVectorEnv", 10, ratio(200, COMPILED, ASYNC)),
        Bar("200 worlds: portable / AsyncVectorEnv", 6, ratio(200, PORTABLE, ASYNC)),
        Bar(
            "200 worlds: compiled / EnvPool, both without resets",
            2,
            ratio(200, COMPILED, ENVPOOL, steps_alone=True),
        ),
        Bar("200 worlds: resets, % of an episode's time", 2, resets(200), at_most=True),
        Bar("20 worlds: resets, % of an episode's time", 2, resets(20), at_most=True),
    ]


if __name__ == "__main__":
    run(main)
