"""Agents in Python files, ``my_file.py:MyConfig``, without a package.

The name stands for a class that inherits from :class:`metarl.config.AgentConfig`. A run records where the
file is and its sums beside the agent's settings, so that the run can be opened again.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, make_dataclass
from functools import cache
from typing import Annotated, cast

import torch
import tyro

from metarl.config import AgentConfig, SamplingConfig
from metarl.errors import AgentFormError, MetarlError, Stopped
from metarl.meta_learner import MetaLearner
from metarl.plugins.user_files import Sums, UserFile, at_fault, require_parts
from metarl.plugins.user_modules import line_of
from metarl.tasks import TaskDistribution
from metarl.text import shown
from metarl.types import Json

FILE, SHA256, MODULES = "agent_file", "agent_sha256", "agent_modules"
"""Names of the recorded settings about the file."""


def file_agent(place: str) -> type[AgentConfig]:
    """Return the config class of a file's agent, which records its file.

    Raises:
        MetarlError: if the file is gone, does not run, or holds no config of an agent by that name.
    """
    file = UserFile.at(place, "agent")
    sums, where = file.sums(), f"{file.name!r} of {file.path}"
    return file.find(lambda found: _recorded(file, config_class(found, where), sums))


def place_of(settings: Json) -> str | None:
    """Return the file of settings' agent, if any."""
    place = settings.get(FILE) if isinstance(settings, Mapping) else None
    return str(place) if place else None


def file_of(config: object) -> str:
    """Return the file that a config comes from, empty if none."""
    return str(getattr(config, FILE, ""))


@contextmanager
def naming_file(config: AgentConfig) -> Iterator[None]:
    """Name a file's agent in its exceptions.

    The traceback is a note of the error. Exceptions of other agents pass.

    Raises:
        MetarlError: instead of the exception; names the file and the line.
    """
    place, check = file_of(config), "Try its methods one by one: metarl check --agent"
    try:
        yield
    except AgentFormError as error:
        if not place:
            raise
        raise MetarlError(f"{error} {check} {place}.") from error
    except (MetarlError, Stopped, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        if not place:
            raise
        wrong = at_fault(error, f"The agent of {place} fails")
        if not line_of(error):  # what a method returned is of no use, perhaps
            wrong = MetarlError(f"{wrong} {check} {place}.")
        wrong.add_note("".join(traceback.format_exception(error)))
        raise wrong from error


def config_class(found: object, where: str) -> type[AgentConfig]:
    """Check that something is an agent's config class."""
    if not inspect.isclass(found) or not issubclass(found, AgentConfig):
        kind = f"the class {found.__name__}" if inspect.isclass(found) else f"of type {type(found).__name__}"
        raise MetarlError(
            f"Expected {where} to be a config class of an agent, but it is {kind}; "
            "inherit from metarl.config.AgentConfig or from an agent's config."
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise MetarlError(f"Expected {where} to be a config that builds an agent, but it has no {missing}.")
    # annotations that the dataclass decorator of the base class has not turned into settings
    unseen = [name for name, hint in inspect.get_annotations(found).items() if "ClassVar" not in str(hint)]
    if unseen and "__dataclass_fields__" not in vars(found):
        raise MetarlError(
            f"Expected {where} to be a dataclass, as it has the setting {unseen[0]}, but it is a plain "
            "class; write @dataclass(frozen=True, kw_only=True) above it."
        )
    name: object = vars(found).get("kind", found.__name__)
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise MetarlError(
            f"Expected the kind of {where} to be a text that a folder can be called by, got {shown(name)}."
        )
    return found


@cache
def _recorded(file: UserFile, found: type[AgentConfig], sums: Sums) -> type[AgentConfig]:
    """Derive a config class that records its file from the user's own."""

    def build(
        self: AgentConfig,
        suite: TaskDistribution,
        *,
        seed: int,
        device: torch.device,
        sampling: SamplingConfig,
    ) -> MetaLearner:
        recorded = Sums(str(getattr(self, SHA256)), tuple(getattr(self, MODULES)))
        file.tell_changes(recorded)
        try:
            agent = found.build(self, suite, seed=seed, device=device, sampling=sampling)
        except (Exception, SystemExit) as error:
            raise at_fault(error, f"The agent of {file.place} fails when it is built") from error
        where = f"the result of {file.place}.build"
        require_parts(agent, MetaLearner, "an agent", where, "see metarl.meta_learner")
        return agent

    def check(self: AgentConfig) -> None:
        try:
            found.__post_init__(self)
        except (Exception, SystemExit) as error:
            raise at_fault(error, f"The settings of {file.place} cannot be checked") from error

    hidden = tyro.conf.Suppress
    made = make_dataclass(
        found.__name__,
        [
            (FILE, Annotated[str, hidden], field(default=file.place)),
            (SHA256, Annotated[str, hidden], field(default=sums.sha256)),
            (MODULES, Annotated[tuple[str, ...], hidden], field(default=sums.modules)),
        ],
        bases=(found,),
        namespace={
            "__doc__": found.__doc__,
            "__post_init__": check,
            "build": build,
            "kind": vars(found).get("kind", found.__name__),
            "source": getattr(found, "source", ""),
        },
        frozen=True,
        kw_only=True,
    )
    made.__module__ = found.__module__  # where its hints are read
    return cast("type[AgentConfig]", made)
