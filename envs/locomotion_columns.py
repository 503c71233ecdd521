"""Which numbers of a world the locomotion engine reads after a step, and where it finds them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metarl.envs.locomotion_robots import Options, Robot
from metarl.envs.physics.batched import BatchedPhysics
from metarl.envs.physics.features import Feature

_UNSEEN = {"cinert": 10, "cvel": 6, "qfrc_actuator": 6}
"""What a robot may observe of its insides, and the numbers at the start that it does not: those of the world
that it stands in, and of its own free joint."""


class Columns(NamedTuple):
    """Where the features hold what a :class:`~.locomotion_robots.Moment` does."""

    qpos: slice
    qvel: slice
    tracked: slice
    contact_forces: slice
    insides: npt.NDArray[np.intp]
    tendons: slice


def bind(physics: BatchedPhysics, robot: Robot, options: Options) -> Columns:
    """Choose what is read from the worlds, and return where it is found."""
    qpos, qvel = Feature("qpos", "all"), Feature("qvel", "all")
    tracked = {
        "joints": qpos,
        "body": Feature("xpos", "body", physics.models[0].body(options.main_body).name),
        "mass": Feature("xipos", "all"),
    }[robot.tracks]
    forces = [Feature("cfrc_ext", "all")] if robot.feels_contacts else []
    insides = [Feature(field, "all") for field in _insides(options)]
    names = ("ten_length", "ten_velocity") if robot.reports_tendons else ()
    tendons = [Feature(name, "all") for name in names]
    physics.bind([list(dict.fromkeys([qpos, qvel, tracked, *forces, *insides, *tendons]))])
    places = physics.layout(0).columns
    return Columns(
        qpos=places[qpos],
        qvel=places[qvel],
        tracked=places[tracked],
        contact_forces=places[forces[0]] if forces else slice(0, 0),
        insides=np.array(
            [i for each in insides for i in _numbers_of(places[each])[_UNSEEN[each.field] :]], np.intp
        ),
        tendons=slice(places[tendons[0]].start, places[tendons[-1]].stop) if tendons else slice(0, 0),
    )


def _insides(options: Options) -> list[str]:
    wanted = (
        options.include_cinert_in_observation,
        options.include_cvel_in_observation,
        options.include_qfrc_actuator_in_observation,
    )
    return [field for field, included in zip(_UNSEEN, wanted, strict=True) if included]


def _numbers_of(columns: slice) -> range:
    return range(columns.start, columns.stop)
