"""Ctrl-C ends a run within two seconds, also in the middle of a long update."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil

from metarl.storage.checkpoints import load
from support.programs import Trap, errors, output, start, trapped

LONG = (
    *("train", "point", "--name", "it", "--iterations", "3", "--horizon", "50", "--threads", "1"),
    *("--sampling.meta-batch-size", "40", "--sampling.episodes", "10", "--evaluation.every", "0"),
    *("--agent.hidden-sizes", "256", "256", "--agent.curvature-stride", "1", "--agent.cg-iters", "100"),
)
"""An update would take a minute of processor time."""
CHUNK = "metarl.agents.maml_trpo:MAMLTRPO.objective"


def test_signal_in_a_long_update_ends_the_run_within_two_seconds(tmp_path: Path) -> None:
    process = start(tmp_path, LONG, Trap(CHUNK, 2, signal.SIGINT))
    watched, spent = psutil.Process(process.pid), 0.0
    while process.is_alive():
        # processor time, as other programs may keep this one from running
        times = watched.cpu_times()
        spent = times.user + times.system
        time.sleep(0.02)
    assert process.exitcode == 130, errors(tmp_path)
    assert spent - trapped(tmp_path) < 2.0
    assert (
        output(tmp_path)
        .splitlines()[-1]
        .startswith("Stopped after iteration 0; resume it with: metarl train --resume")
    )
    assert load(tmp_path / "runs/it/checkpoints/00000000").iteration == 0
