"""Environment steps per second of the suites besides Meta-World: our engines and AsyncVectorEnv.

AsyncVectorEnv steps the environments of the engine "processes" under the same tasks, one process each, which
that engine does in fewer processes. Poles run in processes only; points are arithmetic and need no engine.
All start from the same seeds and take the same random actions; a slot with a finished episode is reset, by
mask, in all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeAlias, cast

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from benchmarks.program import run
from benchmarks.speed.locomotion import ASYNC, COMPILED, Actions, Results, add_rows, empty_table, timed
from benchmarks.workloads import in_turn, machine, wide_console
from metarl.config import SuiteConfig
from metarl.envs.custom.from_gymnasium import ProcessTasks
from metarl.envs.engines.processes.env_pool import EnvFactory
from metarl.envs.grasp.suite import GraspShapesConfig, GraspShapesTasks
from metarl.envs.locomotion.dynamics import DynamicsConfig, HopperRandParamsConfig, Walker2dRandParamsConfig
from metarl.envs.locomotion.env import GymnasiumFactory
from metarl.envs.locomotion.suite import (
    AntDirConfig,
    AntGoalConfig,
    AntVelConfig,
    HalfCheetahDirConfig,
    HalfCheetahVelConfig,
    HumanoidDirConfig,
    Walker2dVelConfig,
)
from metarl.envs.locomotion.tasks import MujocoTasks
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.errors import require
from metarl.rollouts.scripted import draw_actions
from metarl.types import Task
from metarl.vector_env import Array

PROCESSES = "processes"
Suite: TypeAlias = MujocoTasks | GraspShapesTasks | ProcessTasks
CONFIGS: dict[str, SuiteConfig] = {
    config.kind: config
    for config in (
        HalfCheetahDirConfig(),
        HalfCheetahVelConfig(),
        AntDirConfig(),
        AntGoalConfig(),
        AntVelConfig(),
        HumanoidDirConfig(),
        Walker2dVelConfig(),
        HopperRandParamsConfig(),
        Walker2dRandParamsConfig(),
        DynamicsConfig(),
        GraspShapesConfig(),
        CartPoleConfig(),
    )
}


def main(
    *, suites: tuple[str, ...] = tuple(CONFIGS), worlds: int = 20, steps: int = 100, repeats: int = 5
) -> None:
    """Measure how fast the families are stepped.

    Args:
        suites: names of suites.
        worlds: environments to step at once.
        steps: steps of a rollout, in every world, after a reset that counts too.
        repeats: rollouts of each contender.
    """
    require(1 <= steps <= 200, "steps must lie in 1..200", steps)
    require(repeats >= 1, "repeats must be 1 or more", repeats)
    console = wide_console()
    console.print(machine())
    table = empty_table("suite", steps, repeats)
    for name in suites:
        add_rows(table, name, worlds, steps, measure(name, worlds, steps, repeats))
    console.print(table)


def measure(name: str, worlds: int, steps: int, repeats: int) -> Results:
    """Measure all contenders on the same rollouts in turn, after a short warm-up."""
    suite = CONFIGS[name].build()
    assert isinstance(suite, Suite)
    tasks = suite.sample(worlds, np.random.default_rng(0))
    actions = cast("Actions", draw_actions(suite.action_space, steps, worlds, seed=1))
    with ExitStack() as open_ones:
        contenders = build(suite, tasks, open_ones)
        for contender in contenders.values():
            contender(actions[:10])
        rolls = {name: functools.partial(timed, roll, actions) for name, roll in contenders.items()}
        return in_turn(rolls, repeats)


def build(suite: Suite, tasks: Sequence[Task], open_ones: ExitStack) -> dict[str, Callable[[Actions], None]]:
    """Return a function that takes a rollout, for each contender."""
    envs: dict[str, VectorEnv[Array, Array, Array]] = {}
    engines = {COMPILED: "threads", PROCESSES: "processes"}
    if isinstance(suite, ProcessTasks):
        del engines[COMPILED]
    for name, engine in engines.items():
        env = suite.make_vector_env(len(tasks), engine=engine)
        env.set_tasks(tasks)
        envs[name] = env
    singles = [functools.partial(under_task, suite, task) for task in tasks]
    envs[ASYNC] = AsyncVectorEnv(singles, autoreset_mode=AutoresetMode.DISABLED)
    for each in envs.values():
        open_ones.callback(each.close)
    return {name: functools.partial(roll, each) for name, each in envs.items()}


def under_task(suite: Suite, task: Task) -> gymnasium.Env[Array, Actions]:
    """Return an environment that runs one task."""
    env = factory_of(suite, task)(task.family)
    env.set_task(task)
    assert isinstance(env, gymnasium.Env)
    return env


def factory_of(suite: Suite, task: Task) -> EnvFactory:
    """Return the factory with which the engine "processes" builds a suite's environments."""
    if isinstance(suite, MujocoTasks):
        return GymnasiumFactory(suite.family, suite.horizon, len(task.parameters))
    return suite.env_factory


def roll(env: VectorEnv[Array, Array, Array], actions: Actions) -> None:
    """Reset, take all steps, and reset the slots with finished episodes."""
    env.reset(seed=0)
    for row in actions:
        _, _, terminated, truncated, _ = env.step(row)
        ended = np.asarray(terminated) | np.asarray(truncated)
        if ended.any():
            env.reset(options={"reset_mask": ended.astype(np.bool_)})


if __name__ == "__main__":
    run(main)
