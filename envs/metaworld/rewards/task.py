"""A Meta-World task as data and a reward function, and the worlds that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, cast

from metarl.envs.engines.arrays import Array, Mask, Vector, aligned, constant, namespace, norm, stack
from metarl.envs.metaworld.rewards.features import HAND, Feature, body, layout, site, touching

# constants of every task under Meta-World's names, with their sizes
_RESET_CONSTANTS = {"init_tcp": 3, "obj_init_pos": 3, "target_pos": 3, "goal_low": 3, "goal_high": 3}
# constants of some tasks that are positions; the others are single numbers: distances, heights, a radius
_POSITIONS = {
    *("hand_init_pos", "stick_init_pos", "peg_head_pos_init", "handle_init_pos"),
    *("window_handle_pos_init", "dial_push_position", "lever_pos_init"),
}
NO_ROTATION = (0.0, 0.0, 0.0, 0.0)


class Object(NamedTuple):
    """One observed object: position and quaternion."""

    position: Feature
    rotation: Feature | tuple[float, float, float, float]
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    knob: Feature | None = None  # vertical joint: the position is that of a knob 5 cm from its axis


@dataclass(frozen=True, kw_only=True)
class SawyerTask:
    """Observation, features and reward of one of the 50 tasks."""

    objects: tuple[Object, ...]
    reward: Callable[[Worlds], Outcome]
    grip: str | None = None  # geom that the fingers are to hold, where the task looks at contacts
    reads: tuple[Feature, ...] = ()  # features besides hand and objects
    constants: tuple[str, ...] = ()  # of a reset, besides those of every task
    # constants that move with the simulation; quirk, kept: Meta-World never copied them
    live: dict[str, Feature] = field(default_factory=dict)
    # target_to_obj_init; quirk, kept: it is taken at an episode's first step, not at the reset
    latch: Callable[[Worlds], Array] | None = None

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Features that an engine gathers after each step, in order."""
        wanted = [*HAND, *(seen.position for seen in self.objects)]
        wanted += [seen.rotation for seen in self.objects if isinstance(seen.rotation, Feature)]
        wanted += [seen.knob for seen in self.objects if seen.knob]
        wanted += [*self.reads, *self.live.values(), *([touching(self.grip)] if self.grip else [])]
        return tuple(dict.fromkeys(wanted))

    @cached_property
    def places(self) -> dict[Feature, slice]:
        """Each feature's place in ``[F, ..., worlds]``."""
        return layout(self.features)

    @cached_property
    def constant_places(self) -> dict[str, slice]:
        """Each reset constant's place in ``[C, worlds]``."""
        sizes = _RESET_CONSTANTS | {name: 3 if name in _POSITIONS else 1 for name in self.constants}
        ends = accumulate(sizes.values())
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


@dataclass(frozen=True)
class Outcome:
    """Meta-World's reward and ``info`` of a step, ``[..., worlds]`` each."""

    reward: Array
    success: Array | Mask  # at this step, whatever was before
    near_object: Array | Mask | float
    grasp_success: Array | Mask | float
    grasp_reward: Array | float
    in_place_reward: Array | float
    obj_to_target: Array | float

    def infos(self) -> dict[str, Array]:
        """Return Meta-World's seven entries of ``info``."""
        entries = cast(dict[str, Array], vars(self))
        infos = {name: entries[name] for name in entries if name != "reward"}
        return {**infos, "unscaled_reward": self.reward}


@dataclass(frozen=True)
class Worlds:
    """Worlds of one task, at one step or at all steps of a rollout."""

    task: SawyerTask
    features: Vector  # [F, ..., worlds], laid out as the task says
    obs: Vector  # [39, ..., worlds], clipped: Meta-World's rewards read it so
    action: Vector  # [4, ..., worlds], unclipped, as the agent gave it
    constants: Vector  # [C, worlds], laid out as the task says

    def read(self, feature: Feature) -> Vector:
        """Return one feature, ``[size, ..., worlds]``."""
        return self.features[self.task.places[feature]]

    def fixed(self, name: str) -> Vector:
        """Return the reset constant of this name, ``[size, ..., worlds]``."""
        if name in self.task.live:
            return self.read(self.task.live[name])
        return aligned(self.constants[self.task.constant_places[name]], self.features)

    def offset(self, x: float, y: float, z: float) -> Vector:
        """Return a vector shared by every world, to add or to scale with."""
        return constant((x, y, z), self.obs)

    @cached_property
    def tcp(self) -> Vector:
        """The point between the fingertips (tool centre point)."""
        return (self.read(site("rightEndEffector")) + self.read(site("leftEndEffector"))) / 2.0

    @cached_property
    def pads_y(self) -> Vector:
        """The y of the left and the right finger pad, ``[2, ..., worlds]``; they close along it."""
        return stack(self.read(body("leftpad"))[1], self.read(body("rightpad"))[1])

    @property
    def hand(self) -> Vector:
        """The position of the hand, as observed."""
        return self.obs[:3]

    @property
    def opened(self) -> Array:
        """How far the gripper is open, 0 to 1."""
        return self.obs[3]

    @property
    def obj(self) -> Vector:
        """The position of the object, as observed."""
        return self.obs[4:7]

    @property
    def quaternion(self) -> Vector:
        """The rotation of the object, as observed."""
        return self.obs[7:11]

    @property
    def second_obj(self) -> Vector:
        """The position of the second object, as observed."""
        return self.obs[11:14]

    @property
    def target(self) -> Vector:
        """Where the object should go."""
        return self.fixed("target_pos")

    @property
    def obj_init(self) -> Vector:
        """Where the object was at the reset."""
        return self.fixed("obj_init_pos")

    @property
    def init_tcp(self) -> Vector:
        """Where the fingertips were at the reset."""
        return self.fixed("init_tcp")

    @cached_property
    def tcp_to_obj(self) -> Array:
        """The distance from the fingertips to the object."""
        return norm(self.obj - self.tcp)

    @cached_property
    def obj_to_target(self) -> Array:
        """The distance from object to target."""
        return norm(self.obj - self.target)

    @property
    def touching(self) -> Mask:
        """Whether both fingers press on the object."""
        assert self.task.grip is not None
        return self.read(touching(self.task.grip))[0] > 0.5

    def lifted(self, height: float) -> Mask:
        """Return where the object is more than ``height`` above its place at the reset."""
        return self.obj[2] - height > self.obj_init[2]

    def gripped(self, lift: float | None = None) -> Mask:
        """Return where the fingers press on the object, lifted by ``lift`` if given."""
        held = self.touching & (self.opened > 0)
        return held if lift is None else held & self.lifted(lift)

    def holding(self, within: float, lift: float | None = None) -> Mask:
        """Return where the open fingers are near the object, lifted by ``lift`` if given."""
        held = (self.tcp_to_obj < within) & (self.opened > 0)
        return held if lift is None else held & self.lifted(lift)


def evaluate(task: SawyerTask, features: Vector, action: Vector, constants: Vector, obs: Vector) -> Outcome:
    """Return reward, success and info values, ``[..., worlds]``, in the features' precision.

    Shapes: ``features [F, ..., worlds]``, ``action [4, ..., worlds]`` unclipped, ``constants [C, worlds]``,
    ``obs [39, ..., worlds]`` of :func:`.observation.observe`; the middle axes may be a whole rollout's.
    Actions are widened first. Meta-World rounds some rewards to single precision where the gripper's action
    enters them; those differ by up to 3e-7 of 10.
    """
    action = namespace(obs).asarray(action, dtype=obs.dtype)
    outcome = task.reward(Worlds(task, features, obs, action, constants))
    reward, success, *infos = (_plain(value, obs) for value in vars(outcome).values())
    return Outcome(reward, success, *infos)


def _plain(value: Array | Mask | float, obs: Vector) -> Array:
    """Return an array of the precision and shape of a row of observations, with 1 for true."""
    xp, like = namespace(obs), obs[0]
    if isinstance(value, float | int):
        value = constant((float(value),), obs)[0]  # sent to a device once
    array = xp.asarray(value, dtype=like.dtype, device=like.device)
    return array if array.shape == like.shape else xp.broadcast_to(array, like.shape)


def latch(task: SawyerTask, features: Vector, constants: Vector, obs: Vector) -> Vector:
    """Return the constants with those that Meta-World fixes at the first step.

    Shapes: ``features [F, worlds]``, ``constants [C, worlds]``, ``obs [39, worlds]``.
    """
    if task.latch is None:
        return constants
    place = task.constant_places["target_to_obj_init"]
    row = task.latch(Worlds(task, features, obs, obs[:4], constants))
    return namespace(row).concatenate([constants[: place.start], stack(row), constants[place.stop :]])
