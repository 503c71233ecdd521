"""Protocol of task distributions, which make the vector environments of their tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

import gymnasium
import numpy as np
from annotated_types import Ge

from metarl.errors import MetarlError, unknown_name
from metarl.settings import check_number
from metarl.text import shown
from metarl.types import Task
from metarl.vector_env import TaskVectorEnv

Split: TypeAlias = Literal["train", "test"]
MAX_DRAWS = 100  # most draws in place of training tasks that turn out to be held out


class TaskDistribution(Protocol):
    """Tasks for training and testing."""

    @property
    def name(self) -> str:
        """Its name in results, ``"ml1-reach-v3"``."""

    @property
    def observation_space(self) -> gymnasium.spaces.Box:
        """Space of one observation."""

    @property
    def action_space(self) -> gymnasium.spaces.Box | gymnasium.spaces.Discrete:
        """Space of one action: a vector, or one choice of several."""

    @property
    def horizon(self) -> int:
        """Steps after which an episode is truncated."""

    @property
    def reports_success(self) -> bool:
        """Whether environments report solved tasks."""

    def tasks(self, split: Split) -> Sequence[Task]:
        """Return a split's tasks in fixed order, of infinite ones some."""

    def sample(self, num_tasks: int, rng: np.random.Generator, split: Split = "train") -> list[Task]:
        """Draw a split's tasks, evenly over families.

        Args:
            num_tasks: how many, one or more; beyond the size of a finite split tasks come again.
            rng: the only source of randomness.
            split: which tasks.
        """

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment with ``num_envs`` slots.

        Args:
            num_envs: slots.
            engine: ``"auto"`` for the suite's fastest, or one by name.
            num_workers: processes or threads; 0 for one a core.

        Raises:
            MetarlError: if the suite does not run on that engine.
        """


@runtime_checkable
class TestsOnTrainingTasks(Protocol):
    """A :class:`TaskDistribution` that may test on training tasks, having no others."""

    @property
    def tests_on_training_tasks(self) -> bool:
        """Whether it does; its name then says so, ``"half-cheetah-dir-published"``."""


@runtime_checkable
class ControlledInTime(Protocol):
    """A :class:`TaskDistribution` with a known duration of steps."""

    def control_step(self) -> float | None:
        """Return the seconds from an action to the next; None if they are unknown."""


@runtime_checkable
class HasModels(Protocol):
    """A :class:`TaskDistribution` with models in files."""

    def model_sums(self) -> Mapping[str, str]:
        """Return SHA-256 sums of families' model files."""


class Parameter(NamedTuple):
    """One of a task's numbers."""

    name: str
    observed: bool
    """Whether an agent may observe it, such as where an object is; all others it has to infer."""
    trained: tuple[float, float] | None = None
    """Range of a factor in training, where evaluations are to tell values inside from those outside."""


@runtime_checkable
class DescribesParameters(Protocol):
    """A :class:`TaskDistribution` that describes its tasks' parameters."""

    def describe_parameters(self, family: str) -> Sequence[Parameter]:
        """Describe each parameter of a family's tasks."""


def check_split(split: object) -> None:
    """Raise MetarlError unless a split is "train" or "test"."""
    if split not in get_args(Split):
        raise unknown_name("split", split, get_args(Split))


def check_draw(num_tasks: object, rng: object, split: object) -> None:
    """Check the arguments of ``sample``, or raise MetarlError."""
    check_number("the number of tasks to sample", num_tasks, Annotated[int, Ge(1)])
    if not isinstance(rng, np.random.Generator):
        raise MetarlError(f"Expected rng to be a numpy.random.Generator, got {shown(rng)}.")
    check_split(split)


def check_disjoint(distribution: TaskDistribution) -> None:
    """Raise MetarlError if a test task is a training task."""
    few = isinstance(distribution, TestsOnTrainingTasks) and distribution.tests_on_training_tasks
    train = {(task.family, task.parameters) for task in distribution.tasks("train") if not few}
    train_ids = {task.id for task in distribution.tasks("train")}
    for task in distribution.tasks("test"):
        if task.id in train_ids or (task.family, task.parameters) in train:
            raise MetarlError(f"Test task {task.id!r} of {distribution.name} is also a training task.")


def sample_training(distribution: TaskDistribution, num_tasks: int, rng: np.random.Generator) -> list[Task]:
    """Draw training tasks that are not test tasks.

    Ranges that are drawn from may meet the listed test tasks, which :func:`check_disjoint` cannot see.

    Raises:
        MetarlError: if the distribution draws test tasks again and again.
    """
    drawn = distribution.sample(num_tasks, rng)
    if isinstance(distribution, TestsOnTrainingTasks) and distribution.tests_on_training_tasks:
        return drawn
    held_out = {(task.family, task.parameters) for task in distribution.tasks("test")}
    for _ in range(MAX_DRAWS):
        places = [i for i, task in enumerate(drawn) if (task.family, task.parameters) in held_out]
        if not places:
            return drawn
        fresh = distribution.sample(num_tasks, rng)  # as many, so that families stay as even
        for place in places:
            drawn[place] = fresh[place]
    raise MetarlError(
        f"sample() of {distribution.name} must draw training tasks, but it draws {drawn[places[0]].id!r}, "
        "which is held out; keep the tasks to test on out of what it draws from."
    )


def sample_evenly(tasks: Sequence[Task], num_tasks: int, rng: np.random.Generator) -> list[Task]:
    """Draw tasks as evenly over families as possible.

    Which families get the remainder, and which tasks of a family are taken, is random; a task comes a second
    time only when its family has no other left.

    Raises:
        MetarlError: if ``num_tasks`` is not positive, or there is nothing to draw from.
    """
    check_number("the number of tasks to sample", num_tasks, Annotated[int, Ge(1)])
    if not tasks:
        raise MetarlError(f"Expected tasks to draw {num_tasks} from, got none.")
    families: dict[str, list[Task]] = {}
    for task in tasks:
        families.setdefault(task.family, []).append(task)
    # every family gets ``rounds`` tasks, and a random few get one more
    rounds, remainder = divmod(num_tasks, len(families))
    extra = set(rng.permutation(len(families))[:remainder].tolist())
    drawn = []
    for index, members in enumerate(families.values()):
        count = rounds + (index in extra)
        # whole permutations in a row: no repeat before all members have been drawn
        order = [rng.permutation(len(members)) for _ in range(-(-count // len(members)))]
        drawn += [members[i] for i in np.concatenate(order)[:count]] if count else []
    return drawn
