"""Memory that is freed serves again, instead of going back to the system.

A tensor of a few megabytes takes its memory from the system and gives it back, by glibc's defaults, each time
that it comes and goes in a thread. Then the kernel clears each page anew, one thread at a time.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform

LARGEST_KEPT = 2**25  # bytes of the largest piece that is kept; what is larger is few and goes back at once
MOST_KEPT = 2**28  # bytes of free memory at the end of an arena from which it goes back
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep freed memory, if it can.

    Other allocators stay as they are, and so do settings of the user's (``MALLOC_…``, ``GLIBC_TUNABLES``,
    ``LD_PRELOAD``). Source: mallopt(3).
    """
    chosen = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_THRESHOLD, LARGEST_KEPT) and libc.mallopt(_TRIM_THRESHOLD, MOST_KEPT))
