"""What must hold under any MuJoCo: the rewards' arithmetic, and where a reset puts things, as in 3.3.0."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarl.envs.engines.arrays import vector
from metarl.envs.metaworld.resets import SawyerResets
from metarl.envs.metaworld.rewards.catalog import TASKS
from metarl.envs.metaworld.rewards.step import after_step
from metarl.envs.metaworld.slot_arrays import OUTCOMES
from metarl.types import Task
from support.golden_sawyer import golden

pytestmark = pytest.mark.warp
RECORDED = golden()
SETTLED = 0.01
"""Metres: the arm's weld was changed in MuJoCo 3.7, so that hands come to rest elsewhere."""


@pytest.mark.parametrize("family", sorted(TASKS))
def test_the_same_numbers_are_shown_and_rewarded_alike_in_float32(family: str) -> None:
    columns = {name: torch.tensor(values, dtype=torch.float32) for name, values in RECORDED[family].items()}
    arguments = ("features", "action", "constants_before", "frame_before")
    features, action, constants, frame = (vector(columns[name][:, None]) for name in arguments)
    said = after_step(TASKS[family], features, action, constants, frame, vector(torch.tensor([False])))
    np.testing.assert_allclose(
        np.asarray(said.observation)[:, 0], columns["observation"], rtol=1e-5, atol=1e-5
    )
    outcomes = [float(np.asarray(vars(said.outcome)[name])[0]) for name in OUTCOMES]
    np.testing.assert_allclose(outcomes, columns["outcomes"], rtol=1e-4, atol=3e-5)


@pytest.mark.parametrize("family", sorted(TASKS))
def test_resets_put_hand_and_object_where_they_were(family: str) -> None:
    columns = RECORDED[family]
    task = Task(family, tuple(columns["rand_vec"].tolist()), family)
    resets = SawyerResets([family], [task], cache=None, reward_version="v2")
    shown = resets.snapshots([task])[0].observation
    resets.close()
    np.testing.assert_allclose(shown[:7], columns["reset_observation"][:7], atol=SETTLED)
