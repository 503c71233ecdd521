"""Settings, inner loop and state of gradient-based agents.

An algorithm adds its outer step, ``outer_step``, and changes of this what makes it itself:

    inner_loss            what an inner step descends
    inner_rule            how it moves: a step size, one for each parameter, or an optimiser that is learned
    adaptable             which parameters it moves
    per_task              what a task starts from: theta, or theta and a blank context or inner state
    initial_outer_state   what the outer step remembers before the first update

An outer step calls ``chunks`` for the experience and ``adapted`` to adapt, and sets ``params`` and
``outer_state``. The class names the settings that it is built from:

    class MAMLVPG(GradientBasedAgent[MAMLVPGConfig], built_from=MAMLVPGConfig):
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from annotated_types import Gt, Le

from metarl.config import AgentConfig, SamplingConfig
from metarl.errors import require
from metarl.functional.distributions import Distribution, Gaussian, entropy, rebuilt
from metarl.functional.params import (
    detach,
    join,
    join_tasks,
    map_values,
    requires_grad,
    select_tasks,
    stack,
    take_saved,
)
from metarl.learning.adaptation import Policy, UpdateRule, adapt, policy_gradient_loss
from metarl.learning.adapted_policy import AdaptedPolicy
from metarl.learning.advantages import Batch
from metarl.learning.gradient_descent import DescentConfig, start_descent
from metarl.learning.return_settings import ReturnsConfig
from metarl.learning.running_scale import load_moments, no_moments, save_moments, with_batch
from metarl.meta_learner import Actor, Trial, never
from metarl.networks.linear_baseline import num_linear_features
from metarl.networks.policies import ObservationScale
from metarl.networks.settings import NetworkConfig, draw_params
from metarl.system.sharing import Shared, share
from metarl.system.threads import parallel_map, task_chunks
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State, Task


class MetaPolicy(Policy, Protocol):
    """A policy with parameters that can be drawn."""

    @property
    def observation_size(self) -> int:
        """Return the numbers of an observation."""

    def scaled(self, scale: ObservationScale | None) -> Self:
        """Return the policy for scaled observations, or for observations as they are."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the meta-learned parameters' shapes, without task axis."""

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw the parameters, in float32 for runs."""

    def within_bounds(self, params: Params) -> Params:
        """Move parameters that have bounds into them."""


@dataclass(frozen=True, kw_only=True)
class GradientBasedConfig(NetworkConfig, ReturnsConfig, AgentConfig):
    """The inner loop, on top of the network and the advantages."""

    agent_class: ClassVar[type[GradientBasedAgent[GradientBasedConfig]]]
    """The agent that these settings build; its class sets it, by ``built_from``."""
    adapts_in_training: ClassVar[bool] = True
    """Whether a meta-iteration has inner steps."""

    inner_lr: Annotated[float, Gt(0), Le(1000)] = 0.1
    """Step size of the adaptation."""
    adaptation_steps: int = 1
    """Gradient steps of the adaptation in training.
    Each learns from episodes of its own."""
    first_order: bool = False
    """Leave out the adaptation step's derivative (FOMAML)."""
    observation_scale: bool = False
    """Scale observations by running mean and deviation.
    They stay within 10 of 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = (1, 100) if self.adapts_in_training else (0, 0)
        require(
            least <= self.adaptation_steps <= most,
            f"adaptation_steps must lie in {least}..{most}",
            self.adaptation_steps,
        )

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> GradientBasedAgent[GradientBasedConfig]:
        """Return a new agent for the suite's spaces.

        Raises:
            MetarlError: if observations are no vectors, or actions neither vectors nor choices.
        """
        require(hasattr(self, "agent_class"), f"{type(self).__name__} needs an agent built_from it", "none")
        policy = self.meta_policy(suite)
        params = draw_params(policy, seed, device)
        return self.agent_class(self, policy, join(params, self.inner_rule_params(params, seed)))

    def meta_policy(self, suite: TaskDistribution) -> MetaPolicy:
        """Return the network that fits the suite."""
        return self.build_policy(suite)

    def inner_rule_params(self, params: Params, seed: int) -> Params:
        """Return a learned inner rule's first parameters, on the device of ``params``."""
        return {}


@dataclass(frozen=True)
class Chunk:
    """Experience of the tasks of one thread."""

    tasks: slice  # which tasks of the meta-batch
    share: float  # share of the meta-batch's tasks, the weight of their mean in the mean of all
    batches: Sequence[Batch]  # before adapting, after one step, …, after the last

    @property
    def num_tasks(self) -> int:
        """Tasks of the chunk."""
        return len(self.batches[-1].observations)


ConfigT = TypeVar("ConfigT", bound=GradientBasedConfig, covariant=True)


class GradientBasedAgent(ABC, Generic[ConfigT]):
    """Meta-parameters theta and how they adapt; an algorithm says how they learn."""

    trial: Trial = "parallel"

    def __init_subclass__(cls, *, built_from: type[GradientBasedConfig] | None = None) -> None:
        """Let the settings build the agent class."""
        super().__init_subclass__()
        if built_from is not None:
            built_from.agent_class = cls

    def __init__(self, config: ConfigT, policy: MetaPolicy, params: Params) -> None:
        self.config, self.policy = config, policy
        self.adaptation_steps, self.device = config.adaptation_steps, device_of(params)
        self.params = policy.within_bounds(params)
        """Theta: the parameters of the policy and of the inner rule."""
        self.outer_state = self.initial_outer_state()
        """Memory of the outer step between updates, by names that theta does not have."""
        self.moments = no_moments(policy.observation_size, device=self.device)
        """Of all training observations so far; kept only with ``observation_scale``."""
        self._tensors()  # raises now what would else spoil the first checkpoint

    # The parts that differ by algorithm.

    @abstractmethod
    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take an outer step on theta; return metrics by name.

        The rollouts are those before adapting, after one step, …, after the last. A step of many seconds asks
        ``should_stop`` every second and raises :class:`metarl.errors.Stopped`.
        """

    def inner_loss(self, policy: Policy, params: Params, batch: Batch) -> torch.Tensor:
        """Return each task's loss ``[M]``, which an inner step descends."""
        return policy_gradient_loss(policy, params, batch)

    def inner_rule(self, theta: Params) -> float | Params | UpdateRule:
        """Return the inner step size or rule, which may be part of theta."""
        return self.config.inner_lr

    @property
    def adaptable(self) -> Collection[str]:
        """Names of the adapting parameters, the policy's."""
        return self.policy.shapes.keys()

    def per_task(self, theta: Params, num_tasks: int) -> Params:
        """Return each task's starting parameters, ``[M, ...]``, differentiable by theta."""
        return stack({name: theta[name] for name in self.policy.shapes}, num_tasks)

    def initial_outer_state(self) -> Params:
        """Return the outer step's initial memory: its optimiser's, if it has one."""
        settings: object = self.config
        return start_descent(self.params, settings) if isinstance(settings, DescentConfig) else {}

    # The helpers of an outer step.

    def chunks(self, rollouts: Sequence[Rollout]) -> list[Chunk]:
        """Return the experience as losses read it, split for threads."""
        return parallel_map(partial(self.chunk, rollouts), self.task_slices(rollouts[-1]))

    def shared_chunks(self, rollouts: Sequence[Rollout]) -> Shared[Chunk]:
        """Return the chunks of this rank; of one process all."""
        return share(self.task_slices(rollouts[-1])).map(partial(self.chunk, rollouts))

    def chunk(self, rollouts: Sequence[Rollout], tasks: slice) -> Chunk:
        """Return some tasks' experience."""
        batches = [self.config.batch(rollout.of_tasks(tasks)) for rollout in rollouts]
        return Chunk(tasks, (tasks.stop - tasks.start) / rollouts[-1].mask.shape[0], batches)

    def inner_loop(
        self, theta: Params, start: Params, batches: Sequence[Batch], *, first_order: bool
    ) -> Params:
        """Return each task's parameters ``[M, ...]`` after an inner step on each batch.

        Args:
            theta: the meta-parameters; what the rule makes of them is differentiable.
            start: what each task starts from, as :meth:`per_task` returns it.
            batches: one for each step, collected by the policy that the step starts from.
            first_order: take the gradients of the steps for constants.
        """
        return adapt(
            self.policy,
            start,
            batches,
            inner_lr=self.inner_rule(theta),
            first_order=first_order,
            adaptable=self.adaptable,
            loss=self.inner_loss,
        )

    def inner_loop_stages(self, theta: Params, num_tasks: int, batches: Sequence[Batch]) -> list[Params]:
        """Return each task's parameters before each inner step and after the last."""
        first_order = self.config.first_order
        stages = [self.per_task(theta, num_tasks)]
        for batch in batches:
            stages.append(self.inner_loop(theta, stages[-1], [batch], first_order=first_order))
        return stages

    def adapted(self, theta: Params, num_tasks: int, batches: Sequence[Batch]) -> Params:
        """Return each task's adapted parameters, differentiable as the settings say."""
        start = self.per_task(theta, num_tasks)
        return self.inner_loop(theta, start, batches, first_order=self.config.first_order)

    def adapted_constants(self, theta: Params, num_tasks: int, batches: Sequence[Batch]) -> Params:
        """Return each task's adapted parameters, detached."""
        start = requires_grad(self.per_task(theta, num_tasks))
        return detach(self.inner_loop(theta, start, batches, first_order=True))

    def task_slices(self, rollout: Rollout) -> list[slice]:
        """Return each thread's tasks; a GPU takes all at once."""
        num_tasks = rollout.mask.shape[0]
        if self.device.type != "cpu":
            return [slice(0, num_tasks)]
        parameters = sum(value.numel() for value in self.params.values())
        return task_chunks(num_tasks, rollout.mask.numel() * parameters)

    # The protocol of meta-learners, see :class:`metarl.meta_learner.MetaLearner`.

    def baseline_features(self, observation_size: int) -> int:
        """Return the baseline's number of features; see :func:`estimate_advantages`."""
        return num_linear_features(observation_size)

    def initial_actor(self, num_tasks: int, rng: np.random.Generator | None = None) -> AdaptedPolicy:
        """Return theta for every task, without randomness."""
        return self.actor_of(self.per_task(self.params, num_tasks))

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator | None = None) -> AdaptedPolicy:
        """Take one inner step on each task."""
        assert isinstance(actor, AdaptedPolicy)
        stacked = actor.params | actor.inner_state

        def of_tasks(tasks: slice) -> Params:
            start = requires_grad(select_tasks(stacked, tasks))
            batch = self.config.batch(rollout.of_tasks(tasks))
            return detach(self.inner_loop(self.params, start, [batch], first_order=True))

        return self.actor_of(join_tasks(share(self.task_slices(rollout)).map(of_tasks).gather()))

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task] = (),
        rng: np.random.Generator | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> dict[str, float]:
        """Take an outer step on theta, without randomness."""
        metrics = self.outer_step(rollouts, should_stop)
        # the policy that acted read the old scale; the new one serves from the next meta-batch on
        if self.config.observation_scale:
            seen = torch.cat([rollout.observations[rollout.mask] for rollout in rollouts])
            self.moments = with_batch(self.moments, seen)
            self.policy = self.policy.scaled(self.moments.scale)
        return metrics

    def state(self) -> State:
        """Return copies of theta and optimiser memory."""
        return State(map_values(torch.Tensor.clone, self._tensors()), {})

    def load_state(self, state: State) -> None:
        """Go on from another theta; an unfit one raises ``MetarlError``."""
        loaded = take_saved(self._tensors(), state.tensors)
        if self.config.observation_scale:
            [self.moments] = load_moments(loaded, ["observations"])
            # before anything was seen, observations are read as they are
            self.policy = self.policy.scaled(self.moments.scale if self.moments.seen > 0 else None)
        self.params = self.policy.within_bounds({name: loaded[name] for name in self.params})
        self.outer_state = {name: loaded[name] for name in self.outer_state}

    def _tensors(self) -> Params:
        scales = save_moments({"observations": self.moments}) if self.config.observation_scale else {}
        return join(join(self.params, self.outer_state), scales)

    def actor_of(self, stacked: Params) -> AdaptedPolicy:
        """Return tasks' policies and the rule's memory."""
        read = {*self.policy.shapes, *self.adaptable}
        params = {name: value for name, value in stacked.items() if name in read}
        inner_state = {name: value for name, value in stacked.items() if name not in read}
        return AdaptedPolicy(self.policy, params, inner_state)


def device_of(params: Params) -> torch.device:
    """Return where parameters are."""
    return next(iter(params.values())).device


def inward(policy: MetaPolicy, theta: Params, gradients: Params) -> Params:
    """Return 1 for parameters free to move, 0 for those held.

    Held is what stands at a bound and would leave it by following the negative gradient, as in projected
    Newton methods (Bertsekas 1982, SIAM J. Control Optim. 20, 221-246). As soon as its gradient points
    inwards it is free again.
    """
    ahead = policy.within_bounds({name: value - gradients[name].sign() for name, value in theta.items()})
    return {
        name: ((ahead[name] != value) | (gradients[name] == 0)).to(value.dtype)
        for name, value in theta.items()
    }


def frozen(distribution: Distribution) -> Distribution:
    """Return the distribution cut off from any graph."""
    return rebuilt(distribution, (part.detach() for part in distribution))


def spread_metrics(distribution: Distribution, share: float = 1.0) -> dict[str, float]:
    """Return how much an adapted policy explores, weighted by its tasks' ``share``."""
    metrics = {"entropy": share * float(entropy(distribution).mean())}
    if isinstance(distribution, Gaussian):
        metrics["std"] = share * float(distribution.log_std.exp().mean())
    return metrics
