"""``metarl check``: does a task distribution keep its promises, and what is to be done where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from metarl import registry
from metarl.config import SuiteConfig
from metarl.console import console, say
from metarl.errors import MetarlError
from metarl.suite_check import examine
from metarl.suite_findings import Findings


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """Try a task distribution out as training would use it, and tell every fault and how to mend it."""

    suite: Annotated[SuiteConfig, tyro.conf.arg(name="")]
    """The distribution; a registered suite has its settings as options."""


def check_command(arguments: list[str]) -> None:
    """Check that a task distribution keeps its promises: metarl check SUITE or my_file.py:my_distribution."""
    if not arguments or arguments[0].startswith("-"):
        known = ", ".join(registry.names(registry.SUITES))
        if {"-h", "--help"} & set(arguments):
            say("usage: metarl check SUITE|FILE.py:NAME [OPTIONS]\n")
            say(f"{CheckArguments.__doc__}\n\nSuites: {known}.")
            return
        raise MetarlError(f"metarl check needs a suite, one of {known}, or my_file.py:my_distribution.")
    name, *options = arguments
    default = CheckArguments(suite=registry.suite_named(name))
    wanted = tyro.cli(CheckArguments, default=default, args=options, prog=f"metarl check {name}")
    suite = wanted.suite.build()
    say(f"Checking {suite.name}: episodes of {suite.horizon} steps, actions from {suite.action_space}.")
    with console.status("") as status:
        findings = examine(suite, lambda part: status.update(f"looking whether it {part}"))
    for number, fault in enumerate(findings.faults, start=1):
        say(f"Fault {number}: {fault}")
    for doubt in findings.doubts:
        say(str(doubt))
    for limit in findings.limits:
        say(f"Not looked at: {limit}")
    count = len(findings.faults)
    if count:
        raise MetarlError(f"{suite.name} has {count} fault{'s' * (count > 1)}{_open(findings)}.")
    kept = "no fault was found" if findings.doubts else "keeps every promise"
    say(f"{suite.name}: {kept}{_open(findings)}." if findings.doubts else f"{suite.name} {kept}.")


def _open(findings: Findings) -> str:
    """Say how many questions are open."""
    count = len(findings.doubts)
    return f", and {count} question{'s' * (count > 1)} could not be told" if count else ""
