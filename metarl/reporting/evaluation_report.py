"""An evaluation's tables, notices and files, as after a training and by ``metarl evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from metarl.evaluation.factors import factors_of_tasks
from metarl.evaluation.physics import physics_differences, physics_label
from metarl.evaluation.record import Axis, Evaluation
from metarl.evaluation.references import Reference, references_json
from metarl.evaluation.summary import disagreement, rank_correlation, summarize
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.csv_files import write_csv
from metarl.reporting.evaluation_files import write_evaluation
from metarl.reporting.success_tables import family_success_table, success_rows, success_table
from metarl.reporting.table import Table
from metarl.reporting.tables import aggregate_table, evaluation_table, factor_table, family_table
from metarl.training.evaluation_reader import provenance
from metarl.training.experiment import Experiment
from metarl.types import Json

Tell: TypeAlias = Callable[[Table | str], None]  # shows a table or a sentence
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Shown:
    """An evaluation, and what is shown beside it."""

    evaluation: Evaluation
    most_likely: Evaluation | None = None  # the same with the most likely actions, if both were measured
    references: tuple[Reference, ...] = ()  # reference of policies that learn nothing
    # purpose and seed of its random numbers, if they are not those at a run's end
    stream: Mapping[str, Json] = field(default_factory=dict)

    @property
    def by_actions(self) -> dict[str, list[Evaluation]]:
        """The evaluations by how actions were chosen; a lone one has no name."""
        if self.most_likely is None:
            return {"": [self.evaluation]}
        return {"drawn": [self.evaluation], "most likely": [self.most_likely]}


@dataclass(frozen=True)
class EvaluationReport:
    """Where an experiment's evaluations are shown and written."""

    experiment: Experiment
    tell: Tell
    folder: Path
    physics: dict[str, Json]  # of the training and of the evaluation

    def show_all(self, shown: Shown, stem: str, notices: Mapping[str, str] = NOTHING) -> list[Path]:
        """Show an evaluation, every kind of success beside the references, and write the files.

        ``stem-success.csv`` has every kind of success, by actions and family; ``stem-most-likely.*`` is the
        evaluation with the most likely actions.
        """
        files = []
        if shown.most_likely is not None:
            drawn = self.experiment.config
            self.experiment.config = replace(drawn, evaluation=replace(drawn.evaluation, deterministic=True))
            files += self.show(Shown(shown.most_likely, stream=shown.stream), f"{stem}-most-likely")
            self.experiment.config = drawn
        parts, reports = shown.by_actions, shown.evaluation.successes is not None
        if reports:
            # before the JSON of the evaluation, which comes last
            files.append(self.folder / f"{stem}-success.csv")
            write_csv(files[-1], success_rows(parts, shown.references))
        files = self.show(shown, stem, notices=notices) + files
        if reports:
            self.tell(success_table(parts, shown.references))
            if len({task.family for task in shown.evaluation.tasks}) > 1:
                self.tell(family_success_table(parts, shown.references))
        if sentence := disagreement(shown.evaluation):
            self.tell(sentence)
        return files

    def show(
        self, shown: Shown, stem: str, axis: Axis | None = None, notices: Mapping[str, str] = NOTHING
    ) -> list[Path]:
        """Show an evaluation and write its files.

        ``axis`` is the second of the evaluation, if not adaptation steps.
        """
        evaluation, config = shown.evaluation, self.experiment.config
        summary = summarize(evaluation, make_rng(config.seed, Purpose.RESAMPLES))
        title = f"{self.experiment.suite.name}, held-out tasks"
        if config.evaluation.deterministic:
            title += ", most likely actions"
        elif shown.most_likely is not None:
            title += ", drawn actions"
        if label := physics_label(self.physics):
            title += f", {label}"
        self.tell(evaluation_table(evaluation, summary, title, axis))
        said = {sentence: sentence for sentence in physics_differences(self.physics)} | dict(notices)
        factors = factors_of_tasks(self.experiment.suite, evaluation.tasks)
        # aggregates and notices are of adaptation steps, not of the curve over episodes
        if axis is None:
            self.tell(aggregate_table(summary, evaluation.trial))
            if len({task.family for task in evaluation.tasks}) > 1:
                self.tell(family_table(evaluation))
            if factors:
                self.tell(factor_table(evaluation, factors))
            said = {**self.experiment.evaluation_notices(evaluation), **said}
        for sentence in said.values():
            self.tell(f"Notice: {sentence}")
        correlation = rank_correlation(evaluation)
        about: dict[str, Json] = {
            **provenance(self.experiment),
            "physics": self.physics,
            "notices": list[Json](said.values()),
            **({"stream": dict(shown.stream)} if shown.stream else {}),
            **({"factors": {each.name: each.to_json() for each in factors}} if factors else {}),
            **({"references": references_json(shown.references)} if shown.references else {}),
            **({} if correlation is None else {"rank_correlation": correlation}),
        }
        return write_evaluation(self.folder, stem, evaluation, summary, about, title, axis)
