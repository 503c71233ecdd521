"""Checks of an environment's returned values, which are taken exactly or refused.

Nothing is cast in silence: a value that its destination cannot hold raises :class:`UnfitValue`, and whoever
stepped the environment adds the task and the step. Environment workers import this module, so it never
imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import TypeAlias, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from metarl.errors import EngineError, MetarlError
from metarl.text import shown

Values: TypeAlias = npt.NDArray[np.generic]
Flags: TypeAlias = npt.NDArray[np.bool_]
TRUTH = "True, False, 0 or 1"
OLD_GYM = "Environments of the old gym are wrapped by shimmy.GymV21CompatibilityV0."
_KINDS = {"f": "biuf", "i": "biu", "u": "biu", "b": "b"}
"""NumPy's kinds of dtypes that fit into those of spaces; whole numbers may go into a float Box."""
_DOUBLE = np.dtype(np.float64)


class UnfitValue(MetarlError):
    """A value that breaks what Gymnasium or the spaces promise."""

    def __init__(self, expected: str, got: str, mend: str, slot: int | None = None) -> None:
        super().__init__(f"Expected {expected}, got {got}. {mend}")
        self.expected, self.got, self.mend, self.slot = expected, got, mend, slot

    def at(self, where: str) -> EngineError:
        """Return the error with its place, ``"from the environment of …, at step 3"``."""
        return EngineError(f"Expected {self.expected}, got {self.got} {where}. {self.mend}")


Step: TypeAlias = tuple[object, object, object, object, Mapping[str, object]]
"""Unchecked outcome of a step: observation, reward, terminated, truncated and info."""


def unpack_step(returned: object) -> Step:
    """Return a step's five parts, or raise UnfitValue."""
    if type(returned) is tuple and len(returned) == 5 and type(returned[4]) is dict:
        return returned  # as nearly always; the checks below take longer
    return cast("Step", _unpack(returned, 5, "(observation, reward, terminated, truncated, info)", "step"))


def unpack_reset(returned: object) -> object:
    """Return a reset's observation, or raise UnfitValue."""
    return _unpack(returned, 2, "(observation, info)", "reset")[0]


def truth(value: object, name: str) -> bool:
    """Return a flag from a boolean or any 0 or 1, also in an array.

    Raises:
        UnfitValue: on anything else, such as NaN, 0.3, "False", None or a list.
    """
    if value is True or value is False:
        return value
    number = _number(value)
    if number is None or number not in (0, 1):
        mend = "Compare in the environment, such as distance < 0.05, so that it returns a truth value."
        raise UnfitValue(f"{name} to be {TRUTH}", _shown(value), mend)
    return bool(number)


def real(value: object, name: str) -> float:
    """Return one real number, also from an array, or raise UnfitValue."""
    if type(value) is float:
        return value
    number = _number(value)
    try:
        if number is not None:
            return float(number)
    except OverflowError:  # a whole number of more than 308 digits
        pass
    raise UnfitValue(f"{name} to be one real number", _shown(value), f"Return a float as {name}.")


class ObservationReader:
    """Reader of observations of one dtype and shape, those of a space."""

    def __init__(self, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        self.dtype, self._shape = np.dtype(dtype), shape
        self._narrow = self.dtype.kind == "f" and self.dtype.itemsize < _DOUBLE.itemsize

    def narrows(self, value: object) -> TypeGuard[npt.NDArray[np.float64]]:
        """Return whether a value is an array of doubles for narrower floats.

        Its numbers are not looked at: the caller may convert many such arrays at once.
        """
        fits = type(value) is np.ndarray and value.dtype is _DOUBLE and value.shape == self._shape
        return self._narrow and fits

    def read(self, value: object) -> Values:
        """Return an observation in the space's dtype, if that can hold it.

        Whole numbers and truth values may come for floats, and floats of another width that overflow nowhere.
        NaN and infinity are left as they are.

        Raises:
            UnfitValue: on another shape or kind, or a number that the dtype cannot hold.
        """
        array = value if type(value) is np.ndarray else _as_array(value)
        if array.dtype == self.dtype and array.shape == self._shape:
            return array
        if array.shape != self._shape or array.dtype.kind not in _KINDS[self.dtype.kind]:
            raise UnfitValue(
                f"an observation of shape {self._shape} and dtype {self.dtype}",
                f"shape {array.shape} and dtype {array.dtype}",
                "Give observation_space the shape and the dtype of what reset and step return.",
            )
        # convert, then ask whether the numbers survived
        with np.errstate(all="ignore"):
            converted = array.astype(self.dtype)
        if self.dtype.kind == "f":
            if np.isfinite(converted).all():
                return converted
            # an infinity is fine only where the environment gave one
            held = np.isfinite(converted) | ~np.isfinite(array)
        else:
            held = np.asarray(converted == array)
        if not held.all():
            entry = int(np.argmin(held.reshape(-1)))
            limits = np.finfo(self.dtype) if self.dtype.kind == "f" else np.iinfo(self.dtype)
            held_range = f"{limits.min:g}..{limits.max:g}, which its dtype {self.dtype} can hold"
            raise UnfitValue(
                f"an observation within {held_range}",
                f"{array.reshape(-1)[entry]} in entry {entry}",
                "Give observation_space the dtype and the bounds of what reset and step return.",
            )
        return converted


def truths(values: object, live: Flags, name: str) -> Flags:
    """Return flags ``[N]``, false where not live.

    Raises:
        UnfitValue: if there is not one flag for each slot; names the slot.
    """
    array = _column(values, len(live), name)
    if array.dtype == np.bool_:
        return cast("Flags", array) & live
    flags = np.zeros(len(live), np.bool_)
    for slot in np.flatnonzero(live).tolist():
        try:
            flags[slot] = truth(array[slot], name)
        except UnfitValue as error:
            error.slot = slot
            raise
    return flags


def reals(values: object, live: Flags, name: str) -> npt.NDArray[np.float64]:
    """Return a vector environment's numbers, ``[N]``, 0 where not live, or raise UnfitValue."""
    array = _column(values, len(live), name)
    if array.dtype.kind not in "biuf":
        raise UnfitValue(
            f"{name} to be real numbers [{len(live)}]", f"dtype {array.dtype}", f"Return floats as {name}."
        )
    return np.where(live, array, 0).astype(np.float64, copy=False)


def _column(values: object, size: int, name: str) -> Values:
    array = _as_array(values)
    if array.shape != (size,):
        raise UnfitValue(
            f"{name} to have the shape ({size},)", f"{array.shape}", f"Return one value of {name} a slot."
        )
    return array


def _number(value: object) -> Real | Decimal | None:
    """Return a value's one real number, or None."""
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        value = array.item() if array.size == 1 else None
    return value if isinstance(value, Real | Decimal) else None


def _as_array(value: object) -> Values:
    if type(value) is np.ndarray:
        return value  # as nearly always
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise UnfitValue(
            "an array without gaps", _shown(value), "Fill masked entries before returning the array."
        )
    return np.asarray(value)


def _unpack(returned: object, size: int, parts: str, method: str) -> Sequence[object]:
    if not isinstance(returned, tuple | list) or len(returned) != size:
        came = f"{len(returned)} values" if isinstance(returned, tuple) else _shown(returned)
        raise UnfitValue(f"{parts} of {method}", came, OLD_GYM)
    if not isinstance(info := returned[-1], Mapping):
        raise UnfitValue(f"the info of {method} to be a dictionary", _shown(info), "Return {} for none.")
    return returned


def _shown(value: object) -> str:
    return shown(value.item() if isinstance(value, np.generic) else value)
