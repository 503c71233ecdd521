"""One environment of a user's: its spaces, values and actions are checked at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

from metarl.action_map import ActionMap, MapsActions, rescale
from metarl.deploy.bridges import Halting, Paced
from metarl.deploy.limits import ActionLimits
from metarl.deploy.policy import Vector
from metarl.deploy.settings import SafetySettings
from metarl.errors import EngineError, MetarlError, NonFiniteActionError, NonFiniteError, require
from metarl.plugins.user_files import at_fault
from metarl.spaces import action_size, env_actions, vectors
from metarl.step_values import ObservationReader, UnfitValue, real, truth, unpack_reset, unpack_step
from metarl.success_bonus import BonusTasks
from metarl.tasks import TaskDistribution
from metarl.training.transfer import check_spaces

GymEnv: TypeAlias = "gymnasium.Env[object, object]"
ActionMode: TypeAlias = Literal["as-trained", "rescale", "clip"]
SUCCESS = ("success", "is_success")
"""Keys of ``info`` that say whether the task is solved; gymnasium-robotics has the second."""
STOP = "stop"  # key of ``info`` by which an environment asks to stop


class Seen(NamedTuple):
    """Results of a step."""

    observation: Vector | None  # ``[O]``; None if none arrived
    reward: float
    terminated: bool
    truncated: bool
    success: bool | None  # None where the environment does not say
    asks_to_stop: bool
    sent: npt.NDArray[np.generic]  # the action that the environment got


class CheckedEnv:
    """An environment behind the limits of safety.

    Args:
        suite: which the agent was trained on.
        actions: how the policy's actions become the environment's.

    Raises:
        MetarlError: if it is no environment, or its spaces are not those of the training.
    """

    def __init__(
        self, env: object, suite: TaskDistribution, safety: SafetySettings, actions: ActionMode
    ) -> None:
        if not isinstance(env, gymnasium.Env):
            raise MetarlError(
                f"Expected a gymnasium.Env, got a {type(env).__name__}; "
                "metarl.deploy.RobotEnv makes one of a robot."
            )
        for name in ("observation_space", "action_space"):
            space = getattr(env, name, None)
            if not isinstance(space, gymnasium.Space):
                raise MetarlError(
                    f"Expected the environment's {name} to be a Gymnasium space, got {space!r}."
                )
        check_spaces(env.observation_space, env.action_space, suite)
        self._env: GymEnv = env
        self.action_size, self._space = action_size(suite.action_space), env.action_space
        space = vectors(env.observation_space)
        self._reader = ObservationReader(space.dtype, space.shape)
        self._map = action_map(env.action_space, suite, actions)
        self._limits = ActionLimits(env.action_space, safety) if isinstance(env.action_space, Box) else None
        given = bool(safety.low or safety.high or safety.max_change or safety.start)
        require(
            self._limits is not None or not given, "Limits need actions that are numbers", env.action_space
        )
        require(
            self._limits is not None or actions == "as-trained",
            f"--actions {actions} needs actions that are numbers",
            env.action_space,
        )
        self._bonus = suite.bonus if isinstance(suite, BonusTasks) else 0.0
        self._step = 0
        self._before: npt.NDArray[np.float64] | None = None
        self.clipped = self.slowed = 0  # steps of the episode in which a limit of range or of rate acted

    def set_pace(self, wait: Callable[[], None]) -> bool:
        """Let the environment wait between sending and observing, if it can."""
        paced = next((layer for layer in self._layers() if isinstance(layer, Paced)), None)
        try:
            if paced is not None:
                paced.set_pace(wait)
        except (Exception, SystemExit) as error:
            raise at_fault(error, "The environment cannot be given its pace") from error
        return paced is not None

    def reset(self) -> Vector:
        """Start an episode; return its first observation ``[O]``.

        Raises:
            MetarlError: if the environment fails, or does not show what its space promises.
        """
        self._step, self.clipped, self.slowed = 0, 0, 0
        self._before = None if self._limits is None else self._limits.start
        try:
            return self._observation(unpack_reset(self._env.reset()))
        except UnfitValue as error:
            raise error.at("from the environment's reset") from error
        except NonFiniteError:
            raise
        except (Exception, SystemExit) as error:
            raise at_fault(error, "The environment fails at its reset") from error

    def send(self, action: Vector) -> Seen:
        """Take a step with a policy's action ``[A]``.

        Raises:
            NonFiniteActionError: if the action is not finite; nothing is sent then.
            MetarlError: if the environment fails, or returns what its spaces do not promise.
        """
        if not np.isfinite(action).all():
            raise NonFiniteActionError(f"The action at step {self._step} is not finite.", self._step)
        sent = self._mapped(action)
        self._step += 1
        try:
            returned = unpack_step(self._env.step(sent.copy()))  # an environment may write to it
            observation, reward, terminated, truncated, info = returned
            key = next((name for name in SUCCESS if name in info), None)
            success = None if key is None else truth(info[key], f"info[{key!r}]")
            seen = Seen(
                None if observation is None else self._observation(observation),
                real(reward, "reward") + (self._bonus if success else 0.0),
                truth(terminated, "terminated"),
                truth(truncated, "truncated"),
                success,
                truth(info.get(STOP, False), f"info[{STOP!r}]"),
                sent,
            )
        except UnfitValue as error:
            raise error.at(f"from the environment at step {self._step}") from error
        except (NonFiniteError, EngineError):
            raise
        except (Exception, SystemExit) as error:
            raise at_fault(error, f"The environment fails at step {self._step}") from error
        if not np.isfinite(np.float32(seen.reward)):
            raise NonFiniteError(f"The reward at step {self._step} is not finite: {seen.reward}.")
        return seen

    def halt(self) -> None:
        """Let the environment hold still, if it can; MetarlError if that fails."""
        halting = next((layer for layer in self._layers() if isinstance(layer, Halting)), None)
        try:
            if halting is not None:
                halting.halt()
        except (Exception, SystemExit) as error:
            raise at_fault(error, "The environment cannot hold still") from error

    def _layers(self) -> Iterator[GymEnv]:
        """Yield the environment from its outermost wrapper inwards."""
        env = self._env
        yield env
        while isinstance(env, gymnasium.Wrapper):
            env = env.env
            yield env

    def _observation(self, value: object) -> Vector:
        with np.errstate(over="ignore"):
            read = self._reader.read(value).astype(np.float32)
        if not np.isfinite(read).all():
            entry = int(np.argmin(np.isfinite(read)))
            raise NonFiniteError(f"Entry {entry} of the observation at step {self._step} is not finite.")
        return read

    def _mapped(self, action: Vector) -> npt.NDArray[np.generic]:
        """Return the environment's action for a policy's."""
        drawn = np.asarray(action, np.float64)[None]
        if self._limits is None:
            return np.asarray(env_actions(self._space, drawn)[0])
        wanted = drawn[0]
        if self._map is not None:
            with np.errstate(invalid="ignore"):  # infinite bounds, which are not chosen
                scaled = rescale(wanted, self._map.low, self._map.high)
            wanted = np.where(self._map.rescaled, scaled, wanted)
        limited = self._limits(wanted, self._before)
        self.clipped += limited.clipped
        self.slowed += limited.slowed
        self._before = limited.action.astype(np.float64)
        return limited.action


def action_map(space: object, suite: TaskDistribution, mode: ActionMode) -> ActionMap | None:
    """Map a policy's actions to an environment's.

    As trained, they are rescaled where the suite rescales them.
    """
    if not isinstance(space, Box):
        return None
    trained = suite.action_map if isinstance(suite, MapsActions) else None
    rescales = trained is not None and bool(trained.rescaled.any())
    return ActionMap(space, rescales=rescales if mode == "as-trained" else mode == "rescale")
