"""``metarl check --agent``: check an agent's promises, each in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import cleandoc

from metarl.cli.commands.options import parse_settings
from metarl.cli.console import console, say
from metarl.config import AgentConfig, construct
from metarl.errors import MetarlError
from metarl.plugins import registry
from metarl.plugins.agent_check import Result, check_agent
from metarl.plugins.agent_probe import AgentProbe
from metarl.tasks import TaskDistribution
from metarl.text import count

SUITE = "point"
HORIZON = 8


@dataclass(frozen=True, kw_only=True)
class CheckAgentArguments:
    """Try an agent out as training would use it, and say of each promise whether it is kept.

    Each line is a promise: "pass", "FAIL" with what was seen instead, or "open" with why it cannot be judged.
    The exit code is 1 if any failed, or else 0.
    """

    agent: AgentConfig
    """The agent; its settings are options, so that a small network can be tried."""
    suite: str = SUITE
    """Suite that the agent is tried on, by name or as my_file.py:my_distribution; by default the point suite
    with short episodes."""


def check_agent_command(name: str, arguments: Sequence[str]) -> None:
    """Check that an agent keeps its promises: metarl check --agent AGENT or my_file.py:MyConfig."""
    default = CheckAgentArguments(agent=construct(registry.agent(name), {}))
    about, prog = cleandoc(CheckAgentArguments.__doc__ or ""), f"metarl check --agent {name}"
    wanted = parse_settings(default, arguments, prog, about)
    # short episodes by default: a check must not take minutes
    if wanted.suite == SUITE:
        chosen = construct(registry.suite(SUITE), {"horizon": HORIZON, "terminate_at_goal": True})
    else:
        chosen = registry.suite_named(wanted.suite)
    suite = chosen.build()
    require_built(wanted.agent, suite)
    say(f"Checking {wanted.agent.kind} on {suite.name}, episodes of {suite.horizon} steps.")
    told = ""

    def tell(result: Result) -> None:
        """Say how a claim went, and the reason unless it is that of the last one that failed."""
        nonlocal told
        again = result.seen == told != ""
        say(str(result._replace(seen="the same") if again else result))
        told = result.seen or told

    with console.status("Trying."):
        results = check_agent(wanted.agent, suite, tell)
    failed = sum(result.verdict == "FAIL" for result in results)
    if failed:
        say(f"{wanted.agent.kind} breaks {failed} of {count(len(results), 'promise')}.")
        sys.exit(1)
    open_ones = sum(result.verdict == "open" for result in results)
    rest = f", {count(open_ones, 'promise')} could not be judged" if open_ones else ""
    say(f"{wanted.agent.kind} keeps every promise that was tried{rest}.")


def require_built(config: AgentConfig, suite: TaskDistribution) -> None:
    """Raise the agent's refusal of a suite; claims tell other errors."""
    try:
        AgentProbe(config, suite).build()
    except MetarlError:
        raise
    except Exception:  # noqa: BLE001 - each claim that needs the agent says what it was
        return
