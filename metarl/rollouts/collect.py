"""Collecting episodes: the only loop that steps an environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from metarl.errors import MetarlError
from metarl.meta_learner import Actor
from metarl.rollouts.numpy_buffer import HostRecorder, Recorder
from metarl.rollouts.tensor_buffer import TensorRecorder
from metarl.system.threads import one_thread
from metarl.types import Rollout, Task
from metarl.vector_env import TaskVectorEnv, TensorVectorEnv


def collect(
    env: TaskVectorEnv,
    tasks: Sequence[Task],
    actor: Actor,
    *,
    episodes: int,
    horizon: int,
    rng: np.random.Generator,
    deterministic: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Rollout:
    """Run episodes of every task at once, with one policy call for all of them at each step.

    Args:
        env: at least ``len(tasks) * episodes`` slots.
        tasks: M tasks.
        actor: a policy for each of them.
        episodes: K, of each task.
        horizon: T, steps after which the environment truncates.
        rng: where the resets' seeds and the policy's noise come from.
        deterministic: take the most likely actions.
        on_step: called before each step with the number of episodes still running; may raise to stop.

    Returns:
        The episodes, on the actor's device.

    Raises:
        MetarlError: if the environment has too few slots.
        NonFiniteError: if an observation, a reward or an action is not finite; names the task and the step.
    """
    used = len(tasks) * episodes
    if used > env.num_envs:
        raise MetarlError(
            f"{len(tasks)} tasks x {episodes} episodes need {used} slots; there are {env.num_envs}."
        )
    recorder = make_recorder(env, tasks, episodes, horizon)
    generator = torch.Generator(actor.device)
    generator.manual_seed(int(rng.integers(2**63)))
    seeds = rng.integers(2**31, size=env.num_envs).tolist()
    with one_thread():
        env.set_tasks(recorder.slot_tasks)
        recorder.reset(seeds)
        for step in range(horizon):
            if on_step is not None:
                on_step(recorder.num_live)
            seen = recorder.observe(step).to(actor.device)
            recorder.act(step, actor.act(seen, None if deterministic else generator))
            if recorder.is_over(step):
                break
    return recorder.finish().to(actor.device)


def make_recorder(env: TaskVectorEnv, tasks: Sequence[Task], episodes: int, horizon: int) -> Recorder:
    """Return what steps an environment and writes down what it says: on its device, if it speaks tensors."""
    slot_tasks = [task for task in tasks for _ in range(episodes)]
    if isinstance(env, TensorVectorEnv):
        return TensorRecorder(env, slot_tasks, (len(tasks), episodes), horizon)
    return HostRecorder(env, slot_tasks, (len(tasks), episodes), horizon)
