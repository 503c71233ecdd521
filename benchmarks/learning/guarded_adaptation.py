"""Adapting to held-out bodies with the troubles of a real robot: guard on, guard off, and not at all.

An agent that learns by gradient and was trained on ``dynamics`` adapts to held-out bodies of the same robot,
one a session, by ``metarl.deploy``. Observations go missing and steps take an uneven time, on a simulated
clock. A step size a hundred times too large shows a harmful adaptation.

    python -m benchmarks.learning.guarded_adaptation results/dynamics-pendulum-maml-trpo --output out
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from annotated_types import Ge
from scipy.stats import t as student

from benchmarks.program import run
from benchmarks.workloads import quiet_sessions
from metarl.deploy import DeploySettings, GuardSettings, Outcome, SimulatedClock, TroubledEnv, adapt
from metarl.envs.locomotion.env import GymnasiumFactory
from metarl.envs.locomotion.tasks import MujocoTasks
from metarl.errors import MetarlError, require
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.figures.style import TEXT, blank, draw_footer, label_axes, save
from metarl.storage import checkpoints
from metarl.storage.files import write_rows
from metarl.storage.run_checkpoints import open_checkpoint
from metarl.storage.run_folder import CHECKPOINTS
from metarl.training.runs import open_trained
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
    """Sessions on the same bodies with the same luck under every guard."""

    title: str
    each: int
    """Episodes that an adaptation learns from."""
    outcomes: Mapping[str, Sequence[Outcome]]
    """By condition, in the order of the bodies."""

    def returns(self, condition: str) -> Array:
        """Return the returns, ``[bodies, episodes]``."""
        sessions = self.outcomes[condition]
        return np.array([[episode.total for episode in outcome.episodes] for outcome in sessions])

    def later(self, condition: str) -> Array:
        """Return the mean return from the first adaptation on, ``[bodies]``."""
        means: Array = self.returns(condition)[:, self.each :].mean(axis=1)
        return means


def main(
    trained: tyro.conf.Positional[Path],
    *,
    bodies: Annotated[int, Ge(2)] = 20,
    episodes: Annotated[int, Ge(1)] = 5,
    steps: Annotated[int, Ge(1)] = 3,
    output: Path = Path(),
) -> None:
    """Adapt to many bodies, and write the tables and the figure.

    Args:
        trained: run on ``dynamics``, or a result with weights.
        bodies: held-out tasks of the run's suite; each is adapted to under every condition.
        episodes: that one adaptation learns from.
        steps: adaptations that are tried.
        output: folder of ``returns.csv``, ``summary.csv`` and ``return_by_episode.png``.
    """
    suite = open_trained(trained, print).suite
    if not isinstance(suite, MujocoTasks):
        raise MetarlError(f"Expected a run on dynamics, got one on {suite.name}.")
    known = len(suite.tasks("test"))
    require(bodies <= known, f"bodies must be at most the {known} held-out tasks of {suite.name}", bodies)
    settings = DeploySettings(
        adaptation_steps=steps,
        adaptation_episodes=episodes,
        episodes=(steps + 1) * episodes,
        frequency=FREQUENCY,
    )
    with quiet_sessions(), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs = {"as trained": trained, "100 times too large": with_inner_lr(trained, HARMFUL, root / "run")}
        not_adapting = replace(settings, adaptation_steps=0)
        before = [session(trained, suite, not_adapting, root / "before", body) for body in range(bodies)]
        studies = []
        for title, place in runs.items():
            outcomes: dict[str, Sequence[Outcome]] = {UNADAPTED: before}
            for name, guard in GUARDS.items():
                guarded, sessions = replace(settings, guard=guard), root / title / name
                outcomes[name] = [session(place, suite, guarded, sessions, body) for body in range(bodies)]
            studies.append(Study(title, episodes, outcomes))
    write_rows(output / "returns.csv", returns_table(studies))
    write_rows(output / "summary.csv", summary_table(studies))
    draw(studies, bodies, output / "return_by_episode.png")
    for study in studies:
        print(*sentences(study), sep="\n")


def session(run: Path, suite: MujocoTasks, settings: DeploySettings, root: Path, body: int) -> Outcome:
    """Adapt to one held-out body; its troubles and starts are the same in every call."""
    task, clock = suite.tasks("test")[body], SimulatedClock()
    env = GymnasiumFactory(suite.family, suite.horizon, len(task.parameters))(task.family)
    with closing(env):
        env.set_task(task)
        env.reset(seed=body)  # a session gives no seed
        rng = make_rng(body, Purpose.TROUBLE, "body")
        troubled = TroubledEnv(
            env,  # type: ignore[arg-type]  # it takes float32 actions too
            clock,
            rng,
            step_seconds=0.01,
            jitter=0.006,
            dropped=0.05,
        )
        return adapt(run, troubled, root / str(body), replace(settings, seed=body), clock=clock)


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
    rows: list[list[str | float]] = [["inner step", "condition", "episode", "mean", "low", "high"]]
    for study in studies:
        for name in study.outcomes:
            for episode, (mean, half) in enumerate(zip(*interval(study.returns(name)), strict=True), start=1):
                rows.append([study.title, name, episode, float(mean), float(mean - half), float(mean + half)])
    return rows


def summary_table(studies: Sequence[Study]) -> list[list[str | float]]:
    """Return the rows of what each condition came to.

    They are mean returns from the first adaptation on and after the last one, the gain of the former over not
    adapting, each with an interval, and how often adapting was undone.
    """
    columns = [f"{name}{end}" for name in ("return", "last return", "gain") for end in ("", " low", " high")]
    counts = ["adaptations", "undone", "sessions", "sessions with one undone"]
    rows: list[list[str | float]] = [["inner step", "condition", *columns, *counts]]
    for study in studies:
        for name, outcomes in study.outcomes.items():
            row: list[str | float] = [study.title, name]
            later, last = study.later(name), study.returns(name)[:, -study.each :].mean(axis=1)
            for values in (later, last, later - study.later(UNADAPTED)):
                mean, half = interval(values)
                row += [float(mean), float(mean - half), float(mean + half)]
            undone = [sum(decision.outcome != "kept" for decision in one.decisions) for one in outcomes]
            tried = sum(len(one.decisions) for one in outcomes)
            rows.append([*row, tried, sum(undone), len(outcomes), sum(count > 0 for count in undone)])
    return rows


def draw(studies: Sequence[Study], bodies: int, path: Path) -> None:
    """Draw return by episode, a panel for each inner step."""
    figure, panels = blank("Adapting to held-out bodies", len(studies), 0.86)
    for axes, study in zip(panels, studies, strict=True):
        for name, colour in COLOURS.items():
            mean, half = interval(study.returns(name))
            episodes = np.arange(1, len(mean) + 1)
            axes.plot(episodes, mean, "o-", color=colour, markersize=3.5, linewidth=1.5, label=name)
            axes.fill_between(episodes, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        label_axes(axes, "return")
        ticks = range(study.each, len(mean) + 1, study.each)
        axes.set(title=f"inner step {study.title}", xlabel="Episode", xticks=ticks)
        axes.title.set(fontsize=9, color=TEXT)
        axes.legend(frameon=False, fontsize=8.5, labelcolor=TEXT)
    each = f"An adaptation learns from {studies[0].each} episodes."
    draw_footer(figure, f"Mean over {bodies} bodies, with 95 % intervals. {each}")
    save(figure, path)


def sentences(study: Study) -> list[str]:
    """Describe how often adapting was undone, and what the guard saved."""
    said = []
    for name, outcomes in study.outcomes.items():
        mean, half = interval(study.later(name))
        decisions = [decision for outcome in outcomes for decision in outcome.decisions]
        undone = sum(decision.outcome != "kept" for decision in decisions)
        some = sum(any(d.outcome != "kept" for d in outcome.decisions) for outcome in outcomes)
        said.append(
            f"{study.title}, {name}: return {mean:.1f} ± {half:.1f} from the first adaptation on; "
            f"{undone} of {len(decisions)} adaptations undone, in {some} of {len(outcomes)} sessions."
        )
    saved, half = interval(study.later(GUARDED) - study.later(UNGUARDED))
    said.append(f"{study.title}: the guard saves {saved:.1f} ± {half:.1f} an episode.")
    return said


if __name__ == "__main__":
    run(main)
