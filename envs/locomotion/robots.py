"""Gymnasium's MuJoCo robots as array arithmetic: observations, falls and rewards.

HalfCheetah, Ant, Hopper, Walker2d and Humanoid in Gymnasium's version v5. Each is a few data; what they share
is written once, over arrays with the worlds last, in NumPy or torch. The numbers are those of Gymnasium's own
environments, bit for bit: sums are taken in the order in which NumPy takes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from metarl.envs.engines.arrays import Array, Mask, Vector, filled, namespace, norm
from metarl.envs.engines.threads.features import Array as Numbers
from metarl.errors import unknown_name

Quantities: TypeAlias = dict[str, Array]  # by Gymnasium's names of infos, [..., worlds] each
Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Constructor arguments of Gymnasium's environments, by name.

    The values here serve robots that lack an option; other defaults are read from Gymnasium.
    """

    forward_reward_weight: float = 1.0
    ctrl_cost_weight: float = 0.0
    contact_cost_weight: float = 0.0
    healthy_reward: float = 0.0
    terminate_when_unhealthy: bool = False
    healthy_state_range: Range = (-np.inf, np.inf)
    healthy_z_range: Range = (-np.inf, np.inf)  # metres
    healthy_angle_range: Range = (-np.inf, np.inf)  # radians
    contact_force_range: Range = (-np.inf, np.inf)  # contact forces are clipped to it
    contact_cost_range: Range = (-np.inf, np.inf)  # their cost is clipped to it
    main_body: int | str = 1  # the body with the velocity that counts
    reset_noise_scale: float = 0.0
    exclude_current_positions_from_observation: bool = True
    include_cinert_in_observation: bool = False
    include_cvel_in_observation: bool = False
    include_qfrc_actuator_in_observation: bool = False
    include_cfrc_ext_in_observation: bool = True


class Moment(NamedTuple):
    """A state of the worlds that a step or a reset leaves."""

    qpos: Vector  # [nq, ..., worlds]
    qvel: Vector  # [nv, ..., worlds]
    tracked: Vector  # [axes, ..., worlds], metres; velocities are their change
    contact_forces: Vector  # cfrc_ext of all bodies, [6 * nbody, ..., worlds], or none
    insides: Vector  # further observed numbers, [k, ..., worlds], or none
    tendons: Vector  # lengths, then velocities, [2 * ntendon, ..., worlds], or none


class Outcome(NamedTuple):
    """The outcome of a step."""

    reward: Array
    terminated: Mask
    quantities: Quantities  # Gymnasium's infos


@dataclass(frozen=True, kw_only=True)
class Robot:
    """One of Gymnasium's environments."""

    environment: Callable[..., MujocoEnv]
    axes: tuple[str, ...] = ("x",)  # coordinates along which it walks; first in qpos, may be hidden
    # whether it is upright; without it an episode never terminates
    is_healthy: Callable[[Moment, Options], Mask] | None = None
    max_observed_velocity: float | None = None  # observed velocities are clipped to plus and minus this
    has_normal_velocity_noise: bool = False  # of resets; otherwise it is uniform
    feels_contacts: bool = False  # it observes contact forces, and pays for them
    # the velocity that counts: of the first coordinates, the main body or the centre of mass
    tracks: Literal["joints", "body", "mass"] = "joints"
    pays_for_controls: bool = False  # instead of actions; controls are float64 whatever the actions are
    reports_height: bool = False  # infos hold z_distance_from_origin
    reports_tendons: bool = False  # infos hold tendon lengths and velocities

    def options(self, given: Mapping[str, object]) -> Options:
        """Return Gymnasium's defaults with these in their place; raise ``MetarlError`` on unknown ones."""
        parameters = inspect.signature(self.environment).parameters
        # defaults are read from Gymnasium's constructor, so that they follow its version
        defaults = {
            name: parameter.default
            for name, parameter in parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        # those of the base class are known too, such as its camera's
        known = defaults.keys() | inspect.signature(MujocoEnv).parameters.keys()
        for name in given:
            if name not in known:
                raise unknown_name("option of this robot", name, known)
        chosen = defaults | dict(given)
        return Options(
            **{field.name: chosen[field.name] for field in fields(Options) if field.name in chosen}
        )


def find_robot(name: str) -> Robot:
    """Return one of :data:`ROBOTS`; raise ``MetarlError`` if there is none of that name."""
    if name not in ROBOTS:
        raise unknown_name("robot", name, ROBOTS)
    return ROBOTS[name]


def noise(robot: Robot, scale: float, nq: int, nv: int, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Draw a reset's noise on initial positions ``[nq]`` and velocities ``[nv]``."""
    positions = rng.uniform(low=-scale, high=scale, size=nq)
    if robot.has_normal_velocity_noise:
        return positions, scale * rng.standard_normal(nv)
    return positions, rng.uniform(low=-scale, high=scale, size=nv)


def observe(robot: Robot, options: Options, moment: Moment) -> Vector:
    """Return the observations, ``[O, ..., worlds]``."""
    hidden = len(robot.axes) if options.exclude_current_positions_from_observation else 0
    velocities, limit = moment.qvel, robot.max_observed_velocity
    if limit is not None:
        velocities = _clipped(velocities, (-limit, limit))
    parts = [moment.qpos[hidden:], velocities, moment.insides]
    if robot.feels_contacts and options.include_cfrc_ext_in_observation:
        parts.append(_clipped(moment.contact_forces[6:], options.contact_force_range))  # not the world's
    return namespace(velocities).concatenate(parts)


def whereabouts(robot: Robot, moment: Moment, initial_height: float) -> Quantities:
    """Return the infos that a reset has too."""
    places: Quantities = {f"{axis}_position": moment.qpos[i] for i, axis in enumerate(robot.axes)}
    if len(robot.axes) > 1:
        places["distance_from_origin"] = norm(moment.qpos[: len(robot.axes)])
    if robot.reports_height:
        places["z_distance_from_origin"] = moment.qpos[1] - initial_height
    if robot.reports_tendons:
        count = moment.tendons.shape[0] // 2
        places |= {"tendon_length": moment.tendons[:count], "tendon_velocity": moment.tendons[count:]}
    return places


def evaluate(
    robot: Robot,
    options: Options,
    moment: Moment,
    *,
    before: Vector,
    actions: Vector,
    seconds: Array | float,
    initial_height: float = 0.0,
) -> Outcome:
    """Return rewards, terminations and infos of a step of ``seconds``.

    ``before`` is ``tracked`` of the moment before ``moment``. Float32 ``actions [A, ..., worlds]`` have
    mostly a float32 cost, as in Gymnasium. ``initial_height`` is the second coordinate of the initial state.
    """
    # velocity = (x' - x) / dt, for each axis that the robot tracks
    velocity = (moment.tracked - before) / seconds
    infos = whereabouts(robot, moment, initial_height)
    infos |= {f"{axis}_velocity": velocity[i] for i, axis in enumerate(robot.axes)}
    forward = options.forward_reward_weight * velocity[0]
    if robot.pays_for_controls:
        actions = namespace(actions).asarray(actions, dtype=moment.qpos.dtype)
    # r = forward + healthy - control cost - contact cost
    costs: Array = options.ctrl_cost_weight * _sum(actions * actions)
    infos |= {"reward_forward": forward, "reward_ctrl": -costs}
    if robot.feels_contacts:
        # each force is clipped, then the cost
        forces = _clipped(moment.contact_forces, options.contact_force_range)
        contact_cost: Array = options.contact_cost_weight * _sum(forces * forces)
        contact_cost = namespace(forces).clip(contact_cost, *options.contact_cost_range)
        costs, infos["reward_contact"] = costs + contact_cost, -contact_cost
    # robots without a notion of health never fall
    if robot.is_healthy is None:
        return Outcome(forward - costs, _nowhere(forward), infos)
    healthy = robot.is_healthy(moment, options)
    survive = namespace(forward).where(healthy, filled(forward, options.healthy_reward), filled(forward, 0.0))
    infos["reward_survive"] = survive
    terminated = ~healthy if options.terminate_when_unhealthy else _nowhere(forward)
    return Outcome((forward + survive) - costs, terminated, infos)


def centre_of_mass(positions: Vector, masses: Vector) -> Vector:
    """Return the centre of mass, ``[3, ..., worlds]``.

    ``positions [3 * nbody, ..., worlds]`` are metres, ``masses [nbody, ..., worlds]`` kilograms.
    """
    total = positions[:3] * 0.0
    for body in range(masses.shape[0]):
        total = total + positions[3 * body : 3 * body + 3] * masses[body]
    return total / _sum(masses)


def _ant_is_healthy(moment: Moment, options: Options) -> Mask:
    low, high = options.healthy_z_range
    height = moment.qpos[2]
    finite = (abs(_state(moment)) < np.inf).all(axis=0)
    return finite & (low <= height) & (height <= high)


def _humanoid_is_healthy(moment: Moment, options: Options) -> Mask:
    return _between(moment.qpos[2], options.healthy_z_range)


def _walker_is_healthy(moment: Moment, options: Options) -> Mask:
    within = _between(moment.qpos[1], options.healthy_z_range)
    return within & _between(moment.qpos[2], options.healthy_angle_range)


def _hopper_is_healthy(moment: Moment, options: Options) -> Mask:
    state_is_healthy = _between(_state(moment)[2:], options.healthy_state_range).all(axis=0)
    return state_is_healthy & _walker_is_healthy(moment, options)


ROBOTS = {
    "Ant-v5": Robot(
        environment=AntEnv,
        axes=("x", "y"),
        is_healthy=_ant_is_healthy,
        has_normal_velocity_noise=True,
        feels_contacts=True,
        tracks="body",
    ),
    "HalfCheetah-v5": Robot(environment=HalfCheetahEnv, has_normal_velocity_noise=True),
    "Hopper-v5": Robot(
        environment=HopperEnv, is_healthy=_hopper_is_healthy, max_observed_velocity=10.0, reports_height=True
    ),
    "Humanoid-v5": Robot(
        environment=HumanoidEnv,
        axes=("x", "y"),
        is_healthy=_humanoid_is_healthy,
        feels_contacts=True,
        tracks="mass",
        pays_for_controls=True,
        reports_tendons=True,
    ),
    "Walker2d-v5": Robot(
        environment=Walker2dEnv,
        is_healthy=_walker_is_healthy,
        max_observed_velocity=10.0,
        reports_height=True,
    ),
}


def _state(moment: Moment) -> Vector:
    return namespace(moment.qpos).concatenate([moment.qpos, moment.qvel])


def _between(x: Vector, limits: Range) -> Mask:
    return (limits[0] < x) & (x < limits[1])


def _clipped(x: Vector, limits: Range) -> Vector:
    return namespace(x).clip(x, *limits)


def _nowhere(like: Array) -> Mask:
    return abs(like) < 0.0


def _sum(x: Vector) -> Array:
    """Add up to 128 components, ``[k, ..., worlds] -> [..., worlds]``.

    In the order in which NumPy adds up one vector: eight partial sums, then what is left over.
    """
    count = x.shape[0]
    whole = count - count % 8
    total: Array = x[0] * 0.0
    if whole:
        part = x[:8]
        for start in range(8, whole, 8):
            part = part + x[start : start + 8]
        total = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]))
    for index in range(whole, count):
        total = total + x[index]
    return total
