"""Slots that reset themselves, in the modes that Gymnasium defines.

https://farama.org/Vector-Autoreset-Mode: with ``NextStep`` the step after an episode's last one resets its
slot and ignores the action; with ``SameStep`` the last step returns the first observation of the next
episode, and the last one of the episode that is over in ``infos["final_obs"]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorWrapper

from metarl.envs.engines.reset_arguments import split_options
from metarl.errors import MetarlError, unknown_name
from metarl.types import Task
from metarl.vector_env import Array, Picture, Renderable, TaskVectorEnv

Flags: TypeAlias = npt.NDArray[np.bool_]
# values of all slots, [N, …] by name; an underscore and the name: the mask of slots that have one
Infos: TypeAlias = dict[str, object]


class SelfResetting(VectorWrapper[Array, Array, Array, Array, Array]):
    """Makes a task vector environment's slots reset themselves; closes it with itself.

    ``mode`` is ``NEXT_STEP`` or ``SAME_STEP``; tasks stay until ``set_tasks``.
    """

    def __init__(self, env: TaskVectorEnv, mode: AutoresetMode) -> None:
        super().__init__(env)
        self._tasks_env = env
        self.autoreset_mode = mode
        self.metadata = {**env.metadata, "autoreset_mode": mode}
        self._over = np.zeros(env.num_envs, np.bool_)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Assign ``tasks[i]`` to slot i from its next reset on; see :meth:`.TaskVectorEnv.set_tasks`."""
        self._tasks_env.set_tasks(tasks)

    def reset(self, *, seed: int | None = None, options: Infos | None = None) -> tuple[Array, Infos]:
        """Start episodes in slots of ``options["reset_mask"]``, or all."""
        mask, _ = split_options(options, self.num_envs)
        observations, infos = self.env.reset(seed=seed, options=options)
        self._over = self._over & ~mask
        return observations, with_masks(infos, mask)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Infos]:
        """Step every slot, or reset finished ones."""
        # NEXT_STEP: slots that ended in the last step are reset in this one
        waiting = self._over
        observations, rewards, terminated, truncated, step_infos = self.env.step(actions)
        infos = with_masks(step_infos, ~waiting)
        self._over = terminated.astype(np.bool_) | truncated.astype(np.bool_)
        starting = waiting if self.autoreset_mode is AutoresetMode.NEXT_STEP else self._over
        if starting.any():
            # SAME_STEP: slots that end now are reset at once
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                infos = with_final(infos, observations, starting)
                self._over = np.zeros(self.num_envs, np.bool_)
            observations, first = self.env.reset(options={"reset_mask": starting})
            infos = _merged(infos, with_masks(first, starting))
        return observations, rewards, terminated, truncated, infos

    def render_slot(
        self, slot: int, *, camera: str | None = None, width: int = 480, height: int = 480
    ) -> Picture:
        """Return a picture of a slot; see :meth:`.Renderable.render_slot`."""
        return renderable(self._tasks_env).render_slot(slot, camera=camera, width=width, height=height)


def read_mode(named: AutoresetMode | str) -> AutoresetMode:
    """Return the mode of this name; raise ``MetarlError`` if there is none."""
    if named not in {*AutoresetMode, *(mode.value for mode in AutoresetMode)}:
        raise unknown_name("autoreset mode", str(named), [mode.value for mode in AutoresetMode])
    return AutoresetMode(named)


def renderable(env: TaskVectorEnv) -> Renderable:
    """Return an environment that can be looked at; raise ``MetarlError`` if it cannot."""
    if not isinstance(env, Renderable):
        raise MetarlError("This environment cannot be looked at: it has no render_slot.")
    return env


def with_masks(infos: Infos, stepped: Flags) -> Infos:
    """Return infos with a mask for each, ``stepped`` where it has none; nothing without any slot."""
    if not stepped.any():
        return {}
    masks = {f"_{name}": stepped.copy() for name in infos if not name.startswith("_")}
    return {**masks, **infos}


def with_final(infos: Infos, observations: Array, ended: Flags) -> Infos:
    """Move ended slots' infos to ``final_info``, their observations ``[N, O]`` to ``final_obs``."""
    # SAME_STEP: observations shown are those of the new episodes, so the last ones move to the infos
    final_obs = np.full(len(ended), None, object)
    for slot in np.flatnonzero(ended):
        final_obs[slot] = observations[slot].copy()
    final: Infos = {}
    rest: Infos = {}
    # split each entry by its mask: ended episodes and the rest
    for name, values, mask in _entries(infos):
        for part, chosen in ((final, mask & ended), (rest, mask & ~ended)):
            if chosen.any():
                kept = np.zeros_like(values)
                kept[chosen] = values[chosen]
                part[name], part[f"_{name}"] = kept, chosen
    moved: Infos = {"final_obs": final_obs, "_final_obs": ended.copy()}
    return {**moved, "final_info": final, "_final_info": ended.copy(), **rest}


def _merged(infos: Infos, others: Infos) -> Infos:
    both = dict(infos)
    for name, values, mask in _entries(others):
        if name in both:
            kept = cast("Array", both[name]).copy()
            kept[mask] = values[mask]
            both[name], both[f"_{name}"] = kept, mask | cast("Flags", both[f"_{name}"])
        else:
            both[name], both[f"_{name}"] = values, mask
    return both


def _entries(infos: Infos) -> list[tuple[str, Array, Flags]]:
    return [
        (name, cast("Array", values), cast("Flags", infos[f"_{name}"]))
        for name, values in infos.items()
        if not name.startswith("_")
    ]
