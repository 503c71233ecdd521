"""Baselines, and the environment steps of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Le

from metarl.baselines.learners import AlgorithmName
from metarl.config import MeasurementConfig
from metarl.errors import require
from metarl.evaluation.evaluate import episodes_of_step
from metarl.meta_learner import Trial
from metarl.settings import Seed, Settings
from metarl.text import listed, stage_name

Kind: TypeAlias = Literal["meta", "scratch", "multitask", "oracle"]
BaselineKind: TypeAlias = Literal["scratch", "multitask", "oracle"]

META: Literal["meta"] = "meta"


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig(Settings):
    """Baselines to compare with the meta-learned agent."""

    algorithms: tuple[AlgorithmName, ...] = ("ppo", "sac")
    """Algorithms of the baselines."""
    kinds: tuple[BaselineKind, ...] = ("scratch", "multitask", "oracle")
    """From scratch on the held-out task; trained on all training tasks, then fine-tuned on the held-out one;
    an oracle that sees the task's parameters, trained on the training tasks."""
    budgets: tuple[Annotated[int, Ge(1), Le(1_000_000)], ...] = (1, 10)
    """Adaptation budgets that learning from scratch gets."""
    training_steps: Annotated[int, Ge(0)] = 0
    """Environment steps of multi-task agent and oracle.
    Taken on training tasks; 0 for as many as the meta-learned agent took."""
    updates_per_step: Annotated[float, Gt(0), Le(100)] = 1.0
    """Gradient steps of SAC for each environment step on the held-out task.
    They are rounded to whole ones at each step of its parallel episodes, at least one."""
    seed: Seed = 0
    """Of the evaluation and of the baselines, apart from the training's."""

    def __post_init__(self) -> None:
        """Check that there is a baseline."""
        super().__post_init__()
        require(len(self.algorithms) > 0, "At least one algorithm must be named", "none")
        require(len(self.kinds) > 0, "At least one kind of baseline must be named", "none")
        require(
            len(self.budgets) > 0 or "scratch" not in self.kinds, "At least one budget must be given", "none"
        )
        # a setting that nothing would use
        require(
            self.updates_per_step == 1.0 or "sac" in self.algorithms,
            "updates_per_step are SAC's, so algorithms must have sac",
            listed(self.algorithms),
        )
        require(
            self.training_steps == 0 or set(self.kinds) != {"scratch"},
            "training_steps are those of multitask and oracle, so kinds must have one",
            listed(self.kinds),
        )


@dataclass(frozen=True)
class Baseline:
    """One agent of the comparison."""

    kind: Kind
    algorithm: AlgorithmName = "ppo"
    budget: int = 1  # multiple of the adaptation budget

    @property
    def pretrained(self) -> bool:
        """Whether it learns from training tasks first."""
        return self.kind in ("multitask", "oracle")

    @property
    def stem(self) -> str:
        """Name of its files."""
        if self.kind == META:
            return META
        return f"{self.algorithm}-{self.kind}" + (f"-x{self.budget}" if self.kind == "scratch" else "")

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        name = self.algorithm.upper()
        labels = {
            META: "meta-learned",
            "scratch": f"{name} from scratch x{self.budget}",
            "multitask": f"{name} multi-task",
            "oracle": f"{name} oracle",
        }
        return labels[self.kind]

    def stages(self, adaptation_steps: int, trial: Trial = "parallel") -> tuple[str, ...]:
        """Return the names of its measurements."""
        if self.kind == META and trial == "sequential":
            return tuple(stage_name(step, trial) for step in range(adaptation_steps + 1))
        if self.kind == META:
            after = [f"{step} step{'s' * (step > 1)}" for step in range(1, adaptation_steps + 1)]
            return ("before", *after)
        return ("", "tuned") if self.kind == "multitask" else ("",)


def planned(config: ComparisonConfig) -> tuple[Baseline, ...]:
    """Return the meta-learned agent, then the baselines."""
    names = dict.fromkeys(config.algorithms)
    # one baseline from scratch for each budget and algorithm
    found = [Baseline("scratch", name, budget) for budget in sorted(set(config.budgets)) for name in names]
    # these learn from training tasks first
    kinds: tuple[BaselineKind, ...] = ("multitask", "oracle")
    found += [Baseline(kind, name) for kind in kinds for name in names]
    return (Baseline(META), *(baseline for baseline in found if baseline.kind in config.kinds))


@dataclass(frozen=True)
class StepBudgets:
    """Environment steps that each agent may learn from."""

    adaptation: int  # steps on a held-out task that the meta-learned agent adapts on until its last step
    training: int  # steps on all training tasks together

    def on_task(self, baseline: Baseline) -> int:
        """Return a baseline's steps on a held-out task."""
        return 0 if baseline.kind in (META, "oracle") else self.adaptation * baseline.budget


def step_budgets(
    config: ComparisonConfig,
    measured: MeasurementConfig,
    horizon: int,
    meta_steps: int,
    trial: Trial = "parallel",
) -> StepBudgets:
    """Return budgets equal to those of an agent meta-trained for ``meta_steps``.

        on a held-out task = adaptation steps x episodes that each learns from x horizon

    Raises:
        MetarlError: if it does not adapt, or a baseline has nothing to train on.
    """
    steps = measured.adaptation_steps
    require(steps >= 1, "A comparison needs an evaluation with 1 adaptation step or more", steps)
    training = config.training_steps or meta_steps
    require(
        training > 0 or not any(baseline.pretrained for baseline in planned(config)),
        "training_steps must be positive for an agent that has not been trained",
        training,
    )
    # adaptation steps x episodes of each x horizon
    return StepBudgets(steps * episodes_of_step(measured, trial) * horizon, training)
