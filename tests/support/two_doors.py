"""Two doors, of which one pays: in the first episode a policy can only guess, then it can remember."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from metarl.config import AgentConfig, MeasurementConfig, SamplingConfig
from metarl.evaluation.evaluate import evaluate
from metarl.meta_learner import Action, Actor, Inputs, MetaLearner
from metarl.tasks import Split, sample_evenly
from metarl.training.meta_iteration import meta_iteration
from metarl.types import Params, Rollout, Task
from metarl.vector_env import Array, TaskVectorEnv

Flags = npt.NDArray[np.bool_]

TRAIN = tuple(
    Task("doors", (side, float(place)), f"train/{side:+.0f}/{place}")
    for side in (-1.0, 1.0)
    for place in range(4)
)
TEST = tuple(
    Task("doors", (side, float(place)), f"test/{side:+.0f}/{place}")
    for side in (-1.0, 1.0)
    for place in range(4, 8)
)


@dataclass(frozen=True)
class TwoDoors:
    """Tasks that differ in which door pays; nothing that is observed shows which."""

    name: str = "two-doors"
    horizon: int = 2
    """The first step is for looking round: it pays nothing."""
    reports_success: bool = True

    @property
    def observation_space(self) -> Box:
        return Box(-1.0, 1.0, (1,), np.float64)

    @property
    def action_space(self) -> Box:
        return Box(-1.0, 1.0, (1,), np.float64)

    def tasks(self, split: Split) -> tuple[Task, ...]:
        return TRAIN if split == "train" else TEST

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        return sample_evenly(self.tasks(split), num_tasks, rng)

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        return TwoDoorsEnv(num_envs, self)


class TwoDoorsEnv(TaskVectorEnv):
    """Pays 1 at the second step for an action on the right side of zero."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012  # Gymnasium's

    def __init__(self, num_envs: int, suite: TwoDoors) -> None:
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = suite.observation_space, suite.action_space
        self.observation_space = batch_space(suite.observation_space, num_envs)
        self.action_space = batch_space(suite.action_space, num_envs)
        self.set_tasks(TRAIN[: min(num_envs, len(TRAIN))])

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        sides = [task.parameters[0] for task in tasks]
        self.sides = np.array(sides + [0.0] * (self.num_envs - len(sides)))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, Flags]]:
        self.count = 0
        return np.zeros((self.num_envs, 1)), {}

    def step(  # type: ignore[override]  # Gymnasium has one type for rewards and flags
        self, actions: Array
    ) -> tuple[Array, Array, Flags, Flags, dict[str, Flags]]:
        self.count += 1
        opens = self.count == 2
        found = (actions[:, 0] * self.sides > 0) & opens
        over = np.full(self.num_envs, opens)
        seen = np.full((self.num_envs, 1), float(opens))
        return seen, found.astype(np.float64), over, np.zeros_like(over), {"success": found}


Forget: TypeAlias = Callable[[Inputs, Params], tuple[Inputs, Params]]
"""Blanks inputs and memory at the start of an episode."""


@dataclass(frozen=True)
class ForgetfulActor:
    """An actor that forgets all at the start of each episode."""

    actor: Actor
    forget: Forget

    @property
    def device(self) -> torch.device:
        return self.actor.device

    def initial_memory(self, episodes: int) -> Params:
        return self.actor.initial_memory(episodes)

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        return self.actor.act(*self.forget(inputs, memory), generator)


class ForgetfulAgent:
    """The same agent without what its memory carries from episode to episode."""

    trial = "sequential"
    adaptation_steps = 1

    def __init__(self, agent: MetaLearner, forget: Forget) -> None:
        self.agent, self.forget, self.device = agent, forget, agent.device

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> ForgetfulActor:
        return ForgetfulActor(self.agent.initial_actor(num_tasks, rng), self.forget)

    def adapt(self, actor: ForgetfulActor, rollout: Rollout, rng: np.random.Generator) -> ForgetfulActor:
        return actor


def success_by_episode(config: AgentConfig, forget: Forget, *, iterations: int) -> dict[str, list[float]]:
    """Train an agent; return success rates of trials' episodes, of the agent as it is and a forgetful one."""
    suite, rng = TwoDoors(), np.random.default_rng(0)
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=SamplingConfig())
    env = suite.make_vector_env(64)
    for _ in range(iterations):
        meta_iteration(agent, env, suite.sample(16, rng), episodes=4, horizon=suite.horizon, rng=rng)
    measured = {}
    for name, learner in (("remembers", agent), ("forgets", ForgetfulAgent(agent, forget))):
        found = evaluate(
            learner,  # type: ignore[arg-type]  # it is only evaluated
            suite.make_vector_env(64),
            suite.tasks("test"),
            MeasurementConfig(episodes=8, deterministic=True),
            adaptation_steps=2,
            horizon=2,
            rng=np.random.default_rng(0),
        )
        assert found.trial == "sequential"
        assert found.successes is not None
        measured[name] = found.successes.mean(axis=(0, 2)).tolist()
    return measured
