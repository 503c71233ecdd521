"""Models that differ from world to world, with everything that MuJoCo derives.

A mass does not change alone: MuJoCo keeps inverse weights, subtree masses and actuator accelerations of the
initial pose, by which it scales constraints and measures the solver's progress. MuJoCo's own ``mj_setConst``
derives them anew, once per task, and they become fields of a world like the mass itself.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

import mujoco
import numpy as np

from metarl.envs.engines.threads.features import Array
from metarl.envs.engines.threads.worlds import read_field, write_field
from metarl.errors import MetarlError, unknown_name

Index: TypeAlias = "int | slice | EllipsisType | tuple[int | slice, ...]"
Fields: TypeAlias = dict[str, Array]  # whole model fields by name, for WorldState

_SOLVER_SCALE = "stat.meaninertia"
# fields that MuJoCo reads only where a flag of the row allows it, set when it compiled the model
_FRAMES = {"body_ipos": "body_sameframe", "geom_pos": "geom_sameframe", "site_pos": "site_sameframe"}
_IGNORED = (int(mujoco.mjtSameFrame.mjSAMEFRAME_BODY), int(mujoco.mjtSameFrame.mjSAMEFRAME_INERTIA))
_LEAST = {"body_mass": 0.0, "body_inertia": 0.0, "opt.timestep": 1e-9}


@dataclass(frozen=True)
class Change:
    """One change of a model field."""

    field: str  # an array of MjModel ("body_mass") or a number of its options ("opt.gravity")
    index: Index  # of NumPy; ... for all
    value: float  # the new value, or the factor
    scale: bool = False  # whether the value multiplies what is there


class ModelChanger:
    """A scratch copy of ``model`` that takes changes and returns all fields they affect."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model: mujoco.MjModel = copy.copy(model)  # as put() left it
        self._original = model
        self._data = mujoco.MjData(self.model)
        self._fields = _float_fields(model)
        self._put: set[str] = set()

    def fields(self, changes: Iterable[Change], among: Sequence[str] = ()) -> Fields:
        """Return all fields that some changes, in order, and MuJoCo make differ from the original.

        ``among`` names the fields that can differ, where they are known: comparing all takes some ms. An
        unknown field or index, a value that is not finite, and a field that MuJoCo derives itself raise
        ``MetarlError``.
        """
        # start from the original, whatever was changed before
        self.put({})
        changed = set()
        for change in changes:
            changed.add(change.field)
            self._put.add(change.field)  # to be put back, should anything below fail
            write_field(self.model, change.field, self._after(change))
        if not changed:
            return {}
        # MuJoCo derives fields from the changed ones; a change that it overwrites has no effect
        wanted = {name: read_field(self.model, name) for name in changed}
        self._put |= {*(among or self._fields), _SOLVER_SCALE}
        try:
            mujoco.mj_setConst(self.model, self._data)
        except mujoco.FatalError as error:
            raise MetarlError(f"MuJoCo cannot simulate the changed model: {error}.") from error
        for name, values in wanted.items():
            if not np.array_equal(read_field(self.model, name), values):
                raise MetarlError(f"MuJoCo derives {name} from other fields; change those.")
        # fields that differ are those that a world needs for itself
        possible = {*(among or self._fields), _SOLVER_SCALE, *changed}
        differing = {name for name in possible if self._differs(name)}
        self._put = differing
        fields = {name: read_field(self.model, name) for name in sorted(differing)}
        for name, values in fields.items():
            if not np.isfinite(values).all():
                raise MetarlError(f"MuJoCo cannot simulate the changed model: its {name} is not finite.")
        return fields

    def put(self, fields: Mapping[str, Array]) -> None:
        """Set these fields in :attr:`model`, and all others to the original's."""
        for name in self._put - fields.keys():
            write_field(self.model, name, read_field(self._original, name))
        for name, values in fields.items():
            write_field(self.model, name, values)
        self._put = set(fields)

    def _after(self, change: Change) -> Array:
        # check the field, then the value, then the result
        field, index, value = change.field, change.index, change.value
        if "." not in field and field not in self._fields:
            raise unknown_name("model field of numbers", field, self._fields)
        if not np.isfinite(value):
            raise MetarlError(f"Expected a finite number to change {field} by, got {value}.")
        values = read_field(self.model, field)
        try:
            values[index] = values[index] * value if change.scale else value
        except IndexError as error:
            raise MetarlError(f"{field} has shape {values.shape}, and no {index}.") from error
        if field in _FRAMES:
            moved = (values != read_field(self.model, field)).any(axis=1)
            ignored = np.isin(getattr(self.model, _FRAMES[field]), _IGNORED)
            if field == "body_ipos":
                ignored |= self.model.body_simple != 0
            if (rows := np.flatnonzero(moved & ignored)).size:
                raise MetarlError(
                    f"MuJoCo reads no other {field} of row {rows[0]}: it fixed that frame when it compiled."
                )
        if values.min() < _LEAST.get(field, -np.inf):
            raise MetarlError(f"{field} cannot be {values.min()}, which the change makes of it.")
        return values

    def _differs(self, name: str) -> bool:
        if name in self._fields:
            return not np.array_equal(getattr(self.model, name), self._fields[name], equal_nan=True)
        return not np.array_equal(read_field(self.model, name), read_field(self._original, name))


def _float_fields(model: mujoco.MjModel) -> Fields:
    """Return live views of a model's number arrays, by name."""
    values = ((name, getattr(model, name)) for name in dir(model) if not name.startswith("_"))
    return {
        name: value for name, value in values if isinstance(value, np.ndarray) and value.dtype == np.float64
    }
