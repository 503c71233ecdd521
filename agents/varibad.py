"""VariBAD: acting on a belief about the task.

Source: Zintgraf et al. 2020 (arXiv 1910.08348). A recurrent encoder turns the transitions of a trial into a
Gaussian over an embedding m of the task. It learns from the ELBO alone: with m, decoders predict the rewards
and transitions of the whole trial, past and future. The policy reads the observation and the mean and log
variance of the belief. PPO trains it on whole trials (Schulman et al. 2017, arXiv 1707.06347); its gradient
stops at the belief.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, NamedTuple, TypeAlias

import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from metarl.config import AgentConfig, SamplingConfig
from metarl.errors import Stopped, require
from metarl.functional.distributions import Gaussian, rebuilt
from metarl.functional.params import detach, gradient, join, map_values, requires_grad, take_saved
from metarl.functional.returns import returns_so_far, trial_advantages
from metarl.learning.belief_actor import BeliefActor, Features
from metarl.learning.elbo import ELBO, Prediction, elbo_loss, random_steps, sample_latents
from metarl.learning.gradient_descent import DescentConfig, LossAndMetrics, adam_step, start_descent
from metarl.learning.ppo import Experience, TrialPPOConfig, ppo_loss, ppo_steps, scaled_advantages
from metarl.learning.replay import ReplayBuffer, ReplayedTrials
from metarl.learning.running_scale import (
    Moments,
    live_rows,
    load_moments,
    no_moments,
    save_moments,
    with_batch,
)
from metarl.meta_learner import Actor, Trial
from metarl.networks.belief_settings import BeliefNetworkConfig, BeliefNetworks
from metarl.networks.encoders import Transition
from metarl.rollouts.history import Trials, join_trials, next_observations, time_first
from metarl.system.threads import task_chunks
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State, Task

POLICY_ADAM, VAE_ADAM = "policy_adam", "vae_adam"  # names of what the two optimisers remember
Weight: TypeAlias = Annotated[float, Ge(0), Le(1e6)]


@dataclass(frozen=True, kw_only=True)
class VariBADConfig(BeliefNetworkConfig, AgentConfig, TrialPPOConfig):
    """VariBAD: a policy on a belief, learned by predicting rewards and transitions.

    ``sampling.episodes`` is the number of trials of each task.
    """

    kind: ClassVar[str] = "varibad"
    source: ClassVar[str] = "Zintgraf et al. 2020, arXiv 1910.08348"
    trial: ClassVar[Trial] = "sequential"

    learning_rate: Annotated[float, Gt(0), Le(10)] = 1e-3
    """Step size of the policy's Adam."""
    vae_learning_rate: Annotated[float, Gt(0), Le(10)] = 1e-3
    """Adam's step size for encoder and decoders."""
    vae_updates: Annotated[int, Ge(0)] = 20
    """Steps of encoder and decoders in each iteration."""
    pretrain_updates: Annotated[int, Ge(0)] = 0
    """More such steps in the first iteration.
    They learn from its own trials."""
    vae_trials: Annotated[int, Ge(1), Le(1_000_000)] = 16
    """Trials of the buffer in each such step."""
    buffer_trials: Annotated[int, Ge(1), Le(1_000_000)] = 1000
    """Trials of full length that the buffer keeps.
    Of trials that end early it keeps more, as many steps in all."""
    elbo_steps: Annotated[int, Ge(0)] = 16
    """Steps of each trial at which the bound is taken; 0 for all."""
    decoded_steps: Annotated[int, Ge(0)] = 32
    """Steps decoded per trial; 0 for all."""
    chunk_steps: Annotated[int, Ge(0)] = 0
    """Encoder steps through which gradients flow back.
    0 takes whole trials."""
    kl_weight: Weight = 0.1
    """Weight of the divergence between consecutive beliefs."""
    reward_weight: Weight = 1.0
    """Weight of rewards' likelihood; 0 for no decoder."""
    state_weight: Weight = 1.0
    """Weight of transitions' likelihood; 0 for no decoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.reward_weight + self.state_weight > 0,
            "reward_weight or state_weight must be positive, as a belief has nothing else to learn from",
            (self.reward_weight, self.state_weight),
        )

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> VariBAD:
        """Return a new agent for the suite's spaces."""
        generator = torch.Generator().manual_seed(seed)
        return VariBAD(self, self.build_networks(suite), suite.horizon, generator, device)


class Scales(NamedTuple):
    """Running moments of network inputs and predictions."""

    observations: Moments
    changes: Moments  # of an observation in one step
    rewards: Moments
    returns: Moments

    @property
    def features(self) -> Features:
        """Means and deviations that acting and learning apply."""
        return Features(self.observations.scale, self.changes.scale, self.rewards.scale)


class VariBAD:
    """Policy, belief, their optimisers, scales and replay."""

    trial: Trial = "sequential"

    def __init__(
        self,
        config: VariBADConfig,
        networks: BeliefNetworks,
        horizon: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.config, self.networks, self.device = config, networks, device
        self.adaptation_steps = config.adaptation_steps
        encoder, policy = networks.encoder, networks.policy
        # phi of the encoder, and the decoders that have a weight
        vae = encoder.initial_params(generator)
        if config.reward_weight:
            vae = join(vae, networks.reward_decoder.initial_params(generator))
        if config.state_weight:
            vae = join(vae, networks.state_decoder.initial_params(generator))
        acting = policy.initial_params(generator)
        self.policy_params, self.vae_params = (
            {name: value.to(device) for name, value in params.items()} for params in (acting, vae)
        )
        # two optimisers: policy and ELBO have a step size each
        self.policy_adam = start_descent(self.policy_params, DescentConfig(), name=POLICY_ADAM)
        self.vae_adam = start_descent(self.vae_params, DescentConfig(), name=VAE_ADAM)
        observations = (encoder.observation_size,)
        shapes = (observations, observations, (), ())
        self.scales = Scales(*(no_moments(*shape, device=device) for shape in shapes))
        # the buffer holds whole trials
        self.buffer = ReplayBuffer(config.buffer_trials * config.trial_episodes * horizon, device)
        self.updates = 0

    @property
    def params(self) -> Params:
        """Parameters of policy, encoder and decoders."""
        return join(self.policy_params, self.vae_params)

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> BeliefActor:
        """Return the policy, to be used with the prior belief."""
        return BeliefActor(self.networks, self.params, self.scales.features, num_tasks)

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> Actor:
        """Return the same policy: only the belief adapts."""
        return actor

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Improve policy and belief by separate losses; see :class:`metarl.meta_learner.MetaLearner`."""
        trials = join_trials(rollouts)
        # 1. the policy, on the beliefs with which it acted
        policy_params, policy_adam, of_policy = self._improve_policy(trials, rng, should_stop)
        # 2. the trials join those of the past
        past = self.buffer.state()
        self.buffer.add(tasks, rollouts)
        # 3. encoder and decoders, on trials of past and present policies
        scales = self._rescaled(trials, rollouts)
        try:
            vae_params, vae_adam, of_belief = self._improve_belief(scales.features, rng, should_stop)
        except Stopped:
            self.buffer.load_state(past)
            raise
        self.policy_params, self.policy_adam = detach(policy_params), policy_adam
        self.vae_params, self.vae_adam = detach(vae_params), vae_adam
        self.scales = scales
        self.updates += 1
        return {**of_policy, **of_belief}

    def state(self) -> State:
        """Return copies of tensors and the buffer's segments."""
        copies = map_values(torch.Tensor.clone, self._tensors())
        return State(copies, {"updates": self.updates}, self.buffer.state().segments)

    def load_state(self, state: State) -> None:
        """Continue from a state; raise ``MetarlError`` if unfit."""
        loaded = take_saved(self._tensors(), state.tensors)
        self.policy_params = {name: loaded[name] for name in self.policy_params}
        self.vae_params = {name: loaded[name] for name in self.vae_params}
        self.policy_adam = {name: loaded[name] for name in self.policy_adam}
        self.vae_adam = {name: loaded[name] for name in self.vae_adam}
        self.scales = Scales(*load_moments(loaded, Scales._fields))
        self.buffer.load_state(state)
        self.updates = int(str(state.values["updates"]))

    def _tensors(self) -> Params:
        return {**self.params, **self.policy_adam, **self.vae_adam, **save_moments(self.scales._asdict())}

    def _improve_policy(
        self, trials: Trials, rng: np.random.Generator, should_stop: Callable[[], bool]
    ) -> tuple[Params, Params, dict[str, float]]:
        """Take PPO's steps; return parameters, memory and metrics."""
        # beliefs are what was written down while acting: no gradient reaches the encoder
        belief = Gaussian(trials.extras["belief_mean"], trials.extras["belief_log_std"])
        read = time_first(self.scales.features.policy_inputs(trials.inputs.observations, belief))
        experience = self._experience(trials)
        # the distribution before the update, for the KL divergence
        with torch.no_grad():
            acted, _ = self.networks.policy(self.policy_params, read)

        def loss(
            chosen: torch.Tensor, live_steps: torch.Tensor, measured: bool, params: Params
        ) -> LossAndMetrics:
            policy, values = self.networks.policy(params, read.index_select(1, chosen))
            part = experience.of_trials(chosen)
            taken = (tensor.index_select(1, chosen) for tensor in acted)
            before = rebuilt(acted, taken) if measured else None
            return ppo_loss(policy, values, before, part, self.config, live_steps=live_steps)

        def step(params: Params, adam: Params, gradients: Params) -> tuple[Params, Params]:
            params, adam = adam_step(params, adam, gradients, self.config.learning_rate, POLICY_ADAM)
            return self.networks.policy.within_bounds(params), adam

        params, adam, metrics = ppo_steps(
            self.policy_params,
            self.policy_adam,
            experience.live,
            self.config,
            loss=loss,
            split=partial(self._parts, steps=len(read)),
            step=step,
            rng=rng,
            should_stop=should_stop,
        )
        if "log_std" in params:
            metrics["std"] = float(params["log_std"].exp().mean())
        return params, adam, metrics

    def _parts(self, chosen: torch.Tensor, steps: int) -> Sequence[torch.Tensor]:
        """Split trials into parts for threads; a GPU takes all at once."""
        if self.device.type != "cpu":
            return [chosen]
        parameters = sum(value.numel() for value in self.policy_params.values())
        chunks = task_chunks(len(chosen), steps * len(chosen) * parameters)
        return chosen.tensor_split(len(chunks))

    def _experience(self, trials: Trials) -> Experience:
        """Return trials for PPO ``[S, B, ...]``, with rewards in units of the returns' deviation."""
        # returns have about unit deviation, which suits the value network
        rewards, values = trials.rewards / self.scales.returns.deviation, trials.extras["value"]
        advantages = trial_advantages(
            rewards, values, trials.live, discount=self.config.discount, gae_lambda=self.config.gae_lambda
        )
        parts = (
            trials.actions,
            trials.log_probs,
            scaled_advantages(advantages, trials.live),
            values,
            advantages + values,
            trials.live,
        )
        return Experience(*(time_first(part) for part in parts))

    def _improve_belief(
        self, features: Features, rng: np.random.Generator, should_stop: Callable[[], bool]
    ) -> tuple[Params, Params, dict[str, float]]:
        """Take the ELBO's steps; return parameters, Adam's memory and metrics."""
        params, adam = self.vae_params, self.vae_adam
        metrics: dict[str, float] = {}
        for _ in range(self.config.vae_updates + (0 if self.updates else self.config.pretrain_updates)):
            if should_stop():
                raise Stopped
            leaves = requires_grad(params)
            # a minibatch of old trials too: the ELBO does not depend on the policy that acted
            trials = self.buffer.sample_trials(self.config.vae_trials, rng)
            # all noise of the bound comes from one generator
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            bound = self._bound(leaves, trials, features, generator)
            gradients = gradient(bound.loss, leaves)
            params, adam = adam_step(params, adam, gradients, self.config.vae_learning_rate, VAE_ADAM)
            metrics = bound.metrics
        return params, adam, metrics

    def beliefs(self, params: Params, trials: ReplayedTrials, features: Features) -> Gaussian:
        """Return the beliefs before each step of trials, ``[S, B, L]``."""
        actions, rewards, observations, starts = (
            time_first(part)
            for part in (trials.actions, trials.rewards, trials.observations, trials.episode_starts)
        )
        # step t is embedded with action and reward of t - 1; the first has none
        seen = Transition(
            torch.cat([torch.zeros_like(actions[:1]), actions[:-1]]),
            features.rewards(torch.cat([torch.zeros_like(rewards[:1]), rewards[:-1]])),
            features.observations(observations),
            starts,
        )
        encoder = self.networks.encoder
        return encoder.belief(params, encoder.sequence(params, seen, chunk_steps=self.config.chunk_steps))

    def _bound(
        self, params: Params, trials: ReplayedTrials, features: Features, generator: torch.Generator
    ) -> ELBO:
        """Return some trials' ELBO at some steps."""
        live = time_first(trials.mask)
        beliefs = self.beliefs(params, trials, features)
        times = random_steps(live, self.config.elbo_steps, generator)
        return elbo_loss(
            beliefs,
            self._predictions(params, trials, features),
            times=times,
            steps=random_steps(live, self.config.decoded_steps, generator),
            latents=sample_latents(Gaussian(*(times.of(part) for part in beliefs)), generator),
            kl_weight=self.config.kl_weight,
        )

    def _predictions(self, params: Params, trials: ReplayedTrials, features: Features) -> list[Prediction]:
        """Return inputs and targets of each decoder, scaled."""
        actions = time_first(trials.actions)
        observations = time_first(features.observations(trials.observations))
        followed_by = time_first(features.observations(trials.next_observations))
        change = time_first(features.changes(trials.next_observations - trials.observations))
        rewards = time_first(features.rewards(trials.rewards)).unsqueeze(-1)
        # p(s' | s, a, m) and p(r | s, a, s', m)
        before, after = (observations, actions), (observations, actions, followed_by)
        networks, config = self.networks, self.config
        decoders = (
            ("reward", networks.reward_decoder, after, rewards, config.reward_weight),
            ("state", networks.state_decoder, before, change, config.state_weight),
        )
        return [
            Prediction(name, partial(decoder, params), torch.cat(read, dim=-1), seen, weight)
            for name, decoder, read, seen, weight in decoders
            if weight > 0
        ]

    def _rescaled(self, trials: Trials, rollouts: Sequence[Rollout]) -> Scales:
        """Return scales updated with a meta-batch, while they still learn."""
        if self.updates >= self.config.scale_iterations:
            return self.scales
        live = trials.live
        so_far = returns_so_far(trials.rewards, live, self.config.discount)
        # of an observation in one live step, [n, O]
        changed = [live_rows(next_observations(one) - one.observations, one.mask) for one in rollouts]
        observations, rewards = trials.inputs.observations, trials.rewards
        observed, paid, gained = (live_rows(part, live) for part in (observations, rewards, so_far))
        seen = (observed, torch.cat(changed), paid, gained)
        return Scales(*(with_batch(*pair) for pair in zip(self.scales, seen, strict=True)))
