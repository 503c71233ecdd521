"""Meta-World on a device: physics, observations, rewards and success in its memory, from reset to truncation.

What happens in an episode is what happens on threads, up to float32 and MuJoCo's version; the two never
belong in one table.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import mujoco
import numpy as np
import torch
import warp as wp
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from metarl.envs.metaworld_env import action_space, observation_space
from metarl.envs.physics.sawyer import FRAME_SKIP
from metarl.envs.reset_arguments import split_options
from metarl.envs.sawyer.catalog import RewardVersion
from metarl.envs.sawyer_resets import SawyerResets
from metarl.envs.sawyer_tables import num_constants
from metarl.envs.warp.batch import BufferSizes
from metarl.envs.warp.physics import WarpPhysics
from metarl.envs.warp.tables import TensorTables
from metarl.errors import MetarlError, require
from metarl.tasks import Array, TaskVectorEnv, check_fits
from metarl.tensor_env import TensorStep
from metarl.types import Task

logger = logging.getLogger(__name__)


class WarpSawyerVectorEnv(TaskVectorEnv):
    """A :class:`.TaskVectorEnv` and :class:`.TensorVectorEnv` over MuJoCo Warp.

    A world that loses a contact for want of room, or whose numbers become NaN or huge, is truncated at that
    step with reward 0 and its last sound observation, and counted by task; the others go on.

    Args:
        families: every family that a task may be of.
        default_tasks: what the slots run in turn until ``set_tasks`` is called.
        num_envs: slots.
        horizon: steps after which an episode is truncated.
        device: ``"auto"`` for CUDA where there is some, else a device by name.
        cache: folder in which the states after resets are kept; None keeps them in memory only.
        reward_version: Meta-World's rewards of today ("v2") or its original ones ("v1").
        sizes: of the physics' buffers.

    Raises:
        MetarlError: on a family or rewards that Meta-World does not have, a number that makes no sense, or a
            want of memory.
    """

    def __init__(
        self,
        *,
        families: Sequence[str],
        default_tasks: Sequence[Task],
        num_envs: int,
        horizon: int,
        device: str = "auto",
        cache: Path | None = None,
        reward_version: RewardVersion = "v2",
        sizes: BufferSizes | None = None,
    ) -> None:
        self.closed = True  # until there is something to close
        require(num_envs >= 1, "num_envs must be 1 or more", num_envs)
        require(horizon >= 1, "horizon must be 1 or more", horizon)
        self._resets = SawyerResets(families, default_tasks, cache=cache, reward_version=reward_version)
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = observation_space(), action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._device, self._horizon = choose_device(device), horizon
        self._tasks = [default_tasks[slot % len(default_tasks)] for slot in range(num_envs)]
        self._running: list[Task | None] = [None] * num_envs
        numbers = self._resets.numbers(self._tasks)
        self._physics = WarpPhysics(self._resets.models(), numbers, device=self._device, sizes=sizes)
        self._physics.bind([task.features for task in self._resets.catalog.values()])
        self._catalog = dict(enumerate(self._resets.catalog.values()))
        most = max(num_constants(task) for task in self._catalog.values())
        self._tables = TensorTables(num_envs, most, self._device)
        self._live = torch.zeros(num_envs, dtype=torch.bool, device=self._device)
        self._steps = torch.zeros(num_envs, dtype=torch.int64, device=self._device)
        self._broken = torch.zeros(num_envs, dtype=torch.int64, device=self._device)
        self._slots: dict[int, torch.Tensor] = {}
        self._told: collections.Counter[str] = collections.Counter()
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
        """How many of these there were of each task, by its id."""
        self._count_broken()
        return dict(self._told)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Let slot i run ``tasks[i]`` from its next reset on; slots past the last task stop and stay idle.

        Raises:
            MetarlError: on more tasks than slots, none, or a task of a family that this engine was not given.
        """
        self._check_open()
        check_fits(tasks, self.num_envs)
        self._resets.check_families(tasks)
        self._tasks = list(tasks)
        self._live[len(tasks) :] = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, object] | None = None,
    ) -> tuple[Array, dict[str, object]]:
        """Start episodes in all slots that have a task, or in those that ``options["reset_mask"]`` names.

        Returns:
            Observations ``[N, 39]`` of all slots, and no infos.

        Raises:
            TypeError: if the mask is no bool array.
            ValueError: if the mask has a wrong shape or no True.
            MetarlError: if Meta-World does not accept a task's parameters.
        """
        del seed  # nothing in an episode is random
        self._check_open()
        mask, _ = split_options(options, self.num_envs)
        return _array(self.reset_tensors(torch.as_tensor(np.array(mask), device=self._device))), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step every live slot; as :meth:`step_tensors`, from and to NumPy.

        Raises:
            MetarlError: if the actions have a wrong shape.
        """
        live = self._live.cpu().numpy()
        sent = torch.as_tensor(np.asarray(actions, np.float32), device=self._device)
        observations, rewards, terminated, truncated, success = self.step_tensors(sent)
        assert success is not None
        infos: dict[str, object] = {"success": success.cpu().numpy(), "_success": live}
        ended, cut = (cast("Array", flags.cpu().numpy()) for flags in (terminated, truncated))
        return _array(observations), _array(rewards), ended, cut, infos

    def reset_tensors(self, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Start episodes in the slots that have a task, or in those of ``mask [N]``; return ``[N, 39]``.

        Raises:
            MetarlError: if Meta-World does not accept a task's parameters.
        """
        self._check_open()
        self._count_broken()
        wanted = torch.zeros_like(self._live)
        wanted[: len(self._tasks)] = True
        if mask is not None:
            wanted &= mask
        self._prepare(mask is not None, wanted)
        self._physics.restore(wanted)
        self._tables.begin(wanted)
        self._steps.masked_fill_(wanted, 0)
        self._live = self._live | wanted
        return self._tables.rows["observations"].clone()

    def step_tensors(self, actions: torch.Tensor) -> TensorStep:
        """Step every live slot.

        Args:
            actions: ``[N, 4]``.

        Raises:
            MetarlError: if the actions have a wrong shape.
        """
        self._check_open()
        if tuple(actions.shape) != (self.num_envs, 4):
            raise MetarlError(f"Actions {(self.num_envs, 4)} were wanted; {tuple(actions.shape)} came.")
        given, live = actions.to(self._device, torch.float32), self._live
        ctrl, mocap_pos = self._tables.act(given, live)
        self._physics.step(FRAME_SKIP, ctrl=ctrl, mocap_pos=mocap_pos, mask=live)
        self._steps += live
        diverged = live & self._physics.diverged
        self._broken += diverged
        sound = live & ~diverged
        self._tables.advance(self._catalog, self._slots, self._physics.features, given, sound)
        truncated = diverged | (live & (self._steps >= self._horizon))
        self._live = live & ~truncated
        return TensorStep(
            self._tables.rows["observations"].clone(),
            self._tables.outcomes[:, 0].clone(),
            torch.zeros_like(truncated),
            truncated,
            self._tables.outcomes[:, 1] > 0.5,
        )

    def close_extras(self, **_: object) -> None:
        """Let go of the worlds, and keep the states of new tasks for the next time."""
        self._count_broken()
        self._physics.close()
        self._resets.close()

    def _prepare(self, is_partial: bool, wanted: torch.Tensor) -> None:
        """Send what slots begin with that begin another task than last; what they begin with stays there."""
        chosen = wanted.tolist() if is_partial else [True] * len(self._tasks)
        new = [
            slot
            for slot, task in enumerate(self._tasks)
            if chosen[slot] and (self._running[slot] is not task and self._running[slot] != task)
        ]
        if not new:
            return
        snapshots = self._resets.snapshots([self._tasks[slot] for slot in new])
        for slot in new:
            self._running[slot] = self._tasks[slot]
        idle = self._resets.default_tasks
        running = [task or idle[slot % len(idle)] for slot, task in enumerate(self._running)]
        numbers = self._resets.numbers(running)
        self._physics.assign(numbers)
        self._physics.prepare(new, [snapshot.world for snapshot in snapshots])
        self._tables.prepare(new, snapshots)
        members: dict[int, list[int]] = {}
        for slot, number in enumerate(numbers):
            members.setdefault(number, []).append(slot)
        self._slots = {number: torch.tensor(slots, device=self._device) for number, slots in members.items()}

    def _count_broken(self) -> None:
        """Log and count, by task, what broke since the last look; this waits for the device."""
        counts = self._broken.tolist()
        self._broken.zero_()
        found: collections.Counter[str] = collections.Counter()
        for task, count in zip(self._running, counts, strict=True):
            if count and task is not None:
                found[task.id] += count
        for name, count in found.items():
            logger.warning("The physics of task %s broke in %d episodes, which were cut.", name, count)
        self._told += found

    def _check_open(self) -> None:
        if self.closed:
            raise MetarlError("This vector environment is closed: build a new one.")


def choose_device(name: str) -> torch.device:
    """Return the device that worlds shall be on, and say so where it is slow.

    Raises:
        MetarlError: if there is no such device here.
    """
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
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def _array(values: torch.Tensor) -> Array:
    return values.cpu().numpy().astype(np.float64)
