"""Modules beside suite files: each folder's own, here and in workers, and a change of one is told."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from gymnasium import spaces

from metarl.cli.main import main
from metarl.errors import MetarlError
from metarl.plugins.suite_files import FileSuiteConfig, file_suite
from metarl.plugins.user_imports import imported_names
from metarl.plugins.user_modules import dumps

SUITE = """
{imports}
import gymnasium, numpy as np
from gymnasium import spaces
from metarl.envs import from_gymnasium

class Rail(gymnasium.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1), {{}}

    def step(self, action):
        {lazily}
        return np.zeros(1), float({reward}), False, False, {{}}

def apply(env, task):
    pass

mine = from_gymnasium(Rail, sample=[1.0], test_sample=[2.0], apply=apply, horizon=3, name="rail")
"""


def write(folder: Path, files: Mapping[str, str]) -> str:
    """Write files into a folder, and return the place of the suite in its ``suite.py``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"{folder}/suite.py:mine"


def suite(imports: str = "", reward: str = "0", lazily: str = "pass") -> str:
    return SUITE.format(imports=imports, reward=reward, lazily=lazily)


def reward(place: str) -> float:
    """Return the reward of a step in a worker process."""
    env = file_suite(place).build().make_vector_env(1, num_workers=1)
    try:
        env.reset(seed=0)
        return float(env.step(np.zeros((1, 1), np.float32))[1][0])
    finally:
        env.close()


def module_of(built: object) -> ModuleType:
    """Return the suite file as it was run."""
    return sys.modules[built.env_factory.maker.__module__]  # type: ignore[attr-defined]  # a ProcessTasks


LAYOUTS = {
    "a helper": ({"suite.py": suite("import helpers", "helpers.SCALE")}, "helpers.py", "SCALE = {}"),
    "a helper of a helper": (
        {
            "suite.py": suite("from helpers import scale", "scale()"),
            "helpers.py": "def scale():\n    from more import SCALE\n    return SCALE\n",
        },
        "more.py",
        "SCALE = {}",
    ),
    "a helper that a step imports": (
        {"suite.py": suite(lazily="import helpers", reward="helpers.SCALE")},
        "helpers.py",
        "SCALE = {}",
    ),
    "a package": (
        {
            "suite.py": suite("import tools.scales as s", "s.SCALE"),
            "tools/__init__.py": "",
            "tools/scales.py": "from . import numbers\nSCALE = numbers.SCALE\n",
        },
        "tools/numbers.py",
        "SCALE = {}",
    ),
    "a folder without __init__": (
        {"suite.py": suite("from parts import scales", "scales.SCALE")},
        "parts/scales.py",
        "SCALE = {}",
    ),
    "a name of the standard library": (
        {"suite.py": suite("import random", "random.SCALE")},
        "random.py",
        "SCALE = {}",
    ),
    "a name of an installed package": (
        {"suite.py": suite(lazily="import yaml, torch", reward="torch.SCALE")},
        "torch.py",
        "SCALE = {}",
    ),
    "an import by a string": (
        {"suite.py": suite("import importlib", "helpers.SCALE") + "\n", "unused.py": ""},
        "helpers.py",
        "SCALE = {}",
    ),
}
LAYOUTS["an import by a string"][0]["suite.py"] = suite(
    "import importlib\nhelpers = importlib.import_module('helpers')\nscale = helpers.SCALE", "scale"
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_with_modules_of_one_name_have_their_own(tmp_path: Path, layout: str) -> None:
    files, module, text = LAYOUTS[layout]
    places = {scale: write(tmp_path / f"p{scale}", {**files, module: text.format(scale)}) for scale in (3, 5)}
    suites = {scale: file_suite(place) for scale, place in places.items()}
    assert {scale: reward(place) for scale, place in places.items()} == {3: 3.0, 5: 5.0}
    assert reward(places[3]) == 3.0
    assert any(module in line for line in suites[3].modules)
    assert suites[3].modules != suites[5].modules


@pytest.mark.parametrize("layout", LAYOUTS)
def test_change_of_an_imported_module_is_told_and_taken(
    tmp_path: Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    files, module, text = LAYOUTS[layout]
    place = write(tmp_path, {**files, module: text.format(3), "other.py": "A = 1"})
    config = file_suite(place)
    config.build()
    (tmp_path / "other.py").write_text("A = 2")  # which it does not import
    config.build()
    assert not caplog.text
    (tmp_path / module).write_text(text.format(7))
    config.build()
    assert f"{tmp_path / module} has changed since this run was started." in caplog.text
    assert reward(place) == 7.0


def test_digests_of_older_runs_cover_the_file_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = write(tmp_path, {"suite.py": suite("import helpers"), "helpers.py": "A = 1"})
    old = FileSuiteConfig(place=place, sha256=file_suite(place).sha256)
    (tmp_path / "helpers.py").write_text("A = 2")
    old.build()
    assert not caplog.text


def test_suites_of_one_folder_share_its_modules(tmp_path: Path) -> None:
    files = {"suite.py": suite("import shared"), "other.py": suite("import shared"), "shared.py": "A = []"}
    first = write(tmp_path, files)
    one, two = file_suite(first).build(), file_suite(f"{tmp_path}/other.py:mine").build()
    assert module_of(one) is not module_of(two)
    assert module_of(one).shared is module_of(two).shared
    assert file_suite(first).build() is one


def test_other_code_never_imports_from_a_suites_folder(tmp_path: Path) -> None:
    files = {"suite.py": suite("import colorsys"), "colorsys.py": "MINE = 1", "metarl.py": "raise OSError"}
    file_suite(write(tmp_path, files)).build()
    assert not hasattr(importlib.import_module("colorsys"), "MINE")
    assert str(tmp_path) not in sys.path


def test_bare_name_that_two_folders_have_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        place = write(
            tmp_path / name, {"suite.py": suite("import twice_there"), "twice_there.py": f"A = {name!r}"}
        )
        file_suite(place).build()
        if name == "a":
            assert importlib.import_module("twice_there").A == "a"
    with pytest.raises(ImportError, match="both hold a module 'twice_there'"):
        importlib.import_module("twice_there")


def test_registered_environment_is_found_by_its_entry_point(tmp_path: Path) -> None:
    registered = (
        "import gymnasium\nfrom metarl.envs import from_gymnasium\n"
        "gymnasium.register('Rail-{0}-v0', entry_point='rails:Rail', max_episode_steps=3)\n"
        "mine = from_gymnasium('Rail-{0}-v0', sample=[1.0], test_sample=[2.0], apply=lambda env, task: None)"
    )
    for scale in (3, 5):
        files = {"suite.py": registered.format(scale), "rails.py": suite(reward=str(scale))}
        assert reward(write(tmp_path / f"p{scale}", files)) == scale


def test_modules_are_found_in_processes_that_an_environment_starts(tmp_path: Path) -> None:
    place = write(
        tmp_path, {"suite.py": suite("import helpers"), "helpers.py": "def three():\n    return 3\n"}
    )
    module = module_of(file_suite(place).build())
    program = f"from {module.helpers.__name__} import three; print(three())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_workers_run_the_modules_that_were_read_first(tmp_path: Path) -> None:
    files = {"suite.py": suite(lazily="import helpers", reward="helpers.SCALE"), "helpers.py": "SCALE = 3"}
    built = file_suite(write(tmp_path, files)).build()
    (tmp_path / "helpers.py").write_text("SCALE = 4")
    env = built.make_vector_env(1, num_workers=1)
    env.reset(seed=0)
    assert env.step(np.zeros((1, 1), np.float32))[1][0] == 3.0
    env.close()


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"suite.py": "import helpers", "helpers.py": "x = 1\ny = [\n"}, "(helpers.py, line 2)"),
        ({"suite.py": "import helpers", "helpers.py": "import no_such_module"}, "(helpers.py, line 1)"),
        ({"suite.py": "\n\nprint(undefined)"}, "(suite.py, line 3)"),
        (
            {"suite.py": "import a.gone", "a/__init__.py": ""},
            "ModuleNotFoundError: No module named 'a.gone' (suite.py, line 1).",
        ),
        ({"suite.py": "import a.b", "a/__init__.py": "", "a/b.py": "\n1 / 0"}, "(a/b.py, line 2)"),
        ({"suite.py": "def mine():\n    import b\n", "b.py": "raise KeyError(3)"}, "(b.py, line 1)"),
        (
            {
                "suite.py": "from metarl.config import SuiteConfig\n\nclass mine(SuiteConfig):\n"
                "    kind = 'x'\n    def __init__(self):\n        raise ValueError('no')\n"
                "    def build(self):\n        pass\n"
            },
            "(suite.py, line 6)",
        ),
        (
            {
                "suite.py": "from metarl.config import SuiteConfig\n\nclass Mine(SuiteConfig):\n"
                "    kind = 'x'\n    def build(self):\n        return {}['no']\nmine = Mine()\n"
            },
            "(suite.py, line 6)",
        ),
        (
            {"suite.py": "from metarl.envs import from_gymnasium\nmine = from_gymnasium('NoSuch-v0')"},
            "(suite.py, line 2)",
        ),
        (
            {"suite.py": "from metarl.errors import MetarlError\ndef mine():\n    raise MetarlError('No.')"},
            "No (suite.py, line 3).",
        ),
        ({"suite.py": "import sys\ndef mine():\n    sys.exit(3)"}, "SystemExit: 3 (suite.py, line 3)."),
    ],
)
def test_error_names_file_and_line(
    tmp_path: Path, files: dict[str, str], place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", write(tmp_path, files)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert place in printed


def test_file_that_is_mended_is_run_again(tmp_path: Path) -> None:
    place = write(tmp_path, {"suite.py": suite("import helpers"), "helpers.py": "raise OSError"})
    with pytest.raises(MetarlError, match=r"helpers\.py, line 1"):
        file_suite(place).build()
    write(tmp_path, {"helpers.py": "A = 1"})
    assert file_suite(place).build().horizon == 3


@pytest.mark.parametrize(
    ("source", "package", "names"),
    [
        ("import a.b, c as d", "", {"a.b", "c"}),
        ("def f():\n    from a import b", "", {"a", "a.b"}),
        ("from . import b", "", {"b"}),
        ("from .. import b", "p.q", {"p", "p.b"}),
        ("from .x import *", "p", {"p.x", "p.x.*"}),
        ("importlib.import_module('a.b')", "", {"a.b"}),
        ("importlib.import_module(f'tasks.{name}')", "", {"tasks.*"}),
        ("import_module('.' + name, __package__)", "p", {"p.*"}),
        ("__import__(name)", "", {"*"}),
        ("register('X-v0', entry_point='helpers:Rail')", "", {"helpers"}),
        ("def f(:", "", set()),
    ],
)
def test_imports_are_read_from_the_source(source: str, package: str, names: set[str]) -> None:
    assert imported_names(source.encode(), package) == names


def test_factory_without_a_suite_file_travels_alone(tmp_path: Path) -> None:
    place = write(tmp_path, {"suite.py": suite("import helpers"), "helpers.py": "A = 'remember me'"})
    assert b"remember me" in dumps(file_suite(place).build().env_factory)  # type: ignore[attr-defined]  # a ProcessTasks
    assert b"remember me" not in dumps(spaces.Discrete)
