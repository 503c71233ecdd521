"""Robots that speak in dictionaries, after LeRobot's documented interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from metarl.deploy.bridges import Named, Robot, RobotEnv
from metarl.errors import MetarlError


class Arm:
    """Two joints and a force sensor, which follow their goals half the way at each step."""

    observation_features: ClassVar[Mapping[str, object]] = {
        "shoulder.pos": float,
        "elbow.pos": float,
        "force": (2,),
        "camera": (48, 64, 3),
    }
    action_features: ClassVar[Mapping[str, object]] = {"shoulder.pos": float, "elbow.pos": float}

    def __init__(self) -> None:
        self.is_connected, self.log = False, list[str]()
        self.place = {"shoulder.pos": 10.0, "elbow.pos": -5.0}

    def connect(self) -> None:
        self.is_connected = True
        self.log.append("connect")

    def disconnect(self) -> None:
        self.is_connected = False
        self.log.append("disconnect")

    def get_observation(self) -> dict[str, object]:
        assert self.is_connected
        self.log.append("observe")
        return {**self.place, "force": np.array([0.5, -0.5]), "camera": None}

    def send_action(self, action: dict[str, float]) -> Mapping[str, object]:
        assert self.is_connected
        self.log.append("send")
        taken = {name: float(np.clip(value, -90.0, 90.0)) for name, value in action.items()}
        self.place = {name: (self.place[name] + value) / 2 for name, value in taken.items()}
        return taken


def place_at_zero(robot: Robot) -> None:
    assert isinstance(robot, Arm)
    robot.place = {"shoulder.pos": 0.0, "elbow.pos": 0.0}


def rest(robot: Robot) -> None:
    robot.send_action({"shoulder.pos": 0.0, "elbow.pos": 0.0})


def cost(seen: Named, sent: Named) -> float:
    return -abs(cast("float", seen["shoulder.pos"])) - 0.01 * abs(cast("float", sent["elbow.pos"]))


def env_of(arm: Arm) -> RobotEnv:
    return RobotEnv(
        arm,
        observations=["elbow.pos", "force", "shoulder.pos"],
        actions={"shoulder.pos": (-180.0, 180.0), "elbow.pos": (-45.0, 45.0)},
        reward=cost,
        home=place_at_zero,
        success=lambda seen: cast("float", seen["shoulder.pos"]) > 20.0,
        halt=rest,
    )


def test_names_become_vectors_in_the_order_of_the_lists() -> None:
    env = env_of(Arm())
    seen, _ = env.reset()
    assert seen.tolist() == [0.0, 0.5, -0.5, 0.0]
    seen, reward, terminated, truncated, info = env.step(np.array([100.0, 45.0], np.float32))
    # the robot takes 90 of the 100 degrees, and goes half the way
    assert seen.tolist() == [22.5, 0.5, -0.5, 45.0]
    assert reward == pytest.approx(-45 - 0.45)
    assert (terminated, truncated, info) == (False, False, {"success": True})


def test_robot_waits_between_sending_and_observing() -> None:
    arm = Arm()
    env = env_of(arm)
    env.set_pace(lambda: arm.log.append("wait"))
    env.reset()
    env.step(np.zeros(2, np.float32))
    env.close()
    assert arm.log == ["connect", "observe", "send", "wait", "observe", "disconnect"]


@pytest.mark.filterwarnings("ignore:.*(symmetric and normalized|infinity)")  # a robot's units are its own
def test_gymnasium_finds_no_fault() -> None:
    check_env(env_of(Arm()), skip_render_check=True, skip_close_check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": ["elbow.po"]}, "did you mean 'elbow.pos'"),
        ({"actions": {"wrist": (0.0, 1.0)}}, "There is no action of the robot called 'wrist'"),
        ({"observations": []}, "There must be an observation at least"),
        ({"actions": {}}, "There must be an action at least"),
    ],
)
def test_unknown_names_are_refused(changes: dict[str, object], message: str) -> None:
    given: dict[str, object] = {
        "observations": ["elbow.pos"],
        "actions": {"elbow.pos": (0.0, 1.0)},
        "reward": cost,
        "home": rest,
    }
    with pytest.raises(MetarlError, match=message):
        RobotEnv(Arm(), **{**given, **changes})  # type: ignore[arg-type]  # wrong on purpose


def test_missing_observation_is_named() -> None:
    arm = Arm()
    env = env_of(arm)
    env.reset()
    arm.get_observation = lambda: {"elbow.pos": 0.0}  # type: ignore[method-assign]  # a broken sensor
    with pytest.raises(MetarlError, match="force"):
        env.step(np.zeros(2, np.float32))
