"""Shared records, and the one legend of shapes.

    M   tasks of a meta-batch
    K   episodes of a task
    T   steps of an episode (the horizon)
    N   slots of a vector environment, N >= M * K; slot ``m * K + k`` runs episode k of task m
    B   transitions of a task, B = K * T
    O   size of an observation
    A   size of an action; of a discrete one the number of choices, actions being one-hot

The task axis comes first everywhere, so that one batched call serves every task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:  # environment workers import this module and never need torch
    import torch

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
Params: TypeAlias = "dict[str, torch.Tensor]"


@dataclass(frozen=True)
class Task:
    """One task: a family and the numbers that single it out."""

    family: str
    """Which environment, ``"pick-place-v3"`` or ``"point"``."""
    parameters: tuple[float, ...]
    """Numbers of the task within its family: a goal, a mass, a direction."""
    id: str
    """Name that is unique in its distribution and stays the same from run to run."""

    def to_json(self) -> dict[str, Json]:
        """Return the task as JSON, which :meth:`from_json` turns back exactly."""
        return {"family": self.family, "parameters": list(self.parameters), "id": self.id}

    @staticmethod
    def from_json(data: dict[str, Json]) -> Task:
        """Return the task that :meth:`to_json` wrote."""
        assert isinstance(data["parameters"], list)
        parameters = tuple(float(value) for value in data["parameters"] if isinstance(value, int | float))
        return Task(str(data["family"]), parameters, str(data["id"]))


@dataclass(frozen=True)
class Rollout:
    """Episodes of a meta-batch of tasks.

    An episode that ends before the horizon leaves steps with ``mask`` false and entries of zero.
    An episode that its environment ended (``terminated``) has no value after its last step; one that was
    cut off (``truncated``) has the value of ``final_observations``.
    """

    observations: torch.Tensor
    """``[M, K, T, O]``, as the policy saw them before each step."""
    actions: torch.Tensor
    """``[M, K, T, A]``, as the policy drew them; the environment may clip them."""
    log_probs: torch.Tensor
    """``[M, K, T]``, log density of the actions under the policy that drew them."""
    rewards: torch.Tensor
    """``[M, K, T]``."""
    mask: torch.Tensor
    """``[M, K, T]`` bool, true where the episode was still running before the step."""
    terminated: torch.Tensor
    """``[M, K, T]`` bool, true where the environment ended the episode."""
    truncated: torch.Tensor
    """``[M, K, T]`` bool, true where the episode was cut off."""
    final_observations: torch.Tensor
    """``[M, K, O]``, after each episode's last step."""
    success: torch.Tensor | None = None
    """``[M, K]`` bool, whether the task was solved at any step; None where the suite does not say."""
    success_at_first_step: torch.Tensor | None = None
    """``[M, K]`` bool, likewise at the first step."""
    success_streak: torch.Tensor | None = None
    """``[M, K]`` int, steps in a row with success, up to the last; None where the suite does not say."""
    extras: Params = field(default_factory=dict)
    """``[M, K, T, ...]`` by name, what the policy gave beside its actions, such as values."""
    initial_memory: Params = field(default_factory=dict)
    """``[M, K, ...]`` by name, the policy's memory before the first step; empty if it has none."""
    final_memory: Params = field(default_factory=dict)
    """``[M, K, ...]`` by name, its memory after each episode's last step."""

    @property
    def num_steps(self) -> int:
        """Environment steps that were taken."""
        return int(self.mask.sum())

    @property
    def episode_returns(self) -> torch.Tensor:
        """Undiscounted return of each episode, ``[M, K]``."""
        return self.rewards.where(self.mask, 0.0).sum(dim=-1)

    def tensors(self) -> Params:
        """Return all tensors by name, those of extras and memories as ``"extras.value"``."""
        found: Params = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, dict):
                found |= {f"{item.name}.{name}": part for name, part in value.items()}
            elif value is not None:
                found[item.name] = value
        return found

    @staticmethod
    def from_tensors(tensors: Params) -> Rollout:
        """Return the rollout that :meth:`tensors` took apart."""
        values: dict[str, torch.Tensor] = {}
        groups: dict[str, Params] = {}
        for name, value in tensors.items():
            whole, _, part = name.partition(".")
            if part:
                groups.setdefault(whole, {})[part] = value
            else:
                values[whole] = value
        return Rollout(**values, **groups)  # type: ignore[arg-type]  # each field keeps its kind

    def to(self, device: torch.device | str) -> Rollout:
        """Return the rollout with every tensor on ``device``."""
        return self.map(lambda value: value.to(device))

    def of_tasks(self, tasks: slice) -> Rollout:
        """Return some tasks' episodes, as views."""
        return self.map(lambda value: value[tasks])

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Rollout:
        """Apply a function to every tensor."""
        return Rollout.from_tensors({name: function(value) for name, value in self.tensors().items()})


@dataclass(eq=False)
class Segment:
    """Immutable tensors, such as replay, written once."""

    tensors: Callable[[], Params] = field(repr=False)
    """Returns the tensors, which nobody may change; of a saved segment each call reads the file."""
    sha256: str = ""
    """Sum of the file, empty until saved."""


class State(NamedTuple):
    """All that an object needs to go on exactly where it was."""

    tensors: Params
    """Saved whole in every checkpoint."""
    values: dict[str, Json]
    """Likewise, as JSON."""
    segments: tuple[Segment, ...] = ()
    """Shared blocks, saved once for a run; a checkpoint refers to them by their sums."""
