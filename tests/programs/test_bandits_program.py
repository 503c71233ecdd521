"""The program that plays bandits with strategies and trained runs: the same luck for all, and fair counts."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

import metarl
from metarl.config import EvaluationConfig
from metarl.envs.toy.bandit_optimum import BayesOptimal
from metarl.envs.toy.bandits import BanditTasks
from metarl.errors import MetarlError


@pytest.fixture
def program(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root))
    module = importlib.import_module("benchmarks.learning.bandits")
    monkeypatch.setattr(module, "DISCOUNTS", (0.5,))  # quick to compute
    return module


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contender(program: ModuleType, suite: BanditTasks, name: str) -> object:
    return next(each for each in program.references(suite) if each.name == name)


def test_optimal_strategy_earns_what_dynamic_programming_says(program: ModuleType) -> None:
    suite = BanditTasks(arms=2, horizon=6)
    paid = program.play(contender(program, suite, program.OPTIMAL), suite, suite.tasks("test"), 20, 0)
    assert paid.shape == (1, 400, 20, 6)
    returns = paid.sum(axis=3).mean(axis=2)[0]
    error = returns.std() / np.sqrt(len(returns))
    assert returns.mean() == pytest.approx(BayesOptimal(2, 6).value, abs=3 * error)


def test_figure_draws_the_trained_agent_whatever_its_kind(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = program.bandits_figure
    said: list[str] = []
    monkeypatch.setattr(figure, "draw_footer", lambda _, text: said.append(text))
    monkeypatch.setattr(figure, "save", lambda drawn, _: said.extend(map(str, drawn.axes[0].get_lines())))
    suite = BanditTasks(arms=2, horizon=3)
    by_pull = {name: np.array([0.5, 0.6, 0.7]) for name in ("random", "varibad", "varibad, most likely arm")}
    figure.draw(by_pull, suite, suite.tasks("test")[:2], ("varibad", 2), tmp_path / "pulls.png")
    lines = [line for line in said if line.startswith("Line2D")]
    assert lines[-3:] == ["Line2D(varibad)", "Line2D(varibad, most likely arm)", "Line2D(random)"]
    assert any("; varibad: mean of 2 seeds" in text for text in said)


def test_all_have_the_same_luck(program: ModuleType) -> None:
    suite = BanditTasks(arms=2, horizon=3)

    def play(name: str, seed: int) -> npt.NDArray[np.float64]:
        found = program.play(contender(program, suite, name), suite, suite.tasks("test"), 5, seed)
        return np.asarray(found, np.float64)

    greedy, ucb1 = play("greedy", 0), play("UCB1", 0)
    assert np.array_equal(greedy[..., 0], ucb1[..., 0])  # both begin with the first arm
    first_won = greedy[..., 0] == 1
    assert greedy[..., 1][~first_won].tolist() == ucb1[..., 1][~first_won].tolist()  # and go on to the second
    assert not np.array_equal(greedy[..., 0], play("greedy", 1)[..., 0])


@pytest.mark.usefixtures("drawn_figures")
def test_runs_stand_in_the_table_beside_the_strategies(
    program: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for seed in (0, 1):
        few = EvaluationConfig(every=0, adaptation_steps=0, episodes=1)
        run = metarl.train("bandits", "rl2", folder=tmp_path, seed=seed, iterations=1, evaluation=few)
        folders.append(run.folder)
    program.main(tuple(folders), tasks=300, episodes=1, output=tmp_path / "out")
    assert "5 arms, 10 pulls" in capsys.readouterr().out
    rows = {row["strategy"]: row for row in read(tmp_path / "out" / "strategies.csv")}
    assert float(rows["rl2"]["seeds"]) == 2
    assert float(rows["random"]["seeds"]) == 1
    assert float(rows["Bayes-optimal"]["share"]) == 1
    for row in rows.values():
        assert float(row["return_low"]) < float(row["return"]) < float(row["return_high"])
    pulls = read(tmp_path / "out" / "pulls.csv")
    assert [float(row["pull"]) for row in pulls] == list(range(1, 11))
    assert sum(float(row["rl2"]) for row in pulls) == pytest.approx(float(rows["rl2"]["return"]))
    assert (tmp_path / "out" / "pulls.png").stat().st_size > 1000


def test_agents_that_adapt_by_gradient_are_refused(program: ModuleType, tmp_path: Path) -> None:
    few = EvaluationConfig(every=0, adaptation_steps=1, episodes=1, adaptation_episodes=1)
    run = metarl.train("bandits", folder=tmp_path, iterations=1, evaluation=few)
    with pytest.raises(MetarlError, match="Expected agents with a memory"):
        program.main((run.folder,))
