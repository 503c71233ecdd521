"""ONNX files of policies: written, and checked in ONNX Runtime against PyTorch over whole episodes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
from gymnasium.spaces import Discrete

import metarl
from metarl.deploy.onnx_policy import MEMORY, OBSERVATION, REWARD, START, action_limits, policy_model
from metarl.deploy.session import open_session
from metarl.errors import MetarlError
from metarl.functional.random_streams import Purpose, make_rng
from metarl.meta_learner import Actor
from metarl.rollouts.collect import collect
from metarl.spaces import env_actions
from metarl.storage.files import write_whole
from metarl.storage.run_folder import ADAPTATION
from metarl.tasks import ControlledInTime, TaskDistribution
from metarl.training.experiment import Experiment
from metarl.types import Json, Rollout, Task
from metarl.vector_env import Array

TOLERANCE = 1e-5  # most that an action may differ from PyTorch's, relative to its size where that is above 1
Numbers = npt.NDArray[np.generic]


class Checked(NamedTuple):
    """How an exported policy was compared with PyTorch's."""

    difference: float  # largest of an action's numbers, relative to their size where that is above 1
    episodes: int
    steps: int  # of all episodes
    inputs: list[str]  # what the policy takes, such as ``observation [39]``


def write_onnx(experiment: Experiment, actor: Actor, task: Task, path: Path, adapted_to: str) -> Checked:
    """Write a policy's checked ONNX file.

    Args:
        task: the check plays its episodes.
        adapted_to: what the policy has adapted to, in words for the file; empty if to nothing.

    Raises:
        MetarlError: if the policy has no translation to ONNX, or acts differently there.
    """
    about: dict[str, Json] = {
        "metarl_version": metarl.__version__,
        "agent": experiment.config.agent.kind,
        "iteration": experiment.iteration,
        "adapted_to": adapted_to or None,
        "control_step_seconds": control_step(experiment),
        "success_bonus": experiment.config.success_bonus or None,
    }
    content = policy_model(actor, experiment.suite, about).SerializeToString()
    episodes = 2 if experiment.agent.trial == "sequential" else 1
    engine = experiment.config.sampling.engine
    checked = compare(OnnxPolicy(content), actor, experiment.suite, task, episodes=episodes, engine=engine)
    if not checked.difference <= TOLERANCE:
        raise MetarlError(
            f"Expected ONNX Runtime to act as PyTorch does, to {TOLERANCE:g}, got a difference of "
            f"{checked.difference:.2g} in {checked.steps} steps; {path} is not written."
        )
    write_whole(path, content)
    return checked


def control_step(experiment: Experiment) -> float | None:
    """Return the seconds from an action to the next, of a session or the suite; None if nobody says."""
    if (experiment.folder / ADAPTATION).is_file():
        frequency = open_session(experiment.folder).settings.frequency
        if frequency:
            return 1 / frequency
    suite = experiment.suite
    return suite.control_step() if isinstance(suite, ControlledInTime) else None


class OnnxPolicy:
    """An exported policy in ONNX Runtime."""

    def __init__(self, content: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a step is too small to share
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._shapes = {item.name: item.shape for item in self._session.get_inputs()}
        self.begin()

    @property
    def inputs(self) -> list[str]:
        """Names and shapes of the inputs."""
        return [f"{name} {shape}" for name, shape in self._shapes.items()]

    def begin(self) -> None:
        """Begin a trial, with a blank memory."""
        self.memory = {
            name: np.zeros(shape, np.float32)
            for name, shape in self._shapes.items()
            if name.startswith(MEMORY)
        }

    def act(self, observation: npt.NDArray[np.float32], reward: float, episode_start: bool) -> Numbers:
        """Choose an action for an observation ``[O]``, and remember the step."""
        seen = {OBSERVATION: observation, **self.memory}
        for name, value in ((REWARD, reward), (START, episode_start)):
            if name in self._shapes:
                seen[name] = np.array([value], np.float32)
        action, *memory = self._session.run(None, seen)
        self.memory = dict(zip(self.memory, memory, strict=True))
        return np.asarray(action)


def compare(
    policy: OnnxPolicy,
    actor: Actor,
    suite: TaskDistribution,
    task: Task,
    *,
    episodes: int = 1,
    engine: str = "auto",
) -> Checked:
    """Compare an exported policy with PyTorch's.

    PyTorch's policy acts in the suite's environment; the other is shown the same and remembers by itself.
    """
    rng, horizon = make_rng(0, Purpose.FILM), suite.horizon
    rollouts: list[Rollout] = []
    with closing(suite.make_vector_env(1, engine=engine, num_workers=1)) as env:
        for _ in range(episodes):
            after = rollouts[-1] if rollouts else None
            rollouts.append(
                collect(
                    env, [task], actor, episodes=1, horizon=horizon, rng=rng, deterministic=True, after=after
                )
            )
    policy.begin()
    worst, steps, reward = 0.0, 0, 0.0
    for rollout in rollouts:
        live = rollout.mask[0, 0]
        parts = (rollout.observations, rollout.actions, rollout.rewards)
        observations, drawn, rewards = (part[0, 0][live].cpu().numpy() for part in parts)
        expected = _sent(drawn, suite)
        for step, observation in enumerate(observations):
            found = policy.act(observation, reward, step == 0).astype(np.float64)
            difference = np.abs(found - expected[step]) / np.maximum(1.0, np.abs(expected[step]))
            worst = max(worst, float(np.nan_to_num(difference, nan=np.inf).max()))
            reward = float(rewards[step])
        steps += len(observations)
    return Checked(worst, episodes, steps, policy.inputs)


def _sent(drawn: Array, suite: TaskDistribution) -> npt.NDArray[np.float64]:
    """Return what an environment gets for a policy's actions ``[T, A]``."""
    space = suite.action_space
    sent = env_actions(space, drawn) if isinstance(space, Discrete) else action_limits(suite)(drawn)
    return sent.astype(np.float64)
