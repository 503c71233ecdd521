"""Models and initial states of Meta-World's tasks, shared by its engines."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.metaworld.models import METAWORLD_MODELS, Models
from metarl.envs.metaworld.rendering import FullModel, Look, full_model
from metarl.envs.metaworld.reset_bank import Constants, Extractor, ResetBank, Snapshot
from metarl.envs.metaworld.rewards.catalog import RewardVersion, tasks_with
from metarl.envs.metaworld.rewards.constants import constants_of
from metarl.envs.metaworld.rewards.task import SawyerTask
from metarl.errors import require, unknown_name
from metarl.storage.files import WriteError
from metarl.types import Task

logger = logging.getLogger(__name__)


def episode_constants(env: SawyerXYZEnv, family: str) -> Constants:
    """Return the reward constants that a reset fixes."""
    version: RewardVersion = vars(env)["reward_function_version"]  # its base class does not declare it
    return {"reward": constants_of(env, tasks_with(version)[family])}


@dataclass(frozen=True)
class Families:
    """Families that an engine can run, by default Meta-World's own 50."""

    # families by name, for a reward version
    catalog: Callable[[RewardVersion], Mapping[str, SawyerTask]] = tasks_with
    constants: Extractor = episode_constants  # of the rewards, fixed by a reset, under "reward"
    models: Models = METAWORLD_MODELS  # where their environments and models come from
    full_model: FullModel = full_model  # compiles a family's model with visual parts
    look: Look | None = None  # changes that model for a task's pictures


METAWORLD = Families()


class SawyerResets:
    """An engine's families and reset bank.

    ``families`` are all that a task may be of, ``default_tasks`` those that are sure to be needed; ``cache``
    is the folder in which the states after resets are kept, None keeps them in memory only. Unknown rewards
    and a default task of no family here raise ``MetarlError``.
    """

    def __init__(
        self,
        families: Sequence[str],
        default_tasks: Sequence[Task],
        *,
        cache: Path | None,
        reward_version: RewardVersion,
        known: Families = METAWORLD,
    ) -> None:
        require(len(default_tasks) > 0, "default_tasks must name at least one task", "empty")
        self.families = {family: index for index, family in enumerate(families)}  # the number of each family
        self.default_tasks = tuple(default_tasks)
        self.check_families(default_tasks)
        catalog = known.catalog(reward_version)
        # the observation and reward of each family
        self.catalog: dict[str, SawyerTask] = {family: catalog[family] for family in self.families}
        # versions of the constants have folders of their own
        folder = None if cache is None else cache / _constants_version(catalog)
        features = {family: task.features for family, task in self.catalog.items()}
        self._bank = ResetBank(
            features, folder=folder, constants=known.constants, reward=reward_version, models=known.models
        )
        self._prepared: set[str] = set()  # families with the resets of their default tasks in the bank

    def model(self, family: str) -> mujoco.MjModel:
        """Return a family's physics model, which no one may write to."""
        return self._bank.model(family)

    def models(self) -> list[mujoco.MjModel]:
        """Return every family's model, in order."""
        return [self._bank.model(family) for family in self.families]

    def numbers(self, tasks: Sequence[Task]) -> list[int]:
        """Return the number of each task's family."""
        return [self.families[task.family] for task in tasks]

    def check_families(self, tasks: Sequence[Task]) -> None:
        """Check that tasks are of known families; raise ``MetarlError`` if not."""
        for task in tasks:
            if task.family not in self.families:
                raise unknown_name("family of this environment", task.family, self.families)

    def snapshots(self, tasks: Sequence[Task]) -> list[Snapshot]:
        """Return the states that the tasks start from.

        The default tasks of a family are simulated together when the first of them is needed: Meta-World's
        environment takes longer to build than 20 resets, so it is built once for all of them.
        """
        families = {task.family for task in tasks}
        wanted = {task for task in self.default_tasks if task.family in families - self._prepared}
        for task in sorted({*wanted, *tasks}, key=lambda task: task.family):
            self._bank.snapshot(task.family, task.parameters)
        if wanted:
            self._save()
        self._prepared |= families
        return [self._bank.snapshot(task.family, task.parameters) for task in tasks]

    def close(self) -> None:
        """Save the states of new tasks."""
        self._save()
        self._bank.close()

    def _save(self) -> None:
        try:
            self._bank.save()
        except WriteError as error:
            logger.warning("The states after resets cannot be kept: %s", error)


def _constants_version(catalog: Mapping[str, SawyerTask]) -> str:
    """Return a name for the order in which reward constants are kept."""
    order = sorted((family, tuple(task.constant_places)) for family, task in catalog.items())
    return hashlib.sha256(repr(order).encode()).hexdigest()[:12]
