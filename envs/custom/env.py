"""Gymnasium environments with settable tasks and a horizon."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from metarl.envs.engines.solver_fault import check_solver
from metarl.envs.task_sampling.parameters import Layout
from metarl.errors import MetarlError, unknown_name
from metarl.step_values import truth, unpack_reset, unpack_step
from metarl.types import Task
from metarl.vector_env import Array

GymEnv: TypeAlias = "gymnasium.Env[Array, object]"
Info: TypeAlias = dict[str, object]


@dataclass(frozen=True)
class Tuning:
    """How to change an environment for a task; each of the three may be None."""

    # changes the environment itself, given the parameters
    apply: Callable[[object, object], None] | None = None
    # turns the parameters into the options of reset
    options: Callable[[object], Mapping[str, object]] | None = None
    success_key: str | None = None  # the info key that reports success


@dataclass(frozen=True)
class GymnasiumFactory:
    """Builds one family's environments, in the workers."""

    family: str
    # a spec, not an id: workers know nothing of the ids that a program registers
    maker: EnvSpec | Callable[[], GymEnv]
    layout: Layout
    tuning: Tuning
    horizon: int
    registered: EnvSpec | None = None  # Gymnasium's registry entry of the environment

    def __call__(self, family: str) -> GymnasiumTaskEnv:
        """Build one; raise ``MetarlError`` on another family."""
        if family != self.family:
            raise unknown_name("task family", family, (self.family,))
        if self.registered is not None:
            # register the environment, as importing its package does
            if isinstance(self.registered.entry_point, str):
                importlib.import_module(self.registered.entry_point.partition(":")[0])
            gymnasium.registry.setdefault(self.registered.id, self.registered)
        return GymnasiumTaskEnv(build(self.maker, checked=False), self)


class GymnasiumTaskEnv(gymnasium.Wrapper[Array, object, Array, object]):
    """Sets tasks, truncates at the horizon, reports success.

    Setting a task changes the environment. ``apply`` gets what there is to change: of an environment that
    Gymnasium made from a name, the one inside Gymnasium's wrappers; of any other, exactly what its factory
    returned. If it has a MuJoCo model, that is first made what it was at the start, so that a change never
    builds on the one before.
    """

    def __init__(self, env: GymEnv, factory: GymnasiumFactory) -> None:
        super().__init__(env)
        self._plan = factory
        self._target: object = env.unwrapped if isinstance(factory.maker, EnvSpec) else env
        self._model = ModelBackup(env.unwrapped)
        self._parameters: object = None
        self._success_name = f"info[{factory.tuning.success_key!r}]"
        self._steps = 0

    def set_task(self, task: Task) -> None:
        """Run ``task`` from the next reset on; raise ``MetarlError`` on a wrong number of parameters."""
        self._parameters = self._plan.layout.restore(task.parameters)
        if self._plan.tuning.apply is not None:
            self._model.restore()
            self._plan.tuning.apply(self._target, self._parameters)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Array, Info]:
        """Start an episode, with the task's reset options."""
        self._steps = 0
        if self._plan.tuning.options is not None:
            given = self._plan.tuning.options(self._parameters)
            if not isinstance(given, Mapping):
                raise TypeError(f"task_options must return a dictionary, but it returned {given!r}")
            options = {**(options or {}), **given}
        observation = unpack_reset(self.env.reset(seed=seed, options=options))
        return cast("Array", observation), {}

    def step(self, action: object) -> tuple[Array, float, bool, bool, Info]:
        """Take one step, the last at the horizon; raise ``UnfitValue`` on flags that are no truth values."""
        observation, reward, ended, truncated, info = unpack_step(self.env.step(action))
        self._steps += 1
        key = self._plan.tuning.success_key
        shown: Info = {}
        if key is not None and key in info:
            shown["success"] = truth(info[key], self._success_name)
        terminated = ended is not False and truth(ended, "terminated")  # the call takes longer
        over = (truncated is not False and truth(truncated, "truncated")) or self._steps >= self._plan.horizon
        returned = (observation, reward, terminated, over and not terminated, shown)
        return cast("tuple[Array, float, bool, bool, Info]", returned)


class ModelBackup:
    """A copy of the numbers of an environment's MuJoCo model, if it has one."""

    def __init__(self, env: object) -> None:
        model = getattr(env, "model", None)
        self._model = model if type(model).__name__ == "MjModel" else None
        self._kept = None if self._model is None else copy.copy(self._model)

    def restore(self) -> None:
        """Put the copied numbers back into the model."""
        if self._model is not None and self._kept is not None:
            _copy_numbers(self._kept, self._model)
            _copy_numbers(self._kept.opt, self._model.opt)
            _copy_numbers(self._kept.stat, self._model.stat)  # which mj_setConst derives


def _copy_numbers(source: object, target: object) -> None:
    """Copy numbers that can be set; counts, such as those of a model's bodies, cannot."""
    for name in dir(source):
        value = None if name.startswith("_") else getattr(source, name)
        if isinstance(value, np.ndarray):
            getattr(target, name)[...] = value
        elif isinstance(value, float | int) and value != getattr(target, name):
            setattr(target, name, value)


def build(maker: EnvSpec | Callable[[], GymEnv], *, checked: bool) -> GymEnv:
    """Build an environment, with drawing if its spec can; raise ``MetarlError`` on anything else."""
    if isinstance(maker, EnvSpec):
        env: object = gymnasium.make(maker, disable_env_checker=not checked)
    else:
        env = maker()
    if not isinstance(env, gymnasium.Env):
        raise MetarlError(
            f"A factory must return a gymnasium.Env, but it returned a {type(env).__name__}; "
            "environments of the old gym are wrapped by shimmy.GymV21CompatibilityV0."
        )
    check_solver(getattr(env.unwrapped, "model", None))
    return env
