"""PEARL: off-policy learning with task inference.

Source: Rakelly et al. 2019 (arXiv 1903.08254). It infers the task from experience. An encoder turns each
transition into a Gaussian factor of what the task may be; their product is the posterior q(z | c) of a latent
z, given the context c of all transitions so far (section 4.1 there). Policy and Q functions of soft
actor-critic read z beside the observation. A task is explored by posterior sampling: z is drawn once for an
episode, from the prior before anything was seen (section 4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from metarl.action_map import squashed_range
from metarl.config import AgentConfig, SamplingConfig
from metarl.errors import MetarlError, Stopped
from metarl.functional.gaussian_products import kl_to_standard_normal, no_evidence, posterior
from metarl.functional.params import map_values, take_saved, unflatten
from metarl.learning.replay import ReplayBuffer
from metarl.learning.sac import (
    SAC,
    TEMPERATURE,
    Look,
    Noise,
    SACBatch,
    SACConfig,
    SACMetrics,
    SACState,
    States,
)
from metarl.meta_learner import Actor, Plan, Trial
from metarl.networks.context_encoder import ContextEncoder
from metarl.networks.off_policy import SquashedPolicy, TwinCritic
from metarl.networks.posterior_actor import ActionRange, PosteriorActor
from metarl.rollouts.history import next_observations
from metarl.spaces import action_size, observation_size
from metarl.system.threads import one_thread
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State, Task


@dataclass(frozen=True, kw_only=True)
class PEARLConfig(SACConfig, AgentConfig):
    """PEARL: soft actor-critic on a posterior over a latent of the task.

    One adaptation adds a rollout to the context, of however many episodes, and draws z anew.
    """

    kind: ClassVar[str] = "pearl"
    source: ClassVar[str] = "Rakelly et al. 2019, arXiv 1903.08254"
    trial: ClassVar[Trial] = "parallel"

    adaptation_steps: Annotated[int, Ge(1), Le(100)] = 1
    """Rollouts of a meta-iteration with posterior z.
    One with z from the prior comes before them."""
    latent_size: Annotated[int, Ge(1), Le(1024)] = 5
    """Numbers of z."""
    hidden_sizes: tuple[Annotated[int, Ge(1), Le(4096)], ...] = (128, 128)
    """Units per hidden layer, policy and Q functions."""
    encoder_sizes: tuple[Annotated[int, Ge(1), Le(4096)], ...] = (64, 64)
    """Units of each hidden layer of the encoder."""
    next_observation_in_context: bool = False
    """Let the encoder read next observations.
    For tasks that differ in their dynamics."""
    kl_weight: Annotated[float, Ge(0), Le(1e6)] = 0.1
    """Weight of each task's divergence from the prior."""
    reward_scale: Annotated[float, Gt(0), Le(1e6)] = 1.0
    """Multiplies the rewards that critic and encoder read."""
    tasks_per_step: Annotated[int, Ge(1), Le(10_000)] = 8
    """Tasks per gradient step, from the replay buffer."""
    batch_size: Annotated[int, Ge(1), Le(100_000)] = 64
    """Transitions per task for actor and critic steps."""
    context_size: Annotated[int, Ge(1), Le(100_000)] = 64
    """Transitions per task for the encoder."""
    update_ratio: Annotated[float, Gt(0), Le(1000)] = 0.05
    """Gradient steps for each environment step."""
    initial_iterations: Annotated[int, Ge(0)] = 1
    """First meta-iterations, which only fill the buffer.
    They play all of a fixed list of tasks."""
    replay_capacity: Annotated[int, Ge(1), Le(1_000_000_000)] = 1_000_000
    """Newest environment steps that are kept."""

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> PEARL:
        """Return a new agent for the suite's spaces.

        Raises:
            MetarlError: if actions are choices, which no squashed Gaussian draws.
        """
        # the policy is a squashed normal distribution, which has no discrete form
        space = suite.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            raise MetarlError(
                f"Expected actions that are vectors of real numbers, as PEARL's policy draws, got {space}; "
                "take an agent for choices, such as rl2."
            )
        observations, actions = observation_size(suite.observation_space), action_size(space)
        # encoder q(z | c), policy pi(a | s, z) and critic Q(s, a, z)
        networks = Networks.of(self, observations, actions)
        params = networks.initial_params(torch.Generator().manual_seed(seed), self.initial_temperature)
        # networks act in -1..1, which is mapped to the bounds of the actions
        middle, half = (torch.as_tensor(part, dtype=torch.float32) for part in squashed_range(space))
        return PEARL(
            self,
            networks,
            {name: value.to(device) for name, value in params.items()},
            ActionRange(middle.to(device), half.to(device)),
            fixed_tasks=sampling.training_tasks > 0,
        )


@dataclass(frozen=True)
class Networks:
    """Three networks; policy and critic read ``[observation, z]``."""

    policy: SquashedPolicy
    critic: TwinCritic
    encoder: ContextEncoder

    @staticmethod
    def of(config: PEARLConfig, observations: int, actions: int) -> Networks:
        """Return the networks for spaces of these sizes."""
        read = {"state_size": observations + config.latent_size, "action_size": actions}
        transition = observations + actions + 1 + config.next_observation_in_context * observations
        return Networks(
            SquashedPolicy(**read, hidden_sizes=config.hidden_sizes),
            TwinCritic(**read, hidden_sizes=config.hidden_sizes),
            ContextEncoder(
                context_size=transition, latent_size=config.latent_size, hidden_sizes=config.encoder_sizes
            ),
        )

    def initial_params(self, generator: torch.Generator, temperature: float) -> Params:
        """Draw the networks' parameters and log temperature."""
        params: Params = {}
        for part in (self.policy, self.critic, self.encoder):
            params |= part.network.initial_params(generator)
        return {**params, TEMPERATURE: torch.tensor(temperature).log()}


def episodes_from_the_last(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Return each episode as a rollout ``[M, 1, T, ...]``, the last first.

    So the newest n that a replay buffer is given are the n episodes with which a trial begins.
    """

    def slot(rollout: Rollout, place: int) -> Rollout:
        return rollout.map(lambda value: value[:, place : place + 1])

    forward = [slot(rollout, place) for rollout in rollouts for place in range(rollout.mask.shape[1])]
    return forward[::-1]


class Seen(NamedTuple):
    """Data of M tasks for a gradient step."""

    observations: torch.Tensor  # [M, B, O]
    next_observations: torch.Tensor  # [M, B, O]
    context: torch.Tensor  # [M, C, context_size]
    noise: torch.Tensor  # [M, Z], standard normal numbers that z is drawn by


def look_at(encoder: ContextEncoder, seen: Seen, kl_weight: float) -> Look:
    """Return how the states ``[observation, z]`` of M * B transitions come about.

    z of each task is drawn from q(z | c), so the critic's gradient reaches the encoder. The divergence from
    the prior is added to the critic's loss (equation 1, with the critic's likelihood).
    """

    def look(params: Params) -> States:
        belief = posterior(encoder(params, seen.context))
        z = torch.addcmul(belief.mean, belief.log_std.exp(), seen.noise).unsqueeze(1)
        states, next_states = (
            torch.cat([part, own.expand(*part.shape[:2], own.shape[-1])], dim=-1).flatten(0, 1)
            for part, own in ((seen.observations, z), (seen.next_observations, z.detach()))
        )
        return States(states, next_states, kl_weight * kl_to_standard_normal(belief).mean())

    return look


class PEARL:
    """All networks, Adam's memory and the replay buffer."""

    trial: Trial = "parallel"

    def __init__(
        self,
        config: PEARLConfig,
        networks: Networks,
        params: Params,
        actions: ActionRange,
        *,
        fixed_tasks: bool = False,
    ) -> None:
        self.config, self.networks, self.actions = config, networks, actions
        self.adaptation_steps, self.device = config.adaptation_steps, actions.middle.device
        encoder = {name: params[name] for name in networks.encoder.network.shapes}
        self.sac = SAC.of(networks.policy, networks.critic, config, params, encoder)
        self.learned = self.sac.start()
        self.replay = ReplayBuffer(config.replay_capacity, self.device)
        self.fixed_tasks = fixed_tasks

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> PosteriorActor:
        """Return the policy with z from the prior."""
        evidence = no_evidence(num_tasks, self.config.latent_size, device=self.device)
        params = unflatten(self.learned.actor, self.sac.actor_like)
        return PosteriorActor(self.networks.policy, params, self.actions, evidence, int(rng.integers(2**63)))

    @torch.no_grad()
    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> PosteriorActor:
        """Add rollouts to contexts, and redraw z."""
        assert isinstance(actor, PosteriorActor), "PEARL adapts its own actors"
        encoder = unflatten(self.learned.critic, self.sac.critic_like)
        seen = self.networks.encoder(encoder, self._context_of(rollout), rollout.mask.flatten(1))
        return replace(actor, evidence=actor.evidence + seen, seed=int(rng.integers(2**63)))

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Fill the buffer and take gradient steps; see :class:`metarl.meta_learner.MetaLearner`."""
        before = self.replay.state()
        env_steps = sum(rollout.num_steps for rollout in rollouts)
        steps = max(1, round(self.config.update_ratio * env_steps))
        episodes = sum(rollout.mask.shape[1] for rollout in rollouts)
        try:
            # algorithm 1, lines 3 to 9: data of both kinds goes into the tasks' buffers
            self.remember(rollouts, tasks)
            # lines 10 to 20: gradient steps, each on some of the tasks
            learned, metrics = self.gradient_steps(steps, episodes, rng, should_stop)
        except Stopped:
            # a step that was stopped leaves no trace
            self.replay.load_state(before)
            raise
        self.learned = learned
        return {
            **_mean(metrics),
            "gradient_steps": float(steps),
            "replay_steps": float(self.replay.num_steps),
        }

    def plan(self, iteration: int) -> Plan:
        """Return an iteration's plan; the first only fill the buffer, with z from the prior."""
        if iteration >= self.config.initial_iterations:
            return Plan()
        tasks: Literal["all tasks", "meta-batch"] = "all tasks" if self.fixed_tasks else "meta-batch"
        return Plan(tasks, adaptation_steps=0, learns=False)

    def remember(self, rollouts: Sequence[Rollout], tasks: Sequence[Task]) -> None:
        """Add each episode of rollouts to the buffer."""
        for episode in episodes_from_the_last(rollouts):
            self.replay.add(tasks, [episode])

    @one_thread()
    def gradient_steps(
        self, steps: int, episodes: int, rng: np.random.Generator, should_stop: Callable[[], bool]
    ) -> tuple[SACState, list[SACMetrics]]:
        """Return the result of gradient steps on the replay buffer.

        Args:
            episodes: most episodes of a trial that a context is drawn from.
            should_stop: asked before each step; if it says so, ``Stopped`` is raised.
        """
        learned, metrics = self.learned, list[SACMetrics]()
        known = [Task("", (), name) for name in self.replay.task_ids]  # the buffer goes by ids
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        for _ in range(steps):
            if should_stop():
                raise Stopped
            learned, said = self._step(learned, known, episodes, rng, generator)
            metrics.append(said)
        return learned, metrics

    def _step(
        self,
        learned: SACState,
        known: Sequence[Task],
        episodes: int,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> tuple[SACState, SACMetrics]:
        """Take one gradient step on some tasks (algorithm 1, lines 11 to 19)."""
        config = self.config
        # a batch for actor and critic of each task, and a context: as many of the first episodes of its last
        # trial as an agent that adapts may have seen
        places = rng.choice(len(known), min(config.tasks_per_step, len(known)), replace=False)
        tasks = [known[place] for place in places]
        batch = self.replay.sample(tasks, config.batch_size, rng)
        first = int(rng.integers(1, episodes + 1))
        newest = self.replay.sample(tasks, config.context_size, rng, newest=first)
        context = self._context(newest.observations, newest.actions, newest.rewards, newest.next_observations)
        actions = self.actions.to_networks(batch.actions).flatten(0, 1)
        # rewards are scaled for the critic only; the context has scaled them by itself
        transitions = SACBatch(
            actions, config.reward_scale * batch.rewards.flatten(), batch.terminated.flatten()
        )
        # all noise is drawn here: z by reparameterisation, and actions of this and the next state
        latents, *noises = (
            torch.randn(size, generator=generator, device=self.device)
            for size in ((len(tasks), config.latent_size), actions.shape, actions.shape)
        )
        seen = Seen(batch.observations, batch.next_observations, context, latents)
        look = look_at(self.networks.encoder, seen, config.kl_weight)
        return self.sac.step(learned, transitions, look, Noise(*noises))

    def _context_of(self, rollout: Rollout) -> torch.Tensor:
        """Return all transitions of each task, ``[M, K * T, context_size]``."""
        parts = (rollout.observations, rollout.actions, rollout.rewards, next_observations(rollout))
        return self._context(*(part.flatten(1, 2) for part in parts))

    def _context(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Return what the encoder reads of transitions, ``[M, C, ...]``."""
        scaled = (self.config.reward_scale * rewards).unsqueeze(-1)
        parts = [observations, self.actions.to_networks(actions), scaled]
        if self.config.next_observation_in_context:
            parts.append(next_observations)
        return torch.cat(parts, dim=-1)

    def state(self) -> State:
        """Return copies of parameters and Adam's memory, and the buffer's segments."""
        return State(map_values(torch.Tensor.clone, self._tensors()), {}, self.replay.state().segments)

    def load_state(self, state: State) -> None:
        """Continue from a state; raise ``MetarlError`` if unfit."""
        loaded = take_saved(self._tensors(), state.tensors)
        actor, critic, target = (
            torch.cat([loaded[f"{prefix}{name}"].reshape(-1) for name in like])
            for prefix, like in self._groups()
        )
        adam = {name: loaded[name] for name in self.learned.adam}
        self.learned = SACState(actor, critic, target, adam)
        self.replay.load_state(state)

    def _groups(self) -> tuple[tuple[str, Params], ...]:
        """Return each learned vector's prefix and parameters, in the order of SACState."""
        return (("", self.sac.actor_like), ("", self.sac.critic_like), ("target.", self.sac.target_like))

    def _tensors(self) -> Params:
        tensors: Params = {}
        vectors = (self.learned.actor, self.learned.critic, self.learned.target)
        for vector, (prefix, like) in zip(vectors, self._groups(), strict=True):
            tensors |= {f"{prefix}{name}": value for name, value in unflatten(vector, like).items()}
        return tensors | self.learned.adam


def _mean(metrics: Sequence[SACMetrics]) -> dict[str, float]:
    """Return mean metrics over gradient steps, if there were any."""
    if not metrics:
        return {}
    means = torch.stack([torch.stack(tuple(step)) for step in metrics]).double().mean(dim=0)
    named = dict(zip(SACMetrics._fields, means.tolist(), strict=True))
    return {("kl_penalty" if name == "penalty" else name): value for name, value in named.items()}
