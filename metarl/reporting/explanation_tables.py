"""Tables of an explanation, made from its JSON for terminal and report."""

from __future__ import annotations

from metarl.analysis.layers import layer_of
from metarl.evaluation.statistics import Interval
from metarl.reporting.table import Column, Row, Table, Value, number, percent
from metarl.text import count
from metarl.types import Json


def explanation_tables(found: dict[str, Json]) -> list[Table]:
    """Return the tables of an explanation.

    Raises:
        KeyError, TypeError: if ``found`` is not what :func:`metarl.analysis.summary.to_json` returns.
    """
    gains = _part(found, "gains")
    worth = [gain_table(gains, "return", Column("", number))]
    if _part(gains, "all")["success"]:
        worth.append(gain_table(gains, "success", Column("", percent)))
    return [layer_table(found), parameter_table(found), *worth, map_table(found)]


def layer_table(found: dict[str, Json]) -> Table:
    """Return each layer's share of change and similarity."""
    changes, seen = _part(found, "changes"), _part(found, "representations")
    rows = []
    for layer in dict.fromkeys(map(layer_of, changes)):
        # shares of a layer's tensors add up, since squared lengths do
        share = sum(_interval(_part(changes, n)["share"]).mean for n in changes if layer_of(n) == layer)
        values: list[Value] = [share, None, None]
        if layer in seen:
            values[1:] = [_interval(_part(seen, layer)["cka"]), _interval(_part(seen, layer)["shift"])]
        rows.append(Row(layer, tuple(values)))
    columns = (
        Column("share of the change, %", percent),
        Column("linear CKA", "{:.3f}".format),
        Column("shift", "{:.2f}".format),
    )
    return Table(
        "layer",
        columns,
        tuple(rows),
        "layers, before and after adapting",
        "CKA 1: activations of the same shape; shift: of their mean, over the spread;\n"
        "the last layer's activations are the actions",
    )


def parameter_table(found: dict[str, Json]) -> Table:
    """Return how far each tensor of parameters moved."""
    changes = _part(found, "changes")
    rows = []
    for name in changes:
        change = _part(changes, name)
        # a tensor of zeros has no relative change
        relative = "was zero" if change["relative"] is None else _interval(change["relative"])
        rows.append(Row(name, (_interval(change["norm"]), relative, _interval(change["share"]))))
    steps = found["adaptation_steps"]
    assert isinstance(steps, int)
    columns = (
        Column("norm", "{:.3g}".format),
        Column("% of norm before", lambda share: f"{100 * share:.1f}"),
        Column("share, %", percent),
    )
    title = f"change of the policy in {count(steps, 'adaptation step')}"
    return Table("parameters", columns, tuple(rows), title, "share: of the squared norm of all changes")


def gain_table(gains: dict[str, Json], quantity: str, column: Column) -> Table:
    """Return the gain of adapting each layer alone, and all others."""

    def gain(variant: str) -> Interval:
        return _interval(_part(gains, variant)[quantity])

    layers = [variant.removeprefix("only ") for variant in gains if variant.startswith("only ")]
    rows = [Row(layer, (gain(f"only {layer}"), gain(f"all but {layer}"))) for layer in layers]
    rows.append(Row("all layers", (gain("all"), None)))
    columns = (Column("it alone", column.form), Column("all but it", column.form))
    unit = "" if quantity == "return" else ", points"
    return Table("adapted", columns, tuple(rows), f"gain in {quantity}{unit}, over the unadapted policy")


def map_table(found: dict[str, Json]) -> Table:
    """Return whether similar tasks move policies alike."""
    placed, alike = _part(found, "task_map"), found["likeness"]
    tasks, effects = placed["tasks"], _part(found, "effects")["tasks"]
    assert isinstance(tasks, list)
    assert isinstance(effects, list)
    rows = [
        Row("tasks that moved the policy", (f"{len(tasks)} of {len(effects)}",)),
        Row(
            "variance of the directions in the plane, %", (f"{100 * _number(placed['variance_shown']):.0f}",)
        ),
    ]
    # None if no family has enough different tasks
    if isinstance(alike, dict):
        rows += [
            Row("rank correlation of the distances", (f"{_number(alike['rank_correlation']):.2f}",)),
            Row("p-value, one-sided", (f"{_number(alike['p_value']):.2g}",)),
            Row("pairs of tasks", (f"{_number(alike['pairs']):,.0f}",)),
            Row("families", (f"{_number(alike['families']):.0f}",)),
        ]
    caption = "" if alike else "no correlation: it needs three different tasks of a family"
    return Table("", (Column(""),), tuple(rows), "distances of tasks and of adaptation vectors", caption)


def _part(data: dict[str, Json], name: str) -> dict[str, Json]:
    found = data[name]
    if not isinstance(found, dict):
        raise TypeError(f"{name} is no object")
    return found


def _number(value: Json) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value} is no number")
    return float(value)


def _interval(value: Json) -> Interval:
    if not isinstance(value, list):
        raise TypeError(f"{value} is no interval")
    return Interval(*map(_number, value))
