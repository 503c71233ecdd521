"""Join the experts of several policy-reuse runs in one library, which is a run of its own.

    .venv/bin/python -m benchmarks.learning.join_experts runs/A-seed0 runs/A-seed1 --output runs/library
    .venv/bin/python -m benchmarks.learning.join_experts runs/expert-* --preset ml45 --output runs/library

Runs differ in their seed only, and in what they start from (``--init-from``), so the joined run has as many
experts of each family as all of them. With ``--preset`` they may be of any suites whose training families
are among the preset's, and of rl2 on one family in trials of one episode, as
``benchmarks.learning.family_experts`` trains them. Nothing is trained: the library has had the steps of all
of them. It has the weights alone, as with the optimisers it would be three times as large.

With ``--order-by N`` every expert plays N tasks of each training family, and a new task tries first those who
together solve most of the families that are not their own. Held-out families are not looked at. ``--keep N``
keeps the first N of them alone.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from annotated_types import Ge
from rich.progress import track

from benchmarks.learning.expert_episodes import play, training_families
from benchmarks.program import run
from metarl.agents.policy_reuse import PolicyReuse, PolicyReuseConfig, choose_experts, join_libraries
from metarl.agents.rl2 import RL2, RL2Config
from metarl.api.runs import load
from metarl.config import ExperimentConfig, SuiteConfig, construct, to_json
from metarl.errors import MetarlError, require
from metarl.evaluation.physics import physics_of
from metarl.functional.random_streams import Purpose, make_rng
from metarl.learning.reusing_actor import KeepBy
from metarl.plugins.registry import configure
from metarl.settings import setting_names, settings_of
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import save
from metarl.storage.run_folder import CHECKPOINTS
from metarl.tasks import TaskDistribution
from metarl.training.experiment import Experiment
from metarl.training.runs import refuse_existing, write_config
from metarl.vector_env import Array


def main(
    runs: tyro.conf.Positional[tuple[Path, ...]],
    output: Path,
    *,
    preset: str | None = None,
    order_by: Annotated[int, Ge(0)] = 0,
    keep: Annotated[int, Ge(0)] = 0,
    tries: int | None = None,
    keep_by: KeepBy | None = None,
    hold_at: float | None = None,
) -> None:
    """Join the experts of runs, or of checkpoints, in a new run's folder.

    Args:
        runs: of policy-reuse; one alone is ordered, or gets other settings.
        output: the new run's folder.
        preset: of a suite whose training families have experts in these runs, by default that of the runs.
        order_by: tasks of each training family that every expert plays once to find the order in which a new
            task tries them; 0 lets any expert begin.
        keep: number of experts that are kept, the first of that order; 0 keeps all.
        tries: of the library's agent, by default that of the runs. With 1 a new task keeps the best of those
            that one adaptation step tried, however few.
        keep_by: of the library's agent likewise, what a new task keeps an expert by.
        hold_at: likewise, the share of its largest reward at which an adapted policy holds still.
    """
    alone = order_by or tries is not None or keep_by or hold_at is not None
    require(len(runs) > (0 if alone else 1), "Expected two runs or more, or one to order or set", len(runs))
    require(not keep or order_by > 0, "Expected --order-by, by which experts are kept", order_by)
    require(keep != 1, "keep must be 2 or more, or 0 for all", keep)
    refuse_existing(output)
    opened = [load(path).experiment for path in runs]
    config, suite, library = (
        one_suite(runs, opened) if preset is None else several_suites(runs, opened, preset)
    )
    if order_by:
        library.order = find_order(library, suite, order_by)
        library = choose_experts(library, library.order[:keep]) if keep else library
        names = [library.owners[expert] for expert in library.order]
        print("A new task tries", *names, sep="\n  ")
    own_config = library.config
    agent_config = replace(
        own_config,
        tries=own_config.tries if tries is None else tries,
        keep_by=keep_by or own_config.keep_by,
        hold_at=own_config.hold_at if hold_at is None else hold_at,
    )
    config = replace(
        config,
        agent=agent_config,
        name=output.name,
        iterations=max(each.iteration for each in opened),
        # a new task tries every expert once
        evaluation=replace(
            config.evaluation,
            adaptation_episodes=keep or max(config.evaluation.adaptation_episodes, len(library.experts)),
        ),
    )
    # several checkpoints of a run have had the steps of the last
    steps, seconds = dict[str, int](), dict[str, float]()
    for each in opened:
        own_run = f"{each.config.name}, seed {each.config.seed}"
        steps[own_run] = max(steps.get(own_run, 0), each.env_steps)
        seconds[own_run] = max(seconds.get(own_run, 0.0), each.elapsed)
    checkpoint = Checkpoint(
        iteration=config.iterations,
        config=to_json(config),
        agent=library.weights(),
        progress={"env_steps": sum(steps.values()), "elapsed_seconds": sum(seconds.values())},
        physics=physics_of(suite, config.sampling.engine),
    )
    output.mkdir(parents=True, exist_ok=True)
    write_config(output, config)
    print(save(output / CHECKPOINTS, checkpoint, keep=1))


def one_suite(
    paths: Sequence[Path], opened: Sequence[Experiment]
) -> tuple[ExperimentConfig, TaskDistribution, PolicyReuse]:
    """Return the config, the suite and the library of runs that are alike but for their seeds.

    Raises:
        MetarlError: if they are not, or not of policy-reuse.
    """
    first, agents = opened[0].config, list[PolicyReuse]()
    for path, each in zip(paths, opened, strict=True):
        same = {name: getattr(first, name) for name in ("seed", "name", "init_from")}
        agent, alike = each.agent, replace(each.config, **same) == first
        require(isinstance(agent, PolicyReuse), "Expected runs of policy-reuse", each.config.agent.kind)
        require(alike, f"Expected runs that differ from {paths[0]} in seed, name or init_from alone", path)
        assert isinstance(agent, PolicyReuse)
        agents.append(agent)
    return first, opened[0].suite, join_libraries(agents) if len(agents) > 1 else agents[0]


def several_suites(
    paths: Sequence[Path], opened: Sequence[Experiment], preset: str
) -> tuple[ExperimentConfig, TaskDistribution, PolicyReuse]:
    """Return a preset's config, its suite and a library of the runs' experts, of its training families.

    Raises:
        MetarlError: if their settings differ, or an expert's family is none of them.
    """
    config, first = configure(preset, PolicyReuseConfig.kind), opened[0]
    experts, owners = list[RL2](), list[str]()
    for path, each in zip(paths, opened, strict=True):
        for name, own in shared_settings(each.config, config.suite).items():
            theirs = shared_settings(first.config, config.suite)[name]
            require(own == theirs, f"{name} must be {theirs!r}, as in {paths[0]}; in {path}", own)
        players = experts_of(path, each)
        experts += [expert for _, expert in players]
        owners += [owner for owner, _ in players]
    suite_settings = {
        name: value
        for name, value in settings_of(first.config.suite).items()
        if name in setting_names(type(config.suite))
    }
    tasks = construct(type(config.suite), suite_settings)
    config = replace(config, suite=tasks, success_bonus=first.config.success_bonus, seed=first.config.seed)
    suite = config.build_suite()
    families = training_families(suite)
    strange = sorted(set(owners) - set(families))
    require(not strange, f"Expected experts of {preset}'s training families", strange)
    learning = settings_of(first.config.agent)
    agent_settings = {name: learning[name] for name in setting_names(RL2Config)}
    agent_config = construct(PolicyReuseConfig, {**agent_settings, "library": tuple(owners)})
    evaluation = replace(config.evaluation, adaptation_episodes=len(owners))
    return replace(config, evaluation=evaluation), suite, PolicyReuse(agent_config, families, experts)


def shared_settings(config: ExperimentConfig, suite: SuiteConfig) -> dict[str, object]:
    """Return the settings that runs of several suites must share, by name."""
    agent, own = settings_of(config.agent), settings_of(config.suite)
    expert = {name: agent.get(name) for name in setting_names(RL2Config)}
    tasks = {name: own.get(name) for name in setting_names(type(suite))}
    return {**expert, **tasks, "success_bonus": config.success_bonus}


def experts_of(path: Path, opened: Experiment) -> list[tuple[str, RL2]]:
    """Return a run's experts and their families.

    Raises:
        MetarlError: if the run is neither of policy-reuse nor of rl2 on one family.
    """
    agent = opened.agent
    if isinstance(agent, PolicyReuse):
        return list(zip(agent.owners, agent.experts, strict=True))
    families = training_families(opened.suite)
    if not isinstance(agent, RL2) or len(families) != 1:
        raise MetarlError(
            f"Expected runs of policy-reuse, or of rl2 on one family, got {opened.config.agent.kind} on "
            f"{opened.suite.name}: {path}"
        )
    return [(family, agent) for family in families]


def find_order(library: PolicyReuse, suite: TaskDistribution, tasks: int) -> tuple[int, ...]:
    """Return the experts in the order of what they add on training families that are not their own."""
    families, names = library.families, np.array(library.owners)
    # as trained: the factors of the deviation follow after all experts
    library = PolicyReuse(replace(library.config, spreads=(1.0,)), families, library.experts)
    solved = np.zeros((len(families), len(names)))
    with closing(suite.make_vector_env(tasks * len(names))) as env:
        for number, family in enumerate(track(families, "families")):
            own = [task for task in suite.tasks("train") if task.family == family][:tasks]
            played = play(library, env, own, 1, suite.horizon, make_rng(0, Purpose.TEST, number))
            solved[number] = played.solved.mean(axis=(0, 1))
            solved[number, names == family] = 0.0
    return by_what_they_add(solved)


def by_what_they_add(solved: Array) -> tuple[int, ...]:
    """Return columns by what each adds to the mean over rows of the best so far, then by its own mean.

    Args:
        solved: ``[F, E]``, how often each expert solves each family.
    """
    best, order = np.zeros(len(solved)), list[int]()
    left = list(range(solved.shape[1]))
    while left:
        chosen = max(left, key=lambda e: (np.maximum(best, solved[:, e]).mean(), solved[:, e].mean()))
        best = np.maximum(best, solved[:, chosen])
        order.append(chosen)
        left.remove(chosen)
    return tuple(order)


if __name__ == "__main__":
    run(main)
