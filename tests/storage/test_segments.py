"""Segments are written once, are whole or absent, and go with the last checkpoint that needs them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.errors import MetarlError
from metarl.storage import segments as segment_files
from metarl.storage.checkpoint_files import Checkpoint, DamagedCheckpoint
from metarl.storage.checkpoints import drop_later, load, load_newest, save
from metarl.types import Segment, State


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def block(number: float, size: int = 5) -> Segment:
    return Segment(lambda: {"rewards": torch.full((size,), number)})


def make(iteration: int, segments: tuple[Segment, ...]) -> Checkpoint:
    agent = State({"w": torch.tensor(float(iteration))}, {}, segments)
    return Checkpoint(iteration, {}, agent, {"i": iteration})


def numbers(checkpoint: Checkpoint) -> list[float]:
    """Return the first number of each segment."""
    return [float(segment.tensors()["rewards"][0]) for segment in checkpoint.agent.segments]


def stored(run: Path) -> set[str]:
    return {path.name for path in (run / "segments").iterdir()}


@pytest.fixture
def growing(tmp_path: Path) -> list[Path]:
    """Save three checkpoints, each with one segment more; the first has none."""
    blocks = (block(1.0), block(2.0))
    return [save(tmp_path / "checkpoints", make(n, blocks[:n]), keep=3) for n in range(3)]


def unheard(sentence: str) -> None:
    pytest.fail(f"nothing was to be reported, but: {sentence}")


def test_segments_come_back_in_order(growing: list[Path]) -> None:
    assert [numbers(load(path)) for path in growing] == [[], [1.0], [1.0, 2.0]]


def test_segment_is_written_once(growing: list[Path], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "segments").iterdir()}
    checkpoint = load(growing[2])
    save(tmp_path / "checkpoints", replace(checkpoint, iteration=3), keep=3)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "segments").iterdir()} == before
    assert len(before) == 2


def test_file_is_named_by_its_sum(growing: list[Path], tmp_path: Path) -> None:
    names = {f"{segment.sha256}.safetensors" for segment in load(growing[2]).agent.segments}
    assert stored(tmp_path) == names


def test_segment_goes_with_the_last_checkpoint_that_needs_it(tmp_path: Path) -> None:
    blocks = [block(float(n)) for n in range(4)]
    for n, part in enumerate(blocks):
        save(tmp_path / "checkpoints", make(n, (part,)), keep=2)
    assert stored(tmp_path) == {f"{part.sha256}.safetensors" for part in blocks[2:]}


def test_later_segments_go_when_a_run_goes_back(growing: list[Path], tmp_path: Path) -> None:
    kept = load(growing[1]).agent.segments[0]
    drop_later(tmp_path / "checkpoints", 1)
    assert stored(tmp_path) == {f"{kept.sha256}.safetensors"}


def test_copied_checkpoint_keeps_its_segments(growing: list[Path], tmp_path: Path) -> None:
    best = growing[2].rename(tmp_path / "checkpoints" / "best")
    save(tmp_path / "checkpoints", make(5, ()), keep=1)
    assert numbers(load(best)) == [1.0, 2.0]


def test_other_files_beside_segments_stay(growing: list[Path], tmp_path: Path) -> None:
    mine = tmp_path / "segments" / "mine.safetensors"
    mine.write_bytes(b"mine")
    save(tmp_path / "checkpoints", make(5, ()), keep=1)
    assert stored(tmp_path) == {mine.name}


def test_agent_without_segments_makes_no_folder_and_keeps_its_format(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", make(1, ()), keep=1)
    state = (path / "state.json").read_text()
    assert '"format": 1' in state
    assert "segments" not in state
    assert [found.name for found in tmp_path.iterdir()] == ["checkpoints"]


def test_segments_are_read_when_they_are_asked_for(growing: list[Path], tmp_path: Path) -> None:
    for path in (tmp_path / "segments").iterdir():
        path.unlink()
    checkpoint = load(growing[2], with_segments=False)
    assert checkpoint.agent.tensors["w"] == 2
    with pytest.raises(MetarlError, match=r"The run's .*segments/[0-9a-f]{64}\.safetensors cannot be read"):
        checkpoint.agent.segments[0].tensors()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_damaged_segment_is_one_sentence_and_the_checkpoint_before_is_used(
    growing: list[Path], tmp_path: Path
) -> None:
    newest = load(growing[2]).agent.segments[1].sha256
    flip(tmp_path / "segments" / f"{newest}.safetensors")
    words = "is not what was saved"
    with pytest.raises(DamagedCheckpoint, match=rf"00000002 is damaged \(its segment {newest[:12]} {words}"):
        load(growing[2])
    heard: list[str] = []
    assert numbers(load_newest(tmp_path / "checkpoints", heard.append)) == [1.0]
    assert len(heard) == 1


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("lose", "problem"),
    [
        (Path.unlink, "No such file or directory"),
        (make_folder, "it is a folder"),
        (link_to_itself, "Too many levels of symbolic links"),
    ],
)
def test_missing_segment_is_refused_as_it_may_be_elsewhere(
    growing: list[Path], tmp_path: Path, lose: Callable[[Path], None], problem: str
) -> None:
    lost = tmp_path / "segments" / f"{load(growing[2]).agent.segments[1].sha256}.safetensors"
    lose(lost)
    with pytest.raises(MetarlError) as refused:
        load_newest(tmp_path / "checkpoints", unheard)
    assert str(refused.value) == (
        f"The checkpoint {growing[2]} needs {lost}, which cannot be read ({problem}); put it back from where "
        "the run was copied, or go back to an earlier checkpoint, which deletes those after it: "
        f"metarl train --resume {growing[1]}."
    )
    assert numbers(load(growing[1])) == [1.0]


def test_missing_folder_of_segments_is_refused_by_name(growing: list[Path], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "segments")
    with pytest.raises(MetarlError, match=rf"needs {tmp_path}/segments, which .*--resume {growing[0]}\.$"):
        load_newest(tmp_path / "checkpoints", unheard)


def test_folder_at_the_name_of_an_unneeded_segment_stays(growing: list[Path], tmp_path: Path) -> None:
    make_folder(tmp_path / "segments" / f"{load(growing[2]).agent.segments[1].sha256}.safetensors")
    drop_later(tmp_path / "checkpoints", 1)
    assert numbers(load_newest(tmp_path / "checkpoints", unheard)) == [1.0]


def test_resumed_run_mends_a_damaged_segment(growing: list[Path], tmp_path: Path) -> None:
    flip(tmp_path / "segments" / f"{load(growing[2]).agent.segments[1].sha256}.safetensors")
    resumed = load_newest(tmp_path / "checkpoints", lambda _: None).agent.segments
    path = save(tmp_path / "checkpoints", make(2, (*resumed, block(2.0))), keep=3)
    assert numbers(load(path)) == [1.0, 2.0]


@pytest.mark.parametrize("names", ['"x"', '["../../secret"]', "[3]", "{}"])
def test_names_that_are_no_sums_are_damage(tmp_path: Path, names: str) -> None:
    path = save(tmp_path / "checkpoints", make(1, (block(1.0),)), keep=1)
    text = (path / "state.json").read_text()
    body = text[text.index('"state": ') + 9 : -2]
    start = body.index('"segments": ') + 12
    body = body[:start] + names + body[body.index("]", start) + 1 :]
    digest = segment_files.sha256(body.encode())
    (path / "state.json").write_text(f'{{"sha256": "{digest}", "state": {body}}}\n')
    with pytest.raises(DamagedCheckpoint, match="names no segments"):
        load(path)


def steps_of_a_save(run: Path, monkeypatch: pytest.MonkeyPatch, die_at: int) -> int:
    """Save one more checkpoint, dying before step ``die_at``; return how many steps came before, or -1."""
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
            save(run / "checkpoints", make(2, (block(1.0), block(2.0))), keep=1)
        except Killed:
            return done
    return -1


def test_kill_between_any_two_steps_leaves_a_checkpoint_with_its_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for die_at in range(1000):
        run = tmp_path / str(die_at)
        save(run / "checkpoints", make(1, (block(0.0), block(1.0))), keep=1)
        done = steps_of_a_save(run, monkeypatch, die_at)
        newest = load_newest(run / "checkpoints", unheard)
        assert numbers(newest) == [newest.iteration - 1.0, newest.iteration]
        save(run / "checkpoints", make(4, (block(4.0),)), keep=1)  # the resumed run leaves nothing behind
        assert len(list((run / "segments").glob("*.safetensors"))) == 1
        if done < 0:
            assert die_at > 20
            return
    pytest.fail("saving never came to an end")


def test_full_disk_is_one_sentence_with_the_whole_size_and_leaves_no_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(tmp_path / "checkpoints", make(1, (block(1.0),)), keep=1)
    before = stored(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            MetarlError, match=r"No disk space .*00000002, which needs 4\.00\d MB; checkpoint 0"
        ):
            save(tmp_path / "checkpoints", make(2, (block(2.0, size=1_000_000),)), keep=1)
    assert stored(tmp_path) == before
    assert numbers(load_newest(tmp_path / "checkpoints", unheard)) == [1.0]
