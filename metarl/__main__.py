"""The program ``metarl``, also ``python -m metarl``; Ctrl-C while it starts ends it without a traceback."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line; return its exit code."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, as under nohup
    if ours:
        # an exception in the middle of an import may be caught there, or become another
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from metarl.cli.main import main as run  # noqa: PLC0415  # what takes time

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run()
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # the interpreter ends without one, too


if __name__ == "__main__":
    sys.exit(main())
