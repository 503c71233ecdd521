"""Builds the wheel, installs it where the checkout cannot be seen, and uses it from there."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple, TypedDict

import pytest
from packaging.requirements import Requirement

DEPENDENCIES = str(Path(pytest.__file__).resolve().parent.parent)
GROUPS = ("metarl.suites", "metarl.agents", "metarl.presets", "metarl.loggers")

PROBE = """
import importlib, importlib.metadata, json, sys

def attempt(action):
    try:
        return action()
    except Exception as error:
        return repr(error)

modules, groups = json.load(sys.stdin)
files = {name: attempt(lambda: importlib.import_module(name).__file__) for name in modules}
offered = {group: importlib.metadata.entry_points(group=group) for group in groups}
origin = lambda entry: attempt(lambda: entry.load().__module__)
loaded = {group: {entry.name: origin(entry) for entry in entries} for group, entries in offered.items()}
print(json.dumps([files, loaded]))
"""


Project = TypedDict(
    "Project",
    {
        "dependencies": list[str],
        "optional-dependencies": dict[str, list[str]],
        "entry-points": dict[str, dict[str, str]],
    },
)


class Report(NamedTuple):
    """What the clean environment says of the installed wheel."""

    site_packages: Path
    files: dict[str, str]
    """Where each imported module lies, or why it cannot be imported."""
    loaded: dict[str, dict[str, str]]
    """By group and name, the module that each entry point comes from, or why it cannot be loaded."""


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy: what an earlier build left in the checkout cannot get into it."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("metarl", "envs", "agents"):
        shutil.copytree(root / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy)
    target = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)], cwd=copy)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment that shares the dependencies but not the editable install.

    A path named in a ``.pth`` file is searched, but the ``.pth`` files in it, and so the editable install's,
    are not obeyed.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--no-deps",
            "--no-index",
            str(wheel),
        ]
    )
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    (site_packages / "dependencies.pth").write_text(DEPENDENCIES + "\n")
    return python


@pytest.fixture(scope="module")
def report(
    clean_python: Path, packaged_files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Report:
    question = json.dumps([list(packaged_files), GROUPS])
    answer = run(
        [str(clean_python), "-I", "-c", PROBE], cwd=tmp_path_factory.mktemp("elsewhere"), text=question
    )
    (site_packages,) = clean_python.parent.parent.glob("lib/python3*/site-packages")
    return Report(site_packages, *json.loads(answer))


@pytest.fixture(scope="module")
def packaged_files(source_files: dict[str, Path], root: Path) -> dict[str, str]:
    """Return where in the wheel each module of the package should be."""
    places = {name: path.relative_to(root).as_posix() for name, path in source_files.items()}
    return {
        name: place if place.startswith("metarl/") else f"metarl/{place}"
        for name, place in places.items()
        if name.split(".")[0] == "metarl"
    }


def run(command: list[str], *, cwd: Path | None = None, text: str = "") -> str:
    """Run a command and return what it printed; show its error output where it fails."""
    done = subprocess.run(
        command, cwd=cwd, input=text, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pyproject(root: Path) -> Project:
    project: Project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return project


def pins(path: Path) -> dict[str, str]:
    """Return the version of each package that a file pins."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {normalized(name): version for name, version in (line.split("==") for line in lines)}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_wheel_holds_every_module_the_c_code_and_the_type_marker(
    wheel: Path, packaged_files: dict[str, str]
) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {"metarl/envs/engines/threads/stepper.c", "metarl/networks/recurrence.c"}
    page = {f"metarl/reporting/html/report.{kind}" for kind in ("html", "css", "js")}
    assert inside == {*packaged_files.values(), *sources, *page, "metarl/py.typed"}


@pytest.mark.parametrize("compiler", ["cc", "no-such-compiler"])
def test_installed_physics_is_compiled_where_it_can_be(
    clean_python: Path, tmp_path: Path, compiler: str
) -> None:
    program = (
        "import os, sys; os.environ |= {'CC': sys.argv[1], 'XDG_CACHE_HOME': sys.argv[2]};"
        "from metarl.envs.engines.threads.compiled import load; print(load() is not None)"
    )
    answer = run([str(clean_python), "-I", "-c", program, compiler, str(tmp_path)], cwd=tmp_path)
    assert answer.strip() == str(shutil.which(compiler) is not None)


def test_wheel_brings_the_licence(wheel: Path) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_every_module_is_imported_from_the_installed_wheel(
    report: Report, packaged_files: dict[str, str]
) -> None:
    expected = {name: str(report.site_packages / place) for name, place in packaged_files.items()}
    needing_extra = {
        name
        for name, said in report.files.items()
        if (".engines.warp." in name or name.endswith(".warp"))
        and said.startswith('ModuleNotFoundError("No module named ')
    }
    assert not needing_extra or importlib.util.find_spec("mujoco_warp") is None
    assert report.files == expected | {name: report.files[name] for name in needing_extra}


@pytest.mark.parametrize("group", GROUPS)
def test_every_entry_point_loads(report: Report, root: Path, group: str) -> None:
    declared = pyproject(root)["entry-points"][group]
    assert report.loaded[group] == {name: place.partition(":")[0] for name, place in declared.items()}


def test_command_line_starts(clean_python: Path, tmp_path: Path) -> None:
    assert "train" in run([str(clean_python.parent / "metarl"), "--help"], cwd=tmp_path)


def test_version_is_known_without_importing_torch(report: Report, clean_python: Path, tmp_path: Path) -> None:
    program = "import sys, metarl; print(metarl.__version__, 'torch' in sys.modules)"
    (metadata,) = report.site_packages.glob("metarl_toolkit-*.dist-info")
    version, has_torch = run([str(clean_python), "-I", "-c", program], cwd=tmp_path).split()
    assert (metadata.name, has_torch) == (f"metarl_toolkit-{version}.dist-info", "False")


def test_every_dependency_is_pinned_within_its_bounds(root: Path) -> None:
    project = pyproject(root)
    # the GPU's engine has an environment of its own, requirements-warp.txt
    extras = [lines for extra, lines in project["optional-dependencies"].items() if extra != "warp"]
    wanted = [Requirement(line) for line in itertools.chain(project["dependencies"], *extras)]
    pinned = pins(root / "constraints.txt")
    assert not [
        str(want) for want in wanted if not want.specifier.contains(pinned.get(normalized(want.name), "0"))
    ]


def test_environment_for_the_gpu_differs_in_mujoco_alone(root: Path) -> None:
    there = pins(root / "requirements-warp.txt")
    extra = [Requirement(line) for line in pyproject(root)["optional-dependencies"]["warp"]]
    assert there.keys() == {"mujoco", *(normalized(want.name) for want in extra)}
    assert all(want.specifier.contains(there[normalized(want.name)]) for want in extra)
