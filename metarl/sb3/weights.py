"""Gaussian perceptrons' weights as PPO's, and back.

A PPO file is a zip: ``policy.pth`` holds the weights, ``data`` the settings as JSON, of which some values are
pickled. Only the weights are read here, by PyTorch's reader that knows nothing but tensors, and the readable
part of the JSON: no code in the file is run.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from metarl.errors import MetarlError
from metarl.meta_learner import MetaLearner
from metarl.networks.policies import GaussianMLPPolicy
from metarl.types import Params

_ACTIVATION = re.compile(r"activation\.(\w+)'>$")
# how reading a file that is not PPO's may fail
_DAMAGE = (zipfile.BadZipFile, KeyError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError)


@runtime_checkable
class HasPolicy(Protocol):
    """Actor with a Gaussian perceptron; ``isinstance`` asks for the attribute only."""

    @property
    def policy(self) -> GaussianMLPPolicy:
        """The perceptron."""


def start_from_ppo(agent: MetaLearner, path: Path) -> None:
    """Start an agent from a PPO policy's weights.

    Raises:
        MetarlError: if the agent has no Gaussian perceptron of its own, or scales what it observes, or as in
            :func:`params_from_ppo`.
    """
    state = agent.state()
    policy = agent.policy if isinstance(agent, HasPolicy) else None
    if not isinstance(policy, GaussianMLPPolicy) or not policy.shapes.keys() <= state.tensors.keys():
        raise MetarlError(
            "Expected an agent with one Gaussian perceptron, which a PPO policy can replace, got one without."
        )
    # a new agent has no scale yet, so its setting is asked
    if getattr(getattr(agent, "config", None), "observation_scale", False):
        raise MetarlError(
            f"Expected an agent that reads observations as they are to start from the PPO policy {path}, "
            "got one with observation_scale, to which these weights would soon mean something else."
        )
    agent.load_state(state._replace(tensors=state.tensors | params_from_ppo(path, policy)))


def params_from_ppo(path: Path, policy: GaussianMLPPolicy) -> Params:
    """Read "MlpPolicy" weights, float32 on the CPU, from a file of ``PPO.save``.

    Raises:
        MetarlError: if there is no such file, or it holds something else than the architecture of ``policy``.
    """
    weights, activation = _read(path)
    names = sb3_names(policy)
    own = {name for name in weights if "value" not in name}
    shapes = {name: tuple(weights[theirs].shape) for name, theirs in names.items() if theirs in weights}
    expected = {name: shape[::-1] for name, shape in policy.shapes.items()}
    if own != set(names.values()) or shapes != expected or activation != policy.activation:
        raise MetarlError(
            f"Expected {path} to hold a PPO MlpPolicy for "
            f"{policy.observation_size} observations and {policy.action_size} actions with hidden layers "
            f"{list(policy.hidden_sizes)} and {policy.activation}, got {_describe(own, weights, activation)}."
        )
    return {name: weights[theirs].float().t().contiguous() for name, theirs in names.items()}


def to_sb3(policy: GaussianMLPPolicy, params: Params) -> Params:
    """Return one task's parameters under PPO's names, transposed as PyTorch's layers are.

    The deviation is the one that acts, within the policy's bounds.
    """
    acting = policy.within_bounds(params)
    return {
        theirs: acting[name].detach().cpu().t().contiguous() for name, theirs in sb3_names(policy).items()
    }


def sb3_names(policy: GaussianMLPPolicy) -> dict[str, str]:
    """Return PPO's names of a perceptron's parameters."""
    last = len(policy.hidden_sizes)
    layers = {layer: f"mlp_extractor.policy_net.{2 * layer}" for layer in range(last)} | {last: "action_net"}
    named = {
        f"layer_{layer}.{part}": f"{layers[layer]}.{part}" for layer in layers for part in ("weight", "bias")
    }
    return {**named, "log_std": "log_std"}


def _read(path: Path) -> tuple[Params, str]:
    """Read a PPO file's weights and the name of its activation."""
    if not path.is_file():
        raise MetarlError(f"There is no file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open("policy.pth") as file:
                # weights_only: a stranger's pickle must not run code
                weights = torch.load(file, map_location="cpu", weights_only=True)
            activation = _activation(json.loads(archive.read("data")))
    except _DAMAGE as error:
        raise MetarlError(f"{path} is no file of stable-baselines3's PPO, or it is damaged.") from error
    if not isinstance(weights, dict) or not all(isinstance(w, torch.Tensor) for w in weights.values()):
        raise MetarlError(f"{path} is no file of stable-baselines3's PPO: its policy.pth holds no weights.")
    return weights, activation


def _activation(data: object) -> str:
    """Return the activation that the readable settings name; MlpPolicy's own is tanh."""
    settings = data.get("policy_kwargs") if isinstance(data, dict) else None
    named = str(settings.get("activation_fn", "")) if isinstance(settings, dict) else ""
    found = _ACTIVATION.search(named)
    return found.group(1).lower() if found else named or "tanh"


def _describe(own: set[str], weights: Params, activation: str) -> str:
    layers = [name for name in weights if name in own and name.endswith(".weight")]
    if "action_net.weight" not in own or any(weights[name].dim() != 2 for name in layers):
        return "another kind of policy"
    sizes = [weights[name].shape[1] for name in layers] + [weights["action_net.weight"].shape[0]]
    return f"a policy with layers of {' -> '.join(map(str, sizes))} units and {activation}"
