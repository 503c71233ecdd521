"""Rewards of locomotion tasks, as array arithmetic over Gymnasium's infos.

Each function gets the infos of a step, ``[worlds]`` each, and the parameters of the worlds' tasks, ``[P,
worlds]``, and returns rewards ``[worlds]``. The weights of costs and bonuses are already in the infos.
"""

from __future__ import annotations

from metarl.envs.engines.arrays import Array, Vector
from metarl.envs.locomotion.robots import Quantities

# the published 0.25 times displacement over one of the five time steps of a step
HUMANOID_FORWARD_WEIGHT = 1.25
ANT_VELOCITY_BONUS = 1.0  # of Finn et al., so that falling early does not pay


def half_cheetah_dir(infos: Quantities, parameters: Vector) -> Array:
    """Pay for velocity in the task's direction ±1: ``d * v - cost``."""
    return infos["reward_ctrl"] + parameters[0] * infos["x_velocity"]


def half_cheetah_vel(infos: Quantities, parameters: Vector) -> Array:
    """Pay for the task's velocity: ``-|v - goal| - cost``."""
    return infos["reward_ctrl"] - abs(infos["x_velocity"] - parameters[0])


def ant_dir(infos: Quantities, parameters: Vector) -> Array:
    """Pay for velocity along the task's unit vector: ``d . v - costs + alive``."""
    return (_along(infos, parameters) + infos["reward_survive"]) + _costs(infos)


def ant_goal(infos: Quantities, parameters: Vector) -> Array:
    """Pay for nearness to the task's point: ``-|x - goal_x| - |y - goal_y| - costs``."""
    distance = abs(infos["x_position"] - parameters[0]) + abs(infos["y_position"] - parameters[1])
    return _costs(infos) - distance


def ant_vel(infos: Quantities, parameters: Vector) -> Array:
    """Pay for the task's velocity: ``1 - |v - goal| - costs + alive``."""
    near = ANT_VELOCITY_BONUS - abs(infos["x_velocity"] - parameters[0])
    return (near + infos["reward_survive"]) + _costs(infos)


def humanoid_dir(infos: Quantities, parameters: Vector) -> Array:
    """Pay for velocity along the task's unit vector: ``1.25 d . v - costs + alive``."""
    forward = HUMANOID_FORWARD_WEIGHT * _along(infos, parameters)
    return (forward + infos["reward_survive"]) + _costs(infos)


def walker2d_vel(infos: Quantities, parameters: Vector) -> Array:
    """Pay for the task's velocity: ``alive - |v - goal| - cost``."""
    near = infos["reward_survive"] - abs(infos["x_velocity"] - parameters[0])
    return near + infos["reward_ctrl"]


def _along(infos: Quantities, direction: Vector) -> Array:
    return direction[0] * infos["x_velocity"] + direction[1] * infos["y_velocity"]


def _costs(infos: Quantities) -> Array:
    return infos["reward_ctrl"] + infos["reward_contact"]
