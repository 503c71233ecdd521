"""Arrays that are tensors here, for type checkers."""

from __future__ import annotations

from typing import cast

import torch

from metarl.envs.engines.arrays import Array, Mask, Vector


def tensor(values: Vector | Array | Mask) -> torch.Tensor:
    """Cast an array back to a tensor for type checkers."""
    return cast(torch.Tensor, values)
