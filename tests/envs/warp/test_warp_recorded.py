"""Steps that a GPU replays: they are the same without the Python around them, and ask nothing of the host."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np
import pytest
import torch

from metarl.envs.engines.warp.recorded import Recorded
from metarl.envs.engines.warp.vector_env import WarpVectorEnv
from metarl.envs.locomotion.suite import HalfCheetahDirConfig
from metarl.vector_env import TensorStep
from support.tape import Tape
from support.warp import FAMILIES, acts, tasks_of, warp_env

pytestmark = pytest.mark.warp
STEPS = 5


class Replayed(Recorded[object]):
    """Records on the CPU as a GPU would."""

    tape: Tape[object] | None = None
    records = 0

    def __call__(self, key: Hashable) -> object:
        if key != self._key:
            self._key, self.tape = key, None
            return self._work()
        if self.tape is None:
            self.tape, self.records = Tape(self._work), self.records + 1
            assert self.tape.from_host == []
            return self.tape.result
        return self.tape.replay()


def replaying(env: WarpVectorEnv) -> WarpVectorEnv:
    """Let an engine's steps be replayed."""
    env._before_physics = Replayed(env._before_physics._work, env.tensor_device)
    env._after_physics = Replayed(env._after_physics._work, env.tensor_device)
    return env


def episodes(env: WarpVectorEnv, actions: np.ndarray) -> Iterator[TensorStep]:
    """Yield the steps of two episodes; of the second only the first slot begins."""
    env.reset_tensors(seeds=list(range(env.num_envs)))
    for sent in actions:
        yield env.step_tensors(torch.as_tensor(sent))
    env.reset_tensors(torch.arange(env.num_envs) == 0)
    for sent in actions:
        yield env.step_tensors(torch.as_tensor(sent))


def assert_same(ours: WarpVectorEnv, theirs: WarpVectorEnv, actions: np.ndarray) -> None:
    for found, expected in zip(episodes(ours, actions), episodes(theirs, actions), strict=True):
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)


@pytest.mark.parametrize("part", range(2))
def test_no_family_asks_the_host_for_anything_in_a_step(part: int) -> None:
    env = warp_env([tasks_of(family, 1)[0] for family in FAMILIES[part::2]])
    env.reset_tensors()
    for work in (env._before_physics, env._after_physics):
        work("")  # constants are sent once
        assert Tape(work._work).from_host == []
    env.close()


def test_what_waits_for_a_device_is_found() -> None:
    values = torch.arange(3.0)
    assert Tape(lambda: values[values > 1]).from_host == ["aten::nonzero"]
    assert Tape(lambda: values + torch.tensor([1.0, 2.0, 3.0])).from_host == ["aten::lift_fresh"]
    assert Tape(lambda: float(values.sum())).from_host == ["aten::_local_scalar_dense"]


def test_a_robot_s_steps_are_replayed() -> None:
    suite = HalfCheetahDirConfig(horizon=4).build()
    ours, theirs = (suite.make_vector_env(2, engine="warp:cpu") for _ in range(2))
    assert isinstance(ours, WarpVectorEnv)
    assert isinstance(theirs, WarpVectorEnv)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, 2, 6)).astype(np.float32)
    for env in (ours, theirs):
        env.set_tasks(suite.tasks("train")[:2])
    assert_same(replaying(ours), theirs, actions)
    ours.close()
    theirs.close()


def test_slots_that_change_their_family_are_recorded_anew() -> None:
    # bin-picking fixes a constant at an episode's first step
    tasks = [*tasks_of("reach-v3", 2), *tasks_of("bin-picking-v3", 2)]
    ours, theirs = replaying(warp_env(tasks, horizon=4)), warp_env(tasks, horizon=4)
    actions = np.array(list(acts(STEPS, len(tasks))), np.float32)
    for order in ([0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1]):
        for env in (ours, theirs):
            env.set_tasks([tasks[place] for place in order])
        assert_same(ours, theirs, actions)
    # other tasks of the same families are not recorded again
    assert isinstance(ours._after_physics, Replayed)
    assert ours._after_physics.records == 2
    ours.close()
    theirs.close()
