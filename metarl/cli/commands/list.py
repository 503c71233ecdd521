"""``metarl list``: what there is to train on, to train, and to start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tyro

from metarl.cli.console import console, describe_entry
from metarl.plugins import registry
from metarl.reporting.tables import list_table


def list_command(arguments: list[str]) -> None:
    """List the suites, agents and presets that there are."""
    tyro.cli(ListArguments, args=arguments, prog="metarl list")
    for group, find in LISTS.items():
        rows = [(name, describe_entry(find, name)) for name in registry.names(f"metarl.{group}")]
        console.print(list_table(group, rows))


@dataclass(frozen=True)
class ListArguments:
    """List the suites, agents and presets that there are."""


LISTS: dict[str, Callable[[str], object]] = {
    "presets": registry.preset,
    "suites": registry.suite,
    "agents": registry.agent,
}
