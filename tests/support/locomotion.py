"""What the locomotion tests share: ours and Gymnasium's environments, stepped side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.envs.mujoco import MujocoEnv

from metarl.envs.engines.threads.batched import StepperName
from metarl.envs.engines.threads.model_changes import Change
from metarl.envs.locomotion.starts import LocomotionFamily
from metarl.envs.locomotion.threads import LocomotionVectorEnv
from metarl.types import Task

ROBOTS = ("Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5", "Walker2d-v5")

Numbers: TypeAlias = npt.NDArray[np.float64]
Actions: TypeAlias = "npt.NDArray[np.float32] | npt.NDArray[np.float64]"


def gymnasium_env(robot: str, options: Mapping[str, object] | None = None) -> MujocoEnv:
    """Return Gymnasium's own environment, without wrappers."""
    env = gymnasium.make(robot, disable_env_checker=True, **(options or {})).unwrapped  # type: ignore[arg-type]  # options are of many types
    assert isinstance(env, MujocoEnv)
    return env


def ours(
    robot: str,
    num_envs: int,
    *,
    options: Mapping[str, object] | None = None,
    stepper: StepperName = "auto",
    num_threads: int = 2,
) -> LocomotionVectorEnv:
    """Return our environment for a robot as Gymnasium has it."""
    family = LocomotionFamily(name="plain", robot=robot, options=options or {})
    return LocomotionVectorEnv(family, num_envs=num_envs, num_threads=num_threads, stepper=stepper)


def random_actions(env: LocomotionVectorEnv, steps: int, seed: int = 0) -> list[npt.NDArray[np.float32]]:
    """Draw actions, in every other slot three times as large as allowed."""
    rng = np.random.default_rng(seed)
    shape = env.action_space.shape
    assert shape is not None
    size = np.where(np.arange(env.num_envs) % 2 == 0, 1.0, 3.0)[:, None] * env.single_action_space.high  # type: ignore[attr-defined]  # a Box
    return [(size * rng.uniform(-1.0, 1.0, shape)).astype(np.float32) for _ in range(steps)]


def hold_equal(
    env: LocomotionVectorEnv,
    references: Sequence[MujocoEnv],
    actions: Sequence[Actions],
    *,
    seed: int,
    reward: Callable[[int, Mapping[str, float]], float] | None = None,
) -> int:
    """Step ours and Gymnasium's environments, and hold everything they return to each other, bit for bit.

    A slot whose episode ends is reset, and so is its counterpart; neither is seeded again.

    Args:
        env: ours.
        references: Gymnasium's, one a slot.
        actions: ``[T, N, A]``.
        seed: of the first reset.
        reward: what a slot's infos are worth, in place of Gymnasium's reward.

    Returns:
        How many episodes terminated.
    """
    terminations = 0
    observations, infos = env.reset(seed=seed)
    for slot, reference in enumerate(references):
        observation, info = reference.reset(seed=seed + slot)
        np.testing.assert_array_equal(observations[slot], observation)
        _hold_infos(infos, slot, info)
    for row in actions:
        observations, rewards, terminated, truncated, infos = env.step(row)  # type: ignore[arg-type]  # float32 too
        assert not truncated.any()
        for slot, reference in enumerate(references):
            observation, paid, ended, _, info = reference.step(row[slot])  # type: ignore[arg-type]  # float64 too
            np.testing.assert_array_equal(observations[slot], observation)
            assert rewards[slot] == (paid if reward is None else reward(slot, info))
            assert terminated[slot] == ended
            _hold_infos(infos, slot, info)
        if terminated.any():
            terminations += int(terminated.sum())
            observations, _ = env.reset(options={"reset_mask": terminated.astype(np.bool_)})
            for slot in np.flatnonzero(terminated):
                np.testing.assert_array_equal(observations[slot], references[slot].reset()[0])
    for slot, reference in enumerate(references):
        np.testing.assert_array_equal(state(env, slot), _state_of(reference.model, reference.data))
    return terminations


def state(env: LocomotionVectorEnv, slot: int) -> Numbers:
    """Return all of MuJoCo's state of a slot that matters later."""
    return env._physics.get_state([slot])[0].integration


def tasks(name: str, parameters: Sequence[tuple[float, ...]]) -> list[Task]:
    """Return a task for each of some parameters."""
    return [Task(name, numbers, f"{name}-{index}") for index, numbers in enumerate(parameters)]


def _state_of(model: mujoco.MjModel, data: mujoco.MjData) -> Numbers:
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    values = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, values, kind)
    return values


def _hold_infos(infos: Mapping[str, object], slot: int, expected: Mapping[str, object]) -> None:
    names = {name for name in infos if not name.startswith("_")}
    assert names == expected.keys()
    for name, value in expected.items():
        numbers, named = infos[name], infos[f"_{name}"]
        assert isinstance(numbers, np.ndarray)
        assert isinstance(named, np.ndarray)
        assert named[slot]
        np.testing.assert_array_equal(numbers[slot], value, name)


PLAIN = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


HEAVY = (2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


SLOW_MOTION = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.6)


def changes(parameters: tuple[float, ...]) -> list[Change]:
    """Change masses, inertias, friction, damping, gear, gravity, and the time step."""
    mass, inertia, friction, damping, gear, gravity, timestep = parameters
    return [
        Change("body_mass", 1, mass, scale=True),
        Change("body_mass", -1, mass * 1.1 if mass != 1.0 else 1.0, scale=True),
        Change("body_inertia", slice(2, None), inertia, scale=True),
        Change("geom_friction", (slice(None), 0), friction, scale=True),
        Change("dof_damping", ..., damping, scale=True),
        Change("actuator_gear", (0, 0), gear, scale=True),
        Change("opt.gravity", 2, -9.81 * gravity),
        Change("opt.timestep", ..., timestep, scale=True),
    ]
