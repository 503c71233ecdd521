"""Meta-train MAML-TRPO on one Meta-World task and test it on goals it has never seen; copy and edit."""

import sys
from pathlib import Path

from rich import print

from metarl import runs
from metarl.agents.presets import ml1
from metarl.cli import exit_code
from metarl.config import ExperimentConfig
from metarl.evaluation import summarize
from metarl.progress import watch
from metarl.random_streams import Purpose, make_rng
from metarl.tables import evaluation_table


def main(config: ExperimentConfig) -> None:
    """Train in a folder of its own below ``runs`` and print how well it adapts."""
    experiment = runs.start(config, root=Path("runs"))
    with runs.stop_on_signals(experiment), watch(experiment):
        evaluation = experiment.run()
    summary = summarize(evaluation, make_rng(config.seed, Purpose.RESAMPLES))
    print(evaluation_table(evaluation, summary, experiment.suite.name))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(ml1(task="reach-v3"))))
