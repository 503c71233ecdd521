"""Locomotion suites of meta-reinforcement learning on Gymnasium's MuJoCo robots, version v5.

Sources: MAML (Finn et al. 2017, arXiv 1703.03400, code cbfinn/maml_rl), ProMP (Rothfuss et al. 2019, arXiv
1810.06784, code jonasrothfuss/ProMP) and PEARL (Rakelly et al. 2019, arXiv 1903.08254, code
katerakelly/oyster). Each config says which is followed; docs/suites.md has the table. Robots, observations,
resets and terminations are Gymnasium's, which are ProMP's and PEARL's with small differences; MAML's robots
were rllab's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

from annotated_types import Gt, Le

from metarl.config import SuiteConfig
from metarl.envs.locomotion import rewards as rewards
from metarl.envs.locomotion.starts import LocomotionFamily, Reward
from metarl.envs.locomotion.tasks import MujocoTasks, fixed_tasks, many_tasks
from metarl.envs.task_sampling.ranges import Arc, Parameters, Range, Ranges, Ring, TestRange
from metarl.errors import MetarlError
from metarl.settings import Horizon

Directions: TypeAlias = Literal["two", "any"]

_PLANE: tuple[Parameters, ...] = ((1.0, 0.0), (-1.0, 0.0))  # forward and backward
_REAR = math.pi / 4  # half the angle around straight back that training leaves out, for tests out of range
_GOAL_RADIUS = 3.0


@dataclass(frozen=True, kw_only=True)
class LocomotionConfig(SuiteConfig):
    """The settings of all locomotion suites."""

    horizon: Horizon = 200
    """Steps of an episode.
    200 in MAML and PEARL, 100 in ProMP's script."""


@dataclass(frozen=True, kw_only=True)
class HalfCheetahDirConfig(LocomotionConfig):
    """Half cheetah that runs forward or backward: just two tasks (MAML, ProMP, PEARL)."""

    kind: ClassVar[str] = "half-cheetah-dir"

    def build(self) -> MujocoTasks:
        """Return the task distribution, tested on its two training tasks, as published."""
        family = _family(self.kind, "HalfCheetah-v5", rewards.half_cheetah_dir, {"ctrl_cost_weight": 0.05})
        return fixed_tasks(family, ((1.0,), (-1.0,)), self.horizon)


@dataclass(frozen=True, kw_only=True)
class VelocityConfig(LocomotionConfig):
    """The settings of the suites of velocities."""

    fastest: Annotated[float, Gt(0), Le(1000)]
    """Training goals: uniform in 0..this, metres per second."""
    test_range: TestRange = "in"
    """Test goals: from the training range, or "out": faster by up to a third."""

    def tasks(self, family: LocomotionFamily) -> MujocoTasks:
        """Return the family with goals from the range."""
        goals = (Range(0.0, self.fastest, 0.0, 4 / 3 * self.fastest),)
        train, test = Ranges(goals), Ranges(goals, self.test_range == "out")
        return many_tasks(family, self.test_range, train=train, test=test, horizon=self.horizon)


@dataclass(frozen=True, kw_only=True)
class HalfCheetahVelConfig(VelocityConfig):
    """Half cheetah at a hidden velocity (ProMP, PEARL; 1.5 times MAML's range)."""

    kind: ClassVar[str] = "half-cheetah-vel"
    fastest: float = 3.0
    """Training goals: uniform in 0..this, metres per second.
    MAML's is 2."""

    def build(self) -> MujocoTasks:
        """Return the task distribution."""
        options = {"ctrl_cost_weight": 0.05}
        return self.tasks(_family(self.kind, "HalfCheetah-v5", rewards.half_cheetah_vel, options))


@dataclass(frozen=True, kw_only=True)
class AntVelConfig(VelocityConfig):
    """Ant that walks at a hidden velocity (MAML)."""

    kind: ClassVar[str] = "ant-vel"
    fastest: float = 3.0
    """Training goals: uniform in 0..this, metres per second."""

    def build(self) -> MujocoTasks:
        """Return the task distribution."""
        options = {"ctrl_cost_weight": 0.005, "healthy_reward": 0.05}
        return self.tasks(_family(self.kind, "Ant-v5", rewards.ant_vel, options))


@dataclass(frozen=True, kw_only=True)
class Walker2dVelConfig(VelocityConfig):
    """Walker at a hidden velocity (ProMP, with its 8 time steps per action)."""

    kind: ClassVar[str] = "walker2d-vel"
    fastest: float = 10.0
    """Training goals: uniform in 0..this, metres per second."""

    def build(self) -> MujocoTasks:
        """Return the task distribution."""
        options = {"healthy_reward": 15.0, "frame_skip": 8}
        return self.tasks(_family(self.kind, "Walker2d-v5", rewards.walker2d_vel, options))


@dataclass(frozen=True, kw_only=True)
class AntGoalConfig(LocomotionConfig):
    """Ant that walks to a hidden point within 3 m (ProMP, PEARL; MAML's were in a square)."""

    kind: ClassVar[str] = "ant-goal"
    test_range: TestRange = "in"
    """Test goals: within 3 m, or "out": 3 to 4 m away."""

    def build(self) -> MujocoTasks:
        """Return the task distribution; the ant sees where it is, and never terminates."""
        options = {
            "ctrl_cost_weight": 0.1,
            "healthy_reward": 0.0,
            "terminate_when_unhealthy": False,
            "exclude_current_positions_from_observation": False,
        }
        near, far = Ring(0.0, _GOAL_RADIUS), Ring(_GOAL_RADIUS, 4 / 3 * _GOAL_RADIUS)
        family = _family(self.kind, "Ant-v5", rewards.ant_goal, options)
        test = far if self.test_range == "out" else near
        return many_tasks(family, self.test_range, train=near, test=test, horizon=self.horizon)


@dataclass(frozen=True, kw_only=True)
class DirectionConfig(LocomotionConfig):
    """Settings of suites with directions in the plane."""

    directions: Directions
    """Forward and backward only ("two"), or any angle ("any")."""
    test_range: TestRange = "in"
    """Test on new angles of the whole circle; with "out" on the quarter behind, which training leaves out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.directions, self.test_range) == ("two", "out"):
            raise MetarlError(
                'Expected directions "any" to test out of range, got two directions, which leave none.'
            )

    @property
    def label(self) -> str:
        """Name with suite and directions, which runs on two tasks and on many do not share."""
        return f"{self.kind}-{self.directions}"

    def tasks(self, family: LocomotionFamily) -> MujocoTasks:
        """Return the family with the chosen directions."""
        if self.directions == "two":
            return fixed_tasks(family, _PLANE, self.horizon)
        if self.test_range == "in":
            circle = Arc(-math.pi, math.pi)
            return many_tasks(family, "in", train=circle, test=circle, horizon=self.horizon)
        front, rear = Arc(_REAR - math.pi, math.pi - _REAR), Arc(math.pi - _REAR, math.pi + _REAR)
        return many_tasks(family, "out", train=front, test=rear, horizon=self.horizon)


@dataclass(frozen=True, kw_only=True)
class AntDirConfig(DirectionConfig):
    """Ant in a hidden direction: forward or backward, or any angle (ProMP, PEARL)."""

    kind: ClassVar[str] = "ant-dir"
    directions: Directions = "two"
    """"two", forward and backward as in all three papers, or "any" angle, ProMP's AntRandDirec2D."""

    def build(self) -> MujocoTasks:
        """Return the task distribution, with Gymnasium's costs, bonus and termination (PEARL's)."""
        return self.tasks(_family(self.label, "Ant-v5", rewards.ant_dir, {}))


@dataclass(frozen=True, kw_only=True)
class HumanoidDirConfig(DirectionConfig):
    """Humanoid in a hidden direction: any angle (PEARL), or forward or backward (ProMP)."""

    kind: ClassVar[str] = "humanoid-dir"
    directions: Directions = "any"
    """"any" angle, PEARL's, or "two", forward and backward, ProMP's HumanoidRandDirec."""

    def build(self) -> MujocoTasks:
        """Return the task distribution, with Gymnasium's costs, bonus and termination (PEARL's)."""
        return self.tasks(_family(self.label, "Humanoid-v5", rewards.humanoid_dir, {}))


def _family(name: str, robot: str, reward: Reward, options: Mapping[str, object]) -> LocomotionFamily:
    return LocomotionFamily(name=name, robot=robot, reward=reward, options=options)
