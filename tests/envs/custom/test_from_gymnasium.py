"""Task distributions of Gymnasium environments: parameters, splits, what a task changes, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Text
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from metarl.envs import from_gymnasium
from metarl.envs.custom.env import GymnasiumTaskEnv, ModelBackup
from metarl.envs.custom.from_gymnasium import ProcessTasks
from metarl.envs.custom.from_vector_env import VectorTasks, from_vector_env
from metarl.envs.task_sampling.parameters import Layout
from metarl.envs.task_sampling.splits import make_splits
from metarl.errors import EngineError, MetarlError
from metarl.plugins.suite_check import check_suite
from metarl.spaces import action_size, observation_size, one_line
from metarl.tasks import check_disjoint
from metarl.types import Task
from support.task_envs import Echo, Info, Vector, set_goal


def uniform(rng: np.random.Generator) -> float:
    return rng.uniform()


def echo(**changes: object) -> ProcessTasks:
    settings: dict[str, object] = {"sample": uniform, "apply": set_goal, "horizon": 4, **changes}
    return from_gymnasium(Echo, **settings)  # type: ignore[arg-type]  # by name


def one_env(tasks: ProcessTasks) -> GymnasiumTaskEnv:
    env = tasks.env_factory(tasks.name)
    assert isinstance(env, GymnasiumTaskEnv)
    return env


def test_limit_of_a_wrapper_around_a_class_of_ones_own_is_the_horizon() -> None:
    def limited() -> gymnasium.Env[object, object]:
        return TimeLimit(TimeLimit(Echo(), 9), 6)

    made = from_gymnasium(limited, sample=uniform, apply=set_goal)
    assert made.horizon == 6
    assert from_gymnasium(limited, sample=uniform, apply=set_goal, horizon=5).horizon == 5
    with pytest.raises(MetarlError, match="horizon of 6 steps at most, the environment's own limit, got 7"):
        from_gymnasium(limited, sample=uniform, apply=set_goal, horizon=7)


def test_horizon_and_timeout_may_be_numbers_of_numpy() -> None:
    made = echo(horizon=np.int64(4), timeout=np.float32(7.5))
    assert (made.horizon, type(made.horizon), made.timeout) == (4, int, 7.5)


# Parameters and numbers.


@pytest.mark.parametrize(
    ("parameters", "numbers"),
    [
        (0.5, (0.5,)),
        (3, (3.0,)),
        ((1.0, 2.0), (1.0, 2.0)),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), (1.0, 2.0, 3.0, 4.0)),
        ({"mass": 2.0, "goal": np.array([0.1, 0.2]), "kind": 3, "on": True}, (2.0, 0.1, 0.2, 3.0, 1.0)),
    ],
)
def test_parameters_become_numbers_and_come_back(parameters: object, numbers: tuple[float, ...]) -> None:
    layout = Layout.of(parameters)
    assert (layout.flatten(parameters), layout.size) == (numbers, len(numbers))
    np.testing.assert_equal(
        layout.restore(numbers), np.array(parameters) if isinstance(parameters, tuple) else parameters
    )


@pytest.mark.parametrize(
    ("parameters", "label"),
    [
        ({"gravity": 9.81, "on": True}, "gravity=9.81,on=1"),
        (0.25, "0.25"),
        ({"mass": 1 / 3, "goal": np.array([0.5, 2.0])}, "mass=0.3333,goal=0.5,2~"),
        (np.arange(6.0), "0,1,2,3~"),
    ],
)
def test_a_drawn_task_is_named_by_its_parameters(parameters: object, label: str) -> None:
    layout = Layout.of(parameters)
    found = layout.label(layout.flatten(parameters))
    assert found[: len(label)] == label
    assert len(found) == len(label) + 6 * label.endswith("~")


def test_tasks_that_look_alike_have_other_names() -> None:
    layout = Layout.of(0.0)
    assert layout.label((0.12341,)) != layout.label((0.12342,))


def test_whole_numbers_come_back_as_such() -> None:
    back = Layout.of({"kind": 3, "on": True, "mass": 2.0}).restore((4.0, 0.0, 1.5))
    assert back == {"kind": 4, "on": False, "mass": 1.5}
    assert isinstance(back, dict)
    assert [type(value) for value in back.values()] == [int, bool, float]


@pytest.mark.parametrize(
    ("first", "other", "sentence"),
    [
        ("ice", "ice", "numbers, but it is 'ice'; give a word its place in a list"),
        ({}, {}, "must hold a number"),
        ({"a": 1.0}, {"b": 1.0}, "Expected parameters named"),
        ({"a": 1.0}, 1.0, "Expected parameters named"),
        ([1.0, 2.0], [1.0], "must have the shape"),
        (1, 0.5, "was a whole number in the first task"),
        (True, 2, "that bool, as in the first task, and float64 hold exactly, but it is 2"),
        (1, 2**53 + 1, "that int64, as in the first task, and float64 hold exactly"),
        (1, 2**63 - 1, "that int64, as in the first task, and float64 hold exactly"),
        (np.uint8(1), -1, "that uint8, as in the first task, and float64 hold exactly"),
        (1.0, float("nan"), "must be finite"),
    ],
)
def test_parameters_that_are_no_numbers_or_not_alike_are_refused(
    first: object, other: object, sentence: str
) -> None:
    with pytest.raises(MetarlError, match=sentence):
        Layout.of(first).flatten(other)


def test_task_with_another_number_of_parameters_is_refused() -> None:
    with pytest.raises(MetarlError, match="has 1 parameters, but it is 2"):
        Layout.of(1.0).restore((1.0, 2.0))


# Splits.


def test_drawn_splits_are_fixed_and_apart_and_training_goes_beyond_its_list() -> None:
    splits, again = (make_splits("x", uniform, None) for _ in range(2))
    assert (splits.train, splits.test) == (again.train, again.test)
    assert len(splits.train) == len(splits.test) == 40
    fresh = splits.sample(5, np.random.default_rng(0))
    assert not {task.parameters for task in fresh} & {
        task.parameters for task in (*splits.train, *splits.test)
    }
    assert set(splits.sample(3, np.random.default_rng(0), "test")) <= set(splits.test)


def test_sampler_of_its_own_draws_the_held_out_tasks() -> None:
    splits = make_splits("x", uniform, lambda rng: 2 + rng.uniform())
    assert min(task.parameters[0] for task in splits.test) >= 2


def test_lists_are_all_there_is() -> None:
    splits = make_splits("x", [1.0, 2.0], [3.0])
    assert [task.id for task in splits.train] == ["x/train/0", "x/train/1"]
    assert {task.parameters for task in splits.sample(10, np.random.default_rng(0))} == {(1.0,), (2.0,)}


def test_fresh_training_tasks_are_never_held_out_ones() -> None:
    splits = make_splits("x", lambda rng: float(rng.integers(10)), [3.0, 4.0])
    drawn = {task.parameters[0] for task in splits.sample(300, np.random.default_rng(0))}
    assert drawn == {0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0}


@pytest.mark.parametrize(
    ("sample", "test_sample", "sentence"),
    [
        ([1.0], None, "needs a list of held-out tasks beside it"),
        ([], [1.0], "must not be empty"),
        ([1.0], [], "must not be empty"),
        ([1.0, 2.0], [2.0], "The held-out task \\[2.0\\] is also a training task"),
        (lambda rng: float(rng.choice([-1.0, 1.0])), None, "draws the same few tasks over and over"),
    ],
)
def test_splits_that_make_no_sense_are_refused(sample: object, test_sample: object, sentence: str) -> None:
    with pytest.raises(MetarlError, match=sentence):
        make_splits("x", sample, test_sample)  # type: ignore[type-var,arg-type]  # that is what is tested


# What a task changes.


def test_apply_gets_the_environment_without_gymnasiums_wrappers() -> None:
    def change(env: object, length: float) -> None:
        assert type(env).__name__ == "CartPoleEnv"
        env.length = length  # type: ignore[attr-defined]  # CartPole's

    tasks = from_gymnasium("CartPole-v1", sample=uniform, apply=change)
    env = one_env(tasks)
    env.set_task(Task("CartPole-v1", (0.25,), "x"))
    assert env.unwrapped.length == 0.25
    assert tasks.horizon == 500


def test_apply_gets_what_a_factory_returned() -> None:
    seen: list[object] = []
    tasks = from_gymnasium(
        lambda: gymnasium.wrappers.OrderEnforcing(Echo()),
        sample=uniform,
        apply=lambda env, _: seen.append(env),
        horizon=3,
    )
    one_env(tasks).set_task(tasks.tasks("train")[0])
    assert isinstance(seen[0], gymnasium.wrappers.OrderEnforcing)


def test_episode_is_cut_at_the_horizon_and_success_is_passed_on() -> None:
    class Ending(Echo):
        def step(self, action: Vector) -> tuple[Vector, float, bool, bool, Info]:
            return *super().step(action)[:4], {"is_success": np.float32(self.goal > 0.5)}

    tasks = from_gymnasium(Ending, sample=uniform, apply=set_goal, horizon=2, success_key="is_success")
    env = one_env(tasks)
    env.set_task(Task("Ending", (0.9,), "x"))
    env.reset(seed=0)
    first, second = (env.step(np.zeros(2, np.float32))[2:] for _ in range(2))
    assert first == (False, False, {"success": True})
    assert second == (False, True, {"success": True})
    assert tasks.reports_success
    assert not echo().reports_success


def test_options_of_a_task_are_passed_to_reset() -> None:
    class Told(Echo):
        def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Vector, Info]:
            assert options is not None
            self.goal = float(str(options["goal"]))
            return super().reset(seed=seed)

    tasks = from_gymnasium(
        Told, sample=lambda rng: {"goal": rng.uniform()}, task_options=dict, horizon=3, name="told"
    )
    env = one_env(tasks)
    env.set_task(Task("told", (0.75,), "x"))
    env.reset(seed=0, options={"more": 1})
    assert env.step(np.zeros(2, np.float32))[1] == 0.75


def test_mujoco_model_is_put_back_before_each_change() -> None:
    env = InvertedPendulumEnv()
    kept, mass, gravity = ModelBackup(env), env.model.body_mass.copy(), env.model.opt.gravity.copy()
    for _ in range(2):
        kept.restore()
        env.model.body_mass[:] *= 2
        env.model.opt.gravity[2] *= 3
        env.model.opt.timestep *= 0.5
    np.testing.assert_array_equal(env.model.body_mass, 2 * mass)
    assert env.model.opt.gravity[2] == 3 * gravity[2]
    assert env.model.opt.timestep == 0.01
    kept.restore()
    assert env.model.opt.timestep == 0.02
    env.close()


def test_whole_numbers_and_derived_ones_of_a_mujoco_model_are_put_back_too() -> None:
    env = InvertedPendulumEnv()
    kept, iterations, inertia = ModelBackup(env), env.model.opt.iterations, env.model.stat.meaninertia
    env.model.opt.iterations = 1
    env.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_GRAVITY)
    env.model.body_mass[:] *= 2
    mujoco.mj_setConst(env.model, env.data)
    assert env.model.stat.meaninertia != inertia
    kept.restore()
    assert (env.model.opt.iterations, env.model.opt.disableflags) == (iterations, 0)
    assert env.model.stat.meaninertia == inertia
    env.close()


class Bandit(Echo):
    """Draws and sets its tasks itself, as environments of garage and learn2learn do."""

    def sample_tasks(self, num_tasks: int) -> list[dict[str, float]]:
        drawn = np.random.random(num_tasks) + self.np_random.uniform(size=num_tasks)  # noqa: NPY002  # as some do
        return [{"goal": goal} for goal in drawn.tolist()]

    def set_task(self, task: dict[str, float]) -> None:
        self.goal = task["goal"]


def test_environment_with_tasks_of_its_own_needs_nothing_else() -> None:
    tasks = from_gymnasium(Bandit, horizon=3)
    before = np.random.get_state()  # noqa: NPY002  # must stay
    one, again, other = (tasks.sample(3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002  # as above
    check_disjoint(tasks)
    env = one_env(tasks)
    env.set_task(one[0])
    env.reset(seed=0)
    assert env.step(np.zeros(2, np.float32))[1] == one[0].parameters[0]


@pytest.mark.filterwarnings("ignore::UserWarning")  # recommendations: bounds, and to check what is inside
def test_environment_with_a_task_passes_gymnasiums_checker() -> None:
    env = one_env(echo(horizon=20))
    env.set_task(Task("Echo", (0.5,), "x"))
    check_env(env, skip_render_check=True)


def test_distribution_of_a_class_keeps_every_promise() -> None:
    assert check_suite(echo()) == []


# What is refused.


class Wordy(Echo):
    observation_space = Dict({"words": Text(3), "x": Discrete(2)})  # type: ignore[assignment]  # that is it


class Picture(Echo):
    observation_space = Box(0, 255, (8, 8, 3), np.uint8)  # type: ignore[assignment]  # that is it


class Buttons(Echo):
    action_space = MultiDiscrete([2, 3])  # type: ignore[assignment]  # that is it


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: from_gymnasium("NoSuchEnv-v0", sample=uniform, apply=set_goal), "knows no environment"),
        (lambda: from_gymnasium("no_such_module:E-v0", sample=uniform, apply=set_goal), "is missing"),
        (lambda: from_gymnasium(lambda: 3, sample=uniform, apply=set_goal), "must return a gymnasium.Env"),
        (lambda: from_gymnasium(3, sample=uniform, apply=set_goal), "given by its id or by a factory"),
        (lambda: from_gymnasium(Echo, horizon=3), "need sample, and apply or task_options"),
        (lambda: from_gymnasium(Echo, sample=uniform, horizon=3), "need sample, and apply or task_options"),
        (lambda: from_gymnasium(Echo, sample=uniform, apply=set_goal), "give one: horizon=200"),
        (lambda: echo(horizon=0), "horizon must be a whole number from 1 to 1000000, but it is 0"),
        (lambda: echo(horizon="20"), "horizon must be a whole number from 1 to 1000000, but it is '20'"),
        (lambda: echo(horizn=20), "no setting of a distribution called 'horizn'; did you mean 'horizon'"),
        (lambda: vector_tasks(horizn=20), "no setting of a distribution called 'horizn'"),
        (
            lambda: echo(sample=lambda: 1.0),
            r"sample is called as sample\(rng\), but the function given takes \(\)",
        ),
        (
            lambda: echo(apply=lambda env: None),
            r"apply is called as apply\(env, task\), but the function given takes \(env\)",
        ),
        (lambda: echo(task_options=lambda a, b: {a: b}), r"called as task_options\(task\)"),
        (
            lambda: from_gymnasium(
                lambda: gymnasium.make("CartPole-v1"), sample=uniform, apply=set_goal, horizon=900
            ),
            "Expected a horizon of 500 steps at most",
        ),
        (lambda: from_gymnasium(Picture, sample=uniform, apply=set_goal, horizon=3), "ResizeObservation"),
        (lambda: from_gymnasium(Wordy, sample=uniform, apply=set_goal, horizon=3), "FlattenObservation"),
        (lambda: from_gymnasium(Buttons, sample=uniform, apply=set_goal, horizon=3), "TransformAction"),
        (lambda: echo().make_vector_env(2, engine="telepathy"), "There is no engine called"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(MetarlError, match=sentence):
        make()


def test_what_apply_raises_is_told_with_the_task() -> None:
    def remove_wheel(env: Echo, wheel: float) -> None:
        raise KeyError("no wheel")

    env = echo(apply=remove_wheel).make_vector_env(1)
    with pytest.raises(
        EngineError, match=r"Echo/train/\S+, failed when it was given its task: KeyError: 'no wh"
    ):
        env.reset()
    env.close()


def test_options_that_are_no_dictionary_are_refused() -> None:
    env = one_env(echo(task_options=lambda task: task))
    env.set_task(Task("Echo", (0.5,), "x"))
    with pytest.raises(TypeError, match=r"must return a dictionary, but it returned 0\.5"):
        env.reset()


def test_other_observations_are_refused_with_the_wrapper_to_use() -> None:
    with pytest.raises(MetarlError, match="FlattenObservation"):
        observation_size(Discrete(3))
    with pytest.raises(MetarlError, match="TransformObservation"):
        observation_size(gymnasium.spaces.Sequence(Discrete(2)))
    with pytest.raises(MetarlError, match=r"one number or more.* return a constant such as 0"):
        observation_size(Box(-1, 1, (0,)))
    with pytest.raises(MetarlError, match="Actions must be vectors"):
        action_size(Box(-1, 1, (0,)))
    assert (observation_size(Box(0, 1, (3,))), action_size(Discrete(4)), action_size(Box(0, 1, (2,)))) == (
        3,
        4,
        2,
    )


# Vector environments.


def pendulums(num_envs: int, mode: AutoresetMode = AutoresetMode.DISABLED) -> SyncVectorEnv:
    return SyncVectorEnv(
        [lambda: gymnasium.make("Pendulum-v1", max_episode_steps=6)] * num_envs, autoreset_mode=mode
    )


def set_gravity(env: SyncVectorEnv, gravities: list[float]) -> None:
    for one, gravity in zip(env.envs, gravities, strict=True):
        one.unwrapped.g = gravity  # type: ignore[attr-defined]  # the pendulum's


def vector_tasks(**changes: object) -> VectorTasks:
    settings: dict[str, object] = {"horizon": 6, "name": "pendulums", **changes}
    return from_vector_env(
        pendulums,
        sample=lambda rng: rng.uniform(5, 15),
        apply=set_gravity,
        **settings,  # type: ignore[arg-type]  # by name
    )


def test_vector_environment_keeps_every_promise() -> None:
    assert check_suite(vector_tasks()) == []
    assert check_suite(vector_tasks(horizon=4)) == []


def test_slot_of_a_vector_environment_is_the_single_environment() -> None:
    tasks = vector_tasks()
    env = tasks.make_vector_env(3)
    env.set_tasks(tasks.tasks("test")[:3])
    seen, _ = env.reset(seed=4)
    alone = gymnasium.make("Pendulum-v1")
    alone.unwrapped.g = tasks.tasks("test")[1].parameters[0]  # type: ignore[attr-defined]  # the pendulum's
    np.testing.assert_array_equal(seen[1], alone.reset(seed=5)[0])
    for force in (0.5, -1.0):
        seen, rewards, *_ = env.step(np.full((3, 1), force, np.float32))
        expected, reward, *_ = alone.step(np.array([2.0 * force], np.float32))  # torques of -2..2
        np.testing.assert_array_equal(seen[1], expected)
        assert rewards[1] == reward
    env.close()


def test_closed_vector_environment_says_so() -> None:
    env = vector_tasks().make_vector_env(1)
    env.reset(seed=0)
    env.close()
    env.close()
    for use in (env.reset, lambda: env.step(np.zeros((1, 1))), lambda: env.set_tasks([])):
        with pytest.raises(MetarlError, match="closed: build a new one"):
            use()


def test_step_of_a_vector_environments_exception_is_that_of_a_running_episode() -> None:
    env = vector_tasks().make_vector_env(2)
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.zeros((2, 1)))
    env.set_tasks([vector_tasks().tasks("train")[0]])
    env.reset(seed=0)  # slot 1 is idle, after five steps

    def fail(_: object) -> None:
        raise OSError("cable")

    env._env.step = fail  # type: ignore[attr-defined]  # the user's
    with pytest.raises(EngineError, match="at step 1: OSError: cable"):
        env.step(np.zeros((2, 1)))
    env.close()


def test_vector_environment_that_resets_itself_is_refused() -> None:
    with pytest.raises(MetarlError, match="build it with autoreset_mode"):
        from_vector_env(
            lambda n: pendulums(n, AutoresetMode.NEXT_STEP), sample=uniform, apply=set_gravity, horizon=6
        )
    with pytest.raises(MetarlError, match="give one: horizon=200"):
        from_vector_env(pendulums, sample=uniform, apply=set_gravity)
    with pytest.raises(MetarlError, match="There is no task family called"):
        vector_tasks().make_vector_env(1).set_tasks([Task("other", (1.0,), "x")])


def test_space_with_many_bounds_is_told_on_one_line() -> None:
    many = Box(-np.arange(1, 40, dtype=np.float32), np.arange(1, 40, dtype=np.float32))
    few = np.array([1.0, 2.0], np.float32)
    assert one_line(many) == "a Box of shape (39,) and dtype float32"
    assert one_line(Box(-1.0, 1.0, (39,))) == "Box(-1.0, 1.0, (39,), float32)"
    assert one_line(Box(-few, few)) == "Box([-1. -2.], [1. 2.], (2,), float32)"
    assert one_line(Discrete(5)) == "Discrete(5)"
