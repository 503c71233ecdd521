"""What ``metarl explain`` found, as a report shows it: its sentences and a table of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metarl.analysis.layers import layer_of
from metarl.errors import MetarlError
from metarl.evaluation.statistics import Interval
from metarl.reporting.html.run_data import Group, Run
from metarl.reporting.html.tables import Cell, Row, Table, interval_cell, percent, points, signed
from metarl.types import Json


@dataclass(frozen=True)
class Inside:
    """What a run's explanation says."""

    run: str
    """Name of the run."""
    sentences: tuple[str, ...]
    layers: Table


def insides(groups: Sequence[Group]) -> list[Inside]:
    """Return the explanation of the first run of each group that has one.

    Raises:
        MetarlError: if a file is none.
    """
    found = [next((run for run in group.runs if run.explanation is not None), None) for group in groups]
    return [inside(run, run.explanation) for run in found if run is not None and run.explanation is not None]


def inside(run: Run, said: dict[str, Json]) -> Inside:
    """Return what a run's explanation says.

    Raises:
        MetarlError: if the file is none.
    """
    try:
        sentences = tuple(str(sentence) for sentence in _part(said, "sentences").values())
        return Inside(run.folder.resolve().name, sentences, layer_table(said))
    except (KeyError, TypeError) as error:
        raise MetarlError(
            f"An explanation of {run.folder} is not one that metarl wrote ({error})."
        ) from error


def layer_table(said: dict[str, Json]) -> Table:
    """Return each layer: its part of the change, its representation, and what adapting it is worth."""
    gains, changes = _part(said, "gains"), _part(said, "changes")
    quantities = {"return": signed} | ({"success": points} if _part(gains, "all")["success"] else {})
    columns = [f"{name} {how}".capitalize() for name in quantities for how in ("alone", "without")]
    rows = []
    for layer in dict.fromkeys(map(layer_of, changes)):
        moved = sum(
            _interval(_part(changes, name)["share"]).mean for name in changes if layer_of(name) == layer
        )
        seen = _part(said, "representations").get(layer)
        cells: list[Cell | None] = [Cell(percent(moved), moved)]
        cells += (
            [None, None]
            if not isinstance(seen, dict)
            else [
                interval_cell(_interval(seen["cka"]), "{:.3f}".format),
                interval_cell(_interval(seen["shift"]), "{:.2f}".format),
            ]
        )
        for quantity, form in quantities.items():
            for variant in (f"only {layer}", f"all but {layer}"):
                cells.append(interval_cell(_interval(_part(gains, variant)[quantity]), form))
        rows.append(Row(layer, tuple(cells)))
    return Table(("Layer", "Part", "CKA", "Shift", *columns), tuple(rows))


def _part(data: dict[str, Json], name: str) -> dict[str, Json]:
    found = data[name]
    if not isinstance(found, dict):
        raise TypeError(f"{name} is no object")
    return found


def _interval(value: Json) -> Interval:
    if not isinstance(value, list):
        raise TypeError(f"{value} is no interval")
    return Interval(*(float(str(number)) for number in value))
