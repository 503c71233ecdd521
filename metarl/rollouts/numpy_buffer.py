"""Recorders of an environment's episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from metarl.errors import NonFiniteActionError, NonFiniteError
from metarl.meta_learner import Action
from metarl.spaces import action_size, env_actions, observation_size
from metarl.step_values import Step, UnfitValue, reals, truths, unpack_step
from metarl.types import Rollout, Task
from metarl.vector_env import Array, TaskVectorEnv

OF_EACH_STEP = ("observations", "actions", "log_probs", "rewards", "mask", "terminated", "truncated")
"""Arrays of every step, steps first; a rollout has them by the same names, tasks first."""


_Returned: TypeAlias = tuple[Array, object, object, object, Mapping[str, object]]


class HostRecorder:
    """Record of an environment that speaks NumPy, in n = M * K slots."""

    def __init__(
        self, env: TaskVectorEnv, slot_tasks: list[Task], shape: tuple[int, int], horizon: int
    ) -> None:
        self.slot_tasks = slot_tasks
        self._env, self._shape, slots = env, shape, len(slot_tasks)
        observed = observation_size(env.single_observation_space)
        acted = action_size(env.single_action_space)
        self._shown = np.zeros((env.num_envs, observed))
        self._sent = np.zeros((env.num_envs, acted))
        self.observations = np.zeros((horizon, slots, observed), np.float32)
        self.actions = np.zeros((horizon, slots, acted), np.float32)
        self.log_probs = np.zeros((horizon, slots), np.float32)
        self.rewards = np.zeros((horizon, slots), np.float32)
        self.mask = np.zeros((horizon, slots), np.bool_)
        self.terminated = np.zeros((horizon, slots), np.bool_)
        self.truncated = np.zeros((horizon, slots), np.bool_)
        # tensors of each step on the same memory, made once
        self._shown_to_policy = self._each_step(self.observations)
        self._live_at, self._rewards_at = self._each_step(self.mask), self._each_step(self.rewards)
        self.success: npt.NDArray[np.bool_] | None = None
        self.success_at_first_step: npt.NDArray[np.bool_] | None = None
        self.success_streak: npt.NDArray[np.int64] | None = None
        self._used = np.arange(env.num_envs) < slots
        self._running = self._used.copy()
        self.live = self._running[:slots]  # the same memory
        self.num_live = slots  # running episodes

    def reset(self, seeds: list[int]) -> None:
        """Start every slot's episode."""
        self._shown, _ = self._env.reset(seed=seeds)  # type: ignore[arg-type]  # Gymnasium takes lists too

    def observe(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Record and return observations ``[M, K, O]`` and live mask ``[M, K]``."""
        row = self.observations[step]
        self._write("observation", row, self._shown[: len(self.slot_tasks)], step)
        self.mask[step] = self.live
        return self._shown_to_policy[step], self._live_at[step]

    def act(self, step: int, action: Action) -> torch.Tensor:
        """Step and record actions and outcomes; return rewards ``[M, K]``."""
        slots, row = len(self.slot_tasks), self.actions[step]
        row[:] = action.actions.reshape(row.shape).cpu().numpy()
        if self.num_live < slots:
            row[~self.live] = 0  # what is chosen for an ended episode counts for nothing, NaN too
        self.log_probs[step] = action.log_probs.reshape(-1).cpu().numpy()
        self._check_finite("action", row, step)
        # slots without a task get zeros
        self._sent[:slots] = row
        taken = env_actions(self._env.single_action_space, self._sent)
        returned = self._env.step(taken)
        try:
            self._keep(step, unpack_step(returned))
        except UnfitValue as error:
            # name the task and step, which only the recorder knows
            task = self.slot_tasks[error.slot or 0]
            raise error.at(f"from task {task.id!r} ({task.family}), at step {step + 1}") from error
        self.live &= ~(self.terminated[step] | self.truncated[step])
        self.num_live = int(np.count_nonzero(self.live))
        return self._rewards_at[step]

    def _keep(self, step: int, returned: Step) -> None:
        """Write a step's results without silent casts."""
        slots, used = len(self.slot_tasks), self._used
        self._shown, rewards, terminated, truncated, infos = cast("_Returned", returned)
        # rewards and success are read of running episodes only: an idle slot may go on being paid for success
        self._write("reward", self.rewards[step], reals(rewards, self._running, "rewards")[:slots], step)
        self.terminated[step] = truths(terminated, used, "terminated")[:slots]
        self.truncated[step] = truths(truncated, used, "truncated")[:slots]
        if "success" in infos:
            solved = truths(infos["success"], self._running, "infos['success']")[:slots]
            self.success = solved if self.success is None else self.success | solved
            if step == 0:
                self.success_at_first_step = solved
            streak = np.zeros(slots, np.int64) if self.success_streak is None else self.success_streak
            # a step without success ends the streak; episodes that are over keep theirs
            self.success_streak = np.where(self.live, (streak + 1) * solved, streak)

    def is_over(self, step: int) -> bool:
        """Whether no episode is running."""
        return self.num_live == 0

    def finish(self) -> Rollout:
        """Return the rollout."""
        self.observations[~self.mask] = 0  # an idle slot goes on showing its last observation
        self.log_probs[~self.mask] = 0
        final = np.zeros_like(self.observations[0])
        self._write(
            "observation", final, self._shown[: len(self.slot_tasks)], int(self.mask.any(axis=1).sum())
        )
        steps: dict[str, torch.Tensor] = {
            name: self._task_first(getattr(self, name)) for name in OF_EACH_STEP
        }
        return Rollout(
            **steps,  # type: ignore[arg-type]  # the names are those of tensors
            final_observations=torch.from_numpy(final).view(*self._shape, -1),
            success=self._flags(self.success),
            success_at_first_step=self._flags(self.success_at_first_step),
            success_streak=self._flags(self.success_streak),
        )

    def _flags(self, flags: npt.NDArray[np.bool_] | npt.NDArray[np.int64] | None) -> torch.Tensor | None:
        return None if flags is None else torch.from_numpy(flags).view(self._shape)

    def _each_step(self, steps_first: npt.NDArray[np.generic]) -> Sequence[torch.Tensor]:
        """Return ``[M, K, ...]`` of each step of ``[T, n, ...]``."""
        shape = len(steps_first), *self._shape, *steps_first.shape[2:]
        return torch.from_numpy(steps_first).view(shape).unbind()

    def _task_first(self, steps_first: npt.NDArray[np.generic]) -> torch.Tensor:
        """Turn ``[T, n, ...]`` to ``[M, K, T, ...]``."""
        steps = torch.from_numpy(np.ascontiguousarray(steps_first.swapaxes(0, 1)))
        return steps.view(*self._shape, *steps.shape[1:])

    def _write(self, what: str, row: npt.NDArray[np.float32], values: Array, step: int) -> None:
        """Write an environment's numbers if they are finite in float32."""
        with np.errstate(over="ignore"):
            row[:] = values
        if np.isfinite(row).all():
            return
        if np.isfinite(values).all():
            slot, *_ = np.argwhere(~np.isfinite(row))[0]
            raise too_large(what, self.slot_tasks[slot], step)
        self._check_finite(what, row, step)

    def _check_finite(self, what: str, values: npt.NDArray[np.float32], step: int) -> None:
        if not np.isfinite(values).all():
            finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
            raise not_finite(what, self.slot_tasks, int(finite.argmin()), step)


def not_finite(what: str, slot_tasks: Sequence[Task], slot: int, step: int) -> NonFiniteError:
    """Return the error of a non-finite number.

    ``what`` is "observation", "action" or "reward"; ``step`` counts the steps before it.
    """
    message = f"{_where(what, slot_tasks[slot], step)} is not finite."
    return NonFiniteActionError(message, step) if what == "action" else NonFiniteError(message)


def too_large(what: str, task: Task, step: int) -> NonFiniteError:
    """Return the error of a finite number beyond float32, in which agents compute."""
    return NonFiniteError(
        f"{_where(what, task, step)} is too large for float32, in which agents compute. Scale it down."
    )


def _where(what: str, task: Task, step: int) -> str:
    at = step + (what == "reward")  # a reward belongs to the step before
    return f"The {what} of task {task.id!r} ({task.family}) at step {at}"
