"""The base of engines on a device: from reset to truncation nothing waits for the host.

Episodes are those of the threads engine, up to float32 and MuJoCo's version; the two never belong in one
table.
"""

from __future__ import annotations

import collections
import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, cast

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from gymnasium.spaces import Box

from metarl.envs.engines.reset_arguments import seeds_of_slots
from metarl.envs.engines.slot_engine import SlotEngine
from metarl.envs.engines.warp.physics import WarpPhysics
from metarl.envs.engines.warp.recorded import Recorded
from metarl.errors import EngineError, MetarlError
from metarl.system.ranks import own_device
from metarl.types import Task
from metarl.vector_env import Array, TensorStep

logger = logging.getLogger(__name__)


class StepOutcome(NamedTuple):
    """The outcome of a step, ``[N]`` each, undefined for slots that are not sound."""

    rewards: torch.Tensor
    terminated: torch.Tensor
    success: torch.Tensor | None  # None where the suite does not say


class WarpVectorEnv(SlotEngine):
    """A :class:`.TaskVectorEnv` and :class:`.TensorVectorEnv` over MuJoCo Warp.

    A world that loses a contact for want of room, or has NaN or huge numbers, is truncated at that step with
    reward 0 and its last sound observation, and counted by task; the others go on. ``device`` is one of
    :func:`choose_device`.
    """

    def __init__(
        self,
        observation_space: Box,
        action_space: Box,
        *,
        tasks: Sequence[Task],
        num_envs: int,
        horizon: int,
        device: torch.device,
    ) -> None:
        super().__init__(observation_space, action_space, tasks=tasks, num_envs=num_envs, horizon=horizon)
        self._device = device
        self._running: list[Task | None] = [None] * num_envs
        self._physics = self._make_physics()
        self._live: torch.Tensor = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self._steps = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self._broken = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self._told: collections.Counter[str] = collections.Counter()
        # what the next step is asked for; a recording reads it where it is
        self._given = torch.zeros(num_envs, action_space.shape[0], device=device)
        self._before_physics = Recorded(lambda: self._act(self._given, self._live), device)
        self._after_physics = Recorded(self._look, device)
        self.closed = False

    @property
    def tensor_device(self) -> torch.device:
        """Where the worlds are."""
        return self._device

    @property
    def diverged(self) -> int:
        """Episodes that were cut because their physics broke."""
        self._count_broken()
        return self._told.total()

    @property
    def diverged_by_task(self) -> dict[str, int]:
        """Count of these per task id."""
        self._count_broken()
        return dict(self._told)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Start episodes in slots that have a task, or in those of ``options["reset_mask"]``."""
        slots, seeds = self._to_start(options), seeds_of_slots(seed, self.num_envs)
        mask = torch.zeros(self.num_envs, dtype=torch.bool)
        mask[slots] = True
        return _array(self.reset_tensors(mask.to(self._device), seeds)), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step every live slot: :meth:`step_tensors`, from and to NumPy."""
        live = self._live.cpu().numpy().copy()
        sent = torch.as_tensor(np.asarray(actions, np.float32), device=self._device)
        observations, rewards, terminated, truncated, success = self.step_tensors(sent)
        infos: dict[str, object] = {}
        if success is not None:
            infos = {"success": success.cpu().numpy(), "_success": live}
        ended, cut = (cast("Array", flags.cpu().numpy()) for flags in (terminated, truncated))
        return _array(observations), _array(rewards), ended, cut, infos

    def reset_tensors(
        self, mask: torch.Tensor | None = None, seeds: Sequence[int | None] | None = None
    ) -> torch.Tensor:
        """Start episodes in slots with a task, or of ``mask [N]``; return ``[N, O]``.

        ``seeds`` start the slots' generators anew; None lets them go on.
        """
        self._check_open()
        self._count_broken()
        # slots that have a task and are in the mask
        wanted = torch.zeros_like(self._live)
        wanted[: len(self._tasks)] = True
        if mask is not None:
            wanted &= mask
        chosen = [True] * len(self._tasks) if mask is None else wanted.tolist()
        slots = [slot for slot in range(len(self._tasks)) if chosen[slot]]
        # the host sends new tasks; the device does the rest
        self._prepare(slots, seeds or [None] * self.num_envs)
        # rows of other slots are left alone, by masks instead of indices
        self._physics.restore(wanted)
        self._begin(wanted)
        self._steps.masked_fill_(wanted, 0)
        self._live |= wanted
        return self._observations().clone()

    def step_tensors(self, actions: torch.Tensor) -> TensorStep:
        """Step every live slot by actions ``[N, A]``."""
        self._check_shape(actions.shape)
        self._given.copy_(actions)
        self._before_physics(self._physics.version)
        self._physics.advance(self._substeps)
        seen = self._after_physics(self._physics.version)
        return TensorStep(
            seen.observations.clone(),
            seen.rewards.clone(),
            seen.terminated.clone(),
            seen.truncated.clone(),
            None if seen.success is None else seen.success.clone(),
        )

    def _look(self) -> TensorStep:
        """Return what every live slot shows after the physics."""
        live = self._live
        self._physics.show(live)
        self._steps += live
        # a world that diverged is cut, without reward or success
        diverged = live & self._physics.diverged
        self._broken += diverged
        sound = live & ~diverged
        judged = self._judge(self._given, sound)
        terminated = sound & judged.terminated
        # a slot ends by itself, at the horizon or by diverging
        truncated = diverged | (live & ~terminated & (self._steps >= self._horizon))
        live &= ~(terminated | truncated)
        return TensorStep(
            self._observations(),
            torch.where(sound, judged.rewards, 0.0),
            terminated,
            truncated,
            None if judged.success is None else sound & judged.success,
        )

    def close_extras(self, **_: object) -> None:
        """Let go of the worlds."""
        self._count_broken()
        self._physics.close()

    @abstractmethod
    def _make_physics(self) -> WarpPhysics:
        """Make the worlds."""

    @abstractmethod
    def _observations(self) -> torch.Tensor:
        """Return what the slots show, ``[N, O]``, live."""

    @abstractmethod
    def _prepare(self, slots: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Assign tasks to some slots, from their next :meth:`_begin` on."""

    @abstractmethod
    def _begin(self, mask: torch.Tensor) -> None:
        """Begin episodes in slots of ``mask [N]``, where the worlds are at the start."""

    @property
    @abstractmethod
    def _substeps(self) -> int:
        """Steps of the physics in a step."""

    @abstractmethod
    def _act(self, actions: torch.Tensor, live: torch.Tensor) -> None:
        """Set what moves live slots ``[N]`` by actions ``[N, A]``; is :class:`Recorded`."""

    @abstractmethod
    def _judge(self, actions: torch.Tensor, sound: torch.Tensor) -> StepOutcome:
        """Compute the observations of sound slots, ``[N]``; the others keep theirs; is :class:`Recorded`."""

    def _count_broken(self) -> None:
        """Log and count slots that broke since the last look, by task; wait for the device."""
        counts = self._broken.tolist()
        self._broken.zero_()
        found: collections.Counter[str] = collections.Counter()
        for task, count in zip(self._running, counts, strict=True):
            if count and task is not None:
                found[task.id] += count
        for name, count in found.items():
            logger.warning("The physics of task %s broke in %d episodes, which were cut.", name, count)
        self._told += found


def choose_device(name: str) -> torch.device:
    """Return the worlds' device, warn if slow; raise ``MetarlError`` if it is not there."""
    # each MuJoCo Warp computes what the MuJoCo of its own number does
    if mujoco.__version__.split(".")[:2] != mjw.__version__.split(".")[:2]:
        raise EngineError(
            f"Expected MuJoCo Warp of MuJoCo's version, {mujoco.__version__}, got {mjw.__version__}: "
            "`make setup-warp` makes the environment .venv-warp with both."
        )
    wp.init()
    chosen = ("cuda" if wp.is_cuda_available() else "cpu") if name == "auto" else name
    device = torch.device(chosen)
    if device.type == "cuda" and not (torch.cuda.is_available() and wp.is_cuda_available()):
        raise MetarlError(f"The engine warp was to run on {name}, and there is no CUDA here.")
    if device.type == "cpu":
        logger.warning(
            "MuJoCo Warp %s runs on the CPU here, some ten times slower than the engine threads.",
            mujoco.__version__,
        )
    return torch.device("cuda", own_device(chosen).index or 0) if device.type == "cuda" else device


def _array(values: torch.Tensor) -> Array:
    return values.cpu().numpy().astype(np.float64)
