"""Pictures of grasp-shapes: all objects on the table, and the arm holding one of them."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import mujoco
import numpy as np
from matplotlib.figure import Figure
from metaworld.policies import SawyerPickPlaceV3Policy

from benchmarks.learning.grasp_shapes import scripted
from benchmarks.program import run
from metarl.envs.grasp.objects import PREFIX, SHAPES, TYPICAL, full_object_model
from metarl.envs.grasp.suite import TEST_SHAPES, GraspShapesTasks
from metarl.types import Task
from metarl.vector_env import Picture, Renderable

_COLUMNS = 5
_LARGE = 1600
_HAND = slice(640, 920), slice(820, 1100)  # pixels of a large picture


def main(*, shapes: Path = Path("docs/grasp_shapes.png"), held: Path = Path("docs/grasp_held.png")) -> None:
    """Draw both pictures.

    Args:
        shapes: file of the picture of all objects.
        held: file of the picture of the arm.
    """
    mpl.rcParams["font.size"] = 11
    figure = Figure(figsize=(2.4 * _COLUMNS, 2.75 * -(-len(SHAPES) // _COLUMNS)), layout="constrained")
    axes = figure.subplots(-(-len(SHAPES) // _COLUMNS), _COLUMNS).ravel()
    for axis, shape in zip(axes, SHAPES, strict=True):
        axis.imshow(close_up(shape))
        axis.set_title(f"{shape} (held out)" if shape in TEST_SHAPES else shape)
        axis.set_axis_off()
    figure.savefig(shapes, dpi=90)
    figure = Figure(figsize=(4 * 2.4, 2.75), layout="constrained")
    for axis, (shape, picture) in zip(figure.subplots(1, 4), carried().items(), strict=True):
        axis.imshow(picture)
        axis.set_title(shape)
        axis.set_axis_off()
    figure.savefig(held, dpi=110)


def close_up(shape: str) -> Picture:
    """Return an object as it lies on the table, seen from the side without the arm."""
    model = full_object_model(shape)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.lookat[:] = data.body("obj").xpos
    camera.distance, camera.azimuth, camera.elevation = 0.26, 125.0, -28.0
    with mujoco.Renderer(model, 320, 320) as renderer:
        renderer.update_scene(data, camera)
        picture: Picture = renderer.render()
    return picture


def carried() -> dict[str, Picture]:
    """Return the arm on its way to the goal with four of the objects."""
    layout = (0.0, 0.62, 0.05, 0.82, 0.25)
    wanted = ("box", "dumbbell", "ellipsoid", "hammer")
    tasks = [Task(PREFIX + shape, (*TYPICAL, *layout), f"{shape}/picture") for shape in wanted]
    env = GraspShapesTasks(train=tuple(tasks), test=()).make_vector_env(len(tasks))
    assert isinstance(env, Renderable)
    policy, goals = SawyerPickPlaceV3Policy(), [task.parameters[5:] for task in tasks]
    try:
        env.set_tasks(tasks)
        observations, _ = env.reset()
        for _ in range(60):
            observations = env.step(scripted(policy, observations, goals))[0]
        return {
            shape: np.ascontiguousarray(env.render_slot(slot, width=_LARGE, height=_LARGE)[_HAND])
            for slot, shape in enumerate(wanted)
        }
    finally:
        env.close()


if __name__ == "__main__":
    run(main)
