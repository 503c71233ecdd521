"""``metarl list``: suites, agents, presets and loggers."""

from __future__ import annotations

from typing import Literal

from metarl.cli.console import print_names
from metarl.plugins import entry_points

Kind = Literal["presets", "suites", "agents", "loggers"]


def chosen(kind: Kind | None = None, /) -> Kind | None:
    """List suites, agents, presets and loggers, or one kind of them.

    Args:
        kind: which kind; by default all.
    """
    return kind


def list_command(arguments: list[str]) -> None:
    """List suites, agents, presets and loggers."""
    kind: Kind | None = None
    if arguments:
        import tyro  # noqa: PLC0415  # start-up time

        kind = tyro.cli(chosen, args=arguments, prog="metarl list")
    groups = (entry_points.PRESETS, entry_points.SUITES, entry_points.AGENTS, entry_points.LOGGERS)
    for group in groups if kind is None else [f"metarl.{kind}"]:
        print_names(group)
