"""Meta-train MAML-TRPO on one Meta-World task and test it on goals it has never seen; copy and edit."""

from pathlib import Path

import numpy as np

from metarl import runs
from metarl.agents.presets import ml1

if __name__ == "__main__":
    experiment = runs.start(ml1(task="reach-v3"), root=Path("runs"))
    with runs.stop_on_signals(experiment):
        evaluation = experiment.run()
    for step, success in enumerate(np.mean(evaluation.task_successes, axis=0)):
        print(f"success on held-out goals after {step} adaptation steps: {success:.0%}")
