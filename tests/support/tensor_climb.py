"""The scripted world of ``tiny`` with tensors at its boundary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from metarl.vector_env import TensorStep
from support import tiny

TASKS = [tiny.climb(0.0, summit=3.0, flag=2.0), tiny.climb(10.0, flag=14.0)]


SCRIPT = [[[1.0, 1.0, 1.0, 9.0], [3.0, 9.0, 9.0, 9.0]], [[1.0, 1.0, 1.0, 1.0], [-1.0, 2.0, 0.5, 0.5]]]


class TensorClimbEnv(tiny.ClimbEnv):
    """The scripted world, which speaks tensors too."""

    tensor_device = torch.device("cpu")

    def reset_tensors(
        self, mask: torch.Tensor | None = None, seeds: Sequence[int | None] | None = None
    ) -> torch.Tensor:
        assert mask is None
        assert seeds is not None
        assert len(seeds) == self.num_envs
        return torch.as_tensor(self.reset(seed=[0] * self.num_envs)[0], dtype=torch.float32)

    def step_tensors(self, actions: torch.Tensor) -> TensorStep:
        observations, rewards, ended, cut, infos = self.step(actions.numpy().astype(np.float64))
        success = torch.as_tensor(infos["success"]) if "success" in infos else None
        numbers = (torch.as_tensor(values, dtype=torch.float32) for values in (observations, rewards))
        return TensorStep(*numbers, torch.as_tensor(ended), torch.as_tensor(cut), success)
