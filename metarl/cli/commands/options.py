"""Options of ``metarl train``, parsed before heavy imports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from metarl.cli.commands.agent_option import split_agent
from metarl.config import ExperimentConfig
from metarl.plugins import entry_points, registry
from metarl.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ResumeArguments(Settings):
    """Resume a stopped run exactly where a checkpoint left it."""

    resume: Path
    """Folder of the run, to resume from its newest whole checkpoint; or of one of its checkpoints,
    RUN/checkpoints/40, to resume from there: later checkpoints are deleted."""
    iterations: Annotated[int, Ge(1)] | None = None
    """Train to this iteration instead of the one that the run was started with."""
    device: str | None = None
    """Compute there from now on; on another device the numbers differ in their last digits."""


def configured(preset: str, options: Sequence[str], prog: str) -> ExperimentConfig:
    """Return a preset's config, changed by the options."""
    agent, settings = split_agent(options)
    default = registry.configure(preset, agent)
    about = f"The suite {preset} with every setting's default."
    if preset in entry_points.names(entry_points.PRESETS):
        about = str(registry.preset(preset).__doc__)
    known = ", ".join(entry_points.names(entry_points.AGENTS))
    about += f"\n\n--agent NAME takes another agent: {known}; or one of your own, my_file.py:MyConfig."
    return tyro.cli(ExperimentConfig, default=default, args=settings, prog=prog, description=about)
