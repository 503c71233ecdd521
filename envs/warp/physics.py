"""Worlds of several models on a device, as tensors: :mod:`metarl.envs.physics.batched` for a GPU.

Families whose models are the same share a batch. Each batch is stepped on its own, one after the other.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from metarl.envs.physics.batched import WorldState
from metarl.envs.physics.features import Layout, Named, resolve
from metarl.envs.physics.interface import Physics
from metarl.envs.physics.sawyer import EXPANDED
from metarl.envs.warp.batch import BufferSizes, WarpBatch
from metarl.envs.warp.features import gather
from metarl.envs.warp.starts import stacked
from metarl.errors import MetarlError


@dataclass(frozen=True)
class _Members:
    """The worlds of one family that share a batch."""

    family: int
    batch: int
    rows: torch.Tensor
    """Where they are in the batch."""
    slots: torch.Tensor
    """Which worlds they are."""


class WarpPhysics(Physics[torch.Tensor, torch.Tensor]):
    """Worlds that are stepped together.

    All of them are stepped, also those that a mask leaves out: what they show stays as it was, and they are
    to be put in a state before they go on.

    Args:
        models: one a family.
        families: ``[num_worlds]``, for each world the index of its model.
        device: where the worlds are.
        sizes: of the buffers of contacts and constraints.
    """

    def __init__(
        self,
        models: Sequence[mujoco.MjModel],
        families: Sequence[int],
        *,
        device: torch.device,
        sizes: BufferSizes | None = None,
    ) -> None:
        self.device, self._sizes = device, sizes or BufferSizes()
        self._models: list[mujoco.MjModel] = []  # one a batch
        self._batch_of = [self._distinct(model) for model in models]
        self._family_models = list(models)
        self._layouts = [resolve(model, ()) for model in models]
        self._batches: dict[int, WarpBatch] = {}
        self._families: list[int] = []
        self._rows: list[int] = []
        self.features = torch.zeros(len(families), 0, device=device)
        """The bound numbers after the last step, ``[num_worlds, width]``."""
        self._diverged = torch.zeros(len(families), dtype=torch.bool, device=device)
        self.assign(families)

    @property
    def num_worlds(self) -> int:
        """How many worlds there are."""
        return len(self._families)

    @property
    def diverged(self) -> torch.Tensor:
        """Worlds that lost a contact or whose numbers became NaN or huge since their last state, ``[N]``."""
        return self._diverged

    @property
    def num_batches(self) -> int:
        """How many models are in use."""
        return len(self._in_use())

    def bind(self, features: Sequence[Sequence[Named]]) -> torch.Tensor:
        """Choose what is read from the worlds of each family; see :meth:`.BatchedPhysics.bind`."""
        pairs = zip(self._family_models, features, strict=True)
        self._layouts = [resolve(model, wanted) for model, wanted in pairs]
        width = max((layout.width for layout in self._layouts), default=0)
        self.features = torch.zeros(self.num_worlds, width, device=self.device)
        return self.features

    def layout(self, family: int) -> Layout:
        """Return the columns of a family's features."""
        return self._layouts[family]

    def expand(self, field: str) -> None:
        """Make sure that worlds have a model field of their own; only those of Meta-World's resets do.

        Raises:
            MetarlError: on any other field.
        """
        if field not in EXPANDED:
            raise MetarlError(
                f"Worlds on a device have {' and '.join(EXPANDED)} of their own, and no {field}."
            )
        return

    def assign(self, families: Sequence[int]) -> None:
        """Change the families of the worlds; one that changes starts in its model's initial state."""
        if list(families) == self._families:
            return
        before = list(zip(self._families, self._rows, strict=True)) or [(-1, -1)] * len(families)
        taken: dict[int, set[int]] = {}
        for (old, row), family in zip(before, families, strict=True):
            if old == family:
                taken.setdefault(self._batch_of[family], set()).add(row)
        free = {batch: _free_rows(taken.get(batch, set())) for batch in range(len(self._models))}
        rows = [
            row if old == family else next(free[self._batch_of[family]])
            for (old, row), family in zip(before, families, strict=True)
        ]
        for batch in sorted({self._batch_of[family] for family in families}):
            pairs = zip(families, rows, strict=True)
            self._make_room(batch, 1 + max(row for family, row in pairs if self._batch_of[family] == batch))
        changed = [old != family for (old, _), family in zip(before, families, strict=True)]
        self._families, self._rows = list(families), rows
        self._members = self._group()
        self._start_anew(changed)

    def step(
        self,
        num_substeps: int,
        *,
        ctrl: torch.Tensor | None = None,
        mocap_pos: torch.Tensor | None = None,
        mocap_quat: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> None:
        """Step the worlds, then gather :attr:`features` and set :attr:`diverged`."""
        inputs = {"ctrl": ctrl, "mocap_pos": mocap_pos, "mocap_quat": mocap_quat}
        for member in self._members:
            fields = self._batches[member.batch].fields
            for name, values in inputs.items():
                if values is not None:
                    fields[name].index_copy_(
                        0, member.rows, values[member.slots].view(-1, *fields[name].shape[1:])
                    )
        for batch in self._in_use():
            self._batches[batch].step(num_substeps)
        for member in self._members:
            self._show(member, mask)
        self._mark_broken(mask)

    def prepare(self, worlds: Sequence[int], states: Sequence[WorldState]) -> None:
        """Let some worlds start from these states at their next :meth:`restore`; each state is sent once."""
        distinct = {id(state): state for state in states}
        order = {key: index for index, key in enumerate(distinct)}
        wanted = dict(zip(worlds, (order[id(state)] for state in states), strict=True))
        for member in self._members:
            mine = [(row, wanted[slot]) for row, slot in _pairs(member) if slot in wanted]
            if not mine:
                continue
            batch, used = self._batches[member.batch], sorted({index for _, index in mine})
            kept = list(distinct.values())
            table = stacked([batch.reader.read(kept[index]) for index in used])
            places = torch.tensor([used.index(index) for _, index in mine], device=self.device)
            rows = torch.tensor([row for row, _ in mine], device=self.device)
            sent = {
                name: torch.as_tensor(values, device=self.device)[places] for name, values in table.items()
            }
            batch.prepare(rows, sent)

    def restore(self, mask: torch.Tensor) -> None:
        """Put the worlds of ``mask [num_worlds]`` in the states that were prepared, and call them sound."""
        for batch, members in self._in_use().items():
            worlds = self._batches[batch]
            chosen = torch.zeros(worlds.num_worlds, dtype=torch.bool, device=self.device)
            for member in members:
                chosen[member.rows] = mask[member.slots]
            worlds.restore(chosen)
        self._diverged = self._diverged & ~mask

    def set_state(self, worlds: Iterable[int], states: Iterable[WorldState]) -> None:
        """Put some worlds in given states; the features are those of the state."""
        slots, given = list(worlds), list(states)
        self.prepare(slots, given)
        mask = torch.zeros(self.num_worlds, dtype=torch.bool)
        mask[slots] = True
        self.restore(mask.to(self.device))
        for slot, state in zip(slots, given, strict=True):
            shown = torch.as_tensor(state.features, dtype=torch.float32, device=self.device)
            self.features[slot, : len(shown)] = shown

    def field(self, world: int, name: str) -> torch.Tensor:
        """Return a copy of a world's numbers of one field of Warp's data, or of its model."""
        batch = self._batches[self._batch_of[self._families[world]]]
        return batch.fields[name][self._rows[world]].clone()

    def close(self) -> None:
        """Let go of the worlds' memory."""
        self._batches.clear()
        self._members = []

    def _distinct(self, model: mujoco.MjModel) -> int:
        """Return the number of the batch of all models that are the same, byte for byte."""
        keys = [_digest(known) for known in self._models]
        key = _digest(model)
        if key not in keys:
            self._models.append(model)
            return len(keys)
        return keys.index(key)

    def _in_use(self) -> dict[int, list[_Members]]:
        """Return the batches that have worlds, and which."""
        found: dict[int, list[_Members]] = {}
        for member in self._members:
            found.setdefault(member.batch, []).append(member)
        return found

    def _show(self, member: _Members, mask: torch.Tensor | None) -> None:
        """Write what is read from a family's worlds, of those that the mask has."""
        layout, slots = self._layouts[member.family], member.slots
        seen = gather(self._batches[member.batch], layout, member.rows)
        if mask is not None:
            seen = torch.where(mask[slots, None], seen, self.features[slots, : layout.width])
        self.features[slots, : layout.width] = seen

    def _make_room(self, batch: int, num_worlds: int) -> None:
        old = self._batches.get(batch)
        if old is None or old.num_worlds < num_worlds:
            self._batches[batch] = WarpBatch(self._models[batch], num_worlds, self.device, self._sizes)
            if old is not None:
                self._batches[batch].copy_from(old)

    def _group(self) -> list[_Members]:
        found: dict[int, list[int]] = {}
        for slot, family in enumerate(self._families):
            found.setdefault(family, []).append(slot)
        return [
            _Members(
                family,
                self._batch_of[family],
                torch.tensor([self._rows[slot] for slot in slots], device=self.device),
                torch.tensor(slots, device=self.device),
            )
            for family, slots in found.items()
        ]

    def _start_anew(self, changed: Sequence[bool]) -> None:
        """Put worlds that changed their family in their model's initial state."""
        slots = np.flatnonzero(changed).tolist()
        states: dict[int, WorldState] = {}
        for slot in slots:
            states.setdefault(self._families[slot], initial_state(self._family_models[self._families[slot]]))
        self.set_state(slots, [states[self._families[slot]] for slot in slots])
        self.features[slots] = 0

    def _mark_broken(self, mask: torch.Tensor | None) -> None:
        broken = torch.zeros_like(self._diverged)
        for batch, members in self._in_use().items():
            rows = self._batches[batch].take_broken()
            for member in members:
                broken[member.slots] = rows[member.rows]
        self._diverged = self._diverged | (broken if mask is None else broken & mask)


def initial_state(model: mujoco.MjModel) -> WorldState:
    """Return a model's initial state."""
    kind = int(mujoco.mjtState.mjSTATE_INTEGRATION)
    integration = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, mujoco.MjData(model), integration, kind)
    return WorldState(integration, {}, np.zeros(0))


def _pairs(member: _Members) -> list[tuple[int, int]]:
    return list(zip(member.rows.tolist(), member.slots.tolist(), strict=True))


def _free_rows(used: set[int]) -> Iterator[int]:
    return (row for row in itertools.count() if row not in used)


def _digest(model: mujoco.MjModel) -> bytes:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.tobytes()).digest()
