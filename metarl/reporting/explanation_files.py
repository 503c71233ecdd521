"""Files of an explanation: JSON, CSV and figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from metarl.analysis.summary import Explanation
from metarl.reporting.figures.explanation import draw
from metarl.reporting.figures.style import save
from metarl.storage.files import write_rows, write_text
from metarl.types import Json

CsvRow = list[str | float]


def write_explanation(
    folder: Path, stem: str, explanation: Explanation, content: dict[str, Json], title: str
) -> list[Path]:
    """Write an explanation's JSON, CSV and figures, and return the files.

    ``stem.csv`` has a row for each task and number. ``content`` of the JSON is the explanation, its iteration
    and config; the folder exists.
    """
    files = [folder / f"{stem}.json", folder / f"{stem}.csv"]
    text = json.dumps(content, allow_nan=False) + "\n"
    write_rows(files[1], [["task", "family", "quantity", "part", "value"], *_csv_rows(explanation)])
    for name, figure in draw(explanation, title).items():
        files.append(folder / f"{stem}-{name}.png")
        save(figure, files[-1])
    # the JSON comes last: where it is, the other files are whole
    write_text(files[0], text)
    return files


def _csv_rows(explanation: Explanation) -> Iterator[CsvRow]:
    trace = explanation.trace
    for place, task in enumerate(trace.tasks):
        named: CsvRow = [task.id, task.family]
        # one row for each number of each task, long format
        for change in trace.changes:
            yield [*named, "change_norm", change.name, float(change.norm[place])]
            if change.relative is not None:
                yield [*named, "change_relative", change.name, float(change.relative[place])]
        for layer, values in trace.similarities.items():
            yield [*named, "cka", layer, float(values[place])]
            yield [*named, "shift", layer, float(trace.shifts[layer][place])]
        for index, variant in enumerate(trace.variants):
            yield [*named, "return", variant.name, float(trace.effects.task_returns[place, index])]
            if trace.effects.task_successes is not None:
                yield [*named, "success", variant.name, float(trace.effects.task_successes[place, index])]
    # tasks without a direction are not on the map
    for place, point in zip(explanation.task_map.places, explanation.task_map.points.tolist(), strict=True):
        named = [trace.tasks[place].id, trace.tasks[place].family]
        yield from ([*named, "map", axis, value] for axis, value in zip("xy", point, strict=True))
