"""A robot's perturbations: each wrapper by hand, and the tasks that are made of them."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import TransformAction, TransformObservation

from metarl.envs.custom.from_gymnasium import from_gymnasium
from metarl.envs.custom.perturbation_wrappers import (
    DelayedActions,
    NoisySensors,
    PerturbationWrapper,
    ShiftedSensors,
    WeakActuators,
    resting,
)
from metarl.envs.custom.perturbations import (
    ActionDelay,
    Perturbation,
    PerturbedEnv,
    PerturbedTasks,
    SensorNoise,
    SensorOffset,
    Spaces,
    WeakActuator,
    with_perturbations,
)
from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.envs.toy.point import PointTasks
from metarl.errors import MetarlError
from metarl.plugins.suite_check import check_suite
from metarl.tasks import check_disjoint
from metarl.types import Task
from metarl.vector_env import Array
from support.task_envs import Echo, set_goal

SPACES = Spaces(Box(-np.inf, np.inf, (3,), np.float32), Box(-1.0, 1.0, (2,), np.float32))


def echo(low: float = 0.0) -> PerturbedTasks:
    base = from_gymnasium(
        Echo, sample=lambda rng: rng.uniform(low, 1.0), apply=set_goal, horizon=6, name="echo"
    )
    return with_perturbations(base, ActionDelay(), WeakActuator(), SensorOffset(entries=(2,)), SensorNoise())


def shown(wrapper: PerturbationWrapper, actions: list[list[float]], *, seed: int = 0) -> list[list[float]]:
    """Return what is observed after a reset and each action."""
    observations = [wrapper.reset(seed=seed)[0]]
    observations += [wrapper.step(np.array(action, np.float32))[0] for action in actions]
    return [[round(float(value), 6) for value in each] for each in observations]


def test_delayed_actions_arrive_so_many_steps_late() -> None:
    env = DelayedActions(Echo())
    env.set_perturbation([2.0])
    seen = shown(env, [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
    assert [each[:2] for each in seen] == [[0, 0], [0, 0], [0, 0], [0.1, 0.2], [0.3, 0.4]]


def test_delay_of_the_last_episode_is_forgotten() -> None:
    env = DelayedActions(Echo())
    env.set_perturbation([1.0])
    shown(env, [[0.9, 0.9]])
    assert shown(env, [[0.1, 0.2]])[1][:2] == [0, 0]
    env.set_perturbation([0.0])
    assert shown(env, [[0.1, 0.2]])[1][:2] == [0.1, 0.2]


def test_perturbation_waits_for_the_next_reset() -> None:
    env = WeakActuators(Echo())
    env.set_perturbation([1.0, 1.0])
    env.reset(seed=0)
    env.set_perturbation([0.0, 0.0])
    observation, *_ = env.step(np.array([0.5, 0.5], np.float32))
    assert observation[:2].tolist() == [0.5, 0.5]


def test_weak_and_reversed_actuators_by_hand() -> None:
    env = WeakActuators(Echo())
    env.set_perturbation([0.5, -1.0])
    # the second action would be -2, outside -1..2
    assert shown(env, [[0.8, 0.6], [1.0, 2.0]])[1:] == [[0.4, -0.6, 0.0], [0.5, -1.0, 0.0]]


def test_rest_is_what_is_nearest_to_zero() -> None:
    space = Box(np.array([0.5, -3.0, -1.0]), np.array([1.0, -2.0, 1.0]), dtype=np.float64)
    assert resting(space).tolist() == [0.5, -2.0, 0.0]
    assert resting(Discrete(3, start=4)) == 4


def test_an_environment_that_changes_an_action_changes_no_later_one() -> None:
    class Counting(Echo):
        def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, object]]:
            returned = super().step(action)
            action += 0.25
            return returned

    env = DelayedActions(Counting())
    env.set_perturbation([3.0])
    seen = shown(env, [[0.5, 0.5]] * 4)
    assert [each[:2] for each in seen] == [[0, 0], [0, 0], [0, 0], [0, 0], [0.5, 0.5]]


def test_rest_among_choices_can_be_looked_up() -> None:
    ways = {np.int64(-1): "left", np.int64(0): "stay"}
    assert ways[resting(Discrete(2, start=-1))] == "left"  # type: ignore[index]  # a number


def test_gain_scales_the_distance_from_rest() -> None:
    class Pump(Echo):
        action_space = Box(1.0, 5.0, (2,), np.float32)

    env = WeakActuators(Pump())
    env.set_perturbation([0.5, 1.0])
    assert shown(env, [[3.0, 3.0]])[1][:2] == [2.0, 3.0]


def test_shift_is_added_to_its_entries_only() -> None:
    env = ShiftedSensors(Echo(), [0, 2])
    env.set_perturbation([0.25, -0.5])
    assert shown(env, [[0.1, 0.2]]) == [[0.25, 0.0, -0.5], [0.35, 0.2, -0.5]]


def test_noise_has_its_deviation_and_comes_from_the_seed() -> None:
    env = NoisySensors(Echo())
    env.set_perturbation([0.3])
    actions = [[0.0, 0.0]] * 3000
    noise, again, other = (np.array(shown(env, actions, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(noise, again)
    assert not np.array_equal(noise, other)
    count = noise.size
    assert noise.mean() == pytest.approx(0.0, abs=5 * 0.3 / count**0.5)
    assert noise.std() == pytest.approx(0.3, abs=5 * 0.3 / (2 * count) ** 0.5)


def test_two_noises_of_one_environment_are_independent() -> None:
    inner = NoisySensors(Echo())
    outer = NoisySensors(inner)
    for wrapper in (inner, outer):
        wrapper.set_perturbation([0.1])
    both = np.array([outer.reset(seed=seed)[0] for seed in range(400)])
    # 1200 numbers; of one and the same noise twice it would be 0.2
    assert both.std() == pytest.approx(0.1 * 2**0.5, abs=0.012)
    # the first has the noise that it has alone
    alone = NoisySensors(Echo())
    alone.set_perturbation([0.1])
    outer.set_perturbation([0.0])
    assert outer.reset(seed=7)[0].tolist() == alone.reset(seed=7)[0].tolist()


def test_sensors_of_an_environment_that_returns_lists_can_be_wrong() -> None:
    class Lists(Echo):
        def reset(self, **given: object) -> tuple[Array, dict[str, object]]:  # type: ignore[override]  # as given
            return [0.0, 1.0, 2.0], {}  # type: ignore[return-value]  # that is it

    noisy, shifted = NoisySensors(Lists()), ShiftedSensors(Lists(), [1])
    noisy.set_perturbation([0.0])
    shifted.set_perturbation([0.5])
    assert shown(noisy, [[0.0, 0.5]]) == [[0, 1, 2], [0, 0.5, 0]]
    assert shown(shifted, [[0.0, 0.5]]) == [[0, 1.5, 2], [0, 1, 0]]


def test_noise_leaves_the_environments_generator_alone() -> None:
    plain, noisy = Echo(), NoisySensors(Echo())
    noisy.set_perturbation([0.3])
    plain.reset(seed=5)
    noisy.reset(seed=5)
    assert plain.np_random.random() == noisy.unwrapped.np_random.random()


@pytest.mark.parametrize(
    ("perturbation", "size"),
    [
        (ActionDelay(), 1),
        (WeakActuator(), 2),
        (SensorNoise(), 1),
        (SensorOffset(), 3),
        (SensorOffset(entries=(1,)), 1),
    ],
)
def test_held_out_perturbations_lie_outside_the_training_ranges(
    perturbation: Perturbation, size: int
) -> None:
    rng = np.random.default_rng(0)
    train, test = (
        np.array([perturbation.draw(SPACES, rng, split) for _ in range(300)]) for split in ("train", "test")
    )
    assert train.shape == test.shape == (300, size)
    if isinstance(perturbation, WeakActuator):
        assert ((train == 1.0).sum(axis=1) == 1).all()
        assert train.min() >= 0.4
        assert test.min(axis=1).max() <= 0.4
        assert len({int(row.argmin()) for row in train}) == 2  # either actuator
    else:
        assert np.abs(train).max() <= np.abs(test).min()
        assert np.ptp(train) > 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ActionDelay(train=(0, 3), test=(3, 4)), "must not overlap"),
        (lambda: ActionDelay(train=(-1, 0)), "0.0 or more"),
        (lambda: ActionDelay(train=(0, 1.5), test=(2.5, 3)), "whole number of steps"),  # type: ignore[arg-type]  # that is it
        (lambda: SensorNoise(train=(0.1, 0.1), test=(0.1, 0.1)), "must not overlap"),
        (lambda: WeakActuator(train=(0.5, 0.5), test=(0.5, 1.0)), "must not overlap"),
        (lambda: SensorNoise(train=(0.0, 0.2), test=(0.1, 0.3)), "must not overlap"),
        (lambda: SensorOffset(train=(0.2, 0.1)), "A range must go from low to high"),
        (lambda: WeakActuator(train=(0.0, float("nan"))), "A range must go from low to high"),
        (lambda: with_perturbations(echo()), "At least one perturbation is needed"),
        (lambda: with_perturbations(PointTasks(), ActionDelay()), "has no env_factory"),  # type: ignore[arg-type]  # that is it
        (lambda: with_perturbations(echo(), SensorOffset(entries=(3,))), "Entries must be in 0..2"),
        (
            lambda: WeakActuator().draw(
                SPACES._replace(actions=Discrete(2)), np.random.default_rng(0), "train"
            ),
            "Only actions that are vectors",
        ),
    ],
)
def test_perturbation_that_makes_no_sense_is_refused(make: object, sentence: str) -> None:
    assert callable(make)
    with pytest.raises(MetarlError, match=sentence):
        make()


def test_task_is_the_bases_with_the_numbers_of_each_perturb() -> None:
    tasks = echo()
    check_disjoint(tasks)
    base, task = tasks.base.tasks("train")[0], tasks.tasks("train")[0]
    assert task.parameters[0] == base.parameters[0]
    assert len(task.parameters) == 1 + 1 + 2 + 1 + 1
    assert task.id.startswith(base.id + "+")
    held_out = tasks.sample(5, np.random.default_rng(0), "test")
    assert set(held_out) <= set(tasks.tasks("test"))
    assert {task.parameters[1] for task in tasks.tasks("test")} <= {3.0, 4.0}


def test_numbers_of_a_task_reach_the_environment_and_every_perturb() -> None:
    env = echo().env_factory("echo")
    assert isinstance(env, PerturbedEnv)
    # goal 0.5, one step late, gains 1 and -1, the third number off by 10, no noise
    env.set_task(Task("echo", (0.5, 1.0, 1.0, -1.0, 10.0, 0.0), "by hand"))
    first, _ = env.reset(seed=0)
    env.step(np.array([0.3, 0.4], np.float32))
    seen, reward, *_ = env.step(np.array([0.0, 0.0], np.float32))
    np.testing.assert_allclose(first, [0.0, 0.0, 10.0])
    np.testing.assert_allclose(seen, [0.3, -0.4, 11.0], rtol=1e-6)
    assert reward == 0.5


def test_bounds_of_observations_hold_no_longer_where_sensors_err() -> None:
    base = from_gymnasium("CartPole-v1", sample=[1.0, 2.0], test_sample=[3.0], apply=_set_length)
    assert with_perturbations(base, ActionDelay()).observation_space == base.observation_space
    erring = with_perturbations(base, SensorNoise()).observation_space
    assert (erring.shape, erring.dtype, erring.is_bounded("both")) == ((4,), np.float32, False)


def _set_length(env: object, length: float) -> None:
    env.length = length  # type: ignore[attr-defined]  # CartPole's


def test_metaworld_can_have_perturbations_too() -> None:
    goal = Task("reach-v3", (0.0, 0.6, 0.02, 0.1, 0.8, 0.2), "reach-v3/train/0")
    other = Task("reach-v3", (0.0, 0.6, 0.02, -0.1, 0.8, 0.2), "reach-v3/test/0")
    tasks = with_perturbations(
        MetaWorldTasks(name="reach", train=(goal,), test=(other,), horizon=5), SensorOffset(entries=(0, 1, 2))
    )
    env = tasks.env_factory("reach-v3")
    assert isinstance(env, PerturbedEnv)
    env.set_task(Task("reach-v3", (*goal.parameters, 0.1, 0.0, 0.0), "by hand"))
    bumped, _ = env.reset(seed=0)
    env.set_task(Task("reach-v3", (*goal.parameters, 0.0, 0.0, 0.0), "by hand"))
    sound, _ = env.reset(seed=0)
    np.testing.assert_allclose(bumped[:3] - sound[:3], [0.1, 0.0, 0.0], atol=1e-9)
    np.testing.assert_array_equal(bumped[3:], sound[3:])
    env.close()


def test_perturbed_tasks_keep_every_promise() -> None:
    assert check_suite(echo(low=0.2)) == []


def test_families_that_are_held_out_as_a_whole_are_described_too() -> None:
    train, test = ((Task(name, (1.0, 2.0), f"{name}/0"),) for name in ("push-v3", "sweep-v3"))
    delayed = with_perturbations(MetaWorldTasks(name="two", train=train, test=test, horizon=5), ActionDelay())
    names = [each.name for each in delayed.describe_parameters("sweep-v3")]
    assert names == ["object[0]", "object[1]", "ActionDelay[0]"]


def test_what_the_base_says_of_itself_is_said_of_the_perturbed_tasks() -> None:
    base = MetaWorldTasks(
        name="one", train=(Task("push-v3", (1.0,), "0"),), test=(Task("push-v3", (2.0,), "1"),), horizon=5
    )
    delayed = with_perturbations(base, ActionDelay())
    assert delayed.control_step() == base.control_step() == 0.0125
    assert delayed.model_sums() == base.model_sums()
    assert delayed.model_sums()["push-v3"]
    assert (echo().control_step(), echo().model_sums()) == (None, {})


def test_sensors_of_whole_numbers_are_wrong_by_parts_of_one() -> None:
    counting = TransformObservation(Echo(), lambda _: np.array([3, 5, 7]), Box(0, 9, (3,), np.int64))
    shifted = ShiftedSensors(counting, [0, 2])
    shifted.set_perturbation([0.3, -0.4])
    assert shown(shifted, [[0.0, 0.0]]) == [[3.3, 5.0, 6.6]] * 2
    noisy = NoisySensors(counting)
    noisy.set_perturbation([0.05])
    seen = np.array([noisy.reset(seed=seed)[0] for seed in range(400)])
    # 1200 numbers: a standard error of 0.0014
    assert (seen - [3, 5, 7]).mean() == pytest.approx(0.0, abs=0.006)
    assert (seen - [3, 5, 7]).std() == pytest.approx(0.05, abs=0.004)


def test_a_weak_actuator_of_whole_numbers_takes_the_nearest() -> None:
    env = TransformAction(Echo(), lambda action: action, Box(-9, 9, (2,), np.int64))
    weak = WeakActuators(env)
    weak.set_perturbation([0.95, -0.7])
    assert shown(weak, [[8.0, 4.0]])[1][:2] == [8.0, -3.0]  # 7.6 and -2.8
