"""The curves of a report as SVG in the colours of the page, whether it is light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from metarl.evaluation.intervals import Source, limits
from metarl.evaluation.statistics import RATE, Values
from metarl.evaluation.summary import summarize_seeds
from metarl.reporting.html.run_data import COUNTS, Group
from metarl.storage.metrics import Row
from metarl.text import stage_name

SERIES = 6
"""Colours that the page has for curves; more curves take them in turn."""
_SIZE = (4.3, 3.0)  # inches; narrow, for its text must be read on a telephone
_PLACEHOLDERS = {
    **{f"#0101{i:02x}": f"var(--series-{i})" for i in range(SERIES)},
    "#000100": "var(--ink)",
    "#000101": "var(--faint)",
    "#000102": "var(--grid)",
}
"""What is drawn with, and what takes its place: matplotlib knows no CSS variables. None is black, which is
what SVG draws with where no colour is written, so that matplotlib writes none."""
_INK, _FAINT, _GRID = "#000100", "#000101", "#000102"
LEVEL = 0.95

ENV_STEPS, ADAPTATION, EPISODES = "environment steps", "adaptation steps", "episodes adapted from"
"""What curves run along."""


@dataclass(frozen=True)
class Line:
    """One curve, with an interval where there is one."""

    label: str
    colour: int
    x: Values
    mean: Values
    low: Values | None = None
    high: Values | None = None
    dashed: bool = False
    markers: bool = False


@dataclass(frozen=True)
class Panel:
    """A figure with its words."""

    title: str
    svg: str
    keys: tuple[Line, ...]
    """What the legend explains."""


def learning_panels(groups: Sequence[Group]) -> list[Panel]:
    """Draw success and return over environment steps, of held-out and of training tasks."""
    panels = []
    for split, tasks in (("test", "held-out"), ("train", "training")):
        for quantity in ("success", "return"):
            lines = [line for i, group in enumerate(groups) for line in _learning(groups, i, split, quantity)]
            if lines:
                title = f"{quantity.capitalize()} on {tasks} tasks"
                svg = draw(lines, quantity, ENV_STEPS, title)
                panels.append(Panel(title, svg, tuple(lines)))
    return panels


def adaptation_panels(groups: Sequence[Group]) -> list[Panel]:
    """Draw success and return on all held-out tasks after each number of adaptation steps."""
    panels = []
    for quantity in ("success", "return"):
        lines = [
            line for i, group in enumerate(groups) for line in _adaptation(group, i, len(groups), quantity)
        ]
        if lines:
            title = f"{quantity.capitalize()} after adaptation steps"
            panels.append(Panel(title, draw(lines, quantity, ADAPTATION, title), tuple(lines)))
    return panels


def episode_panels(groups: Sequence[Group]) -> list[Panel]:
    """Draw success and return after one step from 0, 1, 2, 5, … episodes, of the groups that measured it."""
    panels = []
    for quantity in ("success", "return"):
        lines = [line for i, group in enumerate(groups) for line in _by_episodes(group, i, quantity)]
        if lines:
            title = f"{quantity.capitalize()} after one step from some episodes"
            panels.append(Panel(title, draw(lines, quantity, EPISODES, title), tuple(lines)))
    return panels


def over_seeds(values: Values, bounds: tuple[float, float]) -> tuple[Values, Values, Values]:
    """Return means over seeds with their 95 % t intervals, which are about fresh seeds on the same tasks.

    Args:
        values: ``[seeds, points]`` of two or more seeds.
        bounds: least and greatest value.

    Returns:
        Mean, low and high, ``[points]`` each.
    """
    seeds, points = values.shape
    mean = values.mean(axis=0)
    source = Source((values - values[0]).var(axis=0, ddof=1) / seeds, np.full(points, seeds - 1.0))
    return mean, *limits(mean, source, LEVEL, bounds)


def draw(lines: Sequence[Line], quantity: str, horizontal: str, title: str) -> str:
    """Return a figure of curves as SVG for a page that has the colours."""
    # A random salt would make the same report another file each time; one a title keeps names apart.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        for line in lines:
            _draw_line(axes, line, bands=horizontal == ENV_STEPS)
        _style(axes, quantity)
        axes.set_xlabel(horizontal)
        if horizontal == ENV_STEPS:
            _label_env_steps(axes, max(float(line.x.max()) for line in lines))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return _for_the_page(content.getvalue(), f"{title}. {'; '.join(map(describe, lines))}.", quantity)


def describe(line: Line) -> str:
    """Say in words what a curve shows, for those who do not see it."""
    first, last = (f"{value:.3g}" for value in (line.mean[0], line.mean[-1]))
    return f"{line.label}: from {first} to {last}"


def _learning(groups: Sequence[Group], index: int, split: str, quantity: str) -> list[Line]:
    """Return a group's curves before and after adapting; of one group each has a colour of its own."""
    runs, lines = [run.rows for run in groups[index].runs], []
    steps = _steps(runs[0], split, quantity)
    for step in steps:
        name, after = f"{split}/{quantity}/step_{step}", step > steps[0]
        x, values = _columns(runs, name)
        if len(x) == 0:
            continue
        mean, low, high = _interval(runs, name, values)
        label = stage_name(step) if after else "before adaptation"
        line = Line(
            label=label if len(groups) == 1 else f"{groups[index].name}, {label}",
            colour=int(not after) if len(groups) == 1 else index % SERIES,
            x=x,
            mean=mean,
            low=low,
            high=high,
            dashed=not after,
            markers=split == "test" or len(x) == 1,
        )
        lines.append(line)
    return lines


def _interval(
    runs: Sequence[Sequence[Row]], name: str, values: Values
) -> tuple[Values, Values | None, Values | None]:
    """Return a metric with its interval over seeds; of one run, with that over tasks if it has one."""
    if len(runs) > 1:
        return over_seeds(values, RATE if "/success/" in name else (-np.inf, np.inf))
    if any(f"{name}/low" in row for row in runs[0]):
        return values[0], *(_columns(runs, f"{name}/{end}")[1][0] for end in ("low", "high"))
    return values[0], None, None


def _steps(rows: Sequence[Row], split: str, quantity: str) -> list[int]:
    """Return the first and the last number of adaptation steps that the rows tell of."""
    pattern = re.compile(rf"{split}/{quantity}/step_(\d+)")
    names = {name for row in rows for name in row}
    found = sorted(int(match[1]) for match in map(pattern.fullmatch, names) if match)
    return sorted({found[0], found[-1]}) if found else []


def _columns(runs: Sequence[Sequence[Row]], name: str) -> tuple[Values, Values]:
    """Return environment steps ``[points]`` and a metric ``[runs, points]``, as far as all runs have it."""
    rows = [[row for row in run if name in row] for run in runs]
    points = min(map(len, rows))
    values = np.array([[row[name] for row in run[:points]] for run in rows], np.float64)
    x = np.array(
        [[row.get("env_steps", row["iteration"]) for row in run[:points]] for run in rows], np.float64
    )
    return x.mean(axis=0), values


def _adaptation(group: Group, index: int, num_groups: int, quantity: str) -> list[Line]:
    summary = group.summary
    intervals = summary.returns if quantity == "return" else summary.successes
    if intervals is None:
        return []
    mean, low, high = np.array(intervals, dtype=np.float64).T
    x = np.arange(len(mean), dtype=np.float64) + 0.04 * (
        index - (num_groups - 1) / 2
    )  # so that no interval hides another
    return [Line(group.name, index % SERIES, x, mean, low, high, markers=True)]


def _by_episodes(group: Group, index: int, quantity: str) -> list[Line]:
    """Return a group's curve if all of its runs have one, of the same numbers of episodes and tasks."""
    found = [run.by_episodes for run in group.runs]
    measured = [each for each in found if each is not None]
    alike = {(str(each.about[COUNTS]), each.evaluation.tasks) for each in measured}
    if len(measured) < len(found) or len(alike) > 1:
        return []
    summary = summarize_seeds([each.evaluation for each in measured], np.random.default_rng(0))
    intervals = summary.returns if quantity == "return" else summary.successes
    if intervals is None:
        return []
    mean, low, high = np.array(intervals, dtype=np.float64).T
    counts = np.array(measured[0].about[COUNTS], dtype=np.float64)
    return [Line(group.name, index % SERIES, counts, mean, low, high, markers=True)]


def _draw_line(axes: Axes, line: Line, bands: bool) -> None:
    colour = f"#0101{line.colour:02x}"
    axes.plot(
        line.x,
        line.mean,
        "--" if line.dashed else "-",
        marker="o" if line.markers else "",
        markersize=3.5,
        color=colour,
        linewidth=1.6,
    )
    if line.low is None or line.high is None:
        return
    if bands:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    else:
        bars = np.maximum(0.0, [line.mean - line.low, line.high - line.mean])
        axes.errorbar(line.x, line.mean, yerr=bars, fmt="none", ecolor=colour, elinewidth=1.3, capsize=2.5)


def _style(axes: Axes, quantity: str) -> None:
    axes.patch.set_alpha(0)
    axes.set_ylabel("success" if quantity == "success" else "return per episode")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=10, color=_INK)
    axes.tick_params(labelsize=9.5, colors=_FAINT, labelcolor=_INK, length=3)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=_FAINT, linewidth=0.8)
    if quantity == "success":
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _label_env_steps(axes: Axes, most: float) -> None:
    """Count environment steps in thousands or millions, whichever gives short numbers."""
    units = ((1e6, " (millions)"), (1e3, " (thousands)"))
    scale, unit = next((pair for pair in units if most >= pair[0]), (1.0, ""))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps / scale:g}"))
    axes.set_xlabel(f"environment steps{unit}")


def _for_the_page(svg: str, words: str, quantity: str) -> str:
    """Put the page's colours in, say in words what is seen, and leave out what would reach beyond the figure.

    Matplotlib's style sheet applies to the whole page, and its names of parts come again in every figure.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", body)
    for placeholder, colour in _PLACEHOLDERS.items():
        body = body.replace(placeholder, colour)
    size = re.search(r'viewBox="[^"]*"', body)
    assert size is not None
    words = words.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    opening = f'<svg {size[0]} role="img" aria-label="{words}" class="{quantity}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1).strip()
