"""``metarl report``: one HTML file about runs and their adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli.commands.evaluate import says
from metarl.cli.console import console, say
from metarl.cli.progress import Progress
from metarl.errors import EngineError, MetarlError, Stopped, require
from metarl.reporting.html.page import render
from metarl.reporting.html.run_data import Group, gather
from metarl.reporting.html.videos import Choice, Pair, choose, film_pairs, open_first, steps_of
from metarl.reporting.video.record import View
from metarl.settings import Seed, Settings
from metarl.storage.files import check_writable, write_whole
from metarl.text import count

_PAGE_BYTES, _FILM_BYTES = 200_000, 1
"""Least size of a page, and of a film by pixels of its picture, roughly."""

OF_FILMS = ("tasks", "camera", "size", "seed")  # settings that nothing but films has


@dataclass(frozen=True, kw_only=True)
class ReportArguments(Settings):
    """Write one HTML file about runs of a suite: curves, tables, and videos before and after adapting.

    Runs that differ only in their seed are combined. The file holds all that it shows and opens without
    a network.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs that have been evaluated, or of sweeps."""
    output: Path | None = None
    """HTML file; by default the first run's report.html."""
    overwrite: bool = False
    """Replace a file that is there already."""
    tasks: tuple[str, ...] = ()
    """Held-out tasks to film, by id or family.
    By default those of the greatest, median and least gain."""
    videos: bool = True
    """Whether to film."""
    camera: str | None = None
    """Camera by name; by default the suite's choice."""
    size: int = 320
    """Pixels along a side of a video."""
    seed: Seed = 0
    """Seed of the filmed episodes, not the training's."""


def report_command(arguments: list[str]) -> None:
    """Write one HTML file about runs: curves, tables, and videos before and after adapting."""
    options = tyro.cli(ReportArguments, args=arguments, prog="metarl report")
    require(
        options.videos or not any(says(arguments, name) for name in OF_FILMS),
        "--tasks, --camera, --size and --seed choose what is filmed, so they go with --videos",
        "--no-videos",
    )
    view = View(camera=options.camera, size=options.size)
    groups = gather(options.runs, say)
    choices = [choose(group, options.tasks) for group in groups]
    films = sum(map(len, choices)) if options.videos else 0
    path = output_path(options, films)
    filmed = f", {count(films, 'task')} to film" if options.videos else ""
    say(
        f"Reporting on {count(len(options.runs), 'run')} of {groups[0].config.label}"
        f" ({', '.join(group.name for group in groups)}){filmed}."
    )
    pairs: dict[str, list[Pair]] = {}
    reason = "" if options.videos else "Videos were not asked for."
    if options.videos:
        try:
            pairs = film_all(groups, choices, options.seed, view)
        except MetarlError as error:
            if options.camera is not None and not isinstance(error, EngineError):
                raise  # it is the camera that there is not
            say(f"There are no videos in the report: {error}")
            reason = f"There are no videos: {error}"
    page = render(groups, pairs, {group.name: reason for group in groups})
    write_whole(path, page.encode())
    say(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB).")


def output_path(options: ReportArguments, films: int) -> Path:
    """Return the file to write; MetarlError if it exists, or cannot be written with that many films."""
    path = options.output or options.runs[0] / "report.html"
    if path.is_file() and not options.overwrite:
        raise MetarlError(f"{path} exists already; choose another --output, or --overwrite it.")
    check_writable(path, size=_PAGE_BYTES + films * _FILM_BYTES * options.size**2)
    return path


def film_all(
    groups: list[Group], choices: list[list[Choice]], seed: int, view: View
) -> dict[str, list[Pair]]:
    """Film each group's tasks, showing progress; MetarlError if nothing here can draw."""
    experiments = [open_first(group) for group in groups]
    todo = list(zip(groups, experiments, choices, strict=True))
    steps = sum(steps_of(experiment, chosen) for _, experiment, chosen in todo)
    try:
        with Progress(console, "filming", steps) as progress:
            return {
                group.name: film_pairs(experiment, chosen, progress, seed=seed, view=view)
                for group, experiment, chosen in todo
            }
    except Stopped:
        say("Stopped; unfinished results are not written.")
        raise
