"""A policy as an ONNX graph: one step, with its memory among inputs and outputs.

The graph scales observations and actions itself and takes the most likely action.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from gymnasium.spaces import Discrete
from onnx import helper

from metarl.action_map import ActionMap, MapsActions
from metarl.deploy.onnx_trace import Trace
from metarl.errors import require
from metarl.meta_learner import Actor, Inputs
from metarl.spaces import action_size, observation_size
from metarl.tasks import TaskDistribution
from metarl.types import Json, Params

OBSERVATION, REWARD, START, ACTION = "observation", "reward", "episode_start", "action"
MEMORY, NEXT = "memory.", "next_memory."
"""Prefixes of the names of memory, as the graph reads and as it returns it."""
_LAST_ACTION, _STARTED = "previous_action", "started"


def policy_model(actor: Actor, suite: TaskDistribution, about: Mapping[str, Json]) -> onnx.ModelProto:
    """Return a policy's step as a float32 graph.

    Inputs are ``observation`` ``[O]``, then, where the policy reads them, the previous ``reward`` ``[1]``,
    ``episode_start`` ``[1]`` (1 at an episode's first step, else 0) and its memory. A trial starts with
    zeros in all but the observation and ``episode_start``. Outputs are ``action``, as the environment takes
    it, and the memory after the step, in the order of the inputs.

    Args:
        actor: of one task.

    Raises:
        MetarlError: if a step does something that has no translation to ONNX.
    """
    size, own = action_size(suite.action_space), actor.initial_memory(1)
    taken = own.keys() & {_LAST_ACTION, _STARTED}
    require(not taken, "Expected a memory with parts of other names than the graph's", sorted(taken))
    first = {**own, _LAST_ACTION: torch.zeros(1, 1, size, device=actor.device)}
    shapes = {name: value.shape[2:] or (1,) for name, value in first.items()}
    if any(value.any() for value in first.values()):
        # zeros would not be this memory's start, so a mark says whether to take it or the graph's own start
        shapes[_STARTED] = (1,)
    inputs = {
        OBSERVATION: torch.zeros(observation_size(suite.observation_space), device=actor.device),
        REWARD: torch.zeros(1, device=actor.device),
        START: torch.ones(1, device=actor.device),
        **{f"{MEMORY}{name}": torch.zeros(shape, device=actor.device) for name, shape in shapes.items()},
    }
    trace = Trace(inputs)
    with torch.no_grad(), trace:
        outputs = _step(actor, suite, first, inputs)
    # what changes no action is left out: of memory, what only such memory depends on too
    kept: dict[str, torch.Tensor] = {}
    while True:
        needed = trace.needed([outputs[ACTION], *kept.values()])
        found = {name: outputs[f"{NEXT}{name}"] for name in shapes if f"{MEMORY}{name}" in needed}
        if found.keys() == kept.keys():
            break
        kept = found
    model = trace.model(
        [name for name in inputs if name in needed or name == OBSERVATION],
        {ACTION: outputs[ACTION], **{f"{NEXT}{name}": value for name, value in kept.items()}},
    )
    helper.set_model_props(model, _properties(model, suite, about))
    return model


def _step(actor: Actor, suite: TaskDistribution, first: Params, inputs: Params) -> Params:
    """Return the graph's outputs."""
    seen = {name: inputs[f"{MEMORY}{name}"].view(value.shape) for name, value in first.items()}
    started = inputs.get(f"{MEMORY}{_STARTED}")
    if started is not None:
        begun = started.to(torch.bool)
        for name, value in first.items():
            seen[name] = torch.where(begun, seen[name], value.float()) if value.any() else seen[name]
    seen = {name: value.to(first[name].dtype) for name, value in seen.items()}
    action, memory = actor.act(
        Inputs(
            observations=inputs[OBSERVATION].view(1, 1, -1),
            previous_actions=seen.pop(_LAST_ACTION),
            previous_rewards=inputs[REWARD].view(1, 1),
            episode_starts=inputs[START].view(1, 1).to(torch.bool),
            live=torch.ones(1, 1, dtype=torch.bool, device=actor.device),
        ),
        seen,
        None,
    )
    after = {**memory, _LAST_ACTION: action.actions}
    if started is not None:
        after[_STARTED] = torch.ones_like(started)
    outputs = {
        f"{NEXT}{name}": value.float().view(inputs[f"{MEMORY}{name}"].shape) for name, value in after.items()
    }
    return {ACTION: _sent(action.actions.flatten(), suite), **outputs}


def _sent(drawn: torch.Tensor, suite: TaskDistribution) -> torch.Tensor:
    """Return what an environment gets for a policy's action ``[A]``: a choice, or numbers within bounds."""
    if isinstance(suite.action_space, Discrete):
        return drawn.argmax(dim=0) + int(suite.action_space.start)
    limits = action_limits(suite)
    low, high = (torch.from_numpy(bound).to(drawn) for bound in (limits.low, limits.high))
    if limits.rescaled.any():
        # from -1..1 to low..high: (low + high) / 2 + a (high - low) / 2
        rescaled = torch.from_numpy(limits.rescaled).to(drawn.device)
        middle = torch.where(rescaled, 0.5 * (low + high), 0.0)
        drawn = torch.addcmul(middle, torch.where(rescaled, 0.5 * (high - low), 1.0), drawn)
    clipped = drawn.clamp(low, high)
    return clipped.round().to(torch.int64) if limits.whole else clipped


def action_limits(suite: TaskDistribution) -> ActionMap:
    """Return the map to an environment's actions, which clips at least; the suite's actions are numbers."""
    own = suite.action_map if isinstance(suite, MapsActions) else None
    assert not isinstance(suite.action_space, Discrete)
    return own or ActionMap(suite.action_space, rescales=False)


def _properties(model: onnx.ModelProto, suite: TaskDistribution, about: Mapping[str, Json]) -> dict[str, str]:
    """Return the file's properties that are known, those that are no strings as JSON."""
    space = suite.action_space
    if isinstance(space, Discrete):
        actions: dict[str, Json] = {"first_action": int(space.start), "number_of_actions": int(space.n)}
    else:
        limits = action_limits(suite)
        actions = {
            name: [float(bound) if np.isfinite(bound) else None for bound in bounds]
            for name, bounds in (("action_low", limits.low), ("action_high", limits.high))
        }
    properties: dict[str, Json] = {
        **about,
        "suite": suite.name,
        "inputs": _shapes(model.graph.input),
        "outputs": _shapes(model.graph.output),
        **actions,
        "memory_start": "zeros",
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in properties.items()
        if value is not None
    }


def _shapes(values: Sequence[onnx.ValueInfoProto]) -> dict[str, Json]:
    return {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values}
