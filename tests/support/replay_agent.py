"""A small agent that learns from a replay buffer, for tests of what every run has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import torch

from metarl.config import AgentConfig, SamplingConfig
from metarl.functional.distributions import log_prob
from metarl.functional.params import detach, gradient, requires_grad, stack, take_saved
from metarl.learning.adapted_policy import AdaptedPolicy
from metarl.learning.replay import ReplayBuffer
from metarl.meta_learner import Actor, Plan, Trial
from metarl.networks.settings import NetworkConfig, draw_params
from metarl.plugins import entry_points
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State, Task

KIND = "test-replay"


@dataclass(frozen=True, kw_only=True)
class ReplayAgentConfig(NetworkConfig, AgentConfig):
    """Regression towards actions that were followed by high reward, on steps of a replay buffer."""

    kind: ClassVar[str] = KIND
    source: ClassVar[str] = "a test"

    capacity: int = 400
    """Steps of the buffer; with 40 steps an iteration two additions make a segment."""
    gradient_steps: int = 3
    """Of an update."""
    lr: float = 0.05
    """Step size."""
    planned: bool = False
    """Fill the buffer from all tasks first, and learn without new data in every fourth iteration."""

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> ReplayAgent:
        """Return an agent with an empty buffer."""
        policy = self.build_policy(suite)
        return ReplayAgent(self, policy, draw_params(policy, seed, device))


class ReplayAgent:
    """The policy's parameters and the buffer."""

    trial: Trial = "parallel"
    adaptation_steps = 0

    def __init__(self, config: ReplayAgentConfig, policy: object, params: Params) -> None:
        self.config, self.policy, self.params = config, policy, params
        self.replay = ReplayBuffer(config.capacity, self.device)

    @property
    def device(self) -> torch.device:
        return next(iter(self.params.values())).device

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> AdaptedPolicy:
        return AdaptedPolicy(self.policy, stack(self.params, num_tasks))

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> Actor:
        return actor

    def plan(self, iteration: int) -> Plan:
        if not self.config.planned:
            return Plan()
        if iteration == 0:
            return Plan("all tasks", learns=False)
        return Plan("nothing", further_updates=2) if iteration % 4 == 0 else Plan(further_updates=1)

    def remember(self, rollouts: Sequence[Rollout], tasks: Sequence[Task]) -> None:
        self.replay.add(tasks, rollouts)

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        if rollouts:
            self.remember(rollouts, tasks)
        else:
            tasks = [Task("", (), name) for name in self.replay.task_ids]
        for _ in range(self.config.gradient_steps):
            batch = self.replay.sample(tasks, 16, rng)
            theta = requires_grad(self.params)
            policy = self.policy(stack(theta, len(tasks)), batch.observations)
            # what a step is worth: its reward, and a value of where it leads that does not learn
            value = batch.rewards - 0.1 * batch.next_observations.square().sum(dim=-1) * ~batch.terminated
            loss = -(value.softmax(dim=-1) * log_prob(policy, batch.actions)).sum(dim=-1).mean()
            slopes = gradient(loss, theta)
            self.params = detach(
                {name: self.params[name] - self.config.lr * slope for name, slope in slopes.items()}
            )
        return {"loss": float(loss.detach()), "replay_steps": float(self.replay.num_steps)}

    def state(self) -> State:
        tensors = {name: value.clone() for name, value in self.params.items()}
        return State(tensors, {}, self.replay.state().segments)

    def load_state(self, state: State) -> None:
        self.params = take_saved(self.params, state.tensors)
        self.replay.load_state(state)


def offer() -> None:
    """Let this process know the agent by its name."""
    entries = entry_points._entries

    def with_ours(group: str) -> dict[str, EntryPoint]:
        ours = {KIND: EntryPoint(KIND, f"{__name__}:{ReplayAgentConfig.__name__}", group)}
        return {**entries(group), **(ours if group == entry_points.AGENTS else {})}

    if KIND not in entries(entry_points.AGENTS):
        entry_points._entries = with_ours
