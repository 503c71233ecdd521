"""One sentence for each figure of an explanation, made from its numbers."""

from __future__ import annotations

from metarl.analysis.layers import layer_of
from metarl.analysis.summary import Explanation, Gain
from metarl.evaluation.statistics import Interval
from metarl.reporting.tables import number, percent
from metarl.text import count

UNCHANGED = 0.99
"""A representation with at least this CKA counts as of the same shape as before."""
SIGNIFICANT = 0.05


def sentences(explanation: Explanation) -> dict[str, str]:
    """Return what each figure shows, by its name."""
    return {
        "layers": about_layers(explanation),
        "representation": about_representation(explanation),
        "map": about_map(explanation),
        "effects": about_effects(explanation),
    }


def about_layers(explanation: Explanation) -> str:
    """Say which layer makes most of the change, and which tensor moved farthest for its size."""
    shares = {
        layer: sum(moved.share.mean for moved in explanation.moved if layer_of(moved.name) == layer)
        for layer in explanation.layers
    }
    largest = max(shares, key=lambda layer: shares[layer])
    sized = {moved.name: moved.relative for moved in explanation.moved if moved.relative is not None}
    said = (
        f"In {count(explanation.adaptation_steps, 'step')}, {largest} makes {100 * shares[largest]:.0f} % of "
        "the squared length of the change"
    )
    if not sized:
        return f"{said}; every parameter was zero before, so none has a size to compare it with."
    name, relative = max(sized.items(), key=lambda item: item[1].mean)
    return f"{said}; for its size {name} moves farthest, by {small_percent(relative)} % of its norm."


def about_representation(explanation: Explanation) -> str:
    """Say which hidden representation changes its shape most, which its place, and what the actions do."""
    if not explanation.similarities:
        return "The policy does not show what its layers make of an observation."
    *hidden, last = explanation.similarities
    actions = f"the actions' CKA is {cka(explanation.similarities[last])}, their shift "
    actions += digits(explanation.shifts[last], 2)
    if not hidden:
        return f"There is no hidden layer; {actions} times their spread."
    bent = min(hidden, key=lambda layer: explanation.similarities[layer].mean)
    moved = max(hidden, key=lambda layer: explanation.shifts[layer].mean)
    found, place = explanation.similarities[bent], digits(explanation.shifts[moved], 2)
    shape = (
        f"The hidden representations keep their shape (least alike {bent}, CKA {cka(found)})"
        if found.mean >= UNCHANGED
        else f"Of the hidden representations {bent}'s changes its shape most (CKA {cka(found)})"
    )
    return f"{shape}; {moved}'s moves farthest as a whole, by {place} times its spread; {actions}."


def about_map(explanation: Explanation) -> str:
    """Say whether tasks that are alike move the policy alike."""
    alike, placed = explanation.likeness, explanation.task_map
    shown = f"the plane shows {100 * placed.shown:.0f} % of the variance of the directions"
    still = len(explanation.inside.tasks) - len(placed.places)
    left_out = f"; {count(still, 'task')} moved nothing and is left out" if still == 1 else ""
    left_out = f"; {still} tasks moved nothing and are left out" if still > 1 else left_out
    if alike is None:
        few = "Too few tasks of a family differ to say whether similar ones move the policy alike"
        return f"{few}; {shown}{left_out}."
    within = f"{alike.pairs:,} pairs of tasks" + (
        f" within {alike.families} families" if alike.families > 1 else ""
    )
    numbers = f"rank correlation of the distances {alike.correlation:.2f}, p = {alike.p_value:.2g}, {within}"
    verdict = (
        "Tasks that are closer to each other move the policy in more similar directions"
        if alike.p_value < SIGNIFICANT
        else "There is no clear sign that similar tasks move the policy alike"
    )
    return f"{verdict} ({numbers}); {shown}{left_out}."


def about_effects(explanation: Explanation) -> str:
    """Say what adapting gains, which layer alone gains most, and which one is missed most."""
    everything = explanation.gain("all")
    alone = [explanation.gain(f"only {layer}") for layer in explanation.layers]
    others = [explanation.gain(f"all but {layer}") for layer in explanation.layers]
    best = max(alone, key=lambda gain: gain.of_return.mean)
    missed = min(others, key=lambda gain: gain.of_return.mean)
    whole = f"Adapting every layer changes the return by {number(everything.of_return)}"
    if not everything.of_return.low > 0:
        return f"{whole}, no clear gain to share out among the layers."
    layer, absent = best.variant.removeprefix("only "), missed.variant.removeprefix("all but ")
    return (
        f"{whole}; {layer} alone {_keeps(best, everything)}, and without {absent} the others "
        f"{_keeps(missed, everything)}."
    )


def _keeps(gain: Gain, everything: Gain) -> str:
    """Say which part of the whole gain is left, as a share where that makes sense."""
    share = gain.of_return.mean / everything.of_return.mean
    if share < 0:
        return (
            f"lose {number(gain.of_return)}"
            if gain.variant.startswith("all")
            else f"loses {number(gain.of_return)}"
        )
    verb = "reach" if gain.variant.startswith("all") else "reaches"
    return f"{verb} {100 * share:.0f} % of that"


def digits(interval: Interval, significant: int) -> str:
    """Write a number with its interval, to so many significant digits."""
    mean, low, high = (f"{value:.{significant}g}" for value in interval)
    return f"{mean} [{low}, {high}]"


def cka(interval: Interval) -> str:
    """Write a similarity with its interval."""
    mean, low, high = (f"{value:.3f}" for value in interval)
    return f"{mean} [{low}, {high}]"


def small_percent(interval: Interval) -> str:
    """Write a share with its interval as percentages, without the sign, to a tenth where it is small."""
    if interval.mean >= 0.1:
        return percent(interval)
    mean, low, high = (f"{100 * value:.1f}" for value in interval)
    return f"{mean} [{low}, {high}]"
