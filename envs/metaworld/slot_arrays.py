"""Data of the Meta-World engine's slots.

There is a row for each. The arithmetic is that of :func:`metarl.envs.metaworld.rewards.step.after_step`,
either on the arrays by NumPy, or as a C function that the stepper's threads call for each row.
"""

from __future__ import annotations

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
        """The constants of the resets."""
        self.frames = np.zeros((slots, FRAME_SIZE))
        """The last frames, unclipped."""
        self.first = np.zeros((slots, 1))
        """Whether an episode's first step comes next.

        It is 1 there, else 0.
        """
        self.observations = np.zeros((slots, OBSERVATION_SIZE))
        self.outcomes = np.zeros((slots, len(OUTCOMES)))
        """Of the last step: :data:`OUTCOMES`."""

    def in_order(self) -> list[Rows]:
        """Return the arrays, ordered by number."""
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
        """Begin an episode.

        The reset's observation is ``[39]``, and its constants are ``[C]``.
        """
        self.observations[slot] = observation
        self.frames[slot] = observation[:FRAME_SIZE]
        self.constants[slot, : len(constants)] = constants
        self.first[slot] = 1

    def advance(self, task: SawyerTask, slots: npt.NDArray[np.int64]) -> None:
        """Compute some slots' observations in NumPy.

        They are after a step, and the slots are of one family.
        """
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
    """Return what :meth:`Tables.advance` does, for one row."""
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
    """Return a task's number of features.

    They are read from the physics.
    """
    return max(int(place.stop) for place in task.places.values())


def num_constants(task: SawyerTask) -> int:
    """Return a task's number of constants.

    A reset fixes them.
    """
    return max(int(place.stop) for place in task.constant_places.values())


def _of(rows: Array | Actions, slots: npt.NDArray[np.int64]) -> Vector:
    """Return some rows as ``[k, worlds]``.

    In memory a world's numbers stay neighbours, on which NumPy's dot products round as on one vector alone.
    """
    return vector(rows.take(slots, axis=0).T)


def _columns(outcome: Outcome) -> list[NumberPerWorld]:
    return [vars(outcome)[name] for name in OUTCOMES]
