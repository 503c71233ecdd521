"""Rules on which evaluations share a table.

``compare``, ``report``, ``sweep`` and the scripts refuse evaluations in which a score means something else:
other settings of the suite, other held-out tasks, another measurement of the adaptation, other physics. They
only print differences between agents: how long each was trained, and the versions of other libraries.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from metarl.config import ExperimentConfig, SuiteConfig, to_json
from metarl.errors import MetarlError
from metarl.evaluation.physics import engine_name
from metarl.evaluation.record import Evaluation
from metarl.types import Json

_MEASUREMENT = ("adaptation_episodes", "deterministic")
_OF_ONE_RUN = ("seed", "name", "threads")
_PHYSICS = ("mujoco", "metaworld", "gymnasium")


@dataclass(frozen=True)
class Side:
    """One evaluation of one run."""

    name: str
    """Run name in messages."""
    suite: SuiteConfig
    evaluation: Evaluation
    about: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    """Other content of the evaluation's file."""


def shared_settings(config: ExperimentConfig) -> dict[str, Json]:
    """Return the settings that seeds share.

    Left out are the seed, the name, and what no result depends on: threads and workers.
    """
    content = {name: value for name, value in to_json(config).items() if name not in _OF_ONE_RUN}
    content["sampling"] = {
        name: value for name, value in _object(content, "sampling").items() if name != "workers"
    }
    return content


def check_comparable(sides: Sequence[Side]) -> None:
    """Check that evaluations' scores mean the same.

    A setting that an early version did not record cannot differ; :func:`unrecorded` names it.

    Raises:
        MetarlError: naming the first setting in which two differ, and both values.
    """
    known: dict[str, tuple[str, str]] = {}  # each setting's value, and the first that has it
    for side in sides:
        for setting, value in conditions(side).items():
            seen, name = known.setdefault(setting, (value, side.name))
            if seen != value:
                raise MetarlError(
                    f"{name} and {side.name} cannot be compared: they differ in {setting}, "
                    f"{seen} and {value}."
                )
    check_same_tasks(sides)


def check_same_tasks(sides: Sequence[Side]) -> None:
    """Check that all evaluations are of the same tasks, or raise MetarlError."""
    first = sides[0]
    for other in sides[1:]:
        ours, theirs = first.evaluation.tasks, other.evaluation.tasks
        if ours != theirs:
            raise MetarlError(
                f"{first.name} and {other.name} cannot be compared: their evaluations are not of the same "
                f"tasks, but of {len(ours)} from {ours[0].id!r} on and of {len(theirs)} from "
                f"{theirs[0].id!r} on."
            )


def conditions(side: Side) -> dict[str, str]:
    """Return the recorded conditions that evaluations in one table must share."""
    suite = side.suite.test_settings  # training on more tasks is a difference between agents
    found: dict[str, Json] = {"the suite": suite.label, "the suite's kind": suite.kind}
    settings = {item.name: getattr(suite, item.name) for item in dataclasses.fields(suite)}
    found |= {f"the suite's {name}": value for name, value in settings.items()}
    config = _object(side.about, "config")
    evaluation = _object(config, "evaluation")
    found["the success bonus"] = config.get("success_bonus", 0.0)
    found |= {f"evaluation.{name.replace('_', '-')}": evaluation.get(name) for name in _MEASUREMENT}
    # along episodes of experience an adaptation step takes none of its own
    if side.evaluation.experience or side.evaluation.trial == "sequential":
        found.pop("evaluation.adaptation-episodes")
    found["the number of measured episodes"] = int(side.evaluation.returns.shape[2])
    found["the number of adaptation steps"] = side.evaluation.adaptation_steps
    found["how a task's episodes relate"] = side.evaluation.trial
    found["the horizon"] = side.about.get("horizon")
    evaluated = _object(_object(side.about, "physics"), "evaluated")
    versions = {**_object(side.about, "versions"), **evaluated}
    found |= {f"the version of {name}": versions.get(name) for name in _PHYSICS}
    found["the physics"] = engine_name(evaluated.get("engine"))
    if models := _object(evaluated, "models"):
        found["the model files"] = sha256(json.dumps(models, sort_keys=True).encode()).hexdigest()[:12]
    return {name: str(value) for name, value in found.items() if value is not None}


def adaptation_episodes(side: Side) -> int:
    """Return an adaptation step's episodes per task.

    Raises:
        MetarlError: if the file does not say so.
    """
    if side.evaluation.trial == "sequential":
        return 1
    number = _object(_object(side.about, "config"), "evaluation").get("adaptation_episodes")
    if not isinstance(number, int):
        raise MetarlError(
            f"Expected the number of episodes of an adaptation step in the evaluation of {side.name}, "
            "got none; measure again with metarl evaluate."
        )
    return number


def unrecorded(sides: Sequence[Side]) -> list[str]:
    """Name conditions that only one side records."""
    known = {name for side in sides for name in conditions(side)}
    missing = {side.name: sorted(known - conditions(side).keys()) for side in sides}
    return [
        f"The evaluation of {name} does not record {', '.join(names)}: they may differ."
        for name, names in missing.items()
        if names
    ]


def _object(data: Mapping[str, Json], name: str) -> dict[str, Json]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}
