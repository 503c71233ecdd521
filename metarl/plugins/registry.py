"""Registry of suites, agents, presets and commands, found by name through entry points.

A package adds its own by declaring them in its pyproject.toml, just as this one does:

    [project.entry-points."metarl.suites"]
    my-suite = "my_package.my_module:MySuiteConfig"

A suite may be a task distribution itself, too, or a function without arguments that returns one. An unknown
name, or a package or file that does not load, raises MetarlError.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, TypeAlias, cast

from metarl.config import AgentConfig, ExperimentConfig, SuiteConfig, construct, from_json
from metarl.errors import MetarlError
from metarl.plugins.agent_files import config_class, file_agent, file_of, place_of
from metarl.plugins.entry_points import AGENTS, KINDS, PRESETS, SUITES, load, names
from metarl.plugins.suite_files import distribution_of, file_suite
from metarl.plugins.user_files import at_fault, is_place
from metarl.tasks import TaskDistribution
from metarl.text import shown
from metarl.types import Json

Preset: TypeAlias = Callable[..., ExperimentConfig]

DEFAULT_AGENT = "maml-trpo"


def suite(name: str) -> type[SuiteConfig]:
    """Return a suite's config class, without settings if it has none."""
    found = load(SUITES, name)
    if inspect.isclass(found) and issubclass(found, SuiteConfig):
        _check_kind(SUITES, name, found)
        return found
    return _published(name, found)


def suite_named(name: str) -> SuiteConfig:
    """Return a suite with its default settings, by name or place ``my_file.py:my_distribution``."""
    return file_suite(name) if is_place(name) else construct(suite(name), {})


def agent(name: str) -> type[AgentConfig]:
    """Return an agent's config by name or file."""
    if is_place(name):
        return file_agent(name)
    found = config_class(load(AGENTS, name), f"the agent {name!r}")
    _check_kind(AGENTS, name, found)
    return found


def _check_kind(group: str, name: str, found: type[AgentConfig] | type[SuiteConfig]) -> None:
    """Check that a run, which records the kind, is found again; MetarlError if it is not the name."""
    kind: object = getattr(found, "kind", None)
    if kind != name:
        raise MetarlError(
            f"Expected the kind of {found.__name__} to be its name as {KINDS[group]}, {name!r}, got "
            f"{shown(kind)}."
        )


def preset(name: str) -> Preset:
    """Return the function that makes a preset's config."""
    return cast("Preset", load(PRESETS, name))


def configure(name: str, agent_name: str | AgentConfig | None = None) -> ExperimentConfig:
    """Return a preset's config, with any agent instead of the preset's own.

    A suite without a preset, or one in a file, is trained on with every setting's default. An agent's config
    takes the place of the preset's settings for an agent of its kind; the others are as for its name.

    Raises:
        MetarlError: if a name is not known, its package does not load, or the preset takes no ``agent``.
    """
    if not isinstance(name, str):
        raise MetarlError(f"Expected a preset's or a suite's name, got {shown(name)}.")
    if isinstance(agent_name, AgentConfig):
        return replace(configure(name, name_of(agent_name)), agent=agent_name)
    if is_place(name) or (name in names(SUITES) and name not in names(PRESETS)):
        chosen = agent(agent_name or DEFAULT_AGENT)
        return ExperimentConfig(suite=suite_named(name), agent=construct(chosen, {}))
    make = preset(name)
    if agent_name is None:
        return _made(name, make)
    agent(agent_name)  # so that a slip gets the nearest name, whatever the preset does with it
    if "agent" not in inspect.signature(make).parameters:
        raise MetarlError(f"The preset {name!r} has an agent of its own and takes no --agent {agent_name}.")
    return _made(name, partial(make, agent=agent_name))


def name_of(config: AgentConfig) -> str:
    """Return the name or the place that finds an agent's config class."""
    return file_of(config) or config.kind


def _made(name: str, make: Callable[[], object]) -> ExperimentConfig:
    """Call a preset; MetarlError if it fails or returns something else."""
    try:
        found = make()
    except (Exception, SystemExit) as error:
        raise at_fault(error, f"The preset {name!r} fails") from error
    if not isinstance(found, ExperimentConfig):
        raise MetarlError(f"Expected an ExperimentConfig of the preset {name!r}, got {type(found).__name__}.")
    return found


def config_from_json(data: Mapping[str, Json]) -> ExperimentConfig:
    """Rebuild a run's config; MetarlError if anything is unknown."""
    place = place_of(data.get("agent"))
    return from_json(data, suite, lambda kind: agent(place or kind))


def same_class(one: type, other: type) -> bool:
    """Return whether two config classes stand for one, as in scripts."""
    if one is other:
        return True
    # a suite published without a config gets a new class each time
    published = getattr(one, "published_object", None)
    if published is not None:
        return published is getattr(other, "published_object", None)
    with suppress(TypeError, OSError):  # a notebook has no file
        same_name = one.__module__ == "__main__" and one.__qualname__ == other.__qualname__
        return same_name and inspect.getfile(one) == inspect.getfile(other)
    return False


def _published(name: str, found: object) -> type[SuiteConfig]:
    """Return a config class for a published distribution or function."""

    @dataclass(frozen=True, kw_only=True)
    class Published(SuiteConfig):
        kind: ClassVar[str] = name
        published_object: ClassVar[object] = found

        def build(self) -> TaskDistribution:
            return distribution_of(found, f"the suite {name!r}")

    documented = inspect.isfunction(found) or inspect.isclass(found)
    Published.__doc__ = (inspect.getdoc(found) if documented else None) or "A task distribution."
    return Published
