"""Numbers of a world that locomotion engines read after a step, for NumPy and tensors alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import mujoco

from metarl.envs.engines.arrays import Vector, namespace
from metarl.envs.engines.threads.features import Feature, Layout, Named
from metarl.envs.engines.threads.worlds import Finish
from metarl.envs.locomotion.robots import Moment, Options, Robot, centre_of_mass

# arrays that a robot may observe, and how many first numbers (the world's, its free joint's) it does not
_UNSEEN = {"cinert": 10, "cvel": 6, "qfrc_actuator": 6}


class Physics(Protocol):
    """Worlds on CPU threads or a GPU."""

    models: list[mujoco.MjModel]  # one a family

    def bind(self, features: Sequence[Sequence[Named]]) -> object:
        """Choose the features of each family's worlds."""

    def layout(self, family: int) -> Layout:
        """Return the columns of a family's features."""


class Columns(NamedTuple):
    """Where the features hold the numbers of a :class:`~.robots.Moment`."""

    qpos: slice
    qvel: slice
    tracked: slice
    contact_forces: slice
    insides: tuple[slice, ...]
    tendons: slice


def bind(physics: Physics, robot: Robot, options: Options) -> Columns:
    """Choose the worlds' features; return their columns."""
    # positions and velocities first, then the numbers that this robot needs
    qpos, qvel = Feature("qpos", "all"), Feature("qvel", "all")
    followed = {
        "joints": qpos,
        "body": Feature("xpos", "body", physics.models[0].body(options.main_body).name),
        "mass": Feature("xipos", "all"),
    }[robot.tracks]
    forces = [Feature("cfrc_ext", "all")] if robot.feels_contacts else []
    shown = vars(options)
    insides = [Feature(name, "all") for name in _UNSEEN if shown[f"include_{name}_in_observation"]]
    names = ("ten_length", "ten_velocity") if robot.reports_tendons else ()
    tendons = [Feature(name, "all") for name in names]
    # a feature that is needed twice is gathered once
    physics.bind([list(dict.fromkeys([qpos, qvel, followed, *forces, *insides, *tendons]))])
    places = physics.layout(0).columns
    return Columns(
        qpos=places[qpos],
        qvel=places[qvel],
        tracked=places[followed],
        contact_forces=places[forces[0]] if forces else slice(0, 0),
        insides=tuple(slice(places[one].start + _UNSEEN[one.field], places[one].stop) for one in insides),
        tendons=slice(places[tendons[0]].start, places[tendons[-1]].stop) if tendons else slice(0, 0),
    )


def moment_of(columns: Columns, robot: Robot, rows: Vector, masses: Vector) -> Moment:
    """Return states from features ``rows [F, worlds]`` and masses as in :func:`tracked`."""
    return Moment(
        qpos=rows[columns.qpos],
        qvel=rows[columns.qvel],
        tracked=tracked(columns, robot, rows, masses),
        contact_forces=rows[columns.contact_forces],
        insides=namespace(rows).concatenate([rows[:0], *(rows[part] for part in columns.insides)]),
        tendons=rows[columns.tendons],
    )


def tracked(columns: Columns, robot: Robot, rows: Vector, masses: Vector) -> Vector:
    """Return the coordinates of which velocity is the change, ``[axes, worlds]``.

    ``rows`` are features ``[F, worlds]``, ``masses`` those of all bodies ``[nbody, worlds]``, kilograms.
    """
    places = rows[columns.tracked]
    if robot.tracks == "mass":
        places = centre_of_mass(places, masses)
    return places[: len(robot.axes)]


def finish_of(robot: Robot) -> Finish:
    """Return the computation after the last substep: contact forces, where the robot feels them."""
    return Finish.RNE if robot.feels_contacts else Finish.NOTHING
