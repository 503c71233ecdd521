"""Worker that steps EnvPool's Meta-World for ``sampling.py``, in any interpreter with EnvPool and NumPy.

Started with ``{family: worlds}`` in JSON, it prints EnvPool's version; then it takes a rollout of as many
steps as each line of its input names, and answers with the seconds. Run by itself it prints the version only.

EnvPool draws the goals itself, and there is no way to fix them: only its speed can be compared. It has a pool
for each family; all pools are sent their actions before the first one is waited for. A thread a pool serves
it best where there are more pools than cores.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Pool(Protocol):
    """Used part of EnvPool's environments."""

    def async_reset(self) -> None:
        """Begin to reset all worlds."""

    def send(self, action: npt.NDArray[np.float64], env_id: npt.NDArray[np.int32]) -> None:
        """Begin a step."""

    def recv(self) -> object:
        """Wait for the reset or step."""

    def close(self) -> None:
        """End the threads."""


def main() -> None:
    """Answer each line of the input."""
    try:
        version = importlib.import_module("envpool").__version__
        importlib.import_module("envpool.mujoco.metaworld")
    except ImportError as error:
        _say({"error": str(error)})
        return
    _say({"version": version})
    if len(sys.argv) < 2:
        return
    families: dict[str, int] = json.loads(sys.argv[1])
    pools = [(make(family, count, len(families)), count) for family, count in families.items()]
    rng = np.random.default_rng(1)
    for line in sys.stdin:
        _say(roll(pools, int(line), rng))
    for pool, _ in pools:
        pool.close()


def make(family: str, worlds: int, num_pools: int) -> Pool:
    """Return the worlds of a family such as ``"pick-place-v3"``, which EnvPool calls PickPlace-v3."""
    name = "-".join(["".join(part.capitalize() for part in family.split("-")[:-1]), family.split("-")[-1]])
    threads = min(worlds, -(-len(os.sched_getaffinity(0)) // num_pools))
    pool: Pool = importlib.import_module("envpool").make_gymnasium(
        f"MetaWorld/{name}", num_envs=worlds, num_threads=threads, seed=0
    )
    return pool


def roll(pools: list[tuple[Pool, int]], steps: int, rng: np.random.Generator) -> Mapping[str, float]:
    """Reset all worlds and take random steps; return seconds."""
    actions = [rng.uniform(-1.0, 1.0, (steps, worlds, 4)) for _, worlds in pools]
    names = [np.arange(worlds, dtype=np.int32) for _, worlds in pools]
    start = time.perf_counter()
    for pool, _ in pools:
        pool.async_reset()
    for pool, _ in pools:
        pool.recv()
    middle = time.perf_counter()
    for step in range(steps):
        for (pool, _), action, name in zip(pools, actions, names, strict=True):
            pool.send(action[step], name)
        for pool, _ in pools:
            pool.recv()
    end = time.perf_counter()
    return {"reset": middle - start, "whole": end - start}


def _say(answer: Mapping[str, float | str]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
