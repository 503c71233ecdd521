"""Reproduced numbers beside published ones: equal, within an interval or a tolerance, or different."""

from __future__ import annotations

from pathlib import Path

import pytest

from metarl.errors import MetarlError
from metarl.reporting.number_comparison import (
    Number,
    Rows,
    Verdict,
    compare_curves,
    compare_tables,
    judge,
    read_rows,
)


def row(**cells: float | str) -> dict[str, str]:
    return {name: str(value) for name, value in cells.items()}


def verdicts(numbers: list[Number]) -> dict[str, Verdict]:
    return {number.column: number.verdict for number in numbers}


@pytest.mark.parametrize(
    ("published", "reproduced", "ends", "tolerance", "verdict"),
    [
        (2.0, 2.0, None, 0.0, "equal"),
        (2.0, 2.0 + 1e-10, None, 0.0, "equal"),
        (2.0, 2.0 + 1e-7, None, 0.0, "different"),
        (2.0, 2.5, (1.0, 3.0), 0.0, "within"),
        (2.0, 3.0, (1.0, 3.0), 0.0, "within"),
        (2.0, 3.1, (1.0, 3.0), 0.0, "different"),
        (2.0, 2.1, (2.0, 2.0), 0.0, "different"),
        (100.0, 101.0, None, 0.01, "within"),
        (100.0, 102.0, None, 0.01, "different"),
        (2.0, None, (1.0, 3.0), 0.0, "different"),
        (2.0, float("nan"), (1.0, 3.0), 0.5, "different"),
    ],
)
def test_verdict_of_a_number(
    published: float,
    reproduced: float | None,
    ends: tuple[float, float] | None,
    tolerance: float,
    verdict: Verdict,
) -> None:
    assert judge(published, reproduced, ends, tolerance) == verdict


def test_interval_columns_judge_their_number_and_are_not_numbers_themselves() -> None:
    published = [row(seeds="all", steps=0, success=0.5, success_low=0.4, success_high=0.6)]
    reproduced = [row(seeds="all", steps=0, success=0.55, success_low=0.1, success_high=0.9)]
    found = compare_tables("a.csv", published, reproduced)
    assert verdicts(found) == {"steps": "equal", "success": "within"}
    assert (found[1].low, found[1].high, found[1].row) == (0.4, 0.6, "all")


def test_rows_are_matched_by_their_words_and_in_order_where_these_repeat() -> None:
    published = [row(agent="a", x=1), row(agent="b", x=2), row(agent="b", x=3)]
    reproduced = [row(agent="b", x=2), row(agent="b", x=4), row(agent="a", x=1)]
    found = compare_tables("a.csv", published, reproduced)
    assert [(one.row, one.verdict) for one in found] == [
        ("a", "equal"),
        ("b", "equal"),
        ("b, row 2", "different"),
    ]


def test_new_rows_come_in_the_order_of_their_table() -> None:
    new = [row(task=f"task {number}", mean=1.0) for number in range(20)]
    found = compare_tables("table.csv", [row(task="old", mean=1.0)], new)
    assert [number.row for number in found] == ["old", *(f"task {number}" for number in range(20))]


def test_rows_and_numbers_that_only_one_table_has() -> None:
    published = [row(agent="a", x=1, gone=5), row(agent="b", x=1, gone="")]
    reproduced = [row(agent="a", x=1, new=7), row(agent="c", x=1, new=7)]
    found = {(one.row, one.column): one for one in compare_tables("a.csv", published, reproduced)}
    assert {key: one.verdict for key, one in found.items()} == {
        ("a", "x"): "equal",
        ("a", "gone"): "different",
        ("b", "x"): "different",
        ("c", ""): "different",
    }
    assert found["c", ""].published is None


def test_means_with_plain_ends_ignored_columns_and_numbers_of_single_seeds() -> None:
    published = [row(mean=1.0, low=0.0, high=2.0, seconds=5, x_by_seed="1 2 3")]
    reproduced = [row(mean=1.5, low=1.0, high=2.0, seconds=9, x_by_seed="3 2 1")]
    assert verdicts(compare_tables("a.csv", published, reproduced, ignored=("seconds",))) == {
        "mean": "within"
    }


def curve(values: list[float], spread: float = 0.0) -> Rows:
    """Return a curve of the training return, and of a held-out return after every second iteration."""
    rows = []
    for iteration, value in enumerate(values):
        name = "train/return/step_0"
        cells = row(iteration=iteration, **{name: value, "update/kl": value, "time/elapsed": value})
        cells |= {f"{name}/low": str(value - spread), f"{name}/high": str(value + spread)}
        rows.append(cells | ({"test/return/step_1": str(2 * value)} if iteration % 2 == 0 else {}))
    return rows


def test_curves_are_equal_only_if_they_are_so_after_every_iteration() -> None:
    published = curve([float(i) for i in range(20)])
    found = compare_curves("curve.csv", "", published, curve([float(i) for i in range(20)]))
    assert verdicts(found) == {"train/return/step_0": "equal", "test/return/step_1": "equal"}
    other = curve([9.0, *(float(i) for i in range(1, 20))])
    assert verdicts(compare_curves("curve.csv", "", published, other)) == {
        "train/return/step_0": "within",
        "test/return/step_1": "within",
    }


def test_other_curves_are_compared_by_the_mean_of_their_last_tenth() -> None:
    published = curve([float(i) for i in range(20)], spread=1.0)
    # the last tenth is 18 and 19, with seeds from 17 to 20
    found = compare_curves("curve.csv", "", published, curve([0.0] * 18 + [16.0, 19.0]))[0]
    assert (found.published, found.low, found.high, found.reproduced) == (18.5, 17.0, 20.0, 17.5)
    assert found.verdict == "within"
    found = compare_curves("curve.csv", "", published, curve([0.0] * 18 + [16.0, 17.0]))[0]
    assert (found.reproduced, found.verdict) == (16.5, "different")


def test_shorter_curve_is_different() -> None:
    published = curve([1.0] * 20)
    assert verdicts(compare_curves("curve.csv", "", published, curve([1.0] * 10))) == {
        "train/return/step_0": "different",
        "test/return/step_1": "different",
    }


def test_windows_are_matched_by_their_steps() -> None:
    name = "train/return/step_0"
    published = [row(env_steps=8.0 * i, **{name: i}) for i in range(1, 4)]
    reproduced = [row(env_steps=8 * i, **{name: float(i)}) for i in range(1, 6)]
    assert verdicts(compare_curves("curves.csv", "a", published, reproduced)) == {name: "equal"}


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetarlError, match=r"The table .*gone\.csv cannot be read"):
        read_rows(tmp_path / "gone.csv")


def test_metric_that_an_agent_never_measured_is_left_out() -> None:
    rows = [{"iteration": "0", "train/return/step_0": "1.0", "train/return/step_1": ""}]
    names = [number.column for number in compare_curves("curves.csv", "A", rows, rows)]
    assert names == ["train/return/step_0"]
