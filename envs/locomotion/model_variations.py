"""Which numbers of a MuJoCo model a task may change, in words: ``body_mass:torso:x0.5..2``.

A phrase is a field, whose numbers of it, and a range, joined by colons:

* the field is an array of :class:`mujoco.MjModel` whose rows are bodies, geoms, joints, degrees of freedom,
  actuators, sites or tendons (``body_mass``, ``geom_friction``, ``dof_damping``, ``actuator_gainprm``), or a
  number of its options (``opt.gravity``, ``opt.timestep``);
* then the name of one (an actuator goes by its joint's, too), with the number of a column if only that is
  meant (``floor[0]``); or ``all``, whose numbers change together; or ``each``, whose numbers are drawn one by
  one; or, of an option, ``x``, ``y`` or ``z``. An option that is a single number goes without;
* ``x0.5..2`` multiplies by a factor whose logarithm is uniform, ``3..5`` sets a uniform value.

Where two geoms touch, the greater friction of both counts: slippery ground takes ``geom_friction:all[0]``.

Out of range lies what is beyond either end by up to a quarter of the range's length, in the logarithm for a
factor; a positive value stays positive.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np

from metarl.envs.engines.threads.features import Array
from metarl.envs.engines.threads.model_changes import Change, Index
from metarl.envs.engines.threads.worlds import read_field
from metarl.envs.task_sampling.ranges import Range
from metarl.errors import MetarlError, require, unknown_name

_BEYOND = 0.25
_ROWS = {
    "body": ("body", "nbody"),
    "geom": ("geom", "ngeom"),
    "jnt": ("joint", "njnt"),
    "dof": ("joint", "nv"),
    "actuator": ("actuator", "nu"),
    "site": ("site", "nsite"),
    "tendon": ("tendon", "ntendon"),
}
"""By the first word of a field: what its rows are called by, and how many there are."""
_RANGE = re.compile(r"(x?)(.+?)\.\.(.+)")
_WHOSE = re.compile(r"(.+?)(?:\[(\d+)\])?")


class Knob(NamedTuple):
    """Numbers of a model that one parameter of a task changes together."""

    field: str
    indices: tuple[Index, ...]
    range: Range
    scale: bool
    """Whether the parameter multiplies what is there."""


@dataclass(frozen=True)
class TurnedKnobs:
    """What the parameters of a task change: one for each knob."""

    knobs: tuple[Knob, ...]

    def __call__(self, parameters: tuple[float, ...]) -> list[Change]:
        """Return the changes."""
        return [
            Change(knob.field, index, value, scale=knob.scale)
            for knob, value in zip(self.knobs, parameters, strict=True)
            for index in knob.indices
        ]


def read_phrase(phrase: str, model: mujoco.MjModel, robot: str) -> list[Knob]:
    """Return the knobs that a phrase means.

    Args:
        phrase: as the module's docstring explains.
        model: whose numbers change.
        robot: what errors call the model.

    Raises:
        MetarlError: on a phrase that cannot be read, or a name that the model does not have.
    """
    parts = phrase.split(":")
    if len(parts) < (2 if phrase.startswith("opt.") else 3):
        raise MetarlError(f"FIELD:NAME:RANGE was wanted, like body_mass:torso:x0.5..2; {phrase!r} came.")
    field, *whose, numbers = parts
    span, scale = _read_range(numbers, phrase)
    values = read_field(model, _known_field(field, model))
    if field.startswith("opt."):
        return [Knob(field, (_option_index(field, whose, values),), span, scale)]
    name, column = _read_whose(":".join(whose), phrase)
    indices = _entries(values, _rows(field, name, model, robot), column, field)
    if name == "each":
        changing = [index for index in indices if not scale or values[index] != 0.0]
        if not changing:
            raise MetarlError(f"Each number of {field} of {robot} is 0, which no factor changes.")
        return [Knob(field, (index,), span, scale) for index in changing]
    return [Knob(field, tuple(indices), span, scale)]


def _known_field(field: str, model: mujoco.MjModel) -> str:
    known = [name for name in dir(model) if _rows_fit(name, model)]
    known += [f"opt.{name}" for name in dir(model.opt) if not name.startswith("_")]
    known = [name for name in known if _is_of_numbers(name, model)]
    if field not in known:
        raise unknown_name("model field that can vary", field, known)
    return field


def _rows_fit(name: str, model: mujoco.MjModel) -> bool:
    """Say whether a field has a row for each of the objects that its name begins with."""
    kind = name.split("_")[0]
    value = getattr(model, name, None) if kind in _ROWS else None
    return isinstance(value, np.ndarray) and value.shape[:1] == (getattr(model, _ROWS[kind][1]),)


def _is_of_numbers(name: str, model: mujoco.MjModel) -> bool:
    holder, _, leaf = name.rpartition(".")
    value = getattr(model.opt if holder else model, leaf)
    return isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype == np.float64)


def _rows(field: str, name: str, model: mujoco.MjModel, robot: str) -> list[int]:
    """Return the rows of a field that a name means."""
    prefix = field.split("_")[0]
    kind, count = _ROWS[prefix][0], getattr(model, _ROWS[prefix][1])
    if name in ("all", "each"):
        return list(range(count))
    objects = [getattr(model, kind)(index) for index in range({"joint": model.njnt}.get(kind, count))]
    names = {each.name: each.id for each in objects if each.name}
    if kind == "actuator":
        names = _driven_joints(model) | names
    if name not in names:
        raise unknown_name(f"{kind} of {robot}", name, [*names, "all", "each"])
    if prefix != "dof":
        return [names[name]]
    return [row for row in range(count) if model.dof_jntid[row] == names[name]]


def _driven_joints(model: mujoco.MjModel) -> dict[str, int]:
    """Return the actuators by the joints that they drive; many have no name of their own."""
    joint = int(mujoco.mjtTrn.mjTRN_JOINT)
    driving = np.flatnonzero(model.actuator_trntype == joint).tolist()
    return {model.joint(int(model.actuator_trnid[row, 0])).name: row for row in driving}


def _entries(values: Array, rows: Sequence[int], column: int | None, field: str) -> list[Index]:
    """Return the indices of single numbers in some rows."""
    width = math.prod(values.shape[1:])
    if column is not None and column >= width:
        raise MetarlError(f"A column of {field} from 0 to {width - 1} was wanted; {column} came.")
    if values.ndim == 1:
        return list(rows)
    columns = [column] if column is not None else range(width)
    places = [np.unravel_index(each, values.shape[1:]) for each in columns]
    return [(row, *(int(i) for i in place)) for row in rows for place in places]


def _option_index(field: str, whose: Sequence[str], values: Array) -> Index:
    axes = ("x", "y", "z")
    if values.shape == (1,):
        require(not whose, f"{field} is a single number and goes without a name", ":".join(whose))
        return ...
    if values.shape != (3,):
        raise MetarlError(f"{field} has {values.size} numbers; only single ones and vectors can vary.")
    axis = ":".join(whose)
    if axis not in axes:
        raise unknown_name(f"axis of {field}", axis, axes)
    return axes.index(axis)


def _read_whose(text: str, phrase: str) -> tuple[str, int | None]:
    match = _WHOSE.fullmatch(text)
    if match is None:
        raise MetarlError(
            f"FIELD:NAME:RANGE was wanted, like geom_friction:floor[0]:x0.5..2; {phrase!r} came."
        )
    return match[1], None if match[2] is None else int(match[2])


def _read_range(text: str, phrase: str) -> tuple[Range, bool]:
    """Return a range with what lies beyond, and whether it is one of factors."""
    match = _RANGE.fullmatch(text)
    try:
        low, high = (float(match[2]), float(match[3])) if match else (math.nan, math.nan)
    except ValueError:
        low = high = math.nan
    if match is None or not (-math.inf < low < high < math.inf):
        raise MetarlError(f"A range like x0.5..2 or 3..5 was wanted at the end; {phrase!r} came.")
    if match[1]:
        require(low > 0, f"Factors in {phrase!r} must be positive", low)
        stretch = (high / low) ** _BEYOND
        return Range(low, high, low / stretch, high * stretch, logarithmic=True), True
    margin = _BEYOND * (high - low)
    least = max(low - margin, low / 2) if low > 0 else low - margin
    return Range(low, high, least, high + margin if high > 0 else min(high + margin, high / 2)), False
