"""Trainings that ranks share: any number of them gives the bits of one process."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from metarl.config import EvaluationConfig, ExperimentConfig, SamplingConfig, SuiteConfig, construct
from metarl.envs.metaworld.suite import ML1Config
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
from support.kills import duration
from support.programs import POINT, RESUME, OtherVersion, Trap, finish, outcome, run, start
from support.ranks import Start, free_port, left_behind, on_ranks, run_ranks, start_ranks

SUITES: dict[str, SuiteConfig] = {
    "bandits": BanditsConfig(horizon=6),
    "point": PointConfig(horizon=12),
    "cart-pole": CartPoleConfig(horizon=12),
    "ml1": ML1Config(horizon=12),
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
        *(
            pytest.param(suite, agent, (2, 3, 4), marks=pytest.mark.slow)
            for suite, agents in (("point", AGENTS), ("cart-pole", AGENTS), ("ml1", AGENTS[:3]))
            for agent in agents
        ),
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


@pytest.mark.gpu
@pytest.mark.parametrize("agent", AGENTS)
def test_ranks_on_a_gpu_give_the_bits_of_one_process(
    agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "WORK_PER_CHUNK", 2**8)
    config = replace(tiny("point", agent), device="cuda")
    alone = trained(config, tmp_path / "1")
    for found in on_ranks(2, partial(trained, config, tmp_path / "2")):
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
    codes = run_ranks(killed, 3, POINT, Start(prepared={2: UPDATE}))
    assert codes[2] == -9
    assert 0 not in codes
    assert "Rank 2 of 3" in (killed / "errors0").read_text()
    assert "metarl:" not in (killed / "errors1").read_text()
    assert run(killed, RESUME) == 0
    for folder in (two, killed):
        assert without_ranks(folder) == without_ranks(one)


def without_ranks(folder: Path) -> tuple[list[dict[str, float]], dict[str, object], object]:
    """Return the outcome of a run, but for what several ranks count beside it."""
    metrics, weights, evaluation = outcome(folder)
    rows = [{k: v for k, v in row.items() if not k.startswith("ranks/")} for row in metrics]
    return rows, weights, evaluation


@pytest.mark.slow
def test_deaths_at_random_moments_change_nothing(tmp_path: Path) -> None:
    rng, kills, size = random.Random(0), 0, 2
    longest = duration(tmp_path / "unbroken", POINT)
    while kills < 10:
        folder = tmp_path / f"broken{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        codes = [1]
        while any(codes):
            begun = (folder / "runs" / "it" / "config.json").exists()
            size = rng.choice([other for other in (1, 2, 3) if other != size])
            processes = start_ranks(folder, size, RESUME if begun else POINT)
            if kills < 10:
                time.sleep(rng.uniform(0, longest))
                rng.choice(processes).kill()
            codes = [finish(process) for process in processes]
            kills += -signal.SIGKILL in codes
            assert left_behind(folder) == []
        assert without_ranks(folder) == without_ranks(tmp_path / "unbroken")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_halted_rank_is_named_and_no_rank_is_left(victim: int, tmp_path: Path) -> None:
    processes = start_ranks(
        tmp_path, 3, POINT, Start(prepared={victim: Trap(UPDATE.function, 4, signal.SIGSTOP)})
    )
    halted = processes.pop(victim)
    try:
        assert 0 not in [finish(process) for process in processes]
    finally:
        halted.kill()
    said = (tmp_path / f"errors{1 - victim}").read_text()
    assert f"Rank {victim} of 3 died or was halted" in " ".join(said.split())
    assert "metarl:" not in (tmp_path / "errors2").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "more", "sentence"),
    [
        (
            Start(own={1: ("--seed", "4")}),
            (),
            "Expected the same seed on every rank, got 0 on rank 0 and 4 on rank 1.",
        ),
        (
            Start(prepared={1: OtherVersion("torch", "1.0")}),
            (),
            f"Expected the same torch on every rank, got {version('torch')} on rank 0 and 1.0 on rank 1.",
        ),
        (Start(absent=1, patience=2), (), "Expected 3 ranks, got no sign of rank 1 in 2 s."),
        (
            Start(),
            ("--sampling.meta-batch-size", "2"),
            "There must be at most 2 ranks, one a task of the meta-batch, but it is 3.",
        ),
    ],
    ids=["options", "versions", "missing", "tasks"],
)
def test_ranks_that_do_not_fit_are_refused_before_there_is_a_run(
    how: Start, more: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    assert set(run_ranks(tmp_path, 3, (*POINT, *more), how)) == {2}
    expect_one_sentence(tmp_path, sentence)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_port_in_use_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        assert run_ranks(tmp_path, 2, POINT, Start(port=port, patience=2)) == [2, 2]
    expect_one_sentence(
        tmp_path, f"The port {port} of MASTER_PORT is in use; choose another, or torchrun --standalone."
    )
    assert not (tmp_path / "runs").exists()


def expect_one_sentence(folder: Path, sentence: str) -> None:
    """See that the first rank says it and no other says anything, and that no process is left."""
    said = {path.name: path.read_text() for path in folder.glob("errors*")}
    assert said.pop("errors0") == f"metarl: {sentence}\n"
    assert not any("metarl:" in text or "Traceback" in text for text in said.values())
    assert left_behind(folder) == []


@pytest.mark.slow
def test_two_launchers_start_their_ranks_again_after_a_death(tmp_path: Path) -> None:
    """As on two machines: each has a torchrun of its own, and they meet at an address."""
    long = (*POINT, "--iterations", "40")
    for name in ("alone", "two"):
        (tmp_path / name).mkdir()
    assert run(tmp_path / "alone", long) == 0
    folder = tmp_path / "two"
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--max-restarts", "3")
    nodes = [
        subprocess.Popen(
            (
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--nnodes",
                "2",
                "--local-addr",
                "127.0.0.1",
                *meeting,
                "-m",
                "metarl",
                *long,
            ),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    try:
        checkpoint = folder / "runs" / "it" / "checkpoints" / "00000010"
        while not checkpoint.exists():
            assert [node.poll() for node in nodes] == [None, None]
            time.sleep(0.02)
        (rank,) = psutil.Process(nodes[1].pid).children()
        rank.kill()
        assert [node.wait(1200) for node in nodes] == [0, 0]
    finally:
        orphans = left_behind(folder, kill=True)
        for node in nodes:
            node.wait()
    assert orphans == []
    assert without_ranks(folder) == without_ranks(tmp_path / "alone")


@pytest.mark.slow
def test_of_jobs_with_one_seed_one_trains(tmp_path: Path) -> None:
    jobs = [start(tmp_path, POINT, variables={"JOB": str(job)}) for job in range(3)]
    assert sorted(finish(job) for job in jobs) == [0, 2, 2]
