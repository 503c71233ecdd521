"""Robots with other masses, friction or gravity.

Hopper and walker follow PEARL (Rakelly et al. 2019, arXiv 1903.08254), which takes them from rand_param_envs
(code dennisl88/rand_param_envs): each mass, inertia and friction coefficient is multiplied by 1.5^u, each
damping by 1.3^u, all u independent and uniform in -3..3. There MuJoCo's derived constants stayed the original
model's; here they follow. The general suite varies any field of any MuJoCo environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from metarl.config import SuiteConfig
from metarl.envs.locomotion.env import make_env
from metarl.envs.locomotion.model_variations import ModelVariation, ModelVariations, read_phrase
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.envs.locomotion.tasks import MujocoTasks, many_tasks
from metarl.envs.task_sampling.ranges import Range, Ranges, TestRange
from metarl.errors import MetarlError, require
from metarl.settings import Horizon

# fields that vary in rand_param_envs, and the bases of their factors
_FIELDS = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
_BEYOND = 1.0  # how far exponents out of range exceed those of training at most


@dataclass(frozen=True, kw_only=True)
class ChangedDynamicsConfig(SuiteConfig):
    """The settings of all suites of changed dynamics."""

    horizon: Horizon = 200
    """Steps of an episode, PEARL's."""
    test_range: TestRange = "in"
    """Test models: from the training range, or "out": every number is beyond it."""

    def tasks(
        self, name: str, robot: str, options: Mapping[str, object], variations: Sequence[ModelVariation]
    ) -> MujocoTasks:
        """Return a robot's models by the variations."""
        ranges = tuple(variation.range for variation in variations)
        family = LocomotionFamily(
            name=name, robot=robot, options=options, dynamics=ModelVariations(tuple(variations))
        )
        return many_tasks(
            family,
            self.test_range,
            train=Ranges(ranges),
            test=Ranges(ranges, beyond=self.test_range == "out"),
            horizon=self.horizon,
        )


@dataclass(frozen=True, kw_only=True)
class RandParamsConfig(ChangedDynamicsConfig):
    """The settings of the suites of rand_param_envs."""

    log_scale_limit: Annotated[float, Gt(0), Le(10)] = 3.0
    """Training exponents are uniform in minus this to plus this; those out of range exceed it by up to 1."""

    def rand_params(self, robot: str, options: Mapping[str, object]) -> MujocoTasks:
        """Return one robot's models with other masses, inertias, damping and friction."""
        env, inner = make_env(robot, options)
        variations = [
            variation._replace(range=self._range(base))
            for field, base in _FIELDS.items()
            for variation in read_phrase(f"{field}:each:x0.5..2", inner.model, robot)
        ]
        env.close()
        return self.tasks(self.kind, robot, options, variations)

    def _range(self, base: float) -> Range:
        inside, outside = base**self.log_scale_limit, base ** (self.log_scale_limit + _BEYOND)
        return Range(1 / inside, inside, 1 / outside, outside, logarithmic=True)


@dataclass(frozen=True, kw_only=True)
class HopperRandParamsConfig(RandParamsConfig):
    """Hopper with hidden masses, damping and friction (PEARL)."""

    kind: ClassVar[str] = "hopper-rand-params"

    def build(self) -> MujocoTasks:
        """Return the task distribution, with Gymnasium's reward and termination, as PEARL's."""
        return self.rand_params("Hopper-v5", {})


@dataclass(frozen=True, kw_only=True)
class Walker2dRandParamsConfig(RandParamsConfig):
    """Walker with hidden masses, damping and friction (PEARL)."""

    kind: ClassVar[str] = "walker2d-rand-params"

    def build(self) -> MujocoTasks:
        """Return the task distribution; an action takes 5 time steps, as in rand_param_envs."""
        return self.rand_params("Walker2d-v5", {"frame_skip": 5})


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig(ChangedDynamicsConfig):
    """Any Gymnasium MuJoCo environment with hidden numbers of its model."""

    kind: ClassVar[str] = "dynamics"
    env: str = "HalfCheetah-v5"
    """Gymnasium's id; PACKAGE:ID of another package, gymnasium_robotics:FetchReachDense-v4."""
    vary: tuple[str, ...] = ("body_mass:torso:x0.5..2", "geom_friction:all[0]:x0.5..2")
    """The numbers that vary, FIELD:NAME:RANGE each.

    body_mass:torso:x0.5..2 multiplies by a factor, opt.gravity:z:-12..-7 sets a value; NAME may be "all" (one
    factor) or "each" (a factor a number).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.vary) > 0, "vary must name at least one thing", "empty")

    @property
    def label(self) -> str:
        """Name with suite and environment, which runs on two robots do not share."""
        return f"{self.kind}-{self.env.rpartition(':')[2].replace('/', '-')}"

    def build(self) -> MujocoTasks:
        """Return the task distribution; raise ``MetarlError`` on unknown fields and names."""
        env, inner = make_env(self.env, {})
        variations = [
            variation for phrase in self.vary for variation in read_phrase(phrase, inner.model, self.env)
        ]
        env.close()
        changed = [(variation.field, index) for variation in variations for index in variation.indices]
        for place in changed:
            if changed.count(place) > 1:
                raise MetarlError(f"Expected each number to vary once, got {place[0]} at {place[1]} twice.")
        return self.tasks(self.label, self.env, {}, variations)
