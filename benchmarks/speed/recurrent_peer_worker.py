"""Worker that trains metaworld-algorithms' RL² for ``recurrent_peer.py``, in an interpreter that has it.

Started with the workload in JSON, it prints versions and then takes one iteration of the peer's own training
loop for each line of its input, which it answers with seconds. It runs no evaluation. Settings are those of
the peer's example for ML10, ``examples/meta_learning/rl2_ml10.py``. One thing is mended, without which commit
30c9991 trains no RL²: where its linear baseline looks for the ends of trials.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Protocol

import numpy as np

PACKAGES = ("jax", "flax", "distrax", "optax", "gymnasium", "metaworld", "mujoco", "numpy")


class VectorEnv(Protocol):
    """Used part of the peer's environments."""

    def call(self, name: str) -> object:
        """Call a method of every environment."""

    def step(self, actions: object) -> object:
        """Take a step in every environment."""

    def close(self) -> None:
        """End the processes."""


class Finished(Exception):
    """The input has ended."""


class Gate:
    """Environments that wait for a line of input where an iteration begins, and time what follows.

    The peer's loop begins by drawing tasks and ends with the update.
    """

    def __init__(self, envs: VectorEnv, say: Callable[[Mapping[str, object]], None]) -> None:
        self._envs, self._say = envs, say
        self._began = self._stepped = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self._envs, name)

    def call(self, name: str) -> object:
        """Call a method of every environment; drawing tasks begins an iteration."""
        if name == "sample_tasks":
            if self._began:
                now = time.perf_counter()
                self._say({"sampling": self._stepped - self._began, "update": now - self._stepped})
            if not sys.stdin.readline():
                raise Finished
            self._began = time.perf_counter()
        return self._envs.call(name)

    def step(self, actions: object) -> object:
        """Take a step in every environment."""
        returned = self._envs.step(actions)
        self._stepped = time.perf_counter()
        return returned


def main() -> None:
    """Answer each line of the input."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the peer's loop prints

    def say(answer: Mapping[str, object]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        peer = {
            name: importlib.import_module(f"metaworld_algorithms.{name}")
            for name in ("config.networks", "config.nn", "config.optim", "config.rl", "config.utils")
        }
        algorithms = importlib.import_module("metaworld_algorithms.rl.algorithms")
        environments = importlib.import_module("metaworld_algorithms.envs")
        baseline = importlib.import_module("metaworld_algorithms.rl.algorithms.utils").LinearFeatureBaseline
        say({"versions": {name: importlib.metadata.version(name) for name in PACKAGES}})
    except Exception as error:  # noqa: BLE001 - an import runs anything, and the other program tells of it
        say({"error": f"{type(error).__name__}: {error}"})
        return
    workload: dict[str, int] = json.loads(sys.argv[1])
    tasks, episodes, horizon = workload["tasks"], workload["episodes"], workload["horizon"]
    optim, nn, utils = peer["config.optim"], peer["config.nn"], peer["config.utils"]
    weights = {
        "kernel_init": utils.Initializer.XAVIER_UNIFORM,
        "bias_init": utils.Initializer.ZEROS,
        "activation": utils.Activation.Tanh,
    }
    policy = peer["config.networks"].RecurrentContinuousActionPolicyConfig(
        encoder_config=nn.VanillaNetworkConfig(width=workload["width"], depth=2, **weights),
        network_config=nn.RecurrentNeuralNetworkConfig(
            width=workload["width"],
            cell_type=utils.CellType.GRU,
            recurrent_kernel_init=utils.Initializer.ORTHOGONAL,
            optimizer=optim.OptimizerConfig(lr=5e-4, max_grad_norm=1.0),
            **weights,
        ),
        log_std_min=math.log(1e-6),
        log_std_max=None,
        std_type=utils.StdType.MLP_HEAD,
        squash_tanh=False,
        head_kernel_init=utils.Initializer.XAVIER_UNIFORM,
        head_bias_init=utils.Initializer.ZEROS,
        activate_head=True,
    )
    agent = algorithms.RL2Config(
        num_tasks=tasks,
        meta_batch_size=tasks,
        gamma=0.99,
        gae_lambda=0.95,
        clip_eps=0.2,
        policy_config=policy,
        num_epochs=workload["epochs"],
        chunk_len=workload["chunk_steps"],
        overlap=workload["overlap"],
        normalize_advantages=False,
    )
    # RL2 marks where a trial starts; its baseline looks for ends since commit 9333c04 and finds none
    fitted = baseline.get_baseline_values_and_returns
    baseline.get_baseline_values_and_returns = lambda rollouts, discount: fitted(
        rollouts._replace(dones=np.roll(rollouts.dones, -1, axis=0)), discount
    )
    unending = 10**12
    training = peer["config.rl"].RNNBasedMetaLearningTrainingConfig(
        meta_batch_size=tasks, rollouts_per_task=episodes, total_steps=unending, evaluation_frequency=unending
    )

    class Training(environments.MetaworldMetaLearningConfig):  # type: ignore[misc, name-defined]  # not installed here
        """The peer's environments, without those of an evaluation."""

        def spawn_test(self, seed: int = 1) -> SimpleNamespace:
            return SimpleNamespace(close=lambda: None)

    config = Training(
        env_id="ML10", meta_batch_size=tasks, max_episode_steps=horizon, recurrent_info_in_obs=True
    )
    envs = config.spawn(seed=1)
    try:
        with suppress(Finished):
            agent.spawn(config, seed=1).train(training, Gate(envs, say), config, track=False)
    finally:
        envs.close()


if __name__ == "__main__":
    main()
