"""Meta-World: the suite contract, equality with the package's own environments, and its known traps."""

from __future__ import annotations

import functools
import json
import logging
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import metaworld
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ML10_V3, ML25_V3, ML45_V3

from metarl.envs.metaworld.env import FAMILIES, MetaWorldEnv, MetaWorldFactory, observation_space
from metarl.envs.metaworld.goals import (
    Benchmark,
    Goal,
    Goals,
    draw_goals,
    published_goals,
    widened,
    wider_layout,
)
from metarl.envs.metaworld.rewards.catalog import REWARD_VERSIONS, RewardVersion
from metarl.envs.metaworld.suite import MetaWorldTasks, ML1Config, ML10Config, ML25Config, ML45Config
from metarl.errors import MetarlError
from metarl.tasks import TaskDistribution, check_disjoint
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv
from support import suite_contract

# A live view as goal (basketball), as object (door-lock), a visual geom read (door-open), an action-dependent
# reward (pick-place), a site as goal (reach).
FIVE = ("reach-v3", "pick-place-v3", "door-open-v3", "door-lock-v3", "basketball-v3")
LISTS = {"ml10": ML10_V3, "ml25": ML25_V3, "ml45": ML45_V3}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Draw every goal in this run: nothing that an earlier one left in the user's cache is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield Path(tmp_path_factory.getbasetemp())


class OnProcesses(MetaWorldTasks):
    """The distribution on Meta-World's own environments; test_sawyer_engine.py is about the other engine."""

    def make_vector_env(
        self, num_envs: int, *, engine: str = "processes", num_workers: int = 0
    ) -> TaskVectorEnv:
        """Build an environment on worker processes unless told otherwise."""
        return super().make_vector_env(num_envs, engine=engine, num_workers=num_workers)


@pytest.fixture(scope="module", params=["ml1", "ml10"])
def suite(request: pytest.FixtureRequest) -> MetaWorldTasks:
    tasks = (ML1Config if request.param == "ml1" else ML10Config)(horizon=6).build()
    return OnProcesses(**vars(tasks))


@pytest.fixture(scope="module")
def env(suite: MetaWorldTasks) -> Iterator[TaskVectorEnv]:
    env = suite.make_vector_env(suite_contract.SLOTS)
    yield env
    env.close()


STARTS_WORKERS = (
    ("ml10", suite_contract.results_do_not_depend_on_the_number_of_workers),
    ("ml10", suite_contract.reset_is_legal_before_set_tasks),
)
"""Claims that take many seconds on processes; ML1 keeps them here, both suites in test_sawyer_engine.py."""
CHECKER = suite_contract.checker_finds_no_fault
"""Takes most: on the same observations, bit for bit, test_sawyer_engine.py has it for both suites."""


@pytest.mark.parametrize(
    ("suite", "claim"),
    [
        pytest.param(
            name,
            claim,
            id=f"{name}-{claim.__name__}",
            marks=pytest.mark.slow if claim is CHECKER or (name, claim) in STARTS_WORKERS else (),
        )
        for name in ("ml1", "ml10")
        for claim in suite_contract.SUITE_CLAIMS
    ],
    indirect=["suite"],
)
def test_suite_contract(claim: Callable[[TaskDistribution], None], suite: MetaWorldTasks) -> None:
    claim(suite)


@pytest.mark.parametrize("claim", suite_contract.ENV_CLAIMS, ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], suite: MetaWorldTasks, env: TaskVectorEnv
) -> None:
    claim(suite, env)


def goals_of(family: str, count: int) -> tuple[Task, ...]:
    """Draw tasks as Meta-World does: a vector that a reset of an environment of its own has accepted."""
    return _three_goals(family)[:count]


@functools.cache
def _three_goals(family: str) -> tuple[Task, ...]:
    drawing = ALL_V3_ENVIRONMENTS[family]()
    drawing.seed(11)
    drawing._freeze_rand_vec, drawing.seeded_rand_vec, drawing._set_task_called = False, True, True
    tasks = []
    for index in range(3):
        drawing.reset()
        tasks.append(Task(family, tuple(drawing._last_rand_vec.tolist()), f"{family}/{index}"))
    return tuple(tasks)


def draw_actions(num_steps: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Draw actions that sometimes exceed their bounds, as a Gaussian policy's do."""
    return np.random.default_rng(7).uniform(-1.3, 1.3, (num_steps, 4)).astype(np.float32)


def episode(env: MetaWorldEnv, task: Task, num_steps: int) -> Array:
    """Return observations, rewards and successes of a whole episode as one vector."""
    env.set_task(task)
    numbers = [env.reset()[0]]
    for action in draw_actions(num_steps):
        observation, reward, _, _, info = env.step(action)
        numbers.append(np.array([*observation, reward, bool(info["success"])]))
    return np.concatenate(numbers)


def published_episode(task: Task, num_steps: int, reward: RewardVersion = "v2") -> Array:
    """Return the same from Meta-World's own environment, made anew and driven by hand."""
    published = ALL_V3_ENVIRONMENTS[task.family]
    data = {"env_cls": published, "rand_vec": np.array(task.parameters), "partially_observable": True}
    env = published(reward_function_version=reward)
    env.set_task(metaworld.Task(env_name=task.family, data=pickle.dumps(data)))
    numbers = [env.reset()[0]]
    for action in draw_actions(num_steps):
        observation, reward, _, _, info = env.step(action)
        numbers.append(np.array([*observation, reward, info["success"] > 0]))
    return np.concatenate(numbers)


@pytest.mark.parametrize("reward", REWARD_VERSIONS)
@pytest.mark.parametrize("family", FIVE)
def test_episodes_equal_those_of_the_package_bit_for_bit(family: str, reward: RewardVersion) -> None:
    [task] = goals_of(family, 1)
    ours = episode(MetaWorldEnv(family, reward=reward), task, 100)
    np.testing.assert_array_equal(ours, published_episode(task, 100, reward))


@pytest.mark.slow
@pytest.mark.parametrize("reward", REWARD_VERSIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_equals_the_package_bit_for_bit(family: str, reward: RewardVersion) -> None:
    env = MetaWorldEnv(family, reward=reward)
    for task in goals_of(family, 3):
        np.testing.assert_array_equal(episode(env, task, 200), published_episode(task, 200, reward))


@pytest.mark.parametrize("reward", REWARD_VERSIONS)
@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_reward_setting_reaches_the_engine(engine: str, reward: RewardVersion) -> None:
    tasks = ML1Config(task="reach-v3", horizon=1, reward=reward).build()
    env = tasks.make_vector_env(1, engine=engine)
    env.set_tasks(tasks.train[:1])
    env.reset()
    _, rewards, *_ = env.step(np.full((1, 4), 1.3, np.float32))
    env.close()
    theirs = published_step(tasks.train[0], reward)
    assert rewards[0] == pytest.approx(theirs, rel=1e-12)


def published_step(task: Task, reward: RewardVersion) -> float:
    """Return the reward of the first step of Meta-World's own environment."""
    env = MetaWorldEnv(task.family, reward=reward)
    env.set_task(task)
    env.reset()
    return env.step(np.full(4, 1.3, np.float32))[1]


def test_official_task_gives_the_same_episode() -> None:
    benchmark = metaworld.ML1("push-v3", seed=42)
    official = benchmark.train_classes["push-v3"]()
    official.set_task(benchmark.train_tasks[3])
    numbers = [official.reset()[0]]
    for action in draw_actions(100):
        observation, reward, _, _, info = official.step(action)
        numbers.append(np.array([*observation, reward, info["success"] > 0]))
    task = ML1Config(task="push-v3").build().train[3]
    np.testing.assert_array_equal(episode(MetaWorldEnv("push-v3"), task, 100), np.concatenate(numbers))


@pytest.mark.parametrize("family", FIVE)
def test_used_environment_equals_a_fresh_one(family: str) -> None:
    first, second = goals_of(family, 2)
    used, fresh = MetaWorldEnv(family), MetaWorldEnv(family)
    before = episode(used, first, 30)
    episode(used, second, 30)
    np.testing.assert_array_equal(episode(used, first, 30), before)
    np.testing.assert_array_equal(episode(fresh, first, 30), before)


@pytest.mark.parametrize("family", FIVE)
def test_environments_of_a_family_do_not_disturb_each_other(family: str) -> None:
    tasks = goals_of(family, 2)
    alone = [episode(MetaWorldEnv(family), task, 30) for task in tasks]
    together = [MetaWorldEnv(family) for _ in tasks]
    numbers: list[list[Array]] = [[], []]
    for env, task, kept in zip(together, tasks, numbers, strict=True):
        env.set_task(task)
        kept.append(env.reset()[0])
    for action in draw_actions(30):
        for env, kept in zip(together, numbers, strict=True):
            observation, reward, _, _, info = env.step(action)
            kept.append(np.array([*observation, reward, bool(info["success"])]))
    for kept, expected in zip(numbers, alone, strict=True):
        np.testing.assert_array_equal(np.concatenate(kept), expected)


@pytest.mark.parametrize("family", FIVE)
def test_goal_is_hidden(family: str) -> None:
    [task] = goals_of(family, 1)
    env = MetaWorldEnv(family)
    env.set_task(task)
    assert not env.reset()[0][36:].any()
    assert not env.step(draw_actions(1)[0])[0][36:].any()


def test_start_of_reach_shows_nothing_of_the_goal() -> None:
    one, _ = goals_of("reach-v3", 2)
    other = Task(one.family, (*one.parameters[:3], 0.0, 0.85, 0.2), "other")
    starts = []
    for task in (one, other):
        env = MetaWorldEnv("reach-v3")
        env.set_task(task)
        starts.append(env.reset()[0])
    np.testing.assert_array_equal(*starts)


@pytest.mark.parametrize("family", FIVE)
def test_observation_space_is_the_packages_own(family: str) -> None:
    assert observation_space() == ALL_V3_ENVIRONMENTS[family]().sawyer_observation_space


def test_longest_horizon_is_the_packages_own() -> None:
    env = MetaWorldEnv("reach-v3", horizon=500)
    env.set_task(goals_of("reach-v3", 1)[0])
    env.reset()
    flags = [env.step(np.zeros(4, np.float32))[2:4] for _ in range(500)]
    assert flags == [(False, False)] * 499 + [(False, True)]


def test_step_after_the_end_is_refused() -> None:
    env = MetaWorldEnv("reach-v3", horizon=1)
    env.set_task(goals_of("reach-v3", 1)[0])
    env.reset()
    env.step(np.zeros(4, np.float32))
    with pytest.raises(MetarlError, match="reset before"):
        env.step(np.zeros(4, np.float32))


def test_reset_without_a_task_is_refused() -> None:
    with pytest.raises(MetarlError, match="task must be set"):
        MetaWorldEnv("reach-v3").reset()


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Task("push-v3", (0.0,) * 6, "x"), "push-v3"),
        (Task("reach-v3", (0.0,) * 5, "x"), "6 finite parameters"),
        (Task("reach-v3", (np.nan,) * 6, "x"), "6 finite parameters"),
    ],
)
def test_wrong_task_is_refused(task: Task, said: str) -> None:
    with pytest.raises(MetarlError, match=said):
        MetaWorldEnv("reach-v3").set_task(task)


def test_parameters_that_the_package_would_draw_again_for_ever_are_refused() -> None:
    env = MetaWorldEnv("push-v3")
    env.set_task(Task("push-v3", (0.0, 0.6, 0.02, 0.0, 0.6, 0.02), "goal on the object"))
    with pytest.raises(MetarlError, match="does not accept"):
        env.reset()


def test_unknown_family_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(MetarlError, match=r"'reech-v3'; did you mean 'reach-v3'\?"):
        ML1Config(task="reech-v3")
    with pytest.raises(MetarlError, match="did you mean 'reach-v3'"):
        MetaWorldFactory()("reech-v3")


@pytest.mark.parametrize("field", [{"horizon": 0}, {"horizon": 501}, {"goal_seed": -1}, {"goal_seed": 2**32}])
def test_absurd_number_is_refused(field: dict[str, int]) -> None:
    with pytest.raises(MetarlError, match=next(iter(field))):
        ML1Config(**field)


def test_unknown_reward_is_refused_in_one_sentence() -> None:
    version: RewardVersion = "v3"  # type: ignore[assignment]  # as from a caller who is not type-checked
    with pytest.raises(MetarlError, match="reward of ML10Config cannot be 'v3': expected 'v1' or 'v2'"):
        ML10Config(reward=version)
    with pytest.raises(MetarlError, match="no reward version of Meta-World called 'v3'"):
        MetaWorldFactory(reward=version)("reach-v3")


def test_factory_travels_without_torch() -> None:
    program = (
        "import pickle, sys; factory = pickle.loads(bytes.fromhex(sys.argv[1]));"
        "assert factory.horizon == 9 and 'metaworld' in sys.modules; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, pickle.dumps(MetaWorldFactory(9)).hex()], check=True)


@pytest.mark.parametrize("family", ["reach-v3", "push-v3", "door-open-v3"])
def test_ml1_has_fifty_goals_a_split_and_shares_none(family: str) -> None:
    tasks = ML1Config(task=family).build()
    assert tasks.name == f"ml1-{family}"
    assert len({task.parameters for task in tasks.train}) == 50
    assert len({task.parameters for task in tasks.test}) == 50
    assert len({task.parameters for task in tasks.train + tasks.test}) == 100


def test_ml1_tests_on_the_official_test_goals() -> None:
    official = metaworld.ML1("reach-v3", seed=42)
    tasks = ML1Config(task="reach-v3").build()
    for ours, theirs in ((tasks.train, official.train_tasks), (tasks.test, official.test_tasks)):
        expected = [tuple(pickle.loads(task.data)["rand_vec"].tolist()) for task in theirs]
        assert [task.parameters for task in ours] == expected
    assert tasks.test[7].id == "reach-v3/test/07"


def test_more_goals_begin_with_the_published_ones() -> None:
    published = ML1Config(task="reach-v3").build()
    more = ML1Config(task="reach-v3", training_goals=120, test_goals=70).build()
    assert (len(more.train), len(more.test)) == (120, 70)
    assert more.train[:50] == published.train
    assert more.test[:50] == published.test
    assert len({task.parameters for task in (*more.train, *more.test)}) == 190


def test_further_goals_are_those_that_metaworld_draws_with_other_seeds() -> None:
    more = ML1Config(task="reach-v3", training_goals=60).build()
    other = ML1Config(task="reach-v3", goal_seed=44).build()
    assert [task.parameters for task in more.train[50:]] == [task.parameters for task in other.train[:10]]


def test_fewer_goals_are_the_first_ones() -> None:
    few = ML1Config(task="reach-v3", training_goals=3, test_goals=2).build()
    published = ML1Config(task="reach-v3").build()
    assert (few.train, few.test) == (published.train[:3], published.test[:2])


def test_every_family_of_ml10_gets_as_many_goals() -> None:
    tasks = ML10Config(training_goals=60, test_goals=10).build()
    for split, number in ((tasks.train, 60), (tasks.test, 10)):
        families = [task.family for task in split]
        assert {families.count(family) for family in families} == {number}
    assert tasks.test[0] == ML10Config().build().test[0]


def test_numbers_of_goals_are_in_the_name_where_they_are_not_the_published_ones() -> None:
    config = ML1Config(task="reach-v3", training_goals=60, test_goals=10)
    assert config.label == config.build().name == "ml1-reach-v3+goals60+testgoals10"
    assert ML10Config().label == "ml10"


def test_wider_layouts_are_the_published_ones_moved_away_from_the_middle() -> None:
    published = ML1Config(task="push-v3").build()
    wide = ML1Config(task="push-v3", layout_width=3.0)
    tasks = wide.build()
    assert wide.label == tasks.name == "ml1-push-v3+layouts3"
    assert tasks.test == published.test
    # objects lie in x from -0.1 to 0.1 and y from 0.6 to 0.7, goals in y from 0.8 to 0.9
    positions = np.array([task.parameters for task in tasks.train])
    near = np.array([task.parameters for task in published.train])
    np.testing.assert_array_equal(positions[:, 2] >= 0.019, near[:, 2] >= 0.019)
    assert 0.25 < np.abs(positions[:, 0]).max() <= 0.3
    assert 0.5 <= positions[:, 1].min() < 0.55 < 0.75 < positions[:, 1].max() <= 0.8
    assert 0.7 <= positions[:, 4].min() < 0.75 < 0.9 < positions[:, 4].max() <= 0.95  # where the hand ends


def test_a_point_of_a_wider_box_by_hand() -> None:
    low, high = np.array([0.0, 0.6, 0.1, -0.5, 0.9, 0.0]), np.array([0.2, 0.7, 0.3, 0.5, 0.9, 0.0])
    moved = widened(np.array([0.2, 0.6, 0.15, 0.25, 0.9, 0.0]), low, high, 3.0)
    # x: from -0.2 to 0.4 around 0.1; y: from 0.5 to 0.8; z as it was; a box longer than the reach stays
    np.testing.assert_allclose(moved, [0.4, 0.5, 0.15, 0.25, 0.9, 0.0], atol=1e-12)


@pytest.mark.parametrize(("family", "inside"), [("bin-picking-v3", 0), ("hand-insert-v3", 1)])
def test_what_is_in_a_bin_or_a_hole_stays_there(family: str, inside: int) -> None:
    with closing(ALL_V3_ENVIRONMENTS[family]()) as env:
        space = env._random_reset_space
        corner = wider_layout(env, space.low.astype(np.float64), 3.0) - space.low
    np.testing.assert_allclose(np.reshape(corner, (2, 3))[inside], 0, atol=1e-6)
    assert np.reshape(corner, (2, 3))[1 - inside, 1] < -1e-4


def test_no_layout_is_narrower_than_the_published() -> None:
    with pytest.raises(MetarlError, match="layout_width"):
        ML1Config(layout_width=0.5)


@pytest.mark.parametrize("goals", [0, 10_001])
def test_number_of_goals_out_of_range_is_refused(goals: int) -> None:
    with pytest.raises(MetarlError, match="training_goals"):
        ML1Config(training_goals=goals)


def test_ml10_gives_two_goals_a_family_to_a_meta_batch_of_twenty() -> None:
    drawn = ML10Config().build().sample(20, np.random.default_rng(0))
    families = [task.family for task in drawn]
    assert {family: families.count(family) for family in families} == dict.fromkeys(ML10_V3["train"], 2)
    assert len(set(drawn)) == 20


def test_goal_seed_changes_the_goals() -> None:
    assert ML1Config(goal_seed=1).build().train != ML1Config().build().train


@pytest.fixture
def made_up_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for goals that take a minute to draw: two of each published family."""
    numbers = iter(range(10**6))

    def goals(benchmark: Benchmark, seed: int, family: str = "", *, width: float = 1.0) -> Goals:
        return Goals(
            *(
                tuple(
                    Goal(name, (float(next(numbers)),)) for name in LISTS[benchmark][split] for _ in range(2)
                )
                for split in ("train", "test")
            )
        )

    monkeypatch.setattr("metarl.envs.metaworld.goals.published_goals", goals)


@pytest.mark.usefixtures("made_up_goals")
@pytest.mark.parametrize(
    ("config", "name", "num_train"),
    [(ML10Config(), "ml10", 10), (ML25Config(), "ml25-clean", 24), (ML45Config(), "ml45", 45)],
)
def test_no_test_family_is_trained_on(
    config: ML10Config | ML25Config | ML45Config, name: str, num_train: int
) -> None:
    tasks = config.build()
    train, test = ({task.family for task in split} for split in (tasks.train, tasks.test))
    assert tasks.name == name
    assert (len(train), len(test)) == (num_train, 5)
    assert not train & test


@pytest.mark.usefixtures("made_up_goals")
def test_published_ml25_leaks_basketball_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tasks = ML25Config(published=True).build()
    assert {task.family for task in tasks.train} & {task.family for task in tasks.test} == {"basketball-v3"}
    assert tasks.name == "ml25-published"
    [record] = caplog.records
    assert "basketball-v3" in record.getMessage()


@pytest.mark.usefixtures("made_up_goals")
def test_clean_ml25_keeps_the_published_test_families(caplog: pytest.LogCaptureFixture) -> None:
    tasks = ML25Config().build()
    assert list(dict.fromkeys(task.family for task in tasks.test)) == list(ML25_V3["test"])
    assert not caplog.records


def test_a_benchmark_that_leaks_a_family_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    leaking = Goals((Goal("reach-v3", (1.0,)),), (Goal("reach-v3", (2.0,)),))
    monkeypatch.setattr("metarl.envs.metaworld.goals.published_goals", lambda *_, width: leaking)
    with pytest.raises(MetarlError, match="does not train on, but it is reach-v3"):
        ML10Config().build()


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [ML10Config(), ML25Config(), ML25Config(published=True), ML45Config()],
    ids=["ml10", "ml25-clean", "ml25-published", "ml45"],
)
def test_every_benchmark_has_fifty_goals_a_family(config: ML10Config | ML25Config | ML45Config) -> None:
    tasks = config.build()
    check_disjoint(tasks)
    for split in (tasks.train, tasks.test):
        goals = {(task.family, task.parameters) for task in split}
        assert len(goals) == len(split) == 50 * len({task.family for task in split})


@pytest.mark.slow
def test_clean_ml25_has_the_published_goals() -> None:
    clean, published = ML25Config().build(), ML25Config(published=True).build()
    assert set(clean.train) == {task for task in published.train if task.family != "basketball-v3"}
    assert clean.test == published.test


def drawn_by_the_package(benchmark: metaworld.Benchmark) -> list[list[tuple[str, list[float]]]]:
    """Return family and vector of each task of both splits."""
    return [
        [(task.env_name, pickle.loads(task.data)["rand_vec"].tolist()) for task in tasks]
        for tasks in (benchmark.train_tasks, benchmark.test_tasks)
    ]


def as_lists(goals: Goals) -> list[list[tuple[str, list[float]]]]:
    return [[(goal.family, list(goal.parameters)) for goal in split] for split in goals]


def test_goals_drawn_without_physics_are_the_packages_own() -> None:
    # its reset draws again where box and lid are too near, and then steps the physics itself
    own = metaworld.ML1("box-close-v3", seed=3)
    assert as_lists(draw_goals("ml1", 3, "box-close-v3")) == drawn_by_the_package(own)


@pytest.mark.slow
def test_goals_of_all_families_drawn_without_physics_are_the_packages_own() -> None:
    assert as_lists(draw_goals("ml45", 3)) == drawn_by_the_package(metaworld.ML45(seed=3))


def test_drawing_goals_changes_no_global_generator() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  # the global generator is the claim
    before = random.getstate(), np.random.get_state()  # noqa: NPY002  # as above
    draw_goals("ml1", 42, "reach-v3")
    after = random.getstate(), np.random.get_state()  # noqa: NPY002  # as above
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1][1], after[1][1])
    assert before[1][2:] == after[1][2:]


def test_episodes_use_no_global_generator() -> None:
    [task] = goals_of("pick-place-v3", 1)
    env = MetaWorldEnv("pick-place-v3")
    np.random.seed(1)  # noqa: NPY002  # the global generator is the claim
    before = np.random.get_state()[1:3]  # noqa: NPY002  # as above
    episode(env, task, 5)
    for one, other in zip(before, np.random.get_state()[1:3], strict=True):  # noqa: NPY002  # as above
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def stub_drawing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Replace Meta-World's drawing by an instant one; return a list that grows with each draw."""
    draws: list[int] = []

    def draw(benchmark: Benchmark, seed: int, family: str = "", *, width: float = 1.0) -> Goals:
        draws.append(seed)
        return Goals((Goal(family, (0.1, 1 / 3)),), (Goal(family, (-0.0, 5e-324)),))

    monkeypatch.setattr("metarl.envs.metaworld.goals.draw_goals", draw)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return draws


def test_wider_layouts_have_a_cache_of_their_own(tmp_path: Path, stub_drawing: list[int]) -> None:
    for width in (1.0, 2.0, 3.0, 2.0, 1.0):
        published_goals("ml1", 42, "push-v3", width=width)
    assert len(stub_drawing) == len(list(tmp_path.rglob("*.json"))) == 3


def cache_file(folder: Path) -> Path:
    [path] = (folder / "metarl").iterdir()
    return path


def test_cache_gives_the_goals_back_exactly(stub_drawing: list[int]) -> None:
    drawn = published_goals("ml1", 3, "reach-v3")
    assert repr(published_goals("ml1", 3, "reach-v3")) == repr(drawn)
    assert stub_drawing == [3]


def test_cache_tells_seeds_and_families_apart(stub_drawing: list[int]) -> None:
    for seed, family in ((3, "reach-v3"), (4, "reach-v3"), (3, "push-v3")):
        assert published_goals("ml1", seed, family).train[0].family == family
    assert stub_drawing == [3, 4, 3]


@pytest.mark.parametrize("damage", ["truncate", "change a number", "no JSON", "another shape", "no text"])
def test_damaged_cache_is_drawn_again(damage: str, stub_drawing: list[int], tmp_path: Path) -> None:
    drawn = published_goals("ml1", 3, "reach-v3")
    path = cache_file(tmp_path)
    text = path.read_text()
    path.write_bytes(
        {
            "truncate": text[:-9],
            "change a number": text.replace("0.1", "0.2"),
            "no JSON": "goals",
            "another shape": json.dumps([1, 2]),
            "no text": "",
        }[damage].encode()
    )
    assert published_goals("ml1", 3, "reach-v3") == drawn
    assert stub_drawing == [3, 3]
    assert path.read_text() == text


def test_unwritable_cache_is_no_mistake(
    stub_drawing: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert published_goals("ml1", 3, "reach-v3").train
    assert stub_drawing == [3]
    assert list((tmp_path / "home" / ".cache" / "metarl").iterdir())


@pytest.mark.usefixtures("stub_drawing")
def test_cache_leaves_no_part_behind(tmp_path: Path) -> None:
    published_goals("ml1", 3, "reach-v3")
    assert cache_file(tmp_path).suffix == ".json"


def test_more_goals_than_there_are_seeds_for_are_refused() -> None:
    assert ML1Config(goal_seed=2**32 - 4, training_goals=100).training_goals == 100
    with pytest.raises(MetarlError, match=r"must be below 2\*\*32 - 1"):
        ML1Config(goal_seed=2**32 - 4, training_goals=101)
    with pytest.raises(MetarlError, match=r"must be below 2\*\*32 - 1"):
        ML10Config(goal_seed=2**32 - 2, test_goals=51)
