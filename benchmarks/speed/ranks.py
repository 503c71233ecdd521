"""Whole meta-iterations by two ranks of one thread each, and by one process of two threads on the same cores.

    .venv/bin/python -m benchmarks.speed.ranks

Both are started in turn, each in processes of its own, and give the same numbers bit for bit. Beside the ratio
of their seconds stand the share of communication, which is the time of the messages without the waiting for
the slower rank, and the bytes that a rank receives in an iteration, with their growth with ranks and parameters.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import tyro
from rich.table import Table

from benchmarks.workloads import AGENT, WORKLOADS, Bar, bars_table, in_turn, machine, ratios, spread, wide_console
from metarl.config import EvaluationConfig, ExperimentConfig
from metarl.functional.random_streams import Purpose, make_rng
from metarl.learning.return_settings import ReturnsConfig  # noqa: F401
from metarl.system.ranks import joined
from metarl.system.sharing import sharing
from metarl.system.threads import use_threads
from metarl.training.experiment import Experiment
from metarl.training.meta_iteration import meta_iteration
from metarl.training.replicas import digest

HERE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measured:
    """Seconds of each iteration after the first, and what the ranks exchanged in it."""

    seconds: list[float]
    processor_seconds: list[float]
    transfer: list[float]
    waiting: list[float]
    received_bytes: float
    exchanges: float
    rollout_bytes: float
    parameters: int
    weights: str
