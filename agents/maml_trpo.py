"""MAML with a trust-region outer step.

Sources: Finn et al. 2017 (arXiv 1703.03400), algorithm 3; Schulman et al. 2015 (arXiv 1502.05477).
In the papers' order: the config, the meta-objective, adapting, and the update. The objective at
meta-parameters theta, with ``adapt`` the inner loop and episodes that were collected before and after it:

    maximise over theta  mean over tasks, transitions of  pi_{adapt(theta)}(a|s) / pi_old(a|s) * A(s, a)
    subject to           mean over tasks, transitions of  KL(pi_old(.|s) || pi_{adapt(theta)}(.|s)) <= max_kl
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import torch

from metarl.adaptation import AdvantageNorm, Batch, adapt, estimate_advantages, make_batch
from metarl.config import AgentConfig
from metarl.distributions import Gaussian, entropy, fisher_product, kl_divergence, log_prob, sample
from metarl.errors import MetarlError, require
from metarl.meta_learner import Action, Actor
from metarl.meta_optimizers import (
    Curvature,
    LossAndKL,
    TrustRegionConfig,
    gauss_newton_product,
    trust_region_step,
)
from metarl.params import detach, gradient, requires_grad, stack
from metarl.policies import ACTIVATIONS, GaussianMLPPolicy
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State


@dataclass(frozen=True, kw_only=True)
class MAMLTRPOConfig(TrustRegionConfig, AgentConfig):
    """MAML with policy gradients inside and a trust region outside."""

    kind: ClassVar[str] = "maml-trpo"
    source: ClassVar[str] = "Finn et al. 2017, arXiv 1703.03400"

    inner_lr: float = 0.1
    """Step size of the adaptation."""
    adaptation_steps: int = 1
    """Gradient steps of the adaptation in training, each from episodes of its own."""
    first_order: bool = False
    """Leave out the derivative of the adaptation step itself (FOMAML)."""
    discount: float = 0.99
    """Reward discount for each step."""
    gae_lambda: float = 1.0
    """Weight of longer returns in the advantages."""
    bootstrap_truncated: bool = False
    """Value what would have followed an episode that was cut off; for tasks without a time limit."""
    advantage_norm: AdvantageNorm = "std"
    """What centered advantages are divided by; "var" is what garage and metaworld-algorithms do."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: str = "tanh"
    """Nonlinearity: "tanh" or "relu"."""
    initial_std: float = 1.0
    """Standard deviation of every action component at the start."""
    min_std: float = 1e-6
    """Standard deviations never fall below this."""
    curvature_stride: int = 10
    """The Fisher matrix is estimated on every so-many-th transition; gradient and line search use all."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        TrustRegionConfig.__post_init__(self)
        require(0 < self.inner_lr <= 1000, "inner_lr must be positive and at most 1000", self.inner_lr)
        require(
            1 <= self.adaptation_steps <= 100, "adaptation_steps must lie in 1..100", self.adaptation_steps
        )
        require(
            self.activation in ACTIVATIONS,
            f"activation must be one of {sorted(ACTIVATIONS)}",
            repr(self.activation),
        )
        require(0 <= self.discount <= 1, "discount must lie in 0..1", self.discount)
        require(0 <= self.gae_lambda <= 1, "gae_lambda must lie in 0..1", self.gae_lambda)
        require(
            0 < self.min_std <= self.initial_std, "min_std must lie between 0 and initial_std", self.min_std
        )
        require(self.initial_std <= 1000, "initial_std must be at most 1000", self.initial_std)
        require(1 <= self.curvature_stride, "curvature_stride must be 1 or more", self.curvature_stride)
        require(
            all(1 <= size <= 4096 for size in self.hidden_sizes),
            "every hidden size must lie in 1..4096",
            self.hidden_sizes,
        )

    def build(self, suite: TaskDistribution, *, seed: int, device: torch.device) -> MAMLTRPO:
        """Return an agent with freshly drawn parameters.

        Raises:
            MetarlError: if the suite's observations or actions are not vectors of real numbers.
        """
        policy = GaussianMLPPolicy(
            observation_size=_vector_size(suite.observation_space, "observations"),
            action_size=_vector_size(suite.action_space, "actions"),
            hidden_sizes=self.hidden_sizes,
            activation=self.activation,
            initial_std=self.initial_std,
            min_std=self.min_std,
        )
        params = policy.initial_params(torch.Generator().manual_seed(seed))
        return MAMLTRPO(self, policy, {name: value.to(device) for name, value in params.items()})


@dataclass(frozen=True)
class AdaptedPolicy:
    """A policy with parameters for each of M tasks."""

    policy: GaussianMLPPolicy
    params: Params

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.params["log_std"].device

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generator: torch.Generator | None) -> Action:
        """Draw actions for observations ``[M, K, O]``; without a generator, take the means."""
        gaussian = self.policy(self.params, observations)
        actions = gaussian.mean if generator is None else sample(gaussian, generator)
        return Action(actions, log_prob(gaussian, actions))


class MAMLTRPO:
    """The agent: meta-parameters theta, and how they adapt and learn."""

    def __init__(self, config: MAMLTRPOConfig, policy: GaussianMLPPolicy, params: Params) -> None:
        self.config = config
        self.policy = policy
        self.params = params

    @property
    def adaptation_steps(self) -> int:
        """Adaptations in one meta-iteration."""
        return self.config.adaptation_steps

    @property
    def device(self) -> torch.device:
        """Where the agent computes."""
        return self.params["log_std"].device

    def initial_actor(self, num_tasks: int) -> AdaptedPolicy:
        """Return theta for every task."""
        return AdaptedPolicy(self.policy, stack(self.params, num_tasks))

    def adapt(self, actor: Actor, rollout: Rollout) -> AdaptedPolicy:
        """Take one inner step on each task."""
        assert isinstance(actor, AdaptedPolicy)
        adapted = self._adapted(requires_grad(actor.params), [self._batch(rollout)], first_order=True)
        return AdaptedPolicy(self.policy, detach(adapted))

    def update(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Take one trust-region step on theta."""
        *inner, outer = [self._batch(rollout) for rollout in rollouts]
        num_tasks = outer.observations.shape[0]
        theta = requires_grad(self.params)
        adapted = self._adapted(stack(theta, num_tasks), inner, first_order=self.config.first_order)
        gaussian = self.policy(adapted, outer.observations)
        old = Gaussian(gaussian.mean.detach(), gaussian.log_std.detach())
        start = meta_objective(gaussian, old, outer)

        def evaluate(candidate: Params) -> LossAndKL:
            leaves = requires_grad(stack(candidate, num_tasks))
            moved = detach(self._adapted(leaves, inner, first_order=True))
            with torch.no_grad():
                return meta_objective(self.policy(moved, outer.observations), old, outer)

        step = trust_region_step(
            detach(theta),
            gradient(start.loss, theta),
            self._curvature(theta, detach(adapted), inner, outer),
            evaluate,
            LossAndKL(start.loss.detach(), start.kl.detach()),
            self.config,
        )
        self.params = step.params
        return {**step.metrics, "entropy": float(entropy(old).mean()), "std": float(old.log_std.exp().mean())}

    def state(self) -> State:
        """Return a copy of theta; a trust-region step remembers nothing else."""
        return State({name: value.clone() for name, value in self.params.items()}, {})

    def load_state(self, state: State) -> None:
        """Go on from another theta.

        Raises:
            MetarlError: if names or shapes differ from this policy's.
        """
        came = {name: tuple(value.shape) for name, value in state.tensors.items()}
        if came != self.policy.shapes:
            raise MetarlError(
                f"The policy has parameters {self.policy.shapes}, but the saved ones are {came}."
            )
        self.params = {name: state.tensors[name].to(self.device, copy=True) for name in self.params}

    def _batch(self, rollout: Rollout) -> Batch:
        config = self.config
        advantages = estimate_advantages(
            rollout,
            discount=config.discount,
            gae_lambda=config.gae_lambda,
            norm=config.advantage_norm,
            bootstrap_truncated=config.bootstrap_truncated,
        )
        return make_batch(rollout, advantages)

    def _adapted(self, params: Params, batches: Sequence[Batch], *, first_order: bool) -> Params:
        return adapt(self.policy, params, batches, inner_lr=self.config.inner_lr, first_order=first_order)

    def _curvature(self, theta: Params, adapted: Params, inner: Sequence[Batch], outer: Batch) -> Curvature:
        """Return the Fisher-vector product at theta, through the adaptation, on a subsample.

        The adapted parameters have their true values; only the Jacobian of adapting is subsampled.
        """
        stride = self.config.curvature_stride
        num_tasks = outer.observations.shape[0]
        few = [batch.every(stride) for batch in inner]
        moved = self._adapted(stack(theta, num_tasks), few, first_order=self.config.first_order)
        anchored = {name: adapted[name] + (moved[name] - moved[name].detach()) for name in moved}
        judged = outer.every(stride)
        gaussian = self.policy(anchored, judged.observations)
        share = judged.weights.unsqueeze(-1) / num_tasks  # of each transition in the mean over all

        def metric(change: list[torch.Tensor]) -> Gaussian:
            mean, log_std = fisher_product(gaussian, Gaussian(change[0], change[1]))
            return Gaussian((share * mean).detach(), (log_std / num_tasks).detach())

        return gauss_newton_product(gaussian, theta, metric)


def meta_objective(gaussian: Gaussian, old: Gaussian, batch: Batch) -> LossAndKL:
    """Return the negative surrogate and the KL divergence, each a mean over tasks and transitions."""
    ratio = torch.exp(log_prob(gaussian, batch.actions) - log_prob(old, batch.actions))
    surrogate = (batch.weights * batch.advantages * ratio).sum(dim=1).mean()
    kl = (batch.weights * kl_divergence(old, gaussian)).sum(dim=1).mean()
    return LossAndKL(-surrogate, kl)


def _vector_size(space: gymnasium.Space[object], what: str) -> int:
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise MetarlError(
            f"This agent needs {what} that are vectors of real numbers, but they come from {space}."
        )
    return space.shape[0]
