"""Meta-World's pick-place with another object, the reference of the suite.

Observation, success and reward are the published class's own, with two numbers that follow from the object:
its height on the table, and the width at which the fingers close on it.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar, TypeAlias

import mujoco
import numpy as np
from gymnasium.spaces import Box
from metaworld.envs.sawyer_pick_place_v3 import SawyerPickPlaceEnvV3
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.utils.reward_utils import hamacher_product, tolerance

from metarl.envs.engines.threads.features import Array
from metarl.envs.engines.threads.worlds import write_field
from metarl.envs.grasp.objects import (
    PREFIX,
    SHAPES,
    Thing,
    full_object_model,
    object_fields,
    object_model,
    rest_height,
)
from metarl.errors import require, unknown_name

Action: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

# of a task's object, start and goal; metres and kilograms
PARAMETERS = ("size", "mass", "friction", "x", "y", "goal x", "goal y", "goal z")
# least distance of start and goal over the table, metres; pick-place-v3 draws anew below it
NEAREST_GOAL = 0.15
_PAD_REACH = 0.05  # metres; Meta-World's
_SQUEEZE = 0.005  # metres; the puck's radius less the radius in Meta-World's reward


def shape_of(family: str) -> str:
    """Return a family's shape, as of ``"grasp-sphere"``; raise ``MetarlError`` if there is none."""
    if family.removeprefix(PREFIX) not in SHAPES or not family.startswith(PREFIX):
        raise unknown_name("family of objects to grasp", family, [PREFIX + shape for shape in SHAPES])
    return family.removeprefix(PREFIX)


class GraspPickPlaceEnv(SawyerPickPlaceEnvV3):
    """Meta-World's class for one shape; a random vector is one of :data:`PARAMETERS`."""

    shape: ClassVar[str]
    grasp_radius = math.nan  # least distance of a caging pad from the object's centre, metres

    def __init__(self, reward_function_version: str = "v2") -> None:
        super().__init__(reward_function_version=reward_function_version)
        space = self._random_reset_space
        assert space is not None
        low, high = np.delete(space.low, 2), np.delete(space.high, 2)  # the height follows from the size
        self._random_reset_space = Box(
            np.concatenate([np.zeros(3), low]), np.concatenate([np.full(3, np.inf), high]), dtype=np.float64
        )

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = object_model(self.shape)
        return model, mujoco.MjData(model)

    def _get_state_rand_vec(self) -> Array:
        """Return start and goal as the published class draws them."""
        size, _, _, x, y, *goal = super()._get_state_rand_vec()
        return np.array([x, y, rest_height(self.shape, size), *goal])

    def reset_model(self) -> Array:
        """Take the task's object, then reset as published; check object and goal."""
        assert self._last_rand_vec is not None
        # rand_vec: three numbers of the object, then start and goal
        x, y, goal_x, goal_y = self._last_rand_vec[3:7].tolist()
        apart = math.hypot(x - goal_x, y - goal_y)
        require(
            apart >= NEAREST_GOAL, f"A goal must be {NEAREST_GOAL} m from the start over the table", apart
        )
        # Meta-World compiles one model, which gets the object's fields at each reset
        thing = Thing(*self._last_rand_vec[:3].tolist())
        for field, values in object_fields(self.shape, thing).items():
            write_field(self.model, field, values)
        self.grasp_radius = thing.size - _SQUEEZE
        observation: Array = super().reset_model()
        return observation

    def _gripper_caging_reward(self, action: Action, obj_pos: Array, *_: object, **__: object) -> float:
        """Return the published reward for this object's width; the published class knows one."""
        # as in the published method, with the object's own radius
        left, right = (self.data.body(name).xpos[1] for name in ("leftpad", "rightpad"))
        sides = ((left - obj_pos[1], self.init_left_pad[1]), (obj_pos[1] - right, self.init_right_pad[1]))
        left_caging, right_caging = (
            tolerance(
                apart,
                bounds=(self.grasp_radius, _PAD_REACH),
                margin=abs(abs(obj_pos[1] - pad) - _PAD_REACH),
                sigmoid="long_tail",
            )
            for apart, pad in sides
        )
        assert self.obj_init_pos is not None
        # x and z: the hand is over the object, along the fingers' free directions
        across = tolerance(
            float(np.linalg.norm((self.tcp_center - obj_pos)[::2])),
            bounds=(0, 0.005),
            margin=np.linalg.norm((self.obj_init_pos - self.init_tcp)[::2]) - 0.005,
            sigmoid="long_tail",
        )
        caging = hamacher_product(hamacher_product(left_caging, right_caging), across)
        # closing pays only once the object is caged
        gripping = min(max(0, action[-1]), 1) if caging > 0.97 else 0.0
        reward: float = (hamacher_product(caging, gripping) + caging) / 2
        return reward


@functools.cache
def grasp_class(family: str) -> type[SawyerXYZEnv]:
    """Return the environment class of a family; raise ``MetarlError`` if there is none."""
    return type("GraspPickPlaceEnv", (GraspPickPlaceEnv,), {"shape": shape_of(family)})


def task_fields(family: str, parameters: Array) -> dict[str, Array]:
    """Return the model fields of a task's object."""
    return object_fields(shape_of(family), Thing(*parameters[:3].tolist()))


def full_model(family: str) -> mujoco.MjModel:
    """Compile a family's model with visual parts."""
    return full_object_model(shape_of(family))
