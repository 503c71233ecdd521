"""Files that reproducing a result needs.

Beside its tables stand the configs with their seeds, the weights of each seed, and how each was measured.
Sweeps, comparisons and the scripts write them here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metarl import __version__
from metarl.errors import MetarlError
from metarl.evaluation.comparability import shared_settings
from metarl.storage.checkpoints import copy_newest
from metarl.storage.files import write_json
from metarl.storage.metrics import read_metrics
from metarl.storage.run_folder import CHECKPOINTS, CONFIG, MEASURED, WEIGHTS
from metarl.text import listed
from metarl.training.best_so_far import as_planned
from metarl.training.evaluation_reader import Measured, read_json
from metarl.training.runs import read_config
from metarl.types import Json

logger = logging.getLogger(__name__)

MOST_BYTES = 2_000_000  # largest weights of a seed that a result keeps
CONFIGS = "configs"  # folder of the configs of a result of several agents
_COPIED = ("iteration", "training_steps", "horizon", "weights_sha256", "versions", "physics", "stream")


@dataclass(frozen=True)
class Origin:
    """One evaluated run of a result, as its file says."""

    label: str  # name of its agent in tables of several; empty in a result of one
    seed: int  # seed of its training
    # how it was measured: evaluation settings, random stream, versions, environment steps
    about: Mapping[str, Json]
    weights: Path | None  # its checkpoint in the result's folder, if kept


def write_origins(output: Path, runs: Mapping[str, Sequence[Measured]]) -> list[Path]:
    """Write runs' measurement, and copy their weights.

    Writes ``measured.json`` and ``weights/[LABEL/]seedN``, without the optimiser's or buffer's segments.
    Weights of more than 2 MB are left out.

    Args:
        runs: evaluations in run folders, by the agent's label; the label is empty if there is one agent.
    """
    entries: list[Json] = []
    written: list[Path] = []
    sizes: dict[Path, int | None] = {}
    for label, measured in runs.items():
        for each in measured:
            folder = each.path.parent
            seed = read_config(folder).seed
            target = output / WEIGHTS / file_name(label) / f"seed{seed}"
            size = copy_newest(folder / CHECKPOINTS, target, MOST_BYTES)
            kept = size is not None and size <= MOST_BYTES
            written += [target] if kept else []
            sizes[folder] = size
            entry: dict[str, Json] = {
                "label": label,
                "seed": seed,
                **{name: each.about[name] for name in _COPIED if name in each.about},
                "evaluation": _evaluation_settings(each),
                "evaluation_steps": each.evaluation.env_steps,
                "training_seconds": read_metrics(folder)[-1].get("time/elapsed"),
                "weights": str(target.relative_to(output)) if kept else None,
                "weights_bytes": size,
            }
            entries.append(entry)
    _tell_left_out(sizes)
    # last, so that the weights that it names are there
    content: dict[str, Json] = {"metarl": __version__, "runs": entries}
    write_json(output / MEASURED, content, indent=2)
    return [*written, output / MEASURED]


def _tell_left_out(sizes: Mapping[Path, int | None]) -> None:
    """Name the runs of which no weights are kept; ``sizes`` are None without a whole checkpoint."""
    missing = [str(folder) for folder, size in sizes.items() if size is None]
    large = [str(folder) for folder, size in sizes.items() if size is not None and size > MOST_BYTES]
    reasons = {"no checkpoint there is whole": missing, f"they take more than {MOST_BYTES / 1e6:g} MB": large}
    for reason, folders in reasons.items():
        if folders:
            logger.warning("The result keeps no weights of %s: %s.", listed(folders), reason)


def write_configs(output: Path, runs: Mapping[str, Sequence[Measured]]) -> list[Path]:
    """Write agents' configs and seeds to ``configs/LABEL.json``."""
    files = []
    for label, measured in runs.items():
        folders = [each.path.parent for each in measured]
        configs = as_planned(folders, [read_config(folder) for folder in folders])
        seeds: list[Json] = [config.seed for config in configs]
        content: dict[str, Json] = {**shared_settings(configs[0]), "seeds": seeds}
        files.append(output / CONFIGS / f"{file_name(label)}.json")
        write_json(files[-1], content, indent=2)
    return files


def read_origins(folder: Path) -> list[Origin]:
    """Return the runs that a result's file lists.

    Raises:
        MetarlError: if the file is damaged.
    """
    path = folder / MEASURED
    if not path.is_file():
        return []
    entries = read_json(path).get("runs")
    if not isinstance(entries, list):
        raise MetarlError(f"Expected a list of runs in {path}, got {type(entries).__name__}.")
    found = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("seed"), int):
            raise MetarlError(f"Expected runs with seeds in {path}, got {entry!r}.")
        seed, weights = entry["seed"], entry.get("weights")
        assert isinstance(seed, int)
        inside = folder / weights if isinstance(weights, str) and ".." not in Path(weights).parts else None
        found.append(Origin(str(entry.get("label", "")), seed, entry, inside))
    return found


def read_configs(folder: Path) -> dict[str, dict[str, Json]]:
    """Return a result's configs and seeds by label.

    The label of a lone ``config.json`` is empty. Files that are no config of an experiment are left out.
    """
    files = {"": folder / CONFIG} if (folder / CONFIG).is_file() else {}
    files |= {path.stem: path for path in sorted((folder / CONFIGS).glob("*.json"))}
    contents = {label: read_json(path) for label, path in files.items()}
    return {
        label: content
        for label, content in contents.items()
        if isinstance(content.get("suite"), dict) and isinstance(content.get("agent"), dict)
    }


def file_name(label: str) -> str:
    """Return a label as a file's name."""
    return "".join("-" if letter in "/\\\0:" else letter for letter in label)


def _evaluation_settings(measured: Measured) -> dict[str, Json]:
    """Return the evaluation's settings, where the file has them."""
    config = measured.about.get("config")
    settings = config.get("evaluation") if isinstance(config, dict) else None
    return settings if isinstance(settings, dict) else {}
