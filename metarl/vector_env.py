"""Contract of vector environments with a task in each slot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from metarl.errors import MetarlError
from metarl.types import Task

if TYPE_CHECKING:  # environment workers import this module and never need torch
    import torch

Array: TypeAlias = npt.NDArray[np.float64]
Picture: TypeAlias = npt.NDArray[np.uint8]  # RGB picture, ``[height, width, 3]``, the first row on top


class TaskVectorEnv(VectorEnv[Array, Array, Array], ABC):
    """Vector environment of Gymnasium's with a task to set in each slot.

    ``metadata["autoreset_mode"]`` is ``AutoresetMode.DISABLED``: a slot stays idle after its episode until
    ``reset(options={"reset_mask": ...})`` names it. Stepping an idle slot does nothing: its observation stays
    what it was, its reward is zero and both of its flags stay false.

    An episode is a function of (task, seed, actions), bit for bit, whichever worker or thread runs it.
    ``reset`` is legal at any time; without ``set_tasks`` the slots run training tasks in turn.

    ``step`` returns float64 rewards ``[N]`` and, where the suite reports it, ``infos["success"]`` as a bool
    array ``[N]``: whether the task is solved after this very step.
    """

    @abstractmethod
    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Set the task that slot i runs from its next reset.

        Args:
            tasks: at least one task and at most ``num_envs``, for the first slots; the others stay idle.

        Raises:
            MetarlError: on more tasks than slots, none, or a task of a family that is not known here.
        """

    def _check_open(self) -> None:
        """Raise ``MetarlError`` once closed."""
        if self.closed:
            raise MetarlError("This vector environment is closed: build a new one.")

    @property
    def restarts(self) -> int:
        """Lost workers, whose episodes were run again."""
        return 0


@runtime_checkable
class Renderable(Protocol):
    """A :class:`TaskVectorEnv` that draws pictures, as ``isinstance`` checks."""

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        """Return a slot's picture; an ended episode is seen at its end.

        Args:
            slot: 0 to ``num_envs - 1``.
            camera: where to look from, by the name that the suite gives it; None for the suite's choice.
            width: pixels wanted; environments that make their own pictures keep their own size.
            height: likewise.

        Raises:
            MetarlError: if there is no such slot or camera, or nothing here can draw.
        """


def is_warp(engine: str) -> bool:
    """Return whether an engine's name is MuJoCo Warp's, with a device or without."""
    return engine.partition(":")[0] == "warp"


def check_fits(tasks: Sequence[Task], num_envs: int) -> None:
    """Raise MetarlError unless each task has a slot."""
    if not 1 <= len(tasks) <= num_envs:
        raise MetarlError(f"Expected 1 to {num_envs} tasks, one a slot, got {len(tasks)}.")


def check_slot(slot: int, num_envs: int) -> None:
    """Raise MetarlError unless there is such a slot."""
    if not 0 <= slot < num_envs:
        raise MetarlError(f"Expected a slot from 0 to {num_envs - 1}, got {slot}.")


class TensorStep(NamedTuple):
    """Outcome of a step, on the environment's device."""

    observations: torch.Tensor
    """``[N, O]`` float32."""
    rewards: torch.Tensor
    """``[N]`` float32."""
    terminated: torch.Tensor
    """``[N]`` bool."""
    truncated: torch.Tensor
    """``[N]`` bool."""
    success: torch.Tensor | None
    """``[N]`` bool, whether the task is solved after this very step; None where the suite does not say."""


@runtime_checkable
class TensorVectorEnv(Protocol):
    """A :class:`TaskVectorEnv` that returns tensors too.

    Returned tensors are copies or never written again, and nothing here waits for the device.
    """

    @property
    def tensor_device(self) -> torch.device:
        """Where its tensors are."""

    def reset_tensors(
        self, mask: torch.Tensor | None = None, seeds: Sequence[int | None] | None = None
    ) -> torch.Tensor:
        """Start episodes, and return all observations ``[N, O]``.

        Args:
            mask: ``[N]``, which slots; None for all that have a task.
            seeds: of each slot, for what is random in its initial state; None goes on drawing.
        """

    def step_tensors(self, actions: torch.Tensor) -> TensorStep:
        """Step every live slot with actions ``[N, A]``."""
