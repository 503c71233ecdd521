"""Threads for adapting and learning, split by task.

PyTorch shares one product among OpenMP's threads, which wait for each other by spinning: beside another
busy process most of the time is lost, and the number of threads changes the last bits of large products.
Here each thread computes whole chunks of tasks with PyTorch on one thread, takes the next chunk when it
has finished one, and sleeps when there is none. Chunks depend on shapes alone and results are joined in
task order, so the number of threads changes no bit. Physics has threads of its own, in the engines.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

from metarl.errors import Stopped
from metarl.system.allocator import keep_freed_memory
from metarl.system.cores import openmp_threads, usable_cores

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

WORK_PER_CHUNK = 2**24  # multiply-adds of one pass over a network worth a chunk, see :func:`task_chunks`

_limit: ContextVar[int] = ContextVar("learning_threads", default=0)
_should_stop: ContextVar[Callable[[], bool] | None] = ContextVar("should_stop", default=None)


def learning_threads() -> int:
    """Return the number of learning threads.

    As many as :func:`use_threads` says; if it says nothing, one for each usable core, and no more than
    ``OMP_NUM_THREADS`` where that is set, as PyTorch itself takes it.

    Raises:
        MetarlError: if ``OMP_NUM_THREADS`` is not a positive number.
    """
    return _limit.get() or min(usable_cores(), openmp_threads())


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Set the number of learning threads inside the block; 0 takes one a core.

    PyTorch itself keeps to one thread meanwhile.

    Raises:
        MetarlError: if the choice is the machine's and ``OMP_NUM_THREADS`` is not a positive number.
    """
    keep_freed_memory()  # each thread has an arena of its own
    token = _limit.set(count or learning_threads())
    try:
        learning_threads()  # raises now, before the work begins
        with one_thread():
            yield
    finally:
        _limit.reset(token)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread in this thread; its idle threads slow all else by spinning."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def stoppable(should_stop: Callable[[], bool]) -> Iterator[None]:
    """Let :func:`parallel_map` stop between items.

    All long computations of agents go through it, so that each of them ends within a chunk of work.
    """
    token = _should_stop.set(should_stop)
    try:
        yield
    finally:
        _should_stop.reset(token)


def task_chunks(num_tasks: int, work: int) -> list[slice]:
    """Split tasks into chunks, however many threads.

    There are ``sqrt(work / WORK_PER_CHUNK)`` of them, so that number and size both grow with the work: many
    small chunks lose more to the interpreter's lock than they gain, and few leave cores without any. Measured
    on two cores: 2 chunks for 10,000 transitions of a 64 x 64 policy, 6 for 100,000; a 2 x 512 policy with as
    many has one for each of 20 tasks.

    Args:
        num_tasks: M.
        work: multiply-adds of one pass over all tasks, about transitions times parameters.

    Returns:
        Slices of the task axis, in order; their lengths differ by one at most.
    """
    chunks = max(1, min(num_tasks, math.isqrt(work // WORK_PER_CHUNK)))
    edges = [num_tasks * chunk // chunks for chunk in range(chunks + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def parallel_map(function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    """Map a function over items on the learning threads, results in order.

    The calling thread takes its part, with PyTorch on one thread in each. Whether gradients are recorded is
    as in a new thread, that is they are; the function itself switches them off where it wants to.

    Args:
        function: of one item; it must not write what the others read.

    Raises:
        Exception: the function's own, of the first item in order that raised one.
        Stopped: if the function of :func:`stoppable` says so.
    """
    threads = min(learning_threads(), len(items))
    should_stop = _should_stop.get()

    def result(item: ItemT) -> ResultT:
        if should_stop is not None and should_stop():
            raise Stopped
        return function(item)

    if threads <= 1:
        with one_thread(), torch.enable_grad():
            return [result(item) for item in items]
    waiting = iter(range(len(items)))
    results: dict[int, ResultT] = {}
    errors: dict[int, BaseException] = {}

    def work() -> None:
        with one_thread(), torch.enable_grad():
            for index in waiting:  # one step of a range's iterator is atomic under the interpreter's lock
                if errors:
                    return
                try:
                    results[index] = result(items[index])
                except BaseException as error:  # noqa: BLE001 - the caller raises it below
                    errors[index] = error
                    return

    helpers = [_pool().submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(len(items))]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Return the process's threads; idle ones sleep."""
    return ThreadPoolExecutor(max_workers=max(usable_cores(), 64), thread_name_prefix="metarl-learning")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a fork leaves the threads behind
