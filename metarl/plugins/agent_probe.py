"""Small trial of an agent's claims."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch

from metarl.config import AgentConfig, SamplingConfig
from metarl.errors import NonFiniteActionError
from metarl.functional.params import map_values
from metarl.meta_learner import (
    Action,
    Actor,
    Inputs,
    MetaLearner,
    actor_in_training,
    check_device,
    check_learner,
    inputs_at_start,
    never,
    plan_of,
    state_of,
)
from metarl.rollouts.choices import check_actor, check_choice, check_memory
from metarl.rollouts.collect import collect, last_step
from metarl.spaces import action_size, observation_size
from metarl.tasks import TaskDistribution
from metarl.types import Params, Rollout, State, Task
from metarl.vector_env import TaskVectorEnv

TASKS, EPISODES = 3, 4
STATES = 5  # observations in which policies are compared


class BrokenPromise(Exception):
    """A broken promise, described without a full stop."""


class OpenQuestion(Exception):
    """A reason why a claim cannot be judged, without a full stop."""


def expect(condition: bool, seen: str) -> None:
    """Raise :class:`BrokenPromise` unless a condition holds."""
    if not condition:
        raise BrokenPromise(seen)


class AgentProbe:
    """Builder of one config's agents, and of small meta-batches of one suite."""

    device = torch.device("cpu")

    def __init__(self, config: AgentConfig, suite: TaskDistribution) -> None:
        self.config, self.suite = config, suite
        self.observation_size = observation_size(suite.observation_space)
        self.action_size = action_size(suite.action_space)
        self.tasks: Sequence[Task] = suite.sample(TASKS, np.random.default_rng(7))

    def build(self, seed: int = 0) -> MetaLearner:
        """Return a new agent."""
        sampling = SamplingConfig(meta_batch_size=TASKS, episodes=EPISODES)
        agent = self.config.build(self.suite, seed=seed, device=self.device, sampling=sampling)
        check_learner(agent)
        check_device(agent, self.device)
        state_of(agent)
        plan_of(agent, 0)
        return agent

    def rng(self, seed: int = 0) -> np.random.Generator:
        """Return a claim's generator, always the same."""
        return np.random.default_rng(seed)

    @cached_property
    def env(self) -> TaskVectorEnv:
        """An environment with a slot for each episode."""
        return self.suite.make_vector_env(TASKS * EPISODES)

    def gather(self, actor: Actor, seed: int = 0, after: Rollout | None = None) -> Rollout:
        """Collect episodes of the tasks."""
        horizon, rng = self.suite.horizon, self.rng(seed)
        return collect(self.env, self.tasks, actor, episodes=EPISODES, horizon=horizon, rng=rng, after=after)

    def meta_batch(self, agent: MetaLearner, seed: int = 0) -> list[Rollout]:
        """Collect the rollouts of one meta-iteration."""
        actor = actor_in_training(agent, self.tasks, self.rng())
        rollouts = [self.gather(actor, seed)]
        for step in range(agent.adaptation_steps):
            actor = agent.adapt(actor, rollouts[-1], self.rng())
            after = rollouts[-1] if agent.trial == "sequential" else None
            rollouts.append(self.gather(actor, seed + step + 1, after))
        return rollouts

    @property
    def rollouts(self) -> list[Rollout]:
        """The meta-batch of a new agent, copied each time: whoever writes to one spoils no other claim."""
        return [rollout.map(torch.Tensor.clone) for rollout in self._collected]

    @cached_property
    def _collected(self) -> list[Rollout]:
        return self.meta_batch(self.build())

    def update(
        self, agent: MetaLearner, rollouts: Sequence[Rollout] | None = None, seed: int = 0
    ) -> dict[str, float]:
        """Update an agent from a meta-batch, by default a new agent's."""
        chosen = self.rollouts if rollouts is None else rollouts
        return agent.update(chosen, self.tasks, self.rng(seed), never)

    def states(self, num_tasks: int = TASKS, episodes: int = STATES) -> Inputs:
        """Return first steps, observed alike in all tasks."""
        seen = torch.linspace(-0.5, 0.5, episodes * self.observation_size)
        seen = seen.reshape(1, episodes, self.observation_size).expand(num_tasks, -1, -1)
        return inputs_at_start(seen, self.action_size)

    def random_inputs(self, seed: int, num_tasks: int = TASKS, episodes: int = EPISODES) -> Inputs:
        """Draw steps in the middle of episodes."""
        generator, shape = torch.Generator().manual_seed(seed), (num_tasks, episodes)
        return Inputs(
            torch.randn(*shape, self.observation_size, generator=generator),
            torch.randn(*shape, self.action_size, generator=generator),
            torch.randn(shape, generator=generator),
            torch.zeros(shape, dtype=torch.bool),
            torch.ones(shape, dtype=torch.bool),
        )

    def act(self, actor: Actor, generator: torch.Generator | None, inputs: Inputs | None = None) -> Action:
        """Choose actions with a blank memory, by default at the start of trials; check form and numbers."""
        check_actor(actor)
        given = inputs or self.states()
        memory = actor.initial_memory(given.live.shape[1])
        check_memory(actor, memory, (given.live.shape[0], given.live.shape[1]))
        chosen = actor.act(given, memory, generator)
        check_choice(actor, chosen, memory, (*given.live.shape, self.action_size))
        for name, value in (("actions", chosen[0].actions), ("log_probs", chosen[0].log_probs)):
            if not bool(value.isfinite().all()):
                where = f"act of {type(actor).__qualname__}"
                raise NonFiniteActionError(f"Expected {where} to return finite {name}, got NaN or infinity.")
        return chosen[0]

    def likeliest(self, actor: Actor, num_tasks: int = TASKS) -> torch.Tensor:
        """Return each task's noiseless actions and log densities."""
        return likely(self.act(actor, None, self.states(num_tasks)))

    def adapted(self, agent: MetaLearner, rollout: Rollout, seed: int = 0) -> torch.Tensor:
        """Return :meth:`likeliest` after adapting to a rollout."""
        num_tasks = rollout.mask.shape[0]
        actor = agent.adapt(agent.initial_actor(num_tasks, self.rng()), rollout, self.rng(seed))
        return self.likeliest(actor, num_tasks)

    def trained(self, seed: int = 0) -> MetaLearner:
        """Return an agent after an update."""
        agent = self.build(seed)
        self.update(agent)
        return agent

    def close(self) -> None:
        """Close the environment."""
        if "env" in self.__dict__:
            self.env.close()


def actors_of(agent: MetaLearner, probe: AgentProbe) -> list[Actor]:
    """Return the policies that collect a meta-batch, as :meth:`AgentProbe.meta_batch` makes them."""
    actors = [actor_in_training(agent, probe.tasks, probe.rng())]
    for rollout in probe.rollouts[:-1]:
        actors.append(agent.adapt(actors[-1], rollout, probe.rng()))
    return actors


def steps_of(rollout: Rollout, after: Rollout | None) -> Iterator[tuple[Inputs, int]]:
    """Yield a rollout's steps with the policy's inputs."""
    starts = torch.ones_like(rollout.mask[..., 0])
    actions, rewards = torch.zeros_like(rollout.actions[:, :, 0]), torch.zeros_like(rollout.rewards[..., 0])
    if after is not None:
        actions, rewards = last_step(after).actions, last_step(after).rewards
    for step in range(int(rollout.mask.any(dim=0).any(dim=0).sum())):
        live = rollout.mask[..., step]
        yield Inputs(rollout.observations[:, :, step], actions, rewards, starts, live), step
        # the next step sees this action and reward
        actions, rewards = rollout.actions[:, :, step], rollout.rewards[..., step]
        starts = torch.zeros_like(starts)


def likely(action: Action) -> torch.Tensor:
    """Return actions and log densities, ``[M, K, A + 1]``."""
    # actions of a choice alone may hide a difference
    return torch.cat([action.actions, action.log_probs.unsqueeze(-1)], dim=-1)


def take_tasks(rollout: Rollout, order: Sequence[int]) -> Rollout:
    """Return some tasks' rollout, in any order."""
    return rollout.map(lambda value: value[list(order)])


def is_close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether numbers agree up to summation order."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def apart(one: torch.Tensor, other: torch.Tensor) -> str:
    """Say by how much two tensors differ."""
    if one.shape != other.shape:
        return f"{list(one.shape)} and {list(other.shape)}"
    apart = one - other if one.is_complex() else one.double() - other.double()
    return f"by up to {float(apart.abs().max()):.2g}" if apart.numel() else "by nothing"


def copy(params: Params) -> Params:
    """Return copies of tensors."""
    return map_values(torch.Tensor.clone, params)


def same(one: Params, other: Params) -> bool:
    """Return whether named tensors agree bit for bit; NaN is the same as NaN."""
    return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one, other) or (
        one.shape == other.shape
        and bool(torch.equal(one.isnan(), other.isnan()))
        and torch.equal(one[~one.isnan()], other[~other.isnan()])
    )


def same_state(one: State, other: State) -> bool:
    """Return whether states agree bit for bit."""
    if one.values != other.values or len(one.segments) != len(other.segments):
        return False
    pairs = zip(one.segments, other.segments, strict=True)
    return same(one.tensors, other.tensors) and all(same(a.tensors(), b.tensors()) for a, b in pairs)


@contextmanager
def watched_generators() -> Iterator[list[str]]:
    """List, on exit, the global generators used meanwhile."""
    before = _global_states()
    drawn: list[str] = []
    yield drawn
    after = _global_states()
    drawn += [name for name, state in after.items() if state != before[name]]


def _global_states() -> dict[str, str]:
    kind, keys, *place = np.random.get_state(legacy=True)  # noqa: NPY002 - whether it is drawn from is the question
    return {
        "torch": str(torch.get_rng_state().tolist()),
        "numpy.random": str((kind, np.asarray(keys).tolist(), place)),
        "random": str(random.getstate()),
    }
