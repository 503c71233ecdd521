"""``metarl doctor``: versions, devices and usable engines."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
import tyro
from packaging.version import Version

from metarl.cli.console import console, say
from metarl.errors import MetarlError
from metarl.plugins.user_files import about_opengl
from metarl.reporting.plain_tables import list_table
from metarl.system.c_compiler import BuildError, find_compiler
from metarl.system.caches import cache_folder
from metarl.system.cores import usable_cores

LIBRARIES = (
    *("metarl-toolkit", "torch", "numpy", "gymnasium", "metaworld", "stable-baselines3"),
    *("mujoco", "mujoco-warp", "warp-lang"),
)
SETUP_WARP = "`make setup-warp` makes an environment, .venv-warp, for it"
WARP_MUJOCO = "3.17"  # first MuJoCo version to run Meta-World in Warp
GRAPHS_DRIVER = (12, 4)  # first CUDA of a driver that captures steps


@dataclass(frozen=True)
class DoctorArguments:
    """Print versions, devices and engines, and how to get the missing ones."""


def doctor_command(arguments: list[str]) -> None:
    """Print versions, devices and engines, and how to get the missing ones."""
    tyro.cli(DoctorArguments, args=arguments, prog="metarl doctor")
    driver = cuda_of_driver()
    console.print(list_table("versions", [("Python", platform.python_version()), *versions()]))
    console.print(list_table("devices", list(devices(driver))))
    console.print(list_table("engines", list(engines(installed("mujoco"), driver))))
    console.print(list_table("this machine", list(this_machine())))
    if (found := installed("mujoco")) and installed("metaworld") and not found.startswith("3.3."):
        say(f"Meta-World is made for mujoco 3.3.0 and this is {found}: keep its numbers apart.")


def versions() -> list[tuple[str, str]]:
    """Return the versions of metarl's dependencies."""
    return [(name, installed(name) or "not installed") for name in LIBRARIES]


def installed(name: str) -> str | None:
    """Return the version of a distribution, if installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def cuda_of_driver() -> tuple[int, int] | None:
    """Return the driver's newest CUDA, if any."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def devices(driver: tuple[int, int] | None) -> Iterator[tuple[str, str]]:
    """Yield devices here, with a short description."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    # a list of numbers, one for each level of nested parallelism, is valid for OpenMP
    if threads and not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", threads):
        yield "OMP_NUM_THREADS", f"{threads!r} is no number of threads: set it to one, or unset it"
    yield "cpu", f"{platform.machine()}, {usable_cores()} cores for this process"
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        yield "cuda", f"none: PyTorch is built {built}, and {_driver(driver)}"
    elif driver is not None:
        yield "driver", f"CUDA {driver[0]}.{driver[1]}"


def engines(mujoco: str | None, driver: tuple[int, int] | None) -> Iterator[tuple[str, str]]:
    """Yield engines, and how to get missing ones."""
    fault = _mujoco_fault()
    yield "processes", f"runs, but not environments of MuJoCo: {fault}" if fault else "runs"
    yield "threads", f"cannot run: {fault}" if fault else _threads()
    yield "warp", f"cannot run: {fault}" if fault and mujoco else _warp(mujoco, driver)


def this_machine() -> Iterator[tuple[str, str]]:
    """Yield drawing library, cache folder and what several ranks can do."""
    yield "drawing", _drawing()
    folder = cache_folder()
    yield "caches", str(folder) if folder.is_dir() else "none: no folder can be written to"
    yield "ranks", _ranks()


def _ranks() -> str:
    """Return whether torchrun may start several ranks."""
    if not (dist.is_available() and dist.is_gloo_available()):
        return "one process only: this PyTorch is built without gloo"
    return f"on the CPU, with gloo: torchrun --standalone --nproc-per-node 1 to {usable_cores()}"


def _mujoco_fault() -> str:
    """Return why MuJoCo cannot be imported, if so."""
    try:
        importlib.import_module("mujoco")
    except Exception as error:  # noqa: BLE001  # it looks for a library to draw with, which may raise anything
        return f"{' '.join(str(error).split()).rstrip('.')}.{about_opengl(error)}".rstrip(".")
    return ""


def _threads() -> str:
    compiled = importlib.import_module("metarl.envs.engines.threads.compiled")  # it imports MuJoCo
    try:
        compiled.open_library()
    except BuildError as error:
        hint = "; install one, gcc for instance" if "no C compiler" in str(error) else ""
        return f"runs in Python, slower: {error}{hint}"
    return f"runs, compiled by {' '.join(find_compiler())}"


def _drawing() -> str:
    try:
        offscreen = importlib.import_module("metarl.envs.engines.rendering.offscreen")  # it imports MuJoCo
        offscreen.gl_context()
    except MetarlError as error:
        return str(error)
    except Exception:  # noqa: BLE001  # MuJoCo is not to be had, as said of the engines
        return "cannot draw: MuJoCo does not load"
    return f"draws through {offscreen.gl_backend()}"


def _warp(mujoco: str | None, driver: tuple[int, int] | None) -> str:
    missing = [name for name in ("mujoco_warp", "warp") if importlib.util.find_spec(name) is None]
    if missing:
        return f"cannot run: {missing[0]} is not installed; {SETUP_WARP}"
    if mujoco is None or Version(mujoco) < Version(WARP_MUJOCO):
        return f"cannot run: it needs mujoco {WARP_MUJOCO}, and this is {mujoco}; {SETUP_WARP}"
    if not torch.cuda.is_available():
        return f"runs on the CPU, slowly: {_driver(driver)}"
    if driver is not None and driver < GRAPHS_DRIVER:
        wanted = ".".join(map(str, GRAPHS_DRIVER))
        return f"needs a driver for CUDA {wanted}, and this one is for {driver[0]}.{driver[1]}: update it"
    return "runs on CUDA"


def _driver(driver: tuple[int, int] | None) -> str:
    if driver is None:
        return "there is no NVIDIA driver here"
    return f"the NVIDIA driver supports CUDA {driver[0]}.{driver[1]}"
