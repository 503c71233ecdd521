"""``metarl list``: suites, agents and presets."""

from __future__ import annotations

from dataclasses import dataclass

from metarl.cli.console import print_names
from metarl.plugins import entry_points


@dataclass(frozen=True)
class ListArguments:
    """List the suites, agents and presets that there are."""


def list_command(arguments: list[str]) -> None:
    """List the suites, agents and presets that there are."""
    if arguments:
        import tyro  # noqa: PLC0415  # start-up time

        tyro.cli(ListArguments, args=arguments, prog="metarl list")
    for group in (entry_points.PRESETS, entry_points.SUITES, entry_points.AGENTS):
        print_names(group)
