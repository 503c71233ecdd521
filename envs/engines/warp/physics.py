"""Worlds of several models on a device: :mod:`metarl.envs.engines.threads.batched` as tensors.

Families of the same model share a batch. Each batch is stepped on its own, one after the other.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import torch

from metarl.envs.engines.threads.batched import WorldState
from metarl.envs.engines.threads.features import Layout, Named, resolve
from metarl.envs.engines.warp.batch import BatchPlan, WarpBatch
from metarl.envs.engines.warp.features import gather
from metarl.envs.engines.warp.fields import seen
from metarl.envs.engines.warp.starts import initial_state, stacked


@dataclass(frozen=True)
class _Members:
    """One family's worlds, which share a batch."""

    family: int
    batch: int
    rows: torch.Tensor  # where they are in the batch
    slots: torch.Tensor  # which worlds they are


class WarpPhysics:
    """Worlds that are stepped together: one model a family, and each world's index of a family.

    All of them are stepped, also those that a mask leaves out: what they show stays as it was, and they are
    to be put in a state before they go on. A model that MuJoCo Warp cannot step, and a field in which its
    worlds cannot differ, raise ``MetarlError``.
    """

    def __init__(
        self,
        models: Sequence[mujoco.MjModel],
        families: Sequence[int],
        *,
        device: torch.device,
        plan: BatchPlan | None = None,
    ) -> None:
        chosen = plan or BatchPlan()
        self.device, self._plan = device, replace(chosen, expanded=seen(chosen.expanded))
        self.models = list(models)
        # families with equal models share a batch
        self._distinct: list[mujoco.MjModel] = []  # one a batch
        self._batch_of = [self._batch_number(model) for model in models]
        self._layouts = [resolve(model, ()) for model in models]
        self._batches: dict[int, WarpBatch] = {}
        self.version = 0
        """Grows whenever worlds or features get other memory; what was recorded before is of no use then."""
        self._families: list[int] = []
        self._rows: list[int] = []
        # bound numbers after a step, [num_worlds, width]
        self.features = torch.zeros(len(families), 0, device=device)
        self._first_features = self.features.clone()
        self._diverged = torch.zeros(len(families), dtype=torch.bool, device=device)
        self.assign(families)

    @property
    def num_worlds(self) -> int:
        """How many worlds there are."""
        return len(self._families)

    @property
    def diverged(self) -> torch.Tensor:
        """Worlds that since their last state lost a contact, or hold NaN or huge numbers, ``[N]``."""
        return self._diverged

    def bind(self, features: Sequence[Sequence[Named]]) -> torch.Tensor:
        """Choose families' features; see :meth:`.BatchedPhysics.bind`."""
        pairs = zip(self.models, features, strict=True)
        self._layouts = [resolve(model, wanted) for model, wanted in pairs]
        width = max((layout.width for layout in self._layouts), default=0)
        self.features = torch.zeros(self.num_worlds, width, device=self.device)
        self._first_features = self.features.clone()
        self.version += 1
        return self.features

    def layout(self, family: int) -> Layout:
        """Return the columns of a family's features."""
        return self._layouts[family]

    def expand(self, field: str) -> None:
        """Give every world its own model field, if a step reads it; see :func:`.fields.seen`."""
        new = [name for name in seen([field]) if name not in self._plan.expanded]
        if not new:
            return
        self._plan = replace(self._plan, expanded=(*self._plan.expanded, *new))
        for batch, old in self._batches.items():
            self._replace(batch, old.num_worlds)

    def assign(self, families: Sequence[int]) -> None:
        """Change the families of the worlds; one that changes starts in the initial state."""
        if list(families) == self._families:
            return
        # a world that keeps its family keeps its row
        before = list(zip(self._families, self._rows, strict=True)) or [(-1, -1)] * len(families)
        taken: dict[int, set[int]] = {}
        for (old, row), family in zip(before, families, strict=True):
            if old == family:
                taken.setdefault(self._batch_of[family], set()).add(row)
        # the others take free rows of their batches
        free = {batch: _free_rows(taken.get(batch, set())) for batch in range(len(self._distinct))}
        rows = [
            row if old == family else next(free[self._batch_of[family]])
            for (old, row), family in zip(before, families, strict=True)
        ]
        # batches that are too small are made anew, with the old worlds in them
        for batch in sorted({self._batch_of[family] for family in families}):
            pairs = zip(families, rows, strict=True)
            room = 1 + max(row for family, row in pairs if self._batch_of[family] == batch)
            if batch not in self._batches or self._batches[batch].num_worlds < room:
                self._replace(batch, room)
        changed = [old != family for (old, _), family in zip(before, families, strict=True)]
        self._families, self._rows = list(families), rows
        self._members = self._group()
        self.version += 1
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
        """Step the worlds; set :attr:`features` and :attr:`diverged`."""
        self.load(ctrl=ctrl, mocap_pos=mocap_pos, mocap_quat=mocap_quat)
        self.advance(num_substeps)
        self.show(mask)

    def load(
        self,
        *,
        ctrl: torch.Tensor | None = None,
        mocap_pos: torch.Tensor | None = None,
        mocap_quat: torch.Tensor | None = None,
    ) -> None:
        """Set what moves the worlds, ``[N, ...]``, in the substeps that follow."""
        inputs = {"ctrl": ctrl, "mocap_pos": mocap_pos, "mocap_quat": mocap_quat}
        for member in self._members:
            for name, values in inputs.items():
                if values is not None:
                    field = self._batches[member.batch].field(name)
                    field.index_copy_(0, member.rows, values[member.slots].view(-1, *field.shape[1:]))

    def advance(self, num_substeps: int) -> None:
        """Step every world: one launch a batch on a GPU."""
        for batch in self._in_use():
            self._batches[batch].step(num_substeps)

    def show(self, mask: torch.Tensor | None = None) -> None:
        """Set :attr:`features` and :attr:`diverged` of masked worlds."""
        for member in self._members:
            self._show(member, mask)
        self._mark_broken(mask)

    def prepare(self, worlds: Sequence[int], states: Sequence[WorldState]) -> None:
        """Set the states of some worlds for the next :meth:`restore`; each is sent once."""
        if not worlds:
            return
        # equal states are converted and sent once
        distinct = list({id(state): state for state in states}.values())
        order = {id(state): index for index, state in enumerate(distinct)}
        wanted = dict(zip(worlds, (order[id(state)] for state in states), strict=True))
        # a batch takes the states of its own worlds, by row
        for member in self._members:
            pairs = zip(member.rows.tolist(), member.slots.tolist(), strict=True)
            mine = [(row, wanted[slot]) for row, slot in pairs if slot in wanted]
            if not mine:
                continue
            batch, used = self._batches[member.batch], sorted({index for _, index in mine})
            table = stacked([batch.reader.read(distinct[index]) for index in used])
            position = {index: place for place, index in enumerate(used)}
            places = torch.tensor([position[index] for _, index in mine], device=self.device)
            rows = torch.tensor([row for row, _ in mine], device=self.device)
            sent = {name: torch.as_tensor(values, device=self.device) for name, values in table.items()}
            batch.prepare(rows, {name: values[places] for name, values in sent.items()})
        # the features at the start, for the observation of the reset
        shown = np.zeros((len(distinct), self.features.shape[1]), np.float32)
        for row, state in zip(shown, distinct, strict=True):
            row[: len(state.features)] = state.features
        places = torch.tensor(list(wanted.values()), device=self.device)
        slots = torch.tensor(list(wanted), device=self.device)
        self._first_features.index_copy_(0, slots, torch.as_tensor(shown, device=self.device)[places])

    def restore(self, mask: torch.Tensor) -> None:
        """Start the worlds of ``mask [num_worlds]`` in the prepared states, with their features."""
        for batch, members in self._in_use().items():
            worlds = self._batches[batch]
            chosen = torch.zeros(worlds.num_worlds, dtype=torch.bool, device=self.device)
            for member in members:
                chosen[member.rows] = mask[member.slots]
            worlds.restore(chosen)
        torch.where(mask[:, None], self._first_features, self.features, out=self.features)
        self._diverged &= ~mask

    def set_state(self, worlds: Iterable[int], states: Iterable[WorldState]) -> None:
        """Set states and features of some worlds."""
        slots = list(worlds)
        self.prepare(slots, list(states))
        mask = torch.zeros(self.num_worlds, dtype=torch.bool)
        mask[slots] = True
        self.restore(mask.to(self.device))

    def get_state(self, worlds: Iterable[int]) -> list[WorldState]:
        """Return the states of some worlds, from which MuJoCo C can continue."""
        states = []
        for world in worlds:
            state = self._batch(world).state(self._rows[world])
            states.append(state._replace(features=self.features[world].cpu().numpy().astype(np.float64)))
        return states

    def field(self, world: int, name: str) -> torch.Tensor:
        """Return a copy of a world's field of Warp's data, or of its model."""
        return self._batch(world).field(name)[self._rows[world]].clone()

    def close(self) -> None:
        """Let go of the worlds' memory."""
        self._batches.clear()
        self._members = []

    def _batch_number(self, model: mujoco.MjModel) -> int:
        """Return the number of the batch of models that are equal, byte for byte."""
        keys = [_digest(known) for known in self._distinct]
        key = _digest(model)
        if key not in keys:
            self._distinct.append(model)
            return len(keys)
        return keys.index(key)

    def _batch(self, world: int) -> WarpBatch:
        return self._batches[self._batch_of[self._families[world]]]

    def _in_use(self) -> dict[int, list[_Members]]:
        """Return the batches that have worlds, and which."""
        found: dict[int, list[_Members]] = {}
        for member in self._members:
            found.setdefault(member.batch, []).append(member)
        return found

    def _show(self, member: _Members, mask: torch.Tensor | None) -> None:
        """Write features of a family's masked worlds."""
        layout, slots = self._layouts[member.family], member.slots
        seen = gather(self._batches[member.batch], layout, member.rows)
        if mask is not None:
            seen = torch.where(mask[slots, None], seen, self.features[slots, : layout.width])
        self.features[slots, : layout.width] = seen

    def _replace(self, batch: int, num_worlds: int) -> None:
        """Rebuild a batch, in which the worlds of the old one continue."""
        old = self._batches.get(batch)
        self.version += 1
        self._batches[batch] = WarpBatch(self._distinct[batch], num_worlds, self.device, self._plan)
        if old is not None:
            self._batches[batch].copy_from(old)

    def _group(self) -> list[_Members]:
        found: dict[int, list[int]] = {}
        # slots by family, for one index operation each
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
        """Start worlds that changed their family in their model's initial state."""
        slots = np.flatnonzero(changed).tolist()
        states: dict[int, WorldState] = {}
        for slot in slots:
            states.setdefault(self._families[slot], initial_state(self.models[self._families[slot]]))
        self.set_state(slots, [states[self._families[slot]] for slot in slots])

    def _mark_broken(self, mask: torch.Tensor | None) -> None:
        broken = torch.zeros_like(self._diverged)
        for batch, members in self._in_use().items():
            rows = self._batches[batch].take_broken()
            for member in members:
                broken[member.slots] = rows[member.rows]
        self._diverged |= broken if mask is None else broken & mask


def _free_rows(used: set[int]) -> Iterator[int]:
    return (row for row in itertools.count() if row not in used)


def _digest(model: mujoco.MjModel) -> bytes:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.tobytes()).digest()
