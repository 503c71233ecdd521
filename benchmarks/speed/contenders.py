"""Every engine that ``sampling.py`` compares, each behind the same two methods."""

from __future__ import annotations

import functools
import itertools
import json
import math
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing import parent_process
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import psutil
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from benchmarks.speed.bare_physics import PoolPhysics, ThreadPhysics, drive
from benchmarks.workloads import AGENT
from metarl.config import SamplingConfig
from metarl.envs.engines.threads import StepperName
from metarl.envs.metaworld.env import MetaWorldEnv
from metarl.envs.metaworld.models import Actions
from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.errors import MetarlError
from metarl.meta_learner import Action, Actor, Inputs
from metarl.rollouts.collect import collect
from metarl.system.caches import cache_folder
from metarl.types import Params, Task
from metarl.vector_env import Array, TaskVectorEnv


class Draw(NamedTuple):
    """Tasks and actions of a rollout."""

    tasks: list[Task]
    """M tasks, family by family; the families are in the same order every time."""
    episodes: int
    """K episodes of each task."""
    actions: Actions
    """``[T, M * K, 4]``, uniform."""

    @property
    def slots(self) -> list[Task]:
        """Task of each world, the episodes of a task side by side."""
        return [task for task in self.tasks for _ in range(self.episodes)]


def draws(suite: MetaWorldTasks, num_tasks: int, worlds: int, steps: int, count: int) -> list[Draw]:
    """Draw rollouts, the same ones every time."""
    rng = np.random.default_rng(1)
    return [
        Draw(
            suite.sample(num_tasks, rng),
            worlds // num_tasks,
            rng.uniform(-1.0, 1.0, (steps, worlds, 4)).astype(np.float32),
        )
        for _ in range(count)
    ]


class Taken(NamedTuple):
    """Steps and seconds of a rollout."""

    env_steps: int
    seconds: float
    """Wall-clock time, resets included."""
    resets: float
    """Seconds of the resets; NaN where they cannot be told from the steps."""
    processors: float
    """Seconds of all processors together, which another load on the machine changes less."""

    @property
    def rate(self) -> float:
        """Environment steps per second, resets included."""
        return self.env_steps / self.seconds

    @property
    def rate_of_steps(self) -> float:
        """Environment steps per second once all worlds are reset."""
        return self.env_steps / (self.seconds - self.resets)


class Contender(Protocol):
    """An engine that takes rollouts."""

    def roll(self, draw: Draw) -> Taken:
        """Reset all worlds and take all steps."""
        ...

    def close(self) -> None:
        """End its threads and processes."""
        ...


class Seconds(NamedTuple):
    """Wall-clock seconds of a rollout, and of its resets."""

    whole: float
    resets: float


def processor_seconds() -> float:
    """Return the processor time of this process and its workers."""
    workers = psutil.Process().children(recursive=True)
    return time.process_time() + sum(sum(worker.cpu_times()[:2]) for worker in workers)


def timed(env_steps: int, work: Callable[[], Seconds]) -> Taken:
    """Time some work, in wall-clock and processor seconds."""
    before = processor_seconds()
    seconds = work()
    return Taken(env_steps, *seconds, processor_seconds() - before)


# ------------------------------------------------------------------------------ environments


def sawyer(suite: MetaWorldTasks, worlds: int, stepper: StepperName) -> SawyerVectorEnv:
    """Return our engine with a stepper of choice."""
    return SawyerVectorEnv(
        families=list(dict.fromkeys(task.family for task in suite.train)),
        default_tasks=suite.train,
        num_envs=worlds,
        horizon=suite.horizon,
        stepper=stepper,
        cache=cache_folder() / "resets",
    )


class Stepping:
    """Calls ``env.step``, which gives observations and rewards at every step."""

    def __init__(self, env: VectorEnv[Array, Array, Array], set_tasks: Callable[[list[Task]], None]) -> None:
        self._env, self._set_tasks = env, set_tasks

    def roll(self, draw: Draw) -> Taken:
        """Set the tasks, reset, and take all steps."""
        return timed(draw.actions[..., 0].size, functools.partial(self._roll, draw))

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _roll(self, draw: Draw) -> Seconds:
        start = time.perf_counter()
        self._set_tasks(draw.slots)
        self._env.reset()
        middle = time.perf_counter()
        for row in draw.actions:
            self._env.step(row)
        return Seconds(time.perf_counter() - start, middle - start)


class Collecting:
    """Calls ``collect`` with a 64 x 64 policy for each task.

    The policy sees every observation and draws its actions; then those of the draw replace them, so that all
    engines simulate the same physics. The caller closes the environment.
    """

    def __init__(self, suite: MetaWorldTasks, env: TaskVectorEnv) -> None:
        self._agent = AGENT.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
        self._env = env

    def roll(self, draw: Draw) -> Taken:
        """Collect the episodes."""
        return timed(draw.actions[..., 0].size, functools.partial(self._roll, draw))

    def close(self) -> None:
        """Do nothing."""

    def _roll(self, draw: Draw) -> Seconds:
        start = time.perf_counter()
        actor = Overruled(self._agent.initial_actor(len(draw.tasks)), draw)
        rng = np.random.default_rng(0)
        collect(self._env, draw.tasks, actor, episodes=draw.episodes, horizon=len(draw.actions), rng=rng)
        return Seconds(time.perf_counter() - start, math.nan)


class Overruled:
    """A policy that does all its work, but has its actions replaced."""

    def __init__(self, actor: Actor, draw: Draw) -> None:
        self._actor = actor
        self._shape = (len(draw.tasks), draw.episodes, draw.actions.shape[-1])
        self._actions = iter(torch.from_numpy(draw.actions))

    @property
    def device(self) -> torch.device:
        """Device of the policy."""
        return self._actor.device

    def initial_memory(self, episodes: int) -> Params:
        """Return nothing."""
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Run the policy, and return the next given actions."""
        acted, memory = self._actor.act(inputs, memory, generator)
        return Action(next(self._actions).view(self._shape), acted.log_probs), memory


# ------------------------------------------------------------------------------ Gymnasium's


class Settable(MetaWorldEnv):
    """Our environment with the task as an attribute, which AsyncVectorEnv can set."""

    @property
    def task(self) -> Task | None:
        """Task of the next reset."""
        return self._task

    @task.setter
    def task(self, task: Task) -> None:
        self.set_task(task)


def settable(family: str, horizon: int) -> Settable:
    """Build an environment; in a worker, leave Ctrl-C to the parent."""
    if parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Settable(family, horizon=horizon)


def one_a_process(families: Sequence[str], horizon: int) -> Stepping:
    """Return Gymnasium's vector environment, with a process for each of our environments."""
    builders = [functools.partial(settable, family, horizon) for family in families]
    env = AsyncVectorEnv(builders, autoreset_mode=AutoresetMode.DISABLED, context="forkserver")
    return Stepping(env, functools.partial(env.set_attr, "task"))


# ------------------------------------------------------------------------------ EnvPool's


ENVPOOL_WORKER = Path(__file__).with_name("envpool_worker.py")


def envpool_version(python: Path) -> str | None:
    """Return the version of an interpreter's EnvPool, None if it has none with Meta-World.

    Raises:
        MetarlError: if the interpreter does not run.
    """
    try:
        said = subprocess.run([python, ENVPOOL_WORKER], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MetarlError(f"{python} is no Python interpreter with NumPy: {error}.") from None
    version: str | None = json.loads(said.stdout).get("version")
    return version


class EnvPool:
    """EnvPool's Meta-World, in another process and with goals of its own."""

    def __init__(self, python: Path, families: Sequence[str]) -> None:
        counts = {family: len(list(group)) for family, group in itertools.groupby(families)}
        self._process = subprocess.Popen(
            [str(python), str(ENVPOOL_WORKER), json.dumps(counts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process; that one ends with its input
        )
        self._hear()  # its version

    def roll(self, draw: Draw) -> Taken:
        """Take as many random steps as the draw has."""
        return timed(draw.actions[..., 0].size, functools.partial(self._roll, len(draw.actions)))

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _roll(self, steps: int) -> Seconds:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        took = self._hear()
        return Seconds(float(took["whole"]), float(took["reset"]))

    def _hear(self) -> dict[str, float | str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise MetarlError(f"EnvPool's process ended with code {self._process.returncode}.")
        answer: dict[str, float | str] = json.loads(line)
        return answer


# ------------------------------------------------------------------------------ physics alone


class Bare:
    """Physics alone, in one of its ways."""

    def __init__(self, physics: PoolPhysics | ThreadPhysics) -> None:
        self._physics = physics

    def roll(self, draw: Draw) -> Taken:
        """Start all worlds where their resets leave them, and take all steps."""
        given = drive(draw.slots, draw.actions)
        self._physics.prepare(given)
        return timed(draw.actions[..., 0].size, lambda: Seconds(self._physics.run(), 0.0))

    def close(self) -> None:
        """End its threads."""
        self._physics.close()
