"""What every test shares: one compute thread, tests left out for want of a GPU, the list of source files."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported, and for the processes that tests start

import hypothesis
import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from metarl.envs.engines.processes import vector_env
from support import figures

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"metarl": "metarl", "metarl.envs": "envs", "metarl.agents": "agents"}
PROGRAMS = {"scripts": "scripts", "benchmarks": "benchmarks"}

TOGETHER = (
    # record Meta-World's episodes
    [f"tests/envs/metaworld/test_sawyer_{part}.py" for part in ("arrays", "in_c", "parity")],
    # start programs from a server that has imported everything
    [
        *("tests/agents/test_agents.py", "tests/deploy/test_session.py"),
        *(f"tests/training/test_{part}.py" for part in ("replay_runs", "resume", "schedules", "stopping")),
    ],
)
"""Files that run in one worker: what they make in its first test takes long, and the others share it."""

HAS_WARP = importlib.util.find_spec("mujoco_warp") is not None
collect_ignore_glob = [] if HAS_WARP else ["envs/warp/*.py"]

torch.set_num_threads(1)
gc.disable()  # until the tests are collected: it takes a fifth of the time that their imports take

# A shell that starts the tests in the background has them, and every program they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine must not fail a test for its time; under CI the examples are the same each time.
hypothesis.settings.register_profile("metarl", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("metarl")


def pytest_report_header() -> str:
    """Say why the tests of the GPU's physics are left out, where they are."""
    if HAS_WARP:
        return "mujoco_warp is here: the tests marked warp run"
    return "test_warp_*.py are left out: mujoco_warp is not installed here; `make test-warp` runs them"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Keep files together where each is given to one worker."""
    return LoadFilesTogether(config, log) if config.getoption("dist") == "loadfile" else None


class LoadFilesTogether(LoadFileScheduling):
    """Gives each file to one worker, and files that share something to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((files[0] for files in TOGETHER if file in files), file)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Collect garbage again, but never look through what was imported."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``gpu`` where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU, and there is none here"))


@pytest.fixture(scope="session", autouse=True)
def blank_figures() -> Iterator[None]:
    """Leave figures blank where a test does not ask for ``drawn_figures``."""
    with pytest.MonkeyPatch.context() as patch:
        figures.leave_blank(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_worker() -> Iterator[None]:
    """Start one worker process where a test names no number: each takes a second of imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_env, "usable_cores", lambda: 1)
        yield


@pytest.fixture
def drawn_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures."""
    figures.draw(monkeypatch)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def source_files() -> dict[str, Path]:
    """Return every source file by the name it is imported by, programs as ``scripts.<name>``."""
    return {
        module: path
        for package, folder in (PACKAGES | PROGRAMS).items()
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (module := _module_name(package, path.relative_to(ROOT / folder)))
    }


def _module_name(package: str, path: Path) -> str:
    parts = [package, *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
