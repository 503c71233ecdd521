"""Which expert of policy reuse solves which family, and what is kept of them.

    .venv/bin/python -m benchmarks.learning.experts runs/ml10-policy-reuse-seed0 --output results/NAME/experts

Every expert plays every task. Of a training family the table also says how often it is solved when its own
experts are left out: as a new family would be. Settings are chosen by that column, and the held-out families
are only looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from annotated_types import Ge
from rich.progress import track
from rich.table import Table

from benchmarks.learning.expert_episodes import Played, play
from benchmarks.program import run
from benchmarks.workloads import wide_console
from metarl.agents.policy_reuse import PolicyReuse
from metarl.api.runs import Run, load
from metarl.errors import require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.storage.files import write_rows
from metarl.tasks import Split
from metarl.types import Task
from metarl.vector_env import Array


class Row(NamedTuple):
    """A family's line of the table, all numbers in percent."""

    split: Split
    family: str
    by_expert: Array  # [E], success
    kept: Array  # [E], how often each is kept
    own: float  # success of the kept expert
    left_out: float  # likewise without the family's own experts, NaN if there are no others
    best: float  # of an oracle that knows which expert solves the family most often


def main(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    tasks: Annotated[int, Ge(1)] = 10,
    episodes: Annotated[int, Ge(2)] = 2,
    horizon: int | None = None,
    spreads: tuple[float, ...] = (),
    output: Path | None = None,
) -> None:
    """Play every expert on every family, and print who solves what.

    Args:
        runs: of policy-reuse, or their checkpoints, of the same suite.
        tasks: number of tasks of each family, from the training goals or the held-out ones.
        episodes: number of episodes of each expert on each task; one chooses, the others are measured.
        horizon: steps of an episode, by default those of the training.
        spreads: factors of the deviation that are tried, by default those of the training.
        output: folder for a CSV file of each run or checkpoint.
    """
    seen = set[str]()
    for path in runs:
        opened = load(path)
        agent = opened.agent
        name = file_name(path, opened)
        require(name not in seen, "Expected runs of different names, each of which has a file", path)
        seen.add(name)
        require(
            isinstance(agent, PolicyReuse),
            f"Expected a run of policy-reuse, as {path} is to show its experts",
            opened.config.agent.kind,
        )
        assert isinstance(agent, PolicyReuse)
        if spreads:
            agent = PolicyReuse(replace(agent.config, spreads=spreads), agent.families, agent.experts)
        rows = measure(opened, agent, tasks, episodes, horizon or opened.suite.horizon)
        names = [
            family if factor == 1 else f"{family} x {factor:g}"
            for factor in agent.factors
            for family in agent.owners
        ]
        show(rows, names, f"{opened.folder.name} after {opened.experiment.iteration} iterations")
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            write_rows(output / name, lines_of(rows, names))


def file_name(path: Path, opened: Run) -> str:
    """Return the name of a run's CSV file, or of one of its checkpoints."""
    run, given = opened.folder.resolve(), path.resolve()
    return f"{run.name}.csv" if given == run else f"{run.name}-{given.name}.csv"


def measure(opened: Run, agent: PolicyReuse, tasks: int, episodes: int, horizon: int) -> list[Row]:
    """Return the lines of all families."""
    slots = tasks * episodes * len(agent.experts) * len(agent.factors)
    rows = list[Row]()
    with closing(opened.suite.make_vector_env(slots)) as env:
        chosen: list[tuple[Split, str, list[Task]]] = [
            (split, family, [task for task in opened.suite.tasks(split) if task.family == family][:tasks])
            for split in ("train", "test")
            for family in dict.fromkeys(task.family for task in opened.suite.tasks(split))
        ]
        for number, (split, family, own) in enumerate(track(chosen, "families")):
            rng = make_rng(opened.config.seed, Purpose.TEST, number)
            played = play(agent, env, own, episodes, horizon, rng)
            rows.append(row_of(split, family, played, agent))
    return rows


def row_of(split: Split, family: str, played: Played, agent: PolicyReuse) -> Row:
    """Return a family's line."""
    names = np.tile(agent.owners, len(agent.factors))
    by_expert = 100 * played.solved.mean(axis=(0, 1))
    own, kept = kept_success(played, np.ones(len(names), bool))
    left_out, _ = kept_success(played, names != family)
    return Row(split, family, by_expert, kept, own, left_out, float(by_expert.max()))


def kept_success(played: Played, allowed: Array) -> tuple[float, Array]:
    """Return the kept expert's success in percent, and how often each is kept, ``[E]``.

    Each episode chooses in turn, and the others are measured. NaN if no expert is allowed.
    """
    if not np.any(allowed):
        return float("nan"), np.zeros(len(allowed))
    rates, kept = list[float](), np.zeros(len(allowed))
    tasks = np.arange(len(played.scores))
    for chooser in range(played.scores.shape[1]):
        best = np.where(allowed, played.scores[:, chooser], -np.inf).argmax(axis=1)
        rest = np.delete(played.solved, chooser, axis=1).mean(axis=1)
        rates.append(float(rest[tasks, best].mean()))
        kept += np.bincount(best, minlength=len(allowed))
    return 100 * float(np.mean(rates)), 100 * kept / kept.sum()


def show(rows: Sequence[Row], names: Sequence[str], title: str) -> None:
    """Print the table: success of each expert, and how often each is kept."""
    table = Table("family", "kept", "left out", "best", *map(_short, names), title=title)
    for row in rows:
        cells = [
            f"{solved:.0f}" + (f" ({kept:.0f})" if kept else "")
            for solved, kept in zip(row.by_expert, row.kept, strict=True)
        ]
        three = (f"{value:.0f}" for value in (row.own, row.left_out, row.best))
        table.add_row(f"{_short(row.family)}, {row.split}", *three, *cells)
    for split in ("train", "test"):
        of_split = [row for row in rows if row.split == split]
        means = (
            f"{np.mean([getattr(row, name) for row in of_split]):.1f}" for name in ("own", "left_out", "best")
        )
        table.add_row(f"mean, {split}", *means)
    table.caption = (
        "Success in percent: of the expert that is kept after one episode of each, of the one that is kept "
        "without the family's own, of the best; then of each expert, in brackets how often it is kept."
    )
    wide_console().print(table)


def lines_of(rows: Sequence[Row], names: Sequence[str]) -> list[list[str]]:
    """Return the table as lines of a CSV file."""
    head = ["split", "family", "kept", "left_out", "best", *names, *(f"{name} kept" for name in names)]
    return [
        head,
        *(
            [
                row.split,
                row.family,
                *(f"{value:.1f}" for value in (row.own, row.left_out, row.best, *row.by_expert, *row.kept)),
            ]
            for row in rows
        ),
    ]


def _short(family: str) -> str:
    return family.removesuffix("-v3")


if __name__ == "__main__":
    run(main)
