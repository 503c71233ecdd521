"""Batched MuJoCo physics on CPU threads."""

from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName, WorldState
from metarl.envs.engines.threads.features import Feature, Layout
from metarl.envs.engines.threads.worlds import Finish

__all__ = ["BatchedPhysics", "Feature", "Finish", "Layout", "StepperName", "WorldState"]
