#!/usr/bin/env bash
# A gloo collective outlives the wait that timed out on it: the error is of the wait, and a second wait succeeds.
#
# Versions: torch 2.13.0 (gloo, CPU), NumPy 2.4.6, Python 3.11.
# Guess: work.wait(timeout) that raises "Operation timed out!" has given the collective up, as the process group's own
# timeout does: its buffers are lost, the group must be made anew, and the rank that came late fails too.
# Behaviour: only the wait ends. The work is not completed and goes on; waiting again returns the right values, the rank
# that was late notices nothing, and the group serves the next collective. So a rank can look about once a second for a
# lost partner without a thread, and the only way to tell this error from a broken connection is its text.
# Output seen:
#   first wait: RuntimeError, Operation timed out!; completed: False
#   second wait: True, gathered [0.0, 1.0]
#   next collective on the same group: 3.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/ranks.py" <<'PYTHON'
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
if rank == 1:
    time.sleep(4)
gathered = [torch.empty(1) for _ in range(2)]
work = dist.all_gather(gathered, torch.full((1,), float(rank)), async_op=True)
if rank == 0:
    try:
        work.wait(timedelta(seconds=1))
        raise SystemExit("the wait did not time out")
    except RuntimeError as error:
        text = next(part for part in ("Operation timed out!", str(error)) if part in str(error))
        print(f"first wait: {type(error).__name__}, {text}; completed: {work.is_completed()}")
        assert text == "Operation timed out!" and not work.is_completed(), "this has changed"
    ended = work.wait(timedelta(seconds=30))
    print(f"second wait: {ended}, gathered {[float(value) for value in gathered]}")
else:
    work.wait()
assert [float(value) for value in gathered] == [0.0, 1.0]
total = torch.tensor([rank + 1.0])
dist.all_reduce(total)
if rank == 0:
    print(f"next collective on the same group: {float(total)}")
assert float(total) == 3.0
dist.destroy_process_group()
PYTHON
"$folder/venv/bin/python" "$folder/ranks.py" 1 "$folder/store" &
"$folder/venv/bin/python" "$folder/ranks.py" 0 "$folder/store"
wait $!
