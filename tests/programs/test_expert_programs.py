"""The programs that look at experts and join them, on two runs too short to have learned anything."""

from __future__ import annotations

import csv
import importlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from metarl.agents.policy_reuse import PolicyReuseConfig
from metarl.api.runs import load
from metarl.cli.main import main as command
from metarl.config import SamplingConfig
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.learning.reusing_actor import KeepBy
from metarl.presets.agent_settings import agent_config_for
from metarl.rollouts.collect import collect
from metarl.settings import setting_names

SHORT = (
    *("--horizon", "5", "--iterations", "1", "--sampling.meta-batch-size", "4", "--sampling.episodes", "1"),
    *("--evaluation.every", "0", "--evaluation.adaptation-steps", "0", "--evaluation.episodes", "1"),
    *("--agent.memory-size", "4", "--agent.embedding-size", "4"),
)


@pytest.fixture
def experts(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root))
    return importlib.import_module("benchmarks.learning.experts")


def test_the_kept_expert_is_that_of_the_highest_return_and_is_measured_in_other_episodes(
    experts: ModuleType,
) -> None:
    # two tasks, two episodes, three experts
    returns = np.array([[[1.0, 2.0, 0.0], [1.0, 2.0, 0.0]], [[3.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    solved = np.array([[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]])
    rate, kept = experts.kept_success(experts.Played(returns, solved), np.array([True, True, True]))
    # task 0 keeps expert 1 twice; task 1 keeps 0, who fails the other time, then 2, who solves it
    assert rate == 75.0
    assert kept.tolist() == [25.0, 50.0, 25.0]
    rate, kept = experts.kept_success(experts.Played(returns, solved), np.array([True, False, True]))
    assert rate == 25.0
    assert kept.tolist() == [75.0, 0.0, 25.0]
    # without any expert nothing is kept, and nothing solved or failed
    rate, kept = experts.kept_success(experts.Played(returns, solved), np.zeros(3, bool))
    assert np.isnan(rate)
    assert kept.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("keep_by", ["return", "largest-reward"])
def test_an_expert_is_kept_by_what_its_agent_keeps_it_by(experts: ModuleType, keep_by: KeepBy) -> None:
    suite, sampling = PointTasks(horizon=4), SamplingConfig()
    config = PolicyReuseConfig(memory_size=4, embedding_size=4, keep_by=keep_by)
    agent = config.build(suite, seed=0, device=torch.device("cpu"), sampling=sampling)
    tasks = suite.tasks("test")[:2]
    played = experts.play(agent, suite.make_vector_env(8), tasks, 2, 4, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    actor = agent.initial_actor(2, rng).in_order()
    rollout = collect(suite.make_vector_env(8), tasks, actor, episodes=4, horizon=4, rng=rng)
    expected = rollout.rewards.sum(dim=2) if keep_by == "return" else rollout.rewards.amax(dim=2)
    assert played.scores.ravel() == pytest.approx(expected.ravel().numpy())


def test_experts_with_several_deviations_are_ordered_and_looked_at_by_checkpoint(
    experts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    join_experts = importlib.import_module("benchmarks.learning.join_experts")
    monkeypatch.chdir(tmp_path)
    options = ["--agent", "policy-reuse", "--agent.spreads", "1", "2", "--name", "wide"]
    every = ["--checkpoint.every", "1", "--checkpoint.keep", "2"]
    assert command(["train", "point", *options, *SHORT, *every]) == 0
    join_experts.main((Path("runs/wide"),), Path("runs/ordered"), order_by=2)
    assert sorted(load(Path("runs/ordered")).agent.order) == [0, 1]
    checkpoints = sorted(Path("runs/wide/checkpoints").glob("0*"))
    assert len(checkpoints) == 2
    experts.main((Path("runs/wide"), *checkpoints), tasks=1, output=Path("found"))
    assert sorted(path.name for path in Path("found").iterdir()) == [
        "wide-00000000.csv",
        "wide-00000001.csv",
        "wide.csv",
    ]
    with Path("found/wide.csv").open() as file:
        rows = list(csv.DictReader(file))
    # all experts are of the one family, so without them none is left
    assert [row["left_out"] for row in rows] == ["nan", "nan"]
    capsys.readouterr()
    with pytest.raises(MetarlError, match=r"Expected runs of different names, .*runs/wide"):
        experts.main((Path("runs/wide"), Path("runs/wide")), tasks=1, output=Path("again"))


def test_experts_are_ordered_by_what_they_add(experts: ModuleType) -> None:
    join_experts = importlib.import_module("benchmarks.learning.join_experts")
    # 1 solves most; 3 adds the third family, 0 half of the second; the rest follow by their own means
    solved = np.array([[0.0, 1.0, 0.9, 0.0, 0.0], [1.0, 0.5, 0.6, 0.0, 0.2], [0.0, 0.3, 0.0, 0.9, 0.0]])
    assert join_experts.by_what_they_add(solved) == (1, 3, 0, 2, 4)


def test_experts_of_several_families_make_a_library(
    experts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    join_experts = importlib.import_module("benchmarks.learning.join_experts")
    family_experts = importlib.import_module("benchmarks.learning.family_experts")
    monkeypatch.chdir(tmp_path)
    runs = list[Path]()
    for family in ("window-open-v3", "basketball-v3", "lever-pull-v3"):
        config = family_experts.expert_config("ml10", family, seed=0, most=2)
        config = replace(
            config,
            suite=replace(config.suite, horizon=3, training_goals=2),
            agent=replace(config.agent, memory_size=4, embedding_size=4, input_limit=2.0 + len(runs) // 2),
            sampling=replace(config.sampling, meta_batch_size=2),
        )
        runs.append(Path("runs", config.name))
        experiment, share = family_experts.train(config, runs[-1], 1.0, 2)
        assert experiment.env_steps == 2 * 2 * 3
        assert share == 0.0
    again, _ = family_experts.train(config, runs[-1], 1.0, 2)
    assert again.iteration == 2
    assert again.env_steps == 2 * 2 * 3
    join_experts.main(tuple(runs[:2]), Path("runs/library"), preset="ml10", tries=1)
    library = load(Path("runs/library"))
    assert library.suite.name == "ml10+goals2+success10"
    assert library.agent.owners == ("window-open-v3", "basketball-v3")
    assert library.config.agent.tries == 1
    assert library.config.evaluation.adaptation_episodes == 2
    assert library.config.success_bonus == 10.0
    assert library.experiment.env_steps == 2 * experiment.env_steps
    own = load(runs[1]).agent.state().tensors["log_std"]
    assert torch.equal(library.agent.state().tensors["expert1.log_std"], own)
    with pytest.raises(
        MetarlError, match=r"input_limit must be 2.0, as in .*window-open.*lever-pull.* it is 3.0"
    ):
        join_experts.main(tuple(runs), Path("runs/other"), preset="ml10")
    with pytest.raises(MetarlError, match=r"Expected experts of ml10's .*\['lever-pull-v3'\]"):
        join_experts.main((runs[2], runs[2]), Path("runs/other"), preset="ml10")
    assert not Path("runs/other").exists()


def test_a_killed_expert_goes_on_with_the_iterations_that_its_checkpoint_has_and_up_to_the_most(
    experts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family_experts = importlib.import_module("benchmarks.learning.family_experts")
    monkeypatch.chdir(tmp_path)
    config = family_experts.expert_config("ml10", "window-open-v3", seed=0, most=4)
    config = replace(
        config,
        suite=replace(config.suite, horizon=3, training_goals=2),
        agent=replace(config.agent, memory_size=4, embedding_size=4),
        sampling=replace(config.sampling, meta_batch_size=2),
        checkpoint=replace(config.checkpoint, every=2),
    )
    folder = Path("runs", config.name)

    class Killed(BaseException):
        """Stands for a kill, after which nothing is written."""

    def killed(observer: object, iteration: int, metrics: dict[str, float]) -> None:
        if iteration == 3:
            raise Killed

    monkeypatch.setattr(family_experts.UntilDone, "on_iteration", killed)
    with pytest.raises(Killed):
        family_experts.train(config, folder, 1.0, 100)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    counted = list[int]()
    as_before = family_experts.UntilDone.on_iteration

    def count(observer: object, iteration: int, metrics: dict[str, float]) -> None:
        as_before(observer, iteration, metrics)
        counted.append(len(observer.solved))  # type: ignore[attr-defined]  # an UntilDone

    monkeypatch.setattr(family_experts.UntilDone, "on_iteration", count)
    shutil.rmtree(folder / "checkpoints" / "00000003", ignore_errors=True)  # what a kill would not write
    assert family_experts.train(config, folder, 1.0, 100)[0].iteration == 4
    assert counted[-1] == 4
    # asked for more, or for fewer than it has had
    assert family_experts.train(replace(config, iterations=5), folder, 1.0, 100)[0].iteration == 5
    assert family_experts.train(replace(config, iterations=2), folder, 1.0, 100)[0].iteration == 5


def test_an_expert_that_solves_its_family_or_none_of_its_tasks_stops(experts: ModuleType) -> None:
    family_experts = importlib.import_module("benchmarks.learning.family_experts")
    observer = family_experts.UntilDone(0.9, 5, [{"train/success/step_0": 0.0}])
    stops = list[int]()
    observer.experiment = type("Run", (), {"request_stop": lambda self: stops.append(len(observer.solved))})()
    for iteration in range(1, 13):
        observer.on_iteration(iteration, {"train/success/step_0": 0.5 if iteration == 1 else 0.95})
    # nine rows of 0.95 and one of 0.5 are 0.905 on average; with the row of 0 it is less
    assert stops == [11, 12, 13]
    hopeless = family_experts.UntilDone(0.9, 5, [{"train/success/step_0": 0.0}] * 4)
    assert not hopeless.is_done
    hopeless.on_iteration(5, {"train/success/step_0": 0.0})
    assert hopeless.is_done
    settings = family_experts.expert_config("ml45", "hammer-v3", seed=3, most=9)
    policy_reuse = agent_config_for("ml45", "policy-reuse")
    for name in setting_names(type(settings.agent)):
        assert getattr(settings.agent, name) == getattr(policy_reuse, name), name


def test_libraries_are_joined_and_looked_at(
    experts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    join_experts = importlib.import_module("benchmarks.learning.join_experts")
    monkeypatch.chdir(tmp_path)
    paths = tuple(Path(f"runs/point-policy-reuse-seed{seed}") for seed in (0, 1))
    for seed, start in (("0", ""), ("1", str(paths[0]))):
        options = ["--agent", "policy-reuse", "--seed", seed, "--init-from", start]
        assert command(["train", "point", *options, *SHORT]) == 0
    join_experts.main(paths, Path("runs/library"))
    library, *alone = (load(path).agent.state().tensors for path in (Path("runs/library"), *paths))
    assert len(library) == sum(map(len, alone))
    # experts 2 and 3 are those of the second run
    assert torch.equal(library["expert3.log_std"], alone[1]["expert1.log_std"])
    assert load(Path("runs/library")).config.evaluation.adaptation_episodes >= 4
    experts.main((Path("runs/library"),), tasks=2, output=Path("found"))
    with Path("found/library.csv").open() as file:
        head, *rows = csv.reader(file)
    assert head[:5] == ["split", "family", "kept", "left_out", "best"]
    assert [row[0] for row in rows] == ["train", "test"]
    assert {len(row) for row in rows} == {5 + 2 * 4}
    assert "mean, test" in capsys.readouterr().out
    join_experts.main(paths[:1], Path("runs/ordered"), order_by=2, tries=1)
    ordered = load(Path("runs/ordered")).agent
    assert sorted(ordered.order) == [0, 1]
    assert ordered.config.tries == 1
    join_experts.main((Path("runs/ordered"),), Path("runs/still"), hold_at=0.9)
    still = load(Path("runs/still")).agent
    assert (still.order, still.config) == (ordered.order, replace(ordered.config, hold_at=0.9))
    join_experts.main(paths, Path("runs/few"), order_by=2, keep=2)
    few = load(Path("runs/few"))
    assert len(few.agent.experts) == few.config.evaluation.adaptation_episodes == 2
    assert few.experiment.env_steps == sum(load(path).experiment.env_steps for path in paths)
    # checkpoints of one run have had its steps once
    join_experts.main((paths[0], paths[0] / "checkpoints/00000000"), Path("runs/pool"))
    assert load(Path("runs/pool")).experiment.env_steps == load(paths[0]).experiment.env_steps
    with pytest.raises(MetarlError, match="Expected --order-by, by which experts are kept"):
        join_experts.main(paths, Path("runs/fewer"), keep=2)
    with pytest.raises(MetarlError, match="library"):
        join_experts.main(paths, Path("runs/library"))
    with pytest.raises(MetarlError, match="Expected two runs or more"):
        join_experts.main(paths[:1], Path("runs/other"))
    assert command(["train", "point", "--agent", "rl2", "--name", "other", *SHORT]) == 0
    with pytest.raises(MetarlError, match="Expected runs of policy-reuse"):
        join_experts.main((paths[0], Path("runs/other")), Path("runs/more"))
    with pytest.raises(MetarlError, match="Expected a run of policy-reuse"):
        experts.main((Path("runs/other"),))
