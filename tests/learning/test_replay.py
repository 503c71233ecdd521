"""The replay buffer gives back what was put in, and its snapshots never change."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from metarl.errors import MetarlError
from metarl.learning import replay_blocks
from metarl.learning.replay import ReplayBuffer
from metarl.storage.checkpoint_files import Checkpoint
from metarl.storage.checkpoints import load, save
from metarl.types import Params, Rollout, Segment, State, Task
from support.tiny import random_rollout

TASKS = [Task("family", (float(n),), f"task-{n}") for n in range(6)]


@dataclass
class Step:
    """One step as a loop over episodes finds it."""

    observation: torch.Tensor
    action: torch.Tensor
    reward: float
    next_observation: torch.Tensor
    terminated: bool


def trials_of(rollouts: list[Rollout], m: int) -> list[list[list[Step]]]:
    """Return trials, episodes and steps of a task, by loops."""
    trials = []
    for k in range(rollouts[0].mask.shape[1]):
        episodes = []
        for rollout in rollouts:
            last = int(rollout.mask[m, k].sum()) - 1
            episodes.append(
                [
                    Step(
                        rollout.observations[m, k, t],
                        rollout.actions[m, k, t],
                        float(rollout.rewards[m, k, t]),
                        rollout.final_observations[m, k] if t == last else rollout.observations[m, k, t + 1],
                        bool(rollout.terminated[m, k, t]),
                    )
                    for t in range(last + 1)
                ]
            )
        trials.append(episodes)
    return trials


def addition(seed: int, episodes: int = 1) -> list[Rollout]:
    """Return rollouts of three tasks, two trials each."""
    return [random_rollout(100 * seed + n, dtype=torch.float32) for n in range(episodes)]


def filled(seeds: range, capacity: int = 10_000) -> ReplayBuffer:
    """Return a buffer with trials of two episodes; every second addition is of other tasks."""
    buffer = ReplayBuffer(capacity)
    for seed in seeds:
        buffer.add(TASKS[:3] if seed % 2 == 0 else TASKS[3:], addition(seed, 2))
    return buffer


def content(segments: tuple[Segment, ...]) -> list[Params]:
    return [{name: value.clone() for name, value in part.tensors().items()} for part in segments]


def equal(ours: list[Params], theirs: list[Params]) -> bool:
    return len(ours) == len(theirs) and all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize(("newest", "seeds"), [(0, (0, 2, 4)), (1, (4,)), (2, (2, 4)), (9, (0, 2, 4))])
def test_drawn_steps_are_those_of_a_loop(newest: int, seeds: tuple[int, ...]) -> None:
    buffer = filled(range(6))
    drawn = buffer.sample(TASKS[:3], 50, np.random.default_rng(0), newest=newest)
    trials = [[trial for seed in seeds for trial in trials_of(addition(seed, 2), m)] for m in range(3)]
    steps = [[step for trial in own for episode in trial for step in episode] for own in trials]
    places = np.random.default_rng(0).integers([[len(own)] for own in steps], size=(3, 50))
    for m in range(3):
        for b, place in enumerate(places[m]):
            step = steps[m][place]
            assert torch.equal(drawn.observations[m, b], step.observation)
            assert torch.equal(drawn.actions[m, b], step.action)
            assert float(drawn.rewards[m, b]) == step.reward
            assert torch.equal(drawn.next_observations[m, b], step.next_observation)
            assert bool(drawn.terminated[m, b]) == step.terminated


def test_terminated_and_truncated_ends_are_told_apart() -> None:
    buffer = ReplayBuffer(1000)
    rollout = addition(0)[0]
    buffer.add(TASKS[:3], [rollout])
    drawn = buffer.sample(TASKS[:3], 500, np.random.default_rng(0))
    after, ended = drawn.next_observations.flatten(0, 1), drawn.terminated.flatten()
    ends = {tuple(row.tolist()): bool(end) for row, end in zip(after, ended, strict=True)}
    for m, k in itertools.product(range(3), range(2)):
        final = tuple(rollout.final_observations[m, k].tolist())
        assert ends[final] == bool(rollout.terminated[m, k].any())
    assert rollout.truncated.any()
    assert rollout.terminated.any()


@pytest.mark.parametrize("tasks", [TASKS[1:3], None])
def test_drawn_trials_are_those_of_a_loop(tasks: list[Task] | None) -> None:
    buffer = filled(range(4))
    drawn = buffer.sample_trials(7, np.random.default_rng(3), tasks=tasks)
    if tasks is None:
        known = [[trial for seed in range(4) for m in range(3) for trial in trials_of(addition(seed, 2), m)]]
    else:
        known = [[trial for seed in (0, 2) for trial in trials_of(addition(seed, 2), m)] for m in (1, 2)]
    rng = np.random.default_rng(3)
    for m, trials in enumerate(known):
        for n, place in enumerate(rng.integers(0, len(trials), size=7)):
            steps = [step for episode in trials[place] for step in episode]
            starts = [t == 0 for episode in trials[place] for t in range(len(episode))]
            live = len(steps)
            assert drawn.mask[m, n].tolist() == [t < live for t in range(drawn.mask.shape[2])]
            assert drawn.episode_starts[m, n, :live].tolist() == starts
            assert torch.equal(drawn.observations[m, n, :live], torch.stack([s.observation for s in steps]))
            assert torch.equal(drawn.actions[m, n, :live], torch.stack([s.action for s in steps]))
            assert drawn.rewards[m, n, :live].tolist() == [s.reward for s in steps]
            after = torch.stack([s.next_observation for s in steps])
            assert torch.equal(drawn.next_observations[m, n, :live], after)
            assert drawn.terminated[m, n, :live].tolist() == [s.terminated for s in steps]
            assert all(not value[m, n, live:].any() for value in drawn)


def test_newest_trials_are_of_the_newest_additions() -> None:
    buffer = filled(range(6))
    newest = buffer.sample_trials(40, np.random.default_rng(0), tasks=TASKS[:1], newest=1)
    first = {tuple(trial[0][0].observation.tolist()) for trial in trials_of(addition(4, 2), 0)}
    assert {tuple(row.tolist()) for row in newest.observations[0, :, 0]} == first


def test_each_step_is_as_likely_as_every_other() -> None:
    buffer = filled(range(2))
    drawn = buffer.sample(TASKS[:1], 40_000, np.random.default_rng(0)).rewards.flatten()
    _, counts = drawn.unique(return_counts=True)
    share = 1 / sum(len(episode) for trial in trials_of(addition(0, 2), 0) for episode in trial)
    # six standard errors of a share
    assert (counts / 40_000 - share).abs().max() < 6 * (share * (1 - share) / 40_000) ** 0.5


def test_oldest_steps_go_and_the_newest_stay() -> None:
    buffer = filled(range(30), capacity=200)
    assert 200 * 7 / 8 - 72 <= buffer.num_steps <= 200
    whole = filled(range(30))
    newest = buffer.sample_trials(20, np.random.default_rng(0), tasks=TASKS[3:], newest=1)
    same = whole.sample_trials(20, np.random.default_rng(0), tasks=TASKS[3:], newest=1)
    assert all(torch.equal(one, other) for one, other in zip(newest, same, strict=True))


def test_task_leaves_with_its_last_segment() -> None:
    buffer = ReplayBuffer(100)
    buffer.add(TASKS[3:], addition(0))
    assert buffer.task_ids == ["task-3", "task-4", "task-5"]
    while "task-3" in buffer.task_ids:
        buffer.add(TASKS[:3], addition(1))
    assert buffer.task_ids == ["task-0", "task-1", "task-2"]
    with pytest.raises(MetarlError, match="Expected steps of task 'task-3' in the replay buffer, got none"):
        buffer.sample(TASKS[3:4], 1, np.random.default_rng(0))


def test_addition_larger_than_the_capacity_stays_whole() -> None:
    buffer = ReplayBuffer(5)
    for seed in range(3):
        buffer.add(TASKS[:3], addition(seed))
    assert buffer.num_steps == int(addition(2)[0].mask.sum())


def test_snapshot_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl.learning.replay.SEGMENT_BYTES", 3000)
    buffer = ReplayBuffer(400)
    taken: list[tuple[tuple[Segment, ...], list[Params]]] = []
    for seed in range(40):
        buffer.add(TASKS[:3], addition(seed, 2))
        segments = buffer.state().segments
        taken.append((segments, content(segments)))
    assert all(equal(content(segments), then) for segments, then in taken)


def test_closed_segments_are_the_same_objects_in_later_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl.learning.replay.SEGMENT_BYTES", 3000)
    buffer = filled(range(10))
    before = buffer.state().segments
    buffer.add(TASKS[:3], addition(99))
    after = buffer.state().segments
    assert after[: len(before) - 1] == before[:-1]
    assert len(before) > 3


def test_small_additions_share_a_segment() -> None:
    buffer = ReplayBuffer(10**6)
    for seed in range(200):
        buffer.add(TASKS[:3], addition(seed))
    assert len(buffer.state().segments) == 1


@pytest.mark.parametrize("loaded_after", [1, 5, 8, 19])
def test_loaded_buffer_goes_on_as_if_it_had_never_stopped(
    monkeypatch: pytest.MonkeyPatch, loaded_after: int
) -> None:
    monkeypatch.setattr("metarl.learning.replay.SEGMENT_BYTES", 3000)
    unbroken, resumed = filled(range(loaded_after), 300), ReplayBuffer(300)
    resumed.load_state(State({}, {}, unbroken.state().segments))
    for buffer in (unbroken, resumed):
        for seed in range(loaded_after, 20):
            buffer.add(TASKS[:3] if seed % 2 == 0 else TASKS[3:], addition(seed, 2))
    ours, theirs = (content(buffer.state().segments) for buffer in (unbroken, resumed))
    assert equal(ours, theirs)
    draws = [buffer.sample_trials(9, np.random.default_rng(0)) for buffer in (unbroken, resumed)]
    assert all(torch.equal(one, other) for one, other in zip(*draws, strict=True))


def test_saved_buffer_comes_back_and_writes_its_closed_segments_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("metarl.learning.replay.SEGMENT_BYTES", 3000)
    buffer, files = ReplayBuffer(10_000), set[str]()
    for seed in range(20):
        buffer.add(TASKS[:3], addition(seed, 2))
        path = save(tmp_path / "checkpoints", Checkpoint(seed, {}, buffer.state(), {}), keep=1)
        files |= {file.name for file in (tmp_path / "segments").iterdir()}
    other = ReplayBuffer(10_000)
    other.load_state(load(path).agent)
    assert other.num_steps == buffer.num_steps
    assert equal(content(other.state().segments), content(buffer.state().segments))
    assert len(files) == 20  # one of each checkpoint, closed or not


def test_loading_reads_nothing_until_the_buffer_is_used() -> None:
    def refuse() -> Params:
        raise MetarlError("It was read.")

    buffer, saved = ReplayBuffer(100), Segment(refuse, "sum")
    buffer.load_state(State({}, {}, (saved,)))
    assert buffer.state().segments == (saved,)
    with pytest.raises(MetarlError, match=r"It was read\."):
        buffer.add(TASKS[:3], addition(0))


def test_segment_of_something_else_is_refused() -> None:
    buffer = ReplayBuffer(100)
    buffer.load_state(State({}, {}, (Segment(lambda: {"w": torch.zeros(1)}),)))
    with pytest.raises(MetarlError, match=r"Expected a replay segment with .*, got one with \['w'\]"):
        buffer.sample(TASKS[:1], 1, np.random.default_rng(0))


@pytest.mark.parametrize(("name", "change"), [("rewards", 0), ("length", 1), ("length", -9), ("task", 7)])
def test_segment_that_does_not_fit_together_is_refused(name: str, change: int) -> None:
    tensors = filled(range(1)).state().segments[0].tensors()
    changed = tensors[name] + change if change else tensors[name][1:]
    with pytest.raises(MetarlError, match="must fit together"):
        replay_blocks.unpack({**tensors, name: changed})


@pytest.mark.gpu
def test_buffer_on_a_gpu_draws_what_one_on_the_cpu_draws() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    host, device = ReplayBuffer(300), ReplayBuffer(300, device="cuda")
    for buffer in (host, device):
        for seed in range(10):
            buffer.add(TASKS[:3], addition(seed, 2))
    draws = [buffer.sample_trials(9, np.random.default_rng(0)) for buffer in (host, device)]
    assert all(torch.equal(one, other.cpu()) for one, other in zip(*draws, strict=True))


def test_task_that_comes_twice_in_a_meta_batch_keeps_both() -> None:
    buffer = ReplayBuffer(1000)
    rollout = addition(0)[0]
    buffer.add([TASKS[0], TASKS[1], TASKS[0]], [rollout])
    for newest in (0, 1):
        drawn = buffer.sample(TASKS[:1], 1000, np.random.default_rng(0), newest=newest)
        assert set(drawn.rewards[0].tolist()) == set(rollout.rewards[[0, 2]][rollout.mask[[0, 2]]].tolist())
