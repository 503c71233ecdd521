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
    """Suite that the agent is tried on.
    By name or as my_file.py:my_distribution; by default the point suite with short episodes."""


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
    told = set[str]()
    unsaid = dict[str, list[str]]()  # claims that stay open for a stated reason

    def tell(result: Result) -> None:
        """Say how a claim went; those that stay open for a known reason come at the end."""
        if result.verdict == "open" and result.seen in told:
            unsaid.setdefault(result.seen, []).append(result.claim)
            return
        say(str(result))
        told.add(result.seen)

    with console.status("Trying."):
        results = check_agent(wanted.agent, suite, tell)
    for reason, claims in unsaid.items():
        named = f" ({reason})" if len(told - {""}) > 1 else ""
        say(f"open  {count(len(claims), 'more promise')}, for the same reason{named}:")
        for claim in claims:
            say(f"      {claim}.")
    failed, open_ones = (sum(result.verdict == word for result in results) for word in ("FAIL", "open"))
    rest = f", {count(open_ones, 'promise')} could not be judged" if open_ones else ""
    if failed:
        say(f"{wanted.agent.kind} breaks {failed} of {count(len(results), 'promise')}{rest}.")
        sys.exit(1)
    say(f"{wanted.agent.kind} keeps every promise that was tried{rest}.")


def require_built(config: AgentConfig, suite: TaskDistribution) -> None:
    """Raise the agent's refusal of a suite; claims tell other errors."""
    try:
        AgentProbe(config, suite).build()
    except MetarlError:
        raise
    except Exception:  # noqa: BLE001 - each claim that needs the agent says what it was
        return
