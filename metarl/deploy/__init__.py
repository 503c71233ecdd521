"""Adapt a trained agent on one environment that is not a suite, such as a robot.

    from metarl import deploy

    result = deploy.adapt("runs/point-maml-trpo-seed0", env, "runs/on-my-robot")

The environment runs in this process and in real time. Each episode is written as it happens, adapting is
guarded, and a session that was stopped at any step goes on.
"""

from metarl.deploy.bridges import RobotEnv
from metarl.deploy.clock import SimulatedClock, WallClock
from metarl.deploy.running import Outcome, adapt, go_on
from metarl.deploy.settings import DeploySettings, GuardSettings, SafetySettings
from metarl.deploy.troubles import TroubledEnv

__all__ = [
    "DeploySettings",
    "GuardSettings",
    "Outcome",
    "RobotEnv",
    "SafetySettings",
    "SimulatedClock",
    "TroubledEnv",
    "WallClock",
    "adapt",
    "go_on",
]
