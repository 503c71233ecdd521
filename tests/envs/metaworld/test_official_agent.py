"""Memories, rewards and episodes of agents under Meta-World's evaluator, on scripted slots."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from metaworld.evaluation import metalearning_evaluation

from metarl.envs.engines.autoreset import Infos, with_final
from metarl.envs.metaworld.official_agent import OfficialAgent
from metarl.envs.metaworld.official_env import OfficialVectorEnv, OutcomeVectorEnv
from metarl.errors import MetarlError
from metarl.meta_learner import Action, Actor, Inputs, Trial
from metarl.types import Params, Rollout
from metarl.vector_env import Array
from support import tiny

LENGTHS = np.array([[1, 2, 2], [2, 3, 2]])
"""Steps of the episodes that the two slots play after each reset."""
BONUS = 10.0


class ScriptedSlots(VectorEnv[Array, Array, Array]):
    """Two slots of one family that reset themselves.

    It shows ``[episodes, steps]`` since the reset and since the episode's start. Step s of episode e pays
    10 e + s and solves the task if s is 2.
    """

    def __init__(self, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> None:
        self.metadata = {"autoreset_mode": mode}
        self.num_envs = 2
        self.single_observation_space = Box(-np.inf, np.inf, (2,), np.float64)
        self.single_action_space = Box(-np.inf, np.inf, (4,), np.float64)
        self.observation_space = batch_space(self.single_observation_space, 2)
        self.action_space = batch_space(self.single_action_space, 2)

    def reset(self, *, seed: int | None = None, options: Infos | None = None) -> tuple[Array, Infos]:
        self.episodes, self.steps, self.returns = (np.zeros(2, np.int64) for _ in range(3))
        return self._seen(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Infos]:
        self.steps += 1
        rewards = 10.0 * self.episodes + self.steps
        self.returns += rewards.astype(np.int64)
        ended = self.steps == LENGTHS[[0, 1], self.episodes]
        infos: Infos = {"success": self.steps == 2, "_success": np.ones(2, np.bool_)}
        if ended.any():
            infos = with_final(infos, self._seen(), ended)
            cast("Infos", infos["final_info"])["episode"] = {"r": self.returns.copy()}
        self.episodes += ended
        self.steps[ended] = self.returns[ended] = 0
        return self._seen(), rewards, np.zeros(2, np.bool_), ended, infos

    def call(self, name: str, *_: object) -> tuple[None, None]:
        return None, None

    def get_attr(self, name: str) -> tuple[object, object]:
        return ("SawyerReachEnvV3",) * 2 if name == "task_name" else (True, True)

    def _seen(self) -> Array:
        return np.stack([self.episodes, self.steps], axis=1).astype(np.float64)


class Seen(NamedTuple):
    """What a policy saw before a step."""

    slot: int
    column: int
    episode: int
    step: int
    action: float
    reward: float
    starts: bool
    remembered: int


class CountingAgent(tiny.StrideAgent):
    """Counts the steps on its memory, acts by their number and keeps all that it sees."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.seen: list[list[Seen]] = [[]]
        self.rollouts: list[Rollout] = []

    def initial_actor(self, num_tasks: int, rng: np.random.Generator | None = None) -> CountingAgent:  # type: ignore[override]  # it acts itself
        return self

    def initial_memory(self, episodes: int) -> Params:
        return {"steps": torch.zeros(2, episodes)}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        for slot, column in inputs.live.nonzero().tolist():
            place = slot, column
            episode, step = inputs.observations[place].int().tolist()
            before = inputs.previous_actions[place][0].item(), inputs.previous_rewards[place].item()
            starts, remembered = bool(inputs.episode_starts[place]), int(memory["steps"][place])
            self.seen[-1].append(Seen(slot, column, episode, step, *before, starts, remembered))
        steps = memory["steps"] + 1
        return Action(steps.unsqueeze(-1).expand(-1, -1, 4), -steps, {"value": 2 * steps}), {"steps": steps}

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator | None = None) -> CountingAgent:  # type: ignore[override]  # likewise
        self.rollouts.append(rollout)
        self.seen.append([])
        return self


class LonelyAgent(CountingAgent):
    """One that acts in single episodes."""

    def of_episode(self, episode: torch.Tensor, episodes: int) -> CountingAgent:
        return self


class Measured(NamedTuple):
    """An agent after the evaluator's round."""

    agent: CountingAgent
    success: float
    mean_return: float
    env_steps: int


def measure(
    trial: Trial, *, steps: int, episodes: int, bonus: float = 0.0, kind: type[CountingAgent] = CountingAgent
) -> Measured:
    """Let Meta-World's evaluator measure an agent on the scripted slots."""
    agent = kind(trial)
    env = OutcomeVectorEnv(cast("OfficialVectorEnv", ScriptedSlots()), bonus)
    driven = OfficialAgent(agent, env, episodes=episodes, rng=np.random.default_rng(0))
    success, mean_return, _ = metalearning_evaluation(
        driven,
        env,  # type: ignore[arg-type]  # it has what the evaluator calls
        num_evals=1,
        adaptation_steps=steps,
        adaptation_episodes=episodes,
        evaluation_episodes=3,
    )
    return Measured(agent, success, mean_return, env.env_steps)


def paid(episode: int, step: int) -> float:
    """Return what an agent gets for an episode's step, counted from 1."""
    return 10 * episode + step + BONUS * (step == 2)


def test_memory_is_blank_at_the_start_of_each_parallel_episode() -> None:
    found = measure("parallel", steps=1, episodes=2, bonus=BONUS)
    adapting, measured = found.agent.seen
    for seen in (*adapting, *measured):
        assert (seen.column, seen.remembered, seen.starts) == (seen.episode, seen.step, seen.step == 0)
        assert (seen.action, seen.reward) == (seen.step, paid(seen.episode, seen.step) if seen.step else 0)
    # each step once: slot 0 has episodes of 1 and 2 steps, and plays a third that is not learned from
    assert [sum(seen.slot == slot for seen in adapting) for slot in (0, 1)] == [3, 5]
    assert [sum(seen.slot == slot for seen in measured) for slot in (0, 1)] == [3, 3]


def test_trial_goes_on_to_each_measured_episode() -> None:
    found = measure("sequential", steps=2, episodes=1, bonus=BONUS)
    first, second, measured = found.agent.seen
    assert [(seen.slot, seen.remembered, seen.reward) for seen in first] == [(0, 0, 0), (1, 0, 0), (1, 1, 1)]
    # the second episode comes after 1 step in slot 0, and after 2 in slot 1, the last of which paid the bonus
    assert second == [
        Seen(0, 0, 0, 0, action=1, reward=1, starts=True, remembered=1),
        Seen(1, 0, 0, 0, action=2, reward=paid(0, 2), starts=True, remembered=2),
        Seen(1, 0, 0, 1, action=3, reward=1, starts=False, remembered=3),
    ]
    # measured ones come after 2 and 4, the second of slot 0 too
    for seen in measured:
        before = (2, 4)[seen.slot]
        assert (seen.column, seen.remembered, seen.starts) == (
            seen.episode,
            before + seen.step,
            seen.step == 0,
        )
        last = paid(seen.episode, seen.step) if seen.step else (1, paid(0, 2))[seen.slot]
        assert (seen.action, seen.reward) == (before + seen.step, last)
    assert {seen.episode for seen in measured if seen.slot == 0} == {0, 1}


def test_agent_learns_from_the_first_episodes_with_its_bonus() -> None:
    (rollout,) = measure("parallel", steps=1, episodes=2, bonus=BONUS).agent.rollouts
    assert rollout.rewards.tolist() == [[[1, 0, 0], [11, 22, 0]], [[1, 12, 0], [11, 22, 13]]]
    assert rollout.mask.sum(dim=2).tolist() == [[1, 2], [2, 3]]
    assert rollout.final_observations.tolist() == [[[0, 1], [1, 2]], [[0, 2], [1, 3]]]
    assert rollout.actions[..., 0].tolist() == [[[1, 0, 0], [1, 2, 0]], [[1, 2, 0], [1, 2, 3]]]
    assert torch.equal(rollout.extras["value"], 2 * rollout.actions[..., 0])
    assert torch.equal(rollout.log_probs, -rollout.actions[..., 0])
    assert rollout.initial_memory["steps"].tolist() == [[0, 0], [0, 0]]
    assert rollout.final_memory["steps"].tolist() == [[1, 2], [2, 3]]


def test_policy_of_single_episodes_meets_what_one_of_many_does() -> None:
    many, single = (
        measure("parallel", steps=1, episodes=2, bonus=BONUS, kind=kind).agent
        for kind in (CountingAgent, LonelyAgent)
    )
    assert single.seen == [[seen._replace(column=0) for seen in phase] for phase in many.seen]
    ours, theirs = (agent.rollouts[0].tensors() for agent in (single, many))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_trial_is_adapted_by_one_episode_after_another() -> None:
    rollouts = measure("sequential", steps=2, episodes=1).agent.rollouts
    assert [rollout.rewards.tolist() for rollout in rollouts] == [[[[1, 0]], [[1, 2]]]] * 2
    memories = [(rollout.initial_memory["steps"], rollout.final_memory["steps"]) for rollout in rollouts]
    assert [[part.tolist() for part in pair] for pair in memories] == [
        [[[0], [0]], [[1], [2]]],
        [[[1], [2]], [[2], [4]]],
    ]


@pytest.mark.parametrize(
    ("trial", "steps", "episodes", "taken"), [("parallel", 1, 2, 8), ("sequential", 2, 1, 7)]
)
def test_evaluator_counts_the_published_reward_and_each_step_once(
    trial: Trial, steps: int, episodes: int, taken: int
) -> None:
    found = measure(trial, steps=steps, episodes=episodes, bonus=BONUS)
    # the first to finish: returns 1, 1 + 2 and 11 + 12; the last two end with success
    assert (found.mean_return, found.success) == (pytest.approx(27 / 3), pytest.approx(2 / 3))
    assert found.env_steps == 2 * taken


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_slots_that_reset_at_another_step_are_refused(mode: AutoresetMode) -> None:
    with pytest.raises(MetarlError, match=r"autoreset_mode must be .*SAME_STEP, but it is Autoreset"):
        OutcomeVectorEnv(cast("OfficialVectorEnv", ScriptedSlots(mode)))


def test_several_episodes_of_a_trial_in_one_step_are_refused() -> None:
    with pytest.raises(MetarlError, match="adaptation_episodes must be 1 for an agent with a memory of its"):
        measure("sequential", steps=1, episodes=2)
