"""The linear cell's recurrence in C, compiled on first use: a third of its time in PyTorch's operations."""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from metarl.system.c_compiler import BuildError, compile_library

_LOG = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_name("recurrence.c")
_NAMES = {torch.float32: "float", torch.float64: "double"}
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64


class Gradients(NamedTuple):
    """Gradients of a recurrence's inputs."""

    both: torch.Tensor  # [T, B, 2 H], of what the sigmoid and the tanh were taken of
    start: torch.Tensor  # [B, H]


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the compiled recurrence; None, with a warning, if it cannot be built."""
    try:
        library = ctypes.CDLL(str(compile_library("recurrence", _SOURCE.read_text(), ["-O3"])))
    except (BuildError, OSError) as error:
        _LOG.warning("Linear memories learn by PyTorch's operations, which takes 5 %% longer: %s.", error)
        return None
    for name in _NAMES.values():
        getattr(library, f"metarl_average_{name}").argtypes = [_POINTER] * 3 + [_SIZE] * 3
        getattr(library, f"metarl_gradient_{name}").argtypes = [_POINTER] * 6 + [_SIZE] * 3
    return library


def serves(tensor: torch.Tensor) -> bool:
    """Return whether the compiled code can take such tensors."""
    return tensor.device.type == "cpu" and tensor.dtype in _NAMES and load() is not None


def average(both: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Return all states ``[T, B, H]`` of ``h_t = h_{t-1} + z_t (c_t - h_{t-1})``.

    Args:
        both: ``[T, B, 2 H]``, contiguous: the gate z and the sigmoid of twice the candidate, which its tanh
            c replaces.
        start: ``[B, H]``, contiguous, ``h_0``.
    """
    steps, batch, units = len(both), *start.shape
    states = both.new_empty(steps, batch, units)
    _function("average", both)(both.data_ptr(), start.data_ptr(), states.data_ptr(), steps, batch, units)
    return states


def gradients(
    both: torch.Tensor, start: torch.Tensor, states: torch.Tensor, of_states: torch.Tensor
) -> Gradients:
    """Return the gradients of :func:`average`, given those of its states, ``[T, B, H]``, contiguous.

    ``both`` is as :func:`average` left it.
    """
    found = Gradients(torch.empty_like(both), torch.zeros_like(start))
    tensors = (both, start, states, of_states, *found)
    _function("gradient", both)(*(tensor.data_ptr() for tensor in tensors), *states.shape)
    return found


def _function(name: str, tensor: torch.Tensor) -> Callable[..., None]:
    function: Callable[..., None] = getattr(load(), f"metarl_{name}_{_NAMES[tensor.dtype]}")
    return function
