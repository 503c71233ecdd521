"""Measurement of layers' changes and gains.

Gains are measured in rollouts: with nothing adapted, with everything, with one layer alone adapted, and with
all but one, all from the same seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from metarl.analysis.layers import Change, Explainable, changes, explainable, layers_of, mixture, vectors
from metarl.analysis.similarity import linear_cka, shift
from metarl.config import MeasurementConfig
from metarl.errors import MetarlError, require
from metarl.evaluation.evaluate import slots_needed
from metarl.evaluation.record import Evaluation, from_rollouts, join
from metarl.evaluation.statistics import Values
from metarl.meta_learner import MetaLearner
from metarl.rollouts.collect import collect
from metarl.system.threads import one_thread
from metarl.types import Rollout, Task
from metarl.vector_env import TaskVectorEnv


@dataclass(frozen=True)
class Variant:
    """Name of a set of adapted layers."""

    name: str
    adapted: frozenset[str]


@dataclass(frozen=True)
class AdaptationTrace:
    """Changes of a policy, and their effects, by adapting to T tasks."""

    changes: tuple[Change, ...]
    """Change of each tensor of parameters."""
    similarities: dict[str, Values]
    """``[T]`` by layer: linear CKA of activations before and after, on the unadapted observations."""
    shifts: dict[str, Values]
    """``[T]`` by layer: how far the activations' mean moved, in units of their spread."""
    vectors: Values
    """``[T, D]``, the adaptation vectors."""
    variants: tuple[Variant, ...]
    effects: Evaluation
    """Measurements of the variants, along the second axis."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks."""
        return self.effects.tasks


def variants_of(layers: Sequence[str]) -> tuple[Variant, ...]:
    """Return the variants: nothing adapted, everything, each layer alone, all but each."""
    everything = frozenset(layers)
    return (
        Variant("none", frozenset()),
        Variant("all", everything),
        *(Variant(f"only {layer}", frozenset({layer})) for layer in layers),
        *(Variant(f"all but {layer}", everything - {layer}) for layer in layers),
    )


def trace_steps(
    config: MeasurementConfig, layers: Collection[str], num_tasks: int, num_envs: int, horizon: int
) -> int:
    """Return the vector steps of :func:`trace_adaptation`, if all episodes last to the horizon."""
    chunks = -(-num_tasks // max(1, num_envs // slots_needed(config)))
    return chunks * (config.adaptation_steps + 2 + 2 * len(layers)) * horizon


@one_thread()
def trace_adaptation(
    agent: MetaLearner,
    env: TaskVectorEnv,
    tasks: Sequence[Task],
    config: MeasurementConfig,
    *,
    horizon: int,
    rng: np.random.Generator,
    on_step: Callable[[int], None] | None = None,
) -> AdaptationTrace:
    """Adapt an agent to tasks, and measure the changes of its policy.

    The agent is not changed; its actors must be :class:`metarl.analysis.layers.Explainable`. Arguments as
    :func:`metarl.evaluation.evaluate.evaluate`.

    Raises:
        MetarlError: if the agent's parameters are hidden, none moves, or ``env`` has too few slots.
    """
    at_once = env.num_envs // slots_needed(config)
    require(at_once > 0, f"Explaining needs {slots_needed(config)} slots or more", env.num_envs)

    run = partial(collect, env, horizon=horizon, on_step=on_step)
    parts = []
    for start in range(0, len(tasks), at_once):
        chunk = tasks[start : start + at_once]
        # 1. adapt as an evaluation does
        before = explainable(agent.initial_actor(len(chunk), rng))
        experience, actor = [], before
        for _ in range(config.adaptation_steps):
            experience.append(run(chunk, actor, episodes=config.adaptation_episodes, rng=rng))
            actor = explainable(agent.adapt(actor, experience[-1], rng))
        # 2. measure every variant from the same seed, so that they differ in nothing else
        seed = int(rng.integers(2**63))
        variants = variants_of(layers_of(before.params))
        stages = [
            run(
                chunk,
                before.with_params(mixture(before.params, actor.params, variant.adapted)),
                episodes=config.episodes,
                rng=np.random.default_rng(seed),
                deterministic=config.deterministic,
            )
            for variant in variants
        ]
        # 3. put together what adapting changed
        steps = sum(rollout.num_steps for rollout in experience)
        effects = from_rollouts(chunk, stages, steps)
        parts.append(_trace(before, actor, experience[0], variants, effects))
    whole = _join(parts)
    if not whole.vectors.any():
        raise MetarlError(
            f"Adapting to these {len(tasks)} tasks moved no parameter of the policy: nothing to explain."
        )
    return whole


def _trace(
    before: Explainable, after: Explainable, seen: Rollout, variants: tuple[Variant, ...], effects: Evaluation
) -> AdaptationTrace:
    return AdaptationTrace(
        changes=tuple(changes(before.params, after.params)),
        similarities=compare(linear_cka, before, after, seen),
        shifts=compare(shift, before, after, seen),
        vectors=vectors(before.params, after.params),
        variants=variants,
        effects=effects,
    )


def compare(
    measure: Callable[[torch.Tensor, torch.Tensor], float],
    before: Explainable,
    after: Explainable,
    seen: Rollout,
) -> dict[str, Values]:
    """Return a measure ``[M]`` of activations before and after, by layer.

    ``measure`` compares two representations ``[B, P]``, on the observations of ``seen``.
    """
    observations, live = seen.observations.flatten(1, 2), seen.mask.flatten(1)
    ours, theirs = before.activations(observations), after.activations(observations)
    return {
        layer: np.array(
            [measure(ours[layer][m][live[m]], theirs[layer][m][live[m]]) for m in range(len(live))]
        )
        for layer in ours
    }


def _join(parts: Sequence[AdaptationTrace]) -> AdaptationTrace:
    first = parts[0]
    return replace(
        first,
        changes=tuple(_join_changes([part.changes[i] for part in parts]) for i in range(len(first.changes))),
        similarities=_join_layers([part.similarities for part in parts]),
        shifts=_join_layers([part.shifts for part in parts]),
        vectors=np.concatenate([part.vectors for part in parts]),
        effects=join([part.effects for part in parts]),
    )


def _join_layers(parts: Sequence[dict[str, Values]]) -> dict[str, Values]:
    return {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}


def _join_changes(parts: Sequence[Change]) -> Change:
    relative = [part.relative for part in parts if part.relative is not None]
    return Change(
        name=parts[0].name,
        norm=np.concatenate([part.norm for part in parts]),
        relative=np.concatenate(relative) if len(relative) == len(parts) else None,
        share=np.concatenate([part.share for part in parts]),
    )
