"""Freed memory serves again."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from metarl.system import allocator

THREAD = """
import resource, sys, threading
import numpy as np
from metarl.system.allocator import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        kept = [np.ones(2_000_000, np.uint8) for _ in range(5)]
        del kept
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(keep_freed_memory() if sys.argv[1:] else "")
thread = threading.Thread(target=faults)
thread.start()
thread.join()
"""


def run(*arguments: str, **variables: str) -> tuple[str, int]:
    """Return what a thread's process says of the setting, and its page faults."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", THREAD, *arguments]
    done = subprocess.run(command, env=plain | variables, capture_output=True, text=True, check=True)
    said, faults = done.stdout.splitlines()
    return said, int(faults)


@pytest.mark.skipif(allocator.platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_of_a_thread_is_cleared_once() -> None:
    pages = 10_000_000 // resource.getpagesize()
    said, kept = run("keep")
    assert said == "True"
    assert kept < 3 * pages
    _, given_back = run()
    assert given_back > 20 * pages


def test_settings_of_the_user_stay() -> None:
    said, _ = run("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert said == "False"


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert not allocator.keep_freed_memory.__wrapped__()
