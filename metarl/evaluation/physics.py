"""The physics that a run was trained or evaluated under, and how two of them differ.

A task is another task under another engine, MuJoCo or model: numbers under different ones do not belong in
one table.
"""

from __future__ import annotations

from importlib import metadata

from metarl.success_bonus import without_bonus
from metarl.tasks import HasModels, TaskDistribution
from metarl.types import Json
from metarl.vector_env import is_warp

Physics = dict[str, Json]
"""``engine``, version of ``mujoco``, and ``models``: sums of the model files by family, where known."""


def physics_of(suite: TaskDistribution, engine: str) -> Physics:
    """Return a suite's physics on an engine here."""
    base = without_bonus(suite)
    models: dict[str, Json] = dict(base.model_sums()) if isinstance(base, HasModels) else {}
    found: Physics = {"engine": engine, "mujoco": _version("mujoco")}
    if is_warp(engine):
        found["mujoco_warp"] = _version("mujoco-warp")
    return {**found, "models": models} if models else found


def physics_differences(physics: Json) -> list[str]:
    """Return a sentence for each thing in which evaluation and training differ.

    ``physics`` holds both, as ``trained`` and ``evaluated``; a thing that one of them does not record cannot
    differ.
    """
    if not isinstance(physics, dict):
        return []
    trained, here = physics.get("trained"), physics.get("evaluated")
    if not isinstance(trained, dict) or not isinstance(here, dict):
        return []
    pairs: dict[str, list[Json]] = {
        "engine of the physics": [engine_name(each.get("engine")) for each in (trained, here)]
    }
    for name, label in (("mujoco", "version of MuJoCo"), ("mujoco_warp", "version of MuJoCo Warp")):
        pairs[label] = [each.get(name) for each in (trained, here)]
    said = [
        f"The {label} differs: {before} in training, {now} here."
        for label, (before, now) in pairs.items()
        if before is not None and now is not None and before != now
    ]
    old, new = trained.get("models"), here.get("models")
    if isinstance(old, dict) and isinstance(new, dict):
        others = sorted(family for family in old.keys() & new.keys() if old[family] != new[family])
        if others:
            said.append(f"The model files differ from those of the training: {', '.join(others)}.")
    return said


def physics_label(physics: Json) -> str:
    """Return the evaluation's physics for a title, empty where it is that of the training."""
    if not physics_differences(physics):
        return ""
    assert isinstance(physics, dict)
    before, now = (_describe(physics[side]) for side in ("trained", "evaluated"))
    return f"{now}, trained under {before if before != now else 'other models'}"


def _describe(side: Json) -> str:
    assert isinstance(side, dict)
    version = side.get("mujoco_warp", side.get("mujoco"))
    return f"{engine_name(side.get('engine')) or 'MuJoCo'} {version}"


def engine_name(engine: Json) -> str | None:
    """Return the name of an engine's physics, None if it is not recorded."""
    if not isinstance(engine, str):
        return None
    return "MuJoCo Warp" if is_warp(engine) else "MuJoCo"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
