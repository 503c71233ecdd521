"""All 50 tasks on the same states: what Warp's engine shows and rewards is what MuJoCo C's does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarl.envs.metaworld.slot_arrays import OUTCOMES
from support.warp import FAMILIES, acts, tasks_of, threads_env, warp_env

pytestmark = pytest.mark.warp
STEPS = 8
TOLERANCE = 1e-5
"""Relative and absolute; numbers are float32."""


@pytest.mark.parametrize("family", FAMILIES)
def test_same_states_give_the_same_observations_rewards_and_success(family: str) -> None:
    tasks = tasks_of(family, 2)
    ours, theirs = warp_env(tasks), threads_env(tasks)
    shown, _ = ours.reset()
    np.testing.assert_allclose(shown, theirs.reset()[0], rtol=TOLERANCE, atol=TOLERANCE)
    live = torch.ones(len(tasks), dtype=torch.bool)
    for actions in acts(STEPS, len(tasks)):
        expected, rewards, _, _, infos = theirs.step(actions)
        ours._tables.act(torch.as_tensor(actions, dtype=torch.float32), live)
        ours._physics.set_state(range(len(tasks)), theirs._physics.get_state(range(len(tasks))))
        ours._physics.step(0)  # poses and contacts of that very state, by Warp
        sent = torch.as_tensor(actions, dtype=torch.float32)
        ours._tables.advance(ours._catalog, ours._slots, ours._physics.features, sent, live)
        np.testing.assert_allclose(
            ours._tables.rows["observations"], expected, rtol=TOLERANCE, atol=TOLERANCE
        )
        outcomes = dict(zip(OUTCOMES, ours._tables.outcomes.T.numpy(), strict=True))
        np.testing.assert_allclose(outcomes["reward"], rewards, rtol=TOLERANCE, atol=TOLERANCE)
        np.testing.assert_array_equal(outcomes["success"] > 0.5, infos["success"])
    ours.close()
    theirs.close()
