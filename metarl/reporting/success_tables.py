"""Tables of success at any step, at the last, and held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metarl.evaluation.record import HELD_STEPS, KINDS, Evaluation, steps_axis
from metarl.evaluation.references import Reference, rates_by_family
from metarl.evaluation.summary import Measures, summarize_ends, summarize_seeds
from metarl.reporting.csv_files import interval_columns
from metarl.reporting.table import Column, Row, Table, Value, number, percent

REFERENCES = {"idle": "a policy that does nothing", "random": "one that acts at random"}
_LABELS = {"success": "at any step", "success_last": "at the last", "success_held": f"held for {HELD_STEPS}"}


def kinds_of(evaluations: Sequence[Evaluation]) -> dict[str, Measures]:
    """Return measures of every recorded kind of success, of one or several seeds."""
    of_any = summarize_seeds(evaluations, np.random.default_rng(0)).of_success
    found = {} if of_any is None else {"success": of_any}
    return found | summarize_ends(evaluations, np.random.default_rng(0))


def has_ends(evaluations: Sequence[Evaluation]) -> bool:
    """Return whether all record success at the end, as those of early versions do not."""
    return all(one.last is not None and one.held is not None for one in evaluations)


def success_table(parts: Mapping[str, Sequence[Evaluation]], references: Sequence[Reference] = ()) -> Table:
    """Return every kind of success by step, with 95 % intervals.

    Args:
        parts: evaluations of the same tasks, one for each seed, by how actions are chosen or by agent; a lone
            name may be empty.
        references: what policies that learn nothing reach on the same tasks.
    """
    rows = []
    for name, evaluations in parts.items():
        kinds = kinds_of(evaluations)
        axis = steps_axis(evaluations[0])
        for place, stage in enumerate(axis.values):
            values: list[Value] = [kinds[kind].means[place] if kind in kinds else None for kind in KINDS]
            rows.append(Row(str(stage), tuple(values), detail=name))
    for one in references:
        rates = one.rates["all"]
        rows.append(Row(one.policy, tuple(rates.get(kind) for kind in KINDS)))
    said = [f"{one.policy}: {REFERENCES.get(one.policy, one.policy)}" for one in references]
    columns = tuple(Column(_LABELS[kind], percent) for kind in KINDS)
    first = next(iter(parts.values()))[0]
    return Table(steps_axis(first).short, columns, tuple(rows), "success, %", "; ".join(said))


def family_success_table(
    parts: Mapping[str, Sequence[Evaluation]], references: Sequence[Reference] = ()
) -> Table:
    """Return families' success after adapting, in percent.

    Each name in ``parts`` has a row in every family, and so has each reference.
    """
    found: dict[str, Mapping[str, Mapping[str, float]]] = {
        name: _mean_rates(evaluations) for name, evaluations in parts.items()
    }
    found |= {one.policy: one.rates for one in references}
    families = [name for name in next(iter(found.values())) if name != "all"]
    rows = [
        Row(family, tuple(rates[family].get(kind) for kind in KINDS), detail=name)
        for family in families
        for name, rates in found.items()
        if family in rates
    ]
    columns = tuple(Column(_LABELS[kind], percent) for kind in KINDS)
    return Table("family", columns, tuple(rows), "success by family after the last step, %")


def reference_table(references: Sequence[Reference]) -> Table:
    """Return what policies that learn nothing reach on the same tasks."""
    columns = (Column("return", number), *(Column(_LABELS[kind], percent) for kind in KINDS))
    rows = tuple(
        Row(one.policy, tuple(one.rates["all"].get(name) for name in ("return", *KINDS)))
        for one in references
    )
    caption = "; ".join(f"{one.policy}: {REFERENCES.get(one.policy, one.policy)}" for one in references)
    return Table("policy", columns, rows, "without learning: return, and success in %", caption)


def success_rows(
    parts: Mapping[str, Sequence[Evaluation]], references: Sequence[Reference] = ()
) -> list[dict[str, str | float]]:
    """Return every kind of success as rows of a CSV, of all tasks and of each family.

    Columns ``actions`` and ``family`` name a row, then come the stage, and each kind with its interval.
    """
    rows: list[dict[str, str | float]] = []
    for name, evaluations in parts.items():
        for family, some in _by_family(evaluations).items():
            rows += [{"actions": name, "family": family, **stage} for stage in _stages(some)]
    for one in references:
        rows += [{"actions": one.policy, "family": family, **rates} for family, rates in one.rates.items()]
    return rows


def _stages(evaluations: Sequence[Evaluation]) -> list[dict[str, str | float]]:
    """Return each stage with every kind of success and its interval."""
    axis, kinds = steps_axis(evaluations[0]), kinds_of(evaluations).items()
    rows: list[dict[str, str | float]] = []
    for place, stage in enumerate(axis.values):
        row: dict[str, str | float] = {axis.name: stage}
        for kind, found in kinds:
            row |= interval_columns(kind, found.means[place])
        rows.append(row)
    return rows


def _by_family(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    """Return evaluations of all tasks, then of each family if there are several."""
    families = sorted({task.family for task in evaluations[0].tasks})
    parts = {"all": list(evaluations)}
    if len(families) > 1:
        parts |= {family: [one.only(family) for one in evaluations] for family in families}
    return parts


def _mean_rates(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, float]]:
    """Return mean rates by family over seeds."""
    found = [rates_by_family(one) for one in evaluations]
    return {
        family: {kind: float(np.mean([rates[family][kind] for rates in found])) for kind in found[0][family]}
        for family in found[0]
    }
