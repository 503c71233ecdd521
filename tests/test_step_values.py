"""What an environment returns: taken exactly, or refused by key, value, task and step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.envs import from_gymnasium
from metarl.envs.custom.from_gymnasium import ProcessTasks
from metarl.envs.custom.from_vector_env import VectorTasks, from_vector_env
from metarl.envs.engines.processes.messages import Blueprint, Episode, new_memory, shared_layout, shared_size
from metarl.envs.engines.processes.worker import Worker
from metarl.errors import EngineError, MetarlError
from metarl.plugins.user_modules import dumps
from metarl.rollouts.collect import collect
from metarl.step_values import ObservationReader, UnfitValue, real, truth, unpack_reset, unpack_step
from metarl.vector_env import TensorStep
from support import tiny
from support.task_envs import Echo, Info, Vector, set_goal
from support.tensor_climb import SCRIPT, TASKS, TensorClimbEnv

NO_TRUTH = (float("nan"), 0.3, -1, 7, "False", "1", None, [True], (1,), {}, 1 + 0j, np.inf, np.array([0, 1]))
TRUTH = (1, 1.0, True, np.True_, np.uint8(1), np.array(1), np.array([1.0]), Fraction(1), Decimal(1))


class Odd(Echo):
    """Returns whatever a test gives it in place of one part of a step."""

    part, value = 0, None
    space: Box = Echo.observation_space

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = self.space  # type: ignore[assignment]  # other dtypes too
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Vector, Info]:
        self.steps = 0
        return np.zeros(3, self.space.dtype), {}

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        self.steps += 1
        sound = [np.zeros(3, self.space.dtype), 0.5, False, False, {}]
        if self.steps == 2:
            sound[self.part] = self.value
        return tuple(sound)  # type: ignore[return-value]  # that is what is tested


def odd(part: int, value: object, space: Box = Echo.observation_space) -> ProcessTasks:
    kind = type("Odd", (Odd,), {"part": part, "value": value, "space": space})
    return from_gymnasium(
        kind, sample=[0.5], test_sample=[0.7], apply=set_goal, horizon=4, name="odd", success_key="home"
    )


def play(tasks: ProcessTasks, steps: int = 3, slots: int = 1) -> Worker:
    """Run an episode in each slot in this process, as a worker does."""
    space = tasks.observation_space
    layout = shared_layout(slots, 1, (space.dtype.str, space.shape), ("<f4", (2,)))
    worker = Worker(
        Blueprint(0, range(slots), layout, dumps(tasks.env_factory), 2),
        new_memory(shared_size(layout)),
    )
    listed, none = tasks.tasks("train"), np.zeros((0, 2))
    worker.run([Episode(slot, listed[slot], 0, None, none) for slot in range(slots)])
    worker._shared.live[:] = True
    for _ in range(steps):
        worker.step()
    return worker


# Truth values.


@pytest.mark.parametrize("value", TRUTH, ids=repr)
def test_booleans_and_one_of_any_numeric_type_are_true(value: object) -> None:
    assert truth(value, "x") is True
    assert play(odd(4, {"home": value}), steps=2)._shared.success[0]


@pytest.mark.parametrize("value", NO_TRUTH, ids=repr)
def test_success_that_is_no_truth_value_is_refused_by_key_value_task_and_step(value: object) -> None:
    with pytest.raises(EngineError) as caught:
        play(odd(4, {"home": value}))
    shown = " ".join(repr(value).split())
    assert f"Expected info['home'] to be True, False, 0 or 1, got {shown} from" in str(caught.value)
    assert "family 'odd', task 'odd/train/0', at step 2." in str(caught.value)


@pytest.mark.parametrize(("part", "name"), [(2, "terminated"), (3, "truncated")])
@pytest.mark.parametrize("value", ["False", None, 2, float("nan"), [False]], ids=repr)
def test_flag_that_is_no_truth_value_is_refused(part: int, name: str, value: object) -> None:
    with pytest.raises(EngineError, match=rf"Expected {name} to be True.*task 'odd/train/0', at step 2"):
        play(odd(part, value))


def test_success_that_is_not_said_in_a_step_counts_as_not_solved() -> None:
    worker = play(odd(4, {"home": True}), steps=1)
    assert not worker._shared.reported[0]
    worker.step()
    assert worker._shared.reported[0]
    assert worker._shared.success[0]


# Rewards.


@pytest.mark.parametrize("value", [np.array([0.5]), np.float32(0.5), np.array(0.5), Fraction(1, 2)], ids=repr)
def test_one_real_number_is_a_reward_in_any_wrapping(value: object) -> None:
    assert real(value, "reward") == 0.5
    assert play(odd(1, value), steps=2)._shared.rewards[0] == 0.5


def test_truth_value_is_a_sparse_reward() -> None:
    assert play(odd(1, np.True_), steps=2)._shared.rewards[0] == 1.0


@pytest.mark.parametrize(
    "value",
    [np.zeros(2), np.zeros(0), None, 1 + 0j, "1.0", [1.0], {"a": 1.0}, 10**400],
    ids=lambda v: repr(v)[:20],
)
def test_reward_that_is_not_one_real_number_is_refused(value: object) -> None:
    with pytest.raises(EngineError, match=r"Expected reward to be one real number.*'odd/train/0', at step 2"):
        play(odd(1, value))


# Observations.


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float32, [1, 2, 3]),
        (np.float32, np.array([True, False, True])),
        (np.float32, np.array([1.5, 2.5, 3.5], ">f4")),
        (np.float64, np.array([1.5, 2.5, 3.5], np.float32)),
        (np.float16, np.array([1.5, 2.5, 3.5])),
        (np.uint8, np.array([0, 200, 255], np.int64)),
        (np.int64, np.array([2**40, -1, 0], np.int64)),
    ],
)
def test_observation_that_its_dtype_holds_is_taken_exactly(dtype: type[np.generic], value: object) -> None:
    limit = 2.0**41 if np.issubdtype(dtype, np.signedinteger) else 255
    worker = play(odd(0, value, Box(0, limit, (3,), dtype)), steps=2)
    np.testing.assert_array_equal(worker._shared.observations[0], np.asarray(value))


@pytest.mark.parametrize(
    ("dtype", "value", "got"),
    [
        (np.uint8, np.array([0.5, 0.5, 0.5]), "dtype float64"),
        (np.uint8, np.array([0, 300, -1]), "300 in entry 1"),
        (np.uint8, np.array([0, 0, -1]), "-1 in entry 2"),
        (np.int32, np.array([0.0, 1.0, 2.0], np.float32), "dtype float32"),
        (np.int32, np.array([0, 3 * 10**9, 0]), "3000000000 in entry 1"),
        (np.float16, np.array([7e4, 0.0, 0.0]), "70000.0 in entry 0"),
        (np.float32, np.array([0.0, 1e39, 0.0]), "1e\\+39 in entry 1"),
        (np.float32, np.zeros(3, np.complex64), "dtype complex64"),
        (np.float32, np.zeros(3, object), "dtype object"),
        (np.float32, np.zeros(2, np.float32), "shape \\(2,\\)"),
        (np.float32, np.zeros((1, 3), np.float32), "shape \\(1, 3\\)"),
        (np.float32, None, "dtype object"),
        (np.float32, "abc", "dtype <U3"),
        (np.float32, np.ma.array(np.zeros(3), mask=[0, 1, 0]), "masked_array"),
    ],
    ids=str,
)
def test_observation_that_its_space_cannot_hold_is_refused(
    dtype: type[np.generic], value: object, got: str
) -> None:
    with pytest.raises(EngineError, match=rf"got .*{got}.* task 'odd/train/0', at step 2"):
        play(odd(0, value, Box(0, 255, (3,), dtype)))


class Sharing(Odd):
    """Returns one array of doubles, which all its environments change."""

    shared = np.zeros(3)

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
        self.steps += 1
        self.shared[:] = self.goal if self.steps < 3 else 1e39 * (self.goal > 0.6)
        return self.shared, 0.5, False, False, {}


def test_doubles_are_copied_at_each_step_and_told_by_their_task() -> None:
    tasks = from_gymnasium(
        Sharing, sample=[0.5, 0.7], test_sample=[0.6], apply=set_goal, horizon=4, name="sharing"
    )
    worker = play(tasks, steps=2, slots=2)
    np.testing.assert_allclose(worker._shared.observations, [[0.5] * 3, [0.7] * 3])
    with pytest.raises(EngineError, match=r"1e\+39 in entry 0 from.*task 'sharing/train/1', at step 3"):
        worker.step()


@pytest.mark.parametrize("source", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("target", [np.float16, np.float32, np.float64])
def test_infinite_and_large_numbers_are_read_without_warnings(
    source: type[np.floating], target: type[np.floating]
) -> None:
    largest = min(float(np.finfo(source).max), float(np.finfo(target).max))
    for numbers in ([largest, -largest], [np.nan, np.inf]):
        with warnings.catch_warnings(action="error"):
            read = ObservationReader(target, (2,)).read(np.array(numbers, source)).astype(target)
        np.testing.assert_array_equal(read, np.array(numbers, target))


def test_old_gym_and_infos_that_are_none_are_refused() -> None:
    with pytest.raises(UnfitValue, match=r"info\) of step, got 4 values\. .*shimmy"):
        unpack_step((0.0, 1.0, False, {}))
    with pytest.raises(UnfitValue, match="info\\) of reset, got array"):
        unpack_reset(np.zeros(2))
    with pytest.raises(UnfitValue, match="info of step to be a dictionary, got None"):
        unpack_step((0.0, 1.0, False, False, None))
    assert unpack_step([0.0, 1.0, False, False, {}])


# Vector environments of the user's, and tensors.


class OddVector(SyncVectorEnv):
    """Returns what a test gives it in place of one part of its second step."""

    part, value = 0, None

    def step(self, actions: Vector) -> tuple[Vector, Vector, Vector, Vector, Info]:
        parts = list(super().step(actions))
        if self.envs[0].steps == 2:
            parts[self.part] = self.value
        return tuple(parts)  # type: ignore[return-value]  # that is what is tested


class Counting(Odd):
    """Counts its steps and keeps to Gymnasium."""

    part, value = 4, {}


def odd_vector(part: int, value: object) -> VectorTasks:
    kind = type("OddVector", (OddVector,), {"part": part, "value": value})
    return from_vector_env(
        lambda n: kind([Counting] * n, autoreset_mode=AutoresetMode.DISABLED),
        sample=[0.5, 0.6],
        test_sample=[0.7],
        apply=lambda env, goals: None,
        horizon=4,
        name="odd",
        success_key="home",
    )


def step_twice(tasks: VectorTasks) -> Info:
    env = tasks.make_vector_env(2)
    env.set_tasks(tasks.tasks("train"))
    env.reset(seed=0)
    env.step(np.zeros((2, 2)))
    infos = env.step(np.zeros((2, 2)))[4]
    env.close()
    return dict(infos)


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        (0, np.zeros((2, 2), np.float32), "shape \\(3,\\).*got shape \\(2,\\).*'odd/train/0', at step 2"),
        (0, np.zeros((2, 3), np.complex64), "dtype complex64.*'odd/train/0', at step 2"),
        (0, np.full((2, 3), [[0.0], [1e39]]), "1e\\+39 in entry 0.*'odd/train/1', at step 2"),
        (1, np.zeros((2, 1)), "reward to have the shape \\(2,\\), got \\(2, 1\\)"),
        (1, np.array([0.0, None]), "reward to be real numbers \\[2\\], got dtype object"),
        (2, np.array([0, 2]), "terminated to be True, False, 0 or 1, got 2.*'odd/train/1'"),
        (3, np.array(["False", ""]), "truncated to be True, False, 0 or 1, got 'False'"),
        (4, {"home": np.array([1.0, np.nan])}, "infos\\['home'\\].*got nan.*'odd/train/1', at step 2"),
        (4, {"home": np.array([None, "False"])}, "infos\\['home'\\].*got None.*'odd/train/0'"),
        (4, {"home": True}, "infos\\['home'\\] to have the shape \\(2,\\), got \\(\\)"),
    ],
)
def test_vector_environment_that_returns_something_else_is_refused(
    part: int, value: object, sentence: str
) -> None:
    with pytest.raises(EngineError, match=sentence):
        step_twice(odd_vector(part, value))


def test_slot_that_says_nothing_of_success_is_not_looked_at() -> None:
    said: dict[str, object] = {"home": np.array([1.0, np.nan]), "_home": np.array([True, False])}
    solved = step_twice(odd_vector(4, said))["success"]
    assert isinstance(solved, np.ndarray)
    assert solved.tolist() == [True, False]


def test_exception_of_a_vector_environment_names_task_and_step() -> None:
    def fall_over(env: SyncVectorEnv, goals: list[float]) -> None:
        raise SystemExit("no licence")

    tasks = odd_vector(4, {})
    env = VectorTasks(**{**vars(tasks), "apply": fall_over}).make_vector_env(1)
    with pytest.raises(EngineError, match=r"in task 'odd/train/0' .* its tasks: SystemExit: no licence"):
        env.reset()
    env.close()


class Scored(tiny.ClimbEnv):
    """Says success as a number."""

    score: float = 0.5

    def step(self, actions: Vector) -> tuple[Vector, Vector, Vector, Vector, Info]:  # type: ignore[override]  # one type for all
        *parts, infos = super().step(actions)  # type: ignore[arg-type]  # single precision
        return (*parts, {**infos, "success": np.full(4, self.score)})  # type: ignore[return-value]  # as above


def test_recorder_refuses_success_that_is_no_truth_value_in_any_environment() -> None:
    actor = tiny.ScriptedActor(SCRIPT)
    with pytest.raises(EngineError, match=r"infos\['success'\].*got 0\.5.*at step 1"):
        collect(Scored(4, horizon=4), TASKS, actor, episodes=2, horizon=4, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("success", lambda step: step._replace(success=step.rewards)),
        ("success", lambda step: step._replace(success=step.terminated[:, None])),
        ("terminated", lambda step: step._replace(terminated=step.rewards)),
        ("rewards", lambda step: step._replace(rewards=step.rewards[:, None])),
        ("observations", lambda step: step._replace(observations=step.observations.bool())),
    ],
)
def test_tensors_of_another_kind_are_refused(name: str, change: Callable[[TensorStep], TensorStep]) -> None:
    class Changed(TensorClimbEnv):
        def step_tensors(self, actions: Vector) -> TensorStep:  # type: ignore[override]  # a tensor
            return change(super().step_tensors(actions))  # type: ignore[arg-type]  # as above

    with pytest.raises(MetarlError, match=rf"Expected {name} to be a \w+ tensor of shape .*, at step 1"):
        collect(
            Changed(4, horizon=4),
            TASKS,
            tiny.ScriptedActor(SCRIPT),
            episodes=2,
            horizon=4,
            rng=np.random.default_rng(0),
        )
