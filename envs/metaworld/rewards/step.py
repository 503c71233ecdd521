"""Observation, reward and infos of a step, from the features that the physics gathers."""

from __future__ import annotations

from typing import NamedTuple

from metarl.envs.engines.arrays import Mask, Vector, namespace
from metarl.envs.metaworld.rewards.observation import frame, observe
from metarl.envs.metaworld.rewards.task import Outcome, SawyerTask, evaluate, latch


class StepResult(NamedTuple):
    """The results of a step, ``[..., worlds]``."""

    frame: Vector  # [18, worlds], for the next step
    observation: Vector  # [39, worlds], clipped
    constants: Vector  # [C, worlds], with those fixed at the first step
    outcome: Outcome


def after_step(
    task: SawyerTask, features: Vector, action: Vector, constants: Vector, before: Vector, first: Mask
) -> StepResult:
    """Compute the results of a step; shapes as in :func:`~.task.evaluate`.

    ``before [18, worlds]`` is the frame of the previous step; ``first [worlds]`` marks an episode's first
    step.
    """
    now = frame(task, features)
    observation = observe(now, before)
    if task.latch is not None:
        latched = latch(task, features, constants, observation)
        constants = namespace(constants).where(first, latched, constants)
    return StepResult(now, observation, constants, evaluate(task, features, action, constants, observation))
