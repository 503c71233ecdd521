"""What all agents share whose inner loop is :func:`metarl.learning.adaptation.adapt`: settings, actor, state.

An algorithm adds its outer step, ``outer_step``, and changes of this what makes it itself:

    inner_loss     what an inner step descends
    inner_rule     how it moves: a step size, one for each parameter, or an optimiser that is itself learned
    adaptable      which parameters it moves
    per_task       what a task starts from: theta, or theta and a blank context or memory
    start_memory   what the outer step remembers from one update to the next
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from metarl.config import AgentConfig
from metarl.errors import require
from metarl.functional.distributions import Distribution, Gaussian, entropy, log_prob, mode, rebuilt, sample
from metarl.functional.params import (
    detach,
    join,
    join_tasks,
    requires_grad,
    select_tasks,
    stack,
    take_saved,
)
from metarl.learning.adaptation import Policy, UpdateRule, adapt, policy_gradient_loss
from metarl.learning.advantages import Batch
from metarl.learning.return_settings import ReturnsConfig
from metarl.meta_learner import Action, Actor, Inputs, Trial, never
from metarl.networks.linear_baseline import num_linear_features
from metarl.networks.settings import NetworkConfig
from metarl.system.threads import parallel_map, task_chunks
from metarl.types import Params, Rollout, State, Task


@dataclass(frozen=True, kw_only=True)
class GradientBasedConfig(NetworkConfig, ReturnsConfig, AgentConfig):
    """The inner loop, on top of the network and the advantages."""

    adapts_in_training: ClassVar[bool] = True
    """Whether a meta-iteration has inner steps."""

    inner_lr: float = 0.1
    """Step size of the adaptation."""
    adaptation_steps: int = 1
    """Gradient steps of the adaptation in training, each from episodes of its own."""
    first_order: bool = False
    """Leave out the derivative of the adaptation step itself (FOMAML)."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        NetworkConfig.__post_init__(self)
        ReturnsConfig.__post_init__(self)
        require(0 < self.inner_lr <= 1000, "inner_lr must be positive and at most 1000", self.inner_lr)
        least, most = (1, 100) if self.adapts_in_training else (0, 0)
        require(
            least <= self.adaptation_steps <= most,
            f"adaptation_steps must lie in {least}..{most}",
            self.adaptation_steps,
        )


class MetaPolicy(Policy, Protocol):
    """A policy whose parameters can be drawn."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter that is meta-learned, without a task axis."""
        ...

    def initial_params(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw them; runs feed float32, other dtypes are for functions of tensors alone."""
        ...

    def within_bounds(self, params: Params) -> Params:
        """Move parameters that have bounds into them."""
        ...


@runtime_checkable
class LayeredPolicy(Policy, Protocol):
    """A policy that shows what its layers do."""

    def activations(self, params: Params, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what each layer makes of observations ``[M, B, O]``; the last gives the actions' mean."""
        ...


@dataclass(frozen=True)
class AdaptedPolicy:
    """A policy with parameters for each of M tasks."""

    policy: Policy
    params: Params
    """Stacked."""
    memory: Params = field(default_factory=dict)
    """What a learned inner rule carries from step to step, stacked; the policy does not read it."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return device_of(self.params)

    def initial_memory(self, episodes: int) -> Params:
        """Return nothing: the policy reads its observations alone."""
        return {}

    @torch.no_grad()
    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Draw actions for observations ``[M, K, O]``; without a generator, take the most likely."""
        distribution = self.policy(self.params, inputs.observations)
        actions = mode(distribution) if generator is None else sample(distribution, generator)
        return Action(actions, log_prob(distribution, actions)), memory

    @torch.no_grad()
    def activations(self, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what each layer makes of ``[M, B, O]``; nothing if the policy does not show its layers."""
        policy = self.policy
        return policy.activations(self.params, observations) if isinstance(policy, LayeredPolicy) else {}

    def with_params(self, params: Params) -> AdaptedPolicy:
        """Return the same policy with other parameters for each task."""
        return replace(self, params=params)


@dataclass(frozen=True)
class Part:
    """Experience of one chunk of a meta-batch's tasks, which one thread computes on."""

    tasks: slice
    """Which tasks of the meta-batch."""
    share: float
    """How many of the meta-batch's tasks these are, 0..1: the weight of their mean in the mean of all."""
    batches: Sequence[Batch]
    """Before adapting, after one step, …, after the last."""

    @property
    def num_tasks(self) -> int:
        """Tasks of the chunk."""
        return len(self.batches[-1].observations)


ConfigT = TypeVar("ConfigT", bound=GradientBasedConfig)


class GradientBasedAgent(ABC, Generic[ConfigT]):
    """Meta-parameters theta and how they adapt; an algorithm says how they learn."""

    def __init__(self, config: ConfigT, policy: MetaPolicy, params: Params) -> None:
        self.config = config
        self.policy = policy
        self.params = policy.within_bounds(params)
        """theta: all that is meta-learned, the policy's parameters and those of the inner rule."""
        self.memory = self.start_memory()
        """What the outer step remembers from one update to the next, by names that theta does not have."""
        join(self.params, self.memory)  # raises now what would else spoil the first checkpoint

    # What makes an algorithm itself.

    @abstractmethod
    def outer_step(self, rollouts: Sequence[Rollout], should_stop: Callable[[], bool]) -> dict[str, float]:
        """Take an outer step on theta, from rollouts before adapting, after one step, …, after the last.

        A step of many seconds asks ``should_stop`` every second and raises
        :class:`metarl.errors.Stopped`. Returns metrics by name.
        """

    def inner_loss(self, policy: Policy, params: Params, batch: Batch) -> torch.Tensor:
        """Return each task's loss ``[M]``, which an inner step descends."""
        return policy_gradient_loss(policy, params, batch)

    def inner_rule(self, theta: Params) -> float | Params | UpdateRule:
        """Return the step size of the inner loop, or what makes the step, as theta says."""
        return self.config.inner_lr

    @property
    def adaptable(self) -> Collection[str]:
        """Names of the parameters that adapt: those of the policy."""
        return self.policy.shapes.keys()

    def per_task(self, theta: Params, num_tasks: int) -> Params:
        """Return what each task starts from, stacked ``[M, ...]`` and differentiable by theta."""
        return stack({name: theta[name] for name in self.policy.shapes}, num_tasks)

    def start_memory(self) -> Params:
        """Return what the outer step remembers before the first update."""
        return {}

    # What all of them have in common.

    @property
    def adaptation_steps(self) -> int:
        """Adaptations in one meta-iteration."""
        return self.config.adaptation_steps

    @property
    def device(self) -> torch.device:
        """Where the agent computes."""
        return device_of(self.params)

    def baseline_features(self, observation_size: int) -> int:
        """Return the number of features of the baseline, see :func:`estimate_advantages`."""
        return num_linear_features(observation_size)

    @property
    def trial(self) -> Trial:
        """Episodes of a task are samples of one policy."""
        return "parallel"

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task] = (),
        rng: np.random.Generator | None = None,
        should_stop: Callable[[], bool] = never,
    ) -> dict[str, float]:
        """Take an outer step on theta; it needs neither tasks nor random numbers."""
        return self.outer_step(rollouts, should_stop)

    def initial_actor(self, num_tasks: int, rng: np.random.Generator | None = None) -> AdaptedPolicy:
        """Return theta for every task; no random number is drawn."""
        return self._actor(self.per_task(self.params, num_tasks))

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator | None = None) -> AdaptedPolicy:
        """Take one inner step on each task; no random number is drawn."""
        assert isinstance(actor, AdaptedPolicy)
        stacked = actor.params | actor.memory

        def of_chunk(tasks: slice) -> Params:
            start = requires_grad(select_tasks(stacked, tasks))
            batch = self.config.batch(rollout.of_tasks(tasks))
            return detach(self._adapted(self.params, start, [batch], first_order=True))

        return self._actor(join_tasks(parallel_map(of_chunk, self._chunks(rollout))))

    def state(self) -> State:
        """Return copies of theta and of what the outer step remembers."""
        return State({name: value.clone() for name, value in join(self.params, self.memory).items()}, {})

    def load_state(self, state: State) -> None:
        """Go on from another theta.

        Raises:
            MetarlError: if names, shapes or dtypes differ from this agent's.
        """
        loaded = take_saved(join(self.params, self.memory), state.tensors)
        self.params = self.policy.within_bounds({name: loaded[name] for name in self.params})
        self.memory = {name: loaded[name] for name in self.memory}

    def _actor(self, stacked: Params) -> AdaptedPolicy:
        """Part what the policy reads from what the inner rule remembers."""
        read = {*self.policy.shapes, *self.adaptable}
        params = {name: value for name, value in stacked.items() if name in read}
        memory = {name: value for name, value in stacked.items() if name not in read}
        return AdaptedPolicy(self.policy, params, memory)

    def _chunks(self, rollout: Rollout) -> list[slice]:
        """Return the chunks of tasks that threads share; a GPU takes all tasks at once."""
        num_tasks = rollout.mask.shape[0]
        if self.device.type != "cpu":
            return [slice(0, num_tasks)]
        parameters = sum(value.numel() for value in self.params.values())
        return task_chunks(num_tasks, rollout.mask.numel() * parameters)

    def _parts(self, rollouts: Sequence[Rollout]) -> list[Part]:
        """Return what the tasks of each chunk experienced, as the losses read it."""
        num_tasks = rollouts[-1].mask.shape[0]

        def of_chunk(tasks: slice) -> Part:
            batches = [self.config.batch(rollout.of_tasks(tasks)) for rollout in rollouts]
            return Part(tasks, (tasks.stop - tasks.start) / num_tasks, batches)

        return parallel_map(of_chunk, self._chunks(rollouts[-1]))

    def _adapted(
        self, theta: Params, params: Params, batches: Sequence[Batch], *, first_order: bool
    ) -> Params:
        """Take an inner step for each batch: from ``params``, stacked, by the rule that theta says."""
        return adapt(
            self.policy,
            params,
            batches,
            inner_lr=self.inner_rule(theta),
            first_order=first_order,
            adaptable=self.adaptable,
            loss=self.inner_loss,
        )

    def _stages(
        self, theta: Params, num_tasks: int, batches: Sequence[Batch], *, first_order: bool
    ) -> list[Params]:
        """Return each task's parameters before every inner step and after the last."""
        stages = [self.per_task(theta, num_tasks)]
        for batch in batches:
            stages.append(self._adapted(theta, stages[-1], [batch], first_order=first_order))
        return stages


def device_of(params: Params) -> torch.device:
    """Return where parameters are."""
    return next(iter(params.values())).device


def inward(policy: MetaPolicy, theta: Params, slopes: Params) -> Params:
    """Tell the parameters that a step may move, 1, from those held at a bound, 0.

    Held is what stands at a bound and would leave it by following the negative gradient, as in projected
    Newton methods (Bertsekas 1982, SIAM J. Control Optim. 20, 221-246). As soon as its gradient points
    inwards it is free again.
    """
    ahead = policy.within_bounds({name: value - slopes[name].sign() for name, value in theta.items()})
    return {
        name: ((ahead[name] != value) | (slopes[name] == 0)).to(value.dtype) for name, value in theta.items()
    }


def frozen(distribution: Distribution) -> Distribution:
    """Return the distribution cut off from any graph."""
    return rebuilt(distribution, (part.detach() for part in distribution))


def spread_metrics(distribution: Distribution, share: float = 1.0) -> dict[str, float]:
    """Say how much an adapted policy explores; ``share`` is the weight of its tasks among all."""
    metrics = {"entropy": share * float(entropy(distribution).mean())}
    if isinstance(distribution, Gaussian):
        metrics["std"] = share * float(distribution.log_std.exp().mean())
    return metrics
