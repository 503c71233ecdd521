"""Collecting episodes: the only loop that steps an environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from metarl.errors import MetarlError, NonFiniteError
from metarl.meta_learner import Actor
from metarl.spaces import action_size, env_actions, observation_size
from metarl.tasks import Array, TaskVectorEnv
from metarl.types import Rollout, Task


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
    recorder = _Recorder(env, tasks, episodes, horizon)
    generator = torch.Generator(actor.device)
    generator.manual_seed(int(rng.integers(2**63)))
    seeds = rng.integers(2**31, size=env.num_envs).tolist()
    actions = np.zeros((env.num_envs, recorder.actions.shape[-1]))
    with one_thread():
        env.set_tasks(recorder.slot_tasks)
        observations, _ = env.reset(seed=seeds)
        for step in range(horizon):
            if on_step is not None:
                on_step(int(recorder.live.sum()))
            seen = recorder.observe(step, observations).to(actor.device)
            action = actor.act(seen, None if deterministic else generator)
            actions[:used] = recorder.act(step, action.actions, action.log_probs)
            observations, rewards, terminated, truncated, infos = env.step(
                env_actions(env.single_action_space, actions)
            )
            ended, cut = terminated.astype(np.bool_), truncated.astype(np.bool_)
            recorder.follow(step, rewards, ended, cut, infos.get("success"))
            if not recorder.live.any():
                break
    return recorder.finish(observations).to(actor.device)


class _Recorder:
    """Buffers ``[T, n, ...]`` of the n = M * K slots in use, written a step at a time."""

    def __init__(self, env: TaskVectorEnv, tasks: Sequence[Task], episodes: int, horizon: int) -> None:
        self.slot_tasks = [task for task in tasks for _ in range(episodes)]
        self.shape = (len(tasks), episodes)
        slots = len(self.slot_tasks)
        observed = observation_size(env.single_observation_space)
        self.observations = np.zeros((horizon, slots, observed), np.float32)
        self.actions = np.zeros((horizon, slots, action_size(env.single_action_space)), np.float32)
        self.log_probs = np.zeros((horizon, slots), np.float32)
        self.rewards = np.zeros((horizon, slots), np.float32)
        self.mask = np.zeros((horizon, slots), np.bool_)
        self.terminated = np.zeros((horizon, slots), np.bool_)
        self.truncated = np.zeros((horizon, slots), np.bool_)
        self.success: npt.NDArray[np.bool_] | None = None
        self.live = np.ones(slots, np.bool_)

    def observe(self, step: int, observations: Array) -> torch.Tensor:
        """Write what the slots show before a step; return it as ``[M, K, O]``."""
        row = self.observations[step]
        row[:] = observations[: len(self.slot_tasks)]
        self._check_finite("observation", row, step)
        self.mask[step] = self.live
        return torch.from_numpy(row).view(*self.shape, -1)

    def act(self, step: int, actions: torch.Tensor, log_probs: torch.Tensor) -> npt.NDArray[np.float32]:
        """Write the actions ``[M, K, A]`` that were drawn; return them as ``[n, A]``."""
        row: npt.NDArray[np.float32] = self.actions[step]
        row[:] = actions.reshape(row.shape).cpu().numpy()
        self.log_probs[step] = log_probs.reshape(-1).cpu().numpy()
        self._check_finite("action", row, step)
        return row

    def follow(
        self,
        step: int,
        rewards: Array,
        terminated: npt.NDArray[np.bool_],
        truncated: npt.NDArray[np.bool_],
        success: npt.NDArray[np.bool_] | None,
    ) -> None:
        """Write what followed a step."""
        slots = len(self.slot_tasks)
        self.rewards[step] = rewards[:slots]
        self._check_finite("reward", self.rewards[step], step)
        self.terminated[step] = terminated[:slots]
        self.truncated[step] = truncated[:slots]
        if success is not None:
            solved = success[:slots] & self.live
            self.success = solved if self.success is None else self.success | solved
        self.live &= ~(self.terminated[step] | self.truncated[step])

    def finish(self, observations: Array) -> Rollout:
        """Return the rollout, given what the slots showed last."""
        self.observations[~self.mask] = 0  # an idle slot goes on showing its last observation
        self.actions[~self.mask] = 0
        self.log_probs[~self.mask] = 0
        final = np.asarray(observations[: len(self.slot_tasks)], np.float32)
        self._check_finite("observation", final, int(self.mask.any(axis=1).sum()))
        return Rollout(
            observations=self._task_first(self.observations),
            actions=self._task_first(self.actions),
            log_probs=self._task_first(self.log_probs),
            rewards=self._task_first(self.rewards),
            mask=self._task_first(self.mask),
            terminated=self._task_first(self.terminated),
            truncated=self._task_first(self.truncated),
            final_observations=torch.from_numpy(final).view(*self.shape, -1),
            success=None if self.success is None else torch.from_numpy(self.success).view(self.shape),
        )

    def _task_first(self, steps_first: npt.NDArray[np.generic]) -> torch.Tensor:
        """Turn ``[T, n, ...]`` into ``[M, K, T, ...]``."""
        steps = torch.from_numpy(np.ascontiguousarray(steps_first.swapaxes(0, 1)))
        return steps.view(*self.shape, *steps.shape[1:])

    def _check_finite(self, what: str, values: npt.NDArray[np.float32], step: int) -> None:
        if np.isfinite(values).all():
            return
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        task = self.slot_tasks[int(finite.argmin())]
        raise NonFiniteError(f"The {what} of task {task.id!r} ({task.family}) at step {step} is not finite.")


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: a policy call is small, and idle threads that spin slow the physics."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
