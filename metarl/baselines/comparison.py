"""Baselines on the same held-out tasks, episodes and seeds, at equal budget.

Finished results are kept: a comparison that was stopped, or that has more baselines, budgets or tasks than
before, computes only the missing ones.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from metarl.baselines.plan import META, Baseline, ComparisonConfig, planned, step_budgets
from metarl.baselines.runner import MEASURE, BaselineRunner, OnStep
from metarl.baselines.store import Measured, Store, put_together
from metarl.config import to_json
from metarl.errors import Stopped
from metarl.storage.checkpoints import weights_sum
from metarl.system.versions import library_versions
from metarl.training.experiment import Experiment
from metarl.types import Json, Task


class Comparison:
    """Comparison of a trained agent and its baselines on held-out tasks.

    Raises:
        MetarlError: if there is nothing to compare with, or the folder holds results of other settings.
    """

    def __init__(
        self, experiment: Experiment, tasks: Sequence[Task], config: ComparisonConfig, folder: Path
    ) -> None:
        self.experiment = experiment
        self.tasks = tuple(tasks)
        self.config = config
        self.baselines = planned(config)
        self.step_budgets = step_budgets(
            config,
            experiment.config.evaluation,
            experiment.suite.horizon,
            experiment.env_steps,
            experiment.agent.trial,
        )
        self.store = Store(folder, self._settings())
        # random streams go by a task's place in the whole list, whichever tasks are chosen
        self._places = {task: place for place, task in enumerate(experiment.suite.tasks("test"))}
        self._stop = False

    @property
    def pending(self) -> list[tuple[Baseline, Task]]:
        """Baselines and tasks without a result, in the order of computation."""
        return [(b, task) for b in self.baselines for task in self.tasks if not self._is_done(b, task)]

    @property
    def results(self) -> list[tuple[Baseline, Measured]]:
        """The finished comparison: each agent on all tasks."""
        return [
            (b, put_together([self.store.get(self._name(b, task)) for task in self.tasks]))
            for b in self.baselines
        ]

    def request_stop(self) -> None:
        """Raise Stopped before the next step; finished results are kept."""
        self._stop = True

    def open_runner(self, on_step: OnStep) -> BaselineRunner:
        """Open the baselines' runner, a context manager."""

        def step(phase: str, slots: int) -> None:
            if self._stop:
                raise Stopped
            on_step(phase, slots)

        return BaselineRunner(self.experiment, self.config, self.step_budgets, step)

    def run(self, runner: BaselineRunner, on_result: Callable[[Baseline, Task], None]) -> None:
        """Compute the pending results; call ``on_result`` after each."""
        for baseline, task in self.pending:
            self.store.put(self._name(baseline, task), self._measure(runner, baseline, task))
            on_result(baseline, task)

    def pending_steps(self, baseline: Baseline) -> Counter[str]:
        """Return each phase's remaining environment steps, at most."""
        todo = sum(not self._is_done(baseline, task) for task in self.tasks)
        steps = Counter({MEASURE: todo * self._measured_steps(baseline)})
        steps[BaselineRunner.phase(baseline, training=False)] = todo * self.step_budgets.on_task(baseline)
        if todo and baseline.pretrained and not self.store.has_weights(baseline.stem):
            steps[BaselineRunner.phase(baseline, training=True)] = self.step_budgets.training
        return +steps

    def seconds_per_step(self, runner: BaselineRunner) -> dict[str, float]:
        """Measure seconds per step of pending phases."""
        found: dict[str, float] = {}
        for baseline in self.baselines:
            for phase in self.pending_steps(baseline):
                if phase in found:
                    continue  # phases that several baselines share are measured once
                if phase == MEASURE:
                    found[phase] = runner.measuring_seconds_per_step()
                else:
                    training = phase == BaselineRunner.phase(baseline, training=True)
                    found[phase] = runner.seconds_per_step(baseline, training=training)
        return found

    def seconds(self, baseline: Baseline, seconds_per_step: Mapping[str, float]) -> float:
        """Estimate the seconds of a baseline's pending results."""
        return sum(count * seconds_per_step[phase] for phase, count in self.pending_steps(baseline).items())

    def _measure(self, runner: BaselineRunner, baseline: Baseline, task: Task) -> Measured:
        if baseline.kind == META:
            return runner.meta(task)
        if not baseline.pretrained:
            return runner.on_task(baseline, task, None)
        weights = self.store.weights(baseline.stem, lambda: runner.train(baseline))
        if baseline.kind == "oracle":
            return runner.oracle(baseline, task, weights)
        return runner.on_task(baseline, task, weights)

    def _measured_steps(self, baseline: Baseline) -> int:
        measured = self.experiment.config.evaluation
        stages = len(baseline.stages(measured.adaptation_steps))
        adapting = self.step_budgets.adaptation if baseline.kind == META else 0
        return stages * measured.episodes * self.experiment.suite.horizon + adapting

    def _is_done(self, baseline: Baseline, task: Task) -> bool:
        return self.store.has(self._name(baseline, task))

    def _name(self, baseline: Baseline, task: Task) -> str:
        return f"{baseline.stem}/task{self._places[task]:04d}"

    def _settings(self) -> dict[str, Json]:
        config = to_json(self.experiment.config)
        measured = asdict(self.experiment.config.evaluation)
        return {
            **{
                f"{part}.{name}": value for part in ("suite", "agent") for name, value in _items(config[part])
            },
            **{f"version of {name}": value for name, value in library_versions().items()},
            "version of stable-baselines3": importlib.metadata.version("stable-baselines3"),
            "engine": self.experiment.config.sampling.engine,
            "horizon": self.experiment.suite.horizon,
            "training_seed": self.experiment.config.seed,
            # whichever checkpoint it was, these are its weights
            "weights_sha256": weights_sum(self.experiment.agent.state()),
            "iteration": self.experiment.iteration,
            "seed": self.config.seed,
            "training_steps": self.step_budgets.training,
            "updates_per_step": self.config.updates_per_step,
            **{name: value for name, value in measured.items() if name not in ("every", "tasks")},
        }


def _items(section: Json) -> Iterable[tuple[str, Json]]:
    return section.items() if isinstance(section, dict) else ()
