"""The physics of training and evaluation: what is recorded, and what is said where they differ."""

from __future__ import annotations

from pathlib import Path

import mujoco
import pytest

from metarl.envs.engines import model_files
from metarl.envs.engines.model_files import model_sum
from metarl.envs.locomotion.suite import HalfCheetahVelConfig
from metarl.envs.metaworld.suite import ML1Config
from metarl.evaluation.physics import physics_differences, physics_label, physics_of
from metarl.success_bonus import with_success_bonus
from metarl.types import Json

TRAINED: dict[str, Json] = {"engine": "threads", "mujoco": "3.3.0", "models": {"a": "1", "b": "2"}}


def test_physics_names_engine_mujoco_and_a_sum_for_each_family() -> None:
    arm = with_success_bonus(ML1Config().build(), 1.0)
    for suite, family in ((arm, "reach-v3"), (HalfCheetahVelConfig().build(), "half-cheetah-vel")):
        found = physics_of(suite, "threads")
        assert (found["engine"], found["mujoco"]) == ("threads", mujoco.__version__)
        models = found["models"]
        assert isinstance(models, dict)
        assert list(models) == [family]
        assert len(str(models[family])) == 64


def test_every_difference_from_the_training_is_a_sentence() -> None:
    here: Json = {"engine": "warp:cpu", "mujoco": "3.17.0", "models": {"b": "3", "c": "4"}}
    physics: Json = {"trained": TRAINED, "evaluated": here}
    assert physics_differences(physics) == [
        "The engine of the physics differs: MuJoCo in training, MuJoCo Warp here.",
        "The version of MuJoCo differs: 3.3.0 in training, 3.17.0 here.",
        "The model files differ from those of the training: b.",
    ]
    assert physics_label(physics) == "MuJoCo Warp 3.17.0, trained under MuJoCo 3.3.0"


def test_two_versions_of_warp_on_one_mujoco_are_named() -> None:
    old, new = ({"engine": "warp", "mujoco": "3.17.0", "mujoco_warp": one} for one in ("3.17.0", "4.0.0"))
    physics: Json = {"trained": dict(old), "evaluated": dict(new)}
    assert physics_differences(physics) == [
        "The version of MuJoCo Warp differs: 3.17.0 in training, 4.0.0 here."
    ]
    assert physics_label(physics) == "MuJoCo Warp 4.0.0, trained under MuJoCo Warp 3.17.0"


def test_same_physics_on_other_processes_and_what_is_not_recorded_are_no_difference() -> None:
    for here in ({"engine": "processes", "mujoco": "3.3.0"}, {"mujoco": None}, {}):
        physics: Json = {"trained": TRAINED, "evaluated": dict(here)}
        assert physics_differences(physics) == []
        assert physics_label(physics) == ""
    assert physics_differences(None) == []


def fresh_sum(path: Path, more: str = "") -> str:
    """Return a model's sum, with its files read anew."""
    model_files._read.cache_clear()
    model_files._sum.cache_clear()
    return model_sum(path, more)


def test_sum_of_a_model_changes_with_each_file_that_it_includes_and_with_no_picture(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    texture = '<asset><texture name="t" file="../t.png"/></asset>'
    (tmp_path / "models" / "a.xml").write_text(f'<mujoco><include file="../part.xml"/>{texture}</mujoco>')
    (tmp_path / "part.xml").write_text(
        '<mujocoinclude><asset><mesh file="../m.stl"/></asset></mujocoinclude>'
    )
    (tmp_path / "m.stl").write_bytes(b"one")
    (tmp_path / "t.png").write_bytes(b"one")

    def current(more: str = "") -> str:
        return fresh_sum(tmp_path / "models" / "a.xml", more)

    first = current()
    (tmp_path / "t.png").write_bytes(b"two")
    assert current() == first
    assert current("spec") != first
    (tmp_path / "m.stl").write_bytes(b"two")
    second = current()
    (tmp_path / "part.xml").write_text(
        '<mujocoinclude><asset><mesh file="../m.stl" /></asset></mujocoinclude>'
    )
    assert len({first, second, current()}) == 3


MESH = '<asset><mesh name="m" file="{}"/></asset>'
MODEL = "<mujoco>{}</mujoco>"


@pytest.mark.parametrize(
    ("files", "read"),
    [
        ({"a.xml": '<compiler meshdir="../d"/>' + MESH.format("m.stl")}, "../d/m.stl"),
        ({"a.xml": MESH.format("m.stl") + "<compiler assetdir='d'/>"}, "d/m.stl"),
        ({"a.xml": '<compiler meshdir="d" assetdir="e"/>' + MESH.format("m.stl")}, "d/m.stl"),
        ({"a.xml": '<compiler meshdir="e"/><compiler meshdir="d"/>' + MESH.format("m.stl")}, "d/m.stl"),
        # sums of recorded runs count files that comments name, as Meta-World's do
        ({"a.xml": '<!-- <include file="b.xml"/> -->'}, "b.xml"),
        ({"a.xml": '<!-- <compiler meshdir="e"/> -->' + MESH.format("m.stl")}, "m.stl"),
        ({"a.xml": '<compiler meshdir="d" strippath="true"/>' + MESH.format("far/m.stl")}, "d/m.stl"),
        (
            {
                "a.xml": '<include file="s/b.xml"/>' + MESH.format("m.stl"),
                "s/b.xml": '<compiler meshdir="d"/>',
            },
            "d/m.stl",
        ),
        ({"a.xml": '<include file="s/b.xml"/>', "s/b.xml": MESH.format("m.stl")}, "s/m.stl"),
        (
            {"a.xml": '<include file="s/b.xml"/>', "s/b.xml": '<include file="c.xml"/>', "s/c.xml": ""},
            "s/c.xml",
        ),
        (
            {
                "a.xml": '<compiler meshdir="e"/><asset><model name="n" file="s/b.xml"/></asset>',
                "s/b.xml": '<compiler meshdir="d"/>' + MESH.format("m.stl"),
            },
            "s/d/m.stl",
        ),
        ({"a.xml": '<compiler meshdir="d"/><asset><hfield name="h" file="h.png"/></asset>'}, "d/h.png"),
    ],
)
def test_sum_of_a_model_changes_with_what_mujoco_reads_from_other_folders(
    tmp_path: Path, files: dict[str, str], read: str
) -> None:
    root = tmp_path / "models"
    for name, elements in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(MODEL.format(elements))
    sums = []
    for content in (b"one", b"two"):
        (root / read).parent.mkdir(exist_ok=True)
        (root / read).write_bytes(content)
        sums.append(fresh_sum(root / "a.xml"))
    assert sums[0] != sums[1]
