"""Your own Gymnasium environment as a task distribution.

It takes an id or a factory, a sampler, and a function that applies a task.
"""

from __future__ import annotations

import copy
import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, Unpack, cast, runtime_checkable

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import TimeLimit

from metarl.action_map import ActionMap, MapsActions, make_action_map
from metarl.envs.custom.env import GymEnv, GymnasiumFactory, Tuning, build
from metarl.envs.engines.processes.env_pool import EnvFactory, exception_text
from metarl.envs.engines.processes.in_process import close, user_errors
from metarl.envs.engines.processes.messages import TIMEOUT
from metarl.envs.engines.processes.vector_env import ProcessTaskVectorEnv
from metarl.envs.task_sampling.settings import TaskSettings, check_settings, check_takes
from metarl.envs.task_sampling.splits import Sampler, SplitTasks, make_splits
from metarl.errors import MetarlError, require, unknown_name
from metarl.spaces import action_size, vectors
from metarl.tasks import TaskDistribution
from metarl.vector_env import TaskVectorEnv

logger = logging.getLogger(__name__)

P = TypeVar("P")
EnvT = TypeVar("EnvT")
Maker: TypeAlias = EnvSpec | Callable[[], GymEnv]


@runtime_checkable
class SetsTasks(Protocol):
    """An environment that draws and runs tasks, as those of garage and learn2learn."""

    def sample_tasks(self, num_tasks: int) -> Sequence[object]:
        """Draw tasks."""

    def set_task(self, task: object) -> None:
        """Run a task from the next reset on."""


@dataclass(frozen=True, kw_only=True)
class ProcessTasks(SplitTasks):
    """A task distribution with environments in worker processes."""

    env_factory: EnvFactory  # builds an environment of the family, in a worker
    observation_space: Box
    action_space: Box | Discrete  # where policies act
    # from policy actions to the environment's; None where the spaces are the same
    action_map: ActionMap | None = None
    horizon: int
    reports_success: bool
    timeout: float = TIMEOUT  # seconds to build, reset or step an environment

    def make_vector_env(self, num_envs: int, *, engine: str = "auto", num_workers: int = 0) -> TaskVectorEnv:
        """Build an environment; raise ``MetarlError`` on engines but "auto" and "processes"."""
        return processes(self, self.env_factory, num_envs, engine, num_workers)


def processes(
    tasks: TaskDistribution, factory: EnvFactory, num_envs: int, engine: str, num_workers: int
) -> ProcessTaskVectorEnv:
    """Build an environment in worker processes; raise ``MetarlError`` on any other engine."""
    if engine not in ("auto", "processes"):
        raise unknown_name("engine", engine, ("auto", "processes"))
    # an action map lets the policy act in -1..1
    action_map = tasks.action_map if isinstance(tasks, MapsActions) else None
    return ProcessTaskVectorEnv(
        factory,
        default_tasks=tasks.tasks("train"),
        num_envs=num_envs,
        num_workers=num_workers,
        observation_space=tasks.observation_space,
        action_space=tasks.action_space if action_map is None else action_map.space,
        timeout=getattr(tasks, "timeout", TIMEOUT),
        action_map=action_map,
    )


def from_gymnasium(
    env: str | Callable[[], gymnasium.Env[object, object]],
    *,
    sample: Sampler[P] | Sequence[P] | None = None,
    test_sample: Sampler[P] | Sequence[P] | None = None,
    apply: Callable[[EnvT, P], None] | None = None,
    task_options: Callable[[P], Mapping[str, object]] | None = None,
    **settings: Unpack[TaskSettings],
) -> ProcessTasks:
    """Make a task distribution of a Gymnasium environment.

    Args:
        env: an id, or a class or function that builds the environment.
        sample: draws the parameters of one training task (a number, an array, or a dictionary of them), or
            lists those of all training tasks. An environment with ``sample_tasks`` and ``set_task`` needs
            neither this nor ``apply``.
        test_sample: the same for the held-out tasks. Without it they are drawn with ``sample`` from seeds
            that training never uses.
        apply: changes the environment, given the parameters: of an id, ``env.unwrapped``; of a factory, what
            it returned. It must set all that depends on the task, and nothing on top of what was before;
            only the numbers of a MuJoCo model are put back before each call.
        task_options: makes of the parameters what ``reset(options=...)`` is given; may be ``dict``.
        settings: see :class:`TaskSettings`.

    Raises:
        MetarlError: if nothing distinguishes the tasks, if a function takes other arguments or a setting does
            not exist, if an agent cannot take the observations or actions, if the horizon is nowhere to be
            found, or if a task is in both splits.
    """
    # check the arguments before anything is built
    check_settings(settings)
    check_takes({"sample(rng)": sample, "test_sample(rng)": test_sample})
    check_takes({"apply(env, task)": apply, "task_options(task)": task_options})
    name = settings.get("name") or _name(env)
    # build one environment, to look at it
    first = _look_at(env, name, settings)
    # find out how tasks are drawn and set
    source: Sampler[object] | Sequence[object]
    if first.sets_tasks and sample is None and apply is None:
        source, change = OwnTasks(first.maker), cast("Callable[[object, object], None]", _set_task)
    elif sample is not None and (apply is not None or task_options is not None):
        source, change = sample, cast("Callable[[object, object], None]", apply)
    else:
        raise MetarlError(
            f"The tasks of {name} need sample, and apply or task_options to tell the environment; "
            "only one with methods sample_tasks and set_task can do without."
        )
    # draw the lists, and check that they are apart
    splits = make_splits(name, source, cast("Sampler[object] | Sequence[object] | None", test_sample))
    options = cast("Callable[[object], Mapping[str, object]] | None", task_options)
    tuning = Tuning(change, options, settings.get("success_key"))
    observed = tuple(settings.get("observed", ()))
    # raises if an observed name is no parameter
    splits.layout.describe(observed)
    horizon, mapped = first.horizon, first.action_map
    return ProcessTasks(
        splits=splits,
        observed=observed,
        env_factory=GymnasiumFactory(name, first.maker, splits.layout, tuning, horizon, first.registered),
        observation_space=first.observation_space,
        action_space=first.action_space if mapped is None else mapped.policy_space,
        action_map=mapped,
        horizon=horizon,
        reports_success="success_key" in settings,
        timeout=settings.get("timeout", TIMEOUT),
    )


class _First(NamedTuple):
    """One environment of a family, closed again."""

    maker: Maker
    observation_space: Box
    action_space: Box | Discrete
    action_map: ActionMap | None
    horizon: int
    registered: EnvSpec | None
    sets_tasks: bool


def _look_at(env: object, name: str, settings: TaskSettings) -> _First:
    """Build one environment; raise if an agent cannot use it."""
    with user_errors(name):
        maker = _maker(env, settings.get("horizon"))
    with user_errors(name):
        maker, built = _first_build(maker, name)
    try:
        observations, actions = vectors(built.observation_space), built.action_space
        action_size(actions)
        return _First(
            maker,
            observations,
            cast("Box | Discrete", actions),
            make_action_map(actions, settings.get("actions", "rescale")),
            _horizon(built, settings.get("horizon")),
            gymnasium.registry.get(built.spec.id) if built.spec is not None else None,
            isinstance(built.unwrapped, SetsTasks),
        )
    finally:
        close(built, name)


class OwnTasks:
    """Draws tasks with an environment's ``sample_tasks``, by the caller's generator.

    Such methods draw from ``self.np_random`` or from NumPy's global generator, which is put back.
    """

    def __init__(self, maker: Maker) -> None:
        self._env = build(maker, checked=False).unwrapped

    def __call__(self, rng: np.random.Generator) -> object:
        """Draw one."""
        assert isinstance(self._env, SetsTasks)
        self._env.np_random = rng
        before = np.random.get_state()  # noqa: NPY002  # the generator that some draw from
        words = rng.integers(2**32, size=624, dtype=np.uint32)
        try:
            np.random.set_state(("MT19937", words, 624, 0, 0.0))  # noqa: NPY002  # as above
            (task,) = self._env.sample_tasks(1)
        finally:
            np.random.set_state(before)  # noqa: NPY002  # as above
        return task


def _set_task(env: gymnasium.Env[object, object], task: object) -> None:
    inner = env.unwrapped
    assert isinstance(inner, SetsTasks)
    inner.set_task(task)


def _maker(env: object, horizon: int | None) -> Maker:
    """Return a factory, or an id's spec: a worker may not know the id."""
    # a factory is used as it is
    if not isinstance(env, str):
        require(callable(env), "An environment is given by its id or by a factory", repr(env))
        return cast("Callable[[], GymEnv]", env)
    # "module:Name-v0" imports the module, as gymnasium.make does
    module, _, name = env.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        spec = copy.deepcopy(gymnasium.spec(name))
    except gymnasium.error.Error as error:
        raise MetarlError(f"Gymnasium knows no environment {env!r}: {str(error).rstrip('.')}") from error
    except ImportError as error:
        raise MetarlError(f"The module of the environment {env!r} is missing: {error}.") from error
    # the time limit is Gymnasium's wrapper, built from the spec
    if horizon is not None:
        spec = replace(spec, max_episode_steps=horizon)
    # pictures need a render mode that is chosen when the environment is made
    probe = gymnasium.make(spec, disable_env_checker=True)
    modes: object = probe.metadata.get("render_modes", ())
    close(probe, env)
    if isinstance(modes, list | tuple) and "rgb_array" in modes:
        spec.kwargs = {"render_mode": "rgb_array", **spec.kwargs}
    return spec


def _first_build(maker: Maker, name: str) -> tuple[Maker, GymEnv]:
    """Return an environment and what builds it, without pictures if necessary.

    Some have the mode "rgb_array" but no argument ``render_mode``.
    """
    try:
        return maker, build(maker, checked=True)
    except Exception as error:
        if not isinstance(maker, EnvSpec) or "render_mode" not in maker.kwargs:
            raise
        bare = copy.deepcopy(maker)
        del bare.kwargs["render_mode"]
        built = build(bare, checked=True)
        logger.warning("%s cannot be drawn: with a render mode, %s.", name, exception_text(error))
        return bare, built


def _name(env: object) -> str:
    name = env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)
    return name.rpartition("/")[2].rpartition(":")[2] if name != "<lambda>" else "my-env"


def _horizon(env: GymEnv, wanted: int | None) -> int:
    own = _own_limit(env)
    if wanted is None and own is None:
        raise MetarlError("The environment has no limit of steps of its own; give one: horizon=200.")
    horizon = own if wanted is None else int(wanted)
    assert horizon is not None
    if own is not None and own < horizon:
        raise MetarlError(
            f"Expected a horizon of {own} steps at most, the environment's own limit, got {horizon}."
        )
    return horizon


def _own_limit(env: GymEnv) -> int | None:
    """Return the environment's limit of steps, its spec's or that of a TimeLimit around it."""
    if env.spec is not None:
        return env.spec.max_episode_steps
    # a class of one's own has no spec, wrapped or not
    limits: list[int] = []
    inner: object = env
    while isinstance(inner, gymnasium.Wrapper):
        if isinstance(inner, TimeLimit):
            limits.append(inner._max_episode_steps)  # it has no public name
        inner = inner.env
    return min(limits, default=None)
