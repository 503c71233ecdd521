"""Config of a run, written as JSON to its folder and checkpoints.

Suites and agents bring configs of their own, found by name through the entry points; here are the two bases
that they inherit and everything that all runs share.
"""

from __future__ import annotations

import dataclasses
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
import tyro
from annotated_types import Ge, Le

from metarl.errors import MetarlError, naming, require, unknown_name
from metarl.meta_learner import MetaLearner, Trial
from metarl.settings import (
    Episodes,
    Seed,
    Settings,
    Workers,
    as_typed,
    fits,
    hints_of,
    setting_names,
    wrong_type,
)
from metarl.success_bonus import bonus_name, with_success_bonus
from metarl.tasks import TaskDistribution
from metarl.types import Json


@dataclass(frozen=True, kw_only=True)
class SuiteConfig(Settings, ABC):
    """Settings of a task distribution; the entry-point group is ``metarl.suites``."""

    kind: ClassVar[str]
    """The entry point's name."""
    training_only: ClassVar[tuple[str, ...]] = ()
    """Names of the settings that change training tasks alone: what is held out is the same for any value."""

    @property
    def label(self) -> str:
        """The suite's name in results and run folders."""
        return self.kind

    @property
    def test_settings(self) -> SuiteConfig:
        """The settings of the held-out tasks: these, with the defaults of ``training_only``."""
        fields = {item.name: item.default for item in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: fields[name] for name in self.training_only})

    @abstractmethod
    def build(self) -> TaskDistribution:
        """Return the task distribution."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig(Settings, ABC):
    """Settings of an agent; entry-point group ``metarl.agents``."""

    kind: ClassVar[str]
    """The entry point's name."""
    source: ClassVar[str]
    """Where the algorithm was published."""
    trial: ClassVar[Trial] = "parallel"
    """How a task's episodes relate."""

    @abstractmethod
    def build(
        self, suite: TaskDistribution, *, seed: int, device: torch.device, sampling: SamplingConfig
    ) -> MetaLearner:
        """Return an agent with freshly drawn parameters.

        Args:
            suite: gives the spaces of observations and actions, and the horizon.
            seed: where the parameters are drawn from.
            device: where the agent computes.
            sampling: how many tasks and episodes each meta-batch has, for agents that keep what they saw.
        """


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
    """How a meta-batch is collected."""

    meta_batch_size: Annotated[int, Ge(1), Le(10_000)] = 20
    """Tasks in a meta-batch."""
    episodes: Episodes = 10
    """Episodes of each task before each adaptation, and after the last."""
    training_tasks: Annotated[int, Ge(0), Le(1_000_000)] = 0
    """Training tasks of the whole run.
    Drawn once by its seed; 0 draws from all of the suite's each time."""
    engine: str = "auto"
    """Engine of environments; "auto" takes the suite's fastest."""
    workers: Workers = 0
    """Worker processes or threads; 0 uses every core.
    Results do not depend on it."""


@dataclass(frozen=True, kw_only=True)
class MeasurementConfig(Settings):
    """How adaptation to a task is measured."""

    adaptation_steps: Annotated[int, Ge(0), Le(100)] = 3
    """Most adaptation steps of a full evaluation."""
    episodes: Episodes = 10
    """Episodes per task and number of adaptation steps."""
    adaptation_episodes: Episodes = 10
    """Episodes of each task per adaptation step."""
    deterministic: bool = False
    """Measure the most likely actions, not drawn ones."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(MeasurementConfig):
    """When adaptation to held-out tasks is measured in a run, and how."""

    every: Annotated[int, Ge(0)] = 5
    """Iterations between evaluations; 0 leaves only the last."""
    tasks: Annotated[int, Ge(1), Le(100_000)] = 10
    """Held-out tasks of evaluations during training.
    These adapt as often as training does, and once at least unless the agent has a memory; the full
    evaluation at the end takes every task."""
    patience: Annotated[int, Ge(0), Le(10_000_000)] = 0
    """Stop after this many evaluations without improvement.
    They come in a row without a better held-out return; 0 never stops early."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Settings):
    """When the run is saved."""

    every: Annotated[int, Ge(1)] = 1
    """Iterations between checkpoints; the last is always saved."""
    keep: Annotated[int, Ge(1)] = 3
    """Newest checkpoints that stay on disk."""
    keep_best: bool = False
    """Also keep the checkpoint of best held-out return.
    It is RUN/checkpoints/best."""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(Settings):
    """One run, whole: the same config, seed and versions give the same numbers, bit for bit, on a CPU."""

    suite: Annotated[SuiteConfig, tyro.conf.arg(name="")]
    """Tasks; on the command line without a prefix."""
    agent: AgentConfig
    """The algorithm."""
    name: str = ""
    """Folder under runs/.
    Left empty, it is made from the suite, the agent and the seed."""
    success_bonus: Annotated[float, Ge(0), Le(1e6)] = 0.0
    """Added reward of steps that solve the task.
    Paid in training and in testing."""
    iterations: Annotated[int, Ge(1), Le(10_000_000)] = 40
    """Meta-iterations: one meta-batch and one update each."""
    seed: Seed = 0
    """Seed of every random number of the run."""
    threads: Workers = 0
    """Threads of adapting and learning.
    0 takes one a core, OMP_NUM_THREADS at most. Results do not depend on it."""
    device: str = "cpu"
    """Where policies act and learn: "cpu", "cuda", "cuda:1"."""
    loggers: tuple[str, ...] = ()
    """Loggers beside the run's folder, such as "wandb".
    `metarl list loggers` has them all."""
    init_from: str = ""
    """Run, checkpoint or PPO file to start from.
    Runs and checkpoints of the same agent, PPO files of stable-baselines3."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How a meta-batch is collected."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How adaptation to held-out tasks is measured."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """When the run is saved."""

    def __post_init__(self) -> None:
        super().__post_init__()
        single = self.name.strip(".") != "" and not set(self.name) & set("/\\\0")
        require(self.name == "" or single, "name must be a single folder name", repr(self.name))
        check_device(self.device)

    @property
    def label(self) -> str:
        """The tasks' name in results, with any bonus."""
        return bonus_name(self.suite.label, self.success_bonus)

    def build_suite(self) -> TaskDistribution:
        """Build the tasks; MetarlError if they report no success for the bonus."""
        return with_success_bonus(self.suite.build(), self.success_bonus)


def check_device(name: str) -> None:
    """Check that PyTorch computes on a device; MetarlError if it cannot here."""
    available = "cpu and cuda" if torch.cuda.is_available() else "only cpu"
    refusal = MetarlError(f"Device {name!r} is not available here ({available} can be used).")
    try:
        kind = torch.empty(1, device=name).device.type
    except (RuntimeError, AssertionError) as error:
        raise refusal from error
    if kind not in ("cpu", "cuda"):  # "meta" allocates, but computes nothing
        raise refusal


def to_json(config: ExperimentConfig) -> dict[str, Json]:
    """Return the config as JSON; suite and agent carry their ``kind``."""
    data: dict[str, Json] = dataclasses.asdict(config)
    for part in ("suite", "agent"):
        own, fields = getattr(config, part), data[part]
        assert isinstance(fields, dict)
        data[part] = {"kind": own.kind, **{name: fields[name] for name in setting_names(own)}}
    return data


def from_json(
    data: Mapping[str, Json],
    suite: Callable[[str], type[SuiteConfig]],
    agent: Callable[[str], type[AgentConfig]],
) -> ExperimentConfig:
    """Return :func:`to_json`'s config, classes found by kind."""
    sections: dict[str, type] = {
        "sampling": SamplingConfig,
        "evaluation": EvaluationConfig,
        "checkpoint": CheckpointConfig,
        "suite": suite(_kind(data, "suite")),
        "agent": agent(_kind(data, "agent")),
    }
    values: dict[str, object] = dict(data)
    for name, section in sections.items():
        fields = data.get(name, {})
        if not isinstance(fields, dict):
            raise MetarlError(f"The section {name!r} of a config must be an object, but it is {fields!r}.")
        with naming(name):
            values[name] = construct(section, {key: value for key, value in fields.items() if key != "kind"})
    return construct(ExperimentConfig, values)


ConfigT = typing.TypeVar("ConfigT")


def _kind(data: Mapping[str, Json], part: str) -> str:
    fields = data.get(part)
    if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
        raise MetarlError(f"A config names the kind of its {part}; this one has {fields!r}.")
    return str(fields["kind"])


def construct(config: type[ConfigT], values: Mapping[str, object]) -> ConfigT:
    """Build any config from settings by name; lists become tuples where the type is not ``list``.

    Raises:
        MetarlError: if a setting is unknown or missing, or a value has the wrong type or is out of range.
    """
    known, hints, settings = setting_names(config), hints_of(config), dict[str, object]()
    for name, value in values.items():
        if name not in known:
            raise unknown_name(f"setting of {config.__name__}", name, known)
        if not fits(value, hints[name]):
            raise wrong_type(config, name, value, hints[name])
        settings[name] = as_typed(value, hints[name])
    try:
        return config(**settings)
    except TypeError as error:
        raise MetarlError(f"The settings of {config.__name__} do not fit together: {error}.") from error
