"""The interface of physics on CPU threads or a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import mujoco

from metarl.envs.engines.threads.batched import WorldState
from metarl.envs.engines.threads.features import Layout, Named

ArrayT = TypeVar("ArrayT")
MaskT_co = TypeVar("MaskT_co", covariant=True)


class Physics(Protocol[ArrayT, MaskT_co]):
    """Worlds of several models, stepped together, with numbers in arrays or tensors."""

    models: list[mujoco.MjModel]  # one a family
    features: ArrayT  # bound numbers after a step, [num_worlds, width]

    @property
    def num_worlds(self) -> int:
        """How many worlds there are."""

    @property
    def diverged(self) -> MaskT_co:
        """Worlds that broke since their last ``set_state``, ``[num_worlds]``."""

    def bind(self, features: Sequence[Sequence[Named]]) -> ArrayT:
        """Choose the features of each family's worlds; return :attr:`features`."""

    def layout(self, family: int) -> Layout:
        """Return the columns of a family's features."""

    def expand(self, field: str) -> object:
        """Give every world a model field of its own."""

    def assign(self, families: Sequence[int]) -> None:
        """Change the families of the worlds."""

    def set_state(self, worlds: Iterable[int], states: Iterable[WorldState]) -> None:
        """Put some worlds in given states."""

    def step(
        self,
        num_substeps: int,
        *,
        ctrl: ArrayT | None = None,
        mocap_pos: ArrayT | None = None,
        mocap_quat: ArrayT | None = None,
    ) -> None:
        """Step the worlds."""

    def close(self) -> None:
        """Let go of what is held."""
