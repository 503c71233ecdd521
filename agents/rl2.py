"""RL²: a recurrent policy that learns how to learn (Duan et al. 2016, arXiv 1611.02779).

The policy reads the observation, its previous action, the previous reward and whether an episode starts
(section 2.2 there). Its memory lasts over all episodes of a trial, so it can explore in the first and use in
the next what it found. A trial is one episode of an outer problem, which PPO solves (Schulman et al. 2017,
arXiv 1707.06347). Wang et al. 2016 (arXiv 1611.05763) proposed the same with another policy gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch

from metarl.config import AgentConfig, SamplingConfig
from metarl.errors import Stopped, require
from metarl.functional.distributions import Distribution, log_prob, mode, rebuilt, sample
from metarl.functional.params import detach, gradient, requires_grad, take_saved
from metarl.functional.returns import discounted_returns, generalized_advantages
from metarl.learning.gradient_descent import DescentConfig, adam_step, start_descent
from metarl.learning.ppo import Experience, PPOConfig, clip_gradient, ppo_loss, scaled_advantages
from metarl.learning.running_scale import Moments, no_moments, with_batch
from metarl.meta_learner import Action, Actor, Inputs, Trial
from metarl.networks.recurrent import CELLS
from metarl.networks.recurrent_policy import MEMORY, RecurrentPolicy
from metarl.rollouts.history import Trials, join_trials, time_first
from metarl.spaces import action_size, observation_size
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State, Task

MAX_STD = 10.0


@dataclass(frozen=True, kw_only=True)
class RL2Config(AgentConfig, PPOConfig):
    """RL²: a memory over whole trials, which PPO trains.

    ``sampling.episodes`` is the number of trials of each task.
    """

    kind: ClassVar[str] = "rl2"
    source: ClassVar[str] = "Duan et al. 2016, arXiv 1611.02779"
    trial: ClassVar[Trial] = "sequential"

    trial_episodes: int = 2
    """Episodes of a trial, over which memory is kept."""
    cell: str = "gru"
    """The memory: "gru", or "linear", which is several times as fast in learning."""
    memory_size: int = 128
    """Numbers that are remembered; also the units of the layers after the memory."""
    embedding_size: int = 128
    """Units of the layer before the memory."""
    tanh_mean: bool = False
    """Bound the mean action by tanh."""
    initial_std: float = 1.0
    """Standard deviation of every action component at the start."""
    min_std: float = 0.1
    """Standard deviations never fall below this."""
    max_std: float = MAX_STD
    """Standard deviations never rise above this."""
    discount: float = 0.99
    """Reward discount for each step, across the episodes of a trial too."""
    gae_lambda: float = 0.95
    """Weight of longer returns in the advantages."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    chunk_steps: int = 0
    """Steps through which gradients flow back; 0 for whole trials."""
    scale_iterations: int = 50
    """Iterations that the running scales of observations, rewards and returns learn from; then they stay."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(
            1 <= self.trial_episodes <= 101, "trial_episodes must be between 1 and 101", self.trial_episodes
        )
        require(self.cell in CELLS, f"cell must be one of {sorted(CELLS)}", repr(self.cell))
        for name in ("memory_size", "embedding_size"):
            require(
                1 <= getattr(self, name) <= 4096, f"{name} must be between 1 and 4096", getattr(self, name)
            )
        require(
            0 < self.min_std <= self.initial_std <= self.max_std <= 1e4,
            "Expected 0 < min_std <= initial_std <= max_std <= 10000, as they say how far actions spread",
            (self.min_std, self.initial_std, self.max_std),
        )
        require(0 <= self.discount <= 1, "discount must be between 0 and 1", self.discount)
        require(0 <= self.gae_lambda <= 1, "gae_lambda must be between 0 and 1", self.gae_lambda)
        require(
            0 < self.learning_rate <= 10, "learning_rate must be positive and at most 10", self.learning_rate
        )
        require(0 <= self.chunk_steps, "chunk_steps must be 0 or more", self.chunk_steps)
        require(0 <= self.scale_iterations, "scale_iterations must be 0 or more", self.scale_iterations)

    @property
    def adaptation_steps(self) -> int:
        """Episodes after the first."""
        return self.trial_episodes - 1

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> RL2:
        """Return an agent with freshly drawn parameters for the suite's spaces."""
        observations, actions = observation_size(suite.observation_space), action_size(suite.action_space)
        policy = RecurrentPolicy(
            input_size=observations + actions + 2,  # the previous action, the previous reward, a start
            action_size=actions,
            discrete=isinstance(suite.action_space, gymnasium.spaces.Discrete),
            cell_name=self.cell,
            memory_size=self.memory_size,
            embedding_size=self.embedding_size,
            tanh_mean=self.tanh_mean,
            initial_std=self.initial_std,
            min_std=self.min_std,
            max_std=self.max_std,
        )
        params = policy.initial_params(torch.Generator().manual_seed(seed))
        return RL2(self, policy, {name: value.to(device) for name, value in params.items()}, observations)


class Scales(NamedTuple):
    """Running moments of what the network reads and of what its value predicts."""

    observations: Moments
    rewards: Moments
    returns: Moments

    def features(self, inputs: Inputs) -> torch.Tensor:
        """Return what the policy reads, ``[..., input_size]``."""
        rewards = (inputs.previous_rewards / self.rewards.deviation).clamp(-10.0, 10.0)
        parts = (
            self.observations.scaled(inputs.observations),
            inputs.previous_actions,
            rewards.unsqueeze(-1),
            inputs.episode_starts.unsqueeze(-1).float(),
        )
        return torch.cat(parts, dim=-1)


@dataclass(frozen=True)
class RecurrentActor:
    """The one policy for M tasks; what tells the tasks apart is in its memory."""

    policy: RecurrentPolicy
    params: Params
    scales: Scales
    num_tasks: int

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.params.values())).device

    def initial_memory(self, episodes: int) -> Params:
        """Return a blank memory, ``[M, K, H]``."""
        return {MEMORY: torch.zeros(self.num_tasks, episodes, self.policy.memory_size, device=self.device)}

    @torch.no_grad()
    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Read a step and draw actions; without a generator, take the most likely."""
        shape = inputs.previous_rewards.shape
        embedded = self.policy.embed(self.params, self.scales.features(inputs).flatten(0, 1))
        remembered = self.policy.cell.step(self.params, embedded, memory[MEMORY].flatten(0, 1))
        policy, values = self.policy.read(self.params, embedded, remembered)
        actions = mode(policy) if generator is None else sample(policy, generator)
        log_probs = log_prob(policy, actions).view(shape)
        action = Action(actions.view(*shape, -1), log_probs, {"value": values.view(shape)})
        return action, {MEMORY: remembered.view(*shape, -1)}


class RL2:
    """The recurrent policy's parameters, Adam's memory, and the running scales."""

    trial: Trial = "sequential"

    def __init__(self, config: RL2Config, policy: RecurrentPolicy, params: Params, observations: int) -> None:
        self.config, self.policy, self.params = config, policy, params
        self.optimizer = DescentConfig(outer_lr=config.learning_rate)
        self.adam = start_descent(params, self.optimizer)
        self.scales = Scales(*(no_moments(*shape, device=self.device) for shape in ((observations,), (), ())))
        self.updates = 0

    @property
    def adaptation_steps(self) -> int:
        """Episodes after the first of a trial."""
        return self.config.adaptation_steps

    @property
    def device(self) -> torch.device:
        """Where the agent computes."""
        return next(iter(self.params.values())).device

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> RecurrentActor:
        """Return the policy, to be used with a blank memory."""
        return RecurrentActor(self.policy, self.params, self.scales, num_tasks)

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> Actor:
        """Return the same policy: what it learned of its tasks is in the memory that goes on."""
        return actor

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Take PPO's steps on whole trials; see :class:`metarl.meta_learner.MetaLearner`."""
        trials = join_trials(rollouts)
        features = time_first(self.scales.features(trials.inputs))
        with torch.no_grad():
            acted, memories = self._replay(features, trials)
        experience = self._experience(trials)
        features, memory, experience, acted = self._in_chunks(features, memories, experience, acted)
        params, adam = self.params, self.adam
        metrics: dict[str, float] = {}
        steps = 0
        for _ in range(self.config.epochs):
            order = torch.from_numpy(rng.permutation(features.shape[1])).to(self.device)
            for chosen in order.chunk(self.config.minibatches):
                if should_stop():
                    raise Stopped
                # the sequence is read anew from the memory that the trial had at its start
                leaves = requires_grad(params)
                part = experience.of_trials(chosen)
                policy, values = self._read(leaves, features[:, chosen], memory[chosen], part.live)
                loss = ppo_loss(policy, values, _of_trials(acted, chosen), part, self.config)
                slopes, norm = clip_gradient(gradient(loss.loss, leaves), self.config.max_gradient_norm)
                params, adam = adam_step(params, adam, slopes, self.config.learning_rate)
                params = self.policy.within_bounds(params)
                metrics = {**loss.metrics, "gradient_norm": norm}
                steps += 1
            if 0 < self.config.max_kl < metrics["kl"]:
                break
        self.params, self.adam = detach(params), adam
        self._rescale(trials)
        return {**metrics, "steps": float(steps), **self._spread()}

    def state(self) -> State:
        """Return copies of parameters, Adam's memory and scales."""
        return State(
            {name: value.clone() for name, value in self._tensors().items()}, {"updates": self.updates}
        )

    def load_state(self, state: State) -> None:
        """Go on from a state.

        Raises:
            MetarlError: if names, shapes or dtypes differ from this agent's.
        """
        loaded = take_saved(self._tensors(), state.tensors)
        self.params = {name: loaded[name] for name in self.params}
        self.adam = {name: loaded[name] for name in self.adam}
        self.scales = Scales(*(Moments.from_params(loaded, f"scale.{name}") for name in Scales._fields))
        self.updates = int(str(state.values["updates"]))

    def _tensors(self) -> Params:
        scales = [scale.to_params(f"scale.{name}") for name, scale in self.scales._asdict().items()]
        return {
            **self.params,
            **self.adam,
            **{name: value for part in scales for name, value in part.items()},
        }

    def _read(
        self, params: Params, features: torch.Tensor, memory: torch.Tensor, live: torch.Tensor
    ) -> tuple[Distribution, torch.Tensor]:
        """Return policy and values of sequences ``[S, B, ...]`` that begin with a memory ``[B, H]``."""
        embedded = self.policy.embed(params, features)
        return self.policy.read(params, embedded, self.policy.cell.sequence(params, embedded, memory, live))

    def _replay(self, features: torch.Tensor, trials: Trials) -> tuple[Distribution, torch.Tensor]:
        """Return the policy that acted, and the memory before each step, ``[S, B, H]``."""
        start = trials.initial_memory[MEMORY].flatten(0, 1)
        embedded = self.policy.embed(self.params, features)
        after = self.policy.cell.sequence(self.params, embedded, start, time_first(trials.live))
        policy, _ = self.policy.read(self.params, embedded, after)
        return policy, torch.cat([start.unsqueeze(0), after[:-1]])

    def _experience(self, trials: Trials) -> Experience:
        """Return advantages over the whole trial, with rewards in units of the returns' deviation."""
        rewards, values = trials.rewards / self.scales.returns.deviation, trials.extras["value"]
        advantages = generalized_advantages(
            rewards,
            values,
            torch.zeros_like(values[..., 0]),  # a trial ends for good
            torch.zeros_like(trials.live),  # credit passes from one episode to those before
            trials.live,
            discount=self.config.discount,
            gae_lambda=self.config.gae_lambda,
        )
        parts = (
            trials.actions,
            trials.log_probs,
            scaled_advantages(advantages, trials.live),
            advantages + values,
            trials.live,
        )
        return Experience(*(time_first(part) for part in parts))

    def _in_chunks(
        self, features: torch.Tensor, memories: torch.Tensor, experience: Experience, acted: Distribution
    ) -> tuple[torch.Tensor, torch.Tensor, Experience, Distribution]:
        """Cut sequences into chunks that begin with the memory that the trial had there."""
        steps = self.config.chunk_steps or len(features)

        def cut(values: torch.Tensor) -> torch.Tensor:
            """Return ``[S, B, ...]`` as ``[steps, chunks * B, ...]``, filled up with zeros."""
            missing = -len(values) % steps
            filled: torch.Tensor = torch.cat([values, values.new_zeros(missing, *values.shape[1:])])
            chunks: torch.Tensor = filled.view(-1, steps, *values.shape[1:])
            return chunks.transpose(0, 1).flatten(1, 2)

        parts = Experience(*(cut(part) for part in experience))
        return cut(features), cut(memories)[0], parts, rebuilt(acted, (cut(part) for part in acted))

    def _rescale(self, trials: Trials) -> None:
        """Let the scales see a meta-batch; they serve from the next one on."""
        self.updates += 1
        if self.updates > self.config.scale_iterations:
            return
        # returns so far, as in SB3's VecNormalize: their deviation is that of what the value predicts
        forward = trials.rewards.flip(-1)
        so_far = discounted_returns(forward, trials.live.flip(-1), self.config.discount).flip(-1)
        live = trials.live
        seen = (trials.inputs.observations[live], trials.rewards[live], so_far[live])
        self.scales = Scales(*(with_batch(*pair) for pair in zip(self.scales, seen, strict=True)))

    def _spread(self) -> dict[str, float]:
        """Return the mean deviation of the actions, where they have one."""
        log_std = self.params.get("log_std")
        return {} if log_std is None else {"std": float(log_std.exp().mean())}


def _of_trials(distribution: Distribution, chosen: torch.Tensor) -> Distribution:
    return rebuilt(distribution, (part[:, chosen] for part in distribution))
