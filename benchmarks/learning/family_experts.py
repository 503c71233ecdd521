"""Experts of Meta-World's families, each trained on its own until it solves its family.

    .venv/bin/python -m benchmarks.learning.family_experts ml45 --beyond ml10 --output results/NAME

trains RL² in trials of one episode on every training family of ML45 that is none of ML10's, with the settings
of the preset's policy-reuse. An expert that solves 95 % of ten iterations' episodes is ready; the others go
on, up to 150 iterations of 50 episodes, or 75 if none of their episodes has succeeded by then.
``benchmarks.learning.join_experts`` makes a library of them.

Runs that are there already are gone on with, so a stopped program starts where it was.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import tyro
from annotated_types import Ge, Gt, Le

from benchmarks.learning.expert_episodes import training_families
from benchmarks.program import run
from metarl.agents.rl2 import RL2Config
from metarl.config import ExperimentConfig, construct
from metarl.envs.metaworld.suite import ML1Config, ML10Config, ML25Config, ML45Config
from metarl.errors import Stopped, require
from metarl.presets.agent_settings import agent_config_for
from metarl.presets.manipulation import ml1
from metarl.reporting.csv_files import write_csv
from metarl.settings import setting_names
from metarl.storage.metrics import Row, read_metrics
from metarl.training.experiment import Experiment
from metarl.training.runs import has_checkpoints, resume, start, stop_on_signals

Benchmark: TypeAlias = Literal["ml10", "ml25", "ml45"]
BENCHMARKS = {"ml10": ML10Config, "ml25": ML25Config, "ml45": ML45Config}
WINDOW = 10
"""Last iterations of which the success counts."""


class UntilDone:
    """Observer that stops a run once the agent solves its family, or has not solved any of its tasks."""

    def __init__(self, ready: float, hopeless: int, rows: list[Row]) -> None:
        self.ready, self.hopeless = ready, hopeless
        self.solved = [float(row["train/success/step_0"]) for row in rows]
        self.experiment: Experiment | None = None
        """The run that is stopped."""

    @property
    def share(self) -> float:
        """Episodes with success of the last iterations."""
        return float(np.mean(self.solved[-WINDOW:])) if self.solved else 0.0

    @property
    def is_done(self) -> bool:
        """Whether enough of them had success, or none so far."""
        if len(self.solved) >= self.hopeless and not any(self.solved):
            return True
        return len(self.solved) >= WINDOW and self.share >= self.ready

    def on_step(self, episodes: int) -> None:
        """Let every step pass."""

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        """Stop the run if the last iterations suffice."""
        self.solved.append(metrics["train/success/step_0"])
        if self.is_done and self.experiment is not None:
            self.experiment.request_stop()


def main(
    benchmark: tyro.conf.Positional[Benchmark],
    *,
    beyond: Benchmark | None = None,
    families: tuple[str, ...] = (),
    output: Path | None = None,
    seed: int = 0,
    most: Annotated[int, Ge(1)] = 150,
    ready: Annotated[float, Gt(0), Le(1)] = 0.95,
    hopeless: Annotated[int, Ge(1)] = 75,
) -> None:
    """Train an expert of each family in ``runs/expert-FAMILY-seedN``.

    Args:
        benchmark: whose training families have experts.
        beyond: a benchmark whose training families have experts already.
        families: some of the families, so that several programs may share them; all by default.
        output: folder for a table of the experts, ``experts.csv``.
        seed: of every run.
        most: iterations after which an expert stops in any case.
        ready: share of episodes with success at which it stops before.
        hopeless: iterations after which an expert stops if none of its episodes has succeeded.
    """
    known = training_families(BENCHMARKS[benchmark]().build())
    old = training_families(BENCHMARKS[beyond]().build()) if beyond else []
    strange = [family for family in families if family not in known]
    require(not strange, f"Expected training families of {benchmark}: {', '.join(known)}", strange)
    rows = list[dict[str, str | float]]()
    for family in families or [family for family in known if family not in old]:
        config = expert_config(benchmark, family, seed, most)
        experiment, share = train(config, Path("runs", config.name), ready, hopeless)
        print(f"{family}: {experiment.env_steps:,} steps, {share:.0%} at the end", flush=True)
        rows.append({"family": family, "env_steps": experiment.env_steps, "success": round(share, 4)})
    if output is not None:
        write_csv(output / "experts.csv", rows)


def expert_config(benchmark: Benchmark, family: str, seed: int, most: int) -> ExperimentConfig:
    """Return the preset of RL² on one family, with the agent's settings of the preset's experts."""
    preset, expert = ml1(family, "rl2"), agent_config_for(benchmark, "policy-reuse")
    assert isinstance(preset.suite, ML1Config)
    return replace(
        preset,
        suite=replace(preset.suite, training_goals=500),
        agent=construct(RL2Config, {name: getattr(expert, name) for name in setting_names(RL2Config)}),
        success_bonus=10.0,
        iterations=most,
        seed=seed,
        name=f"expert-{family}-seed{seed}",
        # the library is evaluated, not its experts
        evaluation=replace(preset.evaluation, every=0, adaptation_steps=0, episodes=1),
        checkpoint=replace(preset.checkpoint, every=10, keep=1),
    )


def train(config: ExperimentConfig, folder: Path, ready: float, hopeless: int) -> tuple[Experiment, float]:
    """Train an expert until it is done, or go on; return its run and the share of success at its end."""
    observer = UntilDone(ready, hopeless, [])
    if has_checkpoints(folder):
        experiment = go_on(config, folder, observer)
    else:
        experiment = start(config, folder.parent, [observer])
    if not observer.is_done and experiment.iteration < config.iterations:
        observer.experiment = experiment
        with stop_on_signals(experiment):
            try:
                experiment.run()
            except Stopped:
                # a signal stops a run as well
                if not observer.is_done:
                    raise
    return experiment, observer.share


def go_on(config: ExperimentConfig, folder: Path, observer: UntilDone) -> Experiment:
    """Resume an expert's run, up to the config's iterations; the observer knows those that it keeps."""
    experiment = resume(folder, print, [observer])
    if experiment.iteration < config.iterations != experiment.config.iterations:
        experiment = resume(folder, print, [observer], iterations=config.iterations)
    # a kill leaves rows of iterations that are done again
    kept = (row for row in read_metrics(folder) if row["iteration"] <= experiment.iteration)
    observer.solved = [float(row["train/success/step_0"]) for row in kept]
    return experiment


if __name__ == "__main__":
    run(main, "Stopped; the same command goes on.")
