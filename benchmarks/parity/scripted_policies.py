"""Meta-World's scripted policies under MuJoCo Warp and MuJoCo C of one version, task by task.

    .venv-warp/bin/python -m benchmarks.parity.scripted_policies --output scripted.json    # all 50 tasks
    .venv-warp/bin/python -m benchmarks.parity.scripted_policies --families reach-v3 push-v3 --device cuda

The layouts of a task are the first training goals of its ML1, and the worlds of one batch. The policies see
the goals, and an episode is solved when Meta-World says so at any step.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import mujoco

from benchmarks.program import run
from benchmarks.scripted import solved
from metarl.envs.metaworld.env import FAMILIES, MAX_HORIZON
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.envs.metaworld.warp import WarpSawyerVectorEnv
from metarl.storage.files import write_rows

LAYOUTS = 10


@dataclass(frozen=True)
class Solved:
    """Layouts of a task that its scripted policy solves."""

    family: str
    warp: int
    c: int
    both: int
    """Layouts solved under both."""
    layouts: int
    seconds: float
    """Seconds of both together."""


def main(
    *,
    families: tuple[str, ...] = tuple(sorted(FAMILIES)),
    layouts: int = LAYOUTS,
    device: str = "cpu",
    output: Path | None = None,
) -> None:
    """Run the policies, print a line for each task, and write all of them.

    Args:
        families: tasks to run.
        layouts: layouts of each task.
        device: device of Warp's worlds.
        output: file for the numbers: a CSV, or JSON that also has the MuJoCo version and the device.
    """
    rows: list[Solved] = []
    for family in families:
        rows.append(compare(family, layouts=layouts, device=device))
        print(f"{family:32} warp {rows[-1].warp:3}  C {rows[-1].c:3}  of {layouts}", flush=True)
        if output is not None and output.suffix == ".csv":
            columns = ("family", "layouts", "warp", "c", "both")
            write_rows(output, [columns, *([getattr(row, name) for name in columns] for row in rows)])
        elif output is not None:
            content = {"mujoco": mujoco.__version__, "device": device, "tasks": [vars(row) for row in rows]}
            output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    warp, c, number = (sum(getattr(row, name) for row in rows) for name in ("warp", "c", "layouts"))
    print(f"{'all':32} warp {warp:3}  C {c:3}  of {number}")


def compare(family: str, *, layouts: int = LAYOUTS, device: str = "cpu") -> Solved:
    """Run a task's scripted policy on the same layouts under both physics."""
    start = time.perf_counter()
    tasks = ML1Config(task=family).build().tasks("train")[:layouts]
    warp = solved(
        WarpSawyerVectorEnv(
            families=[family], default_tasks=tasks, num_envs=layouts, horizon=MAX_HORIZON, device=device
        ),
        tasks,
    )
    c = solved(
        SawyerVectorEnv(families=[family], default_tasks=tasks, num_envs=layouts, horizon=MAX_HORIZON), tasks
    )
    taken = round(time.perf_counter() - start, 1)
    return Solved(family, int(warp.sum()), int(c.sum()), int((warp & c).sum()), layouts, taken)


if __name__ == "__main__":
    run(main)
