"""``metarl check``: check promises of suites and agents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated

import tyro

from metarl.action_map import describe_actions, hardly_covered
from metarl.cli.commands.agent_option import split_agent
from metarl.cli.commands.options import parse_settings
from metarl.cli.console import console, say
from metarl.config import SuiteConfig
from metarl.errors import MetarlError
from metarl.plugins import entry_points, registry
from metarl.plugins.suite_check import examine
from metarl.plugins.suite_findings import Findings


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """Try a task distribution out as training would use it, and tell every fault and how to mend it.

    It also says what becomes of a policy's actions: of an environment of your own they are clipped to its
    action space, and rescaled from -1..1 where its bounds differ and are finite. The setting actions="clip"
    or "raw" of from_gymnasium and from_vector_env changes that.

    The last line and the exit code tell three cases apart. "keeps every promise" (exit code 0): nothing was
    found. "has no fault, but 1 question is open" (0): the check could not tell, such as whether tasks differ
    under a sparse reward; the line that begins with "Open" says why. "has 1 fault" (2): something is wrong.
    """

    suite: Annotated[SuiteConfig, tyro.conf.arg(name="")]
    """Distribution; a registered suite's settings are options."""


def check_command(arguments: list[str]) -> None:
    """Check that a suite or an agent keeps its promises: metarl check SUITE, metarl check --agent AGENT."""
    agent, rest = split_agent(arguments)
    if agent is not None:
        from metarl.cli.commands.check_agent import check_agent_command  # noqa: PLC0415  # start-up time

        check_agent_command(agent, rest)
        return
    if not arguments or arguments[0].startswith("-"):
        known = ", ".join(entry_points.names(entry_points.SUITES))
        if {"-h", "--help"} & set(arguments):
            say("usage: metarl check SUITE|FILE.py:NAME [OPTIONS]")
            say("       metarl check --agent AGENT|FILE.py:CONFIG [--suite SUITE|FILE.py:NAME] [OPTIONS]\n")
            say(f"{cleandoc(CheckArguments.__doc__ or '')}\n\nSuites: {known}.")
            return
        raise MetarlError(
            f"metarl check needs a suite, one of {known}, or my_file.py:my_distribution; or --agent AGENT."
        )
    # options of a registered suite are its settings
    name, *options = arguments
    default = CheckArguments(suite=registry.suite_named(name))
    wanted = parse_settings(default, options, f"metarl check {name}")
    suite = wanted.suite.build()
    # say what the environment gets of a policy's actions, which users often overlook
    about = describe_actions(suite.action_space, suite)
    say(f"Checking {suite.name}: episodes of {suite.horizon} steps; {about}.")
    for note in hardly_covered(suite.action_space, suite):
        say(note)
    with console.status("") as status:
        findings = examine(suite, lambda part: status.update(f"Looking at: {part}."))
    for number, fault in enumerate(findings.faults, start=1):
        say(f"Fault {number}: {fault}")
    for number, doubt in enumerate(findings.doubts, start=1):
        say(f"Open {number}: {doubt}")
    for limit in findings.limits:
        say(f"Note: {limit}")
    if findings.faults:
        raise MetarlError(f"{suite.name} has {_count('fault', findings.faults)}{_open(findings, 'and')}.")
    if findings.doubts:
        say(f"{suite.name} has no fault{_open(findings, 'but')}.")
    else:
        extent = ", as far as it was looked at" if findings.limits else ""
        say(f"{suite.name} keeps every promise{extent}.")


def _count(word: str, things: Sequence[object]) -> str:
    return f"{len(things)} {word}{'s' * (len(things) > 1)}"


def _open(findings: Findings, joined: str) -> str:
    """Count the questions that found no answer."""
    if not findings.doubts:
        return ""
    verb = "is" if len(findings.doubts) == 1 else "are"
    return f", {joined} {_count('question', findings.doubts)} {verb} open"
