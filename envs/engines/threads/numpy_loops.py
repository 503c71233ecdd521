"""NumPy's own inner loops as C functions, so that compiled code gives the bits that NumPy gives.

A library's exponential may differ from another's in the last bit, and a dot product is rounded in the order
in which it is summed up; only NumPy's own code is certain to agree with NumPy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np


class _UFunc(ctypes.Structure):
    """The beginning of ``PyUFuncObject``, as NumPy publishes it in ``numpy/ufuncobject.h``."""

    _fields_ = (
        ("head", ctypes.c_char * object.__basicsize__),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
    )


class Loop(ctypes.Structure):
    """A function that computes many values, and a pointer that it is called with."""

    _fields_ = (("function", ctypes.c_void_p), ("data", ctypes.c_void_p))


def double_loops(names: Sequence[str]) -> ctypes.Array[Loop]:
    """Return the loops in double precision of some of NumPy's functions, ``"exp"`` for instance.

    Raises:
        LookupError: if NumPy keeps them otherwise than is known here.
    """
    return (Loop * len(names))(*(_double_loop(getattr(np, name)) for name in names))


def _double_loop(ufunc: np.ufunc) -> Loop:
    inner = _UFunc.from_address(id(ufunc))
    seen = (inner.nin, inner.nout, inner.nargs, inner.ntypes)
    if seen != (ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes):
        raise LookupError(f"the loops of NumPy {np.__version__} are not where they were")
    index = ufunc.types.index("d" * ufunc.nin + "->" + "d" * ufunc.nout)
    return Loop(inner.functions[index], inner.data[index] if inner.data else None)
