"""All that Meta-World says after a step, from what the physics says."""

from __future__ import annotations

from typing import NamedTuple

from metarl.envs.engines.arrays import Mask, Vector, namespace
from metarl.envs.metaworld.rewards.observation import frame, observe
from metarl.envs.metaworld.rewards.task import Outcome, SawyerTask, evaluate, latch


class Said(NamedTuple):
    """What is said of a step, ``[..., worlds]``."""

    frame: Vector
    """``[18, worlds]``, for the next step."""
    observation: Vector
    """``[39, worlds]``, clipped."""
    constants: Vector
    """``[C, worlds]``, with what is fixed at the first step."""
    outcome: Outcome


def after_step(
    task: SawyerTask, features: Vector, action: Vector, constants: Vector, before: Vector, first: Mask
) -> Said:
    """Return what Meta-World says after a step.

    Shapes as in :func:`~.task.evaluate`; ``before [18, worlds]`` is the frame of the previous step, and
    ``first [worlds]`` says where this is an episode's first step.
    """
    now = frame(task, features)
    observation = observe(now, before)
    if task.latch is not None:
        latched = latch(task, features, constants, observation)
        constants = namespace(constants).where(first, latched, constants)
    return Said(now, observation, constants, evaluate(task, features, action, constants, observation))
