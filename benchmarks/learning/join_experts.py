"""Join the experts of several policy-reuse runs in one library, which is a run of its own.

    .venv/bin/python -m benchmarks.learning.join_experts runs/A-seed0 runs/A-seed1 --output runs/library

Runs differ in their seed only, so the joined run has as many experts of each family as all of them. Nothing
is trained: the library has had the steps of all of them. It has the weights alone, as with the optimisers it
would be three times as large.
"""

from dataclasses import replace
from pathlib import Path

import tyro

from benchmarks.program import run
from metarl.agents.policy_reuse import PolicyReuse, join_libraries
from metarl.api.runs import load
from metarl.config import to_json
from metarl.errors import require
from metarl.storage.checkpoints import Checkpoint, save
from metarl.storage.run_folder import CHECKPOINTS
from metarl.training.runs import refuse_existing, write_config


def main(runs: tyro.conf.Positional[tuple[Path, ...]], output: Path) -> None:
    """Join the experts of runs, or of checkpoints, in a new run's folder."""
    require(len(runs) > 1, "Expected two runs or more", len(runs))
    refuse_existing(output)
    opened = [load(path).experiment for path in runs]
    first, agents = opened[0], list[PolicyReuse]()
    for path, each in zip(runs, opened, strict=True):
        own = replace(each.config, seed=first.config.seed, name=first.config.name)
        agent, alike = each.agent, own == first.config
        require(isinstance(agent, PolicyReuse), "Expected runs of policy-reuse", each.config.agent.kind)
        require(alike, f"Expected runs that differ in nothing but seed and name from {runs[0]}", path)
        assert isinstance(agent, PolicyReuse)
        agents.append(agent)
    library = join_libraries(agents)
    evaluation = first.config.evaluation
    config = replace(
        first.config,
        agent=library.config,
        name=output.name,
        iterations=first.iteration,
        # a new task tries every expert once
        evaluation=replace(
            evaluation, adaptation_episodes=max(evaluation.adaptation_episodes, len(library.experts))
        ),
    )
    checkpoint = Checkpoint(
        iteration=first.iteration,
        config=to_json(config),
        agent=library.weights(),
        progress={
            "env_steps": sum(each.env_steps for each in opened),
            "elapsed_seconds": sum(each.elapsed for each in opened),
        },
        physics=first.physics,
    )
    output.mkdir(parents=True, exist_ok=True)
    write_config(output, config)
    print(save(output / CHECKPOINTS, checkpoint, keep=1))


if __name__ == "__main__":
    run(main)
