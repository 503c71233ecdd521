"""Actions of a policy on their way to an environment: clipped, rescaled, and recorded as they were drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RescaleAction

from metarl.action_map import ActionMap, describe_actions, hardly_covered, squashed_range
from metarl.cli.main import main
from metarl.envs import from_gymnasium
from metarl.envs.custom.from_gymnasium import ProcessTasks
from metarl.envs.custom.from_vector_env import VectorTasks, from_vector_env
from metarl.envs.custom.perturbations import WeakActuator, with_perturbations
from metarl.envs.locomotion.suite import HalfCheetahDirConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError
from metarl.meta_learner import Action, Inputs
from metarl.plugins.suite_check import check_suite
from metarl.plugins.suite_findings import Findings
from metarl.rollouts.collect import collect
from metarl.sb3.vec_env import TaskVecEnv, in_turn
from metarl.spaces import env_actions
from metarl.types import Params, Task
from metarl.vector_env import TaskVectorEnv
from support.task_envs import Echo, Strict, set_goal


def strict(space: Box | Discrete, **settings: object) -> ProcessTasks:
    kind = type("Strict", (Strict,), {"space": space})
    return from_gymnasium(
        kind,
        sample=[0.1, 0.2, 0.3],
        test_sample=[0.5],
        apply=set_goal,
        horizon=4,
        name="strict",
        **settings,  # type: ignore[arg-type]  # by name
    )


def strict_vector(space: Box | Discrete, **settings: object) -> VectorTasks:
    kind = type("Strict", (Strict,), {"space": space})
    return from_vector_env(
        lambda n: SyncVectorEnv([kind] * n, autoreset_mode=AutoresetMode.DISABLED),
        sample=[0.1, 0.2],
        test_sample=[0.3],
        apply=lambda env, goals: None,
        horizon=4,
        **settings,  # type: ignore[arg-type]  # by name
    )


def got(env: TaskVectorEnv, action: object) -> list[float]:
    """Return the action that the environment got."""
    env.reset(seed=0)
    seen = env.step(np.array([action]))[0][0].tolist()
    env.close()
    return [float(number) for number in seen]


WIDE = Box(np.array([0.0, -1.0], np.float32), np.array([512.0, 1.0], np.float32))


@pytest.mark.parametrize(
    ("space", "mode", "action", "expected"),
    [
        (Box(-1.0, 1.0, (2,), np.float32), "rescale", [0.25, 7.0], [0.25, 1.0]),
        (WIDE, "rescale", [-1.0, -0.5], [0.0, -0.5]),
        (WIDE, "rescale", [0.5, 3.0], [384.0, 1.0]),
        (WIDE, "rescale", [9.0, 0.0], [512.0, 0.0]),
        (WIDE, "clip", [9.0, -3.0], [9.0, -1.0]),
        (Box(0.0, np.inf, (2,), np.float64), "rescale", [-2.0, 9.0], [0.0, 9.0]),
        (Box(-np.inf, np.inf, (2,), np.float64), "rescale", [-2.0, 9.0], [-2.0, 9.0]),
        (Box(-3.4e38, 3.4e38, (2,), np.float32), "rescale", [-2.0, 9.0], [-2.0, 9.0]),
        (Box(-4, 6, (2,), np.int32), "rescale", [-0.99, 0.09], [-4.0, 1.0]),
        (Box(0, 255, (2,), np.uint8), "clip", [-7.0, 2.6], [0.0, 3.0]),
        (Box(-(2**63), 2**63 - 1, (2,), np.int64), "rescale", [-1.6, 2.0], [-2.0, 2.0]),
        (Discrete(3, start=4), "rescale", 6, [6.0, 6.0]),
    ],
)  # fmt: skip
def test_environment_gets_the_action_clipped_and_rescaled(
    space: Box | Discrete, mode: str, action: object, expected: list[float]
) -> None:
    assert got(strict_vector(space, actions=mode).make_vector_env(1), action) == expected


def test_rescaled_actions_are_those_of_gymnasiums_wrapper() -> None:
    wrapped = RescaleAction(Echo(), np.float32(-1.0), np.float32(1.0))
    drawn = np.random.default_rng(0).uniform(-1.0, 1.0, (50, 2)).astype(np.float32)
    theirs = [wrapped.action(action) for action in drawn]
    np.testing.assert_allclose(ActionMap(Echo.action_space)(drawn), theirs, rtol=0, atol=1e-6)


def test_actions_within_minus_one_and_one_stay_bit_for_bit() -> None:
    drawn = np.array([[1e-20, -0.1], [0.3, 1.0]], np.float32)
    np.testing.assert_array_equal(ActionMap(Box(-1.0, 1.0, (2,), np.float32))(drawn), drawn, strict=True)


@pytest.mark.parametrize("mode", ["rescale", "clip"])
def test_environment_in_a_worker_gets_the_same_actions_as_a_vector_environment(mode: str) -> None:
    worker = strict(WIDE, actions=mode).make_vector_env(1, num_workers=1)
    vector = strict_vector(WIDE, actions=mode).make_vector_env(1)
    assert got(worker, [0.5, 3.0]) == got(vector, [0.5, 3.0]) == [384.0 if mode == "rescale" else 0.5, 1.0]


def test_raw_actions_reach_the_environment_and_check_says_what_that_means() -> None:
    tasks = strict_vector(Box(-1.0, 1.0, (2,), np.float32), actions="raw")
    faults = [str(fault) for fault in check_suite(tasks)]
    assert any("An action beyond the action space raises an exception" in fault for fault in faults)
    beyond = strict_vector(Box(-1.0, 1.0, (2,), np.float32))
    assert not any("beyond the action space" in str(fault) for fault in check_suite(beyond))


def test_unknown_mode_and_raw_whole_numbers_are_refused() -> None:
    with pytest.raises(MetarlError, match=r"no way to pass .* called 'rescal'; did you mean 'rescale'"):
        strict(WIDE, actions="rescal")
    with pytest.raises(MetarlError, match=r"whole numbers, Box.*cannot be passed on"):
        strict(Box(0, 9, (2,), np.int64), actions="raw")


class Scripted:
    """Takes one action after the other, the same in both entries."""

    device = torch.device("cpu")

    def __init__(self, script: list[float]) -> None:
        self.script = iter(script)

    def initial_memory(self, episodes: int) -> Params:
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        return Action(torch.full((1, 1, 2), next(self.script)), torch.zeros(1, 1)), memory


@pytest.mark.parametrize(("kind", "start"), [(Box, 0), (Discrete, 0), (Discrete, 4)])
def test_policy_that_exceeds_the_bounds_can_be_rolled_out_and_is_recorded_as_drawn(
    kind: type[Box | Discrete], start: int
) -> None:
    tasks = strict_vector(WIDE if kind is Box else Discrete(2, start=start))
    env = tasks.make_vector_env(1)
    script = [3.0, -1.0, 0.0, 0.5]
    actor = Scripted(script)
    rollout = collect(
        env, [tasks.tasks("train")[0]], actor, episodes=1, horizon=4, rng=np.random.default_rng(0)
    )
    env.close()
    drawn = rollout.actions[0, 0]
    assert drawn[:, 0].tolist() == script
    shown = rollout.observations[0, 0, 1:, 0].tolist()
    assert shown == ([512.0, 0.0, 256.0] if kind is Box else [start] * 3)


def test_perturbations_apply_to_the_rescaled_action() -> None:
    tasks = with_perturbations(strict(WIDE), WeakActuator())
    env = tasks.make_vector_env(1, num_workers=1)
    env.set_tasks([Task("strict", (0.1, 0.5, 1.0), "weak")])
    env.reset(seed=0)
    assert env.step(np.array([[0.5, 0.25]]))[0][0].tolist() == [192.0, 0.25]
    assert env.single_action_space == Box(-1.0, 1.0, (2,), np.float32)
    env.close()


def test_stable_baselines3_acts_in_the_same_space_and_is_rescaled_once() -> None:
    tasks = strict(WIDE)
    for unit in (False, True):
        env = TaskVecEnv(
            tasks.make_vector_env(1, num_workers=1), in_turn(tasks.tasks("train")), unit_actions=unit
        )
        assert env.action_space == Box(-1.0, 1.0, (2,), np.float32)
        env.reset()
        assert env.step(np.array([[0.5, -0.5]]))[0][0].tolist() == [384.0, -0.5]
        env.close()


def test_shipped_suites_read_actions_as_they_are_drawn() -> None:
    suite = HalfCheetahDirConfig().build()
    env: TaskVectorEnv = suite.make_vector_env(1, engine="processes", num_workers=1)
    env.set_tasks(suite.tasks("train")[:1])
    env.reset(seed=0)
    reward = env.step(np.full((1, 6), 3.0, np.float32))[1][0]
    env.reset(seed=0)
    clipped = env.step(np.ones((1, 6), np.float32))[1][0]
    env.close()
    assert reward < clipped - 1.0  # the cost of control is of the action as it came
    assert "as the policy draws them" in describe_actions(suite.action_space, suite)


FILE = """
import gymnasium, numpy as np
from metarl.envs import from_gymnasium

class Wide(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1000, 1000, (1,), np.float32)

LISTS = dict(sample=[1.0, 2.0], test_sample=[3.0], apply=lambda env, goal: None, horizon=5)
rescaled, clipped, raw = (from_gymnasium(Wide, actions=mode, **LISTS) for mode in ("rescale", "clip", "raw"))
"""


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("rescaled", ("the policy's actions are clipped and rescaled from -1..1 to Box(-1000.0, 1000.0",)),
        ("clipped", ("actions are clipped to Box(-1000.0", "covers 0.2 % of the actions -1000..1000")),
        ("raw", ("as the policy draws them", "covers 0.2 % of the actions -1000..1000")),
    ],
)
def test_check_says_what_is_done_with_actions(
    name: str,
    sentences: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("metarl.cli.commands.check.examine", lambda *_: Findings())
    (tmp_path / "wide.py").write_text(FILE)
    assert main(["check", f"{tmp_path / 'wide.py'}:{name}"]) == 0
    said = capsys.readouterr().out
    assert all(sentence in said for sentence in sentences)


def test_half_bounded_actions_and_whole_numbers_are_described() -> None:
    whole = strict(Box(-4, 6, (2,), np.int32))
    assert "clipped, rescaled from -1..1 and rounded to whole numbers to Box(-4" in describe_actions(
        whole.action_space, whole
    )
    mixed = strict(WIDE)
    assert "rescaled from -1..1 in entry 0 to Box(" in describe_actions(mixed.action_space, mixed)
    far = strict(Box(100.0, np.inf, (2,)))
    (note,) = hardly_covered(far.action_space, far)
    assert "draws 0 % of its actions within 100..inf" in note


def test_setting_is_named_only_where_there_is_one() -> None:
    (note,) = hardly_covered((point := PointConfig().build()).action_space, point)
    assert "within -0.1..0.1: shift and scale the action in the environment" in note


def test_ranges_that_a_policy_reaches_are_not_remarked_upon() -> None:
    for low, high in ((-1.0, 1.0), (0.0, np.inf), (-np.inf, np.inf), (-2.0, 2.0)):
        for mode in ("rescale", "clip", "raw"):
            tasks = strict(Box(low, high, (2,)), actions=mode)
            assert hardly_covered(tasks.action_space, tasks) == []


def test_suite_without_the_setting_actions_is_not_advised_to_change_it() -> None:
    suite = PointConfig().build()
    (note,) = hardly_covered(suite.action_space, suite)
    assert note.endswith("shift and scale the action in the environment, so that -1..1 covers what matters.")


TARGET = """
import gymnasium, numpy as np
from metarl.envs import from_gymnasium

class Target(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(0, 512, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}
    def step(self, action):
        assert self.action_space.contains(action)
        return action, -abs(action[0] - self.goal) / 512, False, False, {}

def set_goal(env, goal):
    env.goal = goal

wide = from_gymnasium(Target, sample=lambda rng: rng.uniform(100, 400), apply=set_goal, horizon=20)
"""


def test_actions_far_from_minus_one_and_one_are_learned_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("target.py").write_text(TARGET)
    sampling = ("--sampling.meta-batch-size", "6", "--sampling.episodes", "8", "--sampling.workers", "1")
    evaluation = ("--evaluation.every", "0", "--evaluation.adaptation-steps", "0")
    small = ("--iterations", "1", "--agent.hidden-sizes", "8")
    command = ["train", "--suite", "target.py:wide", "--name", "wide", *sampling, *evaluation, *small]
    assert main(command) == 0
    metrics = json.loads(Path("runs/wide/metrics.jsonl").read_text().splitlines()[-1])
    assert metrics["train/return/step_1"] > metrics["train/return/step_0"] + 0.3


def test_squashed_actions_fill_bounds_and_are_one_where_there_are_none() -> None:
    low, high = [-0.1, 1.0, -np.inf, 0.0, 2.0], [0.1, 4.0, np.inf, np.inf, 2.0]
    space = Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)
    middle, half = squashed_range(space)
    np.testing.assert_allclose(middle, [0.0, 2.5, 0.0, 0.0, 0.0], atol=1e-7)
    np.testing.assert_allclose(half, [0.1, 1.5, 1.0, 1.0, 1.0], rtol=1e-6)


def test_a_range_of_one_action_is_not_told_of() -> None:
    space = Box(np.array([0.0, -1.0], np.float32), np.array([0.0, 1.0], np.float32))
    assert hardly_covered(space, None) == []


def test_an_environment_of_whole_numbers_gets_the_nearest_of_what_a_policy_draws() -> None:
    drawn = np.array([[0.9, -0.9], [1.4, -1.6]])
    assert env_actions(Box(-9, 9, (2,), np.int64), drawn).tolist() == [[1, -1], [1, -2]]
    assert env_actions(Box(-9.0, 9.0, (2,), np.float32), drawn).tolist() == drawn.astype(np.float32).tolist()
