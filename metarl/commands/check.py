"""``metarl check``: does a task distribution keep its promises, and what is to be done where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated

import tyro

from metarl import registry
from metarl.action_map import describe_actions, hardly_covered
from metarl.config import SuiteConfig
from metarl.console import say
from metarl.errors import MetarlError
from metarl.suite_check import check_suite


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """Try a task distribution out as training would use it, and tell every fault and how to mend it.

    It also says what becomes of a policy's actions: of an environment of your own they are clipped to its
    action space, and rescaled from -1..1 where its bounds differ and are finite. The setting actions="clip"
    or "raw" of from_gymnasium and from_vector_env changes that.
    """

    suite: Annotated[SuiteConfig, tyro.conf.arg(name="")]
    """The distribution; a registered suite has its settings as options."""


def check_command(arguments: list[str]) -> None:
    """Check that a task distribution keeps its promises: metarl check SUITE or my_file.py:my_distribution."""
    if not arguments or arguments[0].startswith("-"):
        known = ", ".join(registry.names(registry.SUITES))
        if {"-h", "--help"} & set(arguments):
            say("usage: metarl check SUITE|FILE.py:NAME [OPTIONS]\n")
            say(f"{cleandoc(CheckArguments.__doc__ or '')}\n\nSuites: {known}.")
            return
        raise MetarlError(f"metarl check needs a suite, one of {known}, or my_file.py:my_distribution.")
    name, *options = arguments
    default = CheckArguments(suite=registry.suite_named(name))
    wanted = tyro.cli(CheckArguments, default=default, args=options, prog=f"metarl check {name}")
    suite = wanted.suite.build()
    about = describe_actions(suite.action_space, suite)
    say(f"Checking {suite.name}: episodes of {suite.horizon} steps; {about}.")
    for note in hardly_covered(suite.action_space, suite):
        say(note)
    faults = check_suite(suite)
    for number, fault in enumerate(faults, start=1):
        say(f"{number}. {fault}")
    if faults:
        raise MetarlError(f"{suite.name} has {len(faults)} fault{'s' * (len(faults) > 1)}.")
    say(f"{suite.name} keeps every promise.")
