"""Runs that are killed at random moments and resumed."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from support.programs import RESUME, errors, finish, run, start


def kill_at_random_moments(
    folder: Path, arguments: Sequence[str], moments: int, longest: float, seed: int
) -> int:
    """Kill a run, and what was resumed of it, after random times, and let it finish; return the kills."""
    rng = random.Random(seed)
    kills = 0
    process = start(folder, arguments)
    while kills < moments:
        process.join(rng.uniform(0, longest))
        if process.exitcode is not None:
            break
        process.kill()
        kills += finish(process) == -signal.SIGKILL
        begun = (folder / "runs" / "it" / "config.json").exists()
        process = start(folder, RESUME if begun else arguments)
    assert finish(process) == 0, errors(folder)
    return kills


def broken_runs(folder: Path, arguments: Sequence[str], moments: int, longest: float) -> list[Path]:
    """Start runs one after another until they were killed so many times in all."""
    folders: list[Path] = []
    while moments > 0:
        folders.append(folder / str(len(folders)))
        folders[-1].mkdir(parents=True)
        moments -= kill_at_random_moments(folders[-1], arguments, moments, longest, seed=len(folders))
    return folders


def duration(folder: Path, arguments: Sequence[str]) -> float:
    """Return the seconds that a whole run takes now."""
    folder.mkdir()
    begin = time.monotonic()
    assert run(folder, arguments) == 0
    return time.monotonic() - begin
