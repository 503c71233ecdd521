"""``metarl train``: checks names before heavy imports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metarl.cli.console import print_names, say
from metarl.errors import MetarlError
from metarl.plugins import entry_points

RUNS = Path("runs")


def train_command(arguments: list[str]) -> None:
    """Meta-train an agent; evaluate it on held-out tasks."""
    if {"-h", "--help"} & set(arguments[:1]):
        show_train_usage()
        return
    if any(word == "--resume" or word.startswith("--resume=") for word in arguments):
        resume(arguments)
    else:
        start(preset_first(arguments, "metarl train", "metarl train point"))


def start(arguments: Sequence[str]) -> None:
    """Train a preset, the first argument, with the options that follow."""
    from metarl.cli.commands.options import configured  # noqa: PLC0415  # start-up time

    name, *options = arguments
    config = configured(name, options, f"metarl train {name}")
    from metarl.cli.commands.training import start_run  # noqa: PLC0415  # start-up time

    start_run(config, RUNS)


def resume(arguments: Sequence[str]) -> None:
    """Resume the run that ``--resume`` names."""
    import tyro  # noqa: PLC0415  # start-up time

    from metarl.cli.commands.options import ResumeArguments  # noqa: PLC0415  # start-up time

    resumed = tyro.cli(ResumeArguments, args=arguments, prog="metarl train")
    from metarl.cli.commands.training import resume_run  # noqa: PLC0415  # start-up time

    resume_run(resumed.resume, resumed.iterations, resumed.device)


def preset_first(arguments: Sequence[str], command: str, example: str) -> list[str]:
    """Return the arguments, preset or suite first."""
    words = suite_first(arguments)
    presets = entry_points.names(entry_points.PRESETS)
    if not words or words[0].startswith("-"):
        raise MetarlError(f"{command} needs a preset first, one of {', '.join(presets)}: {example}")
    suites = entry_points.names(entry_points.SUITES)
    if words[0] not in (*presets, *suites) and ".py" not in words[0]:
        entry_points.find(entry_points.PRESETS, words[0])
    return words


def suite_first(arguments: Sequence[str]) -> list[str]:
    """Put ``--suite``'s name in the preset's place."""
    words = list(arguments)
    place = next((i for i, word in enumerate(words) if word.partition("=")[0] == "--suite"), None)
    if place is None or not words[0].startswith("-"):
        return words
    _, joined, name = words.pop(place).partition("=")
    if not joined and place < len(words):
        name = words.pop(place)
    if not name or name.startswith("-"):
        raise MetarlError("--suite needs a suite's name or a place, my_file.py:my_distribution.")
    return [name, *words]


def show_train_usage() -> None:
    """Print the preset-less help of ``metarl train``."""
    say(
        "usage: metarl train PRESET [--agent AGENT|FILE.py:CONFIG] [OPTIONS]\n"
        "       metarl train --suite SUITE|FILE.py:NAME [--agent AGENT|FILE.py:CONFIG] [OPTIONS]\n"
        "       metarl train --resume RUN|RUN/checkpoints/N [--iterations INT] [--device STR]\n\n"
        "Meta-train an agent, then evaluate it on held-out tasks. Actions for your own environments are\n"
        "clipped to their space and rescaled from -1..1; metarl check SUITE says how.\n"
    )
    print_names(entry_points.PRESETS)
    say("\nmetarl train PRESET --help lists every option of a preset.")
