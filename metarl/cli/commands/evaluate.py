"""``metarl evaluate``: measure a trained agent's adaptation to held-out tasks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
import tyro
from annotated_types import Ge, Le

from metarl.cli.console import console, say
from metarl.cli.progress import showing
from metarl.config import EvaluationConfig, MeasurementConfig, SuiteConfig, to_json
from metarl.errors import MetarlError, require
from metarl.evaluation.episode_curve import (
    check_adapts_from_several,
    check_counts,
    curve_steps,
    episode_curve,
    episodes_axis,
    slots_for,
)
from metarl.evaluation.official import OfficiallyEvaluated, OfficialSettings
from metarl.evaluation.record import Axis, Evaluation
from metarl.evaluation.references import (
    Reference,
    has_references,
    reference_steps,
    references,
    references_json,
)
from metarl.evaluation.summary import disagreement, rank_correlation, summarize
from metarl.functional.random_streams import Purpose, make_rng
from metarl.plugins import registry
from metarl.reporting.csv_files import write_csv
from metarl.reporting.evaluation_files import write_evaluation, write_official
from metarl.reporting.success_tables import family_success_table, success_rows, success_table
from metarl.reporting.tables import (
    aggregate_table,
    evaluation_table,
    family_table,
    official_table,
    protocol_table,
)
from metarl.reporting.video.record import find_task
from metarl.settings import Horizon, Seed, Workers
from metarl.storage.checkpoints import library_versions
from metarl.storage.files import all_or_none
from metarl.tasks import sample_evenly
from metarl.text import count
from metarl.training import runs
from metarl.training.adapted_agent import AdaptedAgent
from metarl.training.evaluation_reader import provenance
from metarl.training.experiment import Experiment
from metarl.training.transfer import transfer, with_setting
from metarl.types import Json, Task


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments(MeasurementConfig):
    """Measure a trained agent on tasks it was never trained on, before and after adapting to them."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run (its newest whole checkpoint is taken), or one checkpoint's folder."""
    tasks: Annotated[int, Ge(0)] = 0
    """Held-out tasks, as evenly over the families as can be; 0 takes every one."""
    seed: Seed = 0
    """Seed of the evaluation, apart from the training's."""
    device: str = "cpu"
    """Where the policy and the adaptation compute."""
    workers: Workers = 0
    """Worker processes or threads; 0 takes one a core."""
    engine: str = ""
    """Engine that steps the environments, "threads" for instance; empty takes the one of the training."""
    task: tuple[str, ...] = ()
    """Ids of held-out tasks to take instead of a number; a family's name takes the first of its tasks.

    With --suite ml1 a family's name chooses the family, and takes all its tasks."""
    test_goals: Annotated[int, Ge(0), Le(10_000)] = 0
    """Held-out goals of each family, on Meta-World; 0 takes as many as the run's own suite."""
    actions: Literal["", "drawn", "most-likely", "both"] = ""
    """Drawn actions, the most likely ones, or both side by side; empty leaves it to --deterministic."""
    references: bool = True
    """Measure also a policy that does nothing and one that acts at random, on Meta-World; cached."""
    protocol: Literal["both", "per-goal", "official"] = "both"
    """Every task equally many episodes ("per-goal"), the evaluator that the suite's publisher ships
    ("official"), or both side by side, where there is one."""
    episode_curve: tuple[int, ...] = ()
    """Measure also one adaptation step from these numbers of episodes: 1 2 5 10."""
    suite: str = ""
    """Another suite than that of the training, by its name or as my_file.py:my_distribution, with the same
    sizes of observations and actions. Its settings are options too: --suite ml1 --task push-v3."""
    horizon: Horizon | None = None
    """Steps of an episode, if not those of the suite."""
    output: Path | None = None
    """Folder for the results; by default "evaluations" in the run's folder, or in a lone checkpoint's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.episode_curve:
            check_counts(self.episode_curve)


def evaluate_command(arguments: list[str]) -> None:
    """Evaluate a trained agent on held-out tasks."""
    options, other = parse(arguments)
    require(not (options.tasks and options.task), "Either --tasks or --task may be given", "both")
    experiment = runs.open_trained(
        options.run, say, device=options.device, workers=options.workers, engine=options.engine
    )
    of_run = experiment.config.evaluation
    says_steps = any(re.match("--adaptation[-_]steps", word) for word in arguments)
    if experiment.agent.trial == "sequential" and not says_steps:
        # more episodes than the trials of the training are asked for, or not measured
        options = replace(options, adaptation_steps=of_run.adaptation_steps)
    chosen_actions = {"deterministic": options.actions == "most-likely"} if options.actions else {}
    given = {each.name: getattr(options, each.name) for each in fields(MeasurementConfig)}
    measured = EvaluationConfig(**{**given, **chosen_actions})
    experiment.config = replace(experiment.config, evaluation=measured)
    if options.episode_curve:
        check_adapts_from_several(experiment.agent)
    differing = other_suite(experiment, options, other)
    # engines of different MuJoCo versions do not give the same numbers
    physics = runs.physics(options.run, experiment.config.sampling.engine)
    suite = official_suite(experiment, options.protocol)
    chosen, rng = draw(experiment, options)
    stem = f"iteration{experiment.iteration}-seed{options.seed}"
    if options.suite or options.horizon is not None or options.test_goals:
        stem += f"-{experiment.suite.name}-horizon{experiment.suite.horizon}".replace("/", "-")
    place = options.output or experiment.folder / "evaluations"
    with results_folder(place, stems(options, suite, stem)) as folder:
        say(
            f"Evaluating {experiment.config.agent.kind} after {count(experiment.iteration, 'iteration')} on "
            f"{count(len(chosen), 'held-out task')} of {experiment.suite.name}, seed {options.seed}."
        )
        for sentence in other_measurement(experiment, of_run, options, official=suite is not None):
            say(f"Notice: {sentence}")
        files, evaluation = [], None
        if options.protocol != "official":
            # every task equally many episodes
            evaluation = measure(experiment, chosen, rng)
            likely = measure_most_likely(experiment, options) if options.actions == "both" else None
            found = find_references(experiment, chosen, physics) if options.references else ()
            stream: dict[str, Json] = {"purpose": Purpose.EVALUATION.value, "seed": options.seed}
            shown = Shown(evaluation, likely, found, stream)
            files += show_all(experiment, shown, folder, stem, physics, differing)
        if suite is not None:
            # the publisher's protocol, beside ours if both ran
            files += measure_officially(experiment, suite, chosen, options, evaluation, folder / stem)
        if options.episode_curve:
            files += measure_episode_curve(experiment, chosen, options, folder / f"{stem}-episodes", physics)
    say(f"Wrote {', '.join(str(path) for path in files)}.")


@dataclass(frozen=True)
class Shown:
    """An evaluation, and what is shown beside it."""

    evaluation: Evaluation
    most_likely: Evaluation | None = None
    """The same with the most likely actions, if both were measured."""
    references: tuple[Reference, ...] = ()
    """What policies that learn nothing reach on the same tasks."""
    stream: Mapping[str, Json] = field(default_factory=dict)
    """Purpose and seed of its random numbers, if they are not those at a run's end."""

    @property
    def by_actions(self) -> dict[str, list[Evaluation]]:
        """The evaluations by how actions were chosen; a lone one has no name."""
        if self.most_likely is None:
            return {"": [self.evaluation]}
        return {"drawn": [self.evaluation], "most likely": [self.most_likely]}


def draw(experiment: Experiment, options: EvaluateArguments) -> tuple[Sequence[Task], np.random.Generator]:
    """Return the tasks to measure on, and the random numbers that go on from there."""
    rng = make_rng(options.seed, Purpose.EVALUATION)
    return choose_tasks(experiment, options.task, options.tasks, rng), rng


def measure_most_likely(experiment: Experiment, options: EvaluateArguments) -> Evaluation:
    """Measure the most likely actions, as a call with ``--deterministic`` does."""
    drawn = experiment.config
    experiment.config = replace(drawn, evaluation=replace(drawn.evaluation, deterministic=True))
    try:
        return measure(experiment, *draw(experiment, options))
    finally:
        experiment.config = drawn


def find_references(
    experiment: Experiment, tasks: Sequence[Task], physics: Mapping[str, Json]
) -> tuple[Reference, ...]:
    """Return what policies that learn nothing reach on a benchmark's tasks; none on other suites."""
    if not has_references(experiment.suite):
        return ()
    config = experiment.config
    evaluated = physics.get("evaluated")
    settings = to_json(config)
    versions = {**library_versions(), **(evaluated if isinstance(evaluated, dict) else {})}
    engine = config.sampling.engine
    simulator: dict[str, Json] = {
        "engine": "warp" if engine.partition(":")[0] == "warp" else "mujoco",
        **{name: versions.get(name) for name in ("mujoco", "metaworld", "gymnasium")},
    }
    steps = reference_steps(len(tasks), experiment.suite.horizon)
    with showing(experiment, "policies that learn nothing", steps):
        return references(
            experiment.suite,
            tasks,
            {"suite": settings["suite"], "success_bonus": config.success_bonus},
            simulator,
            engine=engine,
            num_workers=config.sampling.workers,
            on_step=experiment.on_step,
        )


def show_all(
    experiment: Experiment,
    shown: Shown,
    folder: Path,
    stem: str,
    physics: dict[str, Json],
    notices: Mapping[str, str] = MappingProxyType({}),
) -> list[Path]:
    """Print an evaluation, every kind of success beside the references, and write the files.

    ``stem-success.csv`` has every kind of success, by actions and family; ``stem-most-likely.*`` is the
    evaluation with the most likely actions.
    """
    files = []
    if shown.most_likely is not None:
        drawn = experiment.config
        experiment.config = replace(drawn, evaluation=replace(drawn.evaluation, deterministic=True))
        likely = Shown(shown.most_likely, stream=shown.stream)
        files += show_evaluation(experiment, likely, folder, f"{stem}-most-likely", physics)
        experiment.config = drawn
    parts, reports = shown.by_actions, shown.evaluation.successes is not None
    if reports:
        # before the JSON of the evaluation, which comes last
        files.append(folder / f"{stem}-success.csv")
        write_csv(files[-1], success_rows(parts, shown.references))
    files = show_evaluation(experiment, shown, folder, stem, physics, notices=notices) + files
    if reports:
        console.print(success_table(parts, shown.references))
        if len({task.family for task in shown.evaluation.tasks}) > 1:
            console.print(family_success_table(parts, shown.references))
    if sentence := disagreement(shown.evaluation):
        say(sentence)
    return files


def parse(arguments: Sequence[str]) -> tuple[EvaluateArguments, SuiteConfig | None]:
    """Return the options, and the suite that they name, with its settings among them."""
    prog = "metarl evaluate"
    options, settings = tyro.cli(EvaluateArguments, args=arguments, prog=prog, return_unknown_args=True)
    if not options.suite:
        # an option that is not known is refused
        return tyro.cli(EvaluateArguments, args=arguments, prog=prog) if settings else options, None
    suite = registry.suite_named(options.suite)
    # prog is where the help has these settings
    suite = tyro.cli(type(suite), default=suite, args=settings, prog=f"metarl check {options.suite}")
    if options.task and any(item.name == "task" for item in fields(suite)):
        family, *others = {name.partition("/")[0] for name in options.task}
        if others:
            raise MetarlError(f"Expected tasks of one family after --task, got {', '.join(options.task)}.")
        suite = with_setting(suite, "task", family)
        options = replace(options, task=tuple(name for name in options.task if "/" in name))
    return options, suite


def other_suite(
    experiment: Experiment, options: EvaluateArguments, other: SuiteConfig | None
) -> dict[str, str]:
    """Change the suite if the options name another; return what differs from the training, by sentence.

    Raises:
        MetarlError: if its spaces do not fit.
    """
    started = {}
    if isinstance(experiment.agent, AdaptedAgent):
        steps = count(len(experiment.agent.path), "adaptation")
        started["adapted"] = f"The agent starts from what it learned in {steps} of a session of metarl adapt."
    if not options.suite and options.horizon is None and not options.test_goals:
        return started
    config = other or experiment.config.suite
    if options.horizon is not None:
        config = with_setting(config, "horizon", options.horizon)
    if options.test_goals:
        config = with_setting(config, "test_goals", options.test_goals)
    differing = transfer(experiment, config)
    if options.engine:
        sampling = replace(experiment.config.sampling, engine=options.engine)
        experiment.config = replace(experiment.config, sampling=sampling)
    return started | {sentence: sentence for sentence in differing}


def other_measurement(
    experiment: Experiment, of_run: MeasurementConfig, options: EvaluateArguments, *, official: bool
) -> list[str]:
    """Say what is measured otherwise than in the run, or than asked for.

    Args:
        experiment: the agent, and how it is measured now.
        of_run: how it was measured at the end of its training.
        options: as given.
        official: whether the publisher's evaluator runs too.
    """
    now = experiment.config.evaluation
    sequential = experiment.agent.trial == "sequential"
    # with a memory, a step is one more episode, and adapts from no others
    unused = {"adaptation_episodes"} if sequential else set[str]()
    differing = [
        f"--{item.name.replace('_', '-')} {getattr(now, item.name)} (there {getattr(of_run, item.name)})"
        for item in fields(MeasurementConfig)
        if item.name not in unused and getattr(now, item.name) != getattr(of_run, item.name)
    ]
    said = []
    if differing:
        said.append(f"This is not measured as in the run: {', '.join(differing)}.")
    trained = experiment.agent.adaptation_steps
    if sequential and now.adaptation_steps > trained:
        said.append(
            f"The trials of the training have {count(trained + 1, 'episode')} each, and "
            f"{now.adaptation_steps + 1} are measured."
        )
    known = MeasurementConfig().adaptation_episodes
    if sequential and now.adaptation_episodes != known:
        said.append("An agent with a memory does not use --adaptation-episodes.")
    available = len(experiment.suite.tasks("test"))
    if options.tasks > available:
        said.append(f"--tasks {options.tasks} takes all {available} held-out tasks.")
    most = experiment.brief_adaptation_steps
    if official and now.adaptation_steps > most:
        said.append(
            f"The official evaluator measures after {count(most, 'adaptation step')}, as in the training."
        )
    return said


def choose_tasks(
    experiment: Experiment, names: Sequence[str], number: int, rng: np.random.Generator
) -> Sequence[Task]:
    """Return named held-out tasks, or some of each family."""
    tasks = experiment.suite.tasks("test")
    if names:
        return list(dict.fromkeys(find_task(tasks, name, experiment.suite.name) for name in names))
    return sample_evenly(tasks, min(number, len(tasks)), rng) if number else tasks


def official_suite(experiment: Experiment, protocol: str) -> OfficiallyEvaluated | None:
    """Return the suite if its official evaluator is to run."""
    suite = experiment.suite
    if protocol != "per-goal" and isinstance(suite, OfficiallyEvaluated):
        return suite
    if protocol == "official":
        raise MetarlError(f"The suite {suite.name} has no official evaluator; leave --protocol away.")
    return None


def measure(experiment: Experiment, tasks: Sequence[Task], rng: np.random.Generator) -> Evaluation:
    """Evaluate an experiment's agent, showing the progress."""
    steps = experiment.evaluation_steps(len(tasks), experiment.config.evaluation.adaptation_steps)
    with closing(experiment.make_env()) as env, showing(experiment, "evaluating", steps):
        return experiment.test(env, tasks, rng)


def measure_officially(
    experiment: Experiment,
    suite: OfficiallyEvaluated,
    tasks: Sequence[Task],
    options: EvaluateArguments,
    per_goal: Evaluation | None,
    path: Path,
) -> list[Path]:
    """Run the publisher's evaluator; print and write its result beside ours."""
    settings = OfficialSettings(
        adaptation_steps=min(options.adaptation_steps, experiment.brief_adaptation_steps),
        adaptation_episodes=options.adaptation_episodes,
        deterministic=options.deterministic,
    )
    vector_steps, env_steps = suite.official_steps(tasks, settings)
    say(f"The official evaluator takes at most {env_steps:,} environment steps more.")
    with showing(experiment, "official evaluation", vector_steps):
        rng, workers, on_step = make_rng(options.seed, Purpose.OFFICIAL), options.workers, experiment.on_step
        official = suite.official_evaluation(
            experiment.agent, tasks, settings, rng=rng, num_workers=workers, on_step=on_step
        )
    console.print(official_table(official) if per_goal is None else protocol_table(per_goal, official))
    return [write_official(path, official, per_goal)]


def measure_episode_curve(
    experiment: Experiment,
    tasks: Sequence[Task],
    options: EvaluateArguments,
    path: Path,
    physics: dict[str, Json],
) -> list[Path]:
    """Measure, print and write one step's curve over episodes."""
    counts, config, suite = options.episode_curve, experiment.config.evaluation, experiment.suite
    # an environment of its own: the largest number of episodes may need more slots
    slots = max(experiment.num_envs, slots_for(config, counts))
    steps = curve_steps(config, counts, len(tasks), slots, suite.horizon)
    env = suite.make_vector_env(slots, engine=experiment.config.sampling.engine, num_workers=options.workers)
    with closing(env), showing(experiment, "adapting from more and more episodes", steps):
        rng, on_step = make_rng(options.seed, Purpose.EPISODE_CURVE), experiment.on_step
        found = episode_curve(
            experiment.agent, env, tasks, config, counts, horizon=suite.horizon, rng=rng, on_step=on_step
        )
    return show_evaluation(experiment, Shown(found), path.parent, path.name, physics, episodes_axis(counts))


def stems(options: EvaluateArguments, suite: OfficiallyEvaluated | None, stem: str) -> list[str]:
    """Return names of the result files, without endings."""
    parts = {
        "": options.protocol != "official",
        "-most-likely": options.protocol != "official" and options.actions == "both",
        "-official": suite is not None,
        "-episodes": bool(options.episode_curve),
    }
    return [f"{stem}{part}" for part, written in parts.items() if written]


@contextmanager
def results_folder(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Make the results folder, unless it has these; remove it if empty."""
    for path in (folder / f"{name}.json" for name in names):
        if path.exists():
            mend = "choose another folder with --output, or another --seed"
            raise MetarlError(f"{path} exists already; {mend}.")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise MetarlError(f"The results cannot be written to {folder}; choose another folder with --output.")
    try:
        with all_or_none(folder, names):
            yield folder
    finally:
        with suppress(OSError):  # it holds results, and stays
            folder.rmdir()


def show_evaluation(
    experiment: Experiment,
    shown: Shown,
    folder: Path,
    stem: str,
    physics: dict[str, Json],
    axis: Axis | None = None,
    notices: Mapping[str, str] = MappingProxyType({}),
) -> list[Path]:
    """Print an evaluation's tables and notices; write its files."""
    evaluation = shown.evaluation
    summary = summarize(evaluation, make_rng(experiment.config.seed, Purpose.RESAMPLES))
    title = f"{experiment.suite.name}, held-out tasks"
    if experiment.config.evaluation.deterministic:
        title += ", most likely actions"
    elif shown.most_likely is not None:
        title += ", drawn actions"
    console.print(evaluation_table(evaluation, summary, title, axis))
    # aggregates and notices are of adaptation steps, not of the curve over episodes
    if axis is None:
        console.print(aggregate_table(summary, evaluation.trial))
    if axis is None and len({task.family for task in evaluation.tasks}) > 1:
        console.print(family_table(evaluation))
    measured = experiment.evaluation_notices(evaluation) if axis is None else {}
    said = {**measured, **notices}
    for sentence in said.values():
        say(f"Notice: {sentence}")
    about: dict[str, Json] = {
        **provenance(experiment),
        "physics": physics,
        "notices": list[Json](said.values()),
        **({"stream": dict(shown.stream)} if shown.stream else {}),
        **({"references": references_json(shown.references)} if shown.references else {}),
        **({"rank_correlation": correlation} if (correlation := rank_correlation(evaluation)) else {}),
    }
    return write_evaluation(folder, stem, evaluation, summary, about, title, axis)
