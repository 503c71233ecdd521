"""Data of the engine's slots, a row each.

The arithmetic is that of :func:`.rewards.step.after_step`, either on the arrays by NumPy, or as a C function
that the stepper's threads call for each row.
"""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from metarl.envs.engines.arrays import Array as NumberPerWorld
from metarl.envs.engines.arrays import Vector, stack, vector
from metarl.envs.engines.threads.c_functions import CFunction, Rows
from metarl.envs.engines.threads.features import Array
from metarl.envs.metaworld.models import Actions
from metarl.envs.metaworld.rewards.observation import FRAME_SIZE, OBSERVATION_SIZE
from metarl.envs.metaworld.rewards.step import after_step
from metarl.envs.metaworld.rewards.task import Outcome, SawyerTask

OUTCOMES = tuple(field.name for field in fields(Outcome))

_Table = IntEnum(
    "_Table", ["FEATURES", "ACTIONS", "CONSTANTS", "FRAMES", "FIRST", "OBSERVATIONS", "OUTCOMES"], start=0
)


class Tables:
    """A row for every slot."""

    def __init__(self, features: Array, num_constants: int) -> None:
        """Begin with zeros; ``features [N, F]`` are the physics', ``num_constants`` the most of a reset."""
        slots = len(features)
        self.features = features
        self.actions = np.zeros((slots, 4), np.float32)  # as the agent gave them
        self.constants = np.zeros((slots, num_constants))  # of the resets
        self.frames = np.zeros((slots, FRAME_SIZE))  # the last ones, unclipped
        self.first = np.zeros((slots, 1))  # 1 where an episode's first step comes next, else 0
        self.observations = np.zeros((slots, OBSERVATION_SIZE))
        self.outcomes = np.zeros((slots, len(OUTCOMES)))  # of the last step: OUTCOMES

    def in_order(self) -> list[Rows]:
        """Return the arrays, ordered by number."""
        moving = (self.features, self.actions, self.constants, self.frames, self.first)
        return [*moving, self.observations, self.outcomes]

    def begin(self, slot: int, observation: Array, constants: Array) -> None:
        """Begin an episode from the reset's observation ``[39]`` and constants ``[C]``."""
        self.observations[slot] = observation
        self.frames[slot] = observation[:FRAME_SIZE]
        self.constants[slot, : len(constants)] = constants
        self.first[slot] = 1

    def advance(self, task: SawyerTask, slots: npt.NDArray[np.int64]) -> None:
        """Compute observations and outcomes after a step, for slots of one family."""
        width, fixed = num_features(task), num_constants(task)
        result = after_step(
            task,
            _of(self.features[:, :width], slots),
            _of(self.actions, slots),
            _of(self.constants[:, :fixed], slots),
            _of(self.frames, slots),
            _of(self.first, slots)[0] > 0.5,
        )
        # rows of other slots stay as they are
        self.frames[slots] = np.asarray(result.frame).T
        self.observations[slots] = np.asarray(result.observation).T
        self.outcomes[slots] = np.stack([np.asarray(value) for value in _columns(result.outcome)], axis=1)
        self.first[slots] = 0
        if task.latch is not None:
            self.constants[slots, :fixed] = np.asarray(result.constants).T


def c_function(task: SawyerTask, tables: Tables) -> CFunction:
    """Return :meth:`Tables.advance` in C, of one row."""
    function, fixed = CFunction(tables.in_order()), num_constants(task)
    # the same reward function as NumPy's, called with expressions
    first = function.load(_Table.FIRST, 1)
    result = after_step(
        task,
        function.load(_Table.FEATURES, num_features(task)),
        function.load(_Table.ACTIONS, 4),
        function.load(_Table.CONSTANTS, fixed),
        function.load(_Table.FRAMES, FRAME_SIZE),
        first[0] > 0.5,
    )
    # the next step reads this frame as its last one
    function.store(_Table.FRAMES, result.frame)
    function.store(_Table.OBSERVATIONS, result.observation)
    function.store(_Table.OUTCOMES, stack(*_columns(result.outcome)))
    function.store(_Table.FIRST, first * 0.0)
    # only tasks that fix constants at the first step write them
    if task.latch is not None:
        function.store(_Table.CONSTANTS, result.constants)
    return function


def num_features(task: SawyerTask) -> int:
    """Return a task's number of features."""
    return max(int(place.stop) for place in task.places.values())


def num_constants(task: SawyerTask) -> int:
    """Return a task's number of reset constants."""
    return max(int(place.stop) for place in task.constant_places.values())


def _of(rows: Array | Actions, slots: npt.NDArray[np.int64]) -> Vector:
    # a world's numbers stay neighbours: NumPy's dot products then round as on one vector alone
    return vector(rows.take(slots, axis=0).T)


def _columns(outcome: Outcome) -> list[NumberPerWorld]:
    return list(vars(outcome).values())
