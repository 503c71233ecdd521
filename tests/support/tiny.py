"""Small problems for the tests of the learning core: random episodes, a scripted world, a plain agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from metarl.meta_learner import Action, Actor, Inputs, Trial, act_at_start, inputs_at_start
from metarl.networks.policies import GaussianMLPPolicy
from metarl.types import Params, Rollout, State, Task
from metarl.vector_env import Array, TaskVectorEnv

Flags: TypeAlias = npt.NDArray[np.bool_]

POLICY = GaussianMLPPolicy(observation_size=3, action_size=2, hidden_sizes=(5, 4))


def tiny_params(policy: GaussianMLPPolicy = POLICY, seed: int = 0) -> Params:
    """Draw parameters in float64, biases and deviations among them, so that none is at a special point."""
    generator = torch.Generator().manual_seed(seed)
    params = policy.initial_params(generator, torch.float64)
    return {
        name: value + 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in params.items()
    }


def random_rollout(
    seed: int,
    *,
    tasks: int = 3,
    episodes: int = 2,
    steps: int = 6,
    policy: GaussianMLPPolicy = POLICY,
    dtype: torch.dtype = torch.float64,
) -> Rollout:
    """Draw episodes of random lengths, some terminated and some truncated; the first one lasts to the end."""
    generator = torch.Generator().manual_seed(seed)
    shape = (tasks, episodes, steps)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    lengths = torch.randint(min(2, steps), steps + 1, shape[:2], generator=generator)
    lengths[0, 0] = steps
    mask = torch.arange(steps) < lengths.unsqueeze(-1)
    last = torch.arange(steps) == lengths.unsqueeze(-1) - 1
    ended = torch.rand(shape[:2], generator=generator) < 0.5
    return Rollout(
        observations=normal(*shape, policy.observation_size) * mask.unsqueeze(-1),
        actions=normal(*shape, policy.action_size) * mask.unsqueeze(-1),
        log_probs=normal(*shape) * mask,
        rewards=normal(*shape) * mask,
        mask=mask,
        terminated=last & ended.unsqueeze(-1),
        truncated=last & ~ended.unsqueeze(-1),
        final_observations=normal(tasks, episodes, policy.observation_size),
    )


def take_tasks(rollout: Rollout, order: Sequence[int]) -> Rollout:
    """Return the rollout with its tasks in another order, or fewer of them."""
    return rollout.map(lambda value: value[list(order)])


def climb(start: float, summit: float = 1e9, flag: float = 1e9) -> Task:
    """Return a task of :class:`ClimbEnv`."""
    return Task("climb", (start, summit, flag), f"climb-{start}-{summit}-{flag}")


class ClimbEnv(TaskVectorEnv):
    """Scripted arithmetic: a slot starts at ``start`` and adds its action to its height.

    It shows ``[height, steps taken]`` and is rewarded with its height after the step. The
    summit and what is above it terminates the episode, ``horizon`` steps truncate it. It is solved while the
    height is that of the flag, and idle slots claim that they are, so that it shows who listens to them.
    """

    def __init__(self, num_envs: int, horizon: int, *, noise: float = 0.0, says_success: bool = True) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = num_envs
        self.single_observation_space = Box(-np.inf, np.inf, (2,), np.float64)
        self.single_action_space = Box(-np.inf, np.inf, (1,), np.float64)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.horizon, self.noise, self.says_success = horizon, noise, says_success
        self.steps_taken = 0
        self.poison: tuple[str, int, int] | None = None
        """Puts a NaN into the "observation" or "reward" that follows a step, of a slot."""
        self.set_tasks([climb(0.0)] * num_envs)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        self.tasks = list(tasks)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, Flags]]:
        assert isinstance(seed, Sequence)
        idle = self.num_envs - len(self.tasks)
        rows = np.array([task.parameters for task in self.tasks] + [(0.0, 1e9, 1e9)] * idle)
        draws = np.array([np.random.default_rng(one).normal() for one in seed])
        self.heights, self.summits, self.flags = rows[:, 0] + self.noise * draws, rows[:, 1], rows[:, 2]
        self.live = np.arange(self.num_envs) < len(self.tasks)
        self.counts = np.zeros(self.num_envs)
        return self._observations(), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: Array
    ) -> tuple[Array, Array, Flags, Flags, dict[str, Flags]]:
        live = self.live.copy()
        self.heights = np.where(live, self.heights + actions[:, 0], self.heights)
        self.counts += live
        self.steps_taken += 1
        terminated = live & (self.heights >= self.summits)
        truncated = live & (self.counts >= self.horizon) & ~terminated
        self.live = live & ~(terminated | truncated)
        observations, rewards = self._observations(), np.where(live, self.heights, 0.0)
        if self.poison is not None and self.poison[1] == self.steps_taken - 1:
            {"observation": observations[:, 0], "reward": rewards}[self.poison[0]][self.poison[2]] = np.nan
        infos = {"success": ~live | (self.heights == self.flags)} if self.says_success else {}
        return observations, rewards, terminated, truncated, infos

    def _observations(self) -> Array:
        return np.stack([self.heights, self.counts], axis=1)


class ScriptedActor:
    """Takes the actions ``[M, K, T]`` of a script, whatever it sees; the log density at step t is -t."""

    device = torch.device("cpu")

    def __init__(self, script: Sequence[Sequence[Sequence[float]]]) -> None:
        self.script = torch.tensor(script)
        self.seen: list[torch.Tensor] = []
        self.generators: list[torch.Generator | None] = []

    def initial_memory(self, episodes: int) -> Params:
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        observations = inputs.observations
        step = len(self.seen)
        self.seen.append(observations.clone())
        self.generators.append(generator)
        actions = self.script[:, :, step].unsqueeze(-1)
        return Action(actions, torch.full(self.script.shape[:2], -float(step))), memory


@dataclass(frozen=True)
class StrideActor:
    """Climbs by a stride of its own on each task, and by chance if it is given noise."""

    strides: torch.Tensor
    """``[M]``."""
    noise: float

    @property
    def device(self) -> torch.device:
        return self.strides.device

    def initial_memory(self, episodes: int) -> Params:
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        observations = inputs.observations
        actions = self.strides.reshape(-1, 1, 1).expand(*observations.shape[:2], 1)
        if generator is not None:
            actions = actions + self.noise * torch.randn(actions.shape, generator=generator)
        return Action(actions, torch.zeros(observations.shape[:2])), memory


class StrideAgent:
    """An agent whose stride on a task becomes the mean height that it saw there, times ``rate``."""

    adaptation_steps = 1
    trial: Trial = "parallel"
    device = torch.device("cpu")

    def __init__(self, stride: float = 1.0, rate: float = 0.5, noise: float = 0.0) -> None:
        self.stride, self.rate, self.noise = stride, rate, noise
        self.episodes_seen: list[int] = []

    def initial_actor(self, num_tasks: int, rng: np.random.Generator | None = None) -> StrideActor:
        return StrideActor(torch.full((num_tasks,), self.stride), self.noise)

    def adapt(
        self, actor: StrideActor, rollout: Rollout, rng: np.random.Generator | None = None
    ) -> StrideActor:
        self.episodes_seen.append(rollout.mask.shape[1])
        return replace(actor, strides=self.rate * rollout.rewards.mean(dim=(1, 2)))

    def update(self, *_: object) -> dict[str, float]:
        raise AssertionError("evaluation never updates an agent")

    def state(self) -> State:
        return State({"stride": torch.tensor(self.stride)}, {})

    def load_state(self, state: State) -> None:
        raise AssertionError("evaluation never loads a state")


def act(actor: Actor, observations: torch.Tensor, generator: torch.Generator | None) -> Action:
    """Let a policy without memory choose actions for observations ``[M, K, O]``."""
    return act_at_start(actor, inputs_at_start(observations, 2), generator)
