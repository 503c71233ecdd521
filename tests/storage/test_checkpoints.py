"""Checkpoints are whole or absent, whatever happens to the process, the disk or the bytes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.errors import MetarlError
from metarl.storage import checkpoints
from metarl.storage.checkpoint_files import Checkpoint, DamagedCheckpoint
from metarl.storage.checkpoints import drop_later, load, load_newest, save
from metarl.types import Json, State

FILES = ("weights.safetensors", "state.json")


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it, so nothing is tidied up."""


def make(iteration: int, size: int = 5) -> Checkpoint:
    return Checkpoint(
        iteration=iteration,
        config={"seed": 3, "suite": {"kind": "point"}, "name": "ö"},
        agent=State({"w": torch.full((size,), float(iteration))}, {"updates": iteration, "lr": 0.1}),
        progress={"env_steps": 100 * iteration, "elapsed_seconds": 0.1 + iteration, "rng": 2**127 + 1},
    )


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints are equal, tensors bit for bit."""
    ours, theirs = one.agent.tensors, other.agent.tensors
    return (
        (one.iteration, one.config, one.progress, one.agent.values)
        == (other.iteration, other.config, other.progress, other.agent.values)
        and ours.keys() == theirs.keys()
        and all(bits(ours[name]) == bits(theirs[name]) for name in ours)
    )


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    raw = tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)
    return tensor.dtype, tensor.shape, raw.numpy().tobytes()


def unheard(sentence: str) -> None:
    pytest.fail(f"nothing was to be reported, but: {sentence}")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill_disk(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let every fsync fail as on a full disk."""

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)


# What comes back


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        torch.tensor([1.5, -0.0, float("nan"), float("inf"), 1e-45]),
        torch.tensor(7),
        torch.tensor(0.25),
        torch.empty(0),
        torch.empty(2, 0, 3, dtype=torch.int32),
        torch.tensor([True, False]),
        torch.arange(5, dtype=torch.uint8),
        torch.tensor([2**62 + 1, -1]),
        torch.tensor([1.0, 3.14], dtype=torch.bfloat16),
        torch.tensor([1.0, 3.14], dtype=torch.float16),
        torch.arange(6.0).reshape(2, 3).T,
        torch.arange(10.0)[::3],
        torch.tensor(2.0).expand(4),
        torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        torch.ones(2, requires_grad=True),
        torch.Generator().manual_seed(4).get_state(),
    ],
    ids=lambda tensor: f"{str(tensor.dtype)[6:]}-{tuple(tensor.shape)}-{tensor.stride()}",
)
def test_tensor_comes_back_bit_for_bit(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = save(tmp_path, replace(make(1), agent=State({"x": tensor}, {})), keep=1)
    assert bits(load(path).agent.tensors["x"]) == bits(tensor.detach())


def test_tensors_that_share_memory_come_back_apart(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    path = save(tmp_path, replace(make(1), agent=State({"a": base, "b": base[2:], "c": base}, {})), keep=1)
    found = load(path).agent.tensors
    assert [found[name].tolist() for name in "abc"] == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    found["a"].zero_()
    assert found["c"][1] == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(values=st.dictionaries(st.text(), json_values, max_size=4))
def test_json_comes_back_exactly(values: dict[str, Json], tmp_path_factory: pytest.TempPathFactory) -> None:
    checkpoint = Checkpoint(3, values, State({}, values), values)
    assert repr(load(save(tmp_path_factory.mktemp("run"), checkpoint, keep=1))) == repr(checkpoint)


def test_saving_leaves_the_agents_tensors_alone(tmp_path: Path) -> None:
    weights = torch.arange(6.0).reshape(2, 3).T
    save(tmp_path, replace(make(1), agent=State({"x": weights}, {})), keep=1)
    assert weights.stride() == (1, 3)


def test_state_is_json_that_names_the_versions(tmp_path: Path) -> None:
    state = json.loads((save(tmp_path, make(1), keep=1) / "state.json").read_text())["state"]
    assert state["versions"]["torch"] == torch.__version__
    assert {"metarl", "numpy", "mujoco", "metaworld"} <= state["versions"].keys()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_that_is_not_finite_is_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(MetarlError, match="iteration 1 must hold finite numbers"):
        save(tmp_path, replace(make(1), progress={"best": number}), keep=1)
    assert names(tmp_path) == []


# Which ones stay


def test_newest_checkpoints_stay(tmp_path: Path) -> None:
    for iteration in range(1, 8):
        save(tmp_path, make(iteration), keep=3)
    assert names(tmp_path) == ["00000005", "00000006", "00000007"]


def test_newest_is_by_number_and_not_by_name(tmp_path: Path) -> None:
    for iteration in (9, 10, 100, 99_999_999, 100_000_000):
        save(tmp_path, make(iteration), keep=9)
    assert load_newest(tmp_path, unheard).iteration == 100_000_000


def test_same_iteration_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, make(4), keep=2)
    again = replace(make(4), progress={"env_steps": 1})
    save(tmp_path, again, keep=2)
    assert names(tmp_path) == ["00000004"]
    assert same(load_newest(tmp_path, unheard), again)


def test_going_back_drops_the_abandoned_future(tmp_path: Path) -> None:
    for iteration in (10, 20, 30, 40):
        save(tmp_path, make(iteration), keep=4)
    save(tmp_path, make(21), keep=2)
    assert names(tmp_path) == ["00000020", "00000021"]


def test_later_ones_are_dropped_beside_what_a_kill_left_of_writing_them_again(tmp_path: Path) -> None:
    for iteration in (20, 40):
        save(tmp_path, make(iteration), keep=2)
    shutil.copytree(tmp_path / "00000040", tmp_path / "00000040.tmp")
    drop_later(tmp_path, 20)
    assert names(tmp_path) == ["00000020"]


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "best").mkdir()
    for iteration in range(3):
        save(tmp_path, make(iteration), keep=1)
    assert names(tmp_path) == ["00000002", "best", "notes.txt"]


def test_renamed_checkpoint_loads(tmp_path: Path) -> None:
    path = save(tmp_path, make(4), keep=1).rename(tmp_path / "best")
    assert same(load(path), make(4))


# Damage


def flip(file: Path, index: int, mask: int) -> None:
    data = bytearray(file.read_bytes())
    data[index] ^= mask
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_byte_is_damage(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, make(1), keep=1)
    whole = (path / name).read_bytes()
    draws = random.Random(0)
    for index in range(len(whole)):
        flip(path / name, index, 1 << draws.randrange(8))
        with pytest.raises(DamagedCheckpoint):
            load(path)
        (path / name).write_bytes(whole)
    assert same(load(path), make(1))


@pytest.mark.parametrize("name", FILES)
def test_any_other_length_is_damage(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, make(1), keep=1)
    whole = (path / name).read_bytes()
    for data in [whole[:length] for length in range(len(whole))] + [whole + b"\0", whole + b"\n"]:
        (path / name).write_bytes(data)
        with pytest.raises(DamagedCheckpoint):
            load(path)


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_damage(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, make(1), keep=1)
    (path / name).unlink()
    with pytest.raises(DamagedCheckpoint, match=f"{name} cannot be read: No such file"):
        load(path)


def test_swapped_weights_are_damage(tmp_path: Path) -> None:
    one, two = (save(tmp_path, make(iteration), keep=2) for iteration in (1, 2))
    (one / FILES[0]).write_bytes((two / FILES[0]).read_bytes())
    with pytest.raises(DamagedCheckpoint, match=r"weights\.safetensors is not what was saved"):
        load(one)


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match=r"There is no checkpoint .*00000009"):
        load(tmp_path / "00000009")


def test_damaged_checkpoints_are_reported_and_the_one_before_is_used(tmp_path: Path) -> None:
    paths = [save(tmp_path, make(iteration), keep=3) for iteration in (1, 2, 3)]
    flip(paths[2] / FILES[0], -1, 1)
    (paths[1] / FILES[1]).write_bytes(b"")
    told: list[str] = []
    assert same(load_newest(tmp_path, told.append), make(1))
    assert [sentence.split(" is damaged")[0] for sentence in told] == [
        f"The checkpoint {paths[2]}",
        f"The checkpoint {paths[1]}",
    ]


def test_no_whole_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    for iteration in (1, 2):
        flip(save(tmp_path, make(iteration), keep=2) / FILES[0], -1, 1)
    with pytest.raises(MetarlError, match=r"None of the 2 checkpoints in .* is whole"):
        load_newest(tmp_path, lambda _: None)


@pytest.mark.parametrize("folder", ["", "missing"])
def test_no_checkpoint_is_one_sentence(tmp_path: Path, folder: str) -> None:
    with pytest.raises(MetarlError, match="There is no checkpoint in"):
        load_newest(tmp_path / folder, unheard)


def test_checkpoint_that_vanishes_while_it_is_read_is_not_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, make(1), keep=1)
    really_load = checkpoints.load

    def slow(path: Path, *, with_segments: bool) -> Checkpoint:
        if path.name == "00000001":
            save(tmp_path, make(2), keep=1)  # the run goes on meanwhile
        return really_load(path, with_segments=with_segments)

    monkeypatch.setattr(checkpoints, "load", slow)
    assert same(load_newest(tmp_path, unheard), make(2))


# Strangers' checkpoints


def forge(path: Path, state: object, weights: bytes) -> None:
    """Write a checkpoint with good checksums, whatever is in it."""
    path.mkdir()
    (path / FILES[0]).write_bytes(weights)
    if isinstance(state, dict):
        state = {"weights_sha256": hashlib.sha256(weights).hexdigest(), **state}
    body = json.dumps(state).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    (path / FILES[1]).write_bytes(b'{"sha256": "%s", "state": %s}\n' % (digest, body))


GOOD: dict[str, Json] = {"format": 1, "iteration": 5, "config": {}, "agent": {}, "progress": {}}
BAD: tuple[Json, ...] = (None, "x", [])
GOOD_WEIGHTS = safetensors.torch.save({"x": torch.zeros(2)})


def test_format_is_what_it_was(tmp_path: Path) -> None:
    forge(tmp_path / "old", GOOD, GOOD_WEIGHTS)
    assert load(tmp_path / "old").iteration == 5


@pytest.mark.parametrize(
    "state",
    [[], 3, *(GOOD | {name: bad} for name in GOOD if name != "format" for bad in BAD)],
)
def test_state_of_another_shape_is_damage(tmp_path: Path, state: object) -> None:
    forge(tmp_path / "bad", state, GOOD_WEIGHTS)
    with pytest.raises(DamagedCheckpoint):
        load(tmp_path / "bad")


def header(tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.",
        b"\xff" * 16,
        header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}) + bytes(8),
        header({"x": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}) + bytes(8),
        header({"x": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 8]}}) + bytes(8),
        header({"x": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}) + bytes(8),
        header({"x": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}}) + bytes(8),
        header({"x": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}) + bytes(8),
        header([]),
    ],
)
def test_weights_that_are_no_tensors_are_damage(tmp_path: Path, weights: bytes) -> None:
    forge(tmp_path / "bad", GOOD, weights)
    with pytest.raises(DamagedCheckpoint, match=r"weights\.safetensors cannot be read"):
        load(tmp_path / "bad")


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b'{"format": %s}' % (b"9" * 5000), b"\xff"])
def test_body_that_is_no_json_is_damage(tmp_path: Path, body: bytes) -> None:
    path = save(tmp_path, make(1), keep=1)
    digest = hashlib.sha256(body).hexdigest().encode()
    (path / FILES[1]).write_bytes(b'{"sha256": "%s", "state": %s}\n' % (digest, body))
    with pytest.raises(DamagedCheckpoint, match="is not JSON"):
        load(path)


def test_another_format_is_named_and_not_passed_over(tmp_path: Path) -> None:
    save(tmp_path, make(1), keep=2)
    forge(tmp_path / "00000002", {"format": 3}, b"")
    with pytest.raises(MetarlError, match=r"has format 3, and this version of metarl .* 1 and 2") as caught:
        load_newest(tmp_path, unheard)
    assert not isinstance(caught.value, DamagedCheckpoint)


# Killed, or no space


def steps_of_a_save(folder: Path, monkeypatch: pytest.MonkeyPatch, die_at: int) -> int:
    """Save iterations 2 and 2 again, dying before step ``die_at``; return how many steps came before."""
    done = 0

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            nonlocal done
            if done == die_at:
                raise Killed
            done += 1
            return function(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "mkdir", "unlink", "rmdir", "open"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            save(folder, make(2), keep=1)
            save(folder, replace(make(2), progress={"again": True}), keep=1)
        except Killed:
            return done
    return -1


def test_kill_between_any_two_steps_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for die_at in range(1000):
        folder = tmp_path / str(die_at)
        save(folder, make(1), keep=1)
        done = steps_of_a_save(folder, monkeypatch, die_at)
        assert load_newest(folder, unheard).iteration in (1, 2)
        save(folder, make(3), keep=2)  # the run is resumed
        assert {"00000003"} <= set(names(folder)) <= {"00000001", "00000002", "00000003"}
        if done < 0:
            assert die_at > 15
            return
    pytest.fail("saving never came to an end")


def test_contents_are_synced_before_the_name_and_the_name_before_the_old_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, make(1), keep=1)
    events: list[str] = []
    really_sync, really_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        events.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(tmp_path)}")
        really_sync(descriptor)

    def rename(source: Path, target: Path) -> None:
        events.append(f"rename {Path(source).name} {Path(target).name}")
        really_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    save(tmp_path, make(2), keep=1)
    assert events == [
        "sync 00000002.tmp/weights.safetensors",
        "sync 00000002.tmp/state.json",
        "sync 00000002.tmp",
        "rename 00000002.tmp 00000002",
        "sync .",
        "rename 00000001 00000001.tmp",
    ]


KILLS = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import load_newest, save
from metarl.types import State

folder, draws = Path(sys.argv[1]), random.Random(0)

def write(iteration):
    tensors = {"w": torch.full((20_000,), iteration)}
    save(folder, Checkpoint(iteration, {}, State(tensors, {}), {"i": iteration}), keep=2)

def child(first, pipe):
    for iteration in range(first, first + 10_000):
        write(iteration)
        os.write(pipe, b"%d\\n" % iteration)

write(0)
known, damaged, unfinished = 0, [], 0
for _ in range(30):
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        child(known, writing)  # the newest is written again, as by a resumed run
    os.close(writing)
    with os.fdopen(reading) as pipe:
        saved = [int(pipe.readline()) for _ in range(draws.randint(1, 3))]
        time.sleep(draws.uniform(0.0, 0.02))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        saved += [int(line) for line in pipe.read().split()]
    unfinished += any(path.suffix for path in folder.iterdir())
    newest = load_newest(folder, damaged.append)
    assert newest.iteration >= max([known, *saved]), (newest.iteration, known, saved)
    assert bool((newest.agent.tensors["w"] == newest.iteration).all())
    assert newest.progress == {"i": newest.iteration}
    known = newest.iteration
print(json.dumps({"known": known, "damaged": damaged, "unfinished": unfinished}))
"""


def test_sigkill_at_random_moments_never_loses_a_saved_checkpoint(tmp_path: Path, root: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["damaged"] == []
    assert report["known"] > 0  # some saves were finished
    assert report["unfinished"] > 0  # and some were cut off in the middle


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_sentence_and_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    save(tmp_path, make(1), keep=1)
    with monkeypatch.context() as patch:
        fill_disk(patch, number)
        with pytest.raises(
            MetarlError, match=r"No disk space .*00000002, which needs 4\.\d\d\d MB; checkpoint 00000001"
        ):
            save(tmp_path, make(2, size=1_000_000), keep=1)
    assert names(tmp_path) == ["00000001"]
    assert same(load_newest(tmp_path, unheard), make(1))


def test_full_disk_speaks_of_no_later_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for iteration in (1, 4):
        save(tmp_path, make(iteration), keep=2)
    fill_disk(monkeypatch, errno.ENOSPC)
    with pytest.raises(MetarlError, match="; checkpoint 00000001 before it is intact"):
        save(tmp_path, make(2), keep=2)


def test_full_disk_at_the_first_checkpoint_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch, errno.ENOSPC)
    with pytest.raises(MetarlError, match="there is none before it"):
        save(tmp_path, make(0), keep=1)
    assert names(tmp_path) == []


def test_failed_replacement_puts_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, make(1), keep=1)
    really_replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if Path(source).suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        really_replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(MetarlError, match=r"cannot be written \(Input/output error\); checkpoint 00000001"):
        save(tmp_path, replace(make(1), progress={}), keep=1)
    assert names(tmp_path) == ["00000001"]
    assert same(load_newest(tmp_path, unheard), make(1))


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MetarlError, match=r"cannot be written \(Not a directory\)"):
        save(tmp_path / "file" / "checkpoints", make(1), keep=1)
