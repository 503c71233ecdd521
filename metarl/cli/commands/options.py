"""Options of ``metarl train``, parsed before heavy imports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro
from annotated_types import Ge

from metarl.cli.commands.agent_option import split_agent
from metarl.config import AgentConfig, ExperimentConfig, SuiteConfig
from metarl.errors import MetarlError
from metarl.plugins import entry_points, registry
from metarl.settings import Settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True, kw_only=True)
class ResumeArguments(Settings):
    """Resume a stopped run from a checkpoint, exactly."""

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
    return parse_settings(default, settings, prog, about)


def parse_settings(default: T, options: Sequence[str], prog: str, description: str | None = None) -> T:
    """Return settings changed by options.

    Raises:
        MetarlError: if an option is for what a config computes (``init=False``).
    """
    made = tyro.cli(type(default), default=default, args=options, prog=prog, description=description)
    return _computed(made, default)


def _computed(made: T, default: T) -> T:
    """Compute again what tyro takes for options and sets last, to the default's values if not given."""
    parts: dict[str, object] = {}
    for item in fields(made):
        value, before = getattr(made, item.name), getattr(default, item.name)
        if not item.init:
            if value != before:
                raise MetarlError(f"Expected no option for {item.name}, which is computed, got {value!r}.")
        elif isinstance(value, SuiteConfig | AgentConfig):
            parts[item.name] = _computed(value, before)
    return replace(made, **parts)
