"""Independent random streams by purpose: no two share a number, and none is a bare seed's.

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
    """Use of random numbers; values never change, as streams hold them."""

    TRAINING = "training"  # tasks and episodes of the indexed meta-iteration
    TRAINING_TASKS = "training tasks"  # a run's fixed list of training tasks
    VALIDATION_TASKS = "validation tasks"  # the few held-out tasks of the learning curve
    VALIDATION = "validation"  # their episodes; the index is the iteration
    TEST = "test"  # episodes of the evaluation at a run's end
    EVALUATION = "evaluation"  # held-out tasks and episodes, chosen later on
    OFFICIAL = "official evaluation"  # episodes of a publisher's own evaluator
    REFERENCE = "reference policies"
    """Episodes of policies that learn nothing."""
    EPISODE_CURVE = "episode curve"  # episodes of the curve over adaptation episodes
    EXPLANATION = "explanation"  # tasks and episodes that an adaptation is explained by
    RESAMPLES = "resamples"  # resamples of a bootstrap
    FILM = "film"  # episodes of films and exports, by the task's place; an export adapts from them
    BASELINE_TEST = "baseline test"  # episodes that measure a baseline, by the task's place
    BASELINE_TASKS = "baseline tasks"  # training tasks of a baseline
    BASELINE_LEARNING = "baseline learning"  # a baseline's first weights and its actions
    BASELINE_EPISODES = "baseline episodes"  # seeds of a baseline's training episodes
    TROUBLE = "trouble"  # noise of sensors that fail
    DEPLOYMENT = "deployment"  # actions and adaptations on an environment that is no suite


def make_rng(seed: int, purpose: Purpose, *key: int | str) -> np.random.Generator:
    """Return the random numbers of one purpose, of any integer ``seed``.

    ``key`` names one of several streams, the iteration's number for instance.
    """
    words = json.dumps([_SALT, purpose.value, int(seed), *key])
    entropy = np.frombuffer(hashlib.sha256(words.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy.tolist())))
