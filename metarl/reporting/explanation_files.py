"""What an explanation leaves for people: tables, figures, and every number as JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.table import Table

from metarl.analysis.summary import Explanation, Gain, to_json
from metarl.evaluation.statistics import Interval
from metarl.reporting.explanation_text import cka, digits, small_percent
from metarl.reporting.figures.explanation import draw
from metarl.reporting.figures.style import save
from metarl.reporting.plain_tables import plain_table
from metarl.reporting.tables import number, percent
from metarl.storage.files import write_rows, write_text
from metarl.text import count
from metarl.types import Json

CsvRow = list[str | float]


def write_explanation(
    folder: Path,
    stem: str,
    explanation: Explanation,
    said: Mapping[str, str],
    about: dict[str, Json],
    title: str,
) -> list[Path]:
    """Write ``stem.json`` (every number), ``stem.csv`` (a row for each task and number) and four figures.

    Args:
        folder: where to; it is there.
        stem: name of the files.
        explanation: what was found.
        said: a sentence for each figure.
        about: what else belongs in the JSON: iteration, config.
        title: of the figures.

    Returns:
        The files.
    """
    files = [folder / f"{stem}.json", folder / f"{stem}.csv"]
    sentences: dict[str, Json] = dict(said)
    content = {**about, "sentences": sentences, **to_json(explanation)}
    write_text(files[0], json.dumps(content, allow_nan=False) + "\n")
    write_rows(files[1], [["task", "family", "quantity", "part", "value"], *_csv_rows(explanation)])
    for name, figure in draw(explanation, said, title).items():
        files.append(folder / f"{stem}-{name}.png")
        save(figure, files[-1])
    return files


def moved_table(explanation: Explanation) -> Table:
    """Return how far each tensor of parameters moved."""
    steps, tasks = count(explanation.adaptation_steps, "adaptation step"), len(explanation.inside.tasks)
    table = plain_table(
        f"how far the policy moved in {steps}",
        f"mean over {count(tasks, 'task')} [95 % interval]: norm of the change,\n"
        "that over the norm before, and its part of the squared length of all",
    )
    for column in ("parameters", "norm", "% of norm before", "part, %"):
        table.add_column(column, justify="left" if column == "parameters" else "right")
    for moved in explanation.moved:
        relative = "was zero" if moved.relative is None else small_percent(moved.relative)
        table.add_row(moved.name, digits(moved.norm, 3), relative, percent(moved.share))
    return table


def representation_table(explanation: Explanation) -> Table:
    """Return how alike each layer's activations stayed, in shape and place."""
    table = plain_table(
        "activations on the same observations, before and after adapting",
        "CKA 1: of the same shape; shift: of the whole, over the spread;\nthe last layer's are the actions",
    )
    for column in ("layer", "linear CKA", "shift"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for layer, found in explanation.similarities.items():
        table.add_row(layer, cka(found), digits(explanation.shifts[layer], 2))
    return table


def worth_tables(explanation: Explanation) -> list[Table]:
    """Return what adapting each layer alone, and all but it, gains in return and in success."""
    tables = []
    for quantity, shown in (("return", number), ("success, points", percent)):
        everything = gained(explanation.gain("all"), quantity)
        if everything is None:
            continue
        table = plain_table(f"gain in {quantity}, over the unadapted policy")
        for column in ("adapted", "it alone", "all but it"):
            table.add_column(column, justify="left" if column == "adapted" else "right")
        for layer in explanation.layers:
            parts = [gained(explanation.gain(f"{which} {layer}"), quantity) for which in ("only", "all but")]
            table.add_row(layer, *(shown(part) for part in parts if part is not None))
        table.add_row("all layers", shown(everything))
        tables.append(table)
    return tables


def gained(gain: Gain, quantity: str) -> Interval | None:
    """Return a gain in return or in success; of successes None where the suite does not say."""
    return gain.of_return if quantity == "return" else gain.of_success


def _csv_rows(explanation: Explanation) -> Iterator[CsvRow]:
    """Yield one row for each task and number."""
    inside = explanation.inside
    for place, task in enumerate(inside.tasks):
        named: CsvRow = [task.id, task.family]
        for change in inside.changes:
            yield [*named, "change_norm", change.name, float(change.norm[place])]
            if change.relative is not None:
                yield [*named, "change_relative", change.name, float(change.relative[place])]
        for layer, values in inside.similarities.items():
            yield [*named, "cka", layer, float(values[place])]
            yield [*named, "shift", layer, float(inside.shifts[layer][place])]
        for index, variant in enumerate(inside.variants):
            yield [*named, "return", variant.name, float(inside.effects.task_returns[place, index])]
            if inside.effects.task_successes is not None:
                yield [*named, "success", variant.name, float(inside.effects.task_successes[place, index])]
    for place, point in zip(explanation.task_map.places, explanation.task_map.points.tolist(), strict=True):
        named = [inside.tasks[place].id, inside.tasks[place].family]
        yield from ([*named, "map", axis, value] for axis, value in zip("xy", point, strict=True))
