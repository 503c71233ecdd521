"""Trainings that ranks share: any number of them gives the bits of one process."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from metarl.config import EvaluationConfig, ExperimentConfig, SamplingConfig, SuiteConfig, construct
from metarl.envs.toy import bandits
from metarl.envs.toy.bandits import BanditsConfig
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.plugins import registry
from metarl.storage.metrics import Row, read_metrics
from metarl.system import threads
from metarl.system.ranks import Ranks
from metarl.training import runs
from metarl.training.replicas import digest
from support.programs import POINT, RESUME, Trap, outcome, run
from support.ranks import on_ranks, run_ranks

SUITES: dict[str, SuiteConfig] = {
    "bandits": BanditsConfig(horizon=6),
    "point": PointConfig(horizon=12),
    "cart-pole": CartPoleConfig(horizon=12),
}
AGENTS = ("maml-trpo", "promp", "rl2", "maml-ppo", "maml-vpg", "reptile")
SMALL: dict[str, dict[str, object]] = {
    "maml-trpo": {"hidden_sizes": [8]},
    "promp": {"hidden_sizes": [8], "outer_steps": 2},
    "maml-ppo": {"hidden_sizes": [8], "outer_steps": 2},
    "maml-vpg": {"hidden_sizes": [8]},
    "reptile": {"hidden_sizes": [8]},
    "rl2": {"memory_size": 8, "embedding_size": 8, "trial_episodes": 2},
}
UPDATE = Trap("metarl.agents.maml_trpo:MAMLTRPO.outer_step", call=4)
"""Kills a rank in the update of iteration 4."""


class Outcome(NamedTuple):
    """All that must not depend on the number of ranks."""

    weights: bytes
    metrics: list[Row]
    evaluation: object


def tiny(suite: str, agent: str) -> ExperimentConfig:
    """Return a short training; its last evaluations are of fewer tasks than there are ranks."""
    return ExperimentConfig(
        suite=SUITES[suite],
        agent=construct(registry.agent(agent), SMALL[agent]),
        name="it",
        iterations=2,
        sampling=SamplingConfig(meta_batch_size=4, episodes=2, workers=1),
        evaluation=EvaluationConfig(
            every=1, tasks=9, episodes=2, adaptation_episodes=2, deterministic=agent == "promp"
        ),
    )


def trained(config: ExperimentConfig, folder: Path, ranks: Ranks | None = None) -> Outcome:
    """Train to the end, and return what every rank has and what the first has written."""
    if ranks is None or ranks.is_first:
        folder.mkdir()
    if ranks is None:
        experiment = runs.start(config, folder)
    else:
        experiment = ranks.first_then_others(
            lambda: runs.start(config, folder, ranks=ranks), lambda: runs.follow(folder / "it", ranks)
        )
    evaluation = experiment.run().to_json()
    kept = [
        {name: value for name, value in row.items() if not name.startswith(("time/", "ranks/"))}
        for row in read_metrics(folder / "it")
    ]
    return Outcome(digest(experiment.agent), kept, evaluation)


@pytest.mark.parametrize(
    ("suite", "agent", "sizes"),
    [
        ("bandits", "maml-trpo", (2, 3)),
        *(("bandits", agent, (3,)) for agent in AGENTS[1:3]),
        *(pytest.param("bandits", agent, (3,), marks=pytest.mark.slow) for agent in AGENTS[3:]),
        pytest.param("point", "maml-trpo", (3,), marks=pytest.mark.slow),
        *(pytest.param("point", agent, (2, 4), marks=pytest.mark.slow) for agent in AGENTS),
        *(pytest.param("cart-pole", agent, (2, 3), marks=pytest.mark.slow) for agent in AGENTS),
    ],
)
def test_any_number_of_ranks_gives_the_bits_of_one_process(
    suite: str, agent: str, sizes: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "WORK_PER_CHUNK", 2**8)  # several chunks of few tasks
    monkeypatch.setattr(bandits, "_LISTED_TASKS", 5)
    config = tiny(suite, agent)
    alone = trained(config, tmp_path / "1")
    for size in sizes:
        for found in on_ranks(size, partial(trained, config, tmp_path / str(size))):
            assert found == alone


def test_more_ranks_than_tasks_are_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    config = replace(tiny("bandits", "maml-trpo"), sampling=SamplingConfig(meta_batch_size=1, episodes=2))
    first, second = on_ranks(2, partial(trained, config, tmp_path / "runs"))
    assert isinstance(first, MetarlError)
    assert str(first) == "There must be at most 1 ranks, one a task of the meta-batch, but it is 2."
    assert isinstance(second, MetarlError)
    assert not (tmp_path / "runs" / "it").exists()


def test_a_rank_with_other_weights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two ranks has other weights than the second."""

    def drifted(agent: object) -> bytes:
        return bytes(8) if agent is agents[0] else bytes([1] * 8)

    agents: list[object] = []
    monkeypatch.setattr("metarl.training.replicas.digest", drifted)

    def work(ranks: Ranks) -> None:
        experiment = ranks.first_then_others(
            lambda: runs.start(tiny("bandits", "maml-trpo"), tmp_path, ranks=ranks),
            lambda: runs.follow(tmp_path / "it", ranks),
        )
        if ranks.is_first:
            agents.append(experiment.agent)
        experiment.run()

    for error in on_ranks(2, work):
        assert "after iteration 1, got other weights on rank 1" in str(error)


@pytest.mark.slow
def test_processes_give_the_bits_of_one_and_survive_the_death_of_a_rank(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "killed")]
    for folder in folders:
        folder.mkdir()
    one, two, killed = folders
    assert run(one, POINT) == 0
    assert run_ranks(two, 2, POINT) == [0, 0], (two / "errors0").read_text()
    # rank 2 of 3 dies; the others name it, and one process goes on
    codes = run_ranks(killed, 3, POINT, {2: UPDATE})
    assert codes[2] == -9
    assert 0 not in codes
    assert "Rank 2 of 3" in (killed / "errors0").read_text()
    assert (killed / "errors1").read_text() == ""
    assert run(killed, RESUME) == 0
    metrics, weights, evaluation = outcome(one)
    for folder in (two, killed):
        found, same_weights, same_evaluation = outcome(folder)
        assert same_weights == weights
        assert same_evaluation == evaluation
        assert [{k: v for k, v in row.items() if not k.startswith("ranks/")} for row in found] == metrics
