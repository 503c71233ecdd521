"""What there is by name: suites, agents, presets and commands, found through entry points.

A package adds its own by declaring them in its pyproject.toml, just as this one does:

    [project.entry-points."metarl.suites"]
    my-suite = "my_package.my_module:MySuiteConfig"
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeAlias, cast

from metarl.config import AgentConfig, ExperimentConfig, SuiteConfig, from_json
from metarl.errors import MetarlError, unknown_name
from metarl.types import Json

Preset: TypeAlias = Callable[..., ExperimentConfig]
Command: TypeAlias = Callable[[list[str]], None]

SUITES, AGENTS, PRESETS, COMMANDS = "metarl.suites", "metarl.agents", "metarl.presets", "metarl.commands"


def names(group: str) -> list[str]:
    """Return the names that a group offers, sorted."""
    return sorted(_entries(group))


def suite(name: str) -> type[SuiteConfig]:
    """Return a suite's config class.

    Raises:
        MetarlError: if there is none of that name, or its package does not load.
    """
    return cast("type[SuiteConfig]", _load(SUITES, "suite", name))


def agent(name: str) -> type[AgentConfig]:
    """Return an agent's config class.

    Raises:
        MetarlError: if there is none of that name, or its package does not load.
    """
    return cast("type[AgentConfig]", _load(AGENTS, "agent", name))


def preset(name: str) -> Preset:
    """Return the function that makes a preset's config.

    Raises:
        MetarlError: if there is none of that name, or its package does not load.
    """
    return cast("Preset", _load(PRESETS, "preset", name))


def configure(name: str, agent_name: str | None = None) -> ExperimentConfig:
    """Return a preset's config, with the preset's own agent or another.

    Raises:
        MetarlError: if there is no preset or no agent of that name, if its package does not load, or if the
            preset has no argument ``agent``.
    """
    make = preset(name)
    if agent_name is None:
        return make()
    agent(agent_name)  # so that a slip gets the nearest name, whatever the preset does with it
    if "agent" not in inspect.signature(make).parameters:
        raise MetarlError(f"The preset {name!r} has an agent of its own and takes no --agent {agent_name}.")
    return make(agent=agent_name)


def command(name: str) -> Command:
    """Return the function that runs a command with the arguments after its name.

    Raises:
        MetarlError: if there is none of that name, or its package does not load.
    """
    return cast("Command", _load(COMMANDS, "command", name))


def config_from_json(data: Mapping[str, Json]) -> ExperimentConfig:
    """Return the config of a run from its JSON.

    Raises:
        MetarlError: on a suite, an agent or a setting that is not known, or a value out of range.
    """
    return from_json(data, suite, agent)


def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _load(group: str, kind: str, name: str) -> object:
    entries = _entries(group)
    if name not in entries:
        raise unknown_name(kind, name, entries)
    try:
        return cast("object", entries[name].load())
    except (ImportError, AttributeError) as error:
        reason = f"{str(error).rstrip('.')}.{_about_opengl()}"
        raise MetarlError(f"The {kind} {name!r} ({entries[name].value}) does not load: {reason}") from error


def _about_opengl() -> str:
    """Say what MuJoCo may miss: it looks for a library to draw with as soon as it is imported."""
    library = os.environ.get("MUJOCO_GL", "").lower()
    packages = {"osmesa": "libosmesa6", "egl": "libegl1 libgl1-mesa-dri"}
    if library not in packages:
        return ""
    return f" MUJOCO_GL={library} needs a library that may be missing (apt install {packages[library]})."
