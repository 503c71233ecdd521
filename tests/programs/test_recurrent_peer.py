"""RL² beside another package: what is said where the package is missing or ends."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from metarl.errors import MetarlError

ANSWERS = """
import json, sys
print(json.dumps({"versions": {"jax": "1.2"}}), flush=True)
for answer in ({"sampling": 3.0, "update": 4.0},):
    sys.stdin.readline()
    print(json.dumps(answer), flush=True)
sys.exit("out of memory")
"""


@pytest.fixture
def program(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(root))
    return importlib.import_module("benchmarks.speed.recurrent_peer")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "metaworld_algorithms").mkdir()
    return tmp_path


def test_iterations_of_the_peer_are_its_own_seconds_until_it_ends(
    program: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(ANSWERS)
    monkeypatch.setattr(program, "WORKER", worker)
    with program.peer(checkout, Path(sys.executable), program.Work()) as (versions, iterate):
        assert versions == "jax 1.2"
        assert next(iterate) == {"sampling": 3.0, "update": 4.0}
        with pytest.raises(MetarlError, match="metaworld-algorithms ended: out of memory"):
            next(iterate)


def test_missing_peer_is_one_sentence(program: ModuleType, checkout: Path) -> None:
    with pytest.raises(MetarlError, match="Expected a checkout"):
        program.main(checkout / "elsewhere", Path(sys.executable))
    with pytest.raises(MetarlError, match="Expected a Python interpreter, got /no/python"):
        program.main(checkout, Path("/no/python"))
    # this interpreter has nothing of the peer's
    with pytest.raises(MetarlError, match="does not run metaworld-algorithms: ModuleNotFoundError"):
        program.main(checkout, Path(sys.executable))
    with pytest.raises(MetarlError, match="Expected tasks in tens"):
        program.main(checkout, Path(sys.executable), work=program.Work(tasks=7))


def test_peer_has_a_minibatch_for_each_whole_chunk(program: ModuleType) -> None:
    # chunks of 250 steps that overlap by 50 begin at 0, 200, 400, 600; one at 800 would end after step 1000
    assert program.Work(episodes=2, horizon=500).chunks == 4
    assert program.alike(program.Work()).minibatches == 4


def test_ratios_are_those_of_a_repeat(program: ModuleType) -> None:
    found = {
        program.PEER: [{"sampling": 6.0, "update": 4.0, program.PROCESSORS: 18.0}],
        program.ALIKE: [{"sampling": 1.0, "update": 3.0, program.PROCESSORS: 6.0}],
    }
    table = program.table(found, program.Work())
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    # 20,000 env steps in 10 s and in 4 s
    assert rows[0][3:] == ("2,000 [2,000, 2,000]", "1.0 [1.0, 1.0]", "1.0 [1.0, 1.0]")
    assert rows[1][3:] == ("5,000 [5,000, 5,000]", "2.5 [2.5, 2.5]", "3.0 [3.0, 3.0]")
