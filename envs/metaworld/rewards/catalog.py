"""All 50 Meta-World v3 tasks by name, with rewards v2 and v1."""

from __future__ import annotations

from typing import Literal, TypeAlias

from metarl.envs.metaworld.rewards import buttons, carrying, doors, handles, plates, reach, sweeping, tools
from metarl.envs.metaworld.rewards.rewards_v1 import original
from metarl.envs.metaworld.rewards.task import SawyerTask
from metarl.errors import unknown_name

RewardVersion: TypeAlias = Literal["v1", "v2"]
REWARD_VERSIONS: tuple[RewardVersion, ...] = ("v2", "v1")
_FAMILIES = (reach, carrying, sweeping, tools, buttons, handles, doors, plates)

# today's rewards, at most 10 a step
TASKS: dict[str, SawyerTask] = {name: task for family in _FAMILIES for name, task in family.TASKS.items()}
# the original rewards, up to thousands a step
ORIGINAL_TASKS: dict[str, SawyerTask] = {name: original(task, name) for name, task in TASKS.items()}


def tasks_with(reward: RewardVersion) -> dict[str, SawyerTask]:
    """Return all tasks with a version's rewards."""
    check_reward(reward)
    return TASKS if reward == "v2" else ORIGINAL_TASKS


def check_reward(reward: str) -> None:
    """Check that Meta-World has such rewards; raise ``MetarlError`` if not."""
    if reward not in REWARD_VERSIONS:
        raise unknown_name("reward version of Meta-World", reward, REWARD_VERSIONS)
