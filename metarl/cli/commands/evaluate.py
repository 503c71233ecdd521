"""``metarl evaluate``: measure a trained agent's adaptation to held-out tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from metarl.cli.commands.evaluate_options import EvaluateArguments, parse
from metarl.cli.console import say, tell
from metarl.cli.progress import showing
from metarl.config import EvaluationConfig, MeasurementConfig, SuiteConfig, to_json
from metarl.errors import MetarlError, require
from metarl.evaluation.episode_curve import (
    check_adapts_from_several,
    curve_steps,
    episode_curve,
    episodes_axis,
    slots_for,
)
from metarl.evaluation.evaluate import episodes_of_step
from metarl.evaluation.official import OfficiallyEvaluated, OfficialSettings
from metarl.evaluation.record import Evaluation
from metarl.evaluation.references import Reference, has_references, reference_steps, references
from metarl.functional.random_streams import Purpose, make_rng
from metarl.reporting.evaluation_files import write_official
from metarl.reporting.evaluation_report import EvaluationReport, Shown
from metarl.reporting.tables import official_table, protocol_table
from metarl.reporting.video.record import find_task
from metarl.storage.files import all_or_none, check_writable
from metarl.success_bonus import without_bonus
from metarl.system.versions import library_versions
from metarl.tasks import sample_evenly
from metarl.text import count, stage_name
from metarl.training import runs
from metarl.training.adapted_agent import AdaptedAgent
from metarl.training.experiment import Experiment
from metarl.training.step_counts import evaluation_steps
from metarl.training.transfer import transfer, with_setting
from metarl.types import Json, Task


def evaluate_command(arguments: list[str]) -> None:
    """Evaluate a trained agent on held-out tasks."""
    options, other = parse(arguments)
    require(not (options.tasks and options.task), "Either --tasks or --task may be given", "both")
    twice = options.deterministic and options.actions in ("drawn", "both")
    require(not twice, "Either --actions or --deterministic may be given", "both")
    officially = options.protocol == "official" and options.actions == "both"
    require(not officially, "--actions both is for --protocol both or per-goal", options.protocol)
    experiment = runs.open_trained(
        options.run, say, device=options.device, workers=options.workers, engine=options.engine
    )
    of_run = experiment.config.evaluation
    options = completed(options, arguments, experiment)
    chosen_actions = {"deterministic": options.actions == "most-likely"} if options.actions else {}
    given = {each.name: getattr(options, each.name) for each in fields(MeasurementConfig)}
    measured = EvaluationConfig(**{**given, **chosen_actions})
    experiment.config = replace(experiment.config, evaluation=measured)
    if options.episode_curve:
        check_adapts_from_several(experiment.agent)
    differing = other_suite(experiment, options, other)
    # engines of different MuJoCo versions do not give the same numbers
    physics = runs.physics(options.run, experiment)
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
        official = suite is not None
        for sentence in other_measurement(experiment, of_run, options, arguments, official=official):
            say(f"Notice: {sentence}")
        report = EvaluationReport(experiment, tell, folder, physics)
        files, evaluation = [], None
        if options.protocol != "official":
            # every task equally many episodes
            evaluation = measure(experiment, chosen, rng)
            likely = measure_most_likely(experiment, options) if options.actions == "both" else None
            found = find_references(experiment, chosen, physics) if options.references else ()
            stream: dict[str, Json] = {"purpose": Purpose.EVALUATION.value, "seed": options.seed}
            shown = Shown(evaluation, likely, found, stream)
            files += report.show_all(shown, stem, differing)
        if suite is not None:
            # the publisher's protocol, beside ours if both ran
            files += measure_officially(experiment, suite, chosen, options, evaluation, folder / stem)
        if options.episode_curve:
            files += measure_episode_curve(report, chosen, options, f"{stem}-episodes")
    say(f"Wrote {', '.join(str(path) for path in files)}.")


def completed(
    options: EvaluateArguments, arguments: Sequence[str], experiment: Experiment
) -> EvaluateArguments:
    """Return the options, with what the arguments leave to the run."""
    of_run = experiment.config.evaluation
    if experiment.agent.trial == "sequential" and not says(arguments, "adaptation_steps"):
        # more episodes than the trials of the training are asked for, or not measured
        options = replace(options, adaptation_steps=of_run.adaptation_steps)
    if not says(arguments, "adaptation_episodes"):
        # an agent that tries many policies needs an episode of each
        most = max(options.adaptation_episodes, of_run.adaptation_episodes)
        options = replace(options, adaptation_episodes=most)
    return options


def says(arguments: Sequence[str], setting: str) -> bool:
    """Return whether the arguments give a setting."""
    pattern = "--" + setting.replace("_", "[-_]")
    return any(re.fullmatch(pattern, word.partition("=")[0]) for word in arguments)


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
    experiment: Experiment,
    of_run: MeasurementConfig,
    options: EvaluateArguments,
    arguments: Sequence[str],
    *,
    official: bool,
) -> list[str]:
    """Say what is measured otherwise than in the run, or than asked for.

    Args:
        of_run: how it was measured at the end of its training.
        arguments: what was asked for.
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
    if sequential and options.protocol != "official" and now.adaptation_steps > trained:
        said.append(
            f"The trials of the training have {count(trained + 1, 'episode')} each, and "
            f"{now.adaptation_steps + 1} are measured."
        )
    if sequential and says(arguments, "adaptation_episodes"):
        said.append("An agent with a memory does not use --adaptation-episodes.")
    if options.references and says(arguments, "references"):
        if options.protocol == "official":
            said.append("The official evaluator measures no --references.")
        elif not has_references(experiment.suite):
            said.append(f"The suite {experiment.suite.name} has no --references, which Meta-World has.")
    available = len(experiment.suite.tasks("test"))
    if options.tasks > available:
        said.append(f"--tasks {options.tasks} takes all {available} held-out tasks.")
    most = experiment.brief_adaptation_steps
    if official and now.adaptation_steps > most:
        stage = stage_name(most, experiment.agent.trial) if most else "the first episode"
        said.append(f"The official evaluator measures {stage}, as in the training.")
    return said


def choose_tasks(
    experiment: Experiment, names: Sequence[str], number: int, rng: np.random.Generator
) -> Sequence[Task]:
    """Return held-out tasks, by name or by family."""
    tasks = experiment.suite.tasks("test")
    if names:
        return list(dict.fromkeys(find_task(tasks, name, experiment.suite.name) for name in names))
    return sample_evenly(tasks, min(number, len(tasks)), rng) if number else tasks


def official_suite(experiment: Experiment, protocol: str) -> OfficiallyEvaluated | None:
    """Return the suite if its official evaluator is to run, without a bonus, which it pays the agent.

    Raises:
        MetarlError: if it is asked for alone and there is none.
    """
    suite = without_bonus(experiment.suite)
    if protocol != "per-goal" and isinstance(suite, OfficiallyEvaluated):
        return suite
    if protocol == "official":
        raise MetarlError(f"The suite {suite.name} has no official evaluator; leave --protocol away.")
    return None


def measure(experiment: Experiment, tasks: Sequence[Task], rng: np.random.Generator) -> Evaluation:
    """Evaluate an experiment's agent, showing the progress."""
    steps = evaluation_steps(experiment, len(tasks), experiment.config.evaluation.adaptation_steps)
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
        adaptation_episodes=episodes_of_step(options, experiment.agent.trial),
        deterministic=experiment.config.evaluation.deterministic,
        success_bonus=experiment.config.success_bonus,
    )
    vector_steps, env_steps = suite.official_steps(tasks, settings)
    say(f"The official evaluator takes at most {env_steps:,} environment steps more.")
    with showing(experiment, "official evaluation", vector_steps):
        rng, workers, on_step = make_rng(options.seed, Purpose.OFFICIAL), options.workers, experiment.on_step
        official = suite.official_evaluation(
            experiment.agent, tasks, settings, rng=rng, num_workers=workers, on_step=on_step
        )
    tell(
        official_table(official, experiment.agent.trial)
        if per_goal is None
        else protocol_table(per_goal, official)
    )
    return [write_official(path, official, per_goal)]


def measure_episode_curve(
    report: EvaluationReport, tasks: Sequence[Task], options: EvaluateArguments, stem: str
) -> list[Path]:
    """Measure, print and write one curve over episodes."""
    experiment = report.experiment
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
    return report.show(Shown(found), stem, episodes_axis(counts))


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
    check_writable(folder, folder=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with all_or_none(folder, names):
            yield folder
    finally:
        with suppress(OSError):  # it holds results, and stays
            folder.rmdir()
