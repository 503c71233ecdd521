"""``python -m metarl``: the same as the program ``metarl``."""

from __future__ import annotations

import sys

from metarl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
