#!/usr/bin/env bash
# The first operation under any TorchDispatchMode of one's own imports PyTorch's compiler, some 800 modules.
#
# Versions: torch 2.13.0, NumPy 2.4.6, Python 3.11.
# Guess: a mode that counts or records operations costs a Python call for each; nothing is compiled, so nothing of
# torch.compile is loaded.
# Behaviour: the class's handler is wrapped so that the compiler leaves it alone, and the wrapper imports torch._dynamo
# when the first operation comes: seconds, in a program that otherwise starts in one. A class whose _should_skip_dynamo
# returns False is not wrapped, sees the same operations and imports nothing.
# Output seen:
#   plain mode: 2 operations, torch._dynamo imported: True
#   _should_skip_dynamo false: 2 operations, torch._dynamo imported: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/mode.py" <<'PYTHON'
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode


def handler(self, operation, types, args=(), kwargs=None):
    self.operations += 1
    return operation(*args, **(kwargs or {}))


members = {"operations": 0, "__torch_dispatch__": handler}
if sys.argv[1] == "skip":
    members["_should_skip_dynamo"] = classmethod(lambda cls: False)
Mode = type("Mode", (TorchDispatchMode,), members)

assert "torch._dynamo" not in sys.modules, "torch imports it by itself"
with Mode() as mode:
    torch.ones(3) + 1
imported = "torch._dynamo" in sys.modules
name = "_should_skip_dynamo false" if sys.argv[1] == "skip" else "plain mode"
print(f"{name}: {mode.operations} operations, torch._dynamo imported: {imported}")
assert mode.operations == 2
assert imported == (sys.argv[1] == "plain"), "this has changed"
PYTHON
"$folder/venv/bin/python" "$folder/mode.py" plain
"$folder/venv/bin/python" "$folder/mode.py" skip
