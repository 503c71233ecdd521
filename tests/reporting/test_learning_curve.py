"""The figures show the numbers that they are given, and are pictures of a sensible size."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from PIL import Image

from metarl.errors import MetarlError
from metarl.evaluation.statistics import Interval
from metarl.reporting.figures.learning_curve import draw_adaptation_curve, draw_learning_curve
from metarl.reporting.figures.style import save
from metarl.storage.metrics import Row

pytestmark = pytest.mark.usefixtures("drawn_figures")

ROWS: list[Row] = [
    {
        "iteration": i,
        "env_steps": 40_000 * i,
        "train/return/step_0": -50.0 + i,
        "train/return/step_1": -40.0 + 2 * i,
        "train/success/step_0": 0.1,
        "train/success/step_1": 0.2 * i,
    }
    for i in range(1, 5)
]
for _row in ROWS[1::2]:
    for _name, _mean, _half in (("return", -30.0, 5.0), ("success", 0.5, 0.1)):
        for _step in (0, 1):
            _key = f"test/{_name}/step_{_step}"
            _middle = _mean + _half * _step
            _row |= {_key: _middle, f"{_key}/low": _middle - _half, f"{_key}/high": _middle + 2 * _half}

RETURNS = [Interval(-45.0, -50.0, -41.0), Interval(-20.0, -24.0, -18.0), Interval(-18.0, -19.0, -16.0)]
SUCCESSES = [Interval(0.3, 0.2, 0.35), Interval(0.97, 0.9, 1.0), Interval(1.0, 1.0, 1.0)]


def without(rows: list[Row], word: str) -> list[Row]:
    return [{name: value for name, value in row.items() if word not in name} for row in rows]


def curves(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Return the points of each line that is no error bar."""
    bars = {
        id(line)
        for bar in axes.containers
        if isinstance(bar, ErrorbarContainer)
        for line in (bar[0], *bar[1])
    }
    lines = [line for line in axes.get_lines() if id(line) not in bars]
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in lines]


def bars(axes: Axes) -> list[list[list[list[float]]]]:
    """Return the ends of the bars of each set: ``[[x, low], [x, high]]``."""
    sets = [bar for bar in axes.containers if isinstance(bar, ErrorbarContainer)]
    return [[np.round(segment, 9).tolist() for segment in bar[2][0].get_segments()] for bar in sets]


def pixels(figure: Figure, folder: Path) -> np.ndarray:
    save(figure, folder / "figure.png")
    return np.asarray(Image.open(folder / "figure.png").convert("L"), dtype=np.float64)


def test_learning_curve_draws_training_returns_over_env_steps() -> None:
    figure = draw_learning_curve(ROWS)
    steps = [40_000.0, 80_000.0, 120_000.0, 160_000.0]
    assert curves(figure.axes[0]) == [(steps, [-49, -48, -47, -46]), (steps, [-38, -36, -34, -32])]


def test_learning_curve_draws_success_in_a_second_panel() -> None:
    figure = draw_learning_curve(ROWS)
    assert [list(np.round(y, 9)) for _, y in curves(figure.axes[1])] == [[0.1] * 4, [0.2, 0.4, 0.6, 0.8]]


def test_learning_curve_draws_held_out_intervals_where_they_were_measured() -> None:
    figure = draw_learning_curve(ROWS)
    assert bars(figure.axes[0]) == [
        [[[80_000, -35], [80_000, -20]], [[160_000, -35], [160_000, -20]]],
        [[[80_000, -30], [80_000, -15]], [[160_000, -30], [160_000, -15]]],
    ]


def test_learning_curve_compares_the_first_and_the_last_adaptation_step() -> None:
    rows = [row | {"train/return/step_2": 7.0, "train/return/step_10": 9.0} for row in without(ROWS, "test")]
    figure = draw_learning_curve(rows)
    assert [y[0] for _, y in curves(figure.axes[0])] == [-49, 9]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["before adaptation", "after 10 adaptation steps"]
    figure = draw_learning_curve(rows, trial="sequential")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["first episode", "after 10 episodes"]


def test_learning_curve_without_success_has_one_panel() -> None:
    assert len(draw_learning_curve(without(ROWS, "success")).axes) == 1


@pytest.mark.parametrize("word", ["test", "success", "step_1", "train", "nothing"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_learning_curve_of_any_part_of_a_run_is_a_picture(tmp_path: Path, word: str, count: int) -> None:
    rows = without(ROWS[-count:], word)
    assert pixels(draw_learning_curve(rows, "A run"), tmp_path).std() > 1


def test_single_row_leaves_visible_marks(tmp_path: Path) -> None:
    rows = without(ROWS[:1], "test")
    figure = draw_learning_curve(rows)
    drawn = pixels(figure, tmp_path)
    for axes in figure.axes:
        for line in axes.get_lines():
            line.set_visible(False)
    assert (drawn != pixels(figure, tmp_path)).sum() > 50


def test_learning_curve_of_the_evaluation_before_training_is_a_picture(tmp_path: Path) -> None:
    row = without(ROWS, "train")[1] | {"iteration": 0, "env_steps": 0}
    assert pixels(draw_learning_curve([row]), tmp_path).std() > 1


@pytest.mark.parametrize(
    ("most", "label", "tick"),
    [
        (800, "Environment steps", "200"),
        (160_000, "Environment steps (thousands)", "50"),
        (1_600_000, "Environment steps (millions)", "0.5"),
    ],
)
def test_env_steps_are_counted_in_short_numbers(tmp_path: Path, most: int, label: str, tick: str) -> None:
    rows: list[Row] = [{"env_steps": most * i // 4, "train/return/step_0": 1.0 * i} for i in range(1, 5)]
    figure = draw_learning_curve(rows)
    save(figure, tmp_path / "figure.png")
    assert figure.axes[0].get_xlabel() == label
    assert tick in [text.get_text() for text in figure.axes[0].get_xticklabels()]


@pytest.mark.parametrize("rows", [[], [{"iteration": 1, "env_steps": 5}]])
def test_learning_curve_without_returns_is_refused(rows: list[Row]) -> None:
    with pytest.raises(MetarlError, match="needs metrics with a return"):
        draw_learning_curve(rows)


def test_adaptation_curve_draws_means_and_intervals() -> None:
    figure = draw_adaptation_curve([0, 1, 2], RETURNS, SUCCESSES)
    assert [curves(axes) for axes in figure.axes] == [
        [([0, 1, 2], [-45, -20, -18])],
        [([0, 1, 2], [0.3, 0.97, 1.0])],
    ]
    assert bars(figure.axes[0]) == [[[[0, -50], [0, -41]], [[1, -24], [1, -18]], [[2, -19], [2, -16]]]]


def test_adaptation_curve_writes_the_means_beside_the_points() -> None:
    figure = draw_adaptation_curve([0, 1, 2], RETURNS, SUCCESSES)
    labels = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert labels == [["−45.0", "−20.0", "−18.0"], ["30 %", "97 %", "100 %"]]


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1, 1.0])
def test_label_of_a_success_rate_is_within_the_axes(rate: float) -> None:
    figure = draw_adaptation_curve([0], RETURNS[:1], [Interval(rate, rate, rate)])
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[1]
    (label,) = axes.texts
    assert label.get_window_extent().y0 > axes.bbox.y0


@pytest.mark.parametrize(("seeds", "what"), [(1, "held-out tasks"), (3, "seeds and held-out tasks")])
def test_adaptation_curve_says_what_its_intervals_are_over(seeds: int, what: str) -> None:
    figure = draw_adaptation_curve([0, 1, 2], RETURNS, SUCCESSES, seeds=seeds)
    footer = f"Bars: 95 % intervals of the mean over {what}."
    assert footer in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("successes", [None, [SUCCESSES[0]]])
def test_adaptation_curve_of_one_point_is_a_picture(tmp_path: Path, successes: list[Interval] | None) -> None:
    figure = draw_adaptation_curve([0], [Interval(0.0, 0.0, 0.0)], successes)
    assert len(figure.axes) == (1 if successes is None else 2)
    assert pixels(figure, tmp_path).std() > 1


def test_adaptation_curve_with_a_missing_interval_is_refused() -> None:
    with pytest.raises(MetarlError, match="one success for each number of steps, but there are 2 for 3"):
        draw_adaptation_curve([0, 1, 2], RETURNS, SUCCESSES[:2])


def test_figures_are_pngs_1200_pixels_wide(tmp_path: Path) -> None:
    save(draw_learning_curve(ROWS, "MAML-TRPO on point"), tmp_path / "new" / "learning.png")
    figure = draw_adaptation_curve([0, 1, 2], RETURNS, SUCCESSES, "MAML-TRPO on point")
    save(figure, tmp_path / "new" / "adaptation.png")
    for name in ("learning", "adaptation"):
        with Image.open(tmp_path / "new" / f"{name}.png") as image:
            assert image.format == "PNG"
            assert image.width == 1200
            assert 400 <= image.height <= 800


def test_same_numbers_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(draw_learning_curve(ROWS, "MAML-TRPO on point"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_nothing_overlaps_the_panels(tmp_path: Path) -> None:
    figure = draw_learning_curve(ROWS, "MAML-TRPO on ML1 reach-v3, seed 0")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox(renderer)) is not None]
    around = [figure.legends[0], *figure.texts]
    assert not boxes[0].overlaps(boxes[1])
    assert not any(box.overlaps(thing.get_window_extent(renderer)) for box in boxes for thing in around)


def test_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MetarlError, match=r"file/curve\.png cannot be written"):
        save(draw_learning_curve(ROWS, "A run"), tmp_path / "file" / "curve.png")


NEAR = [[0], [0, 1], [0, 1, 2, 3, 4, 5], [0, 1, 2, 5, 10, 100], [*range(0, 60, 3)]]


@pytest.mark.parametrize("steps", NEAR)
def test_labels_of_steps_that_are_near_each_other_do_not_overlap(steps: list[int]) -> None:
    figure = draw_adaptation_curve(steps, [Interval(-1000.0, -1010.0, -990.0)] * len(steps), None)
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[0]
    for texts in (axes.get_xticklabels(), axes.texts):
        boxes = [text.get_window_extent() for text in texts]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
        assert boxes[-1].x1 < figure.bbox.x1
    assert (axes.get_xticks()[0], axes.get_xticks()[-1]) == (steps[0], steps[-1])
