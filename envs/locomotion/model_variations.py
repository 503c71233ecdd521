"""Model variations of a task, in words such as ``body_mass:torso:x0.5..2``.

A phrase is a field, a selector of its numbers, and a range, joined by colons:

* the field is an array of :class:`mujoco.MjModel` with rows for bodies, geoms, joints, degrees of freedom,
  actuators, sites or tendons (``body_mass``, ``geom_friction``, ``dof_damping``, ``actuator_gainprm``), or a
  number of its options (``opt.gravity``, ``opt.timestep``);
* then the name of one (an actuator goes by its joint's, too), with the number of a column if only that is
  meant (``floor[0]``); or ``all``, to change them together; or ``each``, to draw them one by
  one; or, of an option, ``x``, ``y`` or ``z``. An option that is a single number goes without;
* ``x0.5..2`` multiplies by a factor with a uniform logarithm, ``3..5`` sets a uniform value.

Where two geoms touch, the greater friction of both counts: slippery ground takes ``geom_friction:all[0]``.
Out of range means beyond either end by up to a quarter of the range's length, in the logarithm for a factor;
a positive value stays positive.
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
}  # by the first word of a field: the kind of object that its rows are called after, and their count
# numbers from which MuJoCo derives others that decide over contacts when it compiles a model, and only then
_COMPILED = ("geom_size", "geom_rbound", "geom_aabb")
_RANGE = re.compile(r"(x?)(.+?)\.\.(.+)")
_SELECTOR = re.compile(r"(.+?)(?:\[(\d+)\])?")


class ModelVariation(NamedTuple):
    """Model numbers that one task parameter changes."""

    field: str
    indices: tuple[Index, ...]
    range: Range
    scale: bool  # whether the parameter multiplies what is there


@dataclass(frozen=True)
class ModelVariations:
    """Turns a task's parameters, one for each variation, into model changes."""

    variations: tuple[ModelVariation, ...]

    def __call__(self, parameters: tuple[float, ...]) -> list[Change]:
        """Return the changes."""
        return [
            Change(variation.field, index, value, scale=variation.scale)
            for variation, value in zip(self.variations, parameters, strict=True)
            for index in variation.indices
        ]


def read_phrase(phrase: str, model: mujoco.MjModel, robot: str) -> list[ModelVariation]:
    """Return a phrase's variations; raise ``MetarlError`` if it cannot be read or names nothing."""
    parts = phrase.split(":")
    if len(parts) < (2 if phrase.startswith("opt.") else 3):
        raise MetarlError(f"Expected FIELD:NAME:RANGE, like body_mass:torso:x0.5..2, got {phrase!r}.")
    # FIELD:NAME:RANGE; a name may contain colons
    field, *selector, numbers = parts
    span, scale = _read_range(numbers, phrase)
    values = read_field(model, _known_field(field, model))
    # options have components instead of rows
    name, indices = "", list[Index]()
    if field.startswith("opt."):
        indices = [_option_index(field, selector, values)]
    else:
        name, column = _read_selector(":".join(selector), phrase)
        indices = _entries(values, _rows(field, name, model, robot), column, field)
    changing = [index for index in indices if not scale or np.any(values[index])]
    what = ":".join([field, *(word for word in selector if word not in ("each", "all"))])
    if not indices:
        raise MetarlError(f"Expected a robot that has {what}, got {robot}, which has none.")
    if not changing:
        raise MetarlError(f"Each number of {what} of {robot} is 0, which no factor changes.")
    # "each": a parameter for every number, without those that a factor leaves at 0
    if name == "each":
        return [ModelVariation(field, (index,), span, scale) for index in changing]
    return [ModelVariation(field, tuple(indices), span, scale)]


def _known_field(field: str, model: mujoco.MjModel) -> str:
    if field in _COMPILED:
        raise MetarlError(
            f"Expected a model field that can vary alone, got {field}: where geoms touch depends on their "
            "sizes and bounds together, which MuJoCo settles when it compiles a model."
        )
    known = [name for name in dir(model) if _rows_fit(name, model)]
    known += [f"opt.{name}" for name in dir(model.opt) if not name.startswith("_")]
    known = [name for name in known if _is_of_numbers(name, model)]
    if field not in known:
        raise unknown_name("model field that can vary", field, known)
    return field


def _rows_fit(name: str, model: mujoco.MjModel) -> bool:
    """Return whether a field has a row for each object of its kind."""
    kind = name.split("_")[0]
    value = getattr(model, name, None) if kind in _ROWS else None
    return isinstance(value, np.ndarray) and value.shape[:1] == (getattr(model, _ROWS[kind][1]),)


def _is_of_numbers(name: str, model: mujoco.MjModel) -> bool:
    holder, _, leaf = name.rpartition(".")
    value = getattr(model.opt if holder else model, leaf)
    return isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype == np.float64)


def _rows(field: str, name: str, model: mujoco.MjModel, robot: str) -> list[int]:
    # the prefix of the field says of which objects it has rows
    prefix = field.split("_")[0]
    kind, count = _ROWS[prefix][0], getattr(model, _ROWS[prefix][1])
    if name in ("all", "each"):
        return list(range(count))
    objects = [getattr(model, kind)(index) for index in range({"joint": model.njnt}.get(kind, count))]
    names = {each.name: each.id for each in objects if each.name}
    # actuators without a name go by the joint that they drive
    if kind == "actuator":
        names = _driven_joints(model) | names
    if name not in names:
        raise unknown_name(f"{kind} of {robot}", name, [*names, "all", "each"])
    # a joint has as many rows as degrees of freedom
    if prefix != "dof":
        return [names[name]]
    return [row for row in range(count) if model.dof_jntid[row] == names[name]]


def _driven_joints(model: mujoco.MjModel) -> dict[str, int]:
    """Return actuators by their joints, as many have no name of their own."""
    joint = int(mujoco.mjtTrn.mjTRN_JOINT)
    driving = np.flatnonzero(model.actuator_trntype == joint).tolist()
    return {model.joint(int(model.actuator_trnid[row, 0])).name: row for row in driving}


def _entries(values: Array, rows: Sequence[int], column: int | None, field: str) -> list[Index]:
    width = math.prod(values.shape[1:])
    if column is not None and column >= width:
        raise MetarlError(f"Expected a column of {field} from 0 to {width - 1}, got {column}.")
    if values.ndim == 1:
        return list(rows)
    columns = [column] if column is not None else range(width)
    places = [np.unravel_index(each, values.shape[1:]) for each in columns]
    return [(row, *(int(i) for i in place)) for row in rows for place in places]


def _option_index(field: str, selector: Sequence[str], values: Array) -> Index:
    axes = ("x", "y", "z")
    if values.shape == (1,):
        require(not selector, f"{field} is a single number and goes without a name", ":".join(selector))
        return ...
    if values.shape != (3,):
        raise MetarlError(f"{field} has {values.size} numbers; only single ones and vectors can vary.")
    axis = ":".join(selector)
    if axis not in axes:
        raise unknown_name(f"axis of {field}", axis, axes)
    return axes.index(axis)


def _read_selector(text: str, phrase: str) -> tuple[str, int | None]:
    match = _SELECTOR.fullmatch(text)
    if match is None:
        raise MetarlError(f"Expected FIELD:NAME:RANGE, like geom_friction:floor[0]:x0.5..2, got {phrase!r}.")
    return match[1], None if match[2] is None else int(match[2])


def _read_range(text: str, phrase: str) -> tuple[Range, bool]:
    """Return a range with its margins, and whether it multiplies."""
    match = _RANGE.fullmatch(text)
    try:
        low, high = (float(match[2]), float(match[3])) if match else (math.nan, math.nan)
    except ValueError:
        low = high = math.nan
    # also refuses NaN, which compares false
    if match is None or not (-math.inf < low < high < math.inf):
        raise MetarlError(f"Expected a range like x0.5..2 or 3..5 at the end, got {phrase!r}.")
    # margins of factors are a quarter of the range, on a logarithmic scale
    if match[1]:
        require(low > 0, f"Factors in {phrase!r} must be positive", low)
        stretch = (high / low) ** _BEYOND
        return Range(low, high, low / stretch, high * stretch, logarithmic=True), True
    # the margin of a positive or negative end stays on its side of zero; an end at zero has no side
    margin = _BEYOND * (high - low)
    least = max(low - margin, low / 2) if low > 0 else low - margin
    return Range(low, high, least, min(high + margin, high / 2) if high < 0 else high + margin), False
