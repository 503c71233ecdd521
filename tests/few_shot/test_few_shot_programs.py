"""The two programs that measure few-shot learning, on a small scale."""

from __future__ import annotations

import csv
import importlib
import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.errors import MetarlError
from metarl.types import Task

FAMILIES = {
    "reach-v3": (0.0664885, 0.6212339, 0.02, -0.063, 0.8304242, 0.1811891),
    "door-open-v3": (0.0334238, 0.9284896, 0.15),
}
SUITE = MetaWorldTasks(
    name="pair",
    train=tuple(Task(family, vector, f"{family}/0") for family, vector in FAMILIES.items()),
    test=(),
    horizon=100,
)


@pytest.fixture(autouse=True)
def beside_the_benchmarks(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with torch.random.fork_rng():
        yield


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("drawn_figures")
def test_sinusoids_are_learned_measured_and_drawn(tmp_path: Path) -> None:
    sinusoid = importlib.import_module("benchmarks.learning.sinusoid")
    config = sinusoid.SinusoidConfig(
        seeds=(0, 1), iterations=3, meta_batch_size=2, test_steps=2, test_tasks=4, tuning_tasks=2
    )
    sinusoid.main(config, tmp_path)
    rows = table(tmp_path / "errors.csv")
    assert [(row["shots"], row["agent"], row["steps"]) for row in rows] == [
        (shots, agent, steps) for shots in ("5", "10") for agent in ("MAML", "pretrained") for steps in "012"
    ]
    assert all(float(row["low"]) <= float(row["mean"]) <= float(row["high"]) for row in rows)
    assert json.loads((tmp_path / "config.json").read_text())["seeds"] == [0, 1]
    assert len(table(tmp_path / "curve.csv")) == 6
    assert (tmp_path / "fits.png").stat().st_size > 10_000
    assert (tmp_path / "errors.png").stat().st_size > 10_000


def test_pretraining_is_plain_training_on_all_points() -> None:
    sinusoid = importlib.import_module("benchmarks.learning.sinusoid")
    config = sinusoid.SinusoidConfig(iterations=2, meta_batch_size=3, shots=4, queries=2)
    torch.manual_seed(0)
    start = sinusoid.network()
    trained, errors = sinusoid.pretrain(config, start, 5)
    optimizer = torch.optim.Adam(start.parameters(), lr=config.outer_lr)
    source = sinusoid.sinusoids(torch.Generator().manual_seed(5), shots=6, queries=0)
    expected = []
    for _ in range(2):
        batch = [next(source).support for _ in range(3)]
        inputs, targets = (torch.cat([pair[side] for pair in batch]) for side in (0, 1))
        loss = (start(inputs) - targets).square().mean()
        expected.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert errors == pytest.approx(expected, rel=1e-5)
    for one, other in zip(trained.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_explorer_moves_the_hand_to_the_object_in_every_family() -> None:
    data = importlib.import_module("benchmarks.learning.task_recognition_data")
    found = data.explore(SUITE, "train", 1, np.random.default_rng(0))
    assert list(found) == list(FAMILIES)
    for examples in found.values():
        assert examples.shape == (1, data.FRAMES, data.SEEN + 4)
        distances = (examples[0, :, :3] - examples[0, :, 4:7]).norm(dim=-1)
        assert distances[14] < 0.5 * distances[0]  # step 58, before it pulls


def test_more_goals_than_a_family_has_are_refused_and_mix_no_families() -> None:
    data = importlib.import_module("benchmarks.learning.task_recognition_data")
    # two families of one goal: five windows each would be cut across them
    with pytest.raises(MetarlError, match="at most the 1 goals of reach-v3 in training, but it is 5"):
        data.explore(SUITE, "train", 5, np.random.default_rng(0))


def test_bars_stand_over_their_number_of_shots_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = importlib.import_module("benchmarks.learning.task_recognition_figures")
    drawn: dict[str, list[float]] = {}

    def bar(self: Axes, x: Sequence[float], height: Sequence[float], *_: object, **named: object) -> None:
        drawn[str(named["label"])] = [value for _, value in sorted(zip(x, height, strict=True))]

    lines: list[float] = []
    monkeypatch.setattr(Axes, "bar", bar)
    monkeypatch.setattr(Axes, "axhline", lambda self, y, **_: lines.append(y))
    monkeypatch.setattr(figures, "save", lambda figure, path: None)
    rows = [
        {"view": "changes", "agent": agent, "shots": shots, "mean": mean, "low": mean, "high": mean}
        for agent in figures.AGENTS
        for shots, mean in ((5, 0.9), (1, 0.6))
    ]
    monkeypatch.setattr(Figure, "legend", lambda *_, **__: None)
    figures.accuracies(rows, 1, 4, tmp_path / "accuracy.png")
    assert all(heights == [0.6, 0.9] for heights in drawn.values())
    assert lines == [0.25]  # chance among four families


@pytest.mark.parametrize(
    ("program", "options", "message"),
    [
        ("sinusoid", {"seeds": ()}, "seeds must have a value at least, but it is empty"),
        ("sinusoid", {"iterations": 0}, "Expected iterations >= 1, got 0"),
        ("sinusoid", {"step_sizes": (0.0,)}, "Expected every value of step_sizes > 0"),
        ("task_recognition", {"seeds": ()}, "seeds must have a value at least, but it is empty"),
        ("task_recognition", {"test_shots": (0,)}, "Expected every value of test_shots >= 1"),
    ],
)
def test_settings_that_measure_nothing_are_refused(
    program: str, options: dict[str, object], message: str
) -> None:
    module = importlib.import_module(f"benchmarks.learning.{program}")
    config = {"sinusoid": "SinusoidConfig", "task_recognition": "RecognitionConfig"}[program]
    with pytest.raises(MetarlError, match=message):
        getattr(module, config)(**options)


@pytest.mark.usefixtures("drawn_figures")
def test_families_are_told_apart_and_what_was_measured_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = importlib.import_module("benchmarks.learning.task_recognition")
    generator = torch.Generator().manual_seed(0)

    def families(count: int) -> dict[str, torch.Tensor]:
        centres = torch.randn(count, 1, 1, 22, generator=generator)
        noise = torch.randn(count, 12, 25, 22, generator=generator)
        return {f"family-{index}": row for index, row in enumerate(centres + 0.1 * noise)}

    views = {"as they are": (families(8), families(5)), "changes": (families(8), families(5))}
    monkeypatch.setattr(program, "collect_views", lambda config: views)
    config = program.RecognitionConfig(
        seeds=(0, 1), iterations=20, train_ways=4, train_shots=2, test_queries=3, test_episodes=5
    )
    program.main(config, tmp_path)
    rows = table(tmp_path / "accuracy.csv")
    assert len(rows) == 2 * 3 * 2
    assert all(float(row["mean"]) > 0.9 for row in rows)
    assert len(table(tmp_path / "curve.csv")) == 2 * 2 * 2
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    assert (tmp_path / "prototypes.png").stat().st_size > 10_000


@pytest.mark.parametrize("program", ["sinusoid", "task_recognition"])
def test_stopped_program_says_so_and_writes_nothing(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "set_num_threads", interrupted)
    monkeypatch.delitem(sys.modules, f"benchmarks.learning.{program}", raising=False)
    monkeypatch.setattr("sys.argv", [program, "--output", str(tmp_path / "results")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.learning.{program}", run_name="__main__", alter_sys=True)
    assert ended.value.code == 130
    assert capsys.readouterr() == ("Stopped; nothing is written.\n", "")
    assert not (tmp_path / "results").exists()
