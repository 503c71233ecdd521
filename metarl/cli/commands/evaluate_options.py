"""Options of ``metarl evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Le

from metarl.cli.commands.options import parse_settings
from metarl.config import MeasurementConfig, SuiteConfig
from metarl.errors import MetarlError
from metarl.evaluation.episode_curve import check_counts
from metarl.plugins import registry
from metarl.settings import Horizon, Seed, Workers
from metarl.training.transfer import with_setting


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(MeasurementConfig):
    """Measure a trained agent on tasks it was never trained on, before and after adapting to them."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, checkpoint or trained result.
    Of a run its newest whole checkpoint is taken."""
    tasks: Annotated[int, Ge(0)] = 0
    """Held-out tasks, evenly over families; 0 for all."""
    seed: Seed = 0
    """Seed of the evaluation, apart from the training's."""
    device: str = "cpu"
    """Where the policy and the adaptation compute."""
    workers: Workers = 0
    """Worker processes or threads; 0 uses every core."""
    engine: str = ""
    """Engine, such as "threads"; empty takes the training's."""
    task: tuple[str, ...] = ()
    """Ids of held-out tasks, instead of a number.
    A family's name takes the first of its tasks. With --suite ml1 it chooses the family, and takes all its
    tasks."""
    test_goals: Annotated[int, Ge(0), Le(10_000)] = 0
    """Held-out goals of each family, on Meta-World.
    0 takes as many as the run's own suite."""
    actions: Literal["", "drawn", "most-likely", "both"] = ""
    """Drawn actions, the most likely ones, or both.
    Empty leaves it to --deterministic."""
    references: bool = True
    """Also measure doing nothing and acting at random.
    On Meta-World; cached."""
    protocol: Literal["both", "per-goal", "official"] = "both"
    """Every task equally many episodes ("per-goal"), the evaluator that the suite's publisher ships
    ("official"), or both side by side, where there is one. Its returns never count a bonus for success."""
    episode_curve: tuple[int, ...] = ()
    """Measure also one adaptation step from these numbers of episodes: 1 2 5 10."""
    suite: str = ""
    """Another suite than that of the training.
    By its name or as my_file.py:my_distribution, with the same sizes of observations and actions. Its
    settings are options too: --suite ml1 --task push-v3."""
    horizon: Horizon | None = None
    """Steps of an episode, by default the suite's."""
    output: Path | None = None
    """Folder for the results; by default "evaluations" in the run's folder, or in a lone checkpoint's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.episode_curve:
            check_counts(self.episode_curve)


def parse(arguments: Sequence[str]) -> tuple[EvaluateArguments, SuiteConfig | None]:
    """Return the options, and the suite that they name, with its settings among them."""
    prog = "metarl evaluate"
    if not any(word.partition("=")[0] == "--suite" for word in arguments):
        return tyro.cli(EvaluateArguments, args=arguments, prog=prog), None
    options, settings = tyro.cli(EvaluateArguments, args=arguments, prog=prog, return_unknown_args=True)
    suite = registry.suite_named(options.suite)
    # prog is where the help has these settings
    suite = parse_settings(suite, settings, f"metarl check {options.suite}")
    if options.task and any(item.name == "task" for item in fields(suite)):
        family, *others = {name.partition("/")[0] for name in options.task}
        if others:
            raise MetarlError(f"Expected tasks of one family after --task, got {', '.join(options.task)}.")
        suite = with_setting(suite, "task", family)
        options = replace(options, task=tuple(name for name in options.task if "/" in name))
    return options, suite
