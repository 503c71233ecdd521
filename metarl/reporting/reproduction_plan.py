"""Plan of a result's reproduction.

A result is evaluated again from its weights, trained again from its configs, or made again by its program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from metarl.config import ExperimentConfig
from metarl.errors import MetarlError
from metarl.plugins.registry import config_from_json
from metarl.reporting.number_comparison import Rows, number, read_rows
from metarl.reporting.result_folder import CONFIGS, Origin, file_name, read_configs, read_origins
from metarl.settings import setting_names
from metarl.storage.run_folder import CHECKPOINTS, CONFIG, PROGRAM, WEIGHTS
from metarl.training.evaluation_reader import read_json
from metarl.types import Json

How: TypeAlias = Literal["evaluate", "train", "program", "nothing"]

_INSIDE = (CONFIGS, WEIGHTS, "evaluations", "videos")  # folders of a result that are no results
_PROGRAMS = "benchmarks."  # programs that a result may name are modules of this package


@dataclass(frozen=True)
class Group:
    """Seeds of one config of a result."""

    label: str  # name of its agent in the result's tables; empty if there is one
    config: ExperimentConfig  # of the first seed; trains to the published curve's end, or until patience ends
    seeds: tuple[int, ...]
    steps: int  # environment steps of one seed's training
    seconds: float  # seconds of one seed's training, if recorded
    origins: tuple[Origin, ...] = ()  # how its runs were measured; empty in results of early versions
    published_seeds: int = 0  # how many seeds the published result has
    # settings that the published config does not have, and today's defaults replace
    unnamed: tuple[str, ...] = ()

    def first(self, seeds: int) -> Group:
        """Return the first seeds; 0 keeps all."""
        return dataclasses.replace(self, seeds=self.seeds[: seeds or None])


@dataclass(frozen=True)
class Program:
    """Program of a result without a trained agent."""

    module: str  # ``benchmarks.learning.failing_steps``
    arguments: tuple[str, ...]  # ``{output}`` stands for the folder of the new files
    files: tuple[str, ...]  # tables to compare
    tolerance: float = 0.0  # largest relative difference of two numbers that agree
    ignored: tuple[str, ...] = ()  # columns that are not compared
    seconds: float = 0.0  # seconds that it took; 0 if not recorded
    environment: str = ""  # folder of the virtual environment that it needs, if not this one: ``.venv-warp``


@dataclass(frozen=True)
class Plan:
    """A result and how it is reproduced."""

    folder: Path
    name: str  # its folder below ``results``
    how: How
    groups: tuple[Group, ...] = ()
    program: Program | None = None
    reason: str = ""  # why it cannot be reproduced, or must be trained again
    skipped: str = ""  # why this call leaves it out; empty if it does not

    @property
    def left_out(self) -> str:
        """Why it is left out; empty if it is not."""
        return self.skipped or (self.reason if self.how == "nothing" else "")

    @property
    def seconds(self) -> float:
        """Estimated duration in seconds; 0 if unknown."""
        if self.program is not None:
            return self.program.seconds
        if self.how == "evaluate":
            rate = sum(group.steps for group in self.groups) / max(1e-9, sum(g.seconds for g in self.groups))
            return self.env_steps / rate if rate > 0 else 0.0
        return sum(len(group.seeds) * group.seconds for group in self.groups)

    @property
    def env_steps(self) -> int:
        """Environment steps needed; 0 for a program."""
        if self.how == "evaluate":
            return sum(_steps(origin) for group in self.groups for origin in chosen(group))
        return sum(len(group.seeds) * group.steps for group in self.groups)


def chosen(group: Group) -> list[Origin]:
    """Return how the group's seeds were measured."""
    return [origin for seed in group.seeds for origin in group.origins if origin.seed == seed]


def find_results(root: Path) -> list[Path]:
    """Return the result folders in a folder, or the folder itself if it is one.

    Raises:
        MetarlError: if there is no such folder, or if it is a run.
    """
    if not root.is_dir():
        raise MetarlError(f"There is no folder {root}; name results, such as results/point-maml-trpo.")
    if is_run(root):
        raise MetarlError(
            f"Expected a result, or a folder of results, got the run {root}; "
            "scripts/combine_seeds.py makes a result of runs."
        )
    if is_result(root):
        return [root]
    inside = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and folder.name not in _INSIDE]
    return [result for folder in inside if not is_run(folder) for result in find_results(folder)]


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's, with checkpoints and nothing published."""
    published = any((folder / name).exists() for name in (PROGRAM, "curve.csv", "curves.csv"))
    return not published and (folder / CONFIG).is_file() and (folder / CHECKPOINTS).is_dir()


def is_result(folder: Path) -> bool:
    """Return whether a folder holds tables, or says how to make some."""
    named = any((folder / name).exists() for name in (PROGRAM, CONFIG, CONFIGS))
    return named or any(folder.glob("*.csv"))


def plan(folder: Path, name: str, *, train: bool = False, seeds: int = 0) -> Plan:
    """Plan the reproduction of a result.

    Args:
        train: train again even if its weights are there.
        seeds: how many of its seeds; 0 for all.

    Raises:
        MetarlError: if a file of the result is damaged.
    """
    if (folder / PROGRAM).is_file():
        return Plan(folder, name, "program", program=read_program(folder / PROGRAM))
    configs = read_configs(folder)
    if not configs:
        return Plan(
            folder, name, "nothing", reason=f"it has neither a {CONFIG} of a training nor a {PROGRAM}"
        )
    curves = curves_of(folder)
    if missing := sorted(configs.keys() - curves.keys()):
        return Plan(folder, name, "nothing", reason=f"its curves do not name {', '.join(missing) or CONFIG}")
    origins = read_origins(folder)
    try:
        groups = tuple(_group(*item, curves[item[0]], origins).first(seeds) for item in configs.items())
    except MetarlError as error:
        return Plan(folder, name, "nothing", reason=f"its config cannot be used: {str(error).rstrip('.')}")
    if any(group.label and len(group.seeds) < group.published_seeds for group in groups):
        reason = "its tables of several agents have no numbers of fewer seeds; leave --seeds away"
        return Plan(folder, name, "nothing", reason=reason)
    if not any((folder / table).is_file() for table in ("adaptation.csv", "agents.csv")):
        return Plan(folder, name, "nothing", reason="it has no table of an evaluation on held-out tasks")
    reason = why_train(groups)
    how: How = "train" if train or reason else "evaluate"
    return Plan(folder, name, how, groups, reason=reason)


def why_train(groups: Sequence[Group]) -> str:
    """Explain why a result must be trained again; empty if its weights are there."""
    for group in groups:
        origins = chosen(group)
        if len(origins) < len(group.seeds):
            return "it has no weights"
        for origin in origins:
            if origin.weights is None:
                size = origin.about.get("weights_bytes")
                return f"the weights of seed {origin.seed} are not kept" + (
                    f" ({size / 1e6:.1f} MB)" if isinstance(size, int) else ""
                )
            if not origin.weights.is_dir():
                return f"the weights {origin.weights} are missing"
    return ""


def curves_of(folder: Path) -> dict[str, Rows]:
    """Return a result's published curves by the name of their config.

    ``curve.csv`` has one, with an empty name; ``curves.csv`` has one for each label.
    """
    found: dict[str, Rows] = {}
    if (folder / "curve.csv").is_file():
        found[""] = read_rows(folder / "curve.csv")
    if (folder / "curves.csv").is_file():
        for row in read_rows(folder / "curves.csv"):
            found.setdefault(file_name(next(iter(row.values()))), []).append(row)
    return found


def read_program(path: Path) -> Program:
    """Return the program of a result.

    Raises:
        MetarlError: if the file is damaged, or names a program outside of ``benchmarks``.
    """
    data = read_json(path)
    module, arguments, files = (data.get(name) for name in ("program", "arguments", "files"))
    if not isinstance(module, str) or not isinstance(arguments, list) or not isinstance(files, list):
        raise MetarlError(f"Expected program, arguments and files in {path}, got {', '.join(data)}.")
    if not module.startswith(_PROGRAMS):
        raise MetarlError(f"Expected a program of {_PROGRAMS}* in {path}, got {module!r}.")
    return Program(
        module,
        tuple(map(str, arguments)),
        tuple(map(str, files)),
        tolerance=_float(data, "tolerance"),
        ignored=tuple(map(str, ignored)) if isinstance(ignored := data.get("ignored"), list) else (),
        seconds=_float(data, "seconds"),
        environment=str(data.get("environment", "")),
    )


def _group(label: str, content: Mapping[str, Json], curve: Rows, origins: Sequence[Origin]) -> Group:
    """Return a config's seeds, trained to the curve's last iteration."""
    listed = content.get("seeds", [content.get("seed", 0)])
    seeds = tuple(seed for seed in listed if isinstance(seed, int)) if isinstance(listed, list) else ()
    if not seeds:
        raise MetarlError(f"Expected a list of seeds, got {listed!r}.")
    settings = {name: value for name, value in content.items() if name not in ("seeds", "name")}
    config = config_from_json({**settings, "seed": seeds[0], "device": "cpu"})
    last = curve[-1]
    own = [origin for origin in origins if file_name(origin.label) == label]
    clocks = [
        float(clock) for one in own if isinstance(clock := one.about.get("training_seconds"), int | float)
    ]
    iteration = number(last.get("iteration", ""))
    # with a patience seeds end by themselves, and the curve with the first that does
    if iteration is not None and not config.evaluation.patience:
        config = dataclasses.replace(config, iterations=int(iteration))
    return Group(
        label,
        config,
        seeds,
        steps=int(number(last.get("env_steps", "")) or 0),
        seconds=number(last.get("time/elapsed", "")) or (sum(clocks) / len(clocks) if clocks else 0.0),
        origins=tuple(own),
        published_seeds=len(seeds),
        unnamed=_unnamed(content, config),
    )


def _unnamed(content: Mapping[str, Json], config: ExperimentConfig) -> tuple[str, ...]:
    """Name settings that a published config lacks."""
    missing = []
    for part in ("suite", "agent", "sampling", "evaluation"):
        known = content.get(part)
        names = set(setting_names(getattr(config, part))) - {"workers"}
        missing += [
            f"{part}.{name}" for name in sorted(names - set(known if isinstance(known, dict) else ()))
        ]
    return tuple(missing)


def _steps(origin: Origin) -> int:
    steps = origin.about.get("evaluation_steps")
    return steps if isinstance(steps, int) else 0


def _float(data: Mapping[str, Json], name: str) -> float:
    value = data.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0
