"""Snapshots of Meta-World's resets, made once each and restored in microseconds.

The state after a reset depends on the family and the task's random vector alone, bit for bit, though a reset
simulates two runs of 50 steps of the hand. The bank lets Meta-World reset once and keeps the state, the model
fields that changed and the constants that rewards need.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import logging
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TypeAlias

import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.types import Task as MetaWorldTask

from metarl.envs.engines.threads.batched import WorldState
from metarl.envs.engines.threads.features import Array, Named, read
from metarl.envs.engines.threads.worlds import integration_state
from metarl.envs.metaworld.models import EXPANDED, METAWORLD_MODELS, Arm, Models, read_arm
from metarl.errors import MetarlError
from metarl.storage.files import write_whole

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_HISTORY = ("_np_random_seed", "current_seed", "seeded_rand_vec", "num_resets", "_last_stable_obs")
_MAX_DRAWS = 20  # a reset that is accepted draws twice

Constants: TypeAlias = dict[str, Array]
Extractor: TypeAlias = Callable[[SawyerXYZEnv, str], Constants]


class Snapshot(NamedTuple):
    """An environment right after its reset."""

    world: WorldState  # for BatchedPhysics.set_state
    observation: Array  # of the reset, [39], goal hidden
    arm: Arm  # for MocapArms.reset
    constants: Constants  # of the rewards, by Meta-World's attribute names


@functools.cache
def _shared_model(models: Models, family: str, read_geoms: tuple[str, ...]) -> mujoco.MjModel:
    """Compile a model once a process (0.1 s); no one writes to it."""
    return models.stepped(family, read_geoms)


def numeric_attributes(env: SawyerXYZEnv, family: str) -> Constants:
    """Return copies of an environment's numbers and arrays of numbers.

    Left out are those that depend on what the environment did before, such as its seed.
    """
    del family  # their names say enough
    found = {}
    for name, value in vars(env).items():
        if name not in _HISTORY and isinstance(value, bool | int | float | np.number | np.ndarray):
            array = np.array(value)
            if array.dtype.kind in "biuf":
                found[name] = array.astype(np.float64)
    return found


class ResetBank:
    """Snapshots by family and random vector, in memory and, given a folder, on disk."""

    def __init__(
        self,
        features: Mapping[str, Sequence[Named]],
        *,
        folder: Path | None = None,
        constants: Extractor = numeric_attributes,
        reward: str = "v2",
        models: Models = METAWORLD_MODELS,
    ) -> None:
        """Open the bank.

        ``features`` are what the physics binds; snapshots hold them as Meta-World's own data had them, which
        some resets leave older than the state. ``constants`` says what else to keep of an environment right
        after its reset, ``reward`` which rewards fix constants. A file in ``folder`` is named after all that
        a snapshot depends on.
        """
        self._features = {family: tuple(wanted) for family, wanted in features.items()}
        self._folder, self._constants, self._reward = folder, constants, reward
        self._source = models
        self._models: dict[str, mujoco.MjModel] = {}
        self._snapshots: dict[str, dict[bytes, Snapshot]] = {}
        self._unsaved: set[str] = set()
        self._env: tuple[str, SawyerXYZEnv] | None = None  # the last one only: each takes some 60 MB

    @property
    def families(self) -> list[str]:
        """The families it serves."""
        return list(self._features)

    def model(self, family: str) -> mujoco.MjModel:
        """Return the family's physics model, every time the same one."""
        if family not in self._models:
            geoms = {feature.name for feature in self._features[family] if feature.of == "geom"}
            self._models[family] = _shared_model(self._source, family, tuple(sorted(geoms)))
        return self._models[family]

    def snapshot(self, family: str, rand_vec: Sequence[float] | Array) -> Snapshot:
        """Return the reset of a task; a new one is simulated (about 10 ms).

        A vector of a wrong size, or one that the environment rejects, raises ``MetarlError``.
        """
        vector = np.asarray(rand_vec, np.float64)
        known = self._known(family)
        if vector.tobytes() not in known:
            known[vector.tobytes()] = self._simulate(family, vector)
            self._unsaved.add(family)
        return known[vector.tobytes()]

    def snapshots(self, family: str) -> Iterator[Snapshot]:
        """Yield a family's snapshots, oldest first."""
        return iter(self._known(family).values())

    def prepare(self, tasks: Iterable[tuple[str, Sequence[float]]]) -> None:
        """Simulate the resets of new tasks and write them to the folder."""
        for family, vector in sorted(tasks, key=lambda task: task[0]):
            self.snapshot(family, vector)
        self.save()

    def save(self) -> None:
        """Write the families with new snapshots to the folder, if there is one."""
        for family in sorted(self._unsaved) if self._folder else ():
            _write(self._file(family), self._snapshots[family])
        self._unsaved.clear()

    def close(self) -> None:
        """Let go of Meta-World's environment."""
        if self._env:
            self._env[1].close()  # type: ignore[no-untyped-call]  # Gymnasium left it untyped
        self._env = None

    def _known(self, family: str) -> dict[bytes, Snapshot]:
        if family not in self._snapshots:
            self._snapshots[family] = _read(self._file(family)) if self._folder else {}
        return self._snapshots[family]

    def _file(self, family: str) -> Path:
        assert self._folder is not None
        # the name changes with everything that a snapshot depends on
        extractor = f"{self._constants.__module__}.{self._constants.__qualname__}"
        names = [(wanted.field, wanted.of, wanted.name) for wanted in self._features[family]]
        rewards = self._reward + self._source.version
        key = (_FORMAT, version("metaworld"), mujoco.__version__, names, extractor, rewards)
        return self._folder / f"{family}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.npz"

    def environment(self, family: str) -> SawyerXYZEnv:
        """Return the Meta-World environment that a family's resets are taken from."""
        if self._env is None or self._env[0] != family:
            self.close()
            self._env = family, self._source.environment(family)(reward_function_version=self._reward)
        return self._env[1]

    def _simulate(self, family: str, vector: Array) -> Snapshot:
        env = self.environment(family)
        observation = reset_to(env, family, vector)
        slim = self.model(family)
        edited = {field: _transfer(env.model, slim, field) for field in EXPANDED}
        fields = {**self._source.fields(family, vector), **edited}
        features = read(env.model, env.data, self._features[family])
        world = WorldState(integration_state(env.model, env.data), fields, features)
        return Snapshot(world, observation, read_arm(env), self._constants(env, family))


def check_parameters(env: SawyerXYZEnv, family: str, vector: Array) -> None:
    """Check the random vector of a task; raise ``MetarlError`` on a wrong size or no number."""
    space = env._random_reset_space
    assert space is not None
    if vector.shape != space.shape or not np.isfinite(vector).all():
        size, given = space.shape[0], vector.tolist()
        raise MetarlError(f"Expected {size} finite parameters for a task of {family!r}, got {given}.")


def reset_to(env: SawyerXYZEnv, family: str, vector: Array) -> Array:
    """Reset an environment to a task, goal hidden; return ``[39]``; check the vector."""
    check_parameters(env, family, vector)
    set_rand_vec(env, family, vector)
    with _no_rejection(env, family):
        observation, _ = env.reset()
    return np.array(observation)


def set_rand_vec(env: SawyerXYZEnv, family: str, vector: Array) -> None:
    """Set a random vector's task, goal hidden."""
    task = {"env_cls": SawyerXYZEnv, "rand_vec": vector, "partially_observable": True}
    env.set_task(MetaWorldTask(env_name=family, data=pickle.dumps(task)))


@contextmanager
def _no_rejection(env: SawyerXYZEnv, family: str) -> Iterator[None]:
    """Stop a reset that rejects its vector, which Meta-World would repeat for ever."""
    draws = itertools.count()

    def rand_vec() -> Array:
        if next(draws) >= _MAX_DRAWS:
            raise MetarlError(f"{family} does not accept the random vector {env._last_rand_vec}.")
        return type(env)._get_state_rand_vec(env)

    # an attribute of the instance hides the class's method
    env._get_state_rand_vec = rand_vec  # type: ignore[method-assign]  # for this reset only
    try:
        yield
    finally:
        del env._get_state_rand_vec


def _transfer(full: mujoco.MjModel, slim: mujoco.MjModel, field: str) -> Array:
    """Return the slim model's field with the rows of the full one, matched by name."""
    kind = {"body_pos": mujoco.mjtObj.mjOBJ_BODY, "site_pos": mujoco.mjtObj.mjOBJ_SITE}[field]
    rows = np.array(getattr(slim, field))
    source = getattr(full, field)
    for index in range(len(rows)):
        name = mujoco.mj_id2name(slim, kind, index)
        original = mujoco.mj_name2id(full, kind, name) if name else -1
        if original >= 0:
            rows[index] = source[original]
    return rows


def _write(path: Path, snapshots: Mapping[bytes, Snapshot]) -> None:
    # all snapshots of a family have the same constants, so a table holds them
    kept = list(snapshots.values())
    names = {frozenset(one.constants) for one in kept}
    if len(names) > 1:
        raise MetarlError(f"The resets of {path.stem} have different constants; they must have the same.")
    columns = {
        "rand_vec": np.stack([np.frombuffer(key) for key in snapshots]),
        "integration": np.stack([one.world.integration for one in kept]),
        "features": np.stack([one.world.features for one in kept]),
        "observation": np.stack([one.observation for one in kept]),
    }
    for name in Arm._fields:
        columns[f"arm/{name}"] = np.stack([getattr(one.arm, name) for one in kept])
    for field in kept[0].world.fields:
        columns[f"field/{field}"] = np.stack([one.world.fields[field] for one in kept])
    for name in kept[0].constants:
        columns[f"constant/{name}"] = np.stack([one.constants[name] for one in kept])
    # the file is whole or absent, also after an interruption
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **columns)
    write_whole(path, archive.getvalue())


def _read(path: Path) -> dict[bytes, Snapshot]:
    if not path.exists():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
        return {vector.tobytes(): _row(columns, i) for i, vector in enumerate(columns["rand_vec"])}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        _LOG.warning("%s is damaged and is made anew: %s.", path, error)
        return {}


def _row(columns: Mapping[str, Array], index: int) -> Snapshot:
    def group(prefix: str) -> dict[str, Array]:
        rows = {name: rows[index] for name, rows in columns.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): row for name, row in rows.items()}

    world = WorldState(columns["integration"][index], group("field/"), columns["features"][index])
    return Snapshot(world, columns["observation"][index], Arm(**group("arm/")), group("constant/"))
