"""Policies that learn nothing, as references.

An agent's success means little without that of a policy that does nothing, and of one that acts at random.
Both are measured once for each suite and physics, and kept in the user's cache.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from gymnasium.spaces import Discrete

from metarl.errors import MetarlError
from metarl.evaluation.official import OfficiallyEvaluated
from metarl.evaluation.record import HELD_STEPS, KINDS, Evaluation, from_rollouts, join
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import Action, Inputs
from metarl.rollouts.collect import collect
from metarl.storage.files import write_json
from metarl.success_bonus import without_bonus
from metarl.system.caches import cache_folder
from metarl.system.threads import one_thread
from metarl.tasks import TaskDistribution
from metarl.types import Json, Params, Task

EPISODES = {"idle": 1, "random": 3}  # episodes of each task, by policy
_SLOTS = 100
_FORMAT = 1  # raised when a change makes earlier numbers untrue


@dataclass(frozen=True)
class Reference:
    """Reference of a policy that learns nothing."""

    policy: str
    """``"idle"`` or ``"random"``."""
    rates: Mapping[str, Mapping[str, float]]
    """Mean return, and the rate of each kind of success, by family; ``"all"`` is the mean over tasks."""

    def to_json(self) -> dict[str, Json]:
        """Return every number as plain JSON."""
        return {family: dict(values) for family, values in self.rates.items()}


class IdleActor:
    """Takes the action zero, whatever it sees."""

    device = torch.device("cpu")

    def initial_memory(self, episodes: int) -> Params:
        """Return no memory."""
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Choose zeros."""
        return Action(
            torch.zeros_like(inputs.previous_actions), torch.zeros_like(inputs.previous_rewards)
        ), {}


class RandomActor:
    """Draws every action anew, uniformly from -1 to 1, or one of the choices."""

    device = torch.device("cpu")

    def __init__(self, *, discrete: bool) -> None:
        self.discrete = discrete

    def initial_memory(self, episodes: int) -> Params:
        """Return no memory."""
        return {}

    def act(self, inputs: Inputs, memory: Params, generator: torch.Generator | None) -> tuple[Action, Params]:
        """Draw actions."""
        drawn = torch.rand(inputs.previous_actions.shape, generator=generator)
        if self.discrete:
            # the largest of equally distributed numbers is at any place with the same probability
            actions = torch.nn.functional.one_hot(drawn.argmax(dim=-1), drawn.shape[-1]).to(drawn.dtype)
        else:
            actions = 2 * drawn - 1
        return Action(actions, torch.zeros_like(inputs.previous_rewards)), {}


def has_references(suite: TaskDistribution) -> bool:
    """Return whether a suite's tables show references: those of a published benchmark do."""
    return isinstance(without_bonus(suite), OfficiallyEvaluated)


def references(
    suite: TaskDistribution,
    tasks: Sequence[Task],
    settings: Mapping[str, Json],
    physics: Mapping[str, Json],
    *,
    engine: str = "auto",
    num_workers: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Reference, ...]:
    """Return the references of some tasks, from the cache or measured now.

    Args:
        settings: everything that the suite's numbers depend on: its config and the success bonus.
        physics: engine and versions of the simulator; numbers of one are never taken for another.
        num_workers: processes or threads; 0 for one a core.
        on_step: as in :func:`metarl.rollouts.collect.collect`.
    """
    key: dict[str, Json] = {
        "format": _FORMAT,
        "suite": suite.name,
        "horizon": suite.horizon,
        "settings": dict(settings),
        "physics": dict(physics),
        "tasks": sha256(json.dumps([task.to_json() for task in tasks]).encode()).hexdigest(),
        "episodes": dict(EPISODES),
        "held_steps": HELD_STEPS,
    }
    name = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "references" / f"{name}.json"
    if (found := _read(path, key)) is not None:
        return found
    measured = measure_references(suite, tasks, engine=engine, num_workers=num_workers, on_step=on_step)
    content: dict[str, Json] = {"key": key, "policies": references_json(measured)}
    with suppress(MetarlError):  # without a cache they are measured again
        write_json(path, content)
    return measured


@one_thread()
def measure_references(
    suite: TaskDistribution,
    tasks: Sequence[Task],
    *,
    engine: str = "auto",
    num_workers: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Reference, ...]:
    """Measure policies that learn nothing."""
    discrete = isinstance(suite.action_space, Discrete)
    slots = min(_SLOTS, len(tasks) * max(EPISODES.values()))
    env = suite.make_vector_env(slots, engine=engine, num_workers=num_workers)
    found = []
    try:
        for policy, actor in (("idle", IdleActor()), ("random", RandomActor(discrete=discrete))):
            rng = make_rng(0, Purpose.REFERENCE)
            at_once = max(1, slots // EPISODES[policy])
            parts = []
            for start in range(0, len(tasks), at_once):
                chunk = tasks[start : start + at_once]
                rollout = collect(
                    env,
                    chunk,
                    actor,
                    episodes=EPISODES[policy],
                    horizon=suite.horizon,
                    rng=rng,
                    on_step=on_step,
                )
                parts.append(from_rollouts(chunk, [rollout], 0))
            found.append(Reference(policy, rates_by_family(join(parts))))
    finally:
        env.close()
    return tuple(found)


def reference_steps(num_tasks: int, horizon: int) -> int:
    """Return the vector steps of :func:`measure_references`, if every episode lasts to the horizon."""
    slots = min(_SLOTS, num_tasks * max(EPISODES.values()))
    return sum(-(-num_tasks // max(1, slots // episodes)) * horizon for episodes in EPISODES.values())


def rates_by_family(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Return means after the last step, of all tasks and then of each family if there are several."""
    families = sorted({task.family for task in evaluation.tasks})
    parts = {"all": evaluation} | (
        {name: evaluation.only(name) for name in families} if len(families) > 1 else {}
    )
    return {
        name: {
            "return": float(part.task_returns[:, -1].mean()),
            **{kind: float(rates[:, -1].mean()) for kind in KINDS if (rates := part.rates(kind)) is not None},
        }
        for name, part in parts.items()
    }


def references_json(found: Sequence[Reference]) -> dict[str, Json]:
    """Return references as plain JSON, by policy."""
    return {one.policy: one.to_json() for one in found}


def references_from_json(data: Json) -> tuple[Reference, ...]:
    """Return the references in an evaluation's file; none if it has none, or damaged ones."""
    if not isinstance(data, dict):
        return ()
    found = []
    for policy, families in data.items():
        if not isinstance(families, dict):
            return ()
        rates: dict[str, dict[str, float]] = {}
        for family, values in families.items():
            if not isinstance(values, dict):
                return ()
            rates[family] = {
                name: float(value) for name, value in values.items() if isinstance(value, int | float)
            }
        found.append(Reference(policy, rates))
    return tuple(found)


def _read(path: Path, key: Mapping[str, Json]) -> tuple[Reference, ...] | None:
    """Return kept references of this very key."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("key") != json.loads(json.dumps(key)):
        return None
    return references_from_json(content.get("policies")) or None
