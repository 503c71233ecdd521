"""Global random generators, restored after use.

stable-baselines3 seeds and draws from them; here they are put back as they were.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Restore the generators of Python, NumPy and PyTorch.

    They are the global ones, left as if nothing in here had happened.
    """
    python, numpy_ = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_)  # noqa: NPY002
