"""The cores this process may use: by affinity, container quota and ``OMP_NUM_THREADS``."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from metarl.errors import MetarlError
from metarl.system.launch import of_this_machine, ranks_here

UNLIMITED = 2**20


def usable_cores(root: Path = Path("/")) -> int:
    """Return this process's cores by affinity and quota, read below ``root``.

    The ranks of a machine share its cores.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return of_this_machine(max(1, min(affinity, _smallest_quota(root))))


@functools.cache  # asked at each update, and some ten files to read
def _smallest_quota(root: Path) -> int:
    return min(map(_quota, _control_groups(root)))


def _control_groups(root: Path) -> Iterator[Path]:
    """Yield this process's control-group folders, of version 2 or 1."""
    mounted = root / "sys/fs/cgroup"
    yield from (mounted, mounted / "cpu")
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)  # "0::/a/b" in version 2, "4:cpu,cpuacct:/a/b" in version 1
        if controllers == "" or "cpu" in controllers.split(","):
            own = mounted / ("cpu" if controllers else "") / path.lstrip("/")
            yield from (own, *(parent for parent in own.parents if parent.is_relative_to(mounted)))


def _quota(group: Path) -> int:
    """Return a group's quota in cores, rounded up as in joblib, or :data:`UNLIMITED`."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        return math.ceil(int(quota) / int(period)) if quota not in ("max", "-1") else UNLIMITED
    except (OSError, ValueError, ZeroDivisionError):
        return UNLIMITED


def openmp_threads() -> int:
    """Return the threads ``OMP_NUM_THREADS`` allows; MetarlError if it is no positive number.

    Several ranks of a machine do not read it, as torchrun sets it to 1 unasked.
    """
    setting = os.environ.get("OMP_NUM_THREADS", "").strip()
    if not setting or ranks_here() > 1:
        return UNLIMITED
    # OpenMP reads a list, one number for each level of nesting; the first is the outermost
    if not re.fullmatch(r"[1-9][0-9]*(,.*)?", setting):
        raise MetarlError(
            f"Expected OMP_NUM_THREADS to be a positive number, got {setting!r}; change or unset it."
        )
    return int(setting.partition(",")[0])
