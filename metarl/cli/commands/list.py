"""``metarl list``: suites, agents and presets."""

from __future__ import annotations

from dataclasses import dataclass

from metarl.cli.console import console
from metarl.plugins import entry_points
from metarl.reporting.plain_tables import list_table

GROUPS = (entry_points.PRESETS, entry_points.SUITES, entry_points.AGENTS)


@dataclass(frozen=True)
class ListArguments:
    """List the suites, agents and presets that there are."""


def list_command(arguments: list[str]) -> None:
    """List the suites, agents and presets that there are."""
    if arguments:
        import tyro  # noqa: PLC0415  # start-up time

        tyro.cli(ListArguments, args=arguments, prog="metarl list")
    for group in GROUPS:
        rows = [(name, entry_points.describe(group, name)) for name in entry_points.names(group)]
        console.print(list_table(group.removeprefix("metarl."), rows))
