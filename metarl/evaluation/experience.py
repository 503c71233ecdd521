"""One axis for all agents: episodes of experience.

An adaptation step of a parallel agent takes ``adaptation_episodes`` of experience, a sequential agent's one.
Scores may be compared where both have had equally many episodes on the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metarl.errors import MetarlError
from metarl.evaluation.record import Evaluation, part_of


def experience_of(evaluation: Evaluation, adaptation_episodes: int) -> tuple[int, ...]:
    """Return the episodes before each measured stage.

    ``adaptation_episodes`` is the number a step takes; it is unused for a sequential agent.
    """
    if evaluation.experience:
        return evaluation.experience
    per_step = 1 if evaluation.trial == "sequential" else adaptation_episodes
    return tuple(step * per_step for step in range(evaluation.adaptation_steps + 1))


def common_counts(experiences: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[int, ...]:
    """Return the episode counts after which every named agent was measured.

    Raises:
        MetarlError: if they share none but 0; names those of each.
    """
    shared = set.intersection(*(set(counts) for _, counts in experiences))
    if shared <= {0}:
        known = "; ".join(f"{name} after {', '.join(map(str, counts))}" for name, counts in experiences)
        raise MetarlError(
            f"Expected measurements after equally many episodes of experience, got {known}; measure again "
            "with metarl evaluate RUN --adaptation-episodes 1 and compare the JSON files that it writes, or "
            "train with --evaluation.adaptation-episodes 1."
        )
    return tuple(sorted(shared))


def at_counts(evaluation: Evaluation, adaptation_episodes: int, counts: Sequence[int]) -> Evaluation:
    """Return an evaluation's stages after these episodes."""
    stages = [experience_of(evaluation, adaptation_episodes).index(count) for count in counts]
    return replace(
        evaluation,
        returns=evaluation.returns[:, stages],
        successes=part_of(evaluation.successes, slice(None), stages),
        last=part_of(evaluation.last, slice(None), stages),
        held=part_of(evaluation.held, slice(None), stages),
        trial="sequential",
        experience=tuple(counts),
    )
