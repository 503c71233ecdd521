"""What the Meta-World engine knows of its slots, a row for each, and how the rows change with a step.

The arithmetic is that of :func:`metarl.envs.metaworld.rewards.step.after_step`, either on the arrays by
NumPy, or as a program that the stepper's threads run on each row: the same bits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import cast

import numpy as np
import numpy.typing as npt

from metarl.envs.engines.arrays import Array as NumberPerWorld
from metarl.envs.engines.arrays import Vector, stack, vector
from metarl.envs.engines.threads import symbols
from metarl.envs.engines.threads.features import Array
from metarl.envs.engines.threads.programs import Program, Rows, Tape
from metarl.envs.metaworld.models import Actions
from metarl.envs.metaworld.rewards.observation import FRAME_SIZE, OBSERVATION_SIZE
from metarl.envs.metaworld.rewards.step import after_step
from metarl.envs.metaworld.rewards.task import Outcome, SawyerTask

OUTCOMES = (
    "reward",
    "success",
    "near_object",
    "grasp_success",
    "grasp_reward",
    "in_place_reward",
    "obj_to_target",
)
"""The columns of :attr:`Tables.outcomes`."""


class _Table(IntEnum):
    FEATURES = 0
    ACTIONS = 1
    CONSTANTS = 2
    FRAMES = 3
    FIRST = 4
    OBSERVATIONS = 5
    OUTCOMES = 6


class Tables:
    """A row for every slot."""

    def __init__(self, features: Array, num_constants: int) -> None:
        """Begin with zeros.

        Args:
            features: ``[N, F]``, what the physics gathers.
            num_constants: the most that a reset fixes.
        """
        slots = len(features)
        self.features = features
        self.actions = np.zeros((slots, 4), np.float32)
        """As the agent gave them."""
        self.constants = np.zeros((slots, num_constants))
        """What the resets fixed."""
        self.frames = np.zeros((slots, FRAME_SIZE))
        """What was seen last, unclipped."""
        self.first = np.zeros((slots, 1))
        """1 where an episode's first step comes next, else 0."""
        self.observations = np.zeros((slots, OBSERVATION_SIZE))
        self.outcomes = np.zeros((slots, len(OUTCOMES)))
        """Of the last step: :data:`OUTCOMES`."""

    def in_order(self) -> list[Rows]:
        """Return the arrays as programs number them."""
        return [
            self.features,
            self.actions,
            self.constants,
            self.frames,
            self.first,
            self.observations,
            self.outcomes,
        ]

    def begin(self, slot: int, observation: Array, constants: Array) -> None:
        """Let an episode begin: what the reset showed, ``[39]``, and what it fixed, ``[C]``."""
        self.observations[slot] = observation
        self.frames[slot] = observation[:FRAME_SIZE]
        self.constants[slot, : len(constants)] = constants
        self.first[slot] = 1

    def advance(self, task: SawyerTask, slots: npt.NDArray[np.int64]) -> None:
        """Let NumPy compute what some slots, all of one family, show after a step."""
        width, fixed = num_features(task), num_constants(task)
        said = after_step(
            task,
            _of(self.features[:, :width], slots),
            _of(self.actions, slots),
            _of(self.constants[:, :fixed], slots),
            _of(self.frames, slots),
            _of(self.first, slots)[0] > 0.5,
        )
        self.frames[slots] = np.asarray(said.frame).T
        self.observations[slots] = np.asarray(said.observation).T
        self.outcomes[slots] = np.stack([np.asarray(value) for value in _columns(said.outcome)], axis=1)
        self.first[slots] = 0
        if task.latch is not None:
            self.constants[slots, :fixed] = np.asarray(said.constants).T


def program(task: SawyerTask) -> Program:
    """Return what :meth:`Tables.advance` does, for one row."""
    tape, fixed = Tape(), num_constants(task)

    def loaded(table: _Table, width: int) -> Vector:
        return _as_vector(symbols.loaded(tape, table, width, single=table is _Table.ACTIONS))

    first = loaded(_Table.FIRST, 1)
    said = after_step(
        task,
        loaded(_Table.FEATURES, num_features(task)),
        loaded(_Table.ACTIONS, 4),
        loaded(_Table.CONSTANTS, fixed),
        loaded(_Table.FRAMES, FRAME_SIZE),
        first[0] > 0.5,
    )
    outputs = {
        _Table.FRAMES: said.frame,
        _Table.OBSERVATIONS: said.observation,
        _Table.OUTCOMES: stack(*_columns(said.outcome)),
        _Table.FIRST: first * 0.0,
    }
    if task.latch is not None:
        outputs[_Table.CONSTANTS] = said.constants
    return symbols.program([(table, _as_symbol(value)) for table, value in outputs.items()])


def num_features(task: SawyerTask) -> int:
    """Return how many numbers a task reads from the physics."""
    return max(int(place.stop) for place in task.places.values())


def num_constants(task: SawyerTask) -> int:
    """Return how many numbers a reset fixes for a task."""
    return max(int(place.stop) for place in task.constant_places.values())


def _of(rows: Array | Actions, slots: npt.NDArray[np.int64]) -> Vector:
    """Return some rows as ``[k, worlds]``.

    In memory a world's numbers stay neighbours, on which NumPy's dot products round as on one vector alone.
    """
    return vector(rows.take(slots, axis=0).T)


def _columns(outcome: Outcome) -> list[NumberPerWorld]:
    return [vars(outcome)[name] for name in OUTCOMES]


def _as_vector(symbol: symbols.Symbol) -> Vector:
    return cast(Vector, symbol)  # it does what one does; for type checkers only


def _as_symbol(vector: Vector) -> symbols.Symbol:
    return cast(symbols.Symbol, vector)
