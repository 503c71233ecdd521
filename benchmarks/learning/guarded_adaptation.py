"""Adapting on a foreign environment with the troubles of a real one: guard on, guard off, and not at all.

An agent is meta-trained on ``point`` and adapts on a table with a hidden mark that it was not trained on.
Actions arrive late, observations go missing and steps take an uneven time, on a simulated clock. Few
episodes a step make adapting uncertain; a step size a hundred times too large makes it harmful. Every run has
a mark of its own.

    python -m benchmarks.learning.guarded_adaptation --output docs
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from scipy.stats import t as student

from benchmarks.program import run
from benchmarks.workloads import quiet_sessions
from metarl import train
from metarl.config import CheckpointConfig, EvaluationConfig, construct
from metarl.deploy import (
    DeploySettings,
    GuardSettings,
    Outcome,
    SimulatedClock,
    TroubledEnv,
    adapt,
)
from metarl.envs.toy.point import PointConfig
from metarl.functional.random_streams import Purpose, make_rng
from metarl.plugins.registry import configure
from metarl.reporting.figures.style import TEXT, blank, draw_footer, label_axes, save
from metarl.storage import checkpoints
from metarl.storage.files import write_rows
from metarl.storage.run_folder import CHECKPOINTS
from metarl.training.runs import open_checkpoint
from metarl.vector_env import Array

HORIZON, EACH, STEPS = 20, 2, 5
FREQUENCY = 50.0
COLOURS = {"guard on": "#c2410c", "guard off": "#1d4ed8", "not adapted": "#78716c"}


class TablePush(gymnasium.Env[Array, Array]):
    """A gripper over a table that has to find a hidden mark.

    Args:
        mark: where it is.
    """

    def __init__(self, mark: Array) -> None:
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = Box(-0.1, 0.1, (2,), np.float64)
        self._mark = mark

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Array, dict[str, object]]:
        """Start at the middle of the table."""
        super().reset(seed=seed)
        self._place = np.zeros(2)
        return self._place.copy(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, object]]:
        """Move; the reward is minus the distance to the mark."""
        self._place = self._place + action
        distance = float(np.linalg.norm(self._place - self._mark))
        return self._place.copy(), -distance, False, False, {"success": distance < 0.1}


@dataclass(frozen=True)
class Condition:
    """What is measured on every mark."""

    name: str
    run: Path
    settings: DeploySettings


def main(*, runs: int = 20, iterations: int = 40, output: Path = Path()) -> None:
    """Train once, adapt on many marks, and write the table and the figure.

    Args:
        runs: marks, each adapted to under every condition.
        iterations: of the meta-training.
        output: folder of ``guarded_adaptation.csv`` and ``.png``.
    """
    with quiet_sessions(), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        good = trained(root, iterations)
        bad = with_inner_lr(good, 100.0, root / "harmful")
        conditions = [*three(good, ""), *three(bad, "harmful, ")[:2]]
        found = {
            condition.name: [session(condition, root / "sessions", number) for number in range(runs)]
            for condition in conditions
        }
    returns = {name: padded(outcomes) for name, outcomes in found.items()}
    write_rows(output / "guarded_adaptation.csv", table(returns))
    draw(returns, runs, output / "guarded_adaptation.png")
    for name, outcomes in found.items():
        print(sentence(name, outcomes))


def trained(root: Path, iterations: int) -> Path:
    """Meta-train on ``point``, and return the run's folder."""
    config = replace(
        configure("point"),
        suite=construct(PointConfig, {"horizon": HORIZON}),
        iterations=iterations,
        name="point",
        evaluation=EvaluationConfig(every=0, tasks=1, episodes=1, adaptation_steps=0),
        checkpoint=CheckpointConfig(every=iterations),
    )
    return train(config, folder=root).folder


def with_inner_lr(run: Path, factor: float, folder: Path) -> Path:
    """Return a copy of a run with another size of inner step."""
    checkpoint = open_checkpoint(run, print)
    agent = checkpoint.config["agent"]
    assert isinstance(agent, dict)
    changed = {**agent, "inner_lr": factor * float(str(agent["inner_lr"]))}
    config = {**checkpoint.config, "agent": changed}
    checkpoints.save(folder / CHECKPOINTS, replace(checkpoint, config=config), keep=1)
    return folder


def three(run: Path, prefix: str) -> list[Condition]:
    """Return the conditions that an agent is measured under."""
    base = DeploySettings(
        adaptation_steps=STEPS,
        adaptation_episodes=EACH,
        episodes=(STEPS + 1) * EACH,
        frequency=FREQUENCY,
    )
    unguarded = GuardSettings(enabled=False)
    return [
        Condition(f"{prefix}guard on", run, base),
        Condition(f"{prefix}guard off", run, replace(base, guard=unguarded)),
        Condition(f"{prefix}not adapted", run, replace(base, adaptation_steps=0)),
    ]


def session(condition: Condition, root: Path, number: int) -> Outcome:
    """Adapt to one mark; the same one with the same troubles under every condition."""
    rng, clock = make_rng(number, Purpose.TROUBLE, "table"), SimulatedClock()
    mark = rng.uniform(-0.5, 0.5, 2)
    env = TroubledEnv(TablePush(mark), clock, rng, step_seconds=0.005, jitter=0.003, dropped=0.05, delay=1)
    folder = root / condition.name.replace(", ", "-").replace(" ", "-") / str(number)
    return adapt(condition.run, env, folder, replace(condition.settings, seed=number), clock=clock)


def padded(outcomes: Sequence[Outcome]) -> Array:
    """Return the returns ``[runs, episodes]``."""
    return np.array([[episode.total for episode in outcome.episodes] for outcome in outcomes])


def interval(returns: Array) -> tuple[Array, Array]:
    """Return the mean over runs ``[episodes]``, and half of Student's 95 % interval."""
    runs = len(returns)
    half = student.ppf(0.975, runs - 1) * returns.std(axis=0, ddof=1) / np.sqrt(runs)
    return returns.mean(axis=0), half


def table(returns: Mapping[str, Array]) -> list[list[str | float]]:
    """Return the rows of the CSV file."""
    rows: list[list[str | float]] = [["condition", "episode", "mean", "low", "high"]]
    for name, values in returns.items():
        for episode, (mean, half) in enumerate(zip(*interval(values), strict=True), start=1):
            rows.append([name, episode, float(mean), float(mean - half), float(mean + half)])
    return rows


def draw(returns: Mapping[str, Array], runs: int, path: Path) -> None:
    """Draw return by episode, a panel for each inner step."""
    figure, panels = blank("Adapting on a table with troubles", 2, 0.86)
    titles = ("inner step as trained", "inner step 100 times too large")
    for axes, title, prefix in zip(panels, titles, ("", "harmful, "), strict=True):
        for name, colour in COLOURS.items():
            values = returns.get(f"{prefix}{name}", returns[name])
            mean, half = interval(values)
            episodes = np.arange(1, len(mean) + 1)
            axes.plot(episodes, mean, "o-", color=colour, markersize=3.5, linewidth=1.5, label=name)
            axes.fill_between(episodes, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        label_axes(axes, "return")
        axes.set(title=title, xlabel="Episode")
        axes.title.set(fontsize=9, color=TEXT)
        axes.legend(frameon=False, fontsize=8.5, labelcolor=TEXT)
    note = f"Mean over {runs} marks, with 95 % intervals. {EACH} episodes an adaptation, {STEPS} adaptations."
    draw_footer(figure, note)
    save(figure, path)


def sentence(name: str, outcomes: Sequence[Outcome]) -> str:
    """Describe how often adapting was undone, and what that saved."""
    decisions = [decision for outcome in outcomes for decision in outcome.decisions]
    undone = sum(decision.outcome != "kept" for decision in decisions)
    any_undone = sum(any(d.outcome != "kept" for d in outcome.decisions) for outcome in outcomes)
    missed = sum(outcome.timing.missed for outcome in outcomes)
    last = padded(outcomes)[:, -EACH:].mean(axis=1)
    half = student.ppf(0.975, len(last) - 1) * last.std(ddof=1) / np.sqrt(len(last))
    return (
        f"{name}: last {EACH} episodes {last.mean():.2f} ± {half:.2f}; {undone} of {len(decisions)} "
        f"adaptations undone, in {any_undone} of {len(outcomes)} runs; {missed} deadlines missed."
    )


if __name__ == "__main__":
    run(main)
