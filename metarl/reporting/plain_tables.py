"""Look of tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table


def plain_table(title: str, caption: str = "") -> Table:
    """Return an empty table, without columns, in the common look."""
    return Table(
        title=title,
        caption=caption or None,
        min_width=max(len(line) for line in (title, *caption.splitlines())),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )


def list_table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Return a table of names with their descriptions."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column(no_wrap=True, min_width=9)
    table.add_column()
    for name, about in rows:
        table.add_row(name, about)
    return table
