"""How ranks find each other, and what they say of one that is missing, different, dead or halted."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from metarl.cli.main import main
from metarl.errors import MetarlError, RankLostError
from metarl.system.heartbeats import LEFT, beat_of
from metarl.system.launch import Launch, launched, local_rank, of_this_machine
from metarl.system.ranks import Ranks, agree, connect, meet

FIRST = Launch(rank=0, size=2, address="127.0.0.1", port=29500, hosts_store=True, hang_seconds=0.1)
SECOND = Launch(rank=1, size=2, address="127.0.0.1", port=29500, hosts_store=False, hang_seconds=0.1)


@pytest.fixture
def store() -> Store:
    return dist.HashStore()


def test_a_missing_rank_is_named(store: Store) -> None:
    with pytest.raises(MetarlError, match=r"^Expected 2 ranks, got no sign of rank 1 in 0.1 s\.$"):
        meet(FIRST, store, {})


def test_a_setting_that_differs_is_named_by_the_first_rank(store: Store) -> None:
    store.set("here/1", json.dumps({"iterations": "4", "torch": "2"}))
    wanted = r"^Expected the same iterations on every rank, got 3 on rank 0 and 4 on rank 1\.$"
    with pytest.raises(MetarlError, match=wanted):
        meet(FIRST, store, {"iterations": "3", "torch": "2"})
    with pytest.raises(SystemExit):
        meet(SECOND, store, {"iterations": "4", "torch": "2"})


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(MetarlError, match=f"^The port {port} of MASTER_PORT is in use; "):
            connect(Launch(0, 2, "127.0.0.1", port, hosts_store=True, hang_seconds=1))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WORLD_SIZE", "-2", "1 or more"),
        ("MASTER_PORT", "99999", "in 1..65535"),
        ("MASTER_PORT", "0", "in 1..65535"),
        ("METARL_RANK_TIMEOUT", "0", "1 or more"),
        ("METARL_RANK_TIMEOUT", "-5", "1 or more"),
        ("LOCAL_RANK", "-1", "0 or more"),
    ],
)
def test_a_variable_beyond_its_bounds_is_named(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, own in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", name: value}.items():
        monkeypatch.setenv(other, own)
    with pytest.raises(MetarlError, match=f"^Expected {name} to be {expected}, got {value}\\.$"):
        (local_rank if name == "LOCAL_RANK" else launched)()


def test_another_program_at_the_port_is_told_by_the_other_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl.system.ranks.BROKEN_SECONDS", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        sentence = f"^Rank 1 cannot reach rank 0 at 127.0.0.1:{port}: "
        with pytest.raises(MetarlError, match=sentence):
            connect(Launch(1, 2, "127.0.0.1", port, hosts_store=False, hang_seconds=0.1))


def test_a_start_is_its_ranks_own_whatever_an_earlier_one_has_left(store: Store) -> None:
    starts: list[Store] = []
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(
                lambda launch: agree(replace(launch, hang_seconds=20), store), (FIRST, SECOND)
            )
        first.set("key", "")
        assert second.check(["key"])
        starts.append(second)
    # of a third start only one rank has come
    with pytest.raises(MetarlError, match=r"^Expected 2 ranks, got no sign of rank 1 in 0.1 s\.$"):
        agree(FIRST, store)
    starts[0].set("other", "")
    assert not starts[1].check(["other"])


def test_a_run_that_an_earlier_start_began_is_known(store: Store) -> None:
    store.set(beat_of(1), "7 0")
    with closing(Ranks(FIRST, store, store)) as ranks:
        assert not ranks.again
        ranks.tell_begun()
    with closing(Ranks(FIRST, store, store)) as ranks:
        assert ranks.again


@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_without_a_sign_of_life_is_named(store: Store, lost: int) -> None:
    store.set(beat_of(lost), "7 0")
    ranks = Ranks([SECOND, FIRST][lost], store, store)
    try:
        time.sleep(0.3)  # more than the limit, less than until this rank counts again
        with pytest.raises(RankLostError, match=f"^Rank {lost} of 2 died or was halted"):
            ranks.look_for_lost(limit=0.1)
        assert ranks.agreed
    finally:
        ranks.close()
    assert store.get("lost") == str(lost).encode()
    assert store.get(beat_of(1 - lost)) == LEFT.encode()


def test_a_loss_that_another_rank_has_found_is_believed(store: Store) -> None:
    store.set("lost", "1")
    store.set(beat_of(1), "7 0")
    ranks = Ranks(FIRST, store, store)
    try:
        time.sleep(0.2)
        with pytest.raises(RankLostError, match=r"^Rank 1 of 2 was lost\."):
            ranks.look_for_lost(limit=10)
    finally:
        ranks.close()


def test_the_ranks_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_this_machine(5) == 5
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    cores = []
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        cores.append((of_this_machine(5), of_this_machine(1)))
    assert cores == [(3, 1), (2, 1)]


@pytest.mark.parametrize(("name", "value"), [("RANK", "5"), ("RANK", ""), ("WORLD_SIZE", "many")])
def test_variables_without_sense_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(name, value)
    with pytest.raises(MetarlError, match=rf"^Expected {name} "):
        launched()


def test_one_rank_is_no_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched() is None


def test_only_training_runs_on_several_ranks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(["list"]) == 2
    assert "Only metarl train runs on several ranks" in capsys.readouterr().err
