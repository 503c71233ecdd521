"""Pictures of Meta-World, with its full models.

The engine steps models without visual parts. To draw a world, its state and the positions that its reset
edited are copied into the full model; the picture is, pixel for pixel, that of Meta-World's own environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import mujoco
import numpy as np
import numpy.typing as npt
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl.envs.engines.rendering.offscreen import Frame, Offscreen
from metarl.envs.engines.threads.features import Array
from metarl.envs.engines.threads.worlds import STATE
from metarl.envs.metaworld.models import environment_class

FullModel: TypeAlias = Callable[[str], mujoco.MjModel]
# changes how a family's full model looks in a task, given the task's parameters
Look: TypeAlias = Callable[[mujoco.MjModel, str, Sequence[float]], None]
# of every model, in its order; those in the corners are upside down
CAMERAS = ("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV")
DEFAULT_SIZE = 480
RENDERERS_KEPT = 50  # by each engine, so that all families can be looked at in turn
_BEST = "corner2"

_KINDS = {
    "body_pos": mujoco.mjtObj.mjOBJ_BODY,
    "site_pos": mujoco.mjtObj.mjOBJ_SITE,
    "geom_pos": mujoco.mjtObj.mjOBJ_GEOM,
    "geom_size": mujoco.mjtObj.mjOBJ_GEOM,
}  # model fields that change a world's pictures, and the kind of object that each is of


class SawyerRenderer:
    """Draws the worlds of one family; only the thread that made it may use it.

    It holds the full model (20 MB), meshes and textures. ``stepped`` is the model that the states belong to,
    ``full`` compiles a family's full model (None: Meta-World's), ``look`` changes it for a task. Errors are
    those of :class:`.Offscreen`.
    """

    def __init__(
        self,
        family: str,
        stepped: mujoco.MjModel,
        *,
        width: int = DEFAULT_SIZE,
        height: int = DEFAULT_SIZE,
        full: FullModel | None = None,
        look: Look | None = None,
    ) -> None:
        self._family, self._look = family, look
        self._model = (full or full_model)(family)
        self._data = mujoco.MjData(self._model)
        self._rows = {field: _same_objects(stepped, self._model, kind) for field, kind in _KINDS.items()}
        self._offscreen = Offscreen(self._model, width=width, height=height)

    def frame(
        self,
        integration: Array,
        fields: Mapping[str, Array],
        camera: str | None = None,
        parameters: Sequence[float] = (),
    ) -> Frame:
        """Return a picture, ``[height, width, 3]``, of a state ``mjSTATE_INTEGRATION``.

        ``fields`` are the world's own ``body_pos``, ``site_pos``, ``geom_pos`` and ``geom_size``, as far as
        it has them, in the order of the stepped model. ``camera`` is one of :data:`CAMERAS`, for Meta-World's
        own picture; None for corner2 turned upright. ``parameters`` are the task's.
        """
        if self._look is not None and parameters:
            self._look(self._model, self._family, parameters)
        for field, (theirs, ours) in self._rows.items():
            if field in fields:
                getattr(self._model, field)[ours] = fields[field][theirs]
        mujoco.mj_setState(self._model, self._data, integration, STATE)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)  # some lights and cameras follow a centre of mass
        mujoco.mj_camlight(self._model, self._data)
        picture = self._offscreen.frame(self._data, _BEST if camera is None else camera)
        return picture if camera is not None else np.ascontiguousarray(picture[::-1, ::-1])

    def close(self) -> None:
        """Free what the graphics library holds."""
        self._offscreen.close()


class SawyerRenderers:
    """Renderers of an engine, made on demand; the longest unused are closed."""

    def __init__(self, full: FullModel | None = None, look: Look | None = None) -> None:
        self._full, self._look = full, look
        self._renderers: dict[tuple[str, int, int], SawyerRenderer] = {}

    def get(self, family: str, stepped: mujoco.MjModel, *, width: int, height: int) -> SawyerRenderer:
        """Return a family's renderer; see :class:`SawyerRenderer`."""
        key = (family, width, height)
        renderer = self._renderers.pop(key, None)
        renderer = renderer or SawyerRenderer(
            family, stepped, width=width, height=height, full=self._full, look=self._look
        )
        self._renderers[key] = renderer  # the last in order is the one used last
        if len(self._renderers) > RENDERERS_KEPT:
            self._renderers.pop(next(iter(self._renderers))).close()
        return renderer

    def close(self) -> None:
        """Free what the graphics library holds."""
        while self._renderers:
            self._renderers.popitem()[1].close()


def full_model(family: str) -> mujoco.MjModel:
    """Compile a family's model with visual parts, in 0.2 to 0.8 s."""
    published = environment_class(family)
    return mujoco.MjModel.from_xml_path(SawyerXYZEnv.__new__(published).model_name)


def _same_objects(
    stepped: mujoco.MjModel, full: mujoco.MjModel, kind: mujoco.mjtObj
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return named objects' indices in both models.

    The stepped model has some sites more, in the place of geoms. A reset edits only objects with a name.
    """
    counts = {mujoco.mjtObj.mjOBJ_BODY: stepped.nbody, mujoco.mjtObj.mjOBJ_SITE: stepped.nsite}
    count = counts.get(kind, stepped.ngeom)
    names = [mujoco.mj_id2name(stepped, kind, index) for index in range(count)]
    numbers = [mujoco.mj_name2id(full, kind, name) if name else -1 for name in names]
    found = [(index, number) for index, number in enumerate(numbers) if number >= 0]
    theirs, ours = np.array(found, np.int64).reshape(-1, 2).T
    return theirs, ours
