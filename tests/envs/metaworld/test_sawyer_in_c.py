"""Every task as a C function: the numbers of NumPy, in recorded states and in scattered ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from metarl.envs.metaworld.rewards.catalog import REWARD_VERSIONS, TASKS, RewardVersion, tasks_with
from metarl.envs.metaworld.rewards.task import SawyerTask
from metarl.envs.metaworld.slot_arrays import Tables, c_function, num_constants, num_features
from support.physics import STEPPERS, run_rows
from support.sawyer_reference import Episode, short

pytestmark = pytest.mark.skipif("compiled" not in STEPPERS, reason="there is no C compiler")


def flat(values: object, steps: int) -> NDArray[np.float64]:
    """Return numbers ``[k, steps, worlds]``, or ``[k, worlds]`` that all steps share, as rows ``[n, k]``."""
    array = np.asarray(values)
    array = array if array.ndim == 3 else np.repeat(array[:, None], steps, axis=1)
    return array.reshape(len(array), -1).T


def tables(task: SawyerTask, episode: Episode, spread: float) -> Tables:
    """Return a slot for each step of an episode, with what the task reads scattered by ``spread`` metres."""
    rng, steps = np.random.default_rng(0), np.asarray(episode.features).shape[1]
    features = flat(episode.features, steps)
    made = Tables(np.zeros((len(features), num_features(task))), num_constants(task))
    made.features[:] = features + rng.normal(0, spread, features.shape)
    made.actions[:] = flat(episode.actions, steps)
    made.constants[:] = flat(episode.constants, steps)
    made.frames[:] = rng.normal(size=made.frames.shape)
    made.first[:, 0] = task.latch is not None
    return made


@pytest.mark.parametrize("version", REWARD_VERSIONS)
@pytest.mark.parametrize("name", sorted(TASKS))
def test_c_function_gives_numpys_numbers(name: str, version: RewardVersion) -> None:
    task = tasks_with(version)[name]
    for spread in (0.0, 0.003, 0.05):
        by_numpy, in_c = (tables(task, short(name, version), spread) for _ in range(2))

        by_numpy.advance(task, np.arange(len(by_numpy.features)))
        run_rows(c_function(task, in_c), in_c.in_order())

        for ours, theirs in zip(in_c.in_order(), by_numpy.in_order(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        assert len(np.unique(in_c.outcomes)) > 50
