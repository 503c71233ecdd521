"""The folder of a comparison: results and weights.

Each file is whole or absent, so a comparison that was killed resumes with the missing ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch

from metarl.errors import MetarlError
from metarl.evaluation.record import Evaluation, evaluation_from_json, join
from metarl.storage.files import write_json, write_whole
from metarl.types import Json, Params

SETTINGS = "settings.json"


@dataclass(frozen=True)
class Measured:
    """Measurement of one agent on held-out tasks."""

    evaluation: Evaluation  # ``[tasks, stages, episodes]``
    task_steps: tuple[int, ...]  # environment steps learned from, by task and stage
    training_steps: int  # environment steps on training tasks before that

    def to_json(self) -> dict[str, Json]:
        """Return every number as plain JSON."""
        steps: list[Json] = list(self.task_steps)
        own: dict[str, Json] = {"task_steps": steps, "training_steps": self.training_steps}
        return own | {"evaluation": self.evaluation.to_json()}


def put_together(parts: Sequence[Measured]) -> Measured:
    """Join one agent's measurements on different tasks."""
    first = parts[0]
    return Measured(join([part.evaluation for part in parts]), first.task_steps, first.training_steps)


class Store:
    """Results by name in a folder, all of the same settings.

    Raises:
        MetarlError: if the folder holds results of other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Json]) -> None:
        self.folder = folder
        self.settings: dict[str, Json] = json.loads(json.dumps(settings))
        self._check()

    def _check(self) -> bool:
        """Return whether the folder has results, which must have these settings."""
        folder = self.folder
        if not (folder / SETTINGS).is_file():
            return False
        there = _read(folder / SETTINGS)
        for name, expected in self.settings.items():
            if there.get(name) != expected:
                # results of other settings must not be mixed with these
                held = f"with {name} {there[name]}" if name in there else f"that do not record {name}"
                raise MetarlError(
                    f"Expected the results in {folder} to have {name} {expected}, got results {held}; "
                    "choose another folder with --output."
                )
        return True

    def _claim(self) -> None:
        """Write the settings, unless the folder has others."""
        if not self._check():
            write_json(self.folder / SETTINGS, self.settings)

    def has(self, name: str) -> bool:
        """Return whether a result is finished."""
        return self._part(name).is_file()

    def get(self, name: str) -> Measured:
        """Read a result; damaged files are errors."""
        path = self._part(name)
        data = _read(path)
        evaluation, steps, training = (data.get(k) for k in ("evaluation", "task_steps", "training_steps"))
        if not isinstance(evaluation, dict) or not isinstance(steps, list) or not isinstance(training, int):
            raise _damaged(path)
        return Measured(evaluation_from_json(evaluation), tuple(int(str(n)) for n in steps), training)

    def put(self, name: str, done: Measured) -> None:
        """Write a result."""
        self._claim()
        write_json(self._part(name), done.to_json())

    def has_weights(self, name: str) -> bool:
        """Return whether an agent has finished training."""
        return self._weights(name).is_file()

    def weights(self, name: str, learn: Callable[[], Params]) -> Params:
        """Return weights by name, learned now if missing."""
        path = self._weights(name)
        if path.is_file():
            try:
                return safetensors.torch.load_file(path)
            except safetensors.SafetensorError as error:
                raise _damaged(path) from error
        learned = learn()
        self._claim()
        write_whole(path, safetensors.torch.save({n: value.contiguous() for n, value in learned.items()}))
        return learned

    def _part(self, name: str) -> Path:
        return self.folder / "parts" / f"{name}.json"

    def _weights(self, name: str) -> Path:
        return self.folder / "weights" / f"{name}.safetensors"


def _read(path: Path) -> dict[str, Json]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(data, dict):
        raise _damaged(path)
    return data


def _damaged(path: Path) -> MetarlError:
    return MetarlError(f"{path} is damaged; delete it, and it is computed again.")
