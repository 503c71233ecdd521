"""Recorder in the memory of the device that steps the episodes."""

from __future__ import annotations

import torch

from metarl.meta_learner import Action
from metarl.rollouts.numpy_buffer import OF_EACH_STEP, not_finite
from metarl.step_values import UnfitValue
from metarl.types import Rollout, Task
from metarl.vector_env import TensorStep, TensorVectorEnv

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
CHECK_EVERY = 50  # steps between looks at the device for running episodes and finite numbers


class TensorRecorder:
    """Record of an environment that speaks tensors, in n = M * K slots.

    All buffers are allocated once. The host asks the device for nothing but two numbers every
    :data:`CHECK_EVERY` steps, so that an end, or a number that is not finite, is noticed that much later.
    """

    def __init__(
        self, env: TensorVectorEnv, slot_tasks: list[Task], shape: tuple[int, int], horizon: int
    ) -> None:
        self.slot_tasks = slot_tasks
        self._env, self._shape, self._slots, self._horizon = env, shape, len(slot_tasks), horizon
        self.num_live = self._slots  # running episodes at the last look
        self._success: torch.Tensor | None = None
        self._success_at_first_step: torch.Tensor | None = None
        self._success_streak: torch.Tensor | None = None
        self._checked = 0

    def reset(self, seeds: list[int]) -> None:
        """Start every slot's episode."""
        self._shown = self._env.reset_tensors(seeds=seeds)
        self.live = self._empty(dtype=torch.bool).fill_(True)
        self.observations = self._empty(self._horizon, width=self._shown.shape[1])
        self.log_probs, self.rewards = self._empty(self._horizon), self._empty(self._horizon)
        self.mask, self.terminated, self.truncated = (
            self._empty(self._horizon, dtype=torch.bool) for _ in range(3)
        )

    def observe(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Record and return observations ``[M, K, O]`` and live mask ``[M, K]``."""
        self.observations[step] = self._shown[: self._slots]
        self.mask[step] = self.live
        return self.observations[step].view(*self._shape, -1), self.mask[step].view(self._shape)

    def act(self, step: int, action: Action) -> torch.Tensor:
        """Step and record actions and outcomes; return rewards ``[M, K]``."""
        slots, drawn = self._slots, action.actions.reshape(self._slots, -1)
        if step == 0:
            self.actions = self._empty(self._horizon, width=drawn.shape[1])
            self._sent = torch.zeros(len(self._shown), drawn.shape[1], device=self._shown.device)
        # what is chosen for an ended episode counts for nothing, NaN too
        self.actions[step] = drawn.detach().where(self.live.unsqueeze(1), 0.0)
        self.log_probs[step] = action.log_probs.detach().reshape(-1)
        self._sent[:slots] = self.actions[step]
        returned = self._env.step_tensors(self._sent)
        self._check_kinds(returned, step)
        self._shown, rewards, terminated, truncated, success = returned
        # a slot that is over may go on being paid for success
        self.rewards[step] = rewards[:slots].where(self.live, 0.0)
        self.terminated[step], self.truncated[step] = terminated[:slots], truncated[:slots]
        if success is not None:
            # a slot that is over may go on reporting success
            solved = success[:slots] & self.live
            self._success = solved if self._success is None else self._success | solved
            if step == 0:
                self._success_at_first_step = solved
                self._success_streak = torch.zeros_like(solved, dtype=torch.int64)
            streak = self._success_streak
            if streak is not None:
                # a step without success ends the streak; episodes that are over keep theirs
                self._success_streak = torch.where(self.live, (streak + 1) * solved, streak)
        self.live = self.live & ~(self.terminated[step] | self.truncated[step])
        return self.rewards[step].view(self._shape)

    def is_over(self, step: int) -> bool:
        """Return whether all episodes had ended when checked.

        Raises:
            NonFiniteError: if a number that was written since the last look is not finite.
        """
        if (step + 1) % CHECK_EVERY and step + 1 < self._horizon:
            return False
        self._check_finite(step + 1)
        self.num_live = int(self.live.sum())
        return self.num_live == 0

    def finish(self) -> Rollout:
        """Return the rollout."""
        idle = ~self.mask
        for buffer in (self.observations, self.log_probs):
            buffer.masked_fill_(idle.view(*idle.shape, *[1] * (buffer.ndim - 2)), 0.0)
        final = self._shown[: self._slots].clone()
        if not final.isfinite().all():
            broken = int((~final.isfinite()).any(dim=1).to(torch.uint8).argmax())
            raise not_finite("observation", self.slot_tasks, broken, int(self.mask.any(dim=1).sum()))
        steps: dict[str, torch.Tensor] = {
            name: self._task_first(getattr(self, name)) for name in OF_EACH_STEP
        }
        return Rollout(
            **steps,  # type: ignore[arg-type]  # the names are those of tensors
            final_observations=final.view(*self._shape, -1),
            success=self._flags(self._success),
            success_at_first_step=self._flags(self._success_at_first_step),
            success_streak=self._flags(self._success_streak),
        )

    def _empty(
        self, steps: int | None = None, *, width: int | None = None, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Return zeros ``[steps, n, width]``, omitting absent axes."""
        shape = [size for size in (steps, self._slots, width) if size is not None]
        return torch.zeros(shape, dtype=dtype, device=self._shown.device)

    def _flags(self, flags: torch.Tensor | None) -> torch.Tensor | None:
        return None if flags is None else flags.view(self._shape)

    def _task_first(self, steps_first: torch.Tensor) -> torch.Tensor:
        """Turn ``[T, n, ...]`` to ``[M, K, T, ...]``."""
        return (
            steps_first.transpose(0, 1).contiguous().view(*self._shape, self._horizon, *steps_first.shape[2:])
        )

    def _check_kinds(self, returned: TensorStep, step: int) -> None:
        """Check shapes and dtypes without synchronising.

        Raises:
            EngineError: if a flag or success is no bool tensor, or a tensor has not one row a slot.
        """
        size = len(self._sent)
        for name, tensor in returned._asdict().items():
            expected = (size, self._shown.shape[1]) if name == "observations" else (size,)
            if tensor is None and name == "success":
                continue
            kinds = FLOATS if name in ("observations", "rewards") else (torch.bool,)
            if tuple(tensor.shape) == expected and tensor.dtype in kinds:
                continue
            raise UnfitValue(
                f"{name} to be a {'float' if kinds is FLOATS else 'bool'} tensor of shape {expected}",
                f"{tensor.dtype} of shape {tuple(tensor.shape)}",
                "Convert it in step_tensors, such as success = distance < 0.05.",
            ).at(f"from task {self.slot_tasks[0].id!r} and the other slots, at step {step + 1}")

    def _check_finite(self, end: int) -> None:
        """Check the new steps for finite numbers, in a host's order."""
        since, self._checked = self._checked, end
        quantities = {"observation": self.observations, "action": self.actions, "reward": self.rewards}
        broken = {
            what: ~values[since:end].isfinite().view(end - since, self._slots, -1).all(dim=2)
            for what, values in quantities.items()
        }
        found = torch.stack(list(broken.values())).transpose(0, 1).reshape(-1)  # steps, quantities, slots
        if not found.any():
            return
        first = int(found.to(torch.uint8).argmax())
        place, slot = divmod(first, self._slots)
        step, quantity = divmod(place, len(quantities))
        raise not_finite(list(quantities)[quantity], self.slot_tasks, slot, since + step)
