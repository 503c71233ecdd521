"""Lets Meta-World, which is written for MuJoCo 3.3.0, reset under a newer MuJoCo.

Newer versions keep more numbers of an equality constraint than the 11 that Meta-World writes whole rows of;
the GPU's physics needs such a version. The first 11 are what they were.
"""

from __future__ import annotations

import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerMocapBase

WELD = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)
"""What Meta-World writes: no offset, rotation and torque scale as it has them."""


def reset_welds(model: mujoco.MjModel) -> None:
    """Write a model's welds to mocap bodies as ``SawyerMocapBase.reset_mocap_welds`` does."""
    if model.nmocap > 0:
        welds = np.flatnonzero(model.eq_type == int(mujoco.mjtEq.mjEQ_WELD))
        model.eq_data[welds, : len(WELD)] = WELD


def mend_meta_world() -> None:
    """Let Meta-World's own environments use :func:`reset_welds` where their method would fail."""

    def reset_mocap_welds(self: SawyerMocapBase) -> None:
        reset_welds(self.model)

    if mujoco.mjNEQDATA > len(WELD):
        SawyerMocapBase.reset_mocap_welds = reset_mocap_welds  # type: ignore[method-assign]  # its rows are short
