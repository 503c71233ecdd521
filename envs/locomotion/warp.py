"""Gymnasium's MuJoCo robots on a device, with models made by tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from metarl.envs.engines.arrays import tensor, vector
from metarl.envs.engines.slot_engine import check_slots
from metarl.envs.engines.warp.batch import BatchPlan
from metarl.envs.engines.warp.physics import WarpPhysics
from metarl.envs.engines.warp.vector_env import StepOutcome, WarpVectorEnv, choose_device
from metarl.envs.locomotion.columns import bind, finish_of, moment_of, tracked
from metarl.envs.locomotion.models import LocomotionTasks
from metarl.envs.locomotion.robots import Moment, observe
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.types import Task
from metarl.vector_env import Picture, check_slot


class WarpLocomotionVectorEnv(WarpVectorEnv):
    """A locomotion family as a :class:`.WarpVectorEnv`.

    A slot draws its initial noise on the host as it does on threads, so that with the same seed an episode
    starts from the same state. Velocities are differences of float32 positions: far from the origin they are
    coarser, by some 1e-4 metres a second at ten metres and 8 ms a step. A model that MuJoCo Warp cannot step,
    and a want of memory, raise ``MetarlError``.
    """

    def __init__(
        self,
        family: LocomotionFamily,
        *,
        default_tasks: Sequence[Task],
        num_envs: int,
        horizon: int,
        device: str = "auto",
    ) -> None:
        check_slots(default_tasks, num_envs, horizon)
        self._models = LocomotionTasks(family, default_tasks, num_envs)
        super().__init__(
            self._models.observation_space,
            self._models.action_space,
            tasks=default_tasks,
            num_envs=num_envs,
            horizon=horizon,
            device=choose_device(device),
        )
        self._columns = bind(self._physics, self._models.robot, self._models.options)
        # one row of constants a slot, as the rewards read them
        model, sizes = self._models.model, {"seconds": 1, "parameters": self._models.num_parameters}
        sizes["masses"] = model.nbody
        self._constants = {
            name: torch.ones(num_envs, width, device=self._device) for name, width in sizes.items()
        }  # [N, ...]: seconds of a step, the tasks' parameters, the bodies' masses
        self._starts = {name: values.clone() for name, values in self._constants.items()}
        self._seen = torch.zeros(self.observation_space.shape or (), device=self._device)
        self._before = torch.zeros(len(self._models.robot.axes), num_envs, device=self._device)

    # constants of the next episodes, copied at the reset
    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        """Return a picture as :meth:`.LocomotionVectorEnv.render_slot`, of the state on the device."""
        self._check_open()
        check_slot(slot, self.num_envs)
        [state] = self._physics.get_state([slot])
        return self._models.starts.picture(state, camera or "track", width, height)

    def close_extras(self, **_: object) -> None:
        """Let go of the worlds."""
        super().close_extras()
        self._models.starts.close()

    def _make_physics(self) -> WarpPhysics:
        plan = BatchPlan(expanded=tuple(self._models.expanded), finish=finish_of(self._models.robot))
        return WarpPhysics([self._models.model], [0] * self.num_envs, device=self._device, plan=plan)

    def _accept(self, tasks: Sequence[Task]) -> None:
        self._models.accept(tasks)
        for name in self._models.expanded:
            self._physics.expand(name)

    def _observations(self) -> torch.Tensor:
        return self._seen

    def _prepare(self, slots: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Draw what slots begin with, and send it."""
        models, layout = self._models, self._physics.layout(0)
        starts = [models.start(slot, self._tasks[slot], seeds[slot], layout) for slot in slots]
        # a slot's infos name the task from now on
        for slot in slots:
            self._running[slot] = self._tasks[slot]
        self._physics.prepare(slots, [start.state for start in starts])
        # send everything to the device in one copy for each array
        columns = {
            "seconds": [[start.timestep * models.frame_skip] for start in starts],
            "parameters": [self._tasks[slot].parameters for slot in slots],
            "masses": [models.masses(start) for start in starts],
        }
        index = torch.tensor(slots, dtype=torch.int64, device=self._device)
        for name, rows in columns.items():
            sent = torch.as_tensor(np.array(rows), dtype=torch.float32).to(self._device)
            self._starts[name].index_copy_(0, index, sent.view(len(slots), -1))

    def _begin(self, mask: torch.Tensor) -> None:
        for name, values in self._constants.items():
            torch.where(mask[:, None], self._starts[name], values, out=values)
        self._show(mask)

    @property
    def _substeps(self) -> int:
        return self._models.frame_skip

    def _act(self, actions: torch.Tensor, live: torch.Tensor) -> None:
        del live  # whatever the others do is not looked at
        self._remember()
        self._physics.load(ctrl=actions)

    def _remember(self) -> None:
        rows, masses = vector(self._physics.features.T), vector(self._constants["masses"].T)
        self._before.copy_(tensor(tracked(self._columns, self._models.robot, rows, masses)))

    def _judge(self, actions: torch.Tensor, sound: torch.Tensor) -> StepOutcome:
        outcome = self._models.judge(
            self._show(sound),
            before=vector(self._before),
            actions=vector(actions.T),
            seconds=vector(self._constants["seconds"][:, 0]),
            parameters=vector(self._constants["parameters"].T),
        )
        return StepOutcome(tensor(outcome.reward), tensor(outcome.terminated), None)

    def _show(self, mask: torch.Tensor) -> Moment:
        """Write the observations of slots of ``mask [N]``; return the moment of all."""
        rows, masses = vector(self._physics.features.T), vector(self._constants["masses"].T)
        moment = moment_of(self._columns, self._models.robot, rows, masses)
        shown = tensor(observe(self._models.robot, self._models.options, moment)).T
        torch.where(mask[:, None], shown, self._seen, out=self._seen)
        return moment
