"""Meta-learners as Meta-World's ``MetaLearningAgent``.

The evaluator (metaworld 3.1.1) lets slots play episodes one after another and reset themselves. Memories are
kept as in training: blank at the start of each episode if those of a task are parallel, kept through a trial
if they are sequential. There each measured episode goes on from where adapting left the trial, as with the
RL² of Meta-World+ (McLean et al. 2025, arXiv 2505.11289), however many of its slot were measured before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from metaworld.evaluation import Timestep

from metarl.envs.metaworld.official_env import Outcome, OutcomeVectorEnv
from metarl.envs.metaworld.official_episodes import EpisodesInTurn
from metarl.errors import MetarlError, NonFiniteActionError, require
from metarl.meta_learner import Action, Actor, MetaLearner
from metarl.rollouts.collect import LastStep, last_step, repeat_episodes, trial_start
from metarl.types import Rollout

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]

ACTION_SIZE = 4
EVALUATION_EPISODES = 3
"""The evaluator's default: episodes of a family that count in each round, so of a slot no more."""


class OfficialAgent:
    """Adapts a meta-learner, which does not change, to a task in each slot of an environment.

    Args:
        env: steps them, and keeps what followed.
        episodes: K, the first episodes of each slot, from which an adaptation learns; 1 of a trial.
        deterministic: measure the most likely actions; all episodes of a trial are measured.

    Raises:
        MetarlError: if K is not 1 for an agent with sequential trials, whose step is one more episode.
    """

    def __init__(
        self,
        learner: MetaLearner,
        env: OutcomeVectorEnv,
        *,
        episodes: int,
        rng: np.random.Generator,
        deterministic: bool = False,
    ) -> None:
        self._is_sequential = learner.trial == "sequential"
        wanted = "adaptation_episodes must be 1 for an agent with a memory of its trial"
        require(episodes == 1 or not self._is_sequential, wanted, episodes)
        self._learner, self._env, self._rng = learner, env, rng
        self._episodes, self._deterministic = episodes, deterministic
        self._generator = torch.Generator(learner.device)
        self._generator.manual_seed(int(rng.integers(2**63)))
        self.init()

    def init(self) -> None:
        """Forget earlier tasks: new ones follow."""
        self._actor: Actor = self._learner.initial_actor(self._env.num_envs, self._rng)
        self._trial: LastStep | None = None
        self._steps: list[dict[str, npt.NDArray[np.generic]]] = []

    def adapt_action(self, observations: Floats) -> tuple[Floats, dict[str, npt.NDArray[np.float32]]]:
        """Draw actions ``[N, A]`` to learn from."""
        is_measured = self._deterministic and self._is_sequential
        action = self._act(observations, None if is_measured else self._generator, self._episodes)
        extras = {f"extras.{name}": value.cpu().numpy() for name, value in action.extras.items()}
        actions, log_probs = _numpy(action.actions), _numpy(action.log_probs)
        seen = np.asarray(observations, np.float32)
        self._steps.append({"observations": seen, "actions": actions, "log_probs": log_probs, **extras})
        return actions, {}

    def step(self, timestep: Timestep) -> None:
        """Record the results of the actions, with the rewards that the agent is paid."""
        outcome = self._follow()
        self._steps[-1] |= {
            "rewards": outcome.rewards.astype(np.float32),
            "terminated": outcome.terminated,
            "truncated": outcome.truncated,
            "final_observations": outcome.observations.astype(np.float32),
        }

    def adapt(self) -> None:
        """Learn from the recorded episodes, then forget them."""
        rollout = self._rollout()
        self._actor = self._learner.adapt(self._actor, rollout, self._rng)
        self._trial = last_step(rollout) if self._is_sequential else None
        self._steps = []

    def eval_action(self, observations: Floats) -> Floats:
        """Return actions ``[N, A]`` that are measured."""
        generator = None if self._deterministic else self._generator
        return _numpy(self._act(observations, generator, EVALUATION_EPISODES).actions)

    def reset(self, env_mask: Flags) -> None:
        """Go on after a measured step; the environment knows which episodes are over."""
        if self._env.outcome is not None:
            self._follow()

    def _act(self, observations: Floats, generator: torch.Generator | None, episodes: int) -> Action:
        if self._env.outcome is None:
            start = self._start(episodes)
            self._initial_memory, self._running = start.memory, EpisodesInTurn(start)
        seen = torch.from_numpy(np.asarray(observations, np.float32)).to(self._actor.device)
        action = self._running.act(self._actor, seen, generator)
        if not action.actions.isfinite().all():
            raise NonFiniteActionError("The action for the official evaluator is not finite.")
        return action

    def _start(self, episodes: int) -> LastStep:
        """Return what each slot's next episodes come after, ``[N, episodes, ...]``."""
        if self._trial is None:
            return trial_start(self._actor, (self._env.num_envs, episodes), ACTION_SIZE)
        memory = {name: repeat_episodes(value, episodes) for name, value in self._trial.memory.items()}
        last = self._trial.actions, self._trial.rewards
        actions, rewards = (repeat_episodes(value, episodes) for value in last)
        return LastStep(memory, actions, rewards)

    def _follow(self) -> Outcome:
        outcome = self._env.outcome
        assert outcome is not None, "the evaluator tells of a step after it"
        self._running.follow(outcome)
        return outcome

    def _rollout(self) -> Rollout:
        """Return the slots' first K episodes, ``[N, K, T, ...]``; T is the longest's length."""
        # the evaluator asks for episodes, in steps of all slots
        columns = {name: np.stack([step[name] for step in self._steps]) for name in self._steps[0]}
        ended = columns["terminated"] | columns["truncated"]
        if ended.sum(axis=0).min() < self._episodes:
            raise MetarlError(f"Expected {self._episodes} episodes of each task, got fewer.")
        # cut each slot's steps into episodes: first and last step of each
        lasts = np.stack([np.flatnonzero(column)[: self._episodes] for column in ended.T])  # [N, K]
        firsts = np.concatenate([np.zeros((len(lasts), 1), np.int64), lasts[:, :-1] + 1], axis=1)
        steps = firsts[..., None] + np.arange((lasts - firsts).max() + 1)
        # shorter episodes are padded, and the padding is masked
        mask = steps <= lasts[..., None]
        slots, clipped = np.arange(len(lasts))[:, None], np.minimum(steps, lasts[..., None])

        def episodes(column: npt.NDArray[np.generic]) -> torch.Tensor:
            """Return ``[N, K, T, ...]`` of ``[steps, N, ...]``, zero where no episode runs."""
            taken = column[clipped, slots[..., None]].copy()
            taken[~mask] = 0
            return torch.from_numpy(taken)

        final = columns.pop("final_observations")[lasts, slots]
        tensors = {name: episodes(column) for name, column in columns.items()}
        tensors |= {"mask": torch.from_numpy(mask), "final_observations": torch.from_numpy(final)}
        rollout = Rollout.from_tensors(tensors).to(self._actor.device)
        return replace(rollout, initial_memory=self._initial_memory, final_memory=self._running.memory)


def _numpy(actions: torch.Tensor) -> Floats:
    """Return actions as float32, the precision of Meta-World's action space."""
    array: Floats = actions.float().cpu().numpy()
    return array
