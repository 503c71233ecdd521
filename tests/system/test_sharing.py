"""Work that ranks share: what each takes, and that results come in the order of one process."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pytest
import torch

from metarl.errors import MetarlError, Stopped
from metarl.system.ranks import Ranks, own_device
from metarl.system.sharing import (
    join_rows,
    own_tasks,
    pack,
    rebuilt_like,
    share,
    sharing,
    slots_here,
    unpack,
)
from metarl.types import Params
from support.ranks import on_ranks


class Pair(NamedTuple):
    values: torch.Tensor
    named: dict[str, float]


def doubled(number: int) -> Pair:
    return Pair(torch.full((number,), 2.0 * number), {"number": float(number)})


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_results_of_all_ranks_come_in_the_order_of_the_items(size: int) -> None:
    def work(ranks: Ranks) -> list[Pair]:
        with sharing(ranks, slots=0):
            return share([1, 2, 3, 4]).map(doubled).gather()

    for results in on_ranks(size, work):
        assert isinstance(results, list)
        assert [pair.values.tolist() for pair in results] == [[2.0], [4.0] * 2, [6.0] * 3, [8.0] * 4]
        assert [pair.named for pair in results] == [{"number": float(n)} for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("total", [1, 2, 7])
def test_rows_of_all_ranks_come_in_the_order_of_tasks(total: int) -> None:
    whole = torch.arange(2 * total).view(total, 2)

    def work(ranks: Ranks) -> Params:
        with sharing(ranks, slots=0):
            own = own_tasks(total)
            assert own is not None
            return join_rows({"a": whole[own.places], "b": whole[own.places] > 2}, total)

    for joined in on_ranks(3, work):
        assert isinstance(joined, dict)
        assert torch.equal(joined["a"], whole)
        assert torch.equal(joined["b"], whole > 2)


def test_without_ranks_everything_is_this_process_s() -> None:
    shared = share([1, 2, 3])
    assert shared.own == [1, 2, 3] == shared.gather()
    assert own_tasks(3) is None


def test_tensors_of_every_kind_survive_the_wire() -> None:
    items = [
        [torch.tensor(True), torch.empty(0, 3), torch.tensor([1.5, float("nan")], dtype=torch.float64)],
        [torch.tensor(False), torch.ones(2, 3), torch.tensor([-0.0, float("inf")], dtype=torch.float64)],
    ]
    back = unpack(pack(items), [torch.bool, torch.float32, torch.float64])
    for item, found in zip(items, back, strict=True):
        for value, other in zip(item, found, strict=True):
            assert value.shape == other.shape
            assert value.numpy().tobytes() == other.numpy().tobytes()


def test_what_comes_from_other_ranks_is_put_where_this_rank_s_own_is() -> None:
    # "meta" stands in for a GPU: it has no numbers, but a place
    item = {"a": torch.zeros(2, device="meta"), "b": (torch.zeros(1), 1.5)}
    a, b = torch.ones(2), torch.ones(1)
    built = rebuilt_like(item, iter([a, b, torch.tensor(2.5)]))
    assert isinstance(built["a"], torch.Tensor)
    assert built["a"].device.type == "meta"
    assert built["b"] == (b, 2.5)


@pytest.mark.parametrize(
    ("name", "local", "here", "expected"),
    [
        ("cpu", "1", "2", "cpu"),
        ("cuda", "0", "3", "cuda:0"),
        ("cuda", "1", "3", "cuda:1"),
        ("cuda", "2", "3", "cuda:0"),
        ("cuda:1", "0", "3", "cuda:1"),
        ("cuda", "0", "1", "cuda"),
    ],
)
def test_each_rank_of_a_machine_has_a_gpu_of_its_own(
    name: str, local: str, here: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for variable, value in (("WORLD_SIZE", "6"), ("LOCAL_WORLD_SIZE", here), ("LOCAL_RANK", local)):
        monkeypatch.setenv(variable, value)
    assert own_device(name) == torch.device(expected)


def test_an_error_of_one_rank_ends_all_with_its_name() -> None:
    def work(ranks: Ranks, culprit: int) -> None:
        with sharing(ranks, slots=0):
            if ranks.rank == culprit:
                raise MetarlError("The sensor is broken.")
            share([1, 2, 3]).map(doubled).gather()

    others, culprit, _ = on_ranks(3, partial(work, culprit=1))
    assert str(culprit) == "The sensor is broken."
    assert str(others) == "Rank 1 failed: The sensor is broken."


def test_a_stop_of_one_rank_stops_all() -> None:
    def work(ranks: Ranks) -> None:
        with sharing(ranks, slots=0):
            if ranks.rank == 2:
                raise Stopped
            ranks.wait_for_all()

    assert all(isinstance(error, Stopped) for error in on_ranks(3, work))


def test_what_one_rank_cannot_open_no_other_opens() -> None:
    def first() -> int:
        raise MetarlError("The folder exists.")

    said = [str(error) for error in on_ranks(2, lambda ranks: ranks.first_then_others(first, lambda: 1))]
    assert said == ["The folder exists.", "Rank 0 failed: The folder exists."]


@pytest.mark.parametrize(("count", "parts"), [(0, [0, 0, 0]), (1, [1, 1, 1]), (5, [2, 2, 1]), (6, [2, 2, 2])])
def test_numbers_for_all_ranks_are_shared_out(count: int, parts: list[int]) -> None:
    assert on_ranks(3, lambda ranks: ranks.of_count(count)) == parts


def test_a_rank_has_slots_for_its_largest_share() -> None:
    # 20 tasks of 10 episodes, or 66 of 3, on 3 ranks: 7 tasks of 10, or 22 of 3
    assert on_ranks(3, lambda ranks: slots_here(ranks, 200, (10, 3))) == [70, 70, 70]
    assert slots_here(None, 200, (10, 3)) == 200
