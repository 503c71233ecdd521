"""A Meta-World task and the worlds it reads.

It is data and a reward function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple, cast

from metarl.envs.engines.arrays import Array, Mask, Vector, aligned, constant, namespace, norm, stack
from metarl.envs.metaworld.rewards.features import HAND, Feature, body, layout, site, touching

_RESET_CONSTANTS = {"init_tcp": 3, "obj_init_pos": 3, "target_pos": 3, "goal_low": 3, "goal_high": 3}
"""Constants of every task with their sizes.

A reset fixes them; they have Meta-World's names.
"""
_OTHER_CONSTANTS = {
    "hand_init_pos": 3,
    "stick_init_pos": 3,
    "peg_head_pos_init": 3,
    "handle_init_pos": 3,
    "window_handle_pos_init": 3,
    "dial_push_position": 3,
    "lever_pos_init": 3,
    "obj_to_target_init": 1,
    "target_to_obj_init": 1,
    "grasp_radius": 1,
    # Of the original rewards: how far things are from where they should be, and heights.
    "maxDist": 1,
    "maxHammerDist": 1,
    "maxPlaceDist": 1,
    "maxPlacingDist": 1,
    "maxPullDist": 1,
    "maxPushDist": 1,
    "maxReachDist": 1,
    "hammerHeight": 1,
    "heightTarget": 1,
    "objHeight": 1,
    "obj_height": 1,
    "stickHeight": 1,
}
NO_ROTATION = (0.0, 0.0, 0.0, 0.0)


class Object(NamedTuple):
    """One observed object: position and quaternion."""

    position: Feature
    rotation: Feature | tuple[float, float, float, float]
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    knob: Feature | None = None
    """Joint about the vertical.

    The position is then that of a knob 5 cm from the axis.
    """


@dataclass(frozen=True, kw_only=True)
class SawyerTask:
    """Observation, features and reward of a task.

    It is one of the 50.
    """

    objects: tuple[Object, ...]
    reward: Callable[[Worlds], Outcome]
    grip: str | None = None
    """Geom that the fingers are to hold.

    It is given where the task looks at contacts.
    """
    reads: tuple[Feature, ...] = ()
    """Reward features besides hand and objects."""
    constants: tuple[str, ...] = ()
    """Reset constants besides those of every task."""
    live: dict[str, Feature] = field(default_factory=dict)
    """Constants that move with the simulation.

    Quirk, kept: Meta-World never copied them.
    """
    latch: Callable[[Worlds], Array] | None = None
    """Returns ``target_to_obj_init`` at the first step.

    Quirk, kept: it is taken there in an episode, not at the reset.
    """

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Features that an engine gathers, in order.

        It does so after each step.
        """
        wanted = [*HAND, *(seen.position for seen in self.objects)]
        wanted += [seen.rotation for seen in self.objects if isinstance(seen.rotation, Feature)]
        wanted += [seen.knob for seen in self.objects if seen.knob]
        wanted += [*self.reads, *self.live.values(), *([touching(self.grip)] if self.grip else [])]
        return tuple(dict.fromkeys(wanted))

    @cached_property
    def places(self) -> dict[Feature, slice]:
        """The place of each feature in ``[F, ..., worlds]``."""
        return layout(self.features)

    @cached_property
    def constant_places(self) -> dict[str, slice]:
        """The place of each reset constant in ``[C, worlds]``."""
        sizes = _RESET_CONSTANTS | {name: _OTHER_CONSTANTS[name] for name in self.constants}
        ends = accumulate(sizes.values())
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


@dataclass(frozen=True)
class Outcome:
    """Meta-World's reward and ``info`` of a step.

    Each is ``[..., worlds]``.
    """

    reward: Array
    success: Array | Mask
    """At this step, whatever was before."""
    near_object: Array | Mask | float
    grasp_success: Array | Mask | float
    grasp_reward: Array | float
    in_place_reward: Array | float
    obj_to_target: Array | float

    def infos(self) -> dict[str, Array]:
        """Return Meta-World's seven entries of ``info``."""
        entries = cast(dict[str, Array], vars(self))
        return {name: entries[name] for name in entries if name != "reward"} | {
            "unscaled_reward": self.reward
        }


@dataclass(frozen=True)
class Worlds:
    """Worlds of one task.

    They are those of one step, or of all steps of a rollout.
    """

    task: SawyerTask
    features: Vector
    """Features, ``[F, ..., worlds]``.

    They are laid out as the task says.
    """
    obs: Vector
    """Clipped observation, ``[39, ..., worlds]``.

    Meta-World's rewards read it clipped.
    """
    action: Vector
    """Unclipped action, ``[4, ..., worlds]``.

    Meta-World's rewards read it as the agent gave it.
    """
    constants: Vector
    """``[C, worlds]``, laid out as the task says."""

    def read(self, feature: Feature) -> Vector:
        """Return one feature, ``[size, ..., worlds]``."""
        return self.features[self.task.places[feature]]

    def fixed(self, name: str) -> Vector:
        """Return a reset constant, ``[size, ..., worlds]``.

        It has this name.
        """
        if name in self.task.live:
            return self.read(self.task.live[name])
        return aligned(self.constants[self.task.constant_places[name]], self.features)

    def offset(self, x: float, y: float, z: float) -> Vector:
        """Return a vector shared by every world.

        It is to add or to scale with.
        """
        return constant((x, y, z), self.obs)

    @cached_property
    def tcp(self) -> Vector:
        """The point between the fingertips (tool centre point)."""
        return (self.read(site("rightEndEffector")) + self.read(site("leftEndEffector"))) / 2.0

    @cached_property
    def pads_y(self) -> Vector:
        """The y of both finger pads.

        The shape is ``[2, ..., worlds]``, left and right; they close along it.
        """
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
        """Return where the object is lifted.

        It is more than ``height`` above its place at the reset.
        """
        return self.obj[2] - height > self.obj_init[2]

    def gripped(self, lift: float | None = None) -> Mask:
        """Return where the fingers press on the object.

        It is lifted by ``lift`` if given.
        """
        held = self.touching & (self.opened > 0)
        return held if lift is None else held & self.lifted(lift)

    def holding(self, within: float, lift: float | None = None) -> Mask:
        """Return where the fingers are near the object.

        It is lifted by ``lift`` if given.
        """
        held = (self.tcp_to_obj < within) & (self.opened > 0)
        return held if lift is None else held & self.lifted(lift)


def evaluate(task: SawyerTask, features: Vector, action: Vector, constants: Vector, obs: Vector) -> Outcome:
    """Return reward, success and info values.

    They are ``[..., worlds]`` each, in the precision of the features. Shapes: ``features [F, ..., worlds]``,
    ``action [4, ..., worlds]`` unclipped, ``constants [C, worlds]``, ``obs [39, ..., worlds]`` as
    :func:`metarl.envs.metaworld.rewards.observation.observe` gives it. The middle axes may be those of a
    whole rollout.

    Float32 actions are widened first. Meta-World rounds some rewards to single precision where the gripper's
    action enters them; those differ by up to 3e-7 of 10.
    """
    action = namespace(obs).asarray(action, dtype=obs.dtype)
    outcome = task.reward(Worlds(task, features, obs, action, constants))
    reward, success, *infos = (_plain(value, obs[0]) for value in vars(outcome).values())
    return Outcome(reward, success, *infos)


def _plain(value: Array | Mask | float, like: Vector) -> Array:
    """Return an array as ``like``.

    It has that precision and shape, with 1 for true.
    """
    xp = namespace(like)
    array = xp.asarray(value, dtype=like.dtype, device=like.device)
    return array if array.shape == like.shape else xp.broadcast_to(array, like.shape)


def latch(task: SawyerTask, features: Vector, constants: Vector, obs: Vector) -> Vector:
    """Return constants with first-step ones.

    Meta-World fixes these at an episode's first step. Shapes: ``features [F, worlds]``, ``constants [C,
    worlds]``, ``obs [39, worlds]``.
    """
    if task.latch is None:
        return constants
    place = task.constant_places["target_to_obj_init"]
    row = task.latch(Worlds(task, features, obs, obs[:4], constants))
    return namespace(row).concatenate([constants[: place.start], stack(row), constants[place.stop :]])
