"""Models that MuJoCo 4.0.0 solves wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metarl.errors import EngineError

if TYPE_CHECKING:
    import mujoco

_FAULTY = 4_000_000


def check_solver(model: mujoco.MjModel) -> None:
    """Refuse a model that meets the fault of MuJoCo 4.0.0.

    Its Newton solver has a wrong factor of the Hessian where the constraint Jacobian is sparse, as it is from
    60 degrees of freedom on: bodies with branches that touch are accelerated wrongly, and diverge.
    Source: https://github.com/google-deepmind/mujoco/releases/tag/4.0.1

    Raises:
        EngineError: if this is MuJoCo 4.0.0, and the model has the Newton solver and a sparse Jacobian.
    """
    if type(model).__name__ != "MjModel":
        return
    import mujoco  # noqa: PLC0415  # where there is a model it is loaded, and nowhere else is it needed

    if mujoco.mj_version() != _FAULTY:
        return
    if model.opt.solver == int(mujoco.mjtSolver.mjSOL_NEWTON) and mujoco.mj_isSparse(model):
        raise EngineError(
            f"Expected another MuJoCo than 4.0.0 for a model with {model.nv} degrees of freedom and a sparse "
            "Jacobian, which its Newton solver gets wrong; install 4.0.1 or later, or set "
            '<option jacobian="dense"/> in the model.'
        )
