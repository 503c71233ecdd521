"""Vector environments for Meta-World's evaluator: ours, and one that shows an agent what the evaluator keeps.

The evaluator (metaworld 3.1.1) passes on no reward in the episodes that it measures, and no observation after
an episode's last step in any. Agents with a memory read the one and agents that bootstrap the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper

from metarl.envs.engines.autoreset import Flags, Infos
from metarl.envs.metaworld.goal_order import assign_goals
from metarl.envs.metaworld.resets import METAWORLD, Families
from metarl.envs.metaworld.vector_env import MetaWorldVectorEnv, VectorOptions
from metarl.errors import require
from metarl.types import Task
from metarl.vector_env import Array


class Outcome(NamedTuple):
    """Results of the last actions of N slots, as their agent gets them."""

    observations: Array  # ``[N, O]``, of the episode that was stepped: its last one where it is over
    rewards: Array  # ``[N]``, with the bonus for success
    terminated: Flags  # ``[N]``
    truncated: Flags  # ``[N]``

    @property
    def ended(self) -> Flags:
        """Whether each slot's episode is over, ``[N]``."""
        return self.terminated | self.truncated


class OutcomeVectorEnv(VectorWrapper[Array, npt.NDArray[np.float32], Array, npt.NDArray[np.float32], Array]):
    """An environment of the evaluator that keeps the last step for the agent; it returns all as it was.

    Args:
        env: ours or one of ``make_ml_envs_test``.
        success_bonus: what the agent is paid on top for each step that solves the task.
        on_step: called before each step with the number of slots; may raise to stop.

    Raises:
        MetarlError: if slots do not reset in the step that ends their episode, as the evaluator needs it.
    """

    outcome: Outcome | None = None
    """None after a reset: the next actions are the first of an episode in every slot."""

    def __init__(
        self,
        env: OfficialVectorEnv | SyncVectorEnv,
        success_bonus: float = 0.0,
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        mode = env.metadata.get("autoreset_mode")
        require(mode is AutoresetMode.SAME_STEP, "autoreset_mode must be AutoresetMode.SAME_STEP", mode)
        super().__init__(env)
        self._slots, self._bonus, self._on_step = env, success_bonus, on_step
        self.env_steps = 0  # environment steps so far, which the evaluator does not count

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, Infos]:
        """Start episodes in all slots."""
        self.outcome = None
        return super().reset(seed=seed, options=options)

    def step(self, actions: npt.NDArray[np.float32]) -> tuple[Array, Array, Array, Array, Infos]:
        """Step every slot; slots that end show the first observation of their next episode."""
        if self._on_step is not None:
            self._on_step(self.num_envs)
        self.env_steps += self.num_envs
        observations, rewards, terminated, truncated, infos = super().step(actions)
        flags = terminated.astype(np.bool_), truncated.astype(np.bool_)
        ended = flags[0] | flags[1]
        seen = np.array(observations)
        for slot in np.flatnonzero(ended):
            seen[slot] = cast("Array", infos["final_obs"])[slot]
        paid = rewards + self._bonus * _successes(infos, ended) if self._bonus else rewards.copy()
        self.outcome = Outcome(seen, paid, *flags)
        return observations, rewards, terminated, truncated, infos

    def call(self, name: str, *arguments: object) -> tuple[object, ...]:
        """Call a method in every slot."""
        return self._slots.call(name, *arguments)

    def get_attr(self, name: str) -> tuple[object, ...]:
        """Return an attribute of each slot."""
        return self._slots.get_attr(name)


class OfficialVectorEnv(MetaWorldVectorEnv):
    """Our fast environment with the returns that the evaluator reads.

    Each family has as many ``slots``, which share out its tasks.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        slots: int,
        *,
        seed: int,
        options: VectorOptions,
        cache: Path | None = None,
        known: Families = METAWORLD,
    ) -> None:
        families = list(dict.fromkeys(task.family for task in tasks))
        assigned = assign_goals(tasks, slots * len(families), share_goals=True)
        super().__init__(assigned, families=families, seed=seed, options=options, cache=cache, known=known)
        self._returns = np.zeros(self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, Infos]:
        """Start episodes in all slots."""
        self._returns[:] = 0
        return super().reset(seed=seed, options=options)

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: npt.NDArray[np.float32]
    ) -> tuple[Array, Array, Flags, Flags, Infos]:
        """Step every slot; ``infos["final_info"]["episode"]["r"]`` has the returns of those that end."""
        observations, rewards, terminated, truncated, infos = super().step(actions)
        self._returns += rewards
        ended = terminated | truncated
        if ended.any():
            cast("Infos", infos["final_info"])["episode"] = {"r": np.where(ended, self._returns, 0.0)}
            self._returns[ended] = 0
        return observations, rewards, terminated, truncated, infos


def _successes(infos: Infos, ended: Flags) -> Flags:
    """Return whether each slot's step solved its task; of ended slots ``final_info`` says it."""
    found = np.zeros(len(ended), np.bool_)
    for part, slots in ((infos, ~ended), (infos.get("final_info"), ended)):
        if slots.any():
            found[slots] = np.asarray(cast("Infos", part)["success"], np.float64)[slots] > 0.5
    return found
