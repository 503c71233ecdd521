"""How many launches Python makes in a step of Meta-World on MuJoCo Warp, one by one and replayed.

    .venv-warp/bin/python -m benchmarks.speed.warp_launches

It counts PyTorch's operations that compute something, each of which starts a kernel or several on a GPU, and
one launch for each batch of worlds, whose substeps are a CUDA graph. Replayed, all that comes before the
physics is one launch, and all that comes after it another (``metarl.envs.engines.warp.recorded``). Nothing is
timed, so Warp's CPU device serves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.program import run
from benchmarks.workloads import wide_console
from metarl.config import SuiteConfig
from metarl.envs.engines.warp.vector_env import WarpVectorEnv
from metarl.envs.locomotion.suite import HalfCheetahDirConfig
from metarl.envs.metaworld.suite import ML1Config, ML10Config, ML45Config

SUITES: dict[str, SuiteConfig] = {
    "half-cheetah-dir": HalfCheetahDirConfig(),
    "ml1 --task push-v3": ML1Config(task="push-v3"),
    "ml10": ML10Config(),
    "ml45": ML45Config(),
}


class Counted(TorchDispatchMode):
    """Operations that compute something, inside the block."""

    number = 0

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        self.number += not func.is_view
        return func(*args, **(kwargs or {}))


def launches(work: Callable[[], object]) -> int:
    """Return how many operations of some work compute something."""
    counted = Counted()  # type: ignore[no-untyped-call]  # PyTorch's class is not annotated
    with counted:
        work()
    return counted.number


def main(*, suites: tuple[str, ...] = tuple(SUITES)) -> None:
    """Print a table.

    Args:
        suites: some of the names in the table.
    """
    table = Table("suite", "families", "batches", "launches a step", "replayed", "fewer by", box=None)
    for name in suites:
        suite = SUITES[name].build()
        families = {task.family: task for task in suite.tasks("train")}
        env = suite.make_vector_env(len(families), engine="warp:cpu")
        assert isinstance(env, WarpVectorEnv)
        env.set_tasks(list(families.values()))
        env.reset_tensors()
        actions = torch.as_tensor(env.action_space.sample())
        env.step_tensors(actions)  # constants are sent once
        around = sum(launches(partial(work, "")) for work in (env._before_physics, env._after_physics))
        batches = len(env._physics._in_use())
        # actions are copied in, and what is seen is copied out
        copies = 1 + sum(part is not None for part in env.step_tensors(actions))
        one_by_one, replayed = around + batches + copies, 2 + batches + copies
        numbers = (len(families), batches, one_by_one, replayed)
        table.add_row(name, *map(str, numbers), f"{one_by_one / replayed:.0f} times")
        env.close()
    wide_console().print(table)


if __name__ == "__main__":
    run(main)
