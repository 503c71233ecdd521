"""What the physics tests share: features of each family, and fleets of worlds that act as Meta-World does."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.engines.threads.batched import BatchedPhysics, StepperName
from metarl.envs.engines.threads.c_functions import CFunction, Rows
from metarl.envs.engines.threads.compiled import compile_functions, load
from metarl.envs.engines.threads.features import Array, Feature
from metarl.envs.metaworld.models import EXPANDED, FRAME_SKIP, Actions, MocapArms, environment_class
from metarl.envs.metaworld.reset_bank import ResetBank, Snapshot, set_rand_vec

FAMILIES = tuple(sorted(ALL_V3_ENVIRONMENTS))
STEPPERS: tuple[StepperName, ...] = ("compiled", "portable") if load() else ("portable",)
READ_GEOMS = ("handle", "puck", "objGeom", "mug", "BoxHandleGeom", "btnGeom", "WrenchHandle", "HammerHead")
STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)


@cache
def features(family: str) -> tuple[Feature, ...]:
    """Return something of every kind that the family's model has."""
    path = SawyerXYZEnv.__new__(environment_class(family)).model_name
    spec = mujoco.MjSpec.from_file(path)  # must outlive its geoms
    known = {geom.name for geom in spec.geoms}
    geoms = [name for name in READ_GEOMS if name in known]
    bodies = ("hand", "rightclaw", "leftclaw", "leftpad", "rightpad")
    wanted = [Feature("xpos", "body", name) for name in bodies]
    wanted += [Feature("xpos", "site", name) for name in ("rightEndEffector", "leftEndEffector")]
    for geom in geoms:
        wanted += [Feature(field, "geom", geom) for field in ("xpos", "xmat", "touching")]
    return (*wanted, Feature("xquat", "body", "hand"), Feature("qpos", "all"), Feature("qvel", "all"))


def run_rows(function: CFunction, tables: Sequence[Rows]) -> None:
    """Call a C function for each row of its tables."""
    [address] = compile_functions([function])
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
    for index in range(len(tables[0])):
        rows = np.array([table.ctypes.data + index * table.strides[0] for table in tables], np.int64)
        call(rows.ctypes.data)


def rand_vec(env: SawyerXYZEnv, seed: int) -> Array:
    """Draw a random vector that the environment accepts."""
    env.seeded_rand_vec, env._freeze_rand_vec = True, False
    env.seed(seed)
    env.reset()
    return np.array(env._last_rand_vec)


def make_bank(families: Sequence[str]) -> ResetBank:
    """Return a bank in memory for some families."""
    return ResetBank({family: features(family) for family in families})


class Fleet:
    """Worlds of Meta-World families, with the arms that drive them."""

    def __init__(
        self,
        bank: ResetBank,
        families: Sequence[str],
        stepper: StepperName,
        *,
        num_threads: int = 2,
        reuse_forward: bool = True,
    ) -> None:
        names = sorted(set(families))
        self.physics = BatchedPhysics(
            [bank.model(name) for name in names],
            [names.index(family) for family in families],
            stepper=stepper,
            num_threads=num_threads,
            reuse_forward=reuse_forward,
        )
        self.rows = self.physics.bind([features(name) for name in names])
        for field in EXPANDED:
            self.physics.expand(field)
        self.arms = MocapArms(len(families))

    def reset(self, world: int, snapshot: Snapshot) -> None:
        """Put a world where a reset of Meta-World leaves it."""
        self.arms.reset(world, snapshot.arm)
        self.physics.set_state([world], [snapshot.world])

    def step(self, actions: Actions, mask: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None) -> None:
        """Act in every world."""
        inputs = self.arms.act(actions, mask)
        self.physics.step(FRAME_SKIP, mask=mask, **inputs._asdict())

    def state(self, world: int) -> Array:
        """Return the integration state of a world."""
        return self.physics.get_state([world])[0].integration


def start(env: SawyerXYZEnv, family: str, vector: Array) -> Array:
    """Reset Meta-World's own environment to a task and return the observation."""
    set_rand_vec(env, family, vector)
    observation: Array = env.reset()[0]
    return observation


def integration_state(env: SawyerXYZEnv) -> Array:
    """Return the integration state of Meta-World's own environment."""
    values = np.empty(mujoco.mj_stateSize(env.model, STATE))
    mujoco.mj_getState(env.model, env.data, values, STATE)
    return values


def random_actions(seed: int, steps: int, worlds: int) -> Actions:
    """Draw actions, some outside the box; each stays for a while, so that arms move. ``[T, N, 4]``."""
    rng = np.random.default_rng(seed)
    blocks = rng.uniform(-1.5, 1.5, (-(-steps // 10), worlds, 4))
    return np.repeat(blocks, 10, axis=0)[:steps].astype(np.float32)
