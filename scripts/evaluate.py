"""Test a trained agent on held-out tasks; copy and edit."""

import sys
from pathlib import Path

import numpy as np
import tyro
from rich import print

from metarl.cli.main import exit_code
from metarl.config import EvaluationConfig
from metarl.evaluation.summary import summarize
from metarl.reporting.tables import evaluation_table
from metarl.training import runs


def main(path: tyro.conf.Positional[Path]) -> None:
    """Print how the agent of a run, or of one checkpoint, adapts to the held-out tasks."""
    experiment = runs.open_trained(path, report=print, evaluation=EvaluationConfig(adaptation_steps=3))
    rng = np.random.default_rng(0)
    env = experiment.make_env()
    evaluation = experiment.test(env, experiment.suite.tasks("test"), rng)
    env.close()
    print(evaluation_table(evaluation, summarize(evaluation, rng), experiment.suite.name))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: tyro.cli(main)))
