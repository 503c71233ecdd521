"""Replay buffer by task, for agents that learn from episodes more than once.

Rows are appended to one block of memory and never changed, so a snapshot of the buffer is a few references.
On disk it is a list of segments of some megabytes, each written once; only the newest, which still grows,
is written anew with each checkpoint. An episode of n steps takes n + 1 rows: the last holds the observation
that followed it. So the next row always holds the next observation, and none is kept twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from metarl.errors import MetarlError, require
from metarl.learning.replay_blocks import STEP_FIELDS, Block, Episodes, Index, Integers, index_of, unpack
from metarl.types import Params, Rollout, Segment, State, Task

SEGMENT_BYTES = 2 * 2**20
"""Size at which a segment is closed: small enough to write anew, large enough to make few files."""
SEGMENTS_OF_CAPACITY = 8
"""A segment is at most one in this many parts of the buffer, for the oldest is dropped whole."""


class Transitions(NamedTuple):
    """Single steps, B of each of M tasks."""

    observations: torch.Tensor  # [M, B, O]
    actions: torch.Tensor  # [M, B, A]
    rewards: torch.Tensor  # [M, B]
    next_observations: torch.Tensor  # [M, B, O]
    terminated: torch.Tensor
    """``[M, B]`` bool, true where the environment ended the episode, so that no value follows."""


class ReplayedTrials(NamedTuple):
    """N trials of M tasks, S steps at most; zero without ``mask``."""

    observations: torch.Tensor  # [M, N, S, O]
    actions: torch.Tensor  # [M, N, S, A]
    rewards: torch.Tensor  # [M, N, S]
    next_observations: torch.Tensor  # [M, N, S, O]
    terminated: torch.Tensor  # [M, N, S] bool
    episode_starts: torch.Tensor  # [M, N, S] bool, true at episodes' first steps
    mask: torch.Tensor  # [M, N, S] bool, true until the trial's end


class ReplayBuffer:
    """Newest ``capacity`` steps of trials, by task, in the memory of ``device``.

    A single addition that is larger than the capacity stays whole.
    """

    def __init__(self, capacity: int, device: torch.device | str = "cpu") -> None:
        require(1 <= capacity, "The capacity of a replay buffer must be positive", capacity)
        self.capacity, self.device = capacity, torch.device(device)
        self._saved: tuple[Segment, ...] | None = None
        self._clear()

    @property
    def num_steps(self) -> int:
        """Environment steps in the buffer."""
        self._read_saved()
        return sum(block.num_steps for block in self._blocks)

    @property
    def task_ids(self) -> list[str]:
        """Ids of buffered tasks, oldest first."""
        self._read_saved()
        return list(dict.fromkeys(name for block in self._blocks for name in block.episodes.task_names()))

    def steps_of(self, task: Task, *, newest: int = 0) -> int:
        """Return the number of a task's steps that :meth:`sample` draws from."""
        self._read_saved()
        return len(self._index_of(task.id).newest(newest))

    def add(self, tasks: Sequence[Task], rollouts: Sequence[Rollout]) -> None:
        """Append a meta-batch's trials; a full buffer drops its oldest segments.

        Each rollout has the next episode of every trial, ``[M, K, T, ...]``. A parallel agent gives one
        rollout: each of its episodes is then a trial of its own.
        """
        self._read_saved()
        require(len(rollouts) > 0, "An addition to a replay buffer needs at least one rollout", "none")
        require(len(tasks) == len(rollouts[0].mask), "Tasks must be as many as the rollout has", len(tasks))
        # one row for each live step, and one for the observation after each episode
        rows, lengths = _rows(rollouts)
        per_task = lengths[0].numel()
        episodes = Episodes(
            names=tuple(task.id for task in tasks),
            task=np.repeat(np.arange(len(tasks)), per_task),
            length=lengths.reshape(-1).cpu().numpy(),
            begins_trial=np.tile(np.arange(len(rollouts)) == 0, lengths[..., 0].numel()),
            addition=np.full(lengths.numel(), self._additions),
        )
        self._append({name: value.to(self.device) for name, value in rows.items()}, episodes)
        self._additions += 1
        # forget the oldest block, but never the newest one
        while len(self._blocks) > 1 and self.num_steps > self.capacity:
            del self._blocks[0]
            self._indices.clear()

    def sample(
        self, tasks: Sequence[Task], batch_size: int, rng: np.random.Generator, *, newest: int = 0
    ) -> Transitions:
        """Draw ``batch_size`` steps of each task, with replacement.

        ``newest`` limits the draws to this many of a task's newest additions; 0 draws from all. A task
        without steps raises ``MetarlError``.
        """
        self._read_saved()
        rows = [self._index_of(task.id).newest(newest) for task in tasks]
        draws = rng.integers(np.array([[len(own)] for own in rows]), size=(len(tasks), batch_size))
        chosen = np.stack([own[draw] for own, draw in zip(rows, draws, strict=True)])
        return Transitions(**self._gather(chosen))

    def sample_trials(
        self,
        num_trials: int,
        rng: np.random.Generator,
        *,
        tasks: Sequence[Task] | None = None,
        newest: int = 0,
    ) -> ReplayedTrials:
        """Draw ``num_trials`` whole trials, with replacement.

        They are N of each of M ``tasks``; None draws N of any task, and M is 1. ``newest`` limits the draws
        to this many of the newest additions (of each task); 0 draws from all. A task without trials raises
        ``MetarlError``.
        """
        self._read_saved()
        groups: list[str | None] = [None] if tasks is None else [task.id for task in tasks]
        drawn = [self._index_of(name).draw_trials(num_trials, rng, newest) for name in groups]
        steps = max(len(trial) for group in drawn for trial in group)
        rows = np.zeros((len(groups), num_trials, steps), np.int64)
        mask, starts = np.zeros_like(rows, np.bool_), np.zeros_like(rows, np.bool_)
        for m, group in enumerate(drawn):
            for n, trial in enumerate(group):
                rows[m, n, : len(trial)], mask[m, n, : len(trial)] = trial, True
                # rows of a trial follow one another, but for the one after each episode's last step
                starts[m, n, : len(trial)] = np.diff(trial, prepend=-1) != 1
                starts[m, n, 0] = True
        live = torch.from_numpy(mask).to(self.device)
        gathered = self._gather(np.where(mask, rows, self._first_row))
        for value in gathered.values():
            value[~live] = 0
        return ReplayedTrials(**gathered, episode_starts=torch.from_numpy(starts).to(self.device), mask=live)

    def state(self) -> State:
        """Return the buffer as segments; nothing is copied."""
        if self._saved is not None:
            return State({}, {}, self._saved)
        return State({}, {}, tuple(block.segment() for block in self._blocks))

    def load_state(self, state: State) -> None:
        """Continue from segments, read at first use. An agent that only acts never needs them."""
        self._clear()
        self._saved = state.segments or None

    def _clear(self) -> None:
        self._saved = None
        self._storage: Params = {}
        self._end = 0
        self._blocks: list[Block] = []
        self._indices: dict[str | None, Index] = {}
        self._additions = 0

    def _read_saved(self) -> None:
        """Read a state's segments; unfit ones raise ``MetarlError``."""
        if self._saved is None:
            return
        # clear first, since appending must not read the saved segments again
        saved = self._saved
        self._clear()
        try:
            for segment in saved:
                rows, episodes = unpack(segment.tensors())
                on_device = {name: value.to(self.device) for name, value in rows.items()}
                self._append(on_device, episodes, new_block=True)
                self._blocks[-1].adopt(segment)
                self._additions = int(episodes.addition[-1]) + 1
        except MetarlError:
            # a failed read leaves the buffer as it was, so the next use reports the error again
            self._saved = saved
            raise

    @property
    def _first_row(self) -> int:
        return self._blocks[0].first_row

    def _append(self, rows: Params, episodes: Episodes, *, new_block: bool = False) -> None:
        """Append rows and episodes to the newest block, or to a new one."""
        count = len(rows["rewards"])
        self._reserve(rows, count)
        for name, value in rows.items():
            self._storage[name][self._end : self._end + count] = value
        if new_block or not self._blocks or self._is_full(self._blocks[-1]):
            after = self._blocks[-1].first_row + self._blocks[-1].num_rows if self._blocks else 0
            self._blocks.append(Block(self._storage, self._end, after))
        self._blocks[-1].extend(count, episodes)
        self._end += count
        # indices of these tasks, and of all tasks, are out of date now
        self._indices.pop(None, None)
        for name in episodes.names:
            self._indices.pop(name, None)

    def _is_full(self, block: Block) -> bool:
        row_bytes = sum(value[0].numel() * value.element_size() for value in self._storage.values())
        return (
            block.num_rows * row_bytes >= SEGMENT_BYTES
            or block.num_steps * SEGMENTS_OF_CAPACITY >= self.capacity
        )

    def _reserve(self, rows: Params, count: int) -> None:
        """Make room for more rows, moving those that are kept if need be."""
        if self._storage and self._end + count <= len(self._storage["rewards"]):
            return
        start = self._blocks[0].place if self._blocks else self._end
        kept = self._end - start
        # growing by half keeps the cost of copying linear in all rows ever added
        room = max(kept + count, kept * 3 // 2)
        storage = {
            name: torch.zeros(room, *value.shape[1:], dtype=value.dtype, device=self.device)
            for name, value in rows.items()
        }
        for name, value in self._storage.items():
            storage[name][:kept] = value[start : self._end]
        # blocks are views by place, so they only need to learn where their rows are now
        for block in self._blocks:
            block.move(storage, block.place - start)
        self._storage, self._end = storage, kept

    def _index_of(self, name: str | None) -> Index:
        """Return indices of one or all tasks' steps; none raise ``MetarlError``."""
        if name not in self._indices:
            self._indices[name] = index_of(self._blocks, name)
        if len(self._indices[name].rows) == 0:
            known = "" if name is None else f" of task {name!r}"
            raise MetarlError(f"Expected steps{known} in the replay buffer, got none; collect some first.")
        return self._indices[name]

    def _gather(self, rows: Integers) -> Params:
        """Return steps at rows ``[...]``, with next observations."""
        # rows count from the buffer's start, places from that of the memory block
        places = torch.from_numpy(rows - self._first_row + self._blocks[0].place).to(self.device)
        flat = places.reshape(-1)

        def at(name: str, index: torch.Tensor) -> torch.Tensor:
            value = self._storage[name]
            return value.index_select(0, index).view(*places.shape, *value.shape[1:])

        return {name: at(name, flat) for name in STEP_FIELDS} | {
            "next_observations": at("observations", flat + 1)
        }


def _rows(rollouts: Sequence[Rollout]) -> tuple[Params, torch.Tensor]:
    """Return trials' rows and lengths, ``[M, K, E]``.

    The rows are the live steps by task, slot, episode and step, with an extra row after each episode.
    """
    mask = torch.stack([rollout.mask for rollout in rollouts], dim=2)
    lengths = mask.sum(dim=-1)
    # row j is kept for j <= length: the live steps and one row after them
    kept = torch.arange(mask.shape[-1] + 1, device=mask.device) <= lengths.unsqueeze(-1)

    def with_row_after(name: str) -> torch.Tensor:
        steps = torch.stack([getattr(rollout, name) for rollout in rollouts], dim=2)
        return torch.cat([steps, torch.zeros_like(steps[:, :, :, :1])], dim=3)

    rows = {name: with_row_after(name).detach() for name in STEP_FIELDS}
    final = torch.stack([rollout.final_observations for rollout in rollouts], dim=2).unsqueeze(3)
    # that row holds the observation after the last step
    place = lengths[..., None, None].expand(final.shape)
    rows["observations"] = rows["observations"].scatter(3, place, final)
    return {name: value[kept] for name, value in rows.items()}, lengths
