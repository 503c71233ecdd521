#!/usr/bin/env bash
# torch.set_num_threads does not bound a process: each thread keeps a number of its own.
#
# Versions: torch 2.13.0 (CPU build, OpenMP), Python 3.11, Linux x86_64.
# Guess: torch.set_num_threads(1) in the main thread limits the process to one thread, so a server or a sampler that
# calls it at the start of a job is safe.
# Behaviour: a thread that computed before the call keeps its old number and goes on splitting its products; the last
# call in any thread decides what threads that start later begin with, and the main thread's own number stays.
# So a thread pool that is older than the call is not limited by it: the call belongs into each worker.
# Output seen:
#   main set 1, main sees 1
#   worker that was there before sees 2
#   worker sets 2, main still sees 1
#   thread that starts later sees 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import queue
import threading

import torch

commands: "queue.Queue[int]" = queue.Queue()
answers: "queue.Queue[int]" = queue.Queue()


def worker() -> None:
    answers.put(torch.get_num_threads())
    for number in iter(commands.get, -1):
        if number:
            torch.set_num_threads(number)
        answers.put(torch.get_num_threads())


torch.set_num_threads(2)
threading.Thread(target=worker, daemon=True).start()
assert answers.get() == 2
torch.set_num_threads(1)
main_after = torch.get_num_threads()
print("main set 1, main sees", main_after)
commands.put(0)
early = answers.get()
print("worker that was there before sees", early)
commands.put(2)
answers.get()
main_last = torch.get_num_threads()
print("worker sets 2, main still sees", main_last)
late: list[int] = []
thread = threading.Thread(target=lambda: late.append(torch.get_num_threads()))
thread.start()
thread.join()
print("thread that starts later sees", late[0])
assert (main_after, early, main_last, late[0]) == (1, 2, 1, 2), "the behaviour has changed"
PYTHON
