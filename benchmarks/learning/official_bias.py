"""Bias of Meta-World's own evaluator, on agents that solve some goals and not others.

An agent runs Meta-World's scripted policy on a share of the goals and does nothing on the others, so that the
truth is known beforehand. It is measured twice: each goal once, and by ``metaworld.evaluation``.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import metaworld.policies
import numpy as np
import numpy.typing as npt
import torch
import tyro
from annotated_types import Ge, Le
from metaworld.policies.policy import Policy

from metarl.cli.main import exit_code
from metarl.config import MeasurementConfig
from metarl.envs.metaworld.official import Layout, measure_officially, same_step_options
from metarl.envs.metaworld.official_env import OfficialVectorEnv
from metarl.envs.metaworld.suite import MetaWorldTasks, ML1Config
from metarl.errors import require
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.official import OfficialSettings
from metarl.meta_learner import Action, Actor, Inputs, Trial
from metarl.settings import Horizon, Settings
from metarl.types import Params, Rollout, State, Task

POLICIES: dict[str, type[Policy]] = {
    "reach-v3": metaworld.policies.SawyerReachV3Policy,
    "push-v3": metaworld.policies.SawyerPushV3Policy,
    "pick-place-v3": metaworld.policies.SawyerPickPlaceV3Policy,
}
"""Scripted policies of families with parameters that end with the goal."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Settings):
    """Measure agents that solve some goals and not others with both protocols."""

    family: Literal["reach-v3", "push-v3", "pick-place-v3"] = "push-v3"
    """Family of the goals."""
    slots: Annotated[int, Ge(1)] = 10
    """Goals that the official evaluator runs at once; it counts 3 episodes of them all."""
    rounds: Annotated[int, Ge(1)] = 2
    """Number of times it takes other goals."""
    horizon: Horizon = 500
    """Steps of an episode."""
    shares: tuple[Annotated[float, Ge(0), Le(1)], ...] = (0.0, 0.05, 0.1, 0.25, 0.45, 0.75, 1.0)
    """Shares of the goals that the agents solve."""


@dataclass(frozen=True)
class Row:
    """Success rates of one agent by both measurements, and the true one."""

    true: float
    per_goal: float
    official: float


class HalfSkilledAgent:
    """Agent that runs a scripted policy on known goals, does nothing on others, and never adapts.

    Args:
        known: ids of the tasks.
        tasks: function that returns the slots' tasks.
        policy: scripted policy, which sees the goal.
    """

    adaptation_steps = 0
    trial: Trial = "parallel"
    device = torch.device("cpu")

    def __init__(self, known: set[str], tasks: Callable[[], Sequence[Task]], policy: Policy) -> None:
        self._known, self._tasks, self._policy = known, tasks, policy

    def initial_actor(self, num_tasks: int, rng: np.random.Generator) -> HalfSkilledActor:
        """Return the policy for the tasks in the slots."""
        tasks = self._tasks()
        goals = [task.parameters[-3:] if task.id in self._known else None for task in tasks[:num_tasks]]
        return HalfSkilledActor(goals, self._policy)

    def adapt(self, actor: Actor, rollout: Rollout, rng: np.random.Generator) -> Actor:
        """Learn nothing."""
        return actor

    def update(
        self,
        rollouts: Sequence[Rollout],
        tasks: Sequence[Task],
        rng: np.random.Generator,
        should_stop: Callable[[], bool],
    ) -> dict[str, float]:
        """Learn nothing."""
        return {}

    def state(self) -> State:
        """Return nothing."""
        return State({}, {})

    def load_state(self, state: State) -> None:
        """Do nothing."""


class HalfSkilledActor:
    """Actor for slots with known goals ``[x, y, z]``, or None."""

    device = torch.device("cpu")

    def __init__(self, goals: Sequence[tuple[float, ...] | None], policy: Policy) -> None:
        self._goals, self._policy = goals, policy

    def initial_memory(self, episodes: int) -> Params:
        """Return nothing."""
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Run the scripted policy on observations with the hidden goal filled in."""
        observations = inputs.observations
        actions = np.zeros((*observations.shape[:2], 4), np.float32)
        for index, goal in enumerate(self._goals):
            for episode, seen in enumerate(observations[index].double().numpy()):
                if goal is not None and inputs.live[index, episode]:
                    actions[index, episode] = self._script(np.concatenate([seen[:36], goal]))
        return Action(torch.from_numpy(actions), torch.zeros(observations.shape[:2])), memory

    def _script(self, seen: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        with warnings.catch_warnings():  # it says of each action beyond the bounds that it is
            warnings.simplefilter("ignore")
            action = self._policy.get_action(seen)
        return np.clip(action, -1, 1).astype(np.float32)


def measure(arguments: Arguments) -> list[Row]:
    """Measure an agent for each share."""
    suite = ML1Config(task=arguments.family, horizon=arguments.horizon).build()
    plan = Layout(arguments.slots, arguments.rounds)
    listed = len(suite.test)
    require(
        plan.goals <= listed, f"slots times rounds must be at most the {listed} held-out goals", plan.goals
    )
    tasks = suite.test[: plan.goals]
    order = np.random.default_rng(0).permutation(len(tasks))
    policy = POLICIES[arguments.family]()
    rows = []
    for share in arguments.shares:
        known = {tasks[index].id for index in order[: round(share * len(tasks))]}
        rows.append(
            Row(
                len(known) / len(tasks),
                per_goal(HalfSkilledAgent(known, lambda: tasks, policy), suite, tasks),
                official(known, suite, tasks, plan, policy),
            )
        )
    return rows


def per_goal(agent: HalfSkilledAgent, suite: MetaWorldTasks, tasks: Sequence[Task]) -> float:
    """Return the share of goals solved at any step of one episode each."""
    env = suite.make_vector_env(len(tasks))
    config = MeasurementConfig(episodes=1, adaptation_episodes=1)
    rng = np.random.default_rng(0)
    found = evaluate(agent, env, tasks, config, adaptation_steps=0, horizon=suite.horizon, rng=rng)
    env.close()
    assert found.successes is not None
    return float(found.successes.mean())


def official(
    known: set[str], suite: MetaWorldTasks, tasks: Sequence[Task], plan: Layout, policy: Policy
) -> float:
    """Return the success rate that Meta-World's evaluator reports."""
    env = OfficialVectorEnv(tasks, plan.slots, seed=0, options=same_step_options(suite.horizon))
    agent = HalfSkilledAgent(known, lambda: [task for task in env.tasks if task is not None], policy)
    settings = OfficialSettings(adaptation_steps=0)
    found = measure_officially(agent, env, settings, plan, np.random.default_rng(0))
    env.close()
    return found.success_rate


def main() -> None:
    """Print a row for each share of goals that is solved."""
    wanted = tyro.cli(Arguments)
    print(f"{wanted.family}, {wanted.slots * wanted.rounds} goals, {wanted.slots} at once")
    print("goals solved   per goal   official   difference")
    for row in measure(wanted):
        difference = 100 * (row.official - row.per_goal)
        print(f"{row.true:12.0%}{row.per_goal:11.0%}{row.official:11.0%}{difference:+11.0f} points")


if __name__ == "__main__":
    sys.exit(exit_code(main, "Stopped."))
