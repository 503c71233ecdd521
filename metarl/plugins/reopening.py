"""Check that a run can be reopened.

A run is opened from its ``config.json``: the classes of its suite and its agent are found by their names in
the entry points, and built from the settings that are written there.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from metarl.config import (
    AgentConfig,
    CheckpointConfig,
    EvaluationConfig,
    ExperimentConfig,
    SamplingConfig,
    SuiteConfig,
    to_json,
)
from metarl.errors import MetarlError
from metarl.plugins import entry_points, registry
from metarl.plugins.agent_files import file_of
from metarl.settings import settings_of

PLAIN_SETTINGS = "use finite numbers, truth values, strings, or tuples of them"


def check_reopens(config: ExperimentConfig) -> None:
    """Raise MetarlError, with what to do, if a run cannot reopen."""
    if not isinstance(config, ExperimentConfig):
        raise MetarlError(
            f"Expected an ExperimentConfig, got {_described(config)}; a preset gives one when it is called."
        )
    _check_class("suite", entry_points.SUITES, config.suite, SuiteConfig)
    _check_class("agent", entry_points.AGENTS, config.agent, AgentConfig)
    sections = {"sampling": SamplingConfig, "evaluation": EvaluationConfig, "checkpoint": CheckpointConfig}
    for name, kind in sections.items():
        found: object = getattr(config, name)
        if not isinstance(found, kind):
            raise MetarlError(
                f"Expected the {name} of a run to be of type {kind.__name__}, got {_described(found)}."
            )
    parts = (config.suite, config.agent, config.sampling, config.evaluation, config.checkpoint)
    for each in parts:
        _check_json(each)
    try:
        # go the whole way there and back, as reopening does
        again = registry.config_from_json(json.loads(json.dumps(to_json(config))))
    except (TypeError, ValueError) as error:
        raise MetarlError(f"This run could never be opened again: {error}") from error
    reopened = (again.suite, again.agent, again.sampling, again.evaluation, again.checkpoint)
    for part, other in zip(parts, reopened, strict=True):
        others = settings_of(other)
        for name, value in settings_of(part).items():
            if not _same(value, others[name]):
                raise _lost(part, name, value)


def _check_class(part: str, group: str, found: object, base: type) -> None:
    """Check that an entry point gives this class."""
    if not isinstance(found, base):
        raise MetarlError(
            f"Expected the {part} of a run to be a {base.__name__}, got {_described(found)}; give an "
            f"instance of a class that inherits from metarl.config.{base.__name__}."
        )
    if part == "agent" and file_of(found):
        return  # found again by its file
    own, kind = type(found), getattr(found, "kind", None)
    if not isinstance(kind, str) or not kind:
        raise MetarlError(
            f"Expected the {part} class {own.__name__} to have a name, got none; give it kind = 'my-{part}', "
            f"and register it: {_how_to_register(group, f'my-{part}', own)}."
        )
    if kind not in entry_points.names(group):
        raise MetarlError(
            f"Expected the {part} class {own.__name__} to be registered, got no {part} called {kind!r}, so "
            f"the run could never be opened again; register it: {_how_to_register(group, kind, own)}."
        )
    registered = registry.suite(kind) if part == "suite" else registry.agent(kind)
    if not registry.same_class(own, registered):
        raise MetarlError(
            f"Expected the {part} {kind!r} to be a {registered.__name__}, which is registered by this name, "
            f"got {_place(own)}; give your class a kind of its own, and register it: "
            f"{_how_to_register(group, f'my-{part}', own)}."
        )


def _how_to_register(group: str, kind: str, own: type) -> str:
    in_a_file = ', or give it by its file, registry.agent("FILE.py:NAME")()'
    return (
        f'add {kind} = "{_place(own)}" to [project.entry-points."{group}"] in the pyproject.toml of your '
        f"package, and install it (pip install -e .){in_a_file if group == entry_points.AGENTS else ''}"
    )


def _place(own: type) -> str:
    """Return where a class is imported from."""
    module = own.__module__
    if module == "__main__":
        module = Path(getattr(sys.modules[module], "__file__", None) or "my_module.py").stem
    return f"{module}:{own.__name__}"


def _check_json(part: object) -> None:
    for name, value in settings_of(part).items():
        plain = value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            plain = dataclasses.asdict(value)
        try:
            json.dumps(plain, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise _lost(part, name, value) from error


def _lost(part: object, name: str, value: object) -> MetarlError:
    return MetarlError(
        f"Expected the setting {name} of {type(part).__name__} to be the same when it is read from JSON, so "
        f"that the run can be opened again, got {_described(value)}; {PLAIN_SETTINGS}."
    )


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _same(value: object, other: object) -> bool:
    """Compare settings; lists are tuples."""
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_same(value[key], other[key]) for key in value)
    return isinstance(value, type(other)) and value == other
