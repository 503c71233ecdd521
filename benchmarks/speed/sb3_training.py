"""Whole training steps per second of stable-baselines3's PPO: our engine beside its own SubprocVecEnv.

    .venv/bin/python -m benchmarks.speed.sb3_training

Both train the same PPO on the same family and goals in as many slots on the same cores, one after the other
in turn; a turn's rollouts and updates count. SubprocVecEnv has a process of Meta-World for each slot.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import gymnasium
import torch
from rich.table import Table
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv

import metarl.envs  # noqa: F401  # registers the names
from benchmarks.program import run
from benchmarks.speed.contenders import processor_seconds
from benchmarks.workloads import Bar, bars_table, in_turn, machine, ratios, spread, wide_console
from metarl.errors import require
from metarl.sb3.vec_env import TaskVecEnv

OURS, THEIRS = "metarl", "SubprocVecEnv"
WANTED = 4.0
GOAL_SEED = 42


class Turn(NamedTuple):
    """Speed of a turn's rollouts and updates."""

    rate: float
    """Environment steps per second."""
    microseconds: float
    """Processor time of an environment step, of this process and the slots'; other load hardly changes it."""


def main(
    *,
    family: str = "reach-v3",
    slots: int = 8,
    rollout: int = 250,
    batches: tuple[int, ...] = (64, 1000),
    turns: int = 7,
) -> None:
    """Train in turn and compare.

    Args:
        family: Meta-World's family.
        slots: environments at once.
        rollout: steps of each slot between updates, PPO's ``n_steps``; a turn is two of them.
        batches: PPO's ``batch_size``; 64 is its default, and the more of them the more of the time is
            learning, which is the same for both.
        turns: of each.
    """
    require(turns >= 1, "turns must be 1 or more", turns)
    torch.set_num_threads(
        1
    )  # of such small networks; two that spin slow both contenders, in which the cores are busy
    console = wide_console()
    console.print(machine())
    table = Table(title=f"PPO on {family}, {slots} slots: median [least, greatest] of {turns} turns")
    columns = ("steps/s", "CPU us/step")
    for column in ("batch_size", *(f"{name}, {c}" for c in columns for name in (OURS, THEIRS)), "ratio"):
        table.add_column(column, justify="right")
    bars: list[Bar] = []
    with closing(our_env(family, slots)) as ours, closing(their_env(family, slots)) as theirs:
        for batch in batches:
            contenders = {OURS: training(ours, rollout, batch), THEIRS: training(theirs, rollout, batch)}
            for warm_up in contenders.values():
                warm_up()
            taken = in_turn(contenders, turns)
            ratio = ratios(*([turn.rate for turn in taken[name]] for name in contenders))
            rates = [spread([turn.rate for turn in taken[name]], ",.0f") for name in contenders]
            costs = [
                f"{statistics.median(turn.microseconds for turn in taken[name]):.0f}" for name in contenders
            ]
            table.add_row(str(batch), *rates, *costs, spread(ratio, ".2f"))
            bars.append(Bar(f"batch_size {batch}: {OURS} / {THEIRS}", WANTED, statistics.median(ratio)))
    console.print(table)
    console.print(bars_table(bars))


def our_env(family: str, slots: int) -> VecEnv:
    """Return the batched engine."""
    return TaskVecEnv(
        gymnasium.make_vec(f"metarl/{family}", num_envs=slots, seed=GOAL_SEED, autoreset_mode="Disabled")
    )


def their_env(family: str, slots: int) -> VecEnv:
    """Return a process of Meta-World's own environment for each slot."""

    def make() -> gymnasium.Env[object, object]:
        import metaworld  # noqa: F401, PLC0415  # in the process of the slot

        gymnasium.logger.min_level = gymnasium.logger.ERROR  # it shows goals that its space does not have
        return gymnasium.make("Meta-World/MT1", env_name=family, seed=GOAL_SEED)

    return SubprocVecEnv([make] * slots)


def training(env: VecEnv, rollout: int, batch: int) -> Callable[[], Turn]:
    """Return what trains for a turn."""
    agent = PPO("MlpPolicy", env, n_steps=rollout, batch_size=batch, seed=0, device="cpu")

    def turn() -> Turn:
        steps = 2 * rollout * env.num_envs
        start, processors = time.perf_counter(), processor_seconds()
        agent.learn(steps, reset_num_timesteps=False)
        seconds = time.perf_counter() - start
        return Turn(steps / seconds, 1e6 * (processor_seconds() - processors) / steps)

    return turn


if __name__ == "__main__":
    run(main)
