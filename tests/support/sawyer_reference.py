"""Episodes of Meta-World's own environments, with what our functions need to say the same."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from functools import cache
from typing import Literal

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from numpy.typing import NDArray

from metarl.envs.engines.arrays import Vector, namespace, vector
from metarl.envs.engines.threads.features import read
from metarl.envs.metaworld.rewards.catalog import RewardVersion, tasks_with
from metarl.envs.metaworld.rewards.constants import constants_of
from metarl.envs.metaworld.rewards.observation import FRAME_SIZE
from metarl.envs.metaworld.rewards.task import SawyerTask

Kind = Literal["random", "scripted", "noisy"]
KINDS: tuple[Kind, ...] = ("random", "scripted", "noisy")
INFOS = (
    "success",
    "near_object",
    "grasp_success",
    "grasp_reward",
    "in_place_reward",
    "obj_to_target",
    "unscaled_reward",
)


@dataclass(frozen=True)
class Episode:
    """What Meta-World was asked and said, ``[..., steps, worlds]``; of resets ``[..., worlds]``."""

    features: Vector
    actions: Vector
    observations: Vector
    rewards: Vector
    infos: Vector
    reset_frame: Vector
    constants: Vector


def frames_before(frames: Vector, reset_frame: Vector) -> Vector:
    """Return previous frames, ``[18, steps, worlds]``, from those of all steps and that of the reset."""
    whole = slice(None)
    return namespace(frames).concatenate([reset_frame[(whole, None)], frames[(whole, slice(-1))]], 1)


def short(name: str, reward: RewardVersion = "v2") -> Episode:
    """Return 60 steps on one goal; the worlds are the kinds of action. Shared: not to be changed."""
    return _short(name, reward)


@cache
def _short(name: str, reward: RewardVersion) -> Episode:
    return record(name, reward=reward)


def make(name: str, seed: int, goal_visible: bool = False, reward: RewardVersion = "v2") -> SawyerXYZEnv:
    """Return Meta-World's environment on the goal that ``seed`` draws, to be reset once more."""
    env = ALL_V3_ENVIRONMENTS[name](reward_function_version=reward)
    env._partially_observable = not goal_visible
    env.__dict__.pop("sawyer_observation_space", None)
    env._set_task_called, env._freeze_rand_vec, env.seeded_rand_vec = True, False, True
    env.seed(seed)
    env.reset()
    env._freeze_rand_vec = True  # from here on every reset repeats the goal just drawn
    return env


def record(
    name: str,
    kinds: tuple[Kind, ...] = KINDS,
    seeds: tuple[int, ...] = (0,),
    steps: int = 60,
    goal_visible: bool = False,
    single: bool = True,
    reward: RewardVersion = "v2",
) -> Episode:
    """Play one episode for each goal and each kind of action; ``single``: with float32 actions."""
    episodes = []
    for seed in seeds:
        env = make(name, seed, goal_visible, reward)
        episodes += [_play(name, env, tasks_with(reward)[name], kind, seed, steps, single) for kind in kinds]
        env.close()  # type: ignore[no-untyped-call]  # Gymnasium leaves it so
    columns = {f.name: _worlds([getattr(e, f.name) for e in episodes]) for f in fields(Episode)}
    return Episode(**columns)


def _worlds(values: list[NDArray[np.float64]]) -> Vector:
    return vector(np.stack(values, axis=-1))


def _play(
    name: str, env: SawyerXYZEnv, task: SawyerTask, kind: Kind, seed: int, steps: int, single: bool
) -> Episode:
    rng = np.random.default_rng(seed)
    policy = ENV_POLICY_MAP[name]()  # type: ignore[abstract]  # the map holds the concrete ones
    obs, _ = env.reset()
    start, constants = obs[:FRAME_SIZE].copy(), constants_of(env, task)
    rows = []
    for _ in range(steps):
        assert env._target_pos is not None
        with warnings.catch_warnings():  # the policies warn of their own large actions
            warnings.simplefilter("ignore")
            scripted = policy.get_action(np.concatenate([obs[:36], env._target_pos]))
        action = _action(scripted, kind, rng).astype(np.float32 if single else np.float64)
        obs, reward, _, _, info = env.step(action)
        values = np.array([float(info[key]) for key in INFOS])
        rows.append((read(env.model, env.data, task.features), action, obs, np.array(float(reward)), values))
    columns = [np.stack(column, axis=-1) for column in zip(*rows, strict=True)]
    return Episode(*(vector(column) for column in (*columns, start, constants)))


def _action(scripted: NDArray[np.float32], kind: Kind, rng: np.random.Generator) -> NDArray[np.float64]:
    if kind == "random":
        return rng.uniform(-1, 1, 4)
    if kind == "scripted":  # unclipped: the rewards read it so
        return scripted.astype(np.float64)
    noisy = np.clip(scripted + rng.normal(0, 0.2, 4), -1, 1)
    noisy[3] *= rng.uniform(0.3, 1) if rng.random() < 0.7 else 1.0
    return noisy
