"""Train and measure baselines on the run's suite."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias

import numpy as np

from metarl.baselines.learners import ALGORITHMS, ROLLOUT, Learner, LearnerConfig, SB3Actor
from metarl.baselines.plan import Baseline, ComparisonConfig, StepBudgets
from metarl.baselines.store import Measured
from metarl.evaluation.evaluate import episodes_of_step, evaluate, slots_needed
from metarl.evaluation.record import from_rollouts
from metarl.functional.random_streams import Purpose, make_rng
from metarl.rollouts.collect import collect
from metarl.sb3.vec_env import TaskVecEnv, from_training, in_turn
from metarl.training.experiment import Experiment
from metarl.types import Params, Rollout, Task
from metarl.vector_env import TaskVectorEnv

TASK_SLOTS = 8  # episodes of a held-out task in one rollout of a baseline
PPO_PILOT = 512  # steps that measure the speed of PPO
SAC_PILOT = 10  # steps of all slots, after its warm-up, that measure the speed of SAC
WARM_UP = 100  # environment steps before SAC learns, its default
MEASURE = "measure"

OnStep: TypeAlias = Callable[[str, int], None]
"""Step callback with the :meth:`BaselineRunner.phase` and the number of slots; may raise."""


class BaselineRunner:
    """Trains and measures the baselines; closes its environments on exit."""

    def __init__(
        self, experiment: Experiment, config: ComparisonConfig, step_budgets: StepBudgets, on_step: OnStep
    ) -> None:
        self.experiment = experiment
        self.suite = experiment.suite
        self.measured = experiment.config.evaluation
        self.config = config
        self.step_budgets = step_budgets
        self.on_step = on_step
        self._places = {task: place for place, task in enumerate(self.suite.tasks("test"))}
        self._envs: dict[int, TaskVectorEnv] = {}

    def __enter__(self) -> BaselineRunner:
        """Do nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the environments."""
        for env in self._envs.values():
            env.close()

    @staticmethod
    def phase(baseline: Baseline, *, training: bool) -> str:
        """Name a phase of equally long steps."""
        return f"{baseline.algorithm}/{'training' if training else 'task'}"

    def meta(self, task: Task) -> Measured:
        """Measure the meta-learned agent after each step."""
        measured, horizon = self.measured, self.suite.horizon
        evaluation = evaluate(
            self.experiment.agent,
            self._env(slots_needed(measured)),
            [task],
            measured,
            adaptation_steps=measured.adaptation_steps,
            horizon=horizon,
            rng=self._episodes_of(task),
            on_step=lambda slots: self.on_step(MEASURE, slots),
        )
        steps = range(measured.adaptation_steps + 1)
        episodes = episodes_of_step(measured, self.experiment.agent.trial)
        # steps on this task before each stage
        learned = tuple(step * episodes * horizon for step in steps)
        return Measured(evaluation, learned, self.experiment.env_steps)

    def train(self, baseline: Baseline) -> Params:
        """Train a baseline on new tasks each episode."""
        seed = self._seed(baseline, None)
        learner = self._on_training(baseline, seed, self.step_budgets.training)
        self._learn(learner, self.phase(baseline, training=True))
        return learner.weights

    def on_task(self, baseline: Baseline, task: Task, start: Params | None) -> Measured:
        """Train on a held-out task, and measure before (if ``start`` is given) and after."""
        seed, steps = self._seed(baseline, task), self.step_budgets.on_task(baseline)
        learner = self._on_task(baseline, task, steps, seed)
        stages: list[Rollout] = []
        # fine-tuning: measure the loaded weights first, as adaptation measures step 0
        if start is not None:
            learner.load(start)
            stages.append(self._test(learner.actor, task))
        self._learn(learner, self.phase(baseline, training=False))
        stages.append(self._test(learner.actor, task))
        evaluation = from_rollouts([task], stages, learner.planned)
        if start is None:
            return Measured(evaluation, (learner.planned,), 0)
        return Measured(evaluation, (0, learner.planned), self.step_budgets.training)

    def oracle(self, baseline: Baseline, task: Task, weights: Params) -> Measured:
        """Measure an agent that sees the task's parameters."""
        learner = self._on_training(baseline, 0)
        learner.load(weights)
        stage = self._test(learner.actor.knowing(task), task)
        return Measured(from_rollouts([task], [stage], 0), (0,), self.step_budgets.training)

    def seconds_per_step(self, baseline: Baseline, *, training: bool) -> float:
        """Measure the seconds of a step of learning."""
        slots = self.experiment.config.sampling.meta_batch_size if training else TASK_SLOTS
        steps = PPO_PILOT if baseline.algorithm == "ppo" else WARM_UP + SAC_PILOT * slots
        if training:
            learner = self._on_training(baseline, 0, steps)
        else:
            learner = self._on_task(baseline, self.suite.tasks("test")[0], steps, 0)
        start = time.perf_counter()
        learner.learn(lambda slots: self.on_step("pace", slots))
        # SAC's warm-up has no gradient steps and takes hardly any time, so its steps do not count
        counted = steps if baseline.algorithm == "ppo" else SAC_PILOT * slots
        return (time.perf_counter() - start) / counted

    def measuring_seconds_per_step(self) -> float:
        """Measure the seconds of a step of measuring."""
        env, steps = self._env(slots_needed(self.measured)), min(50, self.suite.horizon)
        rng = make_rng(self.config.seed, Purpose.BASELINE_TEST, "pace")
        task, actor = self.suite.tasks("test")[0], self.experiment.agent.initial_actor(1, rng)
        start = time.perf_counter()
        collect(env, [task], actor, episodes=self.measured.episodes, horizon=steps, rng=rng)
        return (time.perf_counter() - start) / (steps * self.measured.episodes)

    def _on_task(self, baseline: Baseline, task: Task, steps: int, seed: int) -> Learner:
        slots = max(1, min(TASK_SLOTS, steps // 2))
        env = TaskVecEnv(self._env(slots), in_turn([task]), seed=seed, unit_actions=True)
        config = LearnerConfig(steps=steps, seed=seed, updates_per_step=self.config.updates_per_step)
        return ALGORITHMS[baseline.algorithm](env, config)

    def _on_training(self, baseline: Baseline, seed: int, steps: int = 0) -> Learner:
        """Build an agent that learns on training tasks.

        PPO has a whole episode of every slot in a rollout; SAC takes one gradient step for each step of all
        slots, which is what SB3 does by default.
        """
        # two steps of every slot must fit into the budget
        slots = max(1, min(self.experiment.config.sampling.meta_batch_size, self.step_budgets.training // 2))
        env = TaskVecEnv(
            self._env(slots),
            from_training(self.suite, make_rng(seed, Purpose.BASELINE_TASKS)),
            seed=seed,
            task_size=self._task_size() if baseline.kind == "oracle" else 0,
            unit_actions=True,
        )
        config = LearnerConfig(
            steps=max(steps, 2 * slots),
            seed=seed,
            rollout=max(ROLLOUT, slots * self.suite.horizon),
            # one update for each step of all slots together
            updates_per_step=1 / slots,
        )
        return ALGORITHMS[baseline.algorithm](env, config)

    def _learn(self, learner: Learner, phase: str) -> None:
        learner.learn(lambda slots: self.on_step(phase, slots))

    def _test(self, actor: SB3Actor, task: Task) -> Rollout:
        return collect(
            self._env(slots_needed(self.measured)),
            [task],
            actor,
            episodes=self.measured.episodes,
            horizon=self.suite.horizon,
            rng=self._episodes_of(task),
            deterministic=self.measured.deterministic,
            on_step=lambda slots: self.on_step(MEASURE, slots),
        )

    def _env(self, slots: int) -> TaskVectorEnv:
        if slots not in self._envs:
            sampling = self.experiment.config.sampling
            self._envs[slots] = self.suite.make_vector_env(
                slots, engine=sampling.engine, num_workers=sampling.workers
            )
        return self._envs[slots]

    def _task_size(self) -> int:
        return max(len(task.parameters) for task in (*self.suite.tasks("train"), *self.suite.tasks("test")))

    def _episodes_of(self, task: Task) -> np.random.Generator:
        return make_rng(self.config.seed, Purpose.BASELINE_TEST, self._places[task])

    def _seed(self, baseline: Baseline, task: Task | None) -> int:
        place = "training" if task is None else self._places[task]
        rng = make_rng(self.config.seed, Purpose.BASELINE_LEARNING, baseline.stem, place)
        return int(rng.integers(2**31))
