"""Meta-World on threads: the suite contract, equality with Meta-World's own environments, life cycle."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ML10_V3

from metarl.envs.engines.threads.batched import StepperName
from metarl.envs.metaworld.env import FAMILIES, MetaWorldEnv
from metarl.envs.metaworld.reset_bank import ResetBank
from metarl.envs.metaworld.rewards.catalog import REWARD_VERSIONS, RewardVersion
from metarl.envs.metaworld.suite import MetaWorldTasks
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.errors import MetarlError
from metarl.system.caches import cache_folder
from metarl.tasks import TaskDistribution
from metarl.types import Task
from metarl.vector_env import Array, TaskVectorEnv
from support import suite_contract
from support.physics import STEPPERS, rand_vec, random_actions
from support.suite_contract import Trajectory, play, same, steps

# A constant fixed at the first step, constants that move with the simulation, contacts in the success.
HARD = ("bin-picking-v3", "door-lock-v3", "basketball-v3", "stick-push-v3")
HORIZON = 6


def tasks_of(family: str, numbers: Sequence[int]) -> list[Task]:
    """Return tasks with parameters that Meta-World accepts."""
    env = ALL_V3_ENVIRONMENTS[family]()
    return [Task(family, tuple(rand_vec(env, n).tolist()), f"{family}/{n}") for n in numbers]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Simulate every reset in this run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@dataclass(frozen=True, kw_only=True)
class OnThreads(MetaWorldTasks):
    """A distribution on a stepper of choice."""

    stepper: StepperName = "auto"

    def make_vector_env(
        self, num_envs: int, *, engine: str = "threads", num_workers: int = 0
    ) -> TaskVectorEnv:
        """Build an environment on threads unless told otherwise."""
        if engine != "threads":
            return super().make_vector_env(num_envs, engine=engine, num_workers=num_workers)
        return make_env(
            self.train + self.test,
            num_envs,
            horizon=self.horizon,
            stepper=self.stepper,
            threads=num_workers,
        )


def make_env(
    tasks: Sequence[Task],
    num_envs: int,
    *,
    horizon: int = HORIZON,
    stepper: StepperName = "auto",
    threads: int = 2,
    cache: Path | None = None,
    reward: RewardVersion = "v2",
) -> SawyerVectorEnv:
    """Build the engine; its resets are those that an earlier test has simulated unless a folder is given."""
    return SawyerVectorEnv(
        families=list(dict.fromkeys(task.family for task in tasks)),
        default_tasks=tasks,
        num_envs=num_envs,
        num_threads=threads,
        horizon=horizon,
        stepper=stepper,
        cache=cache or cache_folder() / "resets",
        reward_version=reward,
    )


@pytest.fixture(scope="module")
def ml10() -> MetaWorldTasks:
    """The families of ML10 with two goals each."""
    train, test = (
        tuple(task for family in ML10_V3[split] for task in tasks_of(family, (1, 2)))
        for split in ("train", "test")
    )
    return MetaWorldTasks(name="ml10", train=train, test=test, horizon=HORIZON)


@pytest.fixture(scope="module")
def ml1() -> MetaWorldTasks:
    one, two, three, four = tasks_of("pick-place-v3", (1, 2, 3, 4))
    return MetaWorldTasks(name="ml1", train=(one, two), test=(three, four), horizon=HORIZON)


@pytest.fixture(scope="module")
def hard() -> list[Task]:
    return [task for family in HARD for task in tasks_of(family, (1, 2))]


@pytest.fixture(scope="module", params=STEPPERS)
def stepper(request: pytest.FixtureRequest) -> StepperName:
    name: StepperName = request.param
    return name


SUITES = [
    pytest.param((name, stepper), id=f"{stepper}-{name}", marks=pytest.mark.slow if is_slow else ())
    for stepper in STEPPERS
    for name in ("ml1", "ml10")
    for is_slow in [name == "ml10" and stepper != STEPPERS[0]]
]
"""Each build of ML10 takes seconds; that the steppers agree on several families has a test of its own."""


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> OnThreads:
    name, stepper = request.param
    tasks: MetaWorldTasks = request.getfixturevalue(name)
    return OnThreads(**vars(tasks), stepper=stepper)


@pytest.fixture(scope="module")
def env(suite: OnThreads) -> Iterator[TaskVectorEnv]:
    env = suite.make_vector_env(suite_contract.SLOTS)
    yield env
    env.close()


@pytest.mark.parametrize(
    "claim",
    [claim for claim in suite_contract.SUITE_CLAIMS if claim is not suite_contract.checker_finds_no_fault],
    ids=lambda claim: claim.__name__,
)
def test_suite_contract(claim: Callable[[TaskDistribution], None], suite: OnThreads) -> None:
    claim(suite)


@pytest.mark.parametrize(("name", "stepper"), [*(("ml1", name) for name in STEPPERS), ("ml10", STEPPERS[0])])
def test_checker_finds_no_fault(name: str, stepper: StepperName, request: pytest.FixtureRequest) -> None:
    suite_contract.checker_finds_no_fault(OnThreads(**vars(request.getfixturevalue(name)), stepper=stepper))


@pytest.mark.parametrize("claim", suite_contract.ENV_CLAIMS, ids=lambda claim: claim.__name__)
def test_environment_contract(
    claim: Callable[[TaskDistribution, TaskVectorEnv], None], suite: OnThreads, env: TaskVectorEnv
) -> None:
    claim(suite, env)


def played(env: TaskVectorEnv, tasks: Sequence[Task], actions: Array) -> Trajectory:
    """Play once and close."""
    try:
        return play(env, tasks, actions)
    finally:
        env.close()


def check_parity(tasks: Sequence[Task], num_steps: int, reward: RewardVersion = "v2") -> None:
    """Hold every stepper to the process engine: observations, success and ends as bits, rewards to 1e-6."""
    both = MetaWorldTasks(name="both", train=tuple(tasks), test=(), horizon=num_steps, reward=reward)
    actions = random_actions(1, num_steps, len(tasks))
    theirs = played(both.make_vector_env(len(tasks), engine="processes"), tasks, actions)
    for stepper in STEPPERS:
        env = make_env(tasks, len(tasks), horizon=num_steps, stepper=stepper, reward=reward)
        ours = played(env, tasks, actions)
        np.testing.assert_allclose(ours.rewards, theirs.rewards, rtol=1e-6, atol=1e-6)
        assert same(ours._replace(rewards=theirs.rewards), theirs)


def test_ml10_equals_the_process_engine(ml10: MetaWorldTasks) -> None:
    check_parity((ml10.train + ml10.test)[::2], 40)


def test_hard_families_equal_the_process_engine(hard: list[Task]) -> None:
    check_parity(hard, 80)


def test_original_rewards_equal_those_of_the_process_engine(hard: list[Task]) -> None:
    check_parity([*hard, *tasks_of("assembly-v3", (1,)), *tasks_of("hammer-v3", (1,))], 40, reward="v1")


@pytest.mark.slow
@pytest.mark.parametrize("reward", REWARD_VERSIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_whole_episodes_of_every_family_equal_the_process_engine(family: str, reward: RewardVersion) -> None:
    check_parity(tasks_of(family, (5, 6, 7)), 500, reward)


@pytest.fixture(scope="module")
def metaworlds_states(hard: list[Task]) -> list[Array]:
    """Return the states of Meta-World's own environments after 60 actions."""
    states = []
    for task, actions in zip(hard, random_actions(2, 60, len(hard)).swapaxes(0, 1), strict=True):
        env = MetaWorldEnv(task.family)
        env.set_task(task)
        env.reset()
        for action in actions:
            env.step(action)
        model, data, kind = env._inner.model, env._inner.data, mujoco.mjtState.mjSTATE_INTEGRATION
        states.append(np.empty(mujoco.mj_stateSize(model, kind)))
        mujoco.mj_getState(model, data, states[-1], kind)
    return states


def test_states_equal_metaworlds_at_the_end(
    hard: list[Task], stepper: StepperName, metaworlds_states: list[Array]
) -> None:
    env = make_env(hard, len(hard), horizon=60, stepper=stepper)
    play(env, hard, random_actions(2, 60, len(hard)))
    states = env._physics.get_state(range(len(hard)))
    env.close()
    for state, expected in zip(states, metaworlds_states, strict=True):
        np.testing.assert_array_equal(state.integration, expected)


def test_any_number_of_threads_gives_the_same_bits(hard: list[Task], stepper: StepperName) -> None:
    actions = random_actions(3, 40, len(hard))
    one, three = (
        played(make_env(hard, len(hard), horizon=40, stepper=stepper, threads=threads), hard, actions)
        for threads in (1, 3)
    )
    assert same(one, three)


def test_steppers_agree_but_for_the_last_bits_of_rewards(hard: list[Task]) -> None:
    actions = random_actions(3, 40, len(hard))
    first, *others = (
        played(make_env(hard, len(hard), horizon=40, stepper=stepper), hard, actions) for stepper in STEPPERS
    )
    for other in others:
        np.testing.assert_allclose(other.rewards, first.rewards, rtol=1e-12, atol=1e-12)
        assert same(other._replace(rewards=first.rewards), first)


def test_episode_depends_neither_on_its_slot_nor_on_what_the_slot_ran_before(
    hard: list[Task], stepper: StepperName
) -> None:
    actions = random_actions(4, 20, len(hard))
    env = make_env(hard, len(hard), horizon=20, stepper=stepper)
    first = play(env, hard, actions)
    for shift in (1, 3):
        turned = play(env, [*hard[shift:], *hard[:shift]], np.roll(actions, -shift, axis=1))
        assert same(Trajectory(*(np.roll(values, shift, axis=1) for values in turned)), first)
    env.close()


def test_slots_reset_at_other_times_keep_their_own_constants(stepper: StepperName) -> None:
    tasks = tasks_of("bin-picking-v3", (1, 2, 3))
    actions = random_actions(5, 20, 3)
    env = make_env(tasks, 3, horizon=20, stepper=stepper)
    whole = play(env, tasks, actions)
    begun = play(env, tasks, actions[:7])
    again, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    mixed = actions[7:].copy()
    mixed[:, 1] = actions[:13, 1]
    rest = steps(env, mixed, again)
    env.close()
    np.testing.assert_array_equal(begun.rewards, whole.rewards[:7])
    np.testing.assert_array_equal(rest.rewards[:, [0, 2]], whole.rewards[7:, [0, 2]])
    np.testing.assert_array_equal(rest.rewards[:, 1], whole.rewards[:13, 1])


@pytest.mark.parametrize("poison", [np.nan, 1e12])
def test_diverging_world_is_cut_counted_and_reported_while_the_others_go_on(
    hard: list[Task],
    stepper: StepperName,
    poison: float,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log where it runs
    actions = random_actions(6, 10, len(hard))
    env = make_env(hard, len(hard), horizon=10, stepper=stepper)
    calm = play(env, hard, actions)
    begun = play(env, hard, actions[:2])
    env._physics.data(3).qvel[:] = poison
    rest = steps(env, actions[2:], begun.observations[-1])
    others = np.arange(len(hard)) != 3
    assert all(np.array_equal(a[1:, others], b[3:, others]) for a, b in [(rest[0], calm[0])])
    assert all(np.array_equal(a[:, others], b[2:, others]) for a, b in zip(rest[1:], calm[1:], strict=True))
    np.testing.assert_array_equal(rest.truncated[:, 3], np.arange(8) == 0)
    assert not rest.rewards[:, 3].any()
    assert not rest.success[:, 3].any()
    np.testing.assert_array_equal(rest.observations[:, 3], np.tile(begun.observations[-1, 3], (9, 1)))
    assert env.diverged == 1
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"task {hard[3].id} diverged at step 3" in line
    assert same(play(env, hard, actions), calm)
    env.close()


def test_stepping_before_any_reset_does_nothing(ml1: MetaWorldTasks) -> None:
    env = make_env(ml1.train, 2)
    _, rewards, _, truncated, infos = env.step(np.ones((2, 4), np.float32))
    env.close()
    assert not rewards.any()
    assert not truncated.any()
    assert isinstance(infos["_success"], np.ndarray)
    assert not infos["_success"].any()


def test_two_environments_in_two_threads_do_not_disturb_each_other(
    hard: list[Task], stepper: StepperName
) -> None:
    envs = [make_env(hard, len(hard), horizon=20, stepper=stepper) for _ in range(2)]
    actions = random_actions(7, 20, len(hard))
    alone = play(envs[0], hard, actions)
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda env: played(env, hard, actions), envs))
    assert same(both[0], alone)
    assert same(both[1], alone)


def test_close_may_come_again_and_then_nothing_runs(ml1: MetaWorldTasks, stepper: StepperName) -> None:
    env = make_env(ml1.train, 2, stepper=stepper)
    env.reset()
    env.close()
    env.close()
    for act in (env.reset, lambda: env.set_tasks(ml1.train), lambda: env.step(np.zeros((2, 4)))):
        with pytest.raises(MetarlError, match="closed"):
            act()


CTRL_C = """
import sys
import numpy as np
from metarl.envs.metaworld.rewards.catalog import REWARD_VERSIONS, RewardVersion
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.types import Task

task = Task("reach-v3", (0.0, 0.6, 0.02, 0.0, 0.85, 0.2), "reach")
env = SawyerVectorEnv(families=["reach-v3"], default_tasks=[task], num_envs=40, num_threads=3, horizon=10**6,
                      stepper=sys.argv[1])
env.reset()
print("ready", flush=True)
while True:
    env.step(np.ones((40, 4), np.float32))
"""


def test_ctrl_c_during_a_step_ends_the_interpreter(stepper: StepperName) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, stepper], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGINT)
        try:
            _, errors = program.communicate(timeout=60)
        finally:
            program.kill()
    assert errors.strip().endswith("KeyboardInterrupt")


def test_resets_that_an_earlier_run_kept_are_not_simulated_again(
    ml1: MetaWorldTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = random_actions(8, HORIZON, 2)
    first = played(make_env(ml1.train, 2, cache=tmp_path), ml1.train, actions)
    monkeypatch.setattr(ResetBank, "_simulate", None)
    assert same(played(make_env(ml1.train, 2, cache=tmp_path), ml1.train, actions), first)


def test_suite_keeps_its_resets_in_the_cache_folder(ml1: MetaWorldTasks, cache: Path) -> None:
    env = ml1.make_vector_env(1, engine="threads")
    env.reset()
    env.close()
    assert list((cache / "metarl" / "resets").rglob("pick-place-v3-*.npz"))


def test_unwritable_cache_is_no_mistake(
    ml1: MetaWorldTasks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    env = make_env(ml1.train, 1, cache=tmp_path / "file")
    env.reset()
    env.close()
    assert "cannot be kept" in caplog.text


def test_auto_is_threads(ml1: MetaWorldTasks) -> None:
    env = ml1.make_vector_env(1)
    env.close()
    assert isinstance(env, SawyerVectorEnv)


def test_family_that_the_environment_was_not_given_is_refused(ml1: MetaWorldTasks) -> None:
    env = make_env(ml1.train, 1)
    with pytest.raises(MetarlError, match="'reach-v3'; known are: pick-place-v3"):
        env.set_tasks(tasks_of("reach-v3", (1,)))
    env.close()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ((0.0,) * 5, "6 finite parameters"),
        ((np.nan,) * 6, "6 finite parameters"),
        ((0.0, 0.6, 0.02, 0.0, 0.6, 0.02), "does not accept"),
    ],
    ids=["too few", "no numbers", "goal on the object"],
)
def test_parameters_that_make_no_sense_are_refused(
    ml1: MetaWorldTasks, parameters: tuple[float, ...], said: str
) -> None:
    env = make_env(ml1.train, 1)
    env.set_tasks([Task("pick-place-v3", parameters, "x")])
    with pytest.raises(MetarlError, match=said):
        env.reset()
    env.close()


def test_actions_of_another_shape_are_refused(ml1: MetaWorldTasks) -> None:
    env = make_env(ml1.train, 2)
    with pytest.raises(MetarlError, match=r"Expected actions of shape \(2, 4\), got \(1, 4\)"):
        env.step(np.zeros((1, 4)))
    env.close()


@pytest.mark.parametrize(
    ("num_envs", "threads", "horizon", "said"),
    [(0, 1, 1, "num_envs must be"), (1, -1, 1, "num_threads must be"), (1, 1, 0, "horizon must be")],
)
def test_absurd_number_is_refused(
    ml1: MetaWorldTasks, num_envs: int, threads: int, horizon: int, said: str
) -> None:
    with pytest.raises(MetarlError, match=said):
        make_env(ml1.train, num_envs, threads=threads, horizon=horizon)
