"""Episodes of Meta-World's own environments, with what our functions need to say the same."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from functools import cache
from typing import Literal, SupportsFloat

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from numpy.typing import NDArray

from metarl.envs.engines.arrays import Vector, namespace, vector
from metarl.envs.engines.threads.features import read
from metarl.envs.metaworld.rewards.catalog import REWARD_VERSIONS, RewardVersion, tasks_with
from metarl.envs.metaworld.rewards.constants import constants_of
from metarl.envs.metaworld.rewards.observation import FRAME_SIZE

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
    return _short(name)[reward]


@cache
def _short(name: str) -> dict[RewardVersion, Episode]:
    return record_versions(name, REWARD_VERSIONS)


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
    return record_versions(name, (reward,), kinds, seeds, steps, goal_visible, single)[reward]


def record_versions(
    name: str,
    versions: tuple[RewardVersion, ...],
    kinds: tuple[Kind, ...] = KINDS,
    seeds: tuple[int, ...] = (0,),
    steps: int = 60,
    goal_visible: bool = False,
    single: bool = True,
) -> dict[RewardVersion, Episode]:
    """Play as :func:`record` does, and say of the same steps what each version of the rewards says."""
    episodes: dict[RewardVersion, list[Episode]] = {version: [] for version in versions}
    for seed in seeds:
        env = make(name, seed, goal_visible, versions[-1])  # of assembly, the original notes more at a reset
        for kind in kinds:
            for version, episode in _play(name, env, versions, kind, seed, steps, single).items():
                episodes[version].append(episode)
        env.close()  # type: ignore[no-untyped-call]  # Gymnasium leaves it so
    return {
        version: Episode(*(_worlds([getattr(e, f.name) for e in played]) for f in fields(Episode)))
        for version, played in episodes.items()
    }


def _worlds(values: list[NDArray[np.float64]]) -> Vector:
    return vector(np.stack(values, axis=-1))


def _play(
    name: str,
    env: SawyerXYZEnv,
    versions: tuple[RewardVersion, ...],
    kind: Kind,
    seed: int,
    steps: int,
    single: bool,
) -> dict[RewardVersion, Episode]:
    rng = np.random.default_rng(seed)
    policy = ENV_POLICY_MAP[name]()  # type: ignore[abstract]  # the map holds the concrete ones
    tasks = {version: tasks_with(version)[name] for version in versions}
    obs, _ = env.reset()
    start, constants = obs[:FRAME_SIZE].copy(), {v: constants_of(env, task) for v, task in tasks.items()}
    rows: dict[RewardVersion, list[tuple[NDArray[np.float64], ...]]] = {version: [] for version in versions}
    for _ in range(steps):
        assert env._target_pos is not None
        with warnings.catch_warnings():  # the policies warn of their own large actions
            warnings.simplefilter("ignore")
            scripted = policy.get_action(np.concatenate([obs[:36], env._target_pos]))
        action = _action(scripted, kind, rng).astype(np.float32 if single else np.float64)
        obs, *said = env.step(action)
        for version, task in tasks.items():
            own = version == env.reward_function_version
            reward, info = (said[0], said[3]) if own else _evaluated(env, obs, action, version)
            values = np.array([float(info[key]) for key in INFOS])
            features = read(env.model, env.data, task.features)
            rows[version].append((features, action, obs, np.array(float(reward)), values))
    return {
        version: Episode(
            *(vector(np.stack(column, axis=-1)) for column in zip(*rows[version], strict=True)),
            vector(start),
            vector(constants[version]),
        )
        for version in versions
    }


def _evaluated(
    env: SawyerXYZEnv, obs: NDArray[np.float64], action: NDArray[np.float64], version: RewardVersion
) -> tuple[SupportsFloat, dict[str, float]]:
    """Return what another version of the rewards says of the last step; it changes none that follow."""
    own, env.reward_function_version = env.reward_function_version, version
    reward, info = env.evaluate_state(obs.copy(), action)  # type: ignore[arg-type]  # or float64
    env.reward_function_version = own
    return reward, info


def _action(scripted: NDArray[np.float32], kind: Kind, rng: np.random.Generator) -> NDArray[np.float64]:
    if kind == "random":
        return rng.uniform(-1, 1, 4)
    if kind == "scripted":  # unclipped: the rewards read it so
        return scripted.astype(np.float64)
    noisy = np.clip(scripted + rng.normal(0, 0.2, 4), -1, 1)
    noisy[3] *= rng.uniform(0.3, 1) if rng.random() < 0.7 else 1.0
    return noisy
