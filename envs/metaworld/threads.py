"""Meta-World on threads: physics in one batch, observations and rewards by array arithmetic.

These are the episodes of Meta-World's own environments without their Python: states, observations and success
bit for bit, rewards but for their rounding. A reset restores a state that Meta-World itself produced once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from metarl.envs.engines.arrays import vector
from metarl.envs.engines.slot_engine import SlotEngine, check_slots, log_diverged
from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName
from metarl.envs.metaworld.env import action_space, observation_space
from metarl.envs.metaworld.models import FRAME_SKIP, MocapArms
from metarl.envs.metaworld.rendering import DEFAULT_SIZE, SawyerRenderers
from metarl.envs.metaworld.resets import METAWORLD, Families, SawyerResets
from metarl.envs.metaworld.rewards.catalog import RewardVersion
from metarl.envs.metaworld.rewards.observation import visible_goal
from metarl.envs.metaworld.slot_arrays import OUTCOMES, Tables, c_function, num_constants
from metarl.errors import require
from metarl.types import Task
from metarl.vector_env import Array, Picture, check_slot

Indices: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]


class SawyerVectorEnv(SlotEngine):
    """:class:`~metarl.vector_env.TaskVectorEnv` over threaded Meta-World worlds.

    The slots run ``default_tasks`` in turn until ``set_tasks`` is called. Nothing in an episode is random: a
    seed changes nothing. A world with NaN or huge numbers is truncated at that step with reward 0 and its
    last sound observation, logged and counted. ``num_threads=0`` is one a core that this process may use;
    results do not depend on it. ``stepper`` is "compiled", "portable" (Python threads, slower), or "auto" for
    the first that works; ``cache`` is the folder in which the states after resets are kept, None keeps them
    in memory only. Unknown families and rewards raise ``MetarlError``, a compiled stepper that cannot be
    built ``EngineError``.
    """

    def __init__(
        self,
        *,
        families: Sequence[str],
        default_tasks: Sequence[Task],
        num_envs: int,
        num_threads: int = 0,
        horizon: int,
        stepper: StepperName = "auto",
        cache: Path | None = None,
        reward_version: RewardVersion = "v2",
        known: Families = METAWORLD,
    ) -> None:
        check_slots(default_tasks, num_envs, horizon)
        require(num_threads >= 0, "num_threads must be 0 or more", num_threads)
        self._resets = SawyerResets(
            families, default_tasks, cache=cache, reward_version=reward_version, known=known
        )
        super().__init__(
            observation_space(), action_space(), tasks=default_tasks, num_envs=num_envs, horizon=horizon
        )
        self.diverged = 0  # episodes that were cut because their physics diverged
        self._running = list(self._tasks)
        # one model a family, one world a slot
        self._physics = BatchedPhysics(
            self._resets.models(), self._resets.numbers(self._tasks), stepper=stepper, num_threads=num_threads
        )
        # rewards read features and constants; a compiled stepper computes them on its threads
        self.closed = False
        catalog = self._resets.catalog
        self._physics.bind([task.features for task in catalog.values()])
        for field in known.models.expanded:
            self._physics.expand(field)
        self._arms = MocapArms(num_envs)
        self._live: Flags = np.zeros(num_envs, np.bool_)
        self._steps = np.zeros(num_envs, np.int64)
        most = max(num_constants(task) for task in catalog.values())
        self._tables = Tables(self._physics.features, most)
        functions = [c_function(task, self._tables) for task in catalog.values()]
        self._computes = self._physics.compute(functions, self._tables.in_order())
        self._groups: dict[str, Indices] = {}
        self._renderers = SawyerRenderers(known.full_model, known.look)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Start episodes in slots that have a task, or in those of ``options["reset_mask"]``."""
        slots = self._to_start(options)
        # resets are restored from snapshots, not simulated
        snapshots = self._resets.snapshots([self._tasks[slot] for slot in slots])
        self._live[slots] = False  # should anything below be interrupted
        for slot, snapshot in zip(slots, snapshots, strict=True):
            self._running[slot] = self._tasks[slot]
            self._arms.reset(slot, snapshot.arm)
            self._tables.begin(slot, snapshot.observation, snapshot.constants["reward"])
        # a slot may change its family, and its model with it
        self._physics.assign(self._resets.numbers(self._running))
        self._physics.set_state(slots, [snapshot.world for snapshot in snapshots])
        self._steps[slots] = 0
        slots_of: dict[str, list[int]] = {}
        for slot, task in enumerate(self._running):
            slots_of.setdefault(task.family, []).append(slot)
        self._groups = {family: np.array(members, np.int64) for family, members in slots_of.items()}
        self._live[slots] = True
        return self._tables.observations.copy(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, object]]:
        """Step every live slot by ``actions [N, 4]``, rounded to float32; infos have ``"success"``."""
        self._check_shape(np.shape(actions))
        # actions move the mocap bodies within their box
        self._tables.actions[...] = actions
        live = self._live.copy()
        ctrl, mocap_pos, mocap_quat = self._arms.act(self._tables.actions, live)
        self._physics.step(FRAME_SKIP, ctrl=ctrl, mocap_pos=mocap_pos, mocap_quat=mocap_quat, mask=live)
        self._steps += live
        # worlds that diverged are cut, without reward or success
        truncated, sound = self._steps >= self._horizon, live
        if self._physics.any_diverged:
            diverged = live & self._physics.diverged
            self.diverged += log_diverged(diverged, self._running, self._steps)
            self._tables.outcomes[diverged] = 0.0
            truncated, sound = truncated | diverged, live & ~diverged
        # without compiled rewards, NumPy computes them here
        for family, slots in self._groups.items() if not self._computes else ():
            if sound[slots].any():
                self._tables.advance(self._resets.catalog[family], slots[sound[slots]])
        rewards = np.where(sound, self._tables.outcomes[:, 0], 0.0)
        success = sound & (self._tables.outcomes[:, 1] > 0.5)
        truncated &= live
        self._live &= ~truncated
        infos: dict[str, object] = {"success": success, "_success": live}
        terminated = cast("Array", np.zeros(self.num_envs, np.bool_))
        return self._tables.observations.copy(), rewards, terminated, cast("Array", truncated), infos

    def stop(self, slots: Flags) -> None:
        """End the episodes of some slots, ``[N]``, which are idle until their next reset."""
        self._live &= ~slots

    def outcomes(self) -> dict[str, Array]:
        """Return Meta-World's ``info`` of the last step, ``[N]`` each; 0 if the slot diverged."""
        columns = dict(zip(OUTCOMES, self._tables.outcomes.T.copy(), strict=True))
        reward = columns.pop("reward")
        return {**columns, "unscaled_reward": reward}

    def goals(self, *, clipped: bool = True) -> Array:
        """Return goals as Meta-World shows them, ``[N, 3]``, metres; a reset's are not ``clipped``."""
        goals = np.zeros((self.num_envs, 3))
        for family, slots in self._groups.items():
            task = self._resets.catalog[family]
            features, constants = self._tables.features[slots].T, self._tables.constants[slots].T
            shown = visible_goal(task, vector(features), vector(constants), clipped=clipped)
            goals[slots] = np.asarray(shown).T
        return goals

    def goal_bounds(self) -> tuple[Array, Array]:
        """Return the lowest and highest goal that these families can show, ``[3]``, metres."""
        tasks = list({task.family: task for task in self._resets.default_tasks}.values())
        places = [self._resets.catalog[task.family].constant_places for task in tasks]
        constants = [snapshot.constants["reward"] for snapshot in self._resets.snapshots(tasks)]
        low, high = (
            np.array([row[place[name]] for row, place in zip(constants, places, strict=True)])
            for name in ("goal_low", "goal_high")
        )
        return low.min(axis=0), high.max(axis=0)

    @property
    def has_moving_goals(self) -> bool:
        """Whether some goal moves within an episode."""
        return any("target_pos" in self._resets.catalog[family].live for family in self._resets.families)

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = DEFAULT_SIZE, height: int = DEFAULT_SIZE
    ) -> Picture:
        """Return a slot's picture by a camera of the full model, ``[height, width, 3]``.

        A slot that never ran shows the model's initial state. ``camera`` is one of
        :data:`.rendering.CAMERAS`; None for corner2 turned upright.
        """
        self._check_open()
        check_slot(slot, self.num_envs)
        task, [state] = self._running[slot], self._physics.get_state([slot])
        stepped = self._resets.model(task.family)
        renderer = self._renderers.get(task.family, stepped, width=width, height=height)
        return renderer.frame(state.integration, state.fields, camera, task.parameters)

    def close_extras(self, **_: object) -> None:
        """End the threads; save new tasks' states."""
        self._renderers.close()
        self._physics.close()
        self._resets.close()

    def _accept(self, tasks: Sequence[Task]) -> None:
        self._resets.check_families(tasks)
