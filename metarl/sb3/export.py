"""Adapted policies as files that ``stable_baselines3.PPO.load`` opens."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Protocol, runtime_checkable

from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from torch import nn

from metarl.errors import MetarlError
from metarl.functional.params import select
from metarl.meta_learner import Actor
from metarl.networks.policies import GaussianMLPPolicy
from metarl.sb3.randomness import global_generators_kept
from metarl.sb3.vec_env import bounded
from metarl.sb3.weights import to_sb3
from metarl.storage.files import write_whole
from metarl.tasks import TaskDistribution
from metarl.text import listed
from metarl.types import Params

MODULES: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


@runtime_checkable
class MLPActor(Protocol):
    """Actor with one Gaussian perceptron for each of M tasks."""

    @property
    def policy(self) -> GaussianMLPPolicy:
        """The perceptron."""

    @property
    def params(self) -> Params:
        """Stacked, ``[M, ...]``."""


def to_ppo(actor: Actor, task: int, suite: TaskDistribution, *, seed: int = 0) -> PPO:
    """Return the policy of one of an actor's tasks as a PPO agent.

    Its actions are clipped to the action space by stable-baselines3, as the suite's environments do
    themselves. PPO's value network, of which metarl has none, is new, drawn with ``seed``: the hidden layers
    are the policy's in number and size.

    Raises:
        MetarlError: if the actor is no Gaussian perceptron, or actions have no finite bounds.
    """
    if not isinstance(actor, MLPActor) or not isinstance(actor.policy, GaussianMLPPolicy):
        # such as the memory of RL² and the latent of PEARL
        inputs = listed([name.replace("_", " ") for name in actor.initial_memory(1)])
        other = f"takes more than the observation ({inputs})" if inputs else "is another network"
        raise MetarlError(
            "Only a policy that is a Gaussian perceptron can become a PPO MlpPolicy, but this agent's "
            f"{other}; export it with --output FILE.onnx instead."
        )
    policy = actor.policy
    if policy.scale is not None:
        raise MetarlError(
            "PPO's MlpPolicy scales no observations, but this agent was trained with observation_scale; "
            "export it with --output FILE.onnx instead."
        )
    sizes = list(policy.hidden_sizes)
    architecture = {"net_arch": {"pi": sizes, "vf": sizes}, "activation_fn": MODULES[policy.activation]}
    with global_generators_kept():
        agent = PPO(
            "MlpPolicy",
            None,  # type: ignore[arg-type]  # SB3 makes agents without an environment itself, when loading
            policy_kwargs=architecture,
            seed=seed,
            device="cpu",
            _init_setup_model=False,
        )
        # what PPO's constructor would have taken from an environment
        agent.observation_space = suite.observation_space
        agent.action_space = bounded(suite.action_space)
        agent.n_envs = 1
        agent.set_logger(Logger(folder=None, output_formats=[]))
        agent._setup_model()
    # the value network, which metarl lacks, stays freshly drawn
    weights = agent.policy.state_dict() | to_sb3(policy, select(actor.params, task))
    agent.policy.load_state_dict(weights)
    return agent


def save(agent: PPO, path: Path) -> None:
    """Write an agent's file as a whole.

    Raises:
        MetarlError: if the file exists, or cannot be written.
    """
    if path.exists():
        raise MetarlError(f"{path} exists already; choose another file with --output.")
    content = io.BytesIO()
    agent.save(content)
    write_whole(path, content.getvalue())
