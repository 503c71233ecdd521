"""Meta-World's scripted policies under one MuJoCo after another: which tasks have become other tasks.

    for version in 3.3.0 3.8.1; do        # each MuJoCo in an environment of its own
        /tmp/mujoco-$version/bin/python -m benchmarks.parity.mujoco_versions --folder results/mujoco-versions
    done

Each call writes which layouts are solved under its MuJoCo, unless that is there, and prints a table of all
that the folder has. The layouts of a task are the first training goals of its ML1. The policies see the
goals, and an episode is solved when Meta-World says so at any step.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, cast

import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from packaging.version import Version
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from benchmarks.program import run
from benchmarks.scripted import solved
from metarl.envs.metaworld.env import FAMILIES, MAX_HORIZON
from metarl.envs.metaworld.models import environment_class, sawyer_model
from metarl.envs.metaworld.resets import METAWORLD
from metarl.envs.metaworld.suite import ML1Config
from metarl.envs.metaworld.threads import SawyerVectorEnv
from metarl.storage.files import write_rows

PEG = "peg-insert-side-v3"
SOFT = (0.025, 1.0)
"""The peg's ``solref`` that Meta-World's pull request 578 proposes for MuJoCo 3.4 and later."""

LEVEL = 0.05

Solved = Mapping[str, Sequence[bool]]
"""Whether each layout of a family is solved."""


class Change(NamedTuple):
    """How a family's layouts are solved under another MuJoCo than the first."""

    family: str
    name: str
    before: int
    now: int
    lost: int
    """Layouts solved under the first only."""
    gained: int
    """Layouts solved under this one only."""
    p: float
    """Of the exact two-sided McNemar test that losing is as likely as gaining."""


def main(
    *,
    folder: Path,
    families: tuple[str, ...] = tuple(sorted(FAMILIES)),
    layouts: int = 20,
    engine: Literal["threads", "warp:cpu"] = "threads",
    soft_peg: bool = False,
) -> None:
    """Run the policies under this MuJoCo, and print what changes from the oldest to the newest.

    Args:
        folder: of a file for each MuJoCo.
        families: tasks to run.
        layouts: layouts of each task.
        engine: MuJoCo itself, or MuJoCo Warp on the CPU.
        soft_peg: give the peg of peg-insert-side the contact parameters that are proposed, and run it alone.
    """
    name = mujoco.__version__ + ("-warp" if engine == "warp:cpu" else "") + ("-soft-peg" if soft_peg else "")
    path = folder / f"mujoco-{name}.csv"
    known = read(path) if path.is_file() else {}
    for family in [PEG] if soft_peg else families:
        if family not in known:
            known[family] = run_family(family, layouts, engine, soft_peg=soft_peg)
            print(f"{name} {family:32} {sum(known[family]):3} of {layouts}", flush=True)
            folder.mkdir(parents=True, exist_ok=True)
            rows = [
                (one, sum(known[one]), "".join("-+"[each] for each in known[one])) for one in sorted(known)
            ]
            write_rows(path, [("family", "solved", "layouts"), *rows])
    found = {file.stem.removeprefix("mujoco-"): read(file) for file in folder.glob("mujoco-*.csv")}
    show({name: found[name] for name in sorted(found, key=by_version)})


def run_family(family: str, layouts: int, engine: str, *, soft_peg: bool) -> list[bool]:
    """Return which of a family's layouts its scripted policy solves."""
    every = ML1Config(task=family).build()
    few = replace(every, train=every.train[:layouts])
    if soft_peg:
        soft = SawyerVectorEnv(
            families=[family],
            default_tasks=few.train,
            num_envs=layouts,
            num_threads=1,
            horizon=MAX_HORIZON,
            known=SOFT_PEG,
        )
        return [bool(each) for each in solved(soft, few.train)]
    env = few.make_vector_env(layouts, engine=engine, num_workers=1)
    return [bool(each) for each in solved(cast("SawyerVectorEnv", env), few.train)]  # or Warp's


def soft_environment(family: str) -> type[SawyerXYZEnv]:
    """Return a family's environment with the soft peg."""
    original = environment_class(family)

    class Soft(original):  # type: ignore[misc, valid-type]  # a class that is known by its name only
        def __init__(self, reward_function_version: str) -> None:
            super().__init__(reward_function_version=reward_function_version)
            self.model.geom("peg").solref = SOFT

    return Soft


def soft_model(family: str, read_geoms: tuple[str, ...]) -> mujoco.MjModel:
    """Compile a family's slim model with the soft peg."""
    model = sawyer_model(family, read_geoms)
    model.geom("peg").solref = SOFT
    return model


SOFT_PEG = replace(
    METAWORLD,
    models=METAWORLD.models._replace(environment=soft_environment, stepped=soft_model, version="soft-peg"),
)


def read(path: Path) -> dict[str, list[bool]]:
    """Read a file of solved layouts."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["family"]: [mark == "+" for mark in row["layouts"]] for row in csv.DictReader(file)}


def by_version(name: str) -> tuple[Version, str]:
    """Return a key that sorts names by their MuJoCo."""
    version, _, rest = name.partition("-")
    return Version(version), rest


def changes(found: Mapping[str, Solved]) -> list[Change]:
    """Compare each MuJoCo with the first, layout by layout, on the families that both have."""
    first, *others = found
    rows = []
    for name in others:
        for family in sorted(found[first].keys() & found[name].keys()):
            pairs = list(zip(found[first][family], found[name][family], strict=True))
            lost = sum(old and not new for old, new in pairs)
            gained = sum(new and not old for old, new in pairs)
            p = float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
            before, now = (sum(side) for side in zip(*pairs, strict=True))
            rows.append(Change(family, name, before, now, lost, gained, p))
    return rows


def show(found: Mapping[str, Solved]) -> None:
    """Print the families in which layouts are lost or gained, and all together."""
    every = changes(found)
    differing = {(row.family, row.name): row for row in every if row.lost or row.gained}
    title = "solved layouts, those lost and gained against the first, and p (McNemar)"
    table = Table("family", *found, title=title)
    for family in sorted({family for family, _ in differing}):
        cells = []
        for name, rows in found.items():
            cells.append(str(sum(rows[family])) if family in rows else "")
            if row := differing.get((family, name)):
                cells[-1] += f" (-{row.lost} +{row.gained}, {row.p:.2g})"
        table.add_row(family, *cells)
    table.add_section()
    table.add_row("all, % [95 % interval]", *(share(rows) for rows in found.values()))
    Console(width=60 + 30 * len(found)).print(table)
    clear = [f"{row.family} under {row.name}" for row in every if row.p < LEVEL / len(every)]
    print(
        f"Of {len(every)} tests, p is below {LEVEL} divided by their number in: {', '.join(clear) or 'none'}."
    )


def share(rows: Solved) -> str:
    """Return the share of solved layouts with the interval of Clopper and Pearson."""
    marks = np.concatenate([np.array(each) for each in rows.values()])
    low, high = binomtest(int(marks.sum()), len(marks)).proportion_ci()
    return f"{100 * marks.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    run(main)
