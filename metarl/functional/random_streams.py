"""Random streams by purpose: two of them never share a number, and none is that of a bare seed.

``np.random.default_rng([seed, 0, 0])`` is ``np.random.default_rng(seed)``, since NumPy pads seeds with zeros,
and a seed past 2**32 spills into the next word. So a stream's entropy is a SHA-256 digest of all its names.
"""

from __future__ import annotations

import hashlib
import json
from enum import Enum

import numpy as np

_SALT = "metarl"


class Purpose(Enum):
    """Use of random numbers; the values are part of every stream, so they never change."""

    TRAINING = "training"
    """Tasks and episodes of a meta-iteration; the index is the iteration."""
    TRAINING_TASKS = "training tasks"
    """The fixed list of training tasks, where a run has one."""
    VALIDATION_TASKS = "validation tasks"
    """The few held-out tasks of the learning curve."""
    VALIDATION = "validation"
    """Their episodes; the index is the iteration."""
    TEST = "test"
    """Episodes of the evaluation at a run's end."""
    EVALUATION = "evaluation"
    """Held-out tasks that are chosen later on, and episodes on them."""
    OFFICIAL = "official evaluation"
    """Episodes of a publisher's own evaluator."""
    EPISODE_CURVE = "episode curve"
    """Episodes of the curve over numbers of adaptation episodes."""
    EXPLANATION = "explanation"
    """Tasks and episodes that an adaptation is explained by."""
    RESAMPLES = "resamples"
    """Resamples of a bootstrap."""
    FILM = "film"
    """Episodes that are filmed, or that an export adapts from; the index is the task's place."""
    BASELINE_TEST = "baseline test"
    """Episodes that a baseline is measured on; the index is the task's place."""
    BASELINE_TASKS = "baseline tasks"
    """Training tasks of a baseline."""
    BASELINE_LEARNING = "baseline learning"
    """A baseline's first weights and its actions."""
    BASELINE_EPISODES = "baseline episodes"
    """Seeds of the episodes that a baseline learns from."""
    TROUBLE = "trouble"
    """Noise of sensors that fail."""


def make_rng(seed: int, purpose: Purpose, *key: int | str) -> np.random.Generator:
    """Return the random numbers of one purpose.

    Args:
        seed: any integer.
        purpose: what they are for.
        key: which of several streams, the iteration's number for instance.
    """
    words = json.dumps([_SALT, purpose.value, int(seed), *key])
    entropy = np.frombuffer(hashlib.sha256(words.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy.tolist())))
