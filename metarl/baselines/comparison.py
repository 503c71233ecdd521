"""Baselines at equal budget: each on the same held-out tasks, with the same episodes from the same seeds.

What is finished is kept. A comparison that was stopped, or that is asked for more baselines, budgets or
tasks, does what is missing.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from metarl.baselines.plan import META, Baseline, ComparisonConfig, planned, terms
from metarl.baselines.runner import MEASURE, OnStep, Workshop
from metarl.baselines.store import Measured, Store, put_together
from metarl.config import to_json
from metarl.storage.checkpoints import library_versions, weights_sum
from metarl.training.experiment import Experiment
from metarl.types import Json, Task


class Comparison:
    """A run's agent and its baselines on some held-out tasks; see :mod:`metarl.baselines.plan`.

    Args:
        experiment: with a trained agent.
        tasks: held-out ones.
        config: which baselines.
        folder: for what is finished; it is made with the first result.

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
        self.terms = terms(
            config,
            experiment.config.evaluation,
            experiment.suite.horizon,
            experiment.env_steps,
            experiment.agent.trial,
        )
        self.store = Store(folder, self._settings())
        self._places = {task: place for place, task in enumerate(experiment.suite.tasks("test"))}

    @property
    def pending(self) -> list[tuple[Baseline, Task]]:
        """What is not finished, in the order in which it is done."""
        return [(b, task) for b in self.baselines for task in self.tasks if not self._is_done(b, task)]

    @property
    def results(self) -> list[tuple[Baseline, Measured]]:
        """The finished comparison: each agent on all tasks."""
        return [
            (b, put_together([self.store.get(self._name(b, task)) for task in self.tasks]))
            for b in self.baselines
        ]

    def open_workshop(self, on_step: OnStep) -> Workshop:
        """Return where the baselines learn; whoever opens it enters and leaves it."""
        return Workshop(self.experiment, self.config, self.terms, on_step)

    def run(self, workshop: Workshop, on_result: Callable[[Baseline, Task], None]) -> None:
        """Do what is pending; ``on_result`` is told of each agent and task that is finished."""
        for baseline, task in self.pending:
            self.store.put(self._name(baseline, task), self._measure(workshop, baseline, task))
            on_result(baseline, task)

    def pending_steps(self, baseline: Baseline) -> Counter[str]:
        """Return how many environment steps of each sort are still to be done, if every episode is full."""
        todo = sum(not self._is_done(baseline, task) for task in self.tasks)
        steps = Counter({MEASURE: todo * self._measured_steps(baseline)})
        steps[Workshop.sort(baseline, training=False)] = todo * self.terms.on_task(baseline)
        if todo and baseline.pretrained and not self.store.has_weights(baseline.stem):
            steps[Workshop.sort(baseline, training=True)] = self.terms.training
        return +steps

    def paces(self, workshop: Workshop) -> dict[str, float]:
        """Measure how many seconds a step of each sort that is pending takes."""
        paces: dict[str, float] = {}
        for baseline in self.baselines:
            for sort in self.pending_steps(baseline):
                if sort not in paces:
                    training = sort == Workshop.sort(baseline, training=True)
                    measuring = sort == MEASURE
                    paces[sort] = (
                        workshop.measuring_pace() if measuring else workshop.pace(baseline, training=training)
                    )
        return paces

    def seconds(self, baseline: Baseline, paces: Mapping[str, float]) -> float:
        """Estimate how long what is pending of a baseline takes."""
        return sum(count * paces[sort] for sort, count in self.pending_steps(baseline).items())

    def _measure(self, workshop: Workshop, baseline: Baseline, task: Task) -> Measured:
        if baseline.kind == META:
            return workshop.meta(task)
        if not baseline.pretrained:
            return workshop.on_task(baseline, task, None)
        weights = self.store.weights(baseline.stem, lambda: workshop.train(baseline))
        if baseline.kind == "oracle":
            return workshop.oracle(baseline, task, weights)
        return workshop.on_task(baseline, task, weights)

    def _measured_steps(self, baseline: Baseline) -> int:
        """Return the steps that measuring an agent on a task takes, adapting included."""
        measured = self.experiment.config.evaluation
        stages = len(baseline.stages(measured.adaptation_steps))
        adapting = self.terms.adaptation if baseline.kind == META else 0
        return stages * measured.episodes * self.experiment.suite.horizon + adapting

    def _is_done(self, baseline: Baseline, task: Task) -> bool:
        return self.store.has(self._name(baseline, task))

    def _name(self, baseline: Baseline, task: Task) -> str:
        return f"{baseline.stem}/task{self._places[task]:04d}"

    def _settings(self) -> dict[str, Json]:
        """Return what all results of one folder have in common, so that no run gets another's."""
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
            "weights_sha256": weights_sum(self.experiment.agent.state()),
            "iteration": self.experiment.iteration,
            "seed": self.config.seed,
            "training_steps": self.terms.training,
            "updates_per_step": self.config.updates_per_step,
            **{name: value for name, value in measured.items() if name not in ("every", "tasks")},
        }


def _items(section: Json) -> Iterable[tuple[str, Json]]:
    return section.items() if isinstance(section, dict) else ()
