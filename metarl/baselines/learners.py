"""PPO and SAC at an exact budget.

Settings are stable-baselines3's defaults (PPO: learning rate 3e-4, rollouts of 2048 steps, 10 epochs of
batches of 64, discount 0.99, lambda 0.95, clip 0.2, 64-64 tanh; SAC: learning rate 3e-4, batches of 256,
discount 0.99, tau 0.005, learned entropy coefficient, 256-256 ReLU), with actions scaled to -1..1.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.sac.policies import SACPolicy

from metarl.errors import MetarlError, require
from metarl.functional.distributions import Gaussian, log_prob, sample
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import Action, Inputs
from metarl.sb3.randomness import global_generators_kept
from metarl.sb3.vec_env import TaskVecEnv, scale_of, task_numbers
from metarl.system.threads import one_thread
from metarl.types import Params, Task

AlgorithmName: TypeAlias = Literal["ppo", "sac"]
OnStep: TypeAlias = Callable[[int], None]

ROLLOUT = 2048  # transitions of a PPO rollout, SB3's default
MAX_REPLAY = 1_000_000  # transitions that SAC remembers, SB3's default


@dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """Budget and seed of one baseline."""

    steps: int
    """Environment steps, rounded down to whole rollouts."""
    seed: int
    """Source of everything random."""
    rollout: int = ROLLOUT
    """Transitions of a PPO rollout at most, or one step of all slots."""
    updates_per_step: float = 1.0
    """Gradient steps of SAC for each environment step, rounded to whole ones at each step of all slots."""


class Learner(ABC):
    """Agent and training environment, actions in -1..1."""

    model: BaseAlgorithm

    def __init__(self, env: TaskVecEnv, config: LearnerConfig) -> None:
        require(
            config.steps >= 2 * env.num_envs,
            f"A baseline needs a budget of {2 * env.num_envs} environment steps or more",
            config.steps,
        )
        self.config = config
        self.env = env
        with _by_itself():
            self.planned = self._build()
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    @abstractmethod
    def _build(self) -> int:
        """Set ``model``, and return its number of steps."""

    @property
    @abstractmethod
    def actor(self) -> SB3Actor:
        """Policy that shares the agent's parameters."""

    @property
    def weights(self) -> Params:
        """Copies of learned tensors, without optimiser state."""
        return {name: value.detach().clone() for name, value in self._tensors().items()}

    def load(self, weights: Params) -> None:
        """Continue from the weights of an agent of the same architecture."""
        own = self._tensors()
        if {n: v.shape for n, v in own.items()} != {n: v.shape for n, v in weights.items()}:
            raise MetarlError("The weights of this baseline belong to another architecture.")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(weights[name])

    def learn(self, on_step: OnStep) -> None:
        """Take all steps; ``on_step(slots)`` may raise to stop."""
        slots = self.env.num_envs

        def follow(*_: object) -> bool:
            on_step(slots)
            return True

        with _by_itself():
            self.model.set_random_seed(self.config.seed)
            # SB3 has just given the environment the seed of the action space, which draws alike.
            self.env.seed(int(make_rng(self.config.seed, Purpose.BASELINE_EPISODES).integers(2**31)))
            self.model.learn(self.planned, callback=follow, log_interval=self.planned)
        assert self.model.num_timesteps == self.planned

    def _tensors(self) -> Params:
        return {f"policy.{name}": value for name, value in self.model.policy.state_dict().items()}


class PPOLearner(Learner):
    """PPO (Schulman et al. 2017, arXiv 1707.06347)."""

    model: PPO

    @property
    def actor(self) -> SB3Actor:
        """Policy with a deviation that does not depend on the observation."""
        policy = self.model.policy
        assert isinstance(policy, ActorCriticPolicy)

        def distribution(observations: torch.Tensor) -> Gaussian:
            normal = policy.get_distribution(observations).distribution
            assert isinstance(normal, torch.distributions.Normal)
            return Gaussian(normal.mean, normal.stddev.log())

        return SB3Actor(distribution, self.env, squashed=False)

    def _build(self) -> int:
        steps, slots = self.config.steps, self.env.num_envs
        # whole rollouts of equal length that use up the budget, never more, and a step of all slots at least
        rollouts = min(-(-steps // self.config.rollout), steps // slots)
        per_slot = steps // (rollouts * slots)
        self.model = PPO(
            "MlpPolicy",
            self.env,
            n_steps=per_slot,
            batch_size=min(64, per_slot * slots),
            seed=self.config.seed,
            device="cpu",
        )
        return rollouts * per_slot * slots


class SACLearner(Learner):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905)."""

    model: SAC

    @property
    def actor(self) -> SB3Actor:
        """The policy, a Gaussian that tanh squashes."""
        policy = self.model.policy
        assert isinstance(policy, SACPolicy)

        def distribution(observations: torch.Tensor) -> Gaussian:
            mean, log_std, _ = policy.actor.get_action_dist_params(observations)
            return Gaussian(mean, log_std)

        return SB3Actor(distribution, self.env, squashed=True)

    def _build(self) -> int:
        slots = self.env.num_envs
        # every step is one of all slots
        planned = self.config.steps // slots * slots
        updates = round(slots * self.config.updates_per_step)
        require(
            updates > 0,
            f"SAC updates at each step of {slots} slots, so updates_per_step must be {1 / slots:.3g} or more",
            f"{self.config.updates_per_step:g}",
        )
        self.model = SAC(
            "MlpPolicy",
            self.env,
            buffer_size=min(MAX_REPLAY, planned),
            gradient_steps=updates,
            seed=self.config.seed,
            device="cpu",
        )
        return planned

    def _tensors(self) -> Params:
        entropy = self.model.log_ent_coef
        assert entropy is not None
        return super()._tensors() | {"log_ent_coef": entropy}


ALGORITHMS: dict[AlgorithmName, type[Learner]] = {"ppo": PPOLearner, "sac": SACLearner}


@dataclass(frozen=True)
class SB3Actor:
    """A stable-baselines3 policy as actor on one task."""

    distribution: Callable[[torch.Tensor], Gaussian]  # from observations ``[B, O]``, before any squashing
    env: TaskVecEnv  # training environment, with its scaling of actions
    squashed: bool  # whether tanh bounds actions, or clipping does
    task: Task | None = None  # task that an oracle sees

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def knowing(self, task: Task) -> SB3Actor:
        """Return the oracle that sees a task."""
        return replace(self, task=task)

    def initial_memory(self, episodes: int) -> Params:
        """Return nothing: the policy reads its observations alone."""
        return {}

    @torch.no_grad()
    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Choose actions for observations ``[1, K, O]``; densities are before squashing and scaling."""
        gaussian = self.distribution(self._see(inputs.observations).flatten(0, 1))
        drawn = gaussian.mean if generator is None else sample(gaussian, generator)
        unit = torch.tanh(drawn) if self.squashed else drawn
        actions = torch.from_numpy(scale_of(self.env.bounds)(unit.double().numpy())).float()
        shape = inputs.observations.shape[:2]
        return Action(actions.view(*shape, -1), log_prob(gaussian, drawn).view(shape)), memory

    def _see(self, observations: torch.Tensor) -> torch.Tensor:
        if self.task is None:
            return observations
        numbers = torch.from_numpy(task_numbers(self.task, self.env.task_size)).float()
        return torch.cat([observations, numbers.expand(*observations.shape[:2], -1)], dim=-1)


@contextmanager
def _by_itself() -> Iterator[None]:
    """Isolate SB3's global seeds, warnings and threads."""
    with global_generators_kept(), warnings.catch_warnings(), one_thread():
        warnings.filterwarnings(
            "ignore", message="You have specified a mini-batch size", category=UserWarning
        )
        yield
