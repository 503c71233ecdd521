#!/usr/bin/env bash
# skrl's Memory.load succeeds and leaves the memory as it was: the data of the file is never sampled.
#
# Versions: skrl 2.1.1, gymnasium 1.4.0, torch 2.13.0 (CPU build), NumPy 2.4.6, Python 3.11.
# Guess: load(path) undoes save(): the transitions of the file are what sample() draws from and len() counts, so a run
# goes on with its replay buffer, or learns offline from one that was exported.
# Behaviour: load puts the file's tensors into attributes that nothing reads. What sample(), sample_all() and
# get_tensor_by_name() read are the tensors that create_tensor made, and the fill level is not touched. A new memory
# stays empty, and sample() returns batches without a row; a memory in use goes on with its own data. Neither raises nor
# warns, for .pt as for .npz. Copying with set_tensor_by_name mends the tensors, memory.filled = True the length.
# Output seen:
#   pt: saved rewards [0, 1, 2, 3], new memory of length 0 samples [], a full one [-1]
#   npz: saved rewards [0, 1, 2, 3], new memory of length 0 samples [], a full one [-1]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    gymnasium==1.4.0 skrl==2.1.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import pathlib

import torch
from skrl.memories.torch import RandomMemory


def memory(rewards=()):
    made = RandomMemory(memory_size=4, num_envs=1, device="cpu")
    made.create_tensor(name="rewards", size=1, dtype=torch.float32)
    for reward in rewards:
        made.add_samples(rewards=torch.full((1, 1), float(reward)))
    return made


def seen(source):
    return sorted({int(reward) for reward in source.sample(["rewards"], batch_size=100)[0][0].flatten()})


saved, empty, used = memory(range(4)), memory(), memory([-1] * 4)
for kind in ("pt", "npz"):
    saved.save(kind, format=kind)
    (file,) = pathlib.Path(kind).rglob(f"*.{kind}")
    for target in (empty, used):
        target.load(str(file))
    print(
        f"{kind}: saved rewards {seen(saved)}, new memory of length {len(empty)} samples {seen(empty)},"
        f" a full one {seen(used)}"
    )
    assert seen(saved) == [0, 1, 2, 3]
    assert (len(empty), seen(empty), seen(used)) == (0, [], [-1]), "the behaviour has changed"
# the remedy
content = torch.load(next(pathlib.Path("pt").rglob("*.pt")))
empty.set_tensor_by_name("rewards", content["rewards"])
empty.filled = True
assert (len(empty), seen(empty)) == (4, [0, 1, 2, 3])
PYTHON
