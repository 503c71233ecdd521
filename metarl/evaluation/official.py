"""Evaluators that a suite's publishers ship, for numbers comparable with theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from metarl.meta_learner import MetaLearner
from metarl.types import Json, Task


@dataclass(frozen=True, kw_only=True)
class OfficialSettings:
    """Settings of a publisher's evaluator."""

    adaptation_steps: int = 1
    """Adaptations to each task."""
    adaptation_episodes: int = 10
    """Episodes per task that one adaptation learns from.
    1 of an agent with sequential trials."""
    deterministic: bool = False
    """Measure the most likely actions, not drawn ones."""
    success_bonus: float = 0.0
    """Paid to the agent for each step that solves the task, as in its training; no return counts it."""


@dataclass(frozen=True, kw_only=True)
class OfficialEvaluation:
    """Result of a publisher's own evaluator."""

    evaluator: str  # its name, ``"metaworld.evaluation.metalearning_evaluation"``
    settings: OfficialSettings
    tasks: int  # tasks measured
    counted_episodes: int  # episodes counted, of all measured ones
    success_rate: float  # mean over families
    mean_return: float  # undiscounted, of the counted episodes
    family_successes: dict[str, float]
    env_steps: int  # environment steps taken, including the adaptation's

    def to_json(self) -> dict[str, Json]:
        """Return every number as plain JSON."""
        data: dict[str, Json] = asdict(self)
        return data


@runtime_checkable
class OfficiallyEvaluated(Protocol):
    """A :class:`~metarl.tasks.TaskDistribution` with an evaluator of its publisher."""

    def official_steps(self, tasks: Sequence[Task], settings: OfficialSettings) -> tuple[int, int]:
        """Return the evaluation's most vector and environment steps."""

    def official_evaluation(
        self,
        agent: MetaLearner,
        tasks: Sequence[Task],
        settings: OfficialSettings,
        *,
        rng: np.random.Generator,
        num_workers: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> OfficialEvaluation:
        """Run the publisher's evaluator on an agent, which is not changed.

        The evaluator may take some of the held-out tasks only. ``num_workers`` are processes or threads, 0
        for one a core; ``on_step`` is that of :func:`metarl.rollouts.collect.collect`.
        """
