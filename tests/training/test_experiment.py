"""One run: what it logs, when it evaluates and saves, and that its numbers depend on nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from metarl.config import CheckpointConfig, EvaluationConfig, ExperimentConfig, SamplingConfig
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError, Stopped
from metarl.evaluation.record import Evaluation
from metarl.presets.manipulation import ml1
from metarl.storage.checkpoints import load
from metarl.storage.locks import locked
from metarl.storage.metrics import Row, read_metrics
from metarl.storage.run_checkpoints import open_checkpoint
from metarl.tasks import Split
from metarl.training import runs
from metarl.training.experiment import Experiment
from metarl.training.step_counts import remaining_vector_steps
from metarl.types import Json, Params, Task
from support.programs import HORIZON, point_config


class Counter:
    """An observer that counts."""

    def __init__(self) -> None:
        self.steps = 0
        self.env_steps = 0
        self.iterations: list[int] = []

    def on_step(self, episodes: int) -> None:
        self.steps += 1
        self.env_steps += episodes

    def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
        self.iterations.append(iteration)


def trained(folder: Path, **changes: object) -> tuple[Experiment, list[Row]]:
    """Run a tiny experiment to its end."""
    experiment = runs.start(point_config(**changes), folder)
    experiment.run()
    return experiment, read_metrics(experiment.folder)


class Plain(NamedTuple):
    """A run of the tiny config that no test changes."""

    experiment: Experiment
    evaluation: Evaluation
    heard: list[int]
    """The iterations that an observer heard of."""
    first: Params
    """The parameters before training."""
    brief: Sequence[Task]
    """The tasks of the learning curve, before training."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    counter = Counter()
    experiment = runs.start(point_config(), tmp_path_factory.mktemp("runs"), [counter])
    before, brief = experiment.agent.state().tensors, experiment.brief_tasks()
    return Plain(experiment, experiment.run(), counter.iterations, before, brief)


@pytest.fixture
def copied(plain: Plain, tmp_path: Path) -> Path:
    """Return a copy of the run."""
    return shutil.copytree(plain.experiment.folder, tmp_path / "it")


def test_every_iteration_has_a_row_and_the_untrained_agent_one(plain: Plain) -> None:
    assert [row["iteration"] for row in read_metrics(plain.experiment.folder)] == [0, 1, 2, 3]


def test_evaluations_come_by_iteration(tmp_path: Path) -> None:
    _, rows = trained(tmp_path, iterations=5)
    assert [row["iteration"] for row in rows if "test/return/step_0" in row] == [0, 2, 4]


def test_the_best_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    returns = iter([0.0, 5.0, 2.0, 5.0, 1.0])
    monkeypatch.setattr(
        Experiment, "_brief_test", lambda *_: {"test/return/step_0": 9.0, "test/return/step_1": next(returns)}
    )
    how = CheckpointConfig(every=4, keep=1, keep_best=True)
    experiment, _ = trained(
        tmp_path,
        iterations=4,
        checkpoint=how,
        evaluation=EvaluationConfig(every=1, adaptation_steps=1, episodes=2),
    )
    checkpoints = experiment.folder / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["00000001", "00000004"]
    assert runs.resume(checkpoints / "best", pytest.fail).iteration == 1


def test_training_ends_when_patience_does_and_goes_on_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns = iter([0.0, 5.0, 2.0, 5.0, 6.0, 1.0, 1.0])
    monkeypatch.setattr(Experiment, "_brief_test", lambda *_: {"test/return/step_0": next(returns)})
    impatient = EvaluationConfig(every=1, patience=2, adaptation_steps=1, episodes=2)
    experiment, rows = trained(
        tmp_path, iterations=9, evaluation=impatient, checkpoint=CheckpointConfig(every=4)
    )
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert runs.read_config(experiment.folder).iterations == 3
    assert experiment.tally.said[-1] == "patience"
    longer = runs.resume(experiment.folder, pytest.fail, iterations=9)
    assert longer.iteration == 3
    longer.run()
    assert longer.iteration == 6  # the best is that of iteration 4


def test_without_an_evaluation_no_checkpoint_is_the_best(tmp_path: Path) -> None:
    experiment, _ = trained(tmp_path, evaluation=EvaluationConfig(every=0, episodes=2, adaptation_episodes=2))
    with pytest.raises(MetarlError, match=r"There is no checkpoint .*best; there are: 0"):
        runs.resume(experiment.folder / "checkpoints" / "best", pytest.fail)


def test_evaluation_every_0_evaluates_only_at_the_end(tmp_path: Path) -> None:
    evaluation = EvaluationConfig(every=0, episodes=2, adaptation_episodes=2)
    _, rows = trained(tmp_path, evaluation=evaluation)
    assert [row["iteration"] for row in rows] == [1, 2, 3]
    assert not any(name.startswith("test/") for row in rows for name in row)


@pytest.mark.parametrize(("every", "saved"), [(1, [1, 2, 3, 4, 5]), (2, [0, 2, 4, 5]), (7, [0, 5])])
def test_checkpoints_come_by_iteration_and_after_the_last(
    tmp_path: Path, every: int, saved: list[int]
) -> None:
    trained(tmp_path, iterations=5, checkpoint=CheckpointConfig(every=every, keep=5))
    assert sorted(int(path.name) for path in (tmp_path / "it" / "checkpoints").iterdir()) == saved


def test_env_steps_are_those_of_training(plain: Plain) -> None:
    rows = read_metrics(plain.experiment.folder)
    assert [row["env_steps"] for row in rows] == [n * 4 * 2 * 2 * HORIZON for n in range(4)]


@pytest.mark.parametrize(
    "evaluation",
    [
        EvaluationConfig(every=2, tasks=3, episodes=2, adaptation_episodes=2, adaptation_steps=2),
        EvaluationConfig(every=1, tasks=5, episodes=3, adaptation_episodes=2, adaptation_steps=1),
        EvaluationConfig(every=0, episodes=1, adaptation_episodes=1, deterministic=True),
    ],
)
def test_vector_steps_announces_the_true_number(tmp_path: Path, evaluation: EvaluationConfig) -> None:
    counter = Counter()
    experiment = runs.start(point_config(evaluation=evaluation), tmp_path, [counter])
    announced = remaining_vector_steps(experiment)
    experiment.run()
    assert counter.steps == announced


def test_vector_steps_of_a_resumed_run_is_what_is_left(copied: Path) -> None:
    counter = Counter()
    experiment = runs.resume(copied, print, [counter], iterations=4)
    announced = remaining_vector_steps(experiment)
    experiment.run()
    assert counter.steps == announced


def test_observer_hears_of_every_iteration(plain: Plain) -> None:
    assert plain.heard == [0, 1, 2, 3]


def test_every_observer_hears_the_same_in_the_order_of_the_list(tmp_path: Path) -> None:
    heard: list[tuple[str, int]] = []

    class Named(Counter):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
            heard.append((self.name, iteration))

    first, second = Named("first"), Named("second")
    runs.start(point_config(iterations=1), tmp_path, [first, second]).run()
    assert heard == [("first", 0), ("second", 0), ("first", 1), ("second", 1)]
    assert (first.steps, first.env_steps) == (second.steps, second.env_steps)
    assert first.steps > 0


def test_training_tasks_are_new_in_every_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    sample = PointTasks.sample

    def spy(self: PointTasks, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        drawn = sample(self, num_tasks, rng, split)
        seen.extend(task.id for task in drawn)
        return drawn

    monkeypatch.setattr(PointTasks, "sample", spy)
    trained(tmp_path)
    assert len(set(seen)) == len(seen) == 3 * 4


def test_learning_curve_measures_the_same_tasks_throughout(plain: Plain) -> None:
    assert plain.experiment.brief_tasks() == plain.brief
    assert set(plain.brief) <= set(plain.experiment.suite.tasks("test"))


def test_final_evaluation_takes_every_test_task_in_order(plain: Plain) -> None:
    assert plain.evaluation.tasks == tuple(plain.experiment.suite.tasks("test"))
    assert plain.evaluation.returns.shape == (40, 3, 2)


def test_evaluating_does_not_change_the_training(tmp_path: Path) -> None:
    often = EvaluationConfig(every=1, tasks=7, episodes=2, adaptation_episodes=2)
    never = EvaluationConfig(every=0, episodes=2, adaptation_episodes=2)
    weights = []
    for name, evaluation in (("often", often), ("never", never)):
        experiment, _ = trained(tmp_path, name=name, evaluation=evaluation)
        weights.append(experiment.agent.state().tensors)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_parameters_change_in_training(plain: Plain) -> None:
    after = plain.experiment.agent.state().tensors
    assert any(not torch.equal(value, after[name]) for name, value in plain.first.items())


def test_request_to_stop_ends_before_the_next_step(tmp_path: Path) -> None:
    counter = Counter()
    experiment = runs.start(point_config(), tmp_path, [counter])
    experiment.request_stop()
    with pytest.raises(Stopped):
        experiment.run()
    assert counter.steps == 0


def test_checkpoint_of_another_architecture_is_refused(plain: Plain, tmp_path: Path) -> None:
    checkpoint = load(plain.experiment.folder / "checkpoints" / "00000003")
    other = point_config(agent=type(point_config().agent)(hidden_sizes=(9,)))  # type: ignore[call-arg]  # MAML
    with pytest.raises(MetarlError, match="of an agent with other settings"):
        Experiment(other, tmp_path).restore(checkpoint)


def test_folder_is_locked_while_a_run_goes_on_and_free_afterwards(tmp_path: Path) -> None:
    class Intruder(Counter):
        refused = False

        def on_iteration(self, iteration: int, metrics: dict[str, float]) -> None:
            with pytest.raises(MetarlError, match="is still going on in process"):
                runs.resume(tmp_path / "it", print)
            self.refused = True

    intruder = Intruder()
    runs.start(point_config(iterations=1), tmp_path, [intruder]).run()
    assert intruder.refused
    with locked(tmp_path / "it"):
        pass


def test_trained_agent_is_opened_without_touching_its_run(copied: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    experiment = runs.open_trained(copied, print)
    env = experiment.make_env()
    experiment.test(env, experiment.suite.tasks("test")[:2], np.random.default_rng(0))
    env.close()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def ml1_metrics(folder: Path, workers: int) -> list[dict[str, Json]]:
    """Return a tiny ML1 run's metrics, its final returns among them, without wall-clock times."""
    preset = ml1()
    config = ExperimentConfig(
        suite=type(preset.suite)(horizon=10),  # type: ignore[call-arg]  # of ML1
        agent=preset.agent,
        name=f"workers-{workers}",
        iterations=2,
        sampling=SamplingConfig(meta_batch_size=2, episodes=3, workers=workers),
        evaluation=EvaluationConfig(every=1, tasks=3, episodes=2, adaptation_episodes=2, adaptation_steps=1),
    )
    experiment = runs.start(config, folder)
    evaluation = experiment.run()
    rows = [json.loads(line) for line in (experiment.folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: row[name] for name in row if not name.startswith("time/")} for row in rows]
    return [*kept, evaluation.to_json()]


@pytest.mark.slow
def test_no_metric_depends_on_the_number_of_workers(tmp_path: Path) -> None:
    assert ml1_metrics(tmp_path, workers=1) == ml1_metrics(tmp_path, workers=2)


@pytest.mark.parametrize("left", ["00000000.tmp", "00000000.tmp/weights.safetensors"])
def test_run_killed_during_its_first_checkpoint_goes_on(tmp_path: Path, left: str) -> None:
    runs.start(point_config(), tmp_path)
    torn = tmp_path / "it" / "checkpoints" / left
    torn.parent.mkdir(parents=True)
    torn.mkdir() if torn.suffix == ".tmp" else torn.write_bytes(b"")
    assert not runs.has_checkpoints(tmp_path / "it")
    runs.resume(tmp_path / "it", print).run()
    assert open_checkpoint(tmp_path / "it", print).iteration == 3


def test_run_that_ends_during_its_first_checkpoint_can_begin_again(tmp_path: Path) -> None:
    experiment = runs.start(point_config(), tmp_path)
    (tmp_path / "it" / "checkpoints" / "00000000.tmp").mkdir(parents=True)
    runs.discard(experiment)
    runs.start(point_config(), tmp_path).run()
