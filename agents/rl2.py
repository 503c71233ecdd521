"""RL²: a recurrent policy that learns to learn.

Source: Duan et al. 2016 (arXiv 1611.02779). The policy reads the observation, its previous action, the
previous reward and whether an episode starts (section 2.2 there). Its memory lasts over all episodes of a
trial, so it can explore in the first and use in the next what it found. A trial is one episode of an outer
problem, which PPO solves (Schulman et al. 2017, arXiv 1707.06347). Wang et al. 2016 (arXiv 1611.05763)
proposed the same with another policy gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias

import gymnasium
import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from metarl.config import AgentConfig, SamplingConfig
from metarl.errors import require
from metarl.functional.params import detach, map_values, take_saved
from metarl.functional.returns import returns_so_far, trial_advantages
from metarl.learning.advantages import threaded_advantages
from metarl.learning.chunks import Sequences, in_chunks
from metarl.learning.gradient_descent import (
    UPDATES,
    DescentConfig,
    LearningRateSchedule,
    LossAndMetrics,
    OuterOptimizer,
    is_count,
    one_step,
    start_descent,
)
from metarl.learning.ppo import Experience, TrialPPOConfig, ppo_loss, ppo_steps, scaled_advantages
from metarl.learning.recurrent_actor import POLICY, VALUE, RecurrentActor
from metarl.learning.recurrent_inputs import INPUT_LIMIT, ChangeScales, Features, changes_in_trials
from metarl.learning.reward_power import counted_rewards, largest_counted
from metarl.learning.running_scale import (
    LEAST_DEVIATION,
    Moments,
    live_rows,
    load_moments,
    no_moments,
    save_moments,
    with_batch,
)
from metarl.meta_learner import Actor, MetaLearner, Trial
from metarl.networks.recurrent import CELLS
from metarl.networks.recurrent_policy import MEMORY, HeadName, RecurrentPolicy
from metarl.networks.settings import draw_params
from metarl.rollouts.history import Trials, join_trials, time_first
from metarl.spaces import action_size, observation_size
from metarl.system.threads import task_chunks
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State, Task

Baseline: TypeAlias = Literal["network", "linear"]
WORK_SHARE = 4
"""Squared size of parts relative to other agents' chunks: each has a loss and a recurrence of its own.

Measured with 25 trials of 300 steps and 128 units: 2 to 4 parts cost less than 1 or 6.
"""
Units: TypeAlias = Annotated[int, Ge(1), Le(4096)]
Deviation: TypeAlias = Annotated[float, Gt(0), Le(1e4)]


@dataclass(frozen=True, kw_only=True)
class RL2Config(AgentConfig, TrialPPOConfig):
    """RL²: a memory over trials, trained by PPO.

    ``sampling.episodes`` is the number of trials of each task.
    """

    kind: ClassVar[str] = "rl2"
    source: ClassVar[str] = "Duan et al. 2016, arXiv 1611.02779"
    trial: ClassVar[Trial] = "sequential"

    cell: str = "gru"
    """Memory type: "gru" or "linear".
    Updates of "linear" take less than half the time."""
    memory_size: Units = 128
    """Size of memory and of layers after it."""
    embedding_size: Units = 128
    """Units of the layer before the memory."""
    head: HeadName = "perceptron"
    """Policy head: a "perceptron" or a "hypernetwork".
    A perceptron reads embedding and memory; a hypernetwork lets the memory generate the policy's
    weights (Beck et al. 2022, arXiv 2210.11348)."""
    head_size: Units = 32
    """Units of the layer that a hypernetwork generates."""
    tanh_mean: bool = False
    """Bound the mean action by tanh."""
    initial_std: Deviation = 1.0
    """Initial standard deviation of every action component."""
    min_std: Deviation = 0.1
    """Standard deviations never fall below this."""
    max_std: Deviation = 10.0
    """Standard deviations never rise above this."""
    baseline: Baseline = "network"
    """Baseline of returns: value "network" or "linear" features.
    These are fitted to each task's trials."""
    learning_rate: Annotated[float, Gt(0), Le(10)] = 1e-3
    """Step size of the optimiser."""
    outer_optimizer: OuterOptimizer = DescentConfig.outer_optimizer
    """Optimiser: Adam, AdamW, RMSprop or plain gradient descent.
    Adam: Kingma and Ba 2015, arXiv 1412.6980."""
    weight_decay: Annotated[float, Ge(0), Le(1000)] = DescentConfig.weight_decay
    """AdamW's weight decay, relative to the step size."""
    lr_schedule: LearningRateSchedule = DescentConfig.lr_schedule
    """Schedule of the step size, learning_rate to 0; cooldown begins to fall in the last fifth.
    Cooldown: Hägele et al. 2024, arXiv 2405.18392, section 3."""
    lr_iterations: int = DescentConfig.lr_iterations
    """Meta-iterations until a schedule reaches 0."""
    changes: bool = False
    """Also read changes of observation and reward.
    Those since the last step, on scales of their own."""
    least_deviation: Deviation = LEAST_DEVIATION
    """Least deviation that observations are divided by.
    Where they vary less in training, what is new in a task stays small."""
    input_limit: Annotated[float, Gt(0), Le(1e6)] = INPUT_LIMIT
    """Clip observations this many deviations from the mean."""
    unread: tuple[int, ...] = ()
    """Observation entries, from 0, that the agent ignores."""
    chunk_steps: Annotated[int, Ge(0)] = 0
    """Steps of truncated backpropagation; 0 for whole trials."""
    reward_power: Annotated[float, Gt(0), Le(10)] = 1.0
    """Power of the reward that learning counts.
    Above 1 the best steps outweigh many fair ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.cell in CELLS, f"cell must be one of {sorted(CELLS)}", repr(self.cell))
        require(
            self.min_std <= self.initial_std <= self.max_std,
            "Expected min_std <= initial_std <= max_std, as they say how far actions spread",
            (self.min_std, self.initial_std, self.max_std),
        )
        _ = self.optimizer  # checks its numbers

    @property
    def optimizer(self) -> DescentConfig:
        """The optimiser of all parameters."""
        return DescentConfig(
            outer_lr=self.learning_rate,
            outer_optimizer=self.outer_optimizer,
            weight_decay=self.weight_decay,
            lr_schedule=self.lr_schedule,
            lr_iterations=self.lr_iterations,
        )

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> MetaLearner:
        """Return a new agent for the suite's spaces."""
        return self.recurrent(suite, seed=seed, device=device)

    def recurrent(self, suite: TaskDistribution, *, seed: int, device: torch.device) -> RL2:
        """Return a recurrent policy that PPO trains, with new parameters."""
        # input at step t: observation_t, action_{t-1}, reward_{t-1}, start_t
        observations, actions = observation_size(suite.observation_space), action_size(suite.action_space)
        known = len(set(self.unread)) == len(self.unread) and set(self.unread) <= set(range(observations))
        require(known, f"unread must be different entries from 0 to {observations - 1}", self.unread)
        policy = RecurrentPolicy(
            # the previous action and reward, a start, and the changes of observation and reward
            input_size=observations + actions + 2 + (observations + 1) * self.changes,
            action_size=actions,
            discrete=isinstance(suite.action_space, gymnasium.spaces.Discrete),
            cell_name=self.cell,
            memory_size=self.memory_size,
            embedding_size=self.embedding_size,
            head=self.head,
            head_size=self.head_size,
            has_value=self.baseline == "network",
            tanh_mean=self.tanh_mean,
            initial_std=self.initial_std,
            min_std=self.min_std,
            max_std=self.max_std,
        )
        return RL2(self, policy, draw_params(policy, seed, device), observations)


class Scales(NamedTuple):
    """Running moments of network inputs and values."""

    observations: Moments
    rewards: Moments
    returns: Moments


class RL2:
    """Policy parameters, optimiser memory and running scales."""

    trial: Trial = "sequential"

    def __init__(self, config: RL2Config, policy: RecurrentPolicy, params: Params, observations: int) -> None:
        self.config, self.policy, self.params = config, policy, params
        self.adaptation_steps = config.adaptation_steps
        self.device = next(iter(params.values())).device
        self.optimizer = config.optimizer
        self.optimizer_memory = start_descent(params, self.optimizer)
        self.scales = Scales(*(no_moments(*shape, device=self.device) for shape in ((observations,), (), ())))
        self.change_scales = (
            ChangeScales(*(no_moments(*shape, device=self.device) for shape in ((observations,), ())))
            if config.changes
            else None
        )
        self.updates = 0

    @property
    def features(self) -> Features:
        """Scaling of network inputs by current moments."""
        observations = self.scales.observations.scale.at_least(self.config.least_deviation)
        return Features.by(
            observations,
            self.scales.rewards,
            self.change_scales,
            self.policy.action_size,
            limit=self.config.input_limit,
            unread=self.config.unread,
        )

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> RecurrentActor:
        """Return the policy, for a blank memory."""
        return RecurrentActor(self.policy, self.params, self.features, num_tasks)

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> Actor:
        """Return the same policy, as memory learns."""
        return actor

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Take PPO's steps on whole trials; see :class:`metarl.meta_learner.MetaLearner`."""
        # the K episodes of a task are one trial: memory passes from one to the next
        trials = join_trials(rollouts)
        sequences = self.sequences(trials)
        params, memory = self.params, self.optimizer_memory
        kind = self.optimizer.outer_optimizer
        lr = self.optimizer.learning_rate(float(memory.get(f"{kind}.{UPDATES}", 0.0)))

        def step(params: Params, memory: Params, gradients: Params) -> tuple[Params, Params]:
            params, memory = one_step(params, memory, gradients, self.optimizer, lr, kind)
            return self.policy.within_bounds(params), memory

        # the sequences are read anew for each minibatch, each from the memory that it began with
        params, memory, metrics = ppo_steps(
            params,
            memory,
            sequences.experience.live,
            self.config,
            loss=partial(self._loss, sequences),
            split=partial(self._parts, steps=len(sequences.features)),
            step=step,
            rng=rng,
            should_stop=should_stop,
        )
        # schedules count meta-iterations, not Adam's steps
        if f"{kind}.{UPDATES}" in memory:
            memory = {**memory, f"{kind}.{UPDATES}": memory[f"{kind}.{UPDATES}"] + 1}
        self.params, self.optimizer_memory = detach(params), memory
        # the new scales serve from the next meta-batch on
        self._rescale(trials)
        metrics["learning_rate"] = lr
        if "log_std" in params:
            metrics["std"] = float(params["log_std"].exp().mean())
        if self.config.reward_power != 1:
            metrics["largest_reward"] = largest_counted(trials.rewards, self.config.reward_power)
        return metrics

    def state(self) -> State:
        """Return copies of parameters, optimiser memory and scales."""
        return State(map_values(torch.Tensor.clone, self._tensors()), {"updates": self.updates})

    def weights(self) -> State:
        """Return the state without the optimiser's memory, a third of its size."""
        whole = self.state()
        kept = {name: value for name, value in whole.tensors.items() if name not in self.optimizer_memory}
        return whole._replace(tensors=kept)

    def load_state(self, state: State) -> None:
        """Continue from a state; raise ``MetarlError`` if unfit.

        With :meth:`weights` alone the optimiser starts anew.
        """
        saved = state.tensors
        if all(is_count(name) for name in saved.keys() & self.optimizer_memory.keys()):
            saved = start_descent(self.params, self.optimizer) | saved
        loaded = take_saved(self._tensors(), saved)
        self.params = {name: loaded[name] for name in self.params}
        self.optimizer_memory = {name: loaded[name] for name in self.optimizer_memory}
        moments = load_moments(loaded, self._moments())
        self.scales = Scales(*moments[: len(Scales._fields)])
        self.change_scales = ChangeScales(*moments[len(Scales._fields) :]) if self.change_scales else None
        self.updates = int(str(state.values["updates"]))

    def _tensors(self) -> Params:
        return {**self.params, **self.optimizer_memory, **save_moments(self._moments())}

    def _moments(self) -> dict[str, Moments]:
        changes = self.change_scales._asdict() if self.change_scales else {}
        return {**self.scales._asdict(), **{f"changes.{name}": value for name, value in changes.items()}}

    def _loss(
        self, sequences: Sequences, chosen: torch.Tensor, total: torch.Tensor, measured: bool, params: Params
    ) -> LossAndMetrics:
        """Return some sequences' share of the loss and metrics of a minibatch with ``total`` live steps."""
        part = sequences.experience.of_trials(chosen)
        policy, values = self.policy.sequence(
            params, sequences.features.index_select(1, chosen), sequences.memory[chosen], part.live
        )
        acted = sequences.acted.index_select(1, chosen) if measured else None
        before = None if acted is None else self.policy.distribution(self.params, acted)
        return ppo_loss(policy, values, before, part, self.config, live_steps=total)

    def _parts(self, chosen: torch.Tensor, steps: int) -> Sequence[torch.Tensor]:
        """Split numbers of sequences into parts for threads; a GPU takes all at once."""
        if self.device.type != "cpu":
            return [chosen]
        parameters = sum(value.numel() for value in self.params.values())
        most = max(1, len(chosen) // self.policy.cell.sequences_per_thread)
        work = steps * len(chosen) * parameters // WORK_SHARE
        parts = len(task_chunks(most, work))
        # an even number of equal parts keeps two cores busy to the end
        return chosen.tensor_split(min(most, parts + parts % 2) if parts > 1 else 1)

    def sequences(self, trials: Trials) -> Sequences:
        """Return trials or chunks with initial memories."""
        changes = changes_in_trials(trials.inputs) if self.config.changes else None
        features, steps = time_first(self.features(trials.inputs, changes)), self.config.chunk_steps
        start, acted = trials.initial_memory[MEMORY].flatten(0, 1), time_first(trials.extras[POLICY])
        whole = Sequences(features, start, acted, self._experience(trials))
        # whole trials: each sequence starts with the trial's own memory
        if not 0 < steps < len(features):
            return whole

        def memories(part: torch.Tensor) -> torch.Tensor:
            live = whole.experience.live[:, part]
            return self.policy.memories(self.params, features[:, part], start[part], live)

        parts = self._parts(torch.arange(len(start), device=self.device), len(features))
        return in_chunks(whole, steps, memories, parts)

    def _experience(self, trials: Trials) -> Experience:
        """Return trials for PPO, with rewards in units of the returns' deviation."""
        live = trials.live
        rewards = counted_rewards(trials.rewards, self.config.reward_power)
        values = trials.extras.get(VALUE, torch.zeros_like(rewards))
        if self.config.baseline == "linear":
            advantages = self._linear_advantages(trials, rewards)
        else:
            advantages = trial_advantages(
                rewards / self.scales.returns.deviation,
                values,
                live,
                discount=self.config.discount,
                gae_lambda=self.config.gae_lambda,
            )
        scaled = scaled_advantages(advantages, live)
        # returns are advantages plus values, the value network's target
        parts = (trials.actions, trials.log_probs, scaled, values, advantages + values, live)
        return Experience(*(time_first(part) for part in parts))

    def _linear_advantages(self, trials: Trials, rewards: torch.Tensor) -> torch.Tensor:
        """Return advantages ``[M, K, S]`` over each task's linear baseline."""
        never = torch.zeros_like(trials.live)
        # a trial is one episode: credit passes from an episode to those before
        whole = Rollout(
            observations=trials.inputs.observations,
            actions=trials.actions,
            log_probs=trials.log_probs,
            rewards=rewards,
            mask=trials.live,
            terminated=never,
            truncated=never,
            final_observations=trials.inputs.observations[:, :, -1],
        )
        return threaded_advantages(whole, discount=self.config.discount, gae_lambda=self.config.gae_lambda)

    def _rescale(self, trials: Trials) -> None:
        """Update the scales for the next meta-batch."""
        self.updates += 1
        if self.updates > self.config.scale_iterations:
            return
        live, rewards = trials.live, counted_rewards(trials.rewards, self.config.reward_power)
        so_far = returns_so_far(rewards, live, self.config.discount)
        seen = (live_rows(part, live) for part in (trials.inputs.observations, trials.rewards, so_far))
        self.scales = Scales(*(with_batch(*pair) for pair in zip(self.scales, seen, strict=True)))
        if self.change_scales is not None:
            changed = [live_rows(part, live) for part in changes_in_trials(trials.inputs)]
            self.change_scales = ChangeScales(*map(with_batch, self.change_scales, changed))
