"""``import metarl`` in a script: light to import, few words, the runs of the command line."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import metarl
from metarl.cli.main import main
from metarl.config import EvaluationConfig, SamplingConfig
from metarl.errors import MetarlError
from metarl.plugins import registry
from metarl.rollouts.collect import collect
from metarl.training.evaluation_reader import read_evaluation

SHORT = {"iterations": 1, "seed": 3, "name": "it"}


def test_importing_is_light() -> None:
    heavy = "{'torch', 'mujoco', 'metaworld', 'gymnasium', 'matplotlib', 'scipy', 'numpy'}"
    program = f"import sys, metarl; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_name_that_is_offered_is_there() -> None:
    for name in metarl.__all__:
        assert getattr(metarl, name) is not None
        assert name in dir(metarl)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        metarl.trian  # noqa: B018  # looking it up is the test


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


class Listener:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.steps = 0
        self.rows: dict[int, dict[str, float]] = {}

    def on_step(self, episodes: int) -> None:
        self.steps += 1

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        self.rows[iteration] = metrics


LISTENERS = (Listener(), Listener())


@pytest.fixture(scope="module")
def run(folder: Path) -> metarl.Run:
    return metarl.train("point", folder=str(folder), observers=LISTENERS, **SHORT)


def test_observers_hear_every_step_and_iteration(run: metarl.Run) -> None:
    for listener in LISTENERS:
        assert list(listener.rows) == [0, 1]
        assert listener.rows[1]["env_steps"] == run.experiment.env_steps
        assert listener.steps == LISTENERS[0].steps > 0


def test_run_is_that_of_the_command_line(
    run: metarl.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "point", "--iterations", "1", "--seed", "3", "--name", "it"]) == 0
    theirs = json.loads((tmp_path / "runs" / "it" / "evaluation.json").read_text())
    ours = json.loads((run.folder / "evaluation.json").read_text())
    for name in ("returns", "successes", "config", "iteration", "weights_sha256", "notices"):
        assert ours[name] == theirs[name], name
    assert run.evaluation is not None
    assert run.evaluation.returns.tolist() == ours["returns"]
    assert read_evaluation(run.folder).evaluation.env_steps == run.evaluation.env_steps


def test_loaded_run_adapts_as_the_trained_one_does(run: metarl.Run) -> None:
    loaded = metarl.load(str(run.folder))
    assert loaded.evaluation is None
    task = run.suite.tasks("test")[4]
    one, other = (each.adapt(task, seed=1) for each in (run, loaded))
    assert len(one.experience) == run.agent.adaptation_steps == 1
    env = run.suite.make_vector_env(2)
    rollouts = [
        collect(
            env, [task], each.actor, episodes=2, horizon=5, rng=np.random.default_rng(0), after=each.after
        )
        for each in (one, other)
    ]
    assert rollouts[0].actions.tolist() == rollouts[1].actions.tolist()


def test_evaluating_takes_a_run_or_its_folder(run: metarl.Run) -> None:
    tasks = run.suite.tasks("test")[:3]
    one = metarl.evaluate(run.folder, tasks, seed=5, adaptation_steps=1)
    other = metarl.evaluate(metarl.load(run.folder), tasks, seed=5, adaptation_steps=1)
    assert one.returns.shape == (3, 2, 10)
    assert one.returns.tolist() == other.returns.tolist()


def test_evaluating_leaves_the_run_as_it_was(run: metarl.Run) -> None:
    before = run.config
    metarl.evaluate(run, run.suite.tasks("test")[:1], adaptation_steps=before.evaluation.adaptation_steps + 1)
    assert run.config == before


def test_what_is_no_task_is_refused(run: metarl.Run) -> None:
    task = run.suite.tasks("test")[0]
    for wrong in (task, [task.id], []):
        with pytest.raises(MetarlError, match="Expected a list of tasks"):
            metarl.evaluate(run, wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(MetarlError, match="The task must be a held-out one of point, but it is 'mine'"):
        run.adapt(metarl.Task(task.family, task.parameters, "mine"))


def test_number_of_another_type_or_range_is_refused(run: metarl.Run) -> None:
    task = run.suite.tasks("test")[0]
    for seed in (-1, 2**32, 1.5, True, "0", None, math.nan):
        for call in (
            lambda: metarl.evaluate(run, [task], seed=seed),  # type: ignore[arg-type]  # wrong on purpose  # noqa: B023
            lambda: run.adapt(task, 1, seed),  # type: ignore[arg-type]  # wrong on purpose  # noqa: B023
        ):
            with pytest.raises(MetarlError, match="Expected seed"):
                call()
    for steps in (-1, 1.5, True, "0", math.nan):
        with pytest.raises(MetarlError, match=r"adaptation.steps"):
            metarl.evaluate(run, [task], adaptation_steps=steps)  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(MetarlError, match=r"adaptation.steps"):
            run.adapt(task, steps)  # type: ignore[arg-type]  # wrong on purpose


def test_number_of_numpy_is_taken(run: metarl.Run) -> None:
    task = run.suite.tasks("test")[:1]
    ours = metarl.evaluate(run, task, seed=np.int64(1), adaptation_steps=np.int64(0))  # type: ignore[arg-type]  # a stranger's
    assert ours.returns.tolist() == metarl.evaluate(run, task, seed=1, adaptation_steps=0).returns.tolist()


def test_wrong_arguments_of_the_building_blocks_are_one_sentence(run: metarl.Run) -> None:
    suite, rng = run.suite, np.random.default_rng(0)
    env, tasks, actor = suite.make_vector_env(2), suite.tasks("test")[:1], run.agent.initial_actor(1, rng)
    given: dict[str, object] = {"episodes": 2, "horizon": 5, "rng": rng}
    for name, wrong in {
        "episodes": (-1, 0, 1.5, True),
        "horizon": (0, 2.5, math.nan),
        "rng": (0, None),
    }.items():
        for value in wrong:
            with pytest.raises(MetarlError, match=f"Expected {name}"):
                metarl.collect(env, tasks, actor, **{**given, name: value})  # type: ignore[arg-type]  # likewise
    with pytest.raises(MetarlError, match="Expected tasks to be a list of tasks"):
        metarl.collect(env, tasks[0], actor, **given)  # type: ignore[arg-type]  # likewise
    for slots in (0, 1.5, True, "3"):
        with pytest.raises(MetarlError, match="num_envs must be 1 or more"):
            suite.make_vector_env(slots)  # type: ignore[arg-type]  # likewise
    with pytest.raises(MetarlError, match="num_envs must be 1 or more, but it is '3'"):
        suite.make_vector_env("3")  # type: ignore[arg-type]  # likewise
    for generator in (0, None, np.random.RandomState(0)):
        with pytest.raises(MetarlError, match=r"Expected rng to be a numpy\.random\.Generator, got"):
            suite.sample(1, generator)  # type: ignore[arg-type]  # likewise
    for number in (0, 1.5, True):
        for split in ("train", "test"):
            with pytest.raises(MetarlError, match="Expected the number of tasks to sample"):
                suite.sample(number, rng, split)  # type: ignore[arg-type]  # likewise


@pytest.mark.parametrize(
    "name", ["point", "bandits", "half-cheetah-vel", "half-cheetah-dir", "cart-pole", "ml1"]
)
def test_misspelt_split_is_refused(name: str) -> None:
    suite = registry.suite_named(name).build()
    for call in (lambda: suite.tasks("tset"), lambda: suite.sample(1, np.random.default_rng(0), "tset")):  # type: ignore[arg-type]  # likewise
        with pytest.raises(MetarlError, match="no split called 'tset'; did you mean 'test'"):
            call()


@pytest.mark.parametrize("tasks", [3, [], np.array([1, 2]), iter([]), ["point/test/0"]])
def test_what_is_no_list_of_tasks_is_refused(run: metarl.Run, tasks: object) -> None:
    with pytest.raises(MetarlError, match="Expected a list of tasks, such as"):
        metarl.evaluate(run, tasks)  # type: ignore[arg-type]  # likewise


@pytest.mark.parametrize("task", [0, "point/test/0", np.zeros((2, 2)), []])
def test_what_is_no_task_is_not_adapted_to(run: metarl.Run, task: object) -> None:
    with pytest.raises(MetarlError, match="Expected a task, such as"):
        run.adapt(task)  # type: ignore[arg-type]  # likewise


def test_file_in_a_run_is_no_run(run: metarl.Run) -> None:
    with pytest.raises(MetarlError, match=r"Expected the folder of a run.*, got the file .*config\.json\."):
        metarl.load(run.folder / "config.json")


def test_what_is_no_name_is_refused_on_one_short_line(run: metarl.Run) -> None:
    calls = {
        "Expected a preset's or a suite's name, got 3.": lambda: metarl.preset(3),  # type: ignore[arg-type]  # likewise
        "Expected the name of a split, got 3.": lambda: run.suite.tasks(3),  # type: ignore[arg-type]  # likewise
        "Expected a run's folder, got Run(": lambda: metarl.load(run),  # type: ignore[arg-type]  # likewise
    }
    for said, call in calls.items():
        with pytest.raises(MetarlError, match=re.escape(said)) as caught:
            call()
        assert len(str(caught.value)) < 100


@pytest.mark.parametrize("path", [3, None])
def test_what_is_no_path_is_refused(path: object, tmp_path: Path) -> None:
    for call in (metarl.load, metarl.evaluate, lambda folder: metarl.train("point", folder=folder)):
        with pytest.raises(MetarlError, match=r"Expected (a run's folder|the folder of runs), got"):
            call(path)  # type: ignore[arg-type]  # likewise
    for observers in (3, [3]):
        with pytest.raises(MetarlError, match="Expected a list of observers"):
            metarl.train("point", folder=tmp_path, observers=observers)  # type: ignore[arg-type]  # likewise


def test_learning_curve_is_drawn(run: metarl.Run) -> None:
    assert run.draw().read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def remembers(folder: Path) -> metarl.Run:
    small = {
        "sampling": SamplingConfig(meta_batch_size=2, episodes=2),
        "evaluation": EvaluationConfig(every=0, tasks=2, episodes=1, adaptation_steps=1),
    }
    return metarl.train("cart-pole", "rl2", folder=folder, iterations=1, name="remembers", **small)


def test_memory_goes_on_after_adapting(remembers: metarl.Run) -> None:
    run = remembers
    adapted = run.adapt(run.suite.tasks("test")[0], steps=2)
    assert [rollout.mask.shape[1] for rollout in adapted.experience] == [1, 1]
    assert adapted.after is not None
    assert adapted.after.final_memory["memory"].any()
    with pytest.raises(MetarlError, match="Expected the number of adaptation steps >= 0, got -1"):
        run.adapt(run.suite.tasks("test")[0], steps=-1)
    with pytest.raises(MetarlError, match="The task must be a held-out one of cart-pole"):
        run.adapt(run.suite.tasks("train")[0])


def test_curve_over_episodes_is_refused_for_a_memory_before_anything_is_measured(
    remembers: metarl.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(remembers.folder), "--episode-curve", "1", "2"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "is for agents that adapt from several at once" in printed.err


@pytest.mark.parametrize(
    ("what", "settings", "said"),
    [
        ("pint", {}, "no preset called 'pint'; did you mean 'point'"),
        ("point", {"iteration": 3}, "setting of an experiment called 'iteration'; did you mean 'iterations'"),
        ("point", {"iterations": 0}, "iterations in [1, 10000000], got 0"),
        ("point", {"iterations": "3"}, "The setting iterations of ExperimentConfig cannot be '3'"),
        ("point", {"name": 3}, "The setting name of ExperimentConfig cannot be 3"),
        ("point", {"evaluation": {"episodes": 2}}, "of a run to be of type EvaluationConfig, got a dict"),
        (
            "point",
            {"agent": EvaluationConfig()},
            "Expected an agent's name or its config, such as RL2Config(), got Eval",
        ),
        (3, {}, "Expected a preset's or a suite's name or an ExperimentConfig, got 3"),
        ("point", {"agent": "mamltrpo"}, "no agent called 'mamltrpo'; did you mean 'maml-trpo'"),
    ],
)
def test_mistake_is_one_clear_sentence(
    what: str | int, settings: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(MetarlError, match=re.escape(said)):
        metarl.train(what, folder=tmp_path, **settings)  # type: ignore[arg-type]  # wrong on purpose


def test_script_of_the_readme_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    (script,) = [block for block in blocks if "metarl.train" in block]
    assert len(script.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    train = metarl.train
    monkeypatch.setattr(
        metarl, "train", lambda what, *, iterations, name: train(what, iterations=2, name=name)
    )
    exec(compile(script, "README.md", "exec"), {})
    assert (tmp_path / "runs" / "notebook" / "learning_curve.png").is_file()


class _Fails:
    """Observer that fails at the first step, or after the first iteration."""

    def __init__(self, at_once: bool) -> None:
        self.at_once = at_once

    def on_step(self, *_: object) -> None:
        if self.at_once:
            raise RuntimeError("no more")

    def on_iteration(self, iteration: int, *_: object) -> None:
        if iteration >= 1:
            raise RuntimeError("no more")


@pytest.mark.parametrize("at_once", [True, False])
def test_failed_run_leaves_a_folder_only_with_a_checkpoint(tmp_path: Path, at_once: bool) -> None:
    with pytest.raises(RuntimeError, match="no more"):
        metarl.train("point", iterations=2, name="run", folder=tmp_path, observers=[_Fails(at_once)])
    assert (tmp_path / "run").exists() is not at_once
