"""Registry of suites, agents, presets and commands, found by name through entry points.

A package adds its own by declaring them in its pyproject.toml, just as this one does:

    [project.entry-points."metarl.suites"]
    my-suite = "my_package.my_module:MySuiteConfig"

A suite may be a task distribution itself, too, or a function without arguments that returns one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, cast

from metarl.config import AgentConfig, ExperimentConfig, SuiteConfig, construct, from_json
from metarl.errors import MetarlError
from metarl.plugins.agent_files import file_agent, place_of
from metarl.plugins.entry_points import AGENTS, PRESETS, SUITES, load, names
from metarl.plugins.suite_files import distribution_of, file_suite
from metarl.plugins.user_files import is_place
from metarl.tasks import TaskDistribution
from metarl.types import Json

Preset: TypeAlias = Callable[..., ExperimentConfig]

DEFAULT_AGENT = "maml-trpo"


def suite(name: str) -> type[SuiteConfig]:
    """Return a suite's config class; a suite published without one gets one without settings.

    Raises:
        MetarlError: if there is none of that name, or its package does not load.
    """
    found = load(SUITES, name)
    if inspect.isclass(found) and issubclass(found, SuiteConfig):
        return found
    return _published(name, found)


def suite_named(name: str) -> SuiteConfig:
    """Return a suite with its default settings, by name or place ``my_file.py:my_distribution``.

    Raises:
        MetarlError: if there is none, or its package or its file does not load.
    """
    return file_suite(name) if is_place(name) else construct(suite(name), {})


def agent(name: str) -> type[AgentConfig]:
    """Return an agent's config class, by name or place ``my_file.py:MyConfig``.

    Raises:
        MetarlError: if there is none, or its package or its file does not load.
    """
    return file_agent(name) if is_place(name) else cast("type[AgentConfig]", load(AGENTS, name))


def preset(name: str) -> Preset:
    """Return the function that makes a preset's config.

    Raises:
        MetarlError: if there is none of that name, or its package does not load.
    """
    return cast("Preset", load(PRESETS, name))


def configure(name: str, agent_name: str | None = None) -> ExperimentConfig:
    """Return a preset's config, with any agent instead of the preset's own.

    A suite without a preset, or one in a file, is trained on with every setting's default.

    Raises:
        MetarlError: if there is no preset or no agent of that name, if its package does not load, or if the
            preset has no argument ``agent``.
    """
    if is_place(name) or (name in names(SUITES) and name not in names(PRESETS)):
        chosen = agent(agent_name or DEFAULT_AGENT)
        return ExperimentConfig(suite=suite_named(name), agent=construct(chosen, {}))
    make = preset(name)
    if agent_name is None:
        return make()
    agent(agent_name)  # so that a slip gets the nearest name, whatever the preset does with it
    if "agent" not in inspect.signature(make).parameters:
        raise MetarlError(f"The preset {name!r} has an agent of its own and takes no --agent {agent_name}.")
    return make(agent=agent_name)


def config_from_json(data: Mapping[str, Json]) -> ExperimentConfig:
    """Rebuild a run's config from its JSON.

    Raises:
        MetarlError: on a suite, an agent or a setting that is not known, or a value out of range.
    """
    place = place_of(data.get("agent"))
    return from_json(data, suite, lambda kind: agent(place or kind))


def same_class(one: type, other: type) -> bool:
    """Return whether two config classes stand for one, as a script's does for its module's."""
    if one is other:
        return True
    published = getattr(one, "published_object", None)
    if published is not None:
        return published is getattr(other, "published_object", None)
    return one.__module__ == "__main__" and one.__qualname__ == other.__qualname__ and _same_file(one, other)


def _same_file(one: type, other: type) -> bool:
    try:
        return inspect.getfile(one) == inspect.getfile(other)
    except (TypeError, OSError):  # a notebook has no file
        return False


def _published(name: str, found: object) -> type[SuiteConfig]:
    """Return a config class for a distribution, or for a function that returns one."""

    @dataclass(frozen=True, kw_only=True)
    class Published(SuiteConfig):
        kind: ClassVar[str] = name
        published_object: ClassVar[object] = found

        def build(self) -> TaskDistribution:
            return distribution_of(found, f"the suite {name!r}")

    documented = inspect.isfunction(found) or inspect.isclass(found)
    Published.__doc__ = (inspect.getdoc(found) if documented else None) or "A task distribution."
    return Published
