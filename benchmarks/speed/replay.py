"""Cost of checkpoints of a replay buffer, beside checkpoints that hold it whole.

    .venv/bin/python -m benchmarks.speed.replay

A buffer grows by 4 MB an iteration, as with Meta-World's observations; a checkpoint follows each iteration
and the newest three stay. Whole checkpoints are written at some iterations only, in turn with the others.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.program import run
from benchmarks.workloads import Bar, bars_table, machine, wide_console
from metarl.learning.replay import ReplayBuffer
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import save
from metarl.types import Params, Rollout, State, Task

OBSERVATION, ACTION = 39, 4
TASKS, EPISODES = 10, 5
ROW_BYTES = 4 * (OBSERVATION + ACTION + 1) + 1
KEEP = 3
MOST_SPACE, MOST_SECONDS = 1.2, 0.1


def main(*, megabytes: float = 200.0, checkpoints: int = 50, folder: Path | None = None) -> None:
    """Fill a buffer, save it as segments and whole, and compare.

    Args:
        megabytes: size of the full buffer.
        checkpoints: number of checkpoints until it is full.
        folder: folder on the disk to measure; the system's temporary one by default.
    """
    torch.set_num_threads(1)  # as a run has it
    console = wide_console()
    console.print(machine())
    rows = round(megabytes * 1e6 / checkpoints / ROW_BYTES)
    horizon = max(1, rows // (TASKS * EPISODES) - 1)
    tasks = [Task("it", (float(m),), str(m)) for m in range(TASKS)]
    buffer, seconds, whole_seconds = ReplayBuffer(10**9), list[float](), list[float]()
    measured_whole = {*range(10, checkpoints, 10), *range(checkpoints - KEEP + 1, checkpoints + 1)}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        ours, whole = Path(place) / "segments", Path(place) / "whole"
        for iteration in range(1, checkpoints + 1):
            buffer.add(tasks, [rollout(horizon, iteration)])
            seconds.append(seconds_of(ours, iteration, buffer.state()))
            if iteration in measured_whole:
                whole_seconds.append(seconds_of(whole, iteration, whole_state(buffer)))
        size = sum(part.nbytes for part in whole_state(buffer).tensors.values())
        space, whole_space = (used(run) / size for run in (ours, whole))
        files = sum(1 for path in ours.rglob("*") if path.is_file())
    console.print(f"{size / 1e6:.0f} MB in {checkpoints} checkpoints, {files} files")
    whole_took, took = statistics.median(whole_seconds), statistics.median(seconds)
    console.print(
        f"{space / MOST_SPACE:.2f} of the space and {took / MOST_SECONDS:.2f} of the time that are allowed"
    )
    bars = [
        Bar("space on disk / size of the buffer", MOST_SPACE, space, at_most=True),
        Bar("seconds per checkpoint", MOST_SECONDS, took, at_most=True),
        Bar("space of whole checkpoints / space of segments", 1.0, whole_space / space),
        Bar("seconds of a whole checkpoint / seconds with segments", 1.0, whole_took / took),
    ]
    console.print(bars_table(bars))


def rollout(horizon: int, seed: int) -> Rollout:
    """Draw episodes of full length."""
    generator = torch.Generator().manual_seed(seed)
    shape = (TASKS, EPISODES, horizon)
    last = torch.zeros(shape, dtype=torch.bool)
    last[..., -1] = True
    return Rollout(
        observations=torch.randn(*shape, OBSERVATION, generator=generator),
        actions=torch.randn(*shape, ACTION, generator=generator),
        log_probs=torch.zeros(shape),
        rewards=torch.randn(shape, generator=generator),
        mask=torch.ones(shape, dtype=torch.bool),
        terminated=torch.zeros(shape, dtype=torch.bool),
        truncated=last,
        final_observations=torch.randn(TASKS, EPISODES, OBSERVATION, generator=generator),
    )


def whole_state(buffer: ReplayBuffer) -> State:
    """Return a copy of the buffer as tensors that each checkpoint holds."""
    parts = [segment.tensors() for segment in buffer.state().segments]
    tensors: Params = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return State(tensors, {})


def seconds_of(run: Path, iteration: int, state: State) -> float:
    """Save a checkpoint and return the seconds."""
    start = time.perf_counter()
    save(run / "checkpoints", Checkpoint(iteration, {}, state, {}), KEEP)
    return time.perf_counter() - start


def used(run: Path) -> int:
    """Return the bytes of all files of a run."""
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file())


if __name__ == "__main__":
    run(main)
