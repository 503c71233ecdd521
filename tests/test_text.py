"""Words: a trial with a memory is told in episodes, other adapting in steps."""

from __future__ import annotations

import pytest

from metarl.errors import LISTED_NAMES, unknown_name
from metarl.text import letter, shown, stage_name


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


def test_value_is_shown_on_one_short_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown([1] * 100) == f"{str([1] * 100)[:59]}…"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("humanoid-dr", "did you mean 'humanoid-dir'?"),
        ("my-doors", "known are: humanoid-dir, ml1, point."),  # of something else, not a slip
        ("ppo", "known are: humanoid-dir, ml1, point."),
    ],
)
def test_name_is_told_the_nearest_only_where_it_looks_like_a_slip(name: str, said: str) -> None:
    error = unknown_name("suite", name, ("point", "humanoid-dir", "ml1"))
    assert str(error) == f"There is no suite called {name!r}; {said}"


def test_long_lists_of_names_are_cut_and_counted() -> None:
    said = str(unknown_name("task", "x", (f"task-{number:03}" for number in range(LISTED_NAMES + 7))))
    assert said.endswith("task-038, task-039 and 7 more.")


@pytest.mark.parametrize(("place", "name"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (702, "AAA")])
def test_letters_go_on_after_z(place: int, name: str) -> None:
    assert letter(place) == name
