"""Changed dynamics: the robot is the same to look at, and its masses, friction or gravity are not.

Hopper and walker follow PEARL (Rakelly et al. 2019, arXiv 1903.08254), which takes them from rand_param_envs
(code dennisl88/rand_param_envs): each mass, inertia and friction coefficient is multiplied by 1.5^u, each
damping by 1.3^u, all u independent and uniform in -3..3. There MuJoCo's derived constants stayed the
original model's; here they follow. The general suite varies any field of any MuJoCo environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from metarl.config import SuiteConfig
from metarl.envs.locomotion.env import make_env
from metarl.envs.locomotion.model_variations import Knob, TurnedKnobs, read_phrase
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.envs.locomotion.tasks import MujocoTasks, many_tasks
from metarl.envs.task_sampling.ranges import Range, Ranges, TestRange, check_test_range
from metarl.errors import MetarlError, require
from metarl.settings import Horizon

_FIELDS = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
"""What rand_param_envs varies, and the base of its factors."""
_BEYOND = 1.0
"""By how much exponents out of range exceed those of training at most."""


@dataclass(frozen=True, kw_only=True)
class ChangedDynamicsConfig(SuiteConfig):
    """What the suites of changed dynamics have in common."""

    horizon: Horizon = 200
    """Steps of an episode, PEARL's."""
    test_range: TestRange = "in"
    """Test on new models from the training range, or on models every number of which lies beyond ("out")."""

    def __post_init__(self) -> None:
        """Check the test range."""
        super().__post_init__()
        check_test_range(self.test_range)

    def tasks(
        self, name: str, robot: str, options: Mapping[str, object], knobs: Sequence[Knob]
    ) -> MujocoTasks:
        """Return models that the knobs make of a robot."""
        ranges = tuple(knob.range for knob in knobs)
        family = LocomotionFamily(name=name, robot=robot, options=options, dynamics=TurnedKnobs(tuple(knobs)))
        return many_tasks(
            family,
            self.test_range,
            train=Ranges(ranges),
            test=Ranges(ranges, beyond=self.test_range == "out"),
            horizon=self.horizon,
        )


@dataclass(frozen=True, kw_only=True)
class RandParamsConfig(ChangedDynamicsConfig):
    """What the suites of rand_param_envs have in common."""

    log_scale_limit: Annotated[float, Gt(0), Le(10)] = 3.0
    """Exponents are uniform in minus this to plus this; out of range lie those greater by up to 1."""

    def rand_params(self, robot: str, options: Mapping[str, object]) -> MujocoTasks:
        """Return models of a robot whose every mass, inertia, damping and friction differs."""
        env, inner = make_env(robot, options)
        knobs = [
            knob._replace(range=self._range(base))
            for field, base in _FIELDS.items()
            for knob in read_phrase(f"{field}:each:x0.5..2", inner.model, robot)
        ]
        env.close()
        return self.tasks(self.kind, robot, options, knobs)

    def _range(self, base: float) -> Range:
        inside, outside = base**self.log_scale_limit, base ** (self.log_scale_limit + _BEYOND)
        return Range(1 / inside, inside, 1 / outside, outside, logarithmic=True)


@dataclass(frozen=True, kw_only=True)
class HopperRandParamsConfig(RandParamsConfig):
    """Hopper whose masses, inertias, damping and friction are hidden (PEARL)."""

    kind: ClassVar[str] = "hopper-rand-params"

    def build(self) -> MujocoTasks:
        """Return the task distribution; reward and termination are Gymnasium's, which are PEARL's."""
        return self.rand_params("Hopper-v5", {})


@dataclass(frozen=True, kw_only=True)
class Walker2dRandParamsConfig(RandParamsConfig):
    """Walker whose masses, inertias, damping and friction are hidden (PEARL)."""

    kind: ClassVar[str] = "walker2d-rand-params"

    def build(self) -> MujocoTasks:
        """Return the task distribution, with rand_param_envs' 5 time steps per action."""
        return self.rand_params("Walker2d-v5", {"frame_skip": 5})


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig(ChangedDynamicsConfig):
    """Any MuJoCo environment of Gymnasium's with any numbers of its model hidden."""

    kind: ClassVar[str] = "dynamics"

    env: str = "HalfCheetah-v5"
    """Gymnasium's id."""
    vary: tuple[str, ...] = ("body_mass:torso:x0.5..2", "geom_friction:all[0]:x0.5..2")
    """What differs from task to task, FIELD:NAME:RANGE each: body_mass:torso:x0.5..2 multiplies by a factor,
    opt.gravity:z:-12..-7 sets a value; NAME may be "all" (one factor) or "each" (a factor a number)."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        require(len(self.vary) > 0, "vary must name at least one thing", "empty")

    @property
    def label(self) -> str:
        """Suite and environment, so that runs on two robots do not share a name."""
        return f"{self.kind}-{self.env.replace('/', '-')}"

    def build(self) -> MujocoTasks:
        """Return the task distribution.

        Raises:
            MetarlError: on an environment, a field or a name that is not known.
        """
        env, inner = make_env(self.env, {})
        knobs = [knob for phrase in self.vary for knob in read_phrase(phrase, inner.model, self.env)]
        env.close()
        changed = [(knob.field, index) for knob in knobs for index in knob.indices]
        for place in changed:
            if changed.count(place) > 1:
                raise MetarlError(f"{place[0]} is varied twice at {place[1]}; once was wanted.")
        return self.tasks(self.label, self.env, {}, knobs)
