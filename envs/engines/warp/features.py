"""Features of worlds on a device, as tensors."""

from __future__ import annotations

import torch

from metarl.envs.engines.threads.features import Layout, Touch
from metarl.envs.engines.warp.batch import WarpBatch


def gather(batch: WarpBatch, layout: Layout, rows: torch.Tensor) -> torch.Tensor:
    """Return some worlds' features, ``[len(rows), layout.width]``."""
    columns = torch.zeros(len(rows), layout.width, device=batch.device)
    for part in layout.numbers:
        values = batch.field(part.field).flatten(1)[:, part.start : part.start + part.size]
        columns[:, part.column : part.column + part.size] = values[rows]
    for touch in layout.touches:
        columns[:, touch.column] = touching(batch, touch)[rows].float()
    return columns


def touching(batch: WarpBatch, touch: Touch) -> torch.Tensor:
    """Return where both pads press on the geom, ``[num_worlds]`` bool.

    Unlike Meta-World, which reads the force of an inactive contact from the last constraint, here it has
    none: the order of constraints is not MuJoCo's own.
    """
    left, right = (_pressure(batch, pad, touch.target) > 0 for pad in (touch.left, touch.right))
    return left & right


def _pressure(batch: WarpBatch, pad: int, target: int) -> torch.Tensor:
    """Return the sum of normal forces between two geoms, ``[num_worlds]``."""
    geoms, worlds = batch.contact["geom"], batch.contact["worldid"]
    address = batch.contact["efc_address"][:, 0]
    used = torch.arange(len(geoms), device=batch.device) < batch.field("nacon")  # the rest is of older steps
    both = ((geoms == pad) | (geoms == target)).all(dim=1) & (geoms[:, 0] != geoms[:, 1])
    counts = used & both & (address >= 0) & (address < batch.forces.shape[1])
    world = torch.where(counts, worlds, 0).long()
    forces = batch.forces[world, torch.where(counts, address, 0).long()]
    total = torch.zeros(batch.num_worlds, device=batch.device)
    return total.index_add_(0, world, torch.where(counts, forces, 0.0))
