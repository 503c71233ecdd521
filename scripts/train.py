"""Meta-train MAML-TRPO on one Meta-World task and test it on held-out goals; copy and edit."""

import sys
from pathlib import Path

from rich import print

from metarl.cli.main import exit_code
from metarl.cli.progress import watch
from metarl.config import ExperimentConfig
from metarl.evaluation.summary import summarize
from metarl.functional.random_streams import Purpose, make_rng
from metarl.presets.manipulation import ml1
from metarl.reporting.tables import evaluation_table
from metarl.training import runs


def main(config: ExperimentConfig) -> None:
    """Train in a new folder below ``runs`` and print how well the agent adapts."""
    experiment = runs.start(config, root=Path("runs"))
    with runs.stop_on_signals(experiment), watch(experiment):
        evaluation = experiment.run()
    summary = summarize(evaluation, make_rng(config.seed, Purpose.RESAMPLES))
    print(evaluation_table(evaluation, summary, experiment.suite.name))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(ml1(task="reach-v3"))))
