"""The checker: silent on what keeps its promises, and for every fault there is an environment that has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from metarl.config import construct
from metarl.envs.toy.point import PointTasks, PointVectorEnv
from metarl.plugins import registry
from metarl.plugins.suite_check import check_suite, examine, lists
from metarl.plugins.suite_leaks import shows_which_task
from metarl.tasks import Split
from metarl.types import Task
from metarl.vector_env import Array, check_fits

HORIZON = 8


class Sound(PointVectorEnv):
    """The point suite's environment, which keeps every promise; those below break one each."""


class GoesOn(Sound):
    """Builds what a task does on top of the tasks before."""

    _shift = 0.0

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        before = float(self._tasks[0].parameters[0])
        super().set_tasks(tasks)
        self._shift = 0.1 * before

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        super().reset(**arguments)  # type: ignore[arg-type]  # as they came
        self._goals = np.array([task.parameters for task in self._tasks]) + self._shift
        return self._positions.copy(), {}


class Drifts(Sound):
    """Starts where the slot says."""

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        super().reset(**arguments)  # type: ignore[arg-type]  # as they came
        self._positions[:, 0] = np.arange(self.num_envs)
        return self._positions.copy(), {}


class Noisy(Sound):
    """Has a sensor whose noise no seed repeats."""

    _noise = np.random.default_rng(0)

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        seen, infos = super().reset(**arguments)  # type: ignore[arg-type]  # as they came
        return seen + self._noise.normal(size=seen.shape), infos  # type: ignore[return-value]  # no infos


class Numb(Sound):
    """Has one goal whatever the task."""

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        super().reset(**arguments)  # type: ignore[arg-type]  # as they came
        self._goals[:] = 0.3
        return self._positions.copy(), {}


class Stubborn(Sound):
    """Moves as it likes."""

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Array]]:  # type: ignore[override]  # one type for all
        return super().step(np.full_like(actions, 0.05))  # type: ignore[return-value]  # bools


class Endless(Sound):
    """Never truncates."""

    def __init__(self, distribution: PointTasks, num_envs: int) -> None:
        super().__init__(distribution, num_envs)
        self._horizon = 10**6


class Hasty(Sound):
    """Truncates too early."""

    def __init__(self, distribution: PointTasks, num_envs: int) -> None:
        super().__init__(distribution, num_envs)
        self._horizon = 3


class Changing(Sound):
    """Lets a test change what a step returns."""

    def change(self, result: list[Array]) -> None:
        raise NotImplementedError

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Array]]:  # type: ignore[override]  # one type for all
        *result, infos = super().step(actions)
        parts = [np.array(part) for part in result]
        self.change(parts)
        return (*parts, infos)  # type: ignore[return-value]  # four and one


class Infinite(Changing):
    """Is rewarded without bound."""

    def change(self, result: list[Array]) -> None:
        result[1][:] = np.inf


class Huge(Changing):
    """Is rewarded with more than float32 can hold."""

    def change(self, result: list[Array]) -> None:
        result[1][:] = -1e39


class Outside(Changing):
    """Leaves its space, which the distribution below bounds."""

    def change(self, result: list[Array]) -> None:
        result[0][:] = 7.0


class Single(Changing):
    """Shows single precision."""

    def change(self, result: list[Array]) -> None:
        result[0] = result[0].astype(np.float32)  # type: ignore[assignment]  # that is what is wrong

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        return super().reset(**arguments)[0].astype(np.float32), {}  # type: ignore[arg-type,return-value]  # as above


class BothFlags(Changing):
    """Says terminated and truncated of one step."""

    def change(self, result: list[Array]) -> None:
        result[2] = result[2] | result[3]


class Restless(Changing):
    """Goes on rewarding a slot whose episode is over."""

    def change(self, result: list[Array]) -> None:
        result[1] = result[1] - 1.0


class Sharing(Sound):
    """Returns the array that it goes on writing to."""

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Array]]:  # type: ignore[override]  # one type for all
        _, *rest = super().step(actions)
        return (self._positions, *rest)  # type: ignore[return-value]  # bools

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        super().reset(**arguments)  # type: ignore[arg-type]  # as they came
        return self._positions, {}


class Maskless(Sound):
    """Resets every slot whatever the mask."""

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        return super().reset()  # type: ignore[return-value]  # no infos


class Deaf(Sound):
    """Resets no slot that a mask names."""

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        options = arguments.get("options")
        if isinstance(options, dict) and "reset_mask" in options:
            return self._positions.copy(), {}
        return super().reset(**arguments)  # type: ignore[arg-type,return-value]  # as they came


class Mute(Changing):
    """Says nothing of success."""

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Array]]:  # type: ignore[override]  # one type for all
        return (*super().step(actions)[:4], {})

    def change(self, result: list[Array]) -> None:
        pass


class Greedy(Sound):
    """Takes any number of tasks."""

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        super().set_tasks(tasks[: self.num_envs])


class Raising(Sound):
    """Falls over."""

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Array]]:  # type: ignore[override]  # one type for all
        raise ZeroDivisionError("the wheel came off")


class Telling(Sound):
    """Observes the goal as well."""

    def _told(self, position: Array) -> Array:
        return np.concatenate([position, self._goals], axis=1)

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        return self._told(super().reset(**arguments)[0]), {}  # type: ignore[arg-type]  # as they came

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Array]]:  # type: ignore[override]  # one type for all
        position, *rest = super().step(actions)
        return (self._told(position), *rest)  # type: ignore[return-value]  # bools


class Naming(Telling):
    """Observes which of the listed tasks it is, one-hot."""

    def _told(self, position: Array) -> Array:
        goals = [task.parameters for task in PointTasks().tasks("train")]
        rows = [goals.index(tuple(goal)) if tuple(goal) in goals else 0 for goal in self._goals.tolist()]
        return np.concatenate([position, np.eye(len(goals))[rows]], axis=1)


@dataclass(frozen=True, kw_only=True)
class Tasks(PointTasks):
    """Point tasks in an environment of choice."""

    env: type[PointVectorEnv] = Sound
    bounds: tuple[float, int] = (np.inf, 2)
    horizon: int = HORIZON

    @property
    def observation_space(self) -> Box:
        bound, size = self.bounds
        return Box(-bound, bound, (size,), np.float64)

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> PointVectorEnv:
        return self.env(self, num_envs)


class OtherSpaces(Sound):
    """Has another space than its distribution."""

    def __init__(self, distribution: PointTasks, num_envs: int) -> None:
        super().__init__(distribution, num_envs)
        self.single_action_space = Box(-2.0, 2.0, (2,), np.float64)


class Overlapping(Tasks):
    """Tests on what it trains on."""

    def tasks(self, split: Split) -> tuple[Task, ...]:
        return super().tasks("train")


class SameIds(Tasks):
    """Calls all tasks alike."""

    def tasks(self, split: Split) -> tuple[Task, ...]:
        return tuple(Task(task.family, task.parameters, split) for task in super().tasks(split))


@dataclass(frozen=True, kw_only=True)
class Moody(Tasks):
    """Lists other tasks each time."""

    moods: list[int] = field(default_factory=list)

    def tasks(self, split: Split) -> tuple[Task, ...]:
        self.moods.append(0)
        return super().tasks(split)[: 20 + len(self.moods) % 7]


@dataclass(frozen=True, kw_only=True)
class Whimsical(Tasks):
    """Samples from a generator of its own."""

    own: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        return super().sample(num_tasks, self.own, split)


class Cheating(Tasks):
    """Trains on held-out tasks now and then."""

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        return [*super().sample(num_tasks, rng, split)[1:], self.tasks("test")[0]]


class Instant(Tasks):
    """Has no steps."""

    def __init__(self) -> None:
        super().__init__(horizon=0)


class Worded(Tasks):
    """Shows a dictionary."""

    observation_space = Dict({"x": Discrete(2)})  # type: ignore[assignment]  # that is what is wrong


class Gridded(Tasks):
    """Takes a matrix."""

    action_space = Box(-1, 1, (2, 2))  # type: ignore[assignment]  # that is what is wrong


FAULTS: list[tuple[Callable[[], PointTasks], str]] = [
    (Overlapping, "is also a training task. Take it out"),
    (SameIds, "Two listed tasks have the same id. Give every task"),
    (Moody, "another one each time it is asked for. Draw it once"),
    (Whimsical, "Sampling from the same generator gives different tasks. Let sample draw"),
    (Cheating, "Sampling training tasks gives held-out ones. Draw training tasks"),
    (Worded, "gymnasium.wrappers.FlattenObservation"),
    (Gridded, "gymnasium.wrappers.TransformAction"),
    (Instant, "The horizon is 0. Give the steps"),
    (lambda: Tasks(env=OtherSpaces), "other spaces than the distribution. Give both"),
    (lambda: Tasks(env=Infinite), "is not finite. Find the division"),
    (lambda: Tasks(env=Huge), "step 1, a reward is too large for float32, in which agents compute. Scale"),
    (lambda: Tasks(env=Outside, bounds=(5.0, 2)), "entry 0 is not within -5..5. Widen the bounds"),
    (lambda: Tasks(env=Single), "Observations are float32, their space says float64. Give the Box"),
    (lambda: Tasks(env=GoesOn), "give another episode after other tasks were run. Draw all"),
    (lambda: Tasks(env=Drifts), "in a fresh environment is another one"),
    (lambda: Tasks(env=Numb), "setting a task changes nothing in the environment. Let setting"),
    (lambda: Tasks(env=Stubborn), "Actions have no effect. Let step use"),
    (lambda: Tasks(env=Telling, bounds=(np.inf, 4)), "Observations show the task's parameters"),
    (lambda: Tasks(env=Naming, bounds=(np.inf, 42)), "Observations show which task it is"),
    (lambda: Tasks(env=Endless), "after 8 steps, their horizon, but are later or never. Give"),
    (lambda: Tasks(env=Hasty), "after 8 steps, their horizon, but are at step 3. Give"),
    (lambda: Tasks(env=BothFlags), "says both terminated and truncated. Say terminated alone"),
    (lambda: Tasks(env=Restless), "goes on giving rewards or flags. Disable autoreset"),
    (lambda: Tasks(env=Sharing), "changes after it was returned. Return a copy"),
    (lambda: Tasks(env=Sharing), "Writing to a returned observation changes the environment."),
    (lambda: Tasks(env=Maskless), "changes slots that it does not name. Let it start"),
    (lambda: Tasks(env=Deaf), "does not start the slots that it names. Let it start"),
    (lambda: Tasks(env=Mute), "no step says so. Give the right success_key"),
    (lambda: Tasks(env=Greedy), "more tasks than there are slots. Call metarl.vector_env.check_fits"),
    (lambda: Tasks(env=Raising), "ZeroDivisionError: the wheel came off. Mend that first"),
]


@pytest.mark.parametrize(
    ("make", "sentence"), FAULTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_fault_is_named_with_the_way_to_mend_it(make: Callable[[], PointTasks], sentence: str) -> None:
    told = [str(fault) for fault in check_suite(make())]
    assert any(sentence in each for each in told), told
    assert all(each.count("\n") == 0 for each in told)


@pytest.mark.parametrize(
    ("method", "part"),
    [("sample", "lists"), ("tasks", "lists"), ("make_vector_env", "episodes"), ("set_tasks", "tasks")],
)
def test_suite_that_ends_the_program_has_a_fault(
    method: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaves(*_: object, **__: object) -> None:
        raise SystemExit("not\nready")

    def set_tasks(self: Sound, tasks: Sequence[Task]) -> None:
        if len(tasks) > self.num_envs:
            leaves()
        PointVectorEnv.set_tasks(self, tasks)

    if method == "set_tasks":
        monkeypatch.setattr(Sound, method, set_tasks)
    else:
        monkeypatch.setattr(Tasks, method, leaves)
    told = [str(fault) for fault in check_suite(Tasks())]
    assert any(f"{part}): SystemExit: not ready. Mend that first." in each for each in told), told


def test_sound_environment_has_no_fault() -> None:
    assert check_suite(Tasks()) == []


@pytest.mark.parametrize("terminating", [False, True])
def test_point_has_no_fault(terminating: bool) -> None:
    assert check_suite(PointTasks(terminate_at_goal=terminating)) == []


SLOW_TO_BUILD = ("cart-pole", "grasp-shapes", "ml1", "ml10", "ml25", "ml45")
"""Each but the largest two is also checked by its own tests, through suite_contract."""
LISTED = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_TO_BUILD else [])
    for name in registry.names(registry.SUITES)
    if name != "file"
]


@pytest.mark.parametrize("name", LISTED)
def test_every_suite_that_is_listed_keeps_every_promise(name: str) -> None:
    findings = examine(construct(registry.suite(name), {"horizon": 4}).build())
    assert not findings.faults
    assert not findings.doubts


@pytest.mark.parametrize("name", ["ml25", pytest.param("ml45", marks=pytest.mark.slow)])
def test_tasks_of_the_largest_benchmarks_are_apart_and_fixed(name: str) -> None:
    assert list(lists(registry.suite_named(name).build())) == []


def test_number_of_the_task_and_one_hot_are_seen() -> None:
    assert shows_which_task(np.array([[3.0], [4.0], [5.0]]))
    assert shows_which_task(np.eye(3)[[2, 0, 1]])
    assert not shows_which_task(np.array([[0.0], [1.0], [0.5]]))
    assert not shows_which_task(np.array([[0.0, 1.0], [1.0, 0.0]]))  # of two tasks, any flag looks like that


def test_check_fits_is_what_it_says() -> None:
    check_fits(PointTasks().tasks("train")[:2], 2)


def test_random_environment_is_told_alone_and_what_was_not_looked_at() -> None:
    findings = examine(Tasks(env=Noisy))
    assert [fault.what for fault in findings.faults] == [
        "The same task, seed and actions give another episode each time."
    ]
    assert not findings.doubts
    assert findings.limits == [
        "Nothing else that is seen by comparing episodes was looked at, leaks among them."
    ]


def test_state_that_stays_from_other_tasks_is_not_told_as_an_array_that_changes() -> None:
    told = " ".join(fault.what for fault in check_suite(Tasks(env=GoesOn)))
    assert "after other tasks were run" in told
    assert "after it was returned" not in told
    assert "Writing" not in told


class Flags(Sound):
    """Observes truth values in an array that cannot be written to."""

    def _seen(self, position: Array) -> Array:
        seen = position > 0
        seen.setflags(write=self.writeable)
        return seen  # type: ignore[return-value]  # truth values are what is tried

    writeable = True

    def reset(self, **arguments: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # passes them on
        return self._seen(super().reset(**arguments)[0]), {}  # type: ignore[arg-type]  # as they came

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Array]]:  # type: ignore[override]  # one type for all
        position, *rest = super().step(actions)
        return (self._seen(position), *rest)  # type: ignore[return-value]  # bools


class ReadOnly(Flags):
    """Returns observations that cannot be written to."""

    writeable = False


@pytest.mark.parametrize("env", [Flags, ReadOnly])
def test_truth_values_and_arrays_that_cannot_be_written_to_are_no_fault(env: type[Flags]) -> None:
    told = [fault.what for fault in check_suite(Tasks(env=env))]
    assert not any("exception" in each for each in told), told


@pytest.mark.parametrize("env", [Infinite, Huge])
def test_numbers_that_are_not_finite_are_told_alone(env: type[Changing]) -> None:
    assert len(check_suite(Tasks(env=env))) == 1
