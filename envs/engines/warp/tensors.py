"""Arrays that are tensors here, for type checkers."""

from __future__ import annotations

from typing import cast

import torch

from metarl.envs.engines.arrays import Array, Mask, Vector


def tensor(values: Vector | Array | Mask) -> torch.Tensor:
    """Return what it is: a tensor that went in comes out as one. For type checkers only."""
    return cast(torch.Tensor, values)
