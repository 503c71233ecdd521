"""The limit: Meta-World's physics alone, on the engine's own models and states.

A step is five ``mj_step`` and the ``mj_forward`` that Meta-World takes after them, with the arm following a
mocap that moves as the actions say; its positions are computed beforehand. There is no observation, no reward
and no reset. Which way of using all cores is the fastest depends on the machine and on the number of worlds,
so there are three, and the fastest is the limit:

* Python threads, each with a share of the worlds, which hand the interpreter's lock to each other;
* the compiled pool, which steps all worlds and then waits for the last of them, as an engine has to;
* a compiled pool of one thread for each share, so that no core ever waits for another.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from benchmarks.workloads import cores
from metarl.envs.engines.threads import BatchedPhysics, StepperName, WorldState
from metarl.envs.engines.threads.features import Array
from metarl.envs.metaworld.models import EXPANDED, FRAME_SKIP, Actions, MocapArms
from metarl.envs.metaworld.reset_bank import ResetBank, Snapshot
from metarl.envs.metaworld.rewards.catalog import TASKS
from metarl.types import Task

Slots = npt.NDArray[np.int64]


@functools.cache
def bank() -> ResetBank:
    """Return the source of states after resets; they equal those of every engine."""
    return ResetBank({family: task.features for family, task in TASKS.items()})


def learn_resets(tasks: Iterable[Task]) -> None:
    """Reset Meta-World to the tasks once, family by family, as changing the family is slow."""
    bank().prepare((task.family, task.parameters) for task in set(tasks))


class Drive(NamedTuple):
    """Starts and controls of N worlds."""

    families: list[str]
    """``[N]``."""
    snapshots: list[Snapshot]
    """``[N]``."""
    ctrl: Array
    """``[T, N, 2]``, the fingers' controls."""
    mocap: Array
    """``[T, N, 1, 3]``, target positions of the hand, metres."""

    def share(self, slots: Slots) -> Drive:
        """Return some of the worlds."""
        return Drive(
            [self.families[slot] for slot in slots],
            [self.snapshots[slot] for slot in slots],
            np.ascontiguousarray(self.ctrl[:, slots]),
            np.ascontiguousarray(self.mocap[:, slots]),
        )


def drive(tasks: Sequence[Task], actions: Actions) -> Drive:
    """Return the starts and controls of worlds with tasks ``[N]`` and actions ``[T, N, 4]``."""
    learn_resets(tasks)
    snapshots = [bank().snapshot(task.family, task.parameters) for task in tasks]
    arms = MocapArms(len(tasks))
    for world, snapshot in enumerate(snapshots):
        arms.reset(world, snapshot.arm)
    inputs = [arms.act(row) for row in actions]
    ctrl, mocap = np.array([row.ctrl for row in inputs]), np.array([row.mocap_pos for row in inputs])
    return Drive([task.family for task in tasks], snapshots, ctrl, mocap)


def shares(worlds: int) -> list[Slots]:
    """Assign worlds to cores; neighbours, which are of one family, go to different cores."""
    return [np.arange(first, worlds, cores()) for first in range(min(cores(), worlds))]


class PoolPhysics:
    """Bare physics on the engine's own pool."""

    def __init__(
        self,
        families: Sequence[str],
        *,
        free: bool,
        stepper: StepperName = "compiled",
        reuse_forward: bool = False,
        threads: int = 0,
    ) -> None:
        """Make the worlds.

        Args:
            families: ``[N]``, of each world.
            free: let each core step its share without waiting for the others.
            stepper: as the engine's.
            reuse_forward: as the engine does, let ``mj_forward`` serve the next step too, which saves work.
            threads: of the engine's pool; 0 for one a core.
        """
        self._names = sorted(set(families))
        self._shares = shares(len(families)) if free else [np.arange(len(families))]
        self._pools = [
            BatchedPhysics(
                [bank().model(name) for name in self._names],
                [self._names.index(families[slot]) for slot in share],
                stepper=stepper,
                num_threads=1 if free else threads or cores(),
                reuse_forward=reuse_forward,
            )
            for share in self._shares
        ]
        for pool in self._pools:
            for field in EXPANDED:
                pool.expand(field)
        self._loops: list[functools.partial[None]] = []

    def prepare(self, given: Drive) -> None:
        """Put every world where its reset leaves it."""
        parts = [given.share(share) for share in self._shares]
        for pool, part in zip(self._pools, parts, strict=True):
            pool.assign([self._names.index(family) for family in part.families])
            pool.set_state(range(pool.num_worlds), [_unread(snapshot) for snapshot in part.snapshots])
        self._loops = [functools.partial(_step_pool, *each) for each in zip(self._pools, parts, strict=True)]

    def run(self) -> float:
        """Take all prepared steps; return the seconds."""
        return _at_once(self._loops)

    def states(self) -> list[Array]:
        """Return each world's integration state, in order."""
        found: dict[int, Array] = {}
        for share, pool in zip(self._shares, self._pools, strict=True):
            kept = pool.get_state(range(len(share)))
            found.update({int(slot): one.integration for slot, one in zip(share, kept, strict=True)})
        return [found[slot] for slot in sorted(found)]

    def close(self) -> None:
        """End the threads."""
        for pool in self._pools:
            pool.close()


class ThreadPhysics:
    """Bare physics in a Python loop on each core."""

    def __init__(self, families: Sequence[str]) -> None:
        self._shares = shares(len(families))
        self._models = [
            {family: copy.copy(bank().model(family)) for family in {families[slot] for slot in share}}
            for share in self._shares
        ]
        self._data = [mujoco.MjData(bank().model(family)) for family in families]
        self._loops: list[functools.partial[None]] = []

    def prepare(self, given: Drive) -> None:
        """Put every world, of the family that it was made for, where its reset leaves it."""
        for family, data, snapshot in zip(given.families, self._data, given.snapshots, strict=True):
            model, state = bank().model(family), snapshot.world.integration
            mujoco.mj_resetData(model, data)
            mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        self._loops = []
        for models, share in zip(self._models, self._shares, strict=True):
            part = given.share(share)
            worlds = [
                _ThreadWorld(models[family], self._data[slot], snapshot.world.fields["body_pos"])
                for slot, family, snapshot in zip(share, part.families, part.snapshots, strict=True)
            ]
            self._loops.append(functools.partial(_step_worlds, worlds, part))

    def run(self) -> float:
        """Take all prepared steps; return the seconds."""
        return _at_once(self._loops)

    def states(self) -> list[Array]:
        """Return each world's integration state, in order."""
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        states = []
        for data in self._data:
            states.append(np.empty(mujoco.mj_stateSize(data.model, kind)))
            mujoco.mj_getState(data.model, data, states[-1], kind)
        return states

    def close(self) -> None:
        """Do nothing: its threads end with each run."""


def _unread(snapshot: Snapshot) -> WorldState:
    """Return a world's state without features, as nothing is read of it."""
    return snapshot.world._replace(features=np.zeros(0))


class _ThreadWorld:
    """A world with its arrays at hand; its positions are written into its family's shared model."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, positions: Array) -> None:
        self.model, self.data, self.positions = model, data, positions
        self.model_positions = model.body_pos
        self.ctrl, self.mocap = data.ctrl, data.mocap_pos


def _step_worlds(worlds: Sequence[_ThreadWorld], given: Drive) -> None:
    for controls, targets in zip(given.ctrl, given.mocap, strict=True):
        for world, control, target in zip(worlds, controls, targets, strict=True):
            world.model_positions[:] = world.positions
            world.ctrl[:] = control
            world.mocap[:] = target
            mujoco.mj_step(world.model, world.data, nstep=FRAME_SKIP)
            mujoco.mj_forward(world.model, world.data)


def _step_pool(pool: BatchedPhysics, given: Drive) -> None:
    for controls, targets in zip(given.ctrl, given.mocap, strict=True):
        pool.step(FRAME_SKIP, ctrl=controls, mocap_pos=targets)


def _at_once(loops: Sequence[functools.partial[None]]) -> float:
    """Run each loop on a thread of its own; return the seconds until the last ends."""
    if len(loops) == 1:
        start = time.perf_counter()
        loops[0]()
        return time.perf_counter() - start
    with ThreadPoolExecutor(len(loops)) as threads:
        start = time.perf_counter()
        for running in [threads.submit(loop) for loop in loops]:
            running.result()
        return time.perf_counter() - start
