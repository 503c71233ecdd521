"""Option ``--agent``, parsed before all others, as it decides which there are."""

from __future__ import annotations

from collections.abc import Sequence

from metarl.errors import MetarlError
from metarl.plugins import entry_points


def split_agent(options: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take ``--agent NAME|FILE.py:NAME`` out of the options; MetarlError if no name follows."""
    agent, rest, words = None, [], iter(options)
    for word in words:
        if word != "--agent" and not word.startswith("--agent="):
            rest.append(word)
            continue
        agent = word.partition("=")[2] or next(words, "")
        if not agent or agent.startswith("-"):
            known = ", ".join(entry_points.names(entry_points.AGENTS))
            raise MetarlError(f"--agent needs the name of an agent, one of {known}, or my_file.py:MyConfig.")
    return agent, rest
