"""Adapting to held-out bodies with the troubles of a real robot: guard on, guard off, and not at all.

Agents that were trained on ``dynamics`` adapt to held-out bodies of the same robot, one a session, by
``metarl.deploy``. Observations go missing and steps take an uneven time, on a simulated clock. Of a gradient
agent, a step size a hundred times too large shows a harmful adaptation.

    python -m benchmarks.learning.guarded_adaptation results/pendulum-maml-trpo results/pendulum-rl2 --output out
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from matplotlib.axes import Axes
from scipy.stats import t as student

from benchmarks.program import run
from benchmarks.workloads import quiet_sessions
from metarl.deploy import (
    DeploySettings,
    GuardSettings,
    Outcome,
    SimulatedClock,
    TroubledEnv,
    adapt,
)
from metarl.envs.locomotion.env import GymnasiumFactory
from metarl.envs.locomotion.tasks import MujocoTasks
from metarl.errors import MetarlError
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.figures.style import TEXT, blank, draw_footer, label_axes, save
from metarl.storage import checkpoints
from metarl.storage.files import write_rows
from metarl.storage.run_folder import CHECKPOINTS
from metarl.training.runs import open_checkpoint, open_trained
from metarl.vector_env import Array

FREQUENCY = 25.0
"""Steps a second, which the inverted pendulum of Gymnasium takes."""
HARMFUL = 100.0
"""Times that an inner step is too large."""
UNADAPTED, GUARDED, UNGUARDED = "not adapted", "guard on", "guard off"
COLOURS = {GUARDED: "#c2410c", UNGUARDED: "#1d4ed8", UNADAPTED: "#78716c"}
GUARDS = {GUARDED: GuardSettings(), UNGUARDED: GuardSettings(enabled=False)}


@dataclass(frozen=True)
class Study:
    """One agent's sessions, on the same bodies with the same luck under every guard."""

    agent: str
    each: int
    """Episodes that an adaptation learns from."""
    outcomes: Mapping[str, Sequence[Outcome]]
    """By guard, in the order of the bodies."""

    def returns(self, guard: str) -> Array:
        """Return the returns, ``[bodies, episodes]``."""
        return np.array([[episode.total for episode in one.episodes] for one in self.outcomes[guard]])

    def later(self, guard: str) -> Array:
        """Return the mean return from the first adaptation on, ``[bodies]``."""
        means: Array = self.returns(guard)[:, self.each :].mean(axis=1)
        return means


def main(
    trained: tyro.conf.Positional[tuple[Path, ...]],
    *,
    bodies: int = 20,
    episodes: int = 5,
    steps: int = 4,
    output: Path = Path(),
) -> None:
    """Adapt to many bodies, and write the tables and the figure.

    Args:
        trained: runs on ``dynamics``, or results with weights.
        bodies: held-out tasks of the run's suite; each is adapted to under every condition.
        episodes: that a gradient agent learns from at a time; one with a memory takes one.
        steps: adaptations that are tried.
        output: folder of ``returns.csv``, ``summary.csv`` and ``return_by_episode.png``.
    """
    studies = []
    with quiet_sessions(), tempfile.TemporaryDirectory() as folder:
        for place in trained:
            experiment = open_trained(place, print)
            name, sequential = experiment.config.agent.kind, experiment.agent.trial == "sequential"
            each = 1 if sequential else episodes
            base = DeploySettings(
                adaptation_steps=steps,
                adaptation_episodes=each,
                episodes=(steps + 1) * each,
                frequency=FREQUENCY,
            )
            studies.append(study(name, place, base, bodies, Path(folder) / name))
            if not sequential:
                bad = with_inner_lr(place, HARMFUL, Path(folder) / f"{name}-harmful-run")
                label = f"{name}, inner step x{HARMFUL:g}"
                studies.append(study(label, bad, base, bodies, Path(folder) / f"{name}-harmful"))
    write_rows(output / "returns.csv", returns_table(studies))
    write_rows(output / "summary.csv", summary_table(studies))
    draw(studies, bodies, output / "return_by_episode.png")
    for one in studies:
        print(*sentences(one), sep="\n")


def study(name: str, run: Path, base: DeploySettings, bodies: int, root: Path) -> Study:
    """Run all sessions of an agent."""
    conditions = {
        UNADAPTED: replace(base, adaptation_steps=0),
        **{guard: replace(base, guard=settings) for guard, settings in GUARDS.items()},
    }
    outcomes = {
        guard: [
            session(run, replace(settings, seed=body), root / guard.replace(" ", "-") / str(body), body)
            for body in range(bodies)
        ]
        for guard, settings in conditions.items()
    }
    return Study(name, base.adaptation_episodes or 1, outcomes)


def session(run: Path, settings: DeploySettings, folder: Path, body: int) -> Outcome:
    """Adapt to one held-out body; its troubles and starts are the same in every call."""
    suite = open_trained(run, print).suite
    if not isinstance(suite, MujocoTasks):
        raise MetarlError(f"Expected a run on dynamics, got one on {suite.name}.")
    task = suite.tasks("test")[body]
    rng, clock = make_rng(body, Purpose.TROUBLE, "body"), SimulatedClock()
    env = GymnasiumFactory(suite.family, suite.horizon, len(task.parameters))(task.family)
    with closing(env):
        env.set_task(task)
        env.reset(seed=body)  # a session gives no seed
        troubled = TroubledEnv(env, clock, rng, step_seconds=0.01, jitter=0.006, dropped=0.05)
        return adapt(run, troubled, folder, settings, clock=clock)


def with_inner_lr(run: Path, factor: float, folder: Path) -> Path:
    """Return a copy of a run with another size of inner step."""
    checkpoint = open_checkpoint(run, print)
    agent = checkpoint.config["agent"]
    assert isinstance(agent, dict)
    changed = {**agent, "inner_lr": factor * float(str(agent["inner_lr"]))}
    config = {**checkpoint.config, "agent": changed}
    checkpoints.save(folder / CHECKPOINTS, replace(checkpoint, config=config), keep=1)
    return folder


def interval(values: Array) -> tuple[Array, Array]:
    """Return the mean over rows, and half of Student's 95 % interval."""
    rows = len(values)
    half = student.ppf(0.975, rows - 1) * values.std(axis=0, ddof=1) / np.sqrt(rows)
    return values.mean(axis=0), half


def returns_table(studies: Sequence[Study]) -> list[list[str | float]]:
    """Return the rows of return by episode."""
    rows: list[list[str | float]] = [["agent", "condition", "episode", "mean", "low", "high"]]
    for one in studies:
        for guard in one.outcomes:
            for episode, (mean, half) in enumerate(zip(*interval(one.returns(guard)), strict=True), start=1):
                rows.append([one.agent, guard, episode, float(mean), float(mean - half), float(mean + half)])
    return rows


def summary_table(studies: Sequence[Study]) -> list[list[str | float]]:
    """Return the rows of each condition: returns from the first adaptation on, and what was undone."""
    head = ("agent", "condition", "mean", "low", "high", "last mean", "last low", "last high")
    counts = ("adaptations", "undone", "sessions", "sessions with one undone", "gain", "gain low", "gain high")
    rows: list[list[str | float]] = [[*head, *counts]]
    for one in studies:
        for guard, outcomes in one.outcomes.items():
            later, last = one.later(guard), one.returns(guard)[:, -one.each :].mean(axis=1)
            undone = [sum(d.outcome != "kept" for d in outcome.decisions) for outcome in outcomes]
            row: list[str | float] = [one.agent, guard]
            for values in (later, last):
                mean, half = interval(values)
                row += [float(mean), float(mean - half), float(mean + half)]
            row += [sum(len(outcome.decisions) for outcome in outcomes), sum(undone)]
            row += [len(outcomes), sum(count > 0 for count in undone)]
            gain, half = interval(later - one.later(UNADAPTED))
            rows.append([*row, float(gain), float(gain - half), float(gain + half)])
    return rows


def draw(studies: Sequence[Study], bodies: int, path: Path) -> None:
    """Draw return by episode, a panel for each agent."""
    figure, panels = blank("Adapting to held-out bodies", len(studies), 0.86)
    for axes, one in zip(panels, studies, strict=True):
        draw_study(axes, one)
    note = f"Mean over {bodies} bodies, with 95 % intervals. Dotted: adaptations."
    draw_footer(figure, note)
    save(figure, path)


def draw_study(axes: Axes, one: Study) -> None:
    """Draw an agent's return by episode under each guard."""
    for guard, colour in COLOURS.items():
        mean, half = interval(one.returns(guard))
        episodes = np.arange(1, len(mean) + 1)
        axes.plot(episodes, mean, "o-", color=colour, markersize=3.5, linewidth=1.5, label=guard)
        axes.fill_between(episodes, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
    if one.each > 1:
        for adapted in range(one.each, len(mean), one.each):
            axes.axvline(adapted + 0.5, color=TEXT, linewidth=0.6, linestyle=":")
    label_axes(axes, "return")
    axes.set(title=one.agent, xlabel="Episode")
    axes.title.set(fontsize=9, color=TEXT)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=TEXT)


def sentences(one: Study) -> list[str]:
    """Describe how often adapting was undone, and what the guard saved."""
    said = []
    for guard, outcomes in one.outcomes.items():
        mean, half = interval(one.later(guard))
        decisions = [decision for outcome in outcomes for decision in outcome.decisions]
        undone = sum(decision.outcome != "kept" for decision in decisions)
        some = sum(any(d.outcome != "kept" for d in outcome.decisions) for outcome in outcomes)
        said.append(
            f"{one.agent}, {guard}: return {mean:.1f} ± {half:.1f} from the first adaptation on; "
            f"{undone} of {len(decisions)} adaptations undone, in {some} of {len(outcomes)} sessions."
        )
    saved, half = interval(one.later(GUARDED) - one.later(UNGUARDED))
    said.append(f"{one.agent}: the guard saves {saved:.1f} ± {half:.1f} an episode.")
    return said


if __name__ == "__main__":
    run(main)
