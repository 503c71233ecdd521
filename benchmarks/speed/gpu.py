"""Suites on MuJoCo Warp: physics alone, episodes with a policy, whole meta-iterations; and CPU threads.

    make bench-gpu          # one task, ML10 and ML45, and the half cheetah on CUDA, beside all cores
    python -m benchmarks.speed.gpu --device cpu --worlds 2 --horizon 3 --suites ml1   # without a GPU

Every line names the machine, and a speed counts environment steps of five substeps. Only the file that
``--output`` names is written.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
import torch
import tyro

from metarl.agents.maml_trpo import MAMLTRPOConfig
from metarl.cli.main import exit_code
from metarl.config import SamplingConfig
from metarl.envs.engines.warp.vector_env import WarpVectorEnv
from metarl.envs.locomotion.suite import HalfCheetahVelConfig
from metarl.envs.locomotion.warp import WarpLocomotionVectorEnv
from metarl.envs.metaworld.models import FRAME_SKIP
from metarl.envs.metaworld.suite import ML1Config, ML10Config, ML45Config
from metarl.meta_learner import MetaLearner
from metarl.rollouts.collect import collect
from metarl.tasks import TaskDistribution
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Json, Task
from metarl.vector_env import TaskVectorEnv

Suite = Literal["ml1", "ml10", "ml45", "half-cheetah-vel"]
DEFAULT_WORLDS: dict[Suite, tuple[int, ...]] = {
    "ml1": (512, 1024, 2048, 4096, 8192),
    "ml10": (5120,),
    "ml45": (5760,),
    "half-cheetah-vel": (4096,),
}


@dataclass(frozen=True)
class Arguments:
    """Measure the GPU's physics and training on it."""

    device: str = "auto"
    """Device of the worlds; "auto" takes CUDA where there is some."""
    suites: tuple[Suite, ...] = ("ml1", "ml10", "ml45", "half-cheetah-vel")
    """Suites: one task of Meta-World (push-v3), 10 families, 45 families; the half cheetah."""
    worlds: tuple[int, ...] = ()
    """Numbers of worlds; by default 512 to 8192 for one task, 512 a family of ML10, 128 a family of ML45, and
    4096 half cheetahs."""
    episodes: int = 10
    """Episodes of a task in a meta-batch; there are as many worlds for each task."""
    horizon: int = 100
    """Steps of an episode."""
    threads: bool = True
    """Measure the engine on CPU threads as well, with 200 worlds."""
    output: Path | None = None
    """File for the numbers, as JSON."""


def main() -> None:
    """Measure, print and write."""
    wanted = tyro.cli(Arguments)
    rows = []
    for suite in wanted.suites:
        for worlds in wanted.worlds or DEFAULT_WORLDS[suite]:
            rows.append(show(measure(wanted, suite, f"warp:{wanted.device}".removesuffix(":auto"), worlds)))
        if wanted.threads:
            rows.append(show(measure(wanted, suite, "threads", min(200, *(wanted.worlds or (200,))))))
    if wanted.output:
        wanted.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def measure(wanted: Arguments, suite: Suite, engine: str, worlds: int) -> dict[str, Json]:
    """Measure one engine with a number of worlds."""
    tasks = distribution(suite, wanted.horizon)
    episodes = min(wanted.episodes, worlds)
    env = tasks.make_vector_env(worlds, engine=engine)
    device = env.tensor_device if isinstance(env, WarpVectorEnv) else torch.device("cpu")
    agent = MAMLTRPOConfig().build(tasks, seed=0, device=device, sampling=SamplingConfig())
    batch = tasks.sample(worlds // episodes, np.random.default_rng(0))
    row: dict[str, Json] = {"suite": tasks.name, "engine": engine, "worlds": worlds, **machine(device)}
    steps = len(batch) * episodes * wanted.horizon
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    collecting = timed(lambda: play(agent, env, batch, episodes, wanted.horizon), device)
    row["collect_steps_per_s"] = round(steps / collecting)
    if isinstance(env, WarpVectorEnv):
        physics = timed(lambda: step_physics(env, wanted.horizon), device)
        row["physics_steps_per_s"] = round(worlds * wanted.horizon / physics)
        row["physics_share_of_collect"] = round(physics / collecting, 3)
    whole = timed(lambda: iterate(agent, env, batch, episodes, wanted.horizon), device)
    row["iteration_steps_per_s"] = round(2 * steps / whole)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        row["device_gib_in_use"] = round((total - free) / 2**30, 2)
        row["torch_peak_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    env.close()
    return row


def distribution(suite: Suite, horizon: int) -> TaskDistribution:
    """Return the tasks of a suite."""
    if suite == "half-cheetah-vel":
        return HalfCheetahVelConfig(horizon=horizon).build()
    if suite == "ml1":
        return ML1Config(task="push-v3", horizon=horizon).build()
    return (ML10Config if suite == "ml10" else ML45Config)(horizon=horizon).build()


def machine(device: torch.device) -> dict[str, Json]:
    """Return the device and versions, for every row."""
    cores = len(os.sched_getaffinity(0))
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()}, {cores} cores"
    )
    return {"device": name, "mujoco": mujoco.__version__, "torch": torch.__version__}


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the second of two runs: the first loads kernels and captures graphs."""
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    return seconds


def play(agent: MetaLearner, env: TaskVectorEnv, batch: list[Task], episodes: int, horizon: int) -> None:
    """Collect one meta-batch with the unadapted policy."""
    rng = np.random.default_rng(1)
    actor = agent.initial_actor(len(batch), rng)
    collect(env, batch, actor, episodes=episodes, horizon=horizon, rng=rng)


def iterate(agent: MetaLearner, env: TaskVectorEnv, batch: list[Task], episodes: int, horizon: int) -> None:
    """Run one meta-iteration: collect, adapt, collect, outer step."""
    rng = np.random.default_rng(2)
    meta_iteration(agent, env, batch, episodes=episodes, horizon=horizon, rng=rng)


def step_physics(env: WarpVectorEnv, steps: int) -> None:
    """Step all worlds without policy, observations or rewards."""
    substeps = env._models.frame_skip if isinstance(env, WarpLocomotionVectorEnv) else FRAME_SKIP
    for batch in env._physics._batches.values():
        for _ in range(steps):
            batch.step(substeps)


def show(row: dict[str, Json]) -> dict[str, Json]:
    """Print a row and return it."""
    print("  ".join(f"{name}={value}" for name, value in row.items()), flush=True)
    return row


if __name__ == "__main__":
    sys.exit(exit_code(main, "Stopped."))
