"""Layout of a replay buffer: episodes, blocks of rows that become segments, indices by task."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from metarl.errors import MetarlError, require
from metarl.types import Params, Segment

Integers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

STEP_FIELDS = ("observations", "actions", "rewards", "terminated")  # fields of a row
_EPISODE_FIELDS = ("task", "length", "begins_trial", "addition")
_TASK_IDS = "task_ids"


@dataclass(frozen=True)
class Episodes:
    """E episodes, in the order of their rows."""

    names: tuple[str, ...]  # ids of tasks
    task: Integers  # [E], place of the episode's task in names
    length: Integers  # [E], steps
    begins_trial: Flags  # [E], false where the previous episode's trial continues
    addition: Integers  # [E], number of the call of ReplayBuffer.add, from the buffer's start

    def task_names(self) -> list[str]:
        """Return the tasks' ids in order of appearance."""
        return [self.names[index] for index in dict.fromkeys(self.task.tolist())]

    def followed_by(self, other: Episodes) -> Episodes:
        """Return these episodes and then others."""
        # tasks of the second table get their number in the joined list of names
        place = {name: index for index, name in enumerate(dict.fromkeys((*self.names, *other.names)))}
        moved = np.array([place[name] for name in other.names], np.int64)
        return Episodes(
            names=tuple(place),
            task=np.concatenate([self.task, moved[other.task]]),
            length=np.concatenate([self.length, other.length]),
            begins_trial=np.concatenate([self.begins_trial, other.begins_trial]),
            addition=np.concatenate([self.addition, other.addition]),
        )


class Block:
    """Rows of one segment; the newest block of a buffer still grows."""

    def __init__(self, storage: Params, place: int, first_row: int) -> None:
        self.first_row = first_row  # counted from the buffer's start
        self.num_rows, self.num_steps = 0, 0
        none = np.zeros(0, np.int64)
        self.episodes = Episodes((), none, none, none.astype(np.bool_), none)
        self._segment: Segment | None = None
        self.move(storage, place)

    def move(self, storage: Params, place: int) -> None:
        """Point to the same rows in other memory, as do segments."""
        self._storage, self.place = storage, place

    def extend(self, rows: int, episodes: Episodes) -> None:
        """Take rows that were appended to the memory."""
        self.num_rows += rows
        self.num_steps += int(episodes.length.sum())
        self.episodes = self.episodes.followed_by(episodes)
        self._segment = None

    def adopt(self, saved: Segment) -> None:
        """Adopt the sum of the segment that it was read from."""
        self.segment().sha256 = saved.sha256

    def segment(self) -> Segment:
        """Return the block as a segment, which later rows do not change."""
        if self._segment is None:
            self._segment = Segment(functools.partial(self._tensors, self.num_rows, self.episodes))
        return self._segment

    def _tensors(self, num_rows: int, episodes: Episodes) -> Params:
        rows = {name: value[self.place : self.place + num_rows] for name, value in self._storage.items()}
        table = {name: torch.from_numpy(getattr(episodes, name)) for name in _EPISODE_FIELDS}
        names = np.frombuffer(json.dumps(episodes.names).encode(), np.uint8).copy()
        return {**rows, **table, _TASK_IDS: torch.from_numpy(names)}


@dataclass(frozen=True)
class Index:
    """Where the steps of a task are."""

    rows: Integers  # [n], rows of all steps, as added
    trials: Integers  # places in rows where trials begin, then the number of rows
    additions: Integers  # likewise for additions

    def newest(self, count: int) -> Integers:
        """Return the newest additions' rows; 0 means all."""
        return self.rows[self._start(count) :]

    def draw_trials(self, num_trials: int, rng: np.random.Generator, newest: int) -> list[Integers]:
        """Return the rows of trials, drawn with replacement."""
        first = int(np.searchsorted(self.trials, self._start(newest)))
        chosen = rng.integers(first, len(self.trials) - 1, size=num_trials)
        return [self.rows[self.trials[index] : self.trials[index + 1]] for index in chosen]

    def _start(self, newest: int) -> int:
        return int(self.additions[max(0, len(self.additions) - 1 - newest)]) if newest > 0 else 0


def index_of(blocks: Sequence[Block], name: str | None) -> Index:
    """Find the steps of one task, or of all for None."""
    parts: list[tuple[Integers, Integers, Flags, Integers]] = []
    for block in blocks:
        table = block.episodes
        # each episode has one row more than steps: the observation after its last step
        starts = block.first_row + np.cumsum(table.length + 1) - (table.length + 1)
        own = np.ones(len(starts), np.bool_)
        if name is not None:
            own = table.task == (table.names.index(name) if name in table.names else -1)
        parts.append((starts[own], table.length[own], table.begins_trial[own], table.addition[own]))
    if not parts:
        return Index(*(np.zeros(size, np.int64) for size in (0, 1, 1)))
    start, length, begins, addition = (np.concatenate(part) for part in zip(*parts, strict=True))
    before = np.cumsum(length) - length  # steps of earlier episodes
    # row of step j: start of its episode + j - steps of all earlier episodes
    rows = np.repeat(start - before, length) + np.arange(length.sum())
    # the first episode of each addition
    changes = np.diff(addition, prepend=-1) != 0
    return Index(
        rows,
        trials=np.append(before[begins], len(rows)),
        additions=np.append(before[changes], len(rows)),
    )


def unpack(tensors: Params) -> tuple[Params, Episodes]:
    """Return a segment's rows and episodes, or raise."""
    expected = {*STEP_FIELDS, *_EPISODE_FIELDS, _TASK_IDS}
    if tensors.keys() != expected:
        raise MetarlError(
            f"Expected a replay segment with {sorted(expected)}, got one with {sorted(tensors)}."
        )
    names = json.loads(tensors[_TASK_IDS].numpy().tobytes())
    rows = {name: tensors[name] for name in STEP_FIELDS}
    episodes = Episodes(tuple(names), **{name: tensors[name].cpu().numpy() for name in _EPISODE_FIELDS})
    # an episode has one row more than steps, and every task has a name
    fits = (
        {len(value) for value in rows.values()} == {int((episodes.length + 1).sum())}
        and episodes.length.min(initial=1) >= 1
        and set(episodes.task.tolist()) <= set(range(len(names)))
    )
    require(fits, "The rows and the episodes of a replay segment must fit together", "otherwise")
    return rows, episodes
