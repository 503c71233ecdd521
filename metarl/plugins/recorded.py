"""Configs of runs that are only read.

An agent or a suite that does not load any more is described by its recorded settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import make_dataclass
from typing import ClassVar, TypeVar, cast

import torch

from metarl.config import AgentConfig, ExperimentConfig, SamplingConfig, SuiteConfig, construct, from_json
from metarl.errors import MetarlError
from metarl.meta_learner import MetaLearner
from metarl.plugins import registry
from metarl.plugins.agent_files import place_of
from metarl.tasks import TaskDistribution
from metarl.types import Json

ConfigT = TypeVar("ConfigT", SuiteConfig, AgentConfig)


class _LostAgent(AgentConfig):
    """Settings of an agent that does not load."""

    source: ClassVar[str] = ""
    reason: ClassVar[str] = ""

    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> MetaLearner:
        """Refuse, with the reason."""
        raise MetarlError(self.reason)


class _LostSuite(SuiteConfig):
    """Settings of a suite that does not load."""

    reason: ClassVar[str] = ""

    def build(self) -> TaskDistribution:
        """Refuse, with the reason."""
        raise MetarlError(self.reason)


def config_of_results(data: Mapping[str, Json]) -> ExperimentConfig:
    """Rebuild a run's config to read its results.

    Building an agent or a suite that did not load raises the reason. A device that is not here does not
    matter.

    Raises:
        MetarlError: if the settings that all runs share are damaged.
    """
    place = place_of(data.get("agent"))

    def agent(kind: str) -> type[AgentConfig]:
        return _found(lambda: registry.agent(place or kind), _LostAgent, kind, data.get("agent"))

    def suite(kind: str) -> type[SuiteConfig]:
        return _found(lambda: registry.suite(kind), _LostSuite, kind, data.get("suite"))

    try:
        return from_json(data, suite, agent)
    except MetarlError:
        return from_json({**data, "device": "cpu"}, suite, agent)


def _found(
    find: Callable[[], type[ConfigT]], lost: type[ConfigT], kind: str, recorded: Json
) -> type[ConfigT]:
    """Return a config class, or recorded settings."""
    fields = recorded if isinstance(recorded, dict) else {}
    settings: dict[str, object] = {name: value for name, value in fields.items() if name != "kind"}
    try:
        found = find()
        construct(found, settings)  # a setting may be gone
    except MetarlError as error:
        try:
            made = make_dataclass(
                kind,
                [(name, object) for name in settings],
                bases=(lost,),
                namespace={"kind": kind, "reason": str(error)},
                frozen=True,
                kw_only=True,
            )
        except (TypeError, ValueError):  # names that are no settings
            raise error from None
        made.__module__ = __name__  # where its hints are read
        return cast("type[ConfigT]", made)
    return found
