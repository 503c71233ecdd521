"""Episodes on disk: a line for each step, written as it happens.

    episodes/0003.jsonl               whole, or being written
    episodes/0003-interrupted-1.jsonl what a kill, a stop or an error left of it; kept, and not learned from

A line is written before the next action, so a killed process loses nothing; a file is synced to disk when its
episode ends, so a power cut may lose the end of the one that was running.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch

from metarl.deploy.policy import Acting, Vector
from metarl.errors import MetarlError
from metarl.meta_learner import Action
from metarl.storage.files import make_folder, sync, sync_folder
from metarl.types import Json, Params, Rollout

INTERRUPTED = "interrupted"


class End(StrEnum):
    """Why an episode ended."""

    TERMINATED = "the environment terminated it"
    TRUNCATED = "the environment truncated it"
    HORIZON = "it reached the horizon"
    WORKSPACE = "the workspace was left"
    RETURN = "its return fell below the floor"
    ASKED = "the environment asked to stop"
    DEADLINES = "control missed too many deadlines"
    DROPPED = "too many observations were missing"
    NOT_FINITE = "the policy's action was not finite"


UNSAFE = (End.WORKSPACE, End.RETURN, End.ASKED, End.DEADLINES, End.DROPPED, End.NOT_FINITE)
"""Ends that safety brought about."""
STOPS_SESSION = (End.ASKED, End.DEADLINES, End.DROPPED)  # ends after which no further episode begins


class Ended(NamedTuple):
    """The end of an episode, as it is written."""

    end: End
    final_observation: Vector
    terminated: bool  # whether the environment says so, also where safety ends the episode at the same step


class Step(NamedTuple):
    """One step, as it is written."""

    observation: Vector  # ``[O]``, which the policy saw
    action: Vector  # ``[A]``, which the policy drew
    log_prob: float
    sent: npt.NDArray[np.generic]  # what the environment got, within all limits
    reward: float
    success: bool | None  # None where the environment does not say
    latency: float  # seconds that the policy took


@dataclass(frozen=True)
class Episode:
    """One whole episode."""

    observations: Vector  # ``[T, O]``
    actions: Vector  # ``[T, A]``
    log_probs: Vector  # ``[T]``, likewise rewards
    rewards: Vector
    success: tuple[bool | None, ...]  # of each step
    end: End
    final_observation: Vector
    terminated: bool = False  # whether its environment ended it, also where safety did so at the same step

    @property
    def total(self) -> float:
        """The undiscounted return."""
        return float(self.rewards.sum(dtype=np.float64))

    @property
    def success_streak(self) -> int:
        """Successful steps up to the last."""
        return sum(1 for _ in takewhile(bool, reversed(self.success)))

    @property
    def solved(self) -> bool | None:
        """Whether any step was a success, if known."""
        said = [success for success in self.success if success is not None]
        return any(said) if said else None

    def rollout(self, acting: Acting, horizon: int) -> Rollout:
        """Return the episode as agents learn from it, ``[1, 1, T, ...]``.

        The policy sees it once more, which gives what it adds to each step, and its memory.
        """
        initial_memory, steps = acting.memory, len(self.rewards)
        # the actions are those that were taken, whatever the policy would draw now
        acted = [self._replayed(acting, step) for step in range(steps)]
        extras: Params = {}
        for name, first in (acted[0].extras if acted else {}).items():
            extras[name] = first.new_zeros(1, 1, horizon, *first.shape[2:])
            extras[name][:, :, :steps] = torch.stack([action.extras[name] for action in acted], dim=2)
        last = torch.arange(horizon) == steps - 1
        terminated = self.terminated or self.end == End.TERMINATED
        says = self.solved is not None
        parts: dict[str, torch.Tensor] = {
            "observations": _padded(self.observations, horizon),
            "actions": _padded(self.actions, horizon),
            "log_probs": _padded(self.log_probs, horizon),
            "rewards": _padded(self.rewards, horizon),
            "mask": (torch.arange(horizon) < steps).view(1, 1, -1),
            "terminated": (last & terminated).view(1, 1, -1),
            "truncated": (last & (not terminated)).view(1, 1, -1),
            "final_observations": torch.from_numpy(self.final_observation).view(1, 1, -1),
        }
        rollout = Rollout(
            **parts,  # type: ignore[arg-type]  # the names are those of tensors
            success=torch.tensor([[bool(self.solved)]]) if says else None,
            success_at_first_step=torch.tensor([[bool(self.success[0])]]) if says else None,
            success_streak=torch.tensor([[self.success_streak]]) if says else None,
        ).to(acting.device)
        memories = {"initial_memory": initial_memory, "final_memory": acting.memory}
        named = {
            f"{kind}.{name}": value for kind, memory in memories.items() for name, value in memory.items()
        }
        return Rollout.from_tensors(
            {**rollout.tensors(), **{f"extras.{name}": value for name, value in extras.items()}, **named}
        )

    def _replayed(self, acting: Acting, step: int) -> Action:
        action = acting.act(self.observations[step])
        acting.take(self.actions[step], float(self.rewards[step]))
        return action


class Journal:
    """Writes the steps of one episode to a new file."""

    def __init__(self, path: Path) -> None:
        self.path, self.steps = path, 0
        make_folder(path.parent)
        self._file = path.open("xb", buffering=0)

    def step(self, step: Step) -> None:
        """Write a step."""
        self._line({name: _plain(value) for name, value in step._asdict().items()})
        self.steps += 1

    def finish(self, end: End, final_observation: Vector, terminated: bool = False) -> None:
        """Write why the episode ended, and sync the file to disk."""
        ended: dict[str, Json] = {"end": end.name, "final_observation": _plain(final_observation)}
        self._line({**ended, "terminated": terminated})
        sync(self._file.fileno())
        self.close()
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        self._file.close()

    def _line(self, data: dict[str, Json]) -> None:
        line = json.dumps(data).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._file.fileno(), line) :]
        except OSError as error:
            error.filename = str(self.path)  # a descriptor's error names no file
            raise


def episode_file(folder: Path, number: int) -> Path:
    """Return an episode's file, counted from 0."""
    return folder / f"{number:04d}.jsonl"


def read_episodes(folder: Path) -> list[Episode]:
    """Return all whole episodes, in order.

    Raises:
        MetarlError: if a file is damaged.
    """
    found: list[Episode] = []
    while (path := episode_file(folder, len(found))).exists() and (episode := read_episode(path)):
        found.append(episode)
    return found


def read_episode(path: Path) -> Episode | None:
    """Return an episode; None if interrupted.

    Raises:
        MetarlError: if the file is damaged.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):  # cut short by a kill
        lines.pop()
    try:
        rows = [json.loads(line) for line in lines]
        if len(rows) < 2 or "end" not in rows[-1]:
            return None
        steps, last = rows[:-1], rows[-1]
        columns = {
            name: np.asarray([row[name] for row in steps], np.float32)
            for name in ("observation", "action", "log_prob", "reward")
        }
        return Episode(
            observations=columns["observation"],
            actions=columns["action"],
            log_probs=columns["log_prob"],
            rewards=columns["reward"],
            success=tuple(row["success"] for row in steps),
            end=End[last["end"]],
            final_observation=np.asarray(last["final_observation"], np.float32),
            terminated=bool(last.get("terminated", False)),  # which early versions did not write
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MetarlError(f"The episode {path} is damaged; move it away to do it again.") from error


def set_aside(path: Path) -> Path | None:
    """Rename what is left of an interrupted episode.

    Returns:
        Its new place, or None if no step was written.
    """
    if not path.read_bytes():
        path.unlink()
        return None
    number = 1
    while (aside := path.with_name(f"{path.stem}-{INTERRUPTED}-{number}.jsonl")).exists():
        number += 1
    path.rename(aside)
    sync_folder(path.parent)
    return aside


def _padded(values: Vector, horizon: int) -> torch.Tensor:
    """Return ``[1, 1, horizon, ...]``, zero-padded."""
    padded = np.zeros((1, 1, horizon, *values.shape[1:]), np.float32)
    padded[0, 0, : len(values)] = values
    return torch.from_numpy(padded)


def _plain(value: object) -> Json:
    return cast("Json", value.tolist() if isinstance(value, np.ndarray | np.generic) else value)
