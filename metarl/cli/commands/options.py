"""Options of ``metarl train``, parsed before heavy imports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro
from annotated_types import Ge
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

from metarl.cli.commands.agent_option import split_agent
from metarl.config import ExperimentConfig
from metarl.plugins import entry_points, registry
from metarl.settings import Settings, setting_names

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
    """Train to this iteration instead of the run's."""
    device: str | None = None
    """Compute there from now on.
    On another device the numbers differ in their last digits."""


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
    """Return settings changed by options; what a config computes (``init=False``) has none."""
    return tyro.cli(
        type(default), default=default, args=options, prog=prog, description=description, registry=_RULES
    )


_RULES = ConstructorRegistry()
_TYROS_OWN = object()  # marks what tyro's own rule is asked for


@_RULES.struct_rule
def _without_computed(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Leave out the fields that a config computes, which tyro would take for options and set last."""
    if _TYROS_OWN in info.markers or not isinstance(info.default, Settings):
        return None
    found = ConstructorRegistry.get_struct_spec(replace(info, markers=(*info.markers, _TYROS_OWN)))
    if not isinstance(found, StructConstructorSpec):
        return None
    names = setting_names(info.default)
    return replace(found, fields=tuple(item for item in found.fields if item.name in names))
