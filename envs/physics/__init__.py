"""Batched MuJoCo physics on CPU threads."""

from metarl.envs.physics.batched import BatchedPhysics, StepperName, WorldState
from metarl.envs.physics.features import Feature, Layout
from metarl.envs.physics.worlds import Finish

__all__ = ["BatchedPhysics", "Feature", "Finish", "Layout", "StepperName", "WorldState"]
