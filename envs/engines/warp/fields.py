"""Model fields of each world's own in Warp."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from metarl.errors import MetarlError

# prefixes of fields that no Warp step reads: MuJoCo derives or draws with them
UNSEEN = ("cam_", "light_", "mat_", "tex_", "bvh_", "stat.", "dof_M0", "dof_length")
# options that Warp keeps per world; of others, as wind, it decides once for all whether they count
_OPTIONS = ("opt.gravity", "opt.timestep")


def seen(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the fields that a Warp step reads; raise ``MetarlError`` if worlds cannot differ in one."""
    wanted = tuple(name for name in fields if not name.startswith(UNSEEN))
    for name in wanted:
        if name not in _OPTIONS and not _is_batched(name):
            raise MetarlError(f"MuJoCo Warp has one {name} for all worlds; the engine threads has many.")
    return wanted


def put_model(model: mujoco.MjModel, fields: Iterable[str], num_worlds: int) -> mjw.Model:
    """Copy a model with own fields per world; raise ``MetarlError`` if Warp cannot step it."""
    names = list(fields)
    if model.opt.disableactuator:  # Warp reads no such option: the disabled actuators would act
        raise MetarlError(
            "MuJoCo Warp cannot step this model (it ignores actuatorgroupdisable); the engine threads can."
        )
    try:
        there = mjw.put_model(model, {name: num_worlds for name in names if name not in _OPTIONS})
    except NotImplementedError as error:
        what = str(error).rstrip(".")
        raise MetarlError(f"MuJoCo Warp cannot step this model ({what}); the engine threads can.") from error
    # Warp has no argument for options by world, so their arrays are replaced
    for name in names:
        if name in _OPTIONS:
            holder, leaf = _place(there, name)
            shared = getattr(holder, leaf)
            values = np.repeat(shared.numpy()[:1], num_worlds, axis=0)
            setattr(holder, leaf, wp.array(values, dtype=shared.dtype))
    return there


def own(model: mjw.Model, field: str) -> wp.array:
    """Return the array of a per-world field."""
    holder, leaf = _place(model, field)
    return getattr(holder, leaf)


def _place(model: mjw.Model, field: str) -> tuple[object, str]:
    holder, _, leaf = field.rpartition(".")
    return getattr(model, holder) if holder else model, leaf


def _is_batched(field: str) -> bool:
    """Return whether the first axis of Warp's field is that of the worlds."""
    kinds = {each.name: each.type for each in dataclasses.fields(mjw.Model)}
    return tuple(getattr(kinds.get(field), "shape", ()))[:1] == ("*",)
