"""The control loop: pace, limits, and all the ways in which safety ends an episode."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from metarl import deploy
from metarl.deploy.clock import SimulatedClock
from metarl.deploy.environment import CheckedEnv
from metarl.deploy.episodes import End, read_episodes
from metarl.deploy.policy import Acting, Vector
from metarl.deploy.running import Outcome
from metarl.deploy.settings import DeploySettings, GuardSettings, SafetySettings
from metarl.deploy.troubles import TroubledEnv
from metarl.envs.toy.cart_pole import CartPoleConfig
from metarl.envs.toy.point import PointConfig
from metarl.errors import MetarlError, Stopped
from metarl.meta_learner import Action
from metarl.success_bonus import with_success_bonus
from metarl.vector_env import Array
from support.robots import HORIZON, Table, untrained_run

QUIET = DeploySettings(
    episodes=2, adaptation_steps=0, adaptation_episodes=1, horizon=HORIZON, guard=GuardSettings(enabled=False)
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def session(run: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """Return a function that runs a session of two episodes in a new folder."""

    def start(env: object, settings: DeploySettings = QUIET, **options: object) -> Outcome:
        return deploy.adapt(run, env, tmp_path / "session", settings, **options)  # type: ignore[arg-type]  # any

    return start


def safe(**settings: object) -> DeploySettings:
    return replace(QUIET, safety=SafetySettings(**settings))  # type: ignore[arg-type]  # by name


def at(step: int, **info: object) -> Callable[[int], object]:
    """Return an environment's fault at a step: terminated, or an entry of info."""
    ended = bool(info.pop("terminated", False))
    return lambda count: (np.zeros(2), -1.0, ended, False, info) if count == step else None


def test_an_episode_ends_at_the_horizon_or_where_its_environment_says(
    session: Callable[..., Outcome],
) -> None:
    outcome = session(Table(at_step=at(4, terminated=True)))
    assert [(episode.end, len(episode.rewards)) for episode in outcome.episodes] == [(End.TERMINATED, 4)] * 2
    assert not outcome.stopped


def test_rewards_and_successes_are_those_of_the_environment(session: Callable[..., Outcome]) -> None:
    env = Table(mark=(0.0, 0.0))
    outcome = session(env, safe(low=(0.05,), high=(0.05,)))  # walks away along the diagonal
    distances = 0.05 * np.sqrt(2) * np.arange(1, HORIZON + 1)
    for episode in outcome.episodes:
        assert episode.rewards == pytest.approx(-distances, rel=1e-6)
        assert episode.success == tuple(distances < 0.1)
        assert (episode.end, episode.solved) == (End.HORIZON, True)


def test_leaving_the_workspace_ends_the_episode_and_the_robot_holds_still(
    session: Callable[..., Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    env = Table()
    with caplog.at_level(logging.INFO, "metarl"):
        outcome = session(env, safe(low=(0.1,), high=(0.1,)), workspace=lambda seen: seen[0] < 0.25)
    # 0.1, 0.2, 0.3: the third observation is outside
    assert [(episode.end, len(episode.rewards)) for episode in outcome.episodes] == [(End.WORKSPACE, 3)] * 2
    assert env.halted == 2
    assert "Safety ended the episode: the workspace was left." in caplog.text


@pytest.mark.parametrize("asks", [False, True])
def test_safety_is_seen_where_the_environment_terminates_at_the_same_step(
    session: Callable[..., Outcome], asks: bool
) -> None:
    fault = at(2, terminated=True, **({"stop": True} if asks else {}))
    inside = iter([True, True, False])
    outcome = session(Table(at_step=fault), safe(max_stopped=1), workspace=lambda _: next(inside))
    episode = outcome.episodes[0]
    assert episode.end is (End.ASKED if asks else End.WORKSPACE)
    assert outcome.stopped == ("the environment asked to stop" if asks else "safety ended 1 episode in a row")
    # and nothing comes after the last step
    rollout = episode.rollout(outcome.adaptation.acting(0), HORIZON)
    assert rollout.terminated[0, 0].tolist() == [False, True, *[False] * (HORIZON - 2)]
    assert not rollout.truncated.any()


class Outer(gymnasium.Wrapper[Array, Array, Array, Array]):
    """A wrapper that holds a robot still and keeps its pace, which the robot itself cannot."""

    def __init__(self, env: Table) -> None:
        super().__init__(env)
        self.said = list[str]()

    def set_pace(self, wait: Callable[[], None]) -> None:
        self.said.append("pace")

    def halt(self) -> None:
        self.said.append("halt")


def test_a_wrapper_may_hold_the_robot_still_at_the_end_of_each_episode(
    session: Callable[..., Outcome],
) -> None:
    env = Table()
    outer = Outer(env)
    session(gymnasium.wrappers.TimeLimit(outer, HORIZON))
    assert (outer.said, env.halted) == (["pace", "halt"] * 2, 0)


class Loose(Table):
    """A robot that cannot be told to hold still."""

    def halt(self) -> None:
        raise ConnectionError("the cable is loose")


def test_robot_that_cannot_hold_still_is_a_fault_that_hides_no_other_and_loses_no_episode(
    session: Callable[..., Outcome], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(MetarlError, match=r"The environment cannot hold still: .*the cable is loose"):
        session(Loose())
    assert len(read_episodes(tmp_path / "session" / "episodes")) == 1

    def fall(step: int) -> object:
        raise RuntimeError("fell over")

    with pytest.raises(MetarlError, match="The environment fails at step 1: RuntimeError: fell over"):
        deploy.go_on(tmp_path / "session", Loose(at_step=fall))
    assert "The environment cannot hold still" in caplog.text


def test_robot_is_held_still_at_once_where_safety_ends_the_episode(session: Callable[..., Outcome]) -> None:
    class Timed(Table):
        def halt(self) -> None:
            halted.append(clock.now())

    clock, halted = SimulatedClock(), list[float]()
    settings = replace(safe(low=(0.1,), high=(0.1,)), frequency=10.0)
    session(Timed(), settings, clock=clock, workspace=lambda seen: seen[0] < 0.25)
    # the third step, 0.2 s after the first, leads outside; the second episode starts then
    assert halted == pytest.approx([0.2, 0.4])


def test_a_stop_between_episodes_does_not_move_the_robot(session: Callable[..., Outcome]) -> None:
    env = Table()
    with pytest.raises(Stopped):
        session(env, should_stop=lambda: len(env.sent) == HORIZON)
    assert (env.resets, env.halted) == (1, 1)


def test_a_return_below_the_floor_ends_the_episode(session: Callable[..., Outcome]) -> None:
    env = Table(mark=(0.0, 0.0))
    outcome = session(env, safe(low=(0.1,), high=(0.1,), min_return=-0.5))
    # returns are -0.14, -0.42, -0.85
    assert [(episode.end, len(episode.rewards)) for episode in outcome.episodes] == [(End.RETURN, 3)] * 2


def test_session_stops_after_so_many_unsafe_episodes_in_a_row(session: Callable[..., Outcome]) -> None:
    settings = replace(safe(max_stopped=2), episodes=9)
    outcome = session(Table(), settings, workspace=lambda seen: not seen.any())
    assert len(outcome.episodes) == 2
    assert outcome.stopped == "safety ended 2 episodes in a row"


def test_environment_may_ask_to_stop_the_session(session: Callable[..., Outcome]) -> None:
    env = Table(at_step=at(3, stop=True))
    outcome = session(env)
    assert [episode.end for episode in outcome.episodes] == [End.ASKED]
    assert (outcome.stopped, env.halted) == ("the environment asked to stop", 1)


def test_first_observation_outside_the_workspace_is_refused(session: Callable[..., Outcome]) -> None:
    with pytest.raises(MetarlError, match="first observation must be inside the workspace"):
        session(Table(), workspace=lambda seen: False)


def test_workspace_that_raises_ends_in_a_sentence_and_one_that_writes_changes_nothing(
    session: Callable[..., Outcome], tmp_path: Path
) -> None:
    def write(seen: Vector) -> bool:
        seen += 7.0
        return True

    def fail(seen: Vector) -> bool:
        return {0.0: True}[float(seen[0])]

    outcome = session(Table(), safe(low=(0.1,), high=(0.1,)), workspace=write)
    assert outcome.episodes[0].observations[:, 0] == pytest.approx(0.1 * np.arange(HORIZON))
    env = Table()
    with pytest.raises(MetarlError, match="The workspace cannot be judged: KeyError"):
        deploy.go_on(tmp_path / "session", env, episodes=3, workspace=fail)
    assert (len(env.sent), env.halted) == (1, 1)
    with pytest.raises(MetarlError, match="The workspace cannot be judged: SystemExit: out of reach"):
        deploy.go_on(tmp_path / "session", env, episodes=3, workspace=lambda _: sys.exit("out of reach"))


@pytest.mark.parametrize("answer", ["False", np.array([False, True]), None, 0.5])
def test_workspace_that_returns_no_truth_value_is_refused(
    session: Callable[..., Outcome], answer: object
) -> None:
    with pytest.raises(MetarlError, match="Expected the workspace to return True, False, 0 or 1, got "):
        session(Table(), workspace=lambda seen: answer)


def test_an_action_that_is_not_finite_is_not_sent(
    session: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    act = Acting.act

    def broken(acting: Acting, observation: Vector) -> Action:
        action = act(acting, observation)
        return action._replace(actions=action.actions * (np.nan if observation.any() else 1.0))

    monkeypatch.setattr(Acting, "act", broken)
    env = Table()
    outcome = session(env)
    assert [(episode.end, len(episode.rewards)) for episode in outcome.episodes] == [(End.NOT_FINITE, 1)] * 2
    assert len(env.sent) == 2
    assert env.halted == 2


def troubled(clock: SimulatedClock, **troubles: float) -> TroubledEnv:
    return TroubledEnv(Table(), clock, np.random.default_rng(0), **troubles)  # type: ignore[arg-type]  # by name


def test_jitter_within_the_period_does_not_move_a_tick(session: Callable[..., Outcome]) -> None:
    clock = SimulatedClock()
    env = troubled(clock, step_seconds=0.004, jitter=0.001)
    settings = replace(QUIET, frequency=50.0, episodes=20)
    timing = session(env, settings, clock=clock).timing
    assert timing.missed == 0
    assert timing.periods == pytest.approx([0.02] * 20 * HORIZON)


def test_jitter_beyond_the_period_is_counted_and_stays_on_the_grid(session: Callable[..., Outcome]) -> None:
    clock = SimulatedClock()
    env = troubled(clock, step_seconds=0.004, jitter=0.01)
    settings = replace(QUIET, frequency=100.0, episodes=20)
    timing = session(env, settings, clock=clock).timing
    ticks = np.array(timing.periods) / 0.01
    assert ticks == pytest.approx(ticks.round())
    # P(0.004 + jitter > 0.01) = exp(-0.6) = 0.55 of the steps
    assert timing.missed / len(ticks) == pytest.approx(0.55, abs=0.15)
    assert timing.missed == (ticks.round() > 1).sum()
    assert timing.period is not None
    assert timing.period.worst == max(timing.periods)


def test_too_many_missed_deadlines_stop_the_session(session: Callable[..., Outcome]) -> None:
    clock = SimulatedClock()
    settings = replace(safe(max_missed=2), frequency=100.0)
    outcome = session(troubled(clock, step_seconds=0.015), settings, clock=clock)
    # the fourth step sees that three have been missed
    assert [(episode.end, len(episode.rewards)) for episode in outcome.episodes] == [(End.DEADLINES, 4)]
    assert outcome.stopped == "control missed too many deadlines"


def test_a_missing_observation_is_replaced_by_the_last_one(session: Callable[..., Outcome]) -> None:
    def lose(step: int) -> object:
        return (None, -1.0, False, False, {}) if step in (2, 3) else None

    outcome = session(Table(at_step=lose), safe(low=(0.1,), high=(0.1,)))
    seen = outcome.episodes[0].observations[:, 0]
    assert seen == pytest.approx([0.0, 0.1, 0.1, 0.1, 0.4, 0.5])
    assert outcome.timing.dropped == 4


def test_too_many_missing_observations_in_a_row_stop_the_session(session: Callable[..., Outcome]) -> None:
    lost = (None, 0.0, False, False, {})
    outcome = session(Table(at_step=lambda step: lost), safe(max_dropped=3))
    assert [(episode.end, len(episode.rewards)) for episode in outcome.episodes] == [(End.DROPPED, 4)]


def test_late_actions_arrive_in_order() -> None:
    clock, table = SimulatedClock(), Table()
    env = TroubledEnv(table, clock, np.random.default_rng(0), delay=2)
    env.reset()
    for number in range(1, 5):
        env.step(np.full(2, 0.01 * number))
    assert [action[0] for action in table.sent] == pytest.approx([0.0, 0.0, 0.01, 0.02])


def test_so_many_observations_go_missing() -> None:
    env = troubled(SimulatedClock(), dropped=0.3)
    env.reset()
    lost = [env.step(np.zeros(2))[0] is None for _ in range(2000)]
    assert np.mean(lost) == pytest.approx(0.3, abs=0.04)


def test_environment_that_paces_itself_is_not_waited_for_twice(session: Callable[..., Outcome]) -> None:
    class SelfPaced(Table):
        def set_pace(self, wait: Callable[[], None]) -> None:
            self.wait = wait

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
            self.wait()
            return super().step(action)

    clock = SimulatedClock()
    timing = session(SelfPaced(), replace(QUIET, frequency=10.0), clock=clock).timing
    assert timing.periods == pytest.approx([0.1] * 2 * HORIZON)


def test_environment_that_refuses_its_pace_is_a_fault(session: Callable[..., Outcome]) -> None:
    class Refuses(Table):
        def set_pace(self, wait: Callable[[], None]) -> None:
            raise RuntimeError("no")

    with pytest.raises(MetarlError, match="The environment cannot be given its pace: RuntimeError: no"):
        session(Refuses())


def test_success_is_paid_as_in_training_and_an_environment_may_write_to_its_action(tmp_path: Path) -> None:
    class Writes(Table):
        def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, object]]:
            result = super().step(action)
            action[:] = 9.0
            return result

    paid = CheckedEnv(
        Writes((0.0, 0.0)), with_success_bonus(PointConfig().build(), 5.0), SafetySettings(), "clip"
    )
    paid.reset()
    found = [paid.send(np.array([0.08, 0.0], np.float32)) for _ in range(2)]
    assert [seen.reward for seen in found] == pytest.approx([5 - 0.08, -0.16])  # within 0.1 of the mark
    assert [seen.sent.tolist() for seen in found] == [pytest.approx([0.08, 0.0])] * 2


def test_rehearsal_refuses_negative_times() -> None:
    for trouble in ("step_seconds", "jitter", "delay"):
        with pytest.raises(MetarlError, match="must be at least 0, but it is -1"):
            troubled(SimulatedClock(), **{trouble: -1})


def test_actions_are_rescaled_as_the_suite_rescales_them_or_as_the_setting_says() -> None:
    suite, wide = PointConfig().build(), Table(action_space=Box(-2.0, 4.0, (2,), np.float64))
    wide.reset()
    for mode, expected in (("as-trained", [-0.5, 1.0]), ("clip", [-0.5, 1.0]), ("rescale", [-0.5, 4.0])):
        checked = CheckedEnv(wide, suite, SafetySettings(), mode)  # type: ignore[arg-type]  # one of them
        checked.reset()
        assert checked.send(np.array([-0.5, 1.0], np.float32)).sent == pytest.approx(expected)
    poles = CartPoleConfig().build()
    table = Table(observation_space=Box(-1, 1, (4,)), action_space=Discrete(2, start=3))  # type: ignore[arg-type]  # choices
    chosen = CheckedEnv(table, poles, SafetySettings(), "as-trained")._mapped(
        np.array([0.0, 1.0], np.float32)
    )
    assert chosen == 4
    with pytest.raises(MetarlError, match="Limits need actions that are numbers"):
        CheckedEnv(table, poles, SafetySettings(max_change=(0.1,)), "as-trained")
