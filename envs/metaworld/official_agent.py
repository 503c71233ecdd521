"""Our meta-learners as Meta-World's ``MetaLearningAgent``, for its own evaluator.

The evaluator (metaworld 3.1.1) steps a vector environment that resets slots by itself, and passes each step
to the agent, which builds the rollout for ``adapt``. It passes on no observation after an episode's last
step, so ``final_observations`` holds the one before; only agents that bootstrap truncated episodes read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from metaworld.evaluation import Timestep

from metarl.errors import MetarlError, NonFiniteActionError
from metarl.meta_learner import Action, Actor, MetaLearner, act_at_start, inputs_at_start
from metarl.types import Rollout

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

ACTION_SIZE = 4


class OfficialAgent:
    """Adapts a meta-learner, which does not change, to ``num_tasks`` tasks, one in each slot.

    An adaptation learns from the first ``episodes`` of each task, K. ``on_step`` is called before each step
    with the number of slots, and may raise to stop.
    """

    def __init__(
        self,
        learner: MetaLearner,
        num_tasks: int,
        *,
        episodes: int,
        rng: np.random.Generator,
        deterministic: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        self._learner, self._rng = learner, rng
        self._num_tasks, self._episodes = num_tasks, episodes
        self._deterministic, self._on_step = deterministic, on_step
        self._generator = torch.Generator(learner.device)
        self._generator.manual_seed(int(rng.integers(2**63)))
        self.init()

    def init(self) -> None:
        """Forget earlier tasks: new ones follow."""
        self._actor: Actor = self._learner.initial_actor(self._num_tasks, self._rng)
        self._steps: list[Timestep] = []

    def adapt_action(self, observations: Floats) -> tuple[Floats, dict[str, npt.NDArray[np.float32]]]:
        """Draw actions ``[N, A]`` and log densities ``[N]`` to learn from."""
        action = self._act(observations, self._generator)
        return _numpy(action.actions[:, 0]), {"log_probs": action.log_probs[:, 0].cpu().numpy()}

    def step(self, timestep: Timestep) -> None:
        """Record the results of the actions."""
        self._steps.append(timestep)

    def adapt(self) -> None:
        """Learn from the recorded episodes, then forget them."""
        self._actor = self._learner.adapt(self._actor, self._rollout(), self._rng)
        self._steps = []

    def eval_action(self, observations: Floats) -> Floats:
        """Return actions ``[N, A]`` that are measured."""
        return _numpy(self._act(observations, None if self._deterministic else self._generator).actions[:, 0])

    def reset(self, env_mask: Flags) -> None:
        """Do nothing: a policy remembers nothing of an episode."""

    def _act(self, observations: Floats, generator: torch.Generator | None) -> Action:
        if self._on_step is not None:
            self._on_step(len(observations))
        seen = torch.from_numpy(np.asarray(observations, np.float32))
        inputs = inputs_at_start(seen[:, None].to(self._actor.device), ACTION_SIZE)
        action = act_at_start(self._actor, inputs, generator)
        if not action.actions.isfinite().all():
            raise NonFiniteActionError("The action for the official evaluator is not finite.")
        return action

    def _rollout(self) -> Rollout:
        """Return the slots' first K episodes, ``[N, K, T, ...]``; T is the longest's length."""
        # the evaluator asks for episodes, in steps of all slots
        ended = np.stack([step.terminated | step.truncated for step in self._steps]).astype(np.bool_)
        if ended.sum(axis=0).min() < self._episodes:
            raise MetarlError(f"Expected {self._episodes} episodes of each task, got fewer.")
        # cut each slot's steps into episodes: first and last step of each
        lasts = np.stack([np.flatnonzero(column)[: self._episodes] for column in ended.T])  # [N, K]
        firsts = np.concatenate([np.zeros((len(lasts), 1), np.int64), lasts[:, :-1] + 1], axis=1)
        steps = firsts[..., None] + np.arange((lasts - firsts).max() + 1)
        # shorter episodes are padded, and the padding is masked
        mask = steps <= lasts[..., None]
        slots, clipped = np.arange(self._num_tasks), np.minimum(steps, lasts[..., None])

        def episodes(column: npt.NDArray[np.generic]) -> torch.Tensor:
            """Return ``[N, K, T, ...]`` of ``[steps, N, ...]``, zero where no episode runs."""
            taken = column[clipped, slots[:, None, None]].copy()
            taken[~mask] = 0
            return torch.from_numpy(taken)

        observations = _column([step.observation for step in self._steps])
        rollout = Rollout(
            observations=episodes(observations),
            actions=episodes(_column([step.action for step in self._steps])),
            log_probs=episodes(_column([step.aux_policy_outputs["log_probs"] for step in self._steps])),
            rewards=episodes(_column([step.reward for step in self._steps])),
            mask=torch.from_numpy(mask),
            terminated=episodes(np.stack([step.terminated for step in self._steps]).astype(np.bool_)),
            truncated=episodes(np.stack([step.truncated for step in self._steps]).astype(np.bool_)),
            final_observations=torch.from_numpy(observations[lasts, slots[:, None]]),
        )
        return rollout.to(self._actor.device)


def _column(rows: list[npt.NDArray[np.generic]]) -> npt.NDArray[np.float32]:
    return np.stack(rows).astype(np.float32)


def _numpy(actions: torch.Tensor) -> Floats:
    """Return actions as float32, the precision of Meta-World's action space."""
    array: Floats = actions.float().cpu().numpy()
    return array
