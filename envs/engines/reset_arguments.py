"""Seeds and reset masks, as a vector environment's ``reset`` takes them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Flags: TypeAlias = npt.NDArray[np.bool_]


def seeds_of_slots(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """Spread a seed over the slots as Gymnasium does; raise ``ValueError`` if seeds are not one a slot."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, int | np.integer):
        return [int(seed) + slot for slot in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"Expected one seed for each of the {num_envs} slots, got {len(seed)}.")
    return [None if value is None else operator.index(value) for value in seed]


def split_options(options: dict[str, object] | None, num_envs: int) -> tuple[Flags, dict[str, object] | None]:
    """Split options into reset mask, by default all True, and rest, as ``SyncVectorEnv``.

    Other arrays than bools raise ``TypeError``, a wrong shape or no True ``ValueError``.
    """
    if options is None or "reset_mask" not in options:
        return np.ones(num_envs, np.bool_), options
    rest = dict(options)
    mask = rest.pop("reset_mask")
    # TypeError and ValueError, as for any wrong argument
    if not isinstance(mask, np.ndarray):
        raise TypeError(f"reset_mask must be a NumPy array, but it is a {type(mask).__name__}.")
    if mask.shape != (num_envs,):
        raise ValueError(f"reset_mask must have the shape ({num_envs},), but it has {mask.shape}.")
    if mask.dtype != np.bool_:
        raise TypeError(f"reset_mask must hold bools, but its dtype is {mask.dtype}.")
    if not mask.any():
        raise ValueError("reset_mask must name at least one slot, but it is False everywhere.")
    return mask, rest
