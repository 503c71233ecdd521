"""Words: a trial with a memory is told in episodes, other adapting in steps."""

from __future__ import annotations

import pytest

from metarl.text import stage_name


@pytest.mark.parametrize(
    ("steps", "trial", "expected"),
    [
        (0, "parallel", "before adaptation"),
        (1, "parallel", "after 1 adaptation step"),
        (0, "sequential", "first episode"),
        (1, "sequential", "after 1 episode"),
        (3, "sequential", "after 3 episodes"),
    ],
)
def test_stage_of_a_trial_is_told_in_episodes(steps: int, trial: str, expected: str) -> None:
    assert stage_name(steps, trial) == expected
