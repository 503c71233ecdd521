"""One build's part of ``busy_machine.py``: an ML1 meta-iteration for each line of input.

It calls only functions that both builds have, so that one program measures them all.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

import metarl


def first_of(*names: str) -> ModuleType:
    """Import the first of a module's names that this build has, as modules have moved."""
    found = next(name for name in names if importlib.util.find_spec(name.rpartition(".")[0]) is not None)
    return importlib.import_module(found)


registry = first_of("metarl.plugins.registry", "metarl.registry")
meta_iteration = first_of("metarl.training.experiment", "metarl.experiment").meta_iteration


def main() -> None:
    """Print environment steps per second for each line of input."""
    assert Path(metarl.__file__).parents[1] == Path.cwd(), "the build of this folder is measured"
    config = registry.preset("ml1")()
    suite, sampling = config.suite.build(), config.sampling
    # the former build has another signature
    takes_sampling = "sampling" in inspect.signature(config.agent.build).parameters
    agent = config.agent.build(
        suite, seed=0, device=torch.device("cpu"), **({"sampling": sampling} if takes_sampling else {})
    )
    env = suite.make_vector_env(sampling.meta_batch_size * sampling.episodes)
    for index, _ in enumerate(sys.stdin):
        rng = np.random.default_rng([2, index])
        tasks = suite.sample(sampling.meta_batch_size, rng)
        start = time.perf_counter()
        done = meta_iteration(agent, env, tasks, episodes=sampling.episodes, horizon=suite.horizon, rng=rng)
        seconds = time.perf_counter() - start
        print(sum(rollout.num_steps for rollout in done.rollouts) / seconds, flush=True)
        print({part: round(value, 3) for part, value in done.seconds.items()}, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
