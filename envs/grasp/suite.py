"""Grasping and carrying new objects of ten shapes.

A task is an object (shape, size, mass, friction), its place on the table and a goal above it, drawn as
Meta-World's pick-place-v3 draws them. The agent observes neither which object it is nor where the goal is.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, TypeAlias

import mujoco
import numpy as np
from annotated_types import Ge, Le
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.config import SuiteConfig
from metarl.envs.grasp import env as grasp_env
from metarl.envs.grasp import objects as grasp_objects
from metarl.envs.grasp.env import NEAREST_GOAL, full_model, grasp_class, shape_of, task_fields
from metarl.envs.grasp.objects import FIELDS, PREFIX, SHAPES, Thing, object_model
from metarl.envs.metaworld.env import MAX_HORIZON
from metarl.envs.metaworld.models import EXPANDED, Models
from metarl.envs.metaworld.reset_bank import Constants
from metarl.envs.metaworld.resets import Families
from metarl.envs.metaworld.rewards.carrying import pick_place
from metarl.envs.metaworld.rewards.catalog import TASKS, RewardVersion
from metarl.envs.metaworld.rewards.constants import constants_of
from metarl.envs.metaworld.rewards.task import Outcome, SawyerTask, Worlds
from metarl.envs.metaworld.tasks import SawyerTasks
from metarl.errors import require, unknown_name
from metarl.settings import Seed
from metarl.tasks import Parameter, Split, check_disjoint
from metarl.types import Task

HeldOut: TypeAlias = Literal["both", "shapes", "ranges"]

# one of each kind of surface (flat, round once, round twice) and one compound
TRAIN_SHAPES = ("box", "brick", "cylinder", "roller", "sphere", "capsule", "dumbbell")
# another surface, a compound with its weight beside the hand, and one without a flat side
TEST_SHAPES = ("ellipsoid", "hammer", "beads")


class Ranges(NamedTuple):
    """Intervals of an object's numbers; each is drawn uniformly from one of its intervals."""

    size: tuple[tuple[float, float], ...]  # metres
    mass: tuple[tuple[float, float], ...]  # kilograms
    friction: tuple[tuple[float, float], ...]


TRAIN_RANGES = Ranges(size=((0.015, 0.021),), mass=((0.2, 0.6),), friction=((0.8, 1.2),))
UNSEEN_RANGES = Ranges(
    size=((0.013, 0.015), (0.021, 0.024)), mass=((0.1, 0.2), (0.6, 1.0)), friction=((0.6, 0.8), (1.2, 1.5))
)
_STARTS = ((-0.1, 0.1), (0.6, 0.7))
_GOALS = ((-0.1, 0.1), (0.8, 0.9), (0.05, 0.3))  # both are pick-place-v3's, metres


def _reward(w: Worlds) -> Outcome:
    return pick_place(w, w.fixed("grasp_radius")[0])


TASK = SawyerTask(
    objects=TASKS["pick-place-v3"].objects, grip="objGeom", constants=("grasp_radius",), reward=_reward
)  # pick-place-v3's task with the object's own width, for all shapes


def families(reward: RewardVersion = "v2") -> dict[str, SawyerTask]:
    """Return all families; they have Meta-World's rewards of today only."""
    assert reward == "v2"
    return {PREFIX + shape: TASK for shape in SHAPES}


def grasp_constants(env: SawyerXYZEnv, family: str) -> Constants:
    """Return the reward constants that a reset fixes."""
    del family  # all have the same
    return {"reward": constants_of(env, TASK)}


def _stepped_model(family: str, read_geoms: tuple[str, ...]) -> mujoco.MjModel:
    del read_geoms  # the object's own, which stay
    return object_model(shape_of(family))


def _version() -> str:
    """Return a name for the objects as they are, and the state that their resets leave."""
    source = inspect.getsource(grasp_objects) + inspect.getsource(grasp_env)
    return hashlib.sha256(source.encode()).hexdigest()[:12]


FAMILIES = Families(
    catalog=families,
    constants=grasp_constants,
    models=Models(
        environment=grasp_class,
        stepped=_stepped_model,
        fields=task_fields,
        expanded=tuple(dict.fromkeys((*EXPANDED, *FIELDS))),
        version=_version(),
    ),
    full_model=full_model,
)


@dataclass(frozen=True, kw_only=True)
class GraspShapesConfig(SuiteConfig):
    """The Sawyer arm picks and places objects; tests have objects it never held."""

    kind: ClassVar[str] = "grasp-shapes"
    train_shapes: tuple[str, ...] = TRAIN_SHAPES
    """Shapes to train on."""
    test_shapes: tuple[str, ...] = TEST_SHAPES
    """Shapes held out."""
    held_out: HeldOut = "both"
    """Test on new "shapes", "ranges" or "both".
    Ranges are new sizes, masses and frictions of known shapes."""
    layouts: Annotated[int, Ge(1), Le(10_000)] = 50
    """Tasks (object, start, goal) per shape and split."""
    horizon: Annotated[int, Ge(1), Le(MAX_HORIZON)] = MAX_HORIZON
    """Steps of an episode, at most Meta-World's 500."""
    task_seed: Seed = 42
    """Seed of all tasks; independent of the run's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for shape in (*self.train_shapes, *self.test_shapes):
            if shape not in SHAPES:
                raise unknown_name("shape", shape, SHAPES)
        for shapes in (self.train_shapes, self.test_shapes):
            require(len(set(shapes)) == len(shapes) > 0, "Shapes must be named, each once", shapes)
        both = sorted(set(self.train_shapes) & set(self.test_shapes))
        require(not both, "No shape may be trained on and held out", ", ".join(both))

    def build(self) -> GraspShapesTasks:
        """Return the task distribution."""
        new_shapes = self._draw(self.test_shapes, TRAIN_RANGES, "test")
        new_ranges = self._draw(self.train_shapes, UNSEEN_RANGES, "test")
        tests = {"both": new_shapes + new_ranges, "shapes": new_shapes, "ranges": new_ranges}
        train = self._draw(self.train_shapes, TRAIN_RANGES, "train")
        tasks = GraspShapesTasks(train=train, test=tests[self.held_out], horizon=self.horizon)
        check_disjoint(tasks)
        return tasks

    def _draw(self, shapes: Sequence[str], ranges: Ranges, split: Split) -> tuple[Task, ...]:
        return tuple(
            task
            for shape in shapes
            for task in draw_tasks(shape, ranges, self.layouts, self.task_seed, split)
        )


def draw_tasks(shape: str, ranges: Ranges, count: int, seed: int, split: Split) -> tuple[Task, ...]:
    """Draw tasks of a shape; the first do not depend on how many are drawn."""
    if shape not in SHAPES:
        raise unknown_name("shape", shape, SHAPES)
    stream = (seed, split == "test", list(SHAPES).index(shape))
    rng = np.random.default_rng([int(number) for number in stream])
    drawn = [(*_draw_thing(ranges, rng), *_draw_layout(rng)) for _ in range(count)]
    family = PREFIX + shape
    return tuple(Task(family, one, f"{family}/{split}/{number:02d}") for number, one in enumerate(drawn))


def _draw_thing(ranges: Ranges, rng: np.random.Generator) -> Thing:
    return Thing(*(float(rng.uniform(*intervals[rng.integers(len(intervals))])) for intervals in ranges))


def _draw_layout(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw start and goal anew until they are far enough apart, as pick-place-v3 does."""
    while True:
        start, goal = ([float(rng.uniform(*axis)) for axis in box] for box in (_STARTS, _GOALS))
        if np.hypot(start[0] - goal[0], start[1] - goal[1]) >= NEAREST_GOAL:
            return (*start, *goal)


@dataclass(frozen=True, kw_only=True)
class GraspShapesTasks(SawyerTasks):
    """Objects to grasp: a family for each shape."""

    name: str = GraspShapesConfig.kind

    @property
    def known(self) -> Families:
        """Source of the shapes' environments, models and rewards."""
        return FAMILIES

    def describe_parameters(self, family: str) -> Sequence[Parameter]:
        """Return each parameter's name and visibility: the object is seen, the goal is not."""
        seen = ("size", "mass", "friction", "start[0]", "start[1]")  # all of them change how it settles
        hidden = ("goal[0]", "goal[1]", "goal[2]")
        return [Parameter(name, name in seen) for name in (*seen, *hidden)]
