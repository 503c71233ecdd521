"""Summaries of adaptation traces, with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from metarl.analysis.measure import AdaptationTrace
from metarl.analysis.task_map import Likeness, TaskMap, likeness, task_map
from metarl.evaluation.statistics import RATE, Bootstrap, Interval, Values, confidence_interval, paired_gain
from metarl.types import Json


@dataclass(frozen=True)
class LayerChange:
    """Mean movement of a parameter tensor over tasks."""

    name: str
    norm: Interval  # norm of the change
    relative: Interval | None  # change over the norm before adapting; None where that norm is zero
    share: Interval  # share of the adaptation vector's squared length


@dataclass(frozen=True)
class Gain:
    """Gain of adapting some layers over adapting none."""

    variant: str  # ``"all"``, ``"only layer_0"``, ``"all but layer_0"``
    of_return: Interval
    of_success: Interval | None  # None where the suite does not say


@dataclass(frozen=True)
class Explanation:
    """Changes, similarities, map and gains of an adaptation."""

    trace: AdaptationTrace
    adaptation_steps: int
    layer_changes: tuple[LayerChange, ...]
    # linear CKA of activations before and after, by layer; the last layer's are the actions
    similarities: dict[str, Interval]
    shifts: dict[str, Interval]  # how far the activations' mean moved, over their spread, by layer
    task_map: TaskMap
    likeness: Likeness | None  # None where no family has tasks enough
    gains: tuple[Gain, ...]  # gains of every variant but the unadapted one

    @property
    def layers(self) -> list[str]:
        """Names of the policy's layers."""
        return [gain.variant.removeprefix("only ") for gain in self.gains if gain.variant.startswith("only ")]

    def gain(self, variant: str) -> Gain:
        """Return the gain of a variant."""
        return next(gain for gain in self.gains if gain.variant == variant)


def explain(trace: AdaptationTrace, adaptation_steps: int, rng: np.random.Generator) -> Explanation:
    """Summarize a trace; permutations are drawn from ``rng``."""
    tasks = trace.tasks
    how = Bootstrap(strata=tuple(task.family for task in tasks))

    def over_tasks(values: Values, most: float = np.inf) -> Interval:
        # A number that all tasks share, such as that of a layer which never moves, is so by construction.
        bounds = (0.0, most) if np.ptp(values) > 0 else how.bounds
        return confidence_interval(values, rng, replace(how, bounds=bounds))

    placed = task_map(trace.vectors)
    return Explanation(
        trace=trace,
        adaptation_steps=adaptation_steps,
        layer_changes=tuple(
            LayerChange(
                change.name,
                over_tasks(change.norm),
                None if change.relative is None else over_tasks(change.relative),
                over_tasks(change.share, 1.0),
            )
            for change in trace.changes
        ),
        similarities={layer: over_tasks(values, 1.0) for layer, values in trace.similarities.items()},
        shifts={layer: over_tasks(values) for layer, values in trace.shifts.items()},
        task_map=placed,
        likeness=likeness([tasks[place] for place in placed.places], placed.cosines, rng),
        gains=tuple(_gains(trace, rng, how)),
    )


def _gains(trace: AdaptationTrace, rng: np.random.Generator, how: Bootstrap) -> Iterator[Gain]:
    returns, successes = trace.effects.task_returns, trace.effects.task_successes
    of_rates = replace(how, bounds=RATE)
    for place, variant in enumerate(trace.variants):
        # variant 0 has nothing adapted, so all gains are over it
        if place > 0:
            yield Gain(
                variant.name,
                paired_gain(returns[:, 0], returns[:, place], rng, how),
                None
                if successes is None
                else paired_gain(successes[:, 0], successes[:, place], rng, of_rates),
            )


def to_json(explanation: Explanation) -> dict[str, Json]:
    """Return every number as plain JSON."""
    trace, placed, alike = explanation.trace, explanation.task_map, explanation.likeness
    return {
        "adaptation_steps": explanation.adaptation_steps,
        "changes": {
            moved.name: {
                "norm": list(moved.norm),
                "relative": None if moved.relative is None else list(moved.relative),
                "share": list(moved.share),
                "tasks": {
                    "norm": change.norm.tolist(),
                    "relative": None if change.relative is None else change.relative.tolist(),
                    "share": change.share.tolist(),
                },
            }
            for moved, change in zip(explanation.layer_changes, trace.changes, strict=True)
        },
        "representations": {
            layer: {
                "cka": list(interval),
                "shift": list(explanation.shifts[layer]),
                "tasks": {"cka": trace.similarities[layer].tolist(), "shift": trace.shifts[layer].tolist()},
            }
            for layer, interval in explanation.similarities.items()
        },
        "task_map": {
            "tasks": [trace.tasks[place].id for place in placed.places],
            "points": placed.points.tolist(),
            "variance_shown": placed.shown,
            "cosines": placed.cosines.tolist(),
        },
        "likeness": None
        if alike is None
        else {
            "rank_correlation": alike.correlation,
            "p_value": alike.p_value,
            "pairs": alike.pairs,
            "families": alike.families,
        },
        "gains": {
            gain.variant: {
                "return": list(gain.of_return),
                "success": None if gain.of_success is None else list(gain.of_success),
            }
            for gain in explanation.gains
        },
        "variants": [variant.name for variant in trace.variants],
        "effects": trace.effects.to_json(),
    }
