"""Files of one checkpoint: checked when read, and never executed.

The tensors are in ``weights.safetensors``, all the rest in ``state.json``, which names the sum of the tensors
and those of the segments that the checkpoint needs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from metarl import __version__
from metarl.errors import MetarlError
from metarl.storage.run_folder import SEGMENTS
from metarl.storage.segments import is_sum, saved_segment
from metarl.storage.tensor_files import decode_tensors, encode_tensors, sha256
from metarl.system.versions import library_versions
from metarl.types import Json, Params, State

FORMAT = 1  # version of the format of checkpoints without segments
FORMAT_WITH_SEGMENTS = 2  # version of the format of checkpoints with segments, which metarl 0.1 cannot read

_WEIGHTS, _STATE = "weights.safetensors", "state.json"
FILES = (_WEIGHTS, _STATE)
_SEAL = re.compile(rb'\{"sha256": "([0-9a-f]{64})", "state": ')
"""Checksum in front of the JSON; each format keeps it, so that damage is not taken for another version."""


class DamagedCheckpoint(MetarlError):
    """A checkpoint that is altered or unreadable."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to continue exactly."""

    iteration: int
    """Meta-iterations that are done."""
    config: dict[str, Json]
    agent: State
    """State of the agent; its tensors are on the CPU after loading."""
    progress: dict[str, Json]
    """Counters and random states of the run: environment steps, elapsed seconds, …"""
    versions: dict[str, Json] = field(default_factory=dict, compare=False, repr=False)
    """Versions of metarl and its libraries that saved it, by name; empty before it is saved."""
    physics: dict[str, Json] = field(default_factory=dict, compare=False)
    """Physics of the training, see :mod:`metarl.evaluation.physics`; empty in those of early versions."""


def encode(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Encode a checkpoint as files by name."""
    weights = encode_tensors(checkpoint.agent.tensors)
    segments: list[Json] = [segment.sha256 for segment in checkpoint.agent.segments]
    state: dict[str, Json] = {
        "format": FORMAT_WITH_SEGMENTS if segments else FORMAT,
        "iteration": checkpoint.iteration,
        "versions": library_versions(),
        "weights_sha256": sha256(weights),
        "config": checkpoint.config,
        "progress": checkpoint.progress,
        "agent": checkpoint.agent.values,
    }
    if checkpoint.physics:
        state["physics"] = checkpoint.physics
    # checkpoints without segments stay readable by older versions
    if segments:
        state["segments"] = segments
    try:
        body = json.dumps(state, allow_nan=False).encode()
    except ValueError as error:
        raise MetarlError(
            f"The checkpoint of iteration {checkpoint.iteration} must hold finite numbers, "
            "but its config, progress or agent holds a NaN or an infinity."
        ) from error
    sealed = b'{"sha256": "%s", "state": %s}\n' % (sha256(body).encode(), body)
    return {_WEIGHTS: weights, _STATE: sealed}


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, its segments unseen.

    Raises:
        DamagedCheckpoint: if a file is missing, cut short or altered.
        MetarlError: if another version of the format is needed to read it.
    """
    # 1. the state: its seal, then its format
    state = read_state(path)
    if state.get("format") not in (FORMAT, FORMAT_WITH_SEGMENTS):
        raise MetarlError(
            f"The checkpoint {path} has format {state.get('format')}, and this version of metarl "
            f"({__version__}) understands formats {FORMAT} and {FORMAT_WITH_SEGMENTS}."
        )
    # 2. the tensors, against the sum in the state
    tensors = _read_tensors(path, state)
    # 3. the segments that it refers to, read when they are asked for
    stored = segments_of(path.absolute().parent)
    segments = tuple(saved_segment(stored, name) for name in references(path, state))
    iteration, versions, physics = (state.get(name) for name in ("iteration", "versions", "physics"))
    if not isinstance(iteration, int):
        raise damaged(path, f"{_STATE} names no iteration")
    return Checkpoint(
        iteration=iteration,
        config=_object(path, state, "config"),
        agent=State(tensors, _object(path, state, "agent"), segments),
        progress=_object(path, state, "progress"),
        versions=versions if isinstance(versions, dict) else {},
        physics=physics if isinstance(physics, dict) else {},
    )


def read_state(path: Path) -> dict[str, Json]:
    """Read a checkpoint's JSON, checked against its seal."""
    data = _read(path / _STATE)
    seal = _SEAL.match(data)
    if seal is None or not data.endswith(b"}\n"):
        raise damaged(path, f"{_STATE} is cut short or altered")
    body = data[seal.end() : -2]
    if sha256(body).encode() != seal[1]:
        raise damaged(path, f"{_STATE} is not what was saved")
    try:
        state: Json = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"{_STATE} is not JSON") from error
    if not isinstance(state, dict):
        raise damaged(path, f"{_STATE} is not a JSON object")
    return state


def _read_tensors(path: Path, state: dict[str, Json]) -> Params:
    weights = _read(path / _WEIGHTS)
    if sha256(weights) != state.get("weights_sha256"):
        raise damaged(path, f"{_WEIGHTS} is not what was saved")
    try:
        return decode_tensors(weights)
    except ValueError as error:
        raise damaged(path, f"{_WEIGHTS} cannot be read") from error


def _object(path: Path, state: dict[str, Json], name: str) -> dict[str, Json]:
    value = state.get(name)
    if not isinstance(value, dict):
        raise damaged(path, f"{_STATE} has no {name}")
    return value


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise damaged(file.parent, f"{file.name} cannot be read: {error.strerror}") from error


def damaged(path: Path, what: str) -> DamagedCheckpoint:
    """Return the error of a checkpoint that is not what was saved."""
    return DamagedCheckpoint(f"The checkpoint {path} is damaged ({what}).")


def segments_of(folder: Path) -> Path:
    """Return the folder of the segments that checkpoints in ``folder`` refer to."""
    return folder.absolute().parent / SEGMENTS


def references(path: Path, state: dict[str, Json]) -> list[str]:
    """Return sums of a checkpoint's segments."""
    names = state.get("segments", [])
    if not isinstance(names, list) or not all(map(is_sum, names)):
        raise damaged(path, f"{_STATE} names no segments")
    return [str(name) for name in names]
