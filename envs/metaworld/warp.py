"""Meta-World on a device, with physics, observations, rewards and success in its memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from metarl.envs.engines.slot_engine import check_slots
from metarl.envs.engines.warp.batch import BatchPlan, BufferSizes
from metarl.envs.engines.warp.physics import WarpPhysics
from metarl.envs.engines.warp.vector_env import StepOutcome, WarpVectorEnv, choose_device
from metarl.envs.metaworld.env import action_space, observation_space
from metarl.envs.metaworld.models import EXPANDED, FRAME_SKIP
from metarl.envs.metaworld.rendering import DEFAULT_SIZE, SawyerRenderers
from metarl.envs.metaworld.resets import SawyerResets
from metarl.envs.metaworld.rewards.catalog import RewardVersion
from metarl.envs.metaworld.slot_arrays import num_constants
from metarl.envs.metaworld.warp_arrays import TensorTables
from metarl.types import Task
from metarl.vector_env import Array, Picture, check_slot


class WarpSawyerVectorEnv(WarpVectorEnv):
    """Meta-World's families as a :class:`.WarpVectorEnv`; arguments as :class:`.SawyerVectorEnv`.

    Nothing in an episode is random. ``sizes`` are those of the physics' buffers; a want of memory raises
    ``MetarlError``.
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
        check_slots(default_tasks, num_envs, horizon)
        self._resets = SawyerResets(families, default_tasks, cache=cache, reward_version=reward_version)
        self._plan = BatchPlan(sizes=sizes or BufferSizes(), expanded=EXPANDED)
        self._catalog = dict(enumerate(self._resets.catalog.values()))
        self._renderers = SawyerRenderers()
        super().__init__(
            observation_space(),
            action_space(),
            tasks=default_tasks,
            num_envs=num_envs,
            horizon=horizon,
            device=choose_device(device),
        )
        most = max(num_constants(task) for task in self._catalog.values())
        self._tables = TensorTables(num_envs, most, self._device)
        self._slots: dict[int, torch.Tensor] = {}
        self._slots_version = 0  # the physics' version that they are of

    def goals(self, *, clipped: bool = True) -> Array:
        """Return goals as :meth:`.SawyerVectorEnv.goals` does, ``[N, 3]``, metres."""
        shown = self._tables.goals(self._catalog, self._slots, self._physics.features, clipped=clipped)
        return shown.cpu().numpy().astype(np.float64)

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = DEFAULT_SIZE, height: int = DEFAULT_SIZE
    ) -> Picture:
        """Return a picture as :meth:`.SawyerVectorEnv.render_slot`, of the state on the device."""
        self._check_open()
        check_slot(slot, self.num_envs)
        family, [state] = self._shown_tasks()[slot].family, self._physics.get_state([slot])
        renderer = self._renderers.get(family, self._resets.model(family), width=width, height=height)
        return renderer.frame(state.integration, state.fields, camera)

    def close_extras(self, **_: object) -> None:
        """Release the worlds; save new tasks' states."""
        super().close_extras()
        self._renderers.close()
        self._resets.close()

    def _make_physics(self) -> WarpPhysics:
        numbers = self._resets.numbers(self._tasks)
        physics = WarpPhysics(self._resets.models(), numbers, device=self._device, plan=self._plan)
        physics.bind([task.features for task in self._resets.catalog.values()])
        return physics

    def _accept(self, tasks: Sequence[Task]) -> None:
        self._resets.check_families(tasks)

    def _observations(self) -> torch.Tensor:
        return self._tables.rows["observations"]

    def _prepare(self, slots: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Send the initial states of slots that begin another task than last."""
        del seeds
        # nothing is sent for a slot that runs the same task again: it is on the device
        new = [
            slot
            for slot in slots
            if self._running[slot] is not self._tasks[slot] and self._running[slot] != self._tasks[slot]
        ]
        if not new:
            return
        snapshots = self._resets.snapshots([self._tasks[slot] for slot in new])
        for slot in new:
            self._running[slot] = self._tasks[slot]
        # a slot may change its family, and its batch with it
        numbers = self._resets.numbers(self._shown_tasks())
        self._physics.assign(numbers)
        self._physics.prepare(new, [snapshot.world for snapshot in snapshots])
        self._tables.prepare(new, snapshots)
        if self._slots_version == self._physics.version:
            return
        self._slots_version = self._physics.version
        # slots by family, for one call of each reward function
        members: dict[int, list[int]] = {}
        for slot, number in enumerate(numbers):
            members.setdefault(number, []).append(slot)
        self._slots = {number: torch.tensor(slots, device=self._device) for number, slots in members.items()}

    def _begin(self, mask: torch.Tensor) -> None:
        self._tables.begin(mask)

    @property
    def _substeps(self) -> int:
        return FRAME_SKIP

    def _act(self, actions: torch.Tensor, live: torch.Tensor) -> None:
        ctrl, mocap_pos = self._tables.act(actions, live)
        self._physics.load(ctrl=ctrl, mocap_pos=mocap_pos)

    def _judge(self, actions: torch.Tensor, sound: torch.Tensor) -> StepOutcome:
        self._tables.advance(self._catalog, self._slots, self._physics.features, actions, sound)
        outcomes = self._tables.outcomes
        return StepOutcome(outcomes[:, 0], torch.zeros_like(sound), outcomes[:, 1] > 0.5)

    def _shown_tasks(self) -> list[Task]:
        """Return the task of each slot, a default one if none ran."""
        idle = self._resets.default_tasks
        return [task or idle[slot % len(idle)] for slot, task in enumerate(self._running)]
