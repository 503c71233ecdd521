"""Independent random streams by purpose.

Two of them never share a number, and none is that of a bare seed.

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
    """Use of random numbers.

    The values are part of every stream, so they never change.
    """

    TRAINING = "training"
    """Tasks and episodes of the indexed meta-iteration."""
    TRAINING_TASKS = "training tasks"
    """A run's fixed list of training tasks."""
    VALIDATION_TASKS = "validation tasks"
    """The few held-out tasks of the learning curve."""
    VALIDATION = "validation"
    """Their episodes; the index is the iteration."""
    TEST = "test"
    """Episodes of the evaluation at a run's end."""
    EVALUATION = "evaluation"
    """Held-out tasks and episodes, chosen later on."""
    OFFICIAL = "official evaluation"
    """Episodes of a publisher's own evaluator."""
    EPISODE_CURVE = "episode curve"
    """Episodes of the curve over adaptation episodes."""
    EXPLANATION = "explanation"
    """Tasks and episodes that an adaptation is explained by."""
    RESAMPLES = "resamples"
    """Resamples of a bootstrap."""
    FILM = "film"
    """Episodes of films and exports, by task.

    The index is the task's place; an export adapts from its episodes.
    """
    BASELINE_TEST = "baseline test"
    """Episodes that measure a baseline, by task.

    The index is the task's place.
    """
    BASELINE_TASKS = "baseline tasks"
    """Training tasks of a baseline."""
    BASELINE_LEARNING = "baseline learning"
    """A baseline's first weights and its actions."""
    BASELINE_EPISODES = "baseline episodes"
    """Seeds of a baseline's training episodes."""
    TROUBLE = "trouble"
    """Noise of sensors that fail."""
    DEPLOYMENT = "deployment"
    """Actions and adaptations on an environment that is no suite."""


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
